// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"fmt"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"

	"github.com/clbsync/clbsync/lbsync"
	"github.com/clbsync/clbsync/lbsync/annotation"
)

// byCLB is the index of Services by the CLB that somebody made and that serves them.
const byCLB = "clbsync/clb"

// bySlice is the index of EndpointSlices by the Service that they belong to.
const bySlice = "clbsync/service"

// watch registers the handlers with the informers.
func (c *Controller) watch(cfg Config) error {
	services := cfg.Informers.Core().V1().Services()
	nodes := cfg.Informers.Core().V1().Nodes()
	slices := cfg.Informers.Discovery().V1().EndpointSlices()
	if err := slices.Informer().AddIndexers(cache.Indexers{
		bySlice: indexer(func(slice *discoveryv1.EndpointSlice) []string {
			return []string{slice.Namespace + "/" + serviceOf(slice)}
		}),
		byNode: indexer(nodesOf),
	}); err != nil {
		return fmt.Errorf("index EndpointSlices by Service and node: %w", err)
	}
	if err := services.Informer().AddIndexers(cache.Indexers{byCLB: func(obj any) ([]string, error) {
		if svc, ok := obj.(*corev1.Service); ok && shared(keyOf(svc)) {
			return []string{keyOf(svc).Name}, nil
		}
		return nil, nil
	}}); err != nil {
		return fmt.Errorf("index Services by CLB: %w", err)
	}
	c.members = services.Informer().GetIndexer()
	c.services, c.nodes, c.slices = services.Lister(), nodes.Lister(), slices.Informer().GetIndexer()
	for _, w := range []struct {
		name     string
		informer cache.SharedIndexInformer
		handler  cache.ResourceEventHandlerFuncs
	}{
		{"services", services.Informer(), handler(c.serviceChanged)},
		{"nodes", nodes.Informer(), handler(c.nodeChanged)},
		{"endpointslices.discovery.k8s.io", slices.Informer(), handler(c.sliceChanged)},
	} {
		registration, err := w.informer.AddEventHandler(w.handler)
		if err != nil {
			return fmt.Errorf("watch %s: %w", w.name, err)
		}
		c.caches[w.name] = registration.HasSyncedChecker().Done()
	}
	return nil
}

// indexer indexes the slices of Services.
func indexer(keys func(*discoveryv1.EndpointSlice) []string) cache.IndexFunc {
	return func(obj any) ([]string, error) {
		if slice, ok := obj.(*discoveryv1.EndpointSlice); ok && serviceOf(slice) != "" {
			return keys(slice), nil
		}
		return nil, nil
	}
}

// handler calls changed with nil for old when the object is new, and for new when it is gone.
func handler[T any](changed func(before, after *T)) cache.ResourceEventHandlerFuncs {
	return cache.ResourceEventHandlerFuncs{
		AddFunc:    func(obj any) { changed(nil, obj.(*T)) },
		UpdateFunc: func(before, after any) { changed(before.(*T), after.(*T)) },
		DeleteFunc: func(obj any) {
			if gone, ok := obj.(cache.DeletedFinalStateUnknown); ok {
				obj = gone.Obj
			}
			if before, ok := obj.(*T); ok {
				changed(before, nil)
			}
		},
	}
}

func (c *Controller) serviceChanged(before, after *corev1.Service) {
	if before != nil && after != nil && sameService(before, after) {
		return
	}
	var seen key
	for _, svc := range []*corev1.Service{before, after} {
		if svc == nil {
			continue
		}
		// Where it was and where it is now are two CLBs at times.
		if k := keyOf(svc); k != seen && (c.concerns(svc) || c.memory.knows(k)) {
			seen = k
			c.queue.add(k, c.gathering, due{changed: true, priority: c.since(lbsync.Normal)})
		}
	}
}

// sameService reports whether nothing that the controller reads has changed. What it writes itself is left
// out, so that a sync does not cause the next: status and read-only annotations are mended at verification.
func sameService(a, b *corev1.Service) bool {
	return a.UID == b.UID && (a.DeletionTimestamp == nil) == (b.DeletionTimestamp == nil) &&
		(!hasFinalizer(a) || hasFinalizer(b)) &&
		maps.Equal(read(a.Annotations), read(b.Annotations)) && equality.Semantic.DeepEqual(a.Spec, b.Spec)
}

