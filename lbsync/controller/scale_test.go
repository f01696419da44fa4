// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/klog/v2"

	"github.com/clbsync/clbsync/clbsim"
	"github.com/clbsync/clbsync/internal/kubetest"
	"github.com/clbsync/clbsync/lbsync"
	"github.com/clbsync/clbsync/lbsync/annotation"
	"github.com/clbsync/clbsync/lbsync/clb"
)

// town is a large cluster and a controller that speaks through the real SDK to a simulated CLB, with every request counted.
type town struct {
	testing.TB
	world    *world // for what it does to the cluster
	network  *counted
	size     size
	settings lbsync.Settings
	limit    float64 // requests/s of each action; 0: the default
	settle   func()  // waits until nothing more follows from what was done
	stop     func()
}

// size is what a town is made of.
type size struct {
	nodes, services int
	pods            int    // of each Service, the first at nodes that no other Service uses
	policy          string // "Cluster", or "Local" with the nodes of pods only
	quota           int    // targets per listener
}

// counted is the way to the API, with a count of the requests by action.
type counted struct {
	http.RoundTripper
	mu    sync.Mutex
	calls map[string]int
	open  int       // requests without an answer yet
	last  time.Time // when the last answer came
}

func (n *counted) RoundTrip(r *http.Request) (*http.Response, error) {
	n.mu.Lock()
	n.calls[r.Header.Get("X-TC-Action")]++
	n.open++
	n.mu.Unlock()
	defer func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.open--
		n.last = time.Now()
	}()
	return n.RoundTripper.RoundTrip(r)
}

// cost is the number of requests that something took. Looks at tasks are neither: they belong to the write.
type cost struct{ writes, reads, busiest int }

// take returns what was asked since the last time. busiest is the number of calls of the action that was asked most:
// rate limits hold for each action by itself.
func (n *counted) take() (c cost) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for action, count := range n.calls {
		c.busiest = max(c.busiest, count)
		switch {
		case action == "DescribeTaskStatus":
		case strings.HasPrefix(action, "Describe"):
			c.reads += count
		default:
			c.writes += count
		}
	}
	clear(n.calls)
	return c
}

// latest returns when the last answer came, which is now while one is still to come.
func (n *counted) latest() time.Time {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.open > 0 {
		return time.Now()
	}
	return n.last
}

func newTown(tb testing.TB, size size, change func(*clbsim.Config)) *town {
	tb.Helper()
	cfg := clbsim.Example()
	if change != nil {
		change(&cfg)
	}
	cfg.Quotas["TOTAL_OPEN_CLB_QUOTA"], cfg.Quotas["TOTAL_TARGET_BIND_QUOTA"] = int64(size.services), int64(size.quota)
	for i := range size.nodes + 1 {
		cfg.Instances = append(cfg.Instances, clbsim.Instance{ID: fmt.Sprintf("ins-%08d", i+1), PrivateIP: address(i + 1), Type: "S5.MEDIUM4"})
	}
	sim, err := clbsim.New(cfg)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(sim.Close)
	w := &town{TB: tb, world: &world{client: fake.NewClientset()}, size: size, stop: func() {},
		settings: lbsync.DefaultSettings(), network: &counted{RoundTripper: sim.Transport(), calls: map[string]int{}}}
	w.settings.ClusterID, w.settings.VPCID = "cls-demo", "vpc-2ab3c4d5"
	w.world.T, _ = tb.(*testing.T)
	w.world.record()
	for i := range size.nodes {
		w.put(place(i + 1))
	}
	for i := range size.services {
		name := fmt.Sprintf("s%d", i)
		svc := kubetest.Service(name, func(s *corev1.Service) { s.Spec.Ports[0].NodePort = int32(30000 + i) })
		if size.policy == "Local" {
			kubetest.Local(int32(20000 + i))(svc)
			kubetest.Annotation(annotation.BindNodesOfPods, "true")(svc)
		}
		w.put(svc)
		w.put(kubetest.Slice(name, w.pods(i, 0)...))
	}
	return w
}

func address(i int) string { return fmt.Sprintf("10.0.%d.%d", i/250, i%250+1) }

