// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"fmt"
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
)

// Indexes of gated pods. Pods without our gate are in none.
const (
	byNamespace = "clbsync/namespace" // those that nothing but the gate keeps from being ready, or nothing any more
	byWaiting   = "clbsync/waiting"   // of those, the ones whose gate is closed, all under the value waiting
	waiting     = "waiting"
)

// gatedPod is what is kept of a pod with our gate.
type gatedPod struct {
	namespace, name string
	uid             types.UID
	version         string
	labels          labels.Set
	node            string
	since           time.Time     // readinessgate.Since
	open            bool          // the gate
	reason          lbsync.Reason // of its condition; "": it has none
}

// otherPod is what is kept of a pod without it: its key. A corev1.Pod of which nothing is filled in takes more
// than a kilobyte, and clusters have a hundred thousand of them.
type otherPod struct{ namespace, name string }

// GetObjectMeta is for the informer, which reads the key from it, and whether anything has changed.
func (p *gatedPod) GetObjectMeta() metav1.Object {
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
	if !readinessgate.In(pod) {
		return otherPod{pod.Namespace, pod.Name}, nil
	}
	open, reason := readinessgate.Open(pod)
	return &gatedPod{
		namespace: pod.Namespace, name: pod.Name, uid: pod.UID, version: pod.ResourceVersion, labels: pod.Labels, node: pod.Spec.NodeName,
		since: readinessgate.Since(pod), open: open, reason: lbsync.Reason(reason),
	}, nil
}

// admitted reports whether the pod is an endpoint where node agents serve gated pods.
func (p *gatedPod) admitted() bool { return p != nil && !p.since.IsZero() }

// waits reports whether the gate is all that keeps the pod from being ready.
func (p *gatedPod) waits() bool { return p.admitted() && !p.open }

func (p *gatedPod) reference() *corev1.ObjectReference {
	return &corev1.ObjectReference{Kind: "Pod", APIVersion: "v1", Namespace: p.namespace, Name: p.name, UID: p.uid}
}

// podInformer returns the factory's informer of pods, which keeps no more of them than gates need.
func podInformer(cfg Config) (cache.SharedIndexInformer, error) {
	informer := cfg.Informers.InformerFor(&corev1.Pod{}, func(client kubernetes.Interface, resync time.Duration) cache.SharedIndexInformer {
		return coreinformers.NewPodInformer(client, metav1.NamespaceAll, resync, cache.Indexers{})
	})
	if err := informer.SetTransform(keepOfPod); err != nil {
		return nil, fmt.Errorf("trim pods: %w", err)
	}
	err := informer.AddIndexers(cache.Indexers{
		byNamespace: podIndex((*gatedPod).admitted, func(p *gatedPod) string { return p.namespace }),
		byWaiting:   podIndex((*gatedPod).waits, func(*gatedPod) string { return waiting }),
	})
	if err != nil {
		return nil, fmt.Errorf("index pods: %w", err)
	}
	return informer, nil
}

func podIndex(in func(*gatedPod) bool, value func(*gatedPod) string) cache.IndexFunc {
	return func(obj any) ([]string, error) {
		if p, ok := obj.(*gatedPod); ok && in(p) {
			return []string{value(p)}, nil
		}
		return nil, nil
	}
}

// podHandler calls changed with what pods were and are, nil for a pod that is not there, or has no gate.
func podHandler(changed func(before, after *gatedPod)) cache.ResourceEventHandlerFuncs {
	gated := func(obj any) *gatedPod {
		if gone, ok := obj.(cache.DeletedFinalStateUnknown); ok {
			obj = gone.Obj
		}
		p, _ := obj.(*gatedPod)
		return p
	}
	tell := func(before, after *gatedPod) {
		if before != nil || after != nil {
			changed(before, after)
		}
	}
	return cache.ResourceEventHandlerFuncs{
		AddFunc:    func(obj any) { tell(nil, gated(obj)) },
		UpdateFunc: func(before, after any) { tell(gated(before), gated(after)) },
		DeleteFunc: func(obj any) { tell(gated(obj), nil) },
	}
}

// selecting returns the Services of ours that select the pod.
func (c *Controller) selecting(p *gatedPod) []*corev1.Service {
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
