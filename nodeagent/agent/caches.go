// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"errors"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"

	"github.com/clbsync/clbsync/nodeagent"
)

// byService is the index of EndpointSlices by namespace/service.
const byService = "service"

// caches hold the objects that the rules depend on.
type caches struct {
	nodeName string
	service  cache.SharedIndexInformer
	slice    cache.SharedIndexInformer
	nodes    cache.SharedIndexInformer
	pods     cache.SharedIndexInformer // of this node; nil: readiness gates are not looked at
	observer chan struct{}
}

// newCaches makes the caches; changed is called after every event once they run. With gates, the pods of the node are
// watched too.
func newCaches(client kubernetes.Interface, nodeName string, gates bool, changed func()) *caches {
	trim := trimmer("")
	if gates {
		trim = trimmer(nodeName)
	}
	notOthers := "!" + nodeagent.LabelServiceProxyName
	factory := func(tweak func(*metav1.ListOptions)) informers.SharedInformerFactory {
		return informers.NewSharedInformerFactoryWithOptions(client, 0, informers.WithTweakListOptions(tweak), informers.WithTransform(trim))
	}
	c := &caches{
		nodeName: nodeName,
		service: factory(func(o *metav1.ListOptions) { o.LabelSelector = notOthers }).
			Core().V1().Services().Informer(),
		slice: factory(func(o *metav1.ListOptions) { o.LabelSelector = notOthers + ",!" + corev1.IsHeadlessService }).
			Discovery().V1().EndpointSlices().Informer(),
		nodes: factory(func(o *metav1.ListOptions) {
			o.FieldSelector = fields.OneTermEqualSelector("metadata.name", nodeName).String()
		}).Core().V1().Nodes().Informer(),
		observer: make(chan struct{}, 1),
	}
	handler := cache.ResourceEventHandlerFuncs{
		AddFunc:    func(any) { changed() },
		UpdateFunc: func(any, any) { changed() },
		DeleteFunc: func(any) { changed() },
	}
	c.add(c.service, handler)
	c.add(c.slice, handler)
	// A kubelet writes its Node every few seconds; few of the changes mean anything here.
	c.add(c.nodes, cache.ResourceEventHandlerFuncs{
		AddFunc:    func(any) { changed() },
		UpdateFunc: func(old, now any) { nodeUpdated(old, now, changed) },
		DeleteFunc: func(any) { changed() },
	})
	if gates {
		c.watchPods(client, changed)
	}
	if err := c.slice.AddIndexers(cache.Indexers{byService: func(o any) ([]string, error) {
		s := o.(*discoveryv1.EndpointSlice)
		return []string{s.Namespace + "/" + s.Labels[discoveryv1.LabelServiceName]}, nil
	}}); err != nil {
		panic(err) // the informer is new
	}
	return c
}

func (c *caches) add(informer cache.SharedIndexInformer, handler cache.ResourceEventHandler) {
	if _, err := informer.AddEventHandler(handler); err != nil {
		panic(err) // the informer is new
	}
}

func nodeUpdated(old, now any, changed func()) {
	o, n := old.(*corev1.Node), now.(*corev1.Node)
	if o.Labels[corev1.LabelTopologyZone] != n.Labels[corev1.LabelTopologyZone] || o.Spec.PodCIDR != n.Spec.PodCIDR ||
		len(o.Spec.PodCIDRs) != len(n.Spec.PodCIDRs) {
		changed()
	}
}

// trimmer returns what drops what nobody here reads and what fills the memory of every node in a large cluster. Which
// pods endpoints are is kept for those on the node podsOn.
func trimmer(podsOn string) cache.TransformFunc {
	return func(object any) (any, error) {
		if m, err := meta.Accessor(object); err == nil {
			m.SetManagedFields(nil)
			m.SetAnnotations(nil)
		}
		switch o := object.(type) {
		case *corev1.Node:
			o.Status = corev1.NodeStatus{}
		case *discoveryv1.EndpointSlice:
			for i := range o.Endpoints {
				e := &o.Endpoints[i]
				e.DeprecatedTopology, e.Hostname = nil, nil
				if e.TargetRef == nil || podsOn == "" || e.NodeName == nil || *e.NodeName != podsOn {
					e.TargetRef = nil
				} else {
					e.TargetRef = &corev1.ObjectReference{UID: e.TargetRef.UID}
				}
			}
		}
		return object, nil
	}
}

// start runs the caches until ctx ends and returns when they have synced: before that, an empty list would mean
// nothing, and acting on it would cut all traffic.
func (c *caches) start(ctx context.Context) error {
	all := []cache.SharedIndexInformer{c.service, c.slice, c.nodes}
	var synced []cache.InformerSynced
	for _, informer := range all {
		go informer.RunWithContext(ctx)
		synced = append(synced, informer.HasSynced)
	}
	if !cache.WaitForCacheSync(ctx.Done(), synced...) {
		return errors.Join(errors.New("ended before Services, EndpointSlices and the Node could be listed"), ctx.Err())
	}
	c.startPods(ctx)
	return nil
}

func (c *caches) wakeObserver() {
	select {
	case c.observer <- struct{}{}:
	default:
	}
}

// node returns the Node, nil if it does not exist.
func (c *caches) node() *corev1.Node {
	object, exists, err := c.nodes.GetStore().GetByKey(c.nodeName)
	if err != nil || !exists {
		return nil
	}
	return object.(*corev1.Node)
}

func (c *caches) services() []*corev1.Service { return list[*corev1.Service](c.service) }

func (c *caches) slices() []*discoveryv1.EndpointSlice {
	return list[*discoveryv1.EndpointSlice](c.slice)
}

func (c *caches) slicesOf(s *corev1.Service) []*discoveryv1.EndpointSlice {
	objects, err := c.slice.GetIndexer().ByIndex(byService, s.Namespace+"/"+s.Name)
	if err != nil {
		panic(err) // the index exists
	}
	out := make([]*discoveryv1.EndpointSlice, 0, len(objects))
	for _, o := range objects {
		out = append(out, o.(*discoveryv1.EndpointSlice))
	}
	return out
}

func list[T any](informer cache.SharedIndexInformer) []T {
	objects := informer.GetStore().List()
	out := make([]T, 0, len(objects))
	for _, o := range objects {
		out = append(out, o.(T))
	}
	return out
}
