// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"maps"
	"time"

	"k8s.io/klog/v2"

	"github.com/clbsync/clbsync/lbsync"
)

// awaited is a target that an endpoint's change has brought and that is not healthy yet.
type awaited struct {
	trigger time.Time // when the endpoint changed
	until   time.Time // no longer waited for after it
}

// await remembers the targets that the change of an endpoint has brought, to measure when they are healthy. Where
// every node is bound, whatever its endpoints, a target comes with its node: that costs no reading of health.
func (r *state) await(changes []lbsync.Change, desired lbsync.LoadBalancer, trigger time.Time, deadline time.Duration) {
	if trigger.IsZero() {
		return
	}
	now := time.Now()
	for _, change := range changes {
		if desired.Answering[change.Listener].Nodes == nil {
			continue
		}
		if r.awaited == nil {
			r.awaited = map[lbsync.Binding]awaited{}
		}
		r.awaited[change.Binding] = awaited{trigger: trigger, until: now.Add(deadline)}
		r.asked = now
	}
}

// settled measures the targets that are healthy now.
func (r *state) settled(health map[lbsync.Binding]lbsync.Health) {
	r.asked = time.Now()
	for b, a := range r.awaited {
		if h := health[b]; h == lbsync.Healthy || h == lbsync.HealthOff {
			healthySeconds.Observe(r.asked.Sub(a.trigger).Seconds())
			delete(r.awaited, b)
		}
	}
}

// untilHealthy reads the health of the targets that are waited for, if that is due, and returns when to read it
// again; 0: none is left. What fails is tried again: it is only about a measure.
func (c *Controller) untilHealthy(ctx context.Context, r *state, actual lbsync.LoadBalancer) time.Duration {
	now, poll := time.Now(), c.settings.Timing.Poll
	maps.DeleteFunc(r.awaited, func(b lbsync.Binding, a awaited) bool {
		_, there := actual.Targets[b]
		return !there || !now.Before(a.until)
	})
	if len(r.awaited) > 0 && now.Sub(r.asked) >= poll/2 && !c.stopped() {
		health, err := c.healths.of(ctx, actual.Instance.ID)
		if err != nil {
			klog.FromContext(ctx).V(2).Info("Health of new targets not read", "err", err)
		}
		r.settled(health)
	}
	if len(r.awaited) == 0 {
		return 0
	}
	return untilPoll(now, poll)
}
