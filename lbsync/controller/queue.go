// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
)

// key stands for a CLB, and for the one writer that it has.
type key = types.NamespacedName

// keyOf returns the key of the CLB that serves the Service. Nothing else says which Services share a CLB.
func keyOf(svc metav1.Object) key { return key{Namespace: svc.GetNamespace(), Name: svc.GetName()} }

// queue hands out each key to one worker at a time, with all that has happened to it since the last time.
type queue struct {
	workqueue.TypedDelayingInterface[key]
	mu  sync.Mutex
	due map[key]due
}

// due is what has happened to a CLB since its last sync began. The zero value is a matter of time only.
type due struct {
	changed bool             // a Service itself is another than before: no earlier failure holds it back
	trigger time.Time        // of the oldest change of an endpoint; zero: none
	retire  *corev1.Service  // its CLB has to go, whatever the cache says of the Service
	waiters []chan<- outcome // for the outcome of the sync
}

func newQueue() *queue {
	return &queue{
		TypedDelayingInterface: workqueue.NewTypedDelayingQueueWithConfig(workqueue.TypedDelayingQueueConfig[key]{Name: "clb"}),
		due:                    map[key]due{},
	}
}

// add makes the key due after a time, or earlier if it is due already.
func (q *queue) add(k key, after time.Duration, d due) {
	q.note(k, d)
	q.AddAfter(k, after)
}

// note keeps what has happened to the key for its next sync, without making it due.
func (q *queue) note(k key, d due) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.due[k] = q.due[k].merge(d)
}

// take returns what has happened to the key. It is for the worker that has the key.
func (q *queue) take(k key) due {
	q.mu.Lock()
	defer q.mu.Unlock()
	d := q.due[k]
	delete(q.due, k)
	return d
}

func (d due) merge(o due) due {
	d.changed = d.changed || o.changed
	if d.trigger.IsZero() || !o.trigger.IsZero() && o.trigger.Before(d.trigger) {
		d.trigger = o.trigger
	}
	if o.retire != nil {
		d.retire = o.retire
	}
	d.waiters = append(d.waiters, o.waiters...)
	return d
}

// outcome is what came of a sync.
type outcome struct {
	ingress []corev1.LoadBalancerIngress // of the CLB that there is now
	present bool                         // there is a CLB now
	refused string                       // not "": nothing may be changed until this is mended
	err     error
}
