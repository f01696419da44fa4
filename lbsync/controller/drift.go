// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"cmp"
	"context"
	"fmt"
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
func (c *Controller) verified(ctx context.Context, r *state, svc *corev1.Service, drift []lbsync.Difference) {
	var stay []lbsync.Difference
	repairs := map[lbsync.Binding]repair{}
	for _, d := range drift {
		driftTotal.WithLabelValues(string(d.What)).Inc()
		before := r.repairs[d.Binding]
		switch {
		case r.policy == lbsync.ReportDrift, d.What == lbsync.ListenerSettings && before.found == d.Is && before.times >= stubborn:
			stay = append(stay, d)
		case before.found == d.Is:
			repairs[d.Binding] = repair{d.Is, before.times + 1}
		default:
			repairs[d.Binding] = repair{d.Is, 1}
		}
	}
	r.repairs = repairs
	r.tolerate(r.tolerance.Add(stay))
	if len(drift) == 0 {
		return
	}
	then := "It is set right"
	switch {
	case r.policy == lbsync.ReportDrift:
		then = "It stays so until something else is desired there, since drift is only reported"
	case len(stay) > 0:
		then = fmt.Sprintf("What was set right %d times in a row stays as it is now, the rest is set right", stubborn)
	}
	text, id := lbsync.DriftText(drift), r.actual.Instance.ID
	klog.FromContext(ctx).Info("Drift", "clb", id, "what", text, "after", r.known, "policy", r.policy)
	c.tell(svc, corev1.EventTypeWarning, eventDrift, fmt.Sprintf("CLB %s was changed by somebody else between %s and %s: %s. %s",
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
func (r *state) follow(policy lbsync.DriftPolicy) {
	if r.policy != policy {
		r.tolerate(nil)
		r.policy, r.repairs = policy, nil
	}
}

// policyOf returns what becomes of drift of a Service's CLB.
func (c *Controller) policyOf(svc lbsync.Service) lbsync.DriftPolicy {
	return cmp.Or(lbsync.DriftPolicy(svc.Options.Drift), c.settings.Drift, lbsync.RepairDrift)
}
