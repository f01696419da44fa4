// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"
	"k8s.io/klog/v2"

	"github.com/clbsync/clbsync/internal/kubetest"
	"github.com/clbsync/clbsync/lbsync"
	"github.com/clbsync/clbsync/lbsync/annotation"
)

// instant is a cloud that does whatever it is asked, at once, and keeps nothing but counts.
type instant struct{ made, writes int }

func (c *instant) DeleteSecurityGroups(context.Context, lbsync.Owner) error { return nil }

func (c *instant) Find(context.Context, lbsync.Owner) ([]lbsync.Instance, error) { return nil, nil }
func (c *instant) Observe(context.Context, string) (lbsync.LoadBalancer, error) {
	return lbsync.LoadBalancer{}, &lbsync.Error{Kind: lbsync.NotFound}
}
func (c *instant) Health(context.Context, []string) (map[string]map[lbsync.Binding]lbsync.Health, error) {
	return nil, nil
}
func (c *instant) CreateLoadBalancer(_ context.Context, want lbsync.Instance) (lbsync.Instance, error) {
	c.made++
	want.ID, want.Tags, want.Domain = "lb-"+want.Owner.ServiceUID, want.Owner.Tags(), domain(want.Owner.ServiceUID)
	return want, nil
}
func (c *instant) CreateListeners(_ context.Context, lb string, listeners []lbsync.Listener) ([]string, error) {
	var ids []string
	for _, l := range listeners {
		ids = append(ids, lb+"/"+l.ListenerKey.String())
	}
	return ids, nil
}
func (c *instant) Tag(context.Context, string, string, string) error               { return c.write() }
func (c *instant) Untag(context.Context, string, string) error                     { return c.write() }
func (c *instant) ModifyLoadBalancer(context.Context, lbsync.InstanceChange) error { return c.write() }
func (c *instant) ModifyListener(context.Context, string, lbsync.ListenerChange) error {
	return c.write()
}
func (c *instant) Register(context.Context, string, []lbsync.Change) error   { return c.write() }
func (c *instant) Reweight(context.Context, string, []lbsync.Change) error   { return c.write() }
func (c *instant) Deregister(context.Context, string, []lbsync.Change) error { return c.write() }
func (c *instant) DeleteListeners(context.Context, string, []lbsync.Listener) error {
	return c.write()
}
func (c *instant) DeleteLoadBalancer(context.Context, lbsync.Instance) error { return c.write() }
func (c *instant) write() error {
	c.writes++
	return nil
}

func domain(uid string) string { return uid + ".clb.example.com" }

// hall is a controller without informers and workers: the benchmark is the one goroutine that does everything, so that
// what is measured is the controller's own work.
type hall struct {
	testing.TB
	*Controller
	cloud                   *instant
	nodeStore, serviceStore cache.Indexer
	sliceStore              cache.Indexer
}

const (
	hallNodes, hallServices = 5000, 2000
	hallPods                = 50 // of each Service: 100,000 in all
)

// newHall has settled: every Service has its CLB.
func newHall(b *testing.B, mods ...func(*corev1.Service)) (*hall, uint64) {
	b.Helper()
	client := fake.NewClientset()
	factory := informers.NewSharedInformerFactory(client, 0)
	settings := lbsync.DefaultSettings()
	settings.ClusterID = "cls-demo"
	settings.Timing = lbsync.Timing{Poll: time.Hour} // a handover is one sync: health and draining are no work of ours
	h := &hall{TB: b, cloud: &instant{}}
	var err error
	if h.Controller, err = New(Config{Client: client, Informers: factory, Cloud: h.cloud, Settings: settings}); err != nil {
		b.Fatal(err)
	}
	h.recorder = &record.FakeRecorder{}
	h.gathering = 0
	h.quota.targets.Store(100) // CLB's default
	h.nodeStore, h.serviceStore, h.sliceStore = factory.Core().V1().Nodes().Informer().GetIndexer(), factory.Core().V1().Services().Informer().GetIndexer(), factory.Discovery().V1().EndpointSlices().Informer().GetIndexer()
	for i := range hallNodes {
		h.add(h.nodeStore, hallNode(i))
	}
	for i := range hallServices {
		h.add(h.serviceStore, hallService(i, mods...))
		h.add(h.sliceStore, hallSlice(i, 0))
	}
	before := heap()
	h.all()
	h.drain(b.Context())
	if h.cloud.made != hallServices {
		b.Fatalf("%d CLBs were made, want %d", h.cloud.made, hallServices)
	}
	return h, heap() - before
}

func (h *hall) add(to cache.Indexer, o any) {
	if err := to.Update(o); err != nil {
		h.Fatal(err)
	}
}

