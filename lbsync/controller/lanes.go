// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"sync"
	"time"

	"k8s.io/client-go/util/workqueue"

	"github.com/clbsync/clbsync/lbsync"
)

// lanes hands out each key to one worker at a time, the most urgent first. Some workers are left for urgent keys: while
// a change of a node keeps 2,000 CLBs busy for minutes, a pod that moves must find a worker at once.
type lanes struct {
	priority func(key) lbsync.Priority // of a key that is added
	limit    int                       // of keys that are not urgent and are worked on at once

	mu       sync.Mutex
	wake     *sync.Cond
	line     lbsync.Line[key]
	waiting  map[key]queued
	working  map[key]lbsync.Priority
	again    map[key]bool // added while they were worked on
	ordinary int          // how many of working are not urgent
	down     bool
}

// queued is a key that no worker has yet.
type queued struct {
	priority lbsync.Priority
	since    time.Time
}

var _ workqueue.TypedInterface[key] = (*lanes)(nil)

func newLanes(limit int, priority func(key) lbsync.Priority) *lanes {
	l := &lanes{priority: priority, limit: limit, waiting: map[key]queued{}, working: map[key]lbsync.Priority{}, again: map[key]bool{}}
	l.wake = sync.NewCond(&l.mu)
	return l
}

// Add makes a key wait for a worker, or raises its priority if it does already.
func (l *lanes) Add(k key) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.down {
		return
	}
	if _, busy := l.working[k]; busy {
		l.again[k] = true
		return
	}
	l.join(k)
}

func (l *lanes) join(k key) {
	p := l.priority(k)
	before, there := l.waiting[k]
	switch {
	case there && p <= before.priority:
		return
	case there:
		l.line.Raise(k, p)
		l.waiting[k] = queued{p, before.since}
		queueDepth.WithLabelValues(before.priority.String()).Dec()
	default:
		l.line.Join(k, p)
		l.waiting[k] = queued{p, time.Now()}
	}
	queueDepth.WithLabelValues(p.String()).Inc()
	l.wake.Signal()
}

// Get waits for a key. shutdown is true when there will be no more.
func (l *lanes) Get() (k key, shutdown bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for {
		least := lbsync.Background
		if l.ordinary >= l.limit {
			least = lbsync.Urgent
		}
		if k, ok := l.line.Next(least); ok {
			w := l.waiting[k]
			delete(l.waiting, k)
			l.working[k] = w.priority
			if w.priority != lbsync.Urgent {
				l.ordinary++
			}
			queueDepth.WithLabelValues(w.priority.String()).Dec()
			queueWait.WithLabelValues(w.priority.String()).Observe(time.Since(w.since).Seconds())
			return k, false
		}
		if l.down && len(l.waiting) == 0 {
			return key{}, true
		}
		l.wake.Wait()
	}
}

// Done says that the worker is through with the key.
func (l *lanes) Done(k key) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if p, busy := l.working[k]; busy && p != lbsync.Urgent {
		l.ordinary--
	}
	delete(l.working, k)
	if l.again[k] {
		delete(l.again, k)
		l.join(k)
	}
	l.wake.Broadcast() // A place is free, for those that are not urgent too.
}

// Len returns how many keys wait.
func (l *lanes) Len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.waiting)
}

// ShutDown takes in nothing more; what waits is still handed out.
func (l *lanes) ShutDown() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.down = true
	l.wake.Broadcast()
}

// ShutDownWithDrain is ShutDown and waits until no key waits or is worked on.
func (l *lanes) ShutDownWithDrain() {
	l.ShutDown()
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.waiting)+len(l.working) > 0 {
		l.wake.Wait()
	}
}

// ShuttingDown reports whether nothing more is taken in.
func (l *lanes) ShuttingDown() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.down
}
