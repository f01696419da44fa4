// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"

	"github.com/clbsync/clbsync/lbsync"
	"github.com/clbsync/clbsync/lbsync/annotation"
)

// key stands for a CLB, and for the one writer that it has.
type key = types.NamespacedName

// keyOf returns the key of the CLB that serves the Service, or is to: that of a CLB that somebody made has no namespace, and is
// the same for all Services that share it. Nothing else says which do.
func keyOf(svc *corev1.Service) key {
	if id := annotation.Home(svc.Annotations, hasFinalizer(svc)); id != "" {
		return key{Name: id}
	}
	return ownKey(svc)
}

// ownKey returns the key of the CLB that is made for the Service, if one is.
func ownKey(svc *corev1.Service) key { return key{Namespace: svc.Namespace, Name: svc.Name} }

// shared reports whether the key stands for a CLB that somebody made: its name is the ID then.
func shared(k key) bool { return k.Namespace == "" }

// queue hands out each key to one worker at a time, with all that has happened to it since the last time.
type queue struct {
	workqueue.TypedDelayingInterface[key]
	mu       sync.Mutex
	due      map[key]due
	standing map[key]lbsync.Priority // of keys that nothing has happened to and that have to be looked at again
}

// due is what has happened to a CLB since its last sync began.
type due struct {
	priority lbsync.Priority
	changed  bool            // a Service itself is another than before: no earlier failure holds it back
	trigger  time.Time       // of the oldest change of an endpoint; zero: none
	retire   *corev1.Service // its CLB has to go, whatever the cache says of the Service
	waiters  []waiter        // for the outcome of the sync
}

// waiter waits for what comes of a sync for one Service.
type waiter struct {
	uid  types.UID
	done chan<- outcome
}

// newQueue returns a queue for workers so many that limit can be busy with what is not urgent, and more with what is.
func newQueue(limit int) *queue {
	q := &queue{due: map[key]due{}, standing: map[key]lbsync.Priority{}}
	q.TypedDelayingInterface = workqueue.NewTypedDelayingQueueWithConfig(workqueue.TypedDelayingQueueConfig[key]{Name: "clb", Queue: newLanes(limit, q.priority)})
	return q
}

// priority returns how urgent the next sync of the key is.
func (q *queue) priority(k key) lbsync.Priority {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.now(k).priority
}

// now returns what is due, which is a matter of time only if nothing has happened. The lock is held.
func (q *queue) now(k key) due {
	d, happened := q.due[k]
	standing, waits := q.standing[k]
	if !waits {
		standing = lbsync.Background
	}
	if !happened || standing > d.priority {
		d.priority = standing
	}
	return d
}

// later makes the key due after a time, for what is left to do for it.
func (q *queue) later(k key, after time.Duration, p lbsync.Priority) {
	q.mu.Lock()
	q.standing[k] = p
	q.mu.Unlock()
	q.AddAfter(k, after)
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
	if before, happened := q.due[k]; happened {
		d = before.merge(d)
	}
	q.due[k] = d
}

// take returns what has happened to the key. It is for the worker that has the key.
func (q *queue) take(k key) due {
	q.mu.Lock()
	defer q.mu.Unlock()
	d := q.now(k)
	delete(q.due, k)
	delete(q.standing, k)
	return d
}

func (d due) merge(o due) due {
	d.priority = max(d.priority, o.priority)
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
	trouble error                 // of some of several Services that share the CLB; it holds nothing back
	each    map[types.UID]outcome // of each Service, where several share the CLB
}

// of returns the outcome for a Service.
func (o outcome) of(uid types.UID) outcome {
	if one, ok := o.each[uid]; ok {
		return one
	}
	return o
}
