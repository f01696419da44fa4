// SPDX-License-Identifier: Apache-2.0

package clb

import (
	"context"
	"sync"
	"time"

	"k8s.io/klog/v2"
)

const (
	gatherFor   = 20 * time.Millisecond // long enough for the workers of a controller that starts, too short to be noticed
	lookupTime  = time.Minute           // of one read for everybody who waits for it
	forgetAfter = time.Hour             // an entry that nobody asked for
)

// directory remembers instances by key, and reads them when they are unknown or old. Lookups that come close together
// share one read: a controller looks its nodes up one by one, and 5,000 requests would be 4 minutes of the budget.
// It is safe for concurrent use.
type directory[K comparable] struct {
	ttl  time.Duration
	read func(context.Context, []K) (map[K]Instance, error) // what is not in the map does not exist

	mu    sync.Mutex
	known map[K]entry
	next  *round[K] // gathers keys; nil if nobody waits
	swept time.Time
}

type entry struct {
	instance Instance
	at       time.Time
}

// round is one read for several lookups. found and err are set when done is closed.
type round[K comparable] struct {
	keys  map[K]struct{}
	done  chan struct{}
	found map[K]Instance
	err   error
}

func newDirectory[K comparable](ttl time.Duration, read func(context.Context, []K) (map[K]Instance, error)) *directory[K] {
	return &directory[K]{ttl: ttl, read: read, known: map[K]entry{}}
}

// lookup returns the instance with the key, false if there is none. If it cannot be read, the last known one is returned
// without error. That one is missing is never remembered: a node whose instance is "gone" is deleted.
func (d *directory[K]) lookup(ctx context.Context, key K) (Instance, bool, error) {
	d.mu.Lock()
	e, ok := d.known[key]
	if ok && time.Since(e.at) < d.ttl {
		d.mu.Unlock()
		return e.instance, true, nil
	}
	r := d.join(ctx, key)
	d.mu.Unlock()

	select {
	case <-r.done:
	case <-ctx.Done():
		r = &round[K]{err: ctx.Err()}
	}
	if r.err != nil {
		if !ok {
			return Instance{}, false, r.err
		}
		klog.FromContext(ctx).V(2).Info("Using what is known of an instance, it cannot be read", "instance", e.instance.ID, "age", time.Since(e.at), "reason", r.err)
		return e.instance, true, nil
	}
	i, ok := r.found[key]
	return i, ok, nil
}

// join adds the key to the round that is gathering, and starts one if there is none. d.mu is held.
func (d *directory[K]) join(ctx context.Context, key K) *round[K] {
	r := d.next
	if r == nil {
		r = &round[K]{keys: map[K]struct{}{}, done: make(chan struct{})}
		d.next = r
		// It is everybody's read: the end of the first one's context does not end it.
		go d.run(context.WithoutCancel(ctx), r)
	}
	r.keys[key] = struct{}{}
	return r
}

func (d *directory[K]) run(ctx context.Context, r *round[K]) {
	ctx, cancel := context.WithTimeout(ctx, lookupTime)
	defer cancel()
	<-time.After(gatherFor)
	d.mu.Lock()
	d.next = nil
	keys := make([]K, 0, len(r.keys))
	for k := range r.keys {
		keys = append(keys, k)
	}
	d.mu.Unlock()

	r.found, r.err = d.read(ctx, keys)
	if r.err == nil {
		d.keep(r)
	}
	close(r.done)
}

func (d *directory[K]) keep(r *round[K]) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := time.Now()
	for k := range r.keys {
		if i, ok := r.found[k]; ok {
			d.known[k] = entry{i, now}
		} else {
			delete(d.known, k)
		}
	}
	if now.Sub(d.swept) < forgetAfter {
		return
	}
	d.swept = now
	for k, e := range d.known {
		if now.Sub(e.at) > forgetAfter {
			delete(d.known, k)
		}
	}
}
