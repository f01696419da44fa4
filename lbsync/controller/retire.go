// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/klog/v2"

	"github.com/clbsync/clbsync/lbsync"
	"github.com/clbsync/clbsync/lbsync/annotation"
)

// retire deletes every CLB that carries the tags of the Service, also those that no memory knows: one whose
// creation was cut short, say. Only when a search finds none does the Service lose its finalizer.
func (c *Controller) retire(ctx context.Context, r *state, svc *corev1.Service, live bool) outcome {
	owner := c.owner(svc)
	r.actual, r.stamps = nil, nil
	if o, _ := annotation.Parse(svc.Annotations); o.Skip {
		return c.leaveAsIs(ctx, svc, live)
	}
	last := ""
	for !c.stopped() {
		found, cloud, err := c.find(ctx, r.cloud, svc)
		if err != nil {
			return outcome{err: err}
		}
		r.cloud = cloud
		if len(found) == 0 {
			if last == "" {
				if err := c.mayAppear(r, svc); err != nil {
					return outcome{present: true, err: err}
				}
			}
			return c.finish(ctx, r, svc, last, live)
		}
		if found[0].ID == last {
			return outcome{present: true, err: fmt.Errorf("CLB %s is still found by its tags after its deletion", last)}
		}
		actual, err := r.cloud.Observe(ctx, found[0].ID)
		if err != nil {
			return outcome{present: true, err: err}
		}
		r.restricted = r.restricted || len(actual.Instance.Access) > 0
		desired := lbsync.LoadBalancer{Instance: lbsync.Instance{Owner: owner}}
		if c.dryRun {
			c.show(ctx, r.seat, lbsync.Diff(actual, desired))
			return outcome{present: true}
		}
		if o, _ := annotation.Parse(svc.Annotations); o.PlanOnly {
			return c.leave(ctx, r, svc, lbsync.Finding{PlanOnly: true, Actual: actual, Plan: lbsync.Diff(actual, desired)}, live)
		}
		if last == "" {
			c.recorder.Event(svc, corev1.EventTypeNormal, eventDeleting, "Deleting load balancer")
		}
		if _, _, err := c.apply(ctx, r, lbsync.Removal(actual, owner), actual, desired); err != nil {
			return outcome{present: true, err: err}
		}
		last = found[0].ID
	}
	return outcome{present: true}
}

// leave does not delete the CLB of a Service that wants to see the plan only. A Service that is still there says why
// it stays. One that is gone, since somebody took its finalizer off, leaves its CLB behind: nothing is written.
func (c *Controller) leave(ctx context.Context, r *state, svc *corev1.Service, f lbsync.Finding, live bool) outcome {
	c.show(ctx, r.seat, f.Plan)
	if !live {
		klog.FromContext(ctx).Error(nil, "A CLB is left behind: its Service is gone, and was to be planned for only", "clb", f.Actual.Instance.ID, "annotation", annotation.Mode)
		return outcome{}
	}
	r.written = time.Time{} // Nobody looks again before the Service changes.
	_, err := c.publish(ctx, r.seat, svc, f, r.failures)
	return outcome{present: true, err: err}
}

// leaveAsIs lets a Service go whose author wants nothing to be written: what it has in the cloud is left behind.
func (c *Controller) leaveAsIs(ctx context.Context, svc *corev1.Service, live bool) outcome {
	klog.FromContext(ctx).Info("A Service is let go and what it has in the cloud is left behind", "annotation", annotation.TKEMode, "clb", svc.Annotations[annotation.LoadBalancerID])
	c.tell(svc, corev1.EventTypeWarning, string(lbsync.HandsOff), fmt.Sprintf("The CLB and its listeners stay as they are, since the annotation %s is \"skip\": nothing looks after them any more", annotation.TKEMode))
	if !live || c.dryRun {
		return outcome{}
	}
	return outcome{err: c.release(ctx, svc)}
}
