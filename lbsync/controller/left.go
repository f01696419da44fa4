// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/klog/v2"

	"github.com/clbsync/clbsync/lbsync"
	"github.com/clbsync/clbsync/lbsync/annotation"
)

// appears is how long a CLB that was ordered may be missing in searches.
const appears = time.Minute

// order notes what came of a plan that orders a CLB, and that the CLB of a Service is there. An order that CLB refuses for
// what it asks leaves none on its way, unless the outcome of an earlier one is not known.
func (r *state) order(ordered, present bool, err error) {
	switch kind := lbsync.KindOf(err); {
	case present:
		r.ordered, r.answered = time.Time{}, true
	case ordered && kind == lbsync.Unknown:
		r.ordered, r.answered = time.Now(), false
	case ordered && r.ordered.IsZero() && (kind == lbsync.Invalid || kind == lbsync.Quota):
		r.answered = true
	}
}

// mayAppear returns an error as long as a CLB may still appear that was ordered for a Service and is not found: the answer to the
// order was lost, or the program before this one may have ended before it saw it, which nothing tells from one that was answered
// long ago.
func (c *Controller) mayAppear(r *state, svc *corev1.Service) error {
	noted := hasFinalizer(svc) && (svc.Annotations[annotation.Ordered] != "" || svc.Annotations[annotation.LoadBalancerID] == "")
	switch {
	case c.dryRun, r.answered, r.ordered.IsZero() && !noted:
		return nil
	case r.ordered.IsZero():
		r.ordered = time.Now()
	}
	if time.Since(r.ordered) >= appears {
		return nil
	}
	return &lbsync.Error{Kind: lbsync.Busy, Action: "CreateLoadBalancer",
		Err: fmt.Errorf("a CLB may have been ordered for the Service, and none is found yet: it is waited for, at most %s from the order, so that it is not left behind", appears)}
}

// finish lets go of a Service of which a search finds no CLB. deleted is the CLB that was deleted just now, "" if none was.
func (c *Controller) finish(ctx context.Context, r *state, svc *corev1.Service, deleted string, live bool) outcome {
	c.tellDeleted(ctx, svc, deleted)
	if c.dryRun {
		return outcome{}
	}
	owner := lbsync.Owner{ClusterID: c.settings.ClusterID, ServiceUID: string(svc.UID)}
	options, _ := annotation.Parse(svc.Annotations)
	ranges, _ := lbsync.SourceRanges(lbsync.Service{Service: svc, Options: options})
	if r.restricted || len(ranges) > 0 {
		// It goes with its CLB, but for one whose CLB somebody else deleted, and one that was made and never bound.
		if err := r.cloud.DeleteSecurityGroups(ctx, owner); err != nil {
			return outcome{err: err}
		}
	}
	if deleted == "" && options.ExistingID == "" && options.LoadBalancerID != "" {
		c.tellLeft(ctx, r.cloud, svc, owner, options.LoadBalancerID)
	}
	if !live {
		return outcome{}
	}
	return outcome{err: c.release(ctx, svc)}
}

// tellLeft says that the CLB that served a Service is left behind, since its tags do not say any more that it was made for
// it: somebody took them off, which is how a person keeps a CLB.
func (c *Controller) tellLeft(ctx context.Context, cloud Cloud, svc *corev1.Service, owner lbsync.Owner, id string) {
	lb, err := cloud.Observe(ctx, id)
	if err != nil || owner.Owns(lb.Instance.Tags) {
		return // It is gone, which is all that was asked for, or nobody knows.
	}
	var missing []string
	want := owner.Tags()
	for _, key := range slices.Sorted(maps.Keys(want)) {
		if lb.Instance.Tags[key] != want[key] {
			missing = append(missing, fmt.Sprintf("%s=%s", key, want[key]))
		}
	}
	ours := 0
	for _, l := range lb.Listeners {
		if l.Name == lbsync.ListenerName(owner.ServiceUID) {
			ours++
		}
	}
	message := fmt.Sprintf("CLB %s is left as it is, with %d listeners of this Service: it has no tag %s any more, so it is not this controller's to delete. If nobody needs it, delete it in the console",
		id, ours, strings.Join(missing, ", "))
	klog.FromContext(ctx).Info("Leaving a CLB", "clb", id, "missingTags", missing, "listeners", ours)
	c.tell(svc, corev1.EventTypeWarning, eventLeft, message)
}
