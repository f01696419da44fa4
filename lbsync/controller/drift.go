// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/klog/v2"

	"github.com/clbsync/clbsync/lbsync"
)

// stubborn is how often a listener's setting is set right in a row before it is left alone: either CLB takes the
// change and does not make it, or somebody insists. Without an end it would be a write per verification for ever.
const stubborn = 2

// repair is what was last set right at a place, and how often in a row.
type repair struct {
	found lbsync.Item
	times int
}

// verified tells and counts what a reading found otherwise than it was left, and decides what of it stays.
func (c *Controller) verified(ctx context.Context, r *state, drift []lbsync.Difference, before, now lbsync.LoadBalancer) {
	repairs := map[lbsync.Binding]repair{}
	for _, s := range r.all() {
		own := slices.DeleteFunc(slices.Clone(drift), func(d lbsync.Difference) bool {
			uid := lbsync.Whose(d.Listener, before, now)
			return r.seats != nil && (s.service.UID != uid || d.Listener == (lbsync.ListenerKey{}))
		})
		c.verifiedOf(ctx, r, s, own, repairs)
	}
	r.repairs = repairs
}

// verifiedOf is verified for what is one Service's.
func (c *Controller) verifiedOf(ctx context.Context, r *state, s *seat, drift []lbsync.Difference, repairs map[lbsync.Binding]repair) {
	var stay []lbsync.Difference
	for _, d := range drift {
		driftTotal.WithLabelValues(string(d.What)).Inc()
		before := r.repairs[d.Binding]
		switch {
		case s.policy == lbsync.ReportDrift, d.What == lbsync.ListenerSettings && before.found == d.Is && before.times >= stubborn:
			stay = append(stay, d)
		case before.found == d.Is:
			repairs[d.Binding] = repair{d.Is, before.times + 1}
		default:
			repairs[d.Binding] = repair{d.Is, 1}
		}
	}
	r.tolerate(r.tolerance.Add(stay))
	if len(drift) == 0 {
		return
	}
	then := "It is set right"
	switch {
	case s.policy == lbsync.ReportDrift:
		then = "It stays so until something else is desired there, since drift is only reported"
	case len(stay) > 0:
		then = fmt.Sprintf("What was set right %d times in a row stays as it is now, the rest is set right", stubborn)
	}
	text, id := lbsync.DriftText(drift), r.actual.Instance.ID
	klog.FromContext(ctx).Info("Drift", "clb", id, "what", text, "after", r.known, "policy", s.policy)
	c.tell(s.service, corev1.EventTypeWarning, eventDrift, fmt.Sprintf("CLB %s was changed by somebody else between %s and %s: %s. %s",
		id, r.known.UTC().Format(time.RFC3339), time.Now().UTC().Format(time.RFC3339), text, then))
}

// tolerate remembers what stays as it was found, and keeps the gauge.
func (r *state) tolerate(t lbsync.Tolerance) {
	switch before, now := len(r.tolerance) > 0, len(t) > 0; {
	case now && !before:
		driftKept.Inc()
	case before && !now:
		driftKept.Dec()
	}
	r.tolerance = t
}

// follow makes a change of the policy count: what was left as found is to be set right, or the other way round.
func (r *state) follow(s *seat, policy lbsync.DriftPolicy, actual lbsync.LoadBalancer) {
	if s.policy == policy {
		return
	}
	s.policy = policy
	others := maps.Clone(r.tolerance)
	maps.DeleteFunc(others, func(b lbsync.Binding, d lbsync.Difference) bool {
		return r.seats == nil || lbsync.Whose(b.Listener, lbsync.LoadBalancer{}, actual) == s.service.UID || d.Was.Listener.Name == lbsync.ListenerName(string(s.service.UID))
	})
	r.tolerate(others)
	maps.DeleteFunc(r.repairs, func(b lbsync.Binding, _ repair) bool {
		return r.seats == nil || lbsync.Whose(b.Listener, lbsync.LoadBalancer{}, actual) == s.service.UID
	})
}

// policyOf returns what becomes of drift of a Service's CLB.
func (c *Controller) policyOf(svc lbsync.Service) lbsync.DriftPolicy {
	return cmp.Or(lbsync.DriftPolicy(svc.Options.Drift), c.settings.Drift, lbsync.RepairDrift)
}