// place is a node of a town.
func place(i int) *corev1.Node {
	return kubetest.Node(i, func(n *corev1.Node) { n.Status.Addresses[0].Address = address(i) })
}

// pods are the endpoints of a Service, moved by some nodes.
func (w *town) pods(service, moved int) []discoveryv1.Endpoint {
	var all []discoveryv1.Endpoint
	for p := range w.size.pods {
		node := (service*w.size.pods+p+moved)%(w.size.nodes-10) + 1 // the last ten nodes have none
		all = append(all, kubetest.Ready(fmt.Sprintf("n%d", node), fmt.Sprintf("10.%d.%d.%d", 100+node/250, node%250, p+1)))
	}
	return all
}

func (w *town) put(o any) {
	w.Helper()
	var err error
	switch o := o.(type) {
	case *corev1.Node:
		err = put(w.world.client, o)
	case *corev1.Service:
		err = put(w.world.client, o)
	case *discoveryv1.EndpointSlice:
		err = put(w.world.client, o)
	}
	if err != nil {
		w.Fatal(err)
	}
}

func (w *town) remove(node *corev1.Node) {
	w.Helper()
	if err := w.world.client.Tracker().Delete(resourceOf(node), "", node.Name); err != nil {
		w.Fatal(err)
	}
}

// run starts a new controller, which knows nothing, and stops the one before.
func (w *town) run() {
	w.Helper()
	w.stop()
	cloud, err := clb.New(w.Context(), clb.Config{
		Region: "ap-guangzhou", VPCID: "vpc-2ab3c4d5",
		Credentials: clb.Credentials{SecretID: "AKIDEXAMPLE", SecretKey: "SECRETEXAMPLE"},
		Endpoints:   clb.Endpoints{CLB: "http://clbsim.local", CVM: "http://clbsim.local", VPC: "http://clbsim.local", Tag: "http://clbsim.local"},
		RateLimits:  clb.RateLimits{Default: w.limit},
		Transport:   w.network,
	})
	if err != nil {
		w.Fatal(err)
	}
	factory := informers.NewSharedInformerFactory(w.world.client, 0)
	c, err := New(Config{Client: w.world.client, Cloud: cloud, Settings: w.settings, Informers: factory, Verify: 24 * time.Hour,
		TargetQuota: func(context.Context) (int, error) { return w.size.quota, nil }})
	if err != nil {
		w.Fatal(err)
	}
	ctx, cancel := context.WithCancel(klog.NewContext(w.Context(), klog.Logger{})) // silent
	done := make(chan struct{})
	go func() { c.Run(ctx); close(done) }()
	factory.StartWithContext(ctx)
	w.stop = func() {
		cancel()
		<-done
		factory.Shutdown()
		w.stop = func() {}
	}
}

// pass is how a town settles in a bubble: everything that follows within ten minutes has happened.
func (w *town) pass() { w.world.pass(10 * time.Minute) }

// quiet is how a town settles in real time: there was no request for longer than anything waits.
func (w *town) quiet() {
	w.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	begun := time.Now()
	for deadline := begun.Add(5 * time.Minute); ; <-tick.C {
		last := w.network.latest()
		if time.Since(begun) > 1500*time.Millisecond && time.Since(last) > time.Second {
			return
		}
		if time.Now().After(deadline) {
			w.Fatal("requests still come after 5 minutes")
		}
	}
}

// took changes the cluster and returns what that cost until nothing more followed, and the time until the last answer.
func (w *town) took(change func()) (cost, time.Duration) {
	w.Helper()
	begun := time.Now()
	change()
	w.settle()
	return w.network.take(), max(w.network.latest().Sub(begun), 0)
}

// inTown runs a test in a town whose time passes at once. Rate limits and settings are those of a user who sets none;
// only the probes of many targets, which the simulated CLB computes one by one, are rarer.
func inTown(t *testing.T, size size, test func(w *town)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := newTown(t, size, nil)
		w.settle = w.pass
		if size.policy == "Cluster" {
			w.settings.Check.Interval = 300 * time.Second
		}
		w.run()
		w.settle()
		w.network.take()
		test(w)
		w.stop()
	})
}