// drain works on what is due, as one worker, and returns how many syncs that were.
func (h *hall) drain(ctx context.Context) int {
	ctx = klog.NewContext(ctx, logr.Discard())
	syncs := 0
	for h.queue.Len() > 0 {
		h.next(ctx)
		syncs++
	}
	return syncs
}

func heap() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func hallNode(i int) *corev1.Node {
	return kubetest.Node(i, func(n *corev1.Node) {
		n.Labels[corev1.LabelTopologyZone] = fmt.Sprintf("zone-%d", i%3)
		n.Status.Addresses[0].Address = address(i)
	})
}

func hallService(i int, mods ...func(*corev1.Service)) *corev1.Service {
	name := fmt.Sprintf("s%d", i)
	svc := kubetest.Service(name, mods...)
	svc.Finalizers = []string{finalizerStock}
	svc.Annotations[annotation.LoadBalancerID] = "lb-" + name
	svc.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{Hostname: domain(name)}}
	return svc
}

// hallSlice has the endpoints of a Service, the first of them moved by some nodes.
func hallSlice(i, moved int) *discoveryv1.EndpointSlice {
	var all []discoveryv1.Endpoint
	for p := range hallPods {
		node := i*hallPods + p
		if p == 0 {
			node += moved * 100
		}
		all = append(all, kubetest.Ready(fmt.Sprintf("n%d", node%(hallNodes-1)), fmt.Sprintf("10.%d.%d.%d", 100+i/250, i%250, p)))
	}
	return kubetest.Slice(fmt.Sprintf("s%d", i), all...)
}

func onlyBound(s *corev1.Service) {
	kubetest.Local(31000)(s)
	kubetest.Annotation(annotation.BindNodesOfPods, "true")(s)
}

// BenchmarkLarge is 5,000 nodes, 2,000 Services and 100,000 endpoints: what one event costs until nothing more is due, and
// what the controller remembers beside the informers' caches.
func BenchmarkLarge(b *testing.B) {
	b.Run("Local", func(b *testing.B) {
		h, memory := newHall(b, onlyBound)
		b.Run("endpoint", func(b *testing.B) { h.endpoint(b, memory) })
		b.Run("node", func(b *testing.B) { h.node(b, memory) })
		b.Run("label", h.label)
	})
	b.Run("Cluster", func(b *testing.B) {
		h, memory := newHall(b)
		b.Run("endpoint", func(b *testing.B) { h.endpoint(b, memory) })
		b.Run("node", func(b *testing.B) { h.node(b, memory) })
		b.Run("label", h.label)
	})
}

// endpoint moves a pod.
func (h *hall) endpoint(b *testing.B, memory uint64) {
	b.ReportAllocs()
	before, syncs := h.cloud.writes, 0
	for i := 0; b.Loop(); i++ {
		b.StopTimer()
		was, is := hallSlice(i%hallServices, i/hallServices), hallSlice(i%hallServices, i/hallServices+1)
		h.add(h.sliceStore, is)
		b.StartTimer()
		h.sliceChanged(was, is)
		syncs += h.drain(b.Context())
	}
	h.report(b, before, syncs, memory)
}

// node has a node without pods come, and go.
func (h *hall) node(b *testing.B, memory uint64) {
	b.ReportAllocs()
	node := hallNode(hallNodes - 1)
	before, syncs := h.cloud.writes, 0
	for i := 0; b.Loop(); i++ {
		if i%2 == 0 {
			_ = h.nodeStore.Delete(node)
			h.nodeChanged(node, nil)
		} else {
			h.add(h.nodeStore, node)
			h.nodeChanged(nil, node)
		}
		syncs += h.drain(b.Context())
	}
	h.report(b, before, syncs, memory)
}

// label changes a label of a node that nobody selects by.
func (h *hall) label(b *testing.B) {
	b.ReportAllocs()
	before, syncs := h.cloud.writes, 0
	node := hallNode(7)
	for i := 0; b.Loop(); i++ {
		is := hallNode(7)
		is.Labels["release"] = fmt.Sprint(i)
		h.add(h.nodeStore, is)
		h.nodeChanged(node, is)
		node = is
		syncs += h.drain(b.Context())
	}
	h.report(b, before, syncs, 0)
}

func (h *hall) report(b *testing.B, before, syncs int, memory uint64) {
	b.ReportMetric(float64(syncs)/float64(b.N), "syncs/op")
	b.ReportMetric(float64(h.cloud.writes-before)/float64(b.N), "writes/op")
	if memory > 0 {
		b.ReportMetric(float64(memory)/1e6, "MB-remembered")
	}
}