func read(annotations map[string]string) map[string]string {
	kept := maps.Clone(annotations)
	for _, k := range annotation.Keys {
		if k.ReadOnly {
			delete(kept, k.Name)
		}
	}
	return kept
}

func (c *Controller) sliceChanged(before, after *discoveryv1.EndpointSlice) {
	if before != nil && after != nil && sameSlice(before, after) {
		return
	}
	d := due{priority: c.since(lbsync.Urgent)}
	if after != nil {
		d.trigger = c.trigger(before, after)
	}
	seen := ""
	for _, slice := range []*discoveryv1.EndpointSlice{before, after} {
		if slice == nil || serviceOf(slice) == "" || serviceOf(slice) == seen {
			continue
		}
		seen = serviceOf(slice)
		if svc, err := c.services.Services(slice.Namespace).Get(seen); err == nil && c.concerns(svc) {
			c.queue.add(keyOf(svc), c.gathering, d)
		}
	}
}

// since returns the priority of a change that was seen now: while the caches fill, nothing has changed that is known of.
func (c *Controller) since(p lbsync.Priority) lbsync.Priority {
	if len(c.missing()) > 0 {
		return lbsync.Background
	}
	return p
}

func serviceOf(slice *discoveryv1.EndpointSlice) string {
	return slice.Labels[discoveryv1.LabelServiceName]
}

// trigger returns when the change of the slice began, or zero if that is not known: what happened before
// this process says nothing about how fast it is.
func (c *Controller) trigger(before, after *discoveryv1.EndpointSlice) time.Time {
	text := after.Annotations[corev1.EndpointsLastChangeTriggerTime]
	if before != nil && before.Annotations[corev1.EndpointsLastChangeTriggerTime] == text {
		return time.Time{}
	}
	at, err := time.Parse(time.RFC3339Nano, text)
	if err != nil || at.Before(c.born) {
		return time.Time{}
	}
	return at
}

// sameSlice reports whether nothing that decides about targets has changed: zones, hints and host names do
// not. Which pods they are does, since some count before they are ready.
func sameSlice(a, b *discoveryv1.EndpointSlice) bool {
	return serviceOf(a) == serviceOf(b) && a.AddressType == b.AddressType && equality.Semantic.DeepEqual(a.Ports, b.Ports) &&
		slices.EqualFunc(a.Endpoints, b.Endpoints, func(a, b discoveryv1.Endpoint) bool {
			return slices.Equal(a.Addresses, b.Addresses) && equality.Semantic.DeepEqual(a.NodeName, b.NodeName) &&
				equality.Semantic.DeepEqual(a.Conditions, b.Conditions) && podOf(a) == podOf(b)
		})
}

func podOf(e discoveryv1.Endpoint) types.UID {
	if e.TargetRef == nil {
		return ""
	}
	return e.TargetRef.UID
}

// sameNode reports whether nothing that makes a node a target has changed. Kubelets write their status every
// few seconds; almost all of that is noise here.
func sameNode(a, b *corev1.Node) bool {
	return (a.DeletionTimestamp == nil) == (b.DeletionTimestamp == nil) && a.Spec.ProviderID == b.Spec.ProviderID &&
		maps.Equal(a.Labels, b.Labels) && slices.Equal(a.Status.Addresses, b.Status.Addresses) &&
		equality.Semantic.DeepEqual(a.Spec.Taints, b.Spec.Taints) && ready(a) == ready(b)
}

func ready(node *corev1.Node) corev1.ConditionStatus {
	for _, condition := range node.Status.Conditions {
		if condition.Type == corev1.NodeReady {
			return condition.Status
		}
	}
	return ""
}

// concerns reports whether the Service is to have a CLB of ours, or had one.
func (c *Controller) concerns(svc *corev1.Service) bool { return c.settings.Wants(svc) || c.mine(svc) }

// mine reports whether the Service carries a finalizer that says that it has, or had, a CLB of ours. The
// stock finalizer says it only where no other controller puts it on Services: in a cluster where only the
// class is ours, the Service, and the CLB with the same tags, may be TKE's or k3s's.
func (c *Controller) mine(svc *corev1.Service) bool {
	if slices.Contains(svc.Finalizers, finalizerOfClass) {
		return true
	}
	class := svc.Spec.LoadBalancerClass
	return !c.settings.ClassOnly && slices.Contains(svc.Finalizers, finalizerStock) && (class == nil || *class == lbsync.LoadBalancerClass)
}
