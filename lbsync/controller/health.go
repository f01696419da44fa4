// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/clbsync/clbsync/lbsync"
)

// healthWindow is how long the first one who asks for health waits for others to ask, too.
const healthWindow = 30 * time.Millisecond

// healths reads the health of CLBs for all who ask, those of many CLBs in one request: while a new node is bound
// everywhere, all CLBs wait for the same answer, and one request each would use up what CLB allows in a second.
type healths struct {
	read func(ctx context.Context, ids []string) (map[string]map[lbsync.Binding]lbsync.Health, error)

	mu   sync.Mutex
	open *healthBatch // that takes in more CLBs; nil: nobody waits
}

// healthBatch is what is read at once. found and err are set when done is closed, and are not changed any more.
type healthBatch struct {
	ids   map[string]bool
	first lbsync.Priority // the highest of all who ask
	done  chan struct{}
	found map[string]map[lbsync.Binding]lbsync.Health
	err   error
}

// of returns the health of a CLB's targets, which others may hold too: nobody may change it. The error is of the Kind
// NotFound if the CLB is gone. The contexts of all who ask end at the same time.
func (h *healths) of(ctx context.Context, id string) (map[lbsync.Binding]lbsync.Health, error) {
	found, err := h.ofAll(ctx, []string{id})
	if health, ok := found[id]; ok || err != nil {
		return health, err
	}
	return nil, &lbsync.Error{Kind: lbsync.NotFound, Action: "DescribeTargetHealth", Err: fmt.Errorf("CLB %s is gone", id)}
}

// ofAll is of for many CLBs. One that is gone is not in the result; with an error, more may be missing.
func (h *healths) ofAll(ctx context.Context, ids []string) (map[string]map[lbsync.Binding]lbsync.Health, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	h.mu.Lock()
	b, first := h.open, h.open == nil
	if first {
		b = &healthBatch{ids: map[string]bool{}, first: lbsync.Background, done: make(chan struct{})}
		h.open = b
	}
	for _, id := range ids {
		b.ids[id] = true
	}
	b.first = max(b.first, lbsync.PriorityOf(ctx))
	h.mu.Unlock()
	if first {
		h.run(ctx, b)
	}
	select {
	case <-b.done:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	err := b.err
	if !slices.ContainsFunc(ids, func(id string) bool { return b.found[id] == nil }) {
		err = nil // it was about others
	}
	return b.found, err
}

// run closes the batch after the window and reads it.
func (h *healths) run(ctx context.Context, b *healthBatch) {
	defer close(b.done)
	select {
	case <-time.After(healthWindow):
	case <-ctx.Done():
	}
	h.mu.Lock()
	h.open = nil
	ids := slices.Sorted(maps.Keys(b.ids))
	h.mu.Unlock()
	b.found, b.err = h.read(lbsync.WithPriority(ctx, b.first), ids)
}

// readHealth reads the health of CLBs, each in its region.
func (c *Controller) readHealth(ctx context.Context, ids []string) (map[string]map[lbsync.Binding]lbsync.Health, error) {
	var errs []error
	out := map[string]map[lbsync.Binding]lbsync.Health{}
	for region, ids := range c.memory.byRegion(ids) {
		cloud, err := c.cloudIn(region)
		if err == nil {
			var found map[string]map[lbsync.Binding]lbsync.Health
			found, err = cloud.Health(ctx, ids)
			maps.Copy(out, found)
		}
		errs = append(errs, err)
	}
	return out, errors.Join(errs...)
}

// untilPoll returns when to poll again: about every from now, and at the same moments for all, so that they share
// requests.
func untilPoll(now time.Time, every time.Duration) time.Duration {
	return now.Add(every + every/2).Truncate(every).Sub(now)
}
