// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"fmt"
	"net/netip"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	coreinformers "k8s.io/client-go/informers/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"

	"github.com/clbsync/clbsync/internal/readinessgate"
	"github.com/clbsync/clbsync/lbsync"
	"github.com/clbsync/clbsync/lbsync/annotation"
)

// Indexes of the pods that are kept. Others are in none.
const (
	byNamespace = "clbsync/namespace" // those that nothing but the gate keeps from being ready, or nothing any more
	byWeight    = "clbsync/weight"    // those with a weight of their own, by namespace
	byWaiting   = "clbsync/waiting"   // of those of byNamespace, the ones whose gate is closed, all under the value waiting
	waiting     = "waiting"
)

// keptPod is what is kept of a pod with our gate, or with a weight of its own.
type keptPod struct {
	namespace, name string
	uid             types.UID
	version         string
	labels          labels.Set
	weight          string // of the annotation custom-weight
	weighted        bool   // it has that

	// What follows is of a pod with the gate.
	gated     bool
	node      string
	addresses []netip.Addr
	since     time.Time     // readinessgate.Since
	open      bool          // the gate
	reason    lbsync.Reason // of its condition; "": it has none
}

// otherPod is what is kept of a pod with neither: its key. A corev1.Pod of which nothing is filled in takes more
// than a kilobyte, and clusters have a hundred thousand of them.
type otherPod struct{ namespace, name string }

// GetObjectMeta is for the informer, which reads the key from it, and whether anything has changed.
func (p *keptPod) GetObjectMeta() metav1.Object {
	return &metav1.ObjectMeta{Namespace: p.namespace, Name: p.name, UID: p.uid, ResourceVersion: p.version}
}

// GetObjectMeta is for the informer. Without a version, no change is one.
func (p otherPod) GetObjectMeta() metav1.Object {
	return &metav1.ObjectMeta{Namespace: p.namespace, Name: p.name}
}

// keepOfPod is the informer's transformation.
func keepOfPod(obj any) (any, error) {
	pod, ok := obj.(*corev1.Pod)
	if !ok {
		return obj, nil
	}
	gated := readinessgate.In(pod)
	weight, weighted := pod.Annotations[annotation.CustomWeight]
	if !gated && !weighted {
		return otherPod{pod.Namespace, pod.Name}, nil
	}
	kept := &keptPod{namespace: pod.Namespace, name: pod.Name, uid: pod.UID, version: pod.ResourceVersion, labels: pod.Labels, weight: weight, weighted: weighted}
	if gated {
		open, reason := readinessgate.Open(pod)
		kept.gated, kept.node, kept.since, kept.open, kept.reason = true, pod.Spec.NodeName, readinessgate.Since(pod), open, lbsync.Reason(reason)
		for _, ip := range pod.Status.PodIPs {
			if a, err := netip.ParseAddr(ip.IP); err == nil {
				kept.addresses = append(kept.addresses, a)
			}
		}
	}
	return kept, nil
}

// admitted reports whether the pod is an endpoint where node agents serve gated pods.
func (p *keptPod) admitted() bool { return p != nil && p.gated && !p.since.IsZero() }

// ownWeight returns the pod's annotation with a mark before it, "" if it has none.
func (p *keptPod) ownWeight() string {
	if p == nil || !p.weighted {
		return ""
	}
	return "=" + p.weight
}

// waits reports whether the gate is all that keeps the pod from being ready.
func (p *keptPod) waits() bool { return p.admitted() && !p.open }

func (p *keptPod) reference() *corev1.ObjectReference {
	return &corev1.ObjectReference{Kind: "Pod", APIVersion: "v1", Namespace: p.namespace, Name: p.name, UID: p.uid}
}

// podInformer returns an informer of pods, which keeps no more of them than gates and weights need: the factory's, that
// runs in any case, or one that is started when it is needed.
func podInformer(cfg Config, needed bool) (cache.SharedIndexInformer, error) {
	make := func(client kubernetes.Interface, resync time.Duration) cache.SharedIndexInformer {
		return coreinformers.NewPodInformer(client, metav1.NamespaceAll, resync, cache.Indexers{})
	}
	informer := make(cfg.Client, 0)
	if needed {
		informer = cfg.Informers.InformerFor(&corev1.Pod{}, make)
	}
	if err := informer.SetTransform(keepOfPod); err != nil {
		return nil, fmt.Errorf("trim pods: %w", err)
	}
	if err := informer.AddIndexers(podIndexers()); err != nil {
		return nil, fmt.Errorf("index pods: %w", err)
	}
	return informer, nil
}

func podIndexers() cache.Indexers {
	return cache.Indexers{
		byNamespace: podIndex((*keptPod).admitted, func(p *keptPod) string { return p.namespace }),
		byWeight:    podIndex(func(p *keptPod) bool { return p.weighted }, func(p *keptPod) string { return p.namespace }),
		byWaiting:   podIndex((*keptPod).waits, func(*keptPod) string { return waiting }),
	}
}

func podIndex(in func(*keptPod) bool, value func(*keptPod) string) cache.IndexFunc {
	return func(obj any) ([]string, error) {
		if p, ok := obj.(*keptPod); ok && in(p) {
			return []string{value(p)}, nil
		}
		return nil, nil
	}
}

// podHandler calls changed with what pods were and are, nil for a pod that is not there, or has neither gate nor weight.
func podHandler(changed func(before, after *keptPod)) cache.ResourceEventHandlerFuncs {
	kept := func(obj any) *keptPod {
		if gone, ok := obj.(cache.DeletedFinalStateUnknown); ok {
			obj = gone.Obj
		}
		p, _ := obj.(*keptPod)
		return p
	}
	tell := func(before, after *keptPod) {
		if before != nil || after != nil {
			changed(before, after)
		}
	}
	return cache.ResourceEventHandlerFuncs{
		AddFunc:    func(obj any) { tell(nil, kept(obj)) },
		UpdateFunc: func(before, after any) { tell(kept(before), kept(after)) },
		DeleteFunc: func(obj any) { tell(kept(obj), nil) },
	}
}

// selecting returns the Services of ours that select the pod.
func (c *Controller) selecting(p *keptPod) []*corev1.Service {
	all, err := c.services.Services(p.namespace).List(labels.Everything())
	if err != nil {
		return nil // a lister over a cache has no error to give
	}
	var out []*corev1.Service
	for _, svc := range all {
		if len(svc.Spec.Selector) > 0 && c.settings.Wants(svc) && labels.SelectorFromValidatedSet(svc.Spec.Selector).Matches(p.labels) {
			out = append(out, svc)
		}
	}
	return out
}
