// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/klog/v2"

	"github.com/clbsync/clbsync/lbsync"
)

// sync takes the CLB of a key as far as it can go now. It returns when to look again; 0: when something changes.
func (c *Controller) sync(ctx context.Context, k key, r *state, d due) (again time.Duration, out outcome) {
	if shared(k) {
		return c.syncShared(ctx, k, r, d)
	}
	svc, err := c.service(k)
	if err != nil {
		return 0, outcome{err: err}
	}
	if r.service == nil {
		r.service = d.retire
	}
	if out := c.retireLost(ctx, r, svc); out.err != nil || out.present {
		return 0, out
	}
	if svc == nil || r.service == nil && !c.concerns(svc) {
		c.memory.forget(k)
		return 0, outcome{}
	}
	if elsewhere, out := c.elsewhere(ctx, k, r, svc); elsewhere {
		return 0, out
	}
	r.service = svc
	if r.cloud, err = c.cloudNow(r, svc); err != nil {
		return 0, outcome{err: err}
	}
	if c.settings.Wants(svc) && (d.retire == nil || d.retire.UID != svc.UID) {
		again, out = c.ensure(ctx, r, svc, d)
	} else if out = c.retire(ctx, r, svc, true); out.err == nil && !out.present {
		r.clear()
		c.memory.forget(k)
	} else if out.err != nil && !c.dryRun {
		// A Service that stays because its CLB does has to say why.
		_, err = c.publish(ctx, r.seat, svc, lbsync.Finding{Failure: out.err}, r.failures)
		out.err = errors.Join(out.err, err)
	}
	if apierrors.IsNotFound(out.err) {
		klog.FromContext(ctx).V(2).Info("Service is gone, its deletion is yet to be seen", "err", out.err)
		out.err = nil
	}
	return again, out
}

// retireLost retires the Service that a state is of, if it is not svc, nil for none: it went without waiting for its finalizer,
// since somebody took that off. The zero outcome is that nothing of it is left.
func (c *Controller) retireLost(ctx context.Context, r *state, svc *corev1.Service) (out outcome) {
	last := r.service
	if last == nil || svc != nil && svc.UID == last.UID {
		return outcome{}
	}
	if r.cloud == nil {
		if r.cloud, out.err = c.cloudOf(last); out.err != nil {
			return out
		}
	}
	if out = c.retire(ctx, r, last, false); out.err != nil || out.present {
		return out
	}
	r.clear()
	return outcome{}
}

// ensure takes the CLB of a Service towards what the Service asks for, and makes known how far it got.
func (c *Controller) ensure(ctx context.Context, r *state, svc *corev1.Service, d due) (time.Duration, outcome) {
	svc, again, f := c.pursue(ctx, r, svc, d)
	out := outcome{present: f.Actual.Present, ingress: lbsync.Ingress(f.Actual.Instance, f.Options.IPMode), refused: blocker(f.Skips), err: f.Failure}
	if c.dryRun {
		return again, out
	}
	// What works already is made known even if something else does not.
	later, err := c.publish(ctx, r.seat, svc, f, r.failures)
	out.err = errors.Join(out.err, err)
	return soonest(again, soonest(later, r.retryIn(time.Now()))), out
}

// pursue takes the CLB of a Service towards what the Service asks for. It returns the Service as it is then,
// when to look again (0: when something changes), and what it found.
func (c *Controller) pursue(ctx context.Context, r *state, svc *corev1.Service, d due) (*corev1.Service, time.Duration, lbsync.Finding) {
	if d.changed {
		r.refused = nil
	}
	begun := time.Now()
	c.secrets.read(ctx, svc, d.changed)
	f := c.look(ctx, r, svc, begun)
	if f.Failure != nil || lbsync.Blocked(f.Skips) {
		return svc, 0, f
	}
	if c.dryRun || f.PlanOnly {
		f.Plan = lbsync.Diff(f.Actual, f.Desired)
		c.show(ctx, r.seat, f.Plan)
		return svc, max(time.Until(r.verify), atOnce), f
	}
	r.shown = ""
	if f.Options.ExistingID != "" && !f.Actual.Present {
		// The CLB that was made for the Service is gone, so nothing keeps it from the one that it names.
		f.Failure = c.unpin(ctx, svc)
		r.clear()
		c.memory.yield(svc.UID, ownKey(svc))
		return svc, 0, f
	}
	_ = c.attempt(ctx, r.seat, svc, tryConfig, d.changed, func() error { return c.configs.auto(ctx, svc, f.Options.ConfigAuto, f.Sections) })
	if f.Actual.Present || len(f.Desired.Listeners) > 0 {
		now, err := c.prepare(ctx, svc, f)
		if err != nil {
			f.Failure = err
			return svc, 0, f
		}
		svc = now
	}
	known := len(r.refused)
	var step lbsync.Step
	f.Actual, step, f.Failure = c.steps(ctx, r, f.Actual, f.Desired, d)
	f.Waits, f.Held = step.Waits, step.Held
	if f.Failure == nil {
		r.retried(begun)
	}
	if len(r.refused) > known {
		return svc, atOnce, f // to say so
	}
	again := soonest(step.Again, soonest(r.nextTry(begun), max(time.Until(r.verify), atOnce)))
	if f.Failure == nil {
		again = soonest(again, c.untilHealthy(ctx, r, f.Actual))
	}
	return svc, again, f
}

// look finds out what a Service asks for and what there is, and reports what is left out. It changes nothing.
func (c *Controller) look(ctx context.Context, r *state, svc *corev1.Service, now time.Time) lbsync.Finding {
	f := lbsync.Finding{Hold: c.settings.Timing.RemovalHold}
	snap, unsure, err := c.gather(svc, r.actual)
	if err != nil {
		f.Failure = err
		return f
	}
	f.Options = snap.Services[0].Options
	f.PlanOnly = f.Options.PlanOnly
	f.Desired, f.Skips = lbsync.Desired(snap)
	f.Sections = snap.Sections(snap.Services[0])
	mayServe := lbsync.BlockedForNow(f.Skips) && snap.CLB == nil && hasFinalizer(svc)
	if lbsync.Blocked(f.Skips) && !mayServe {
		c.report(ctx, r.seat, f.Skips)
		return f
	}
	if region := f.Desired.Instance.Region; region != "" {
		if there, err := c.cloudIn(region); err == nil && there == c.cloud {
			f.Desired.Instance.Region = ""
		}
	}
	r.follow(r.seat, c.policyOf(snap.Services[0]), lbsync.LoadBalancer{})
	f.Actual, f.Failure = c.actual(ctx, r, f.Desired.Instance, snap.Services[0])
	if snap.CLB == nil && f.Actual.Present {
		snap.CLB = &f.Actual.Instance
		region := f.Desired.Instance.Region
		f.Desired, f.Skips = lbsync.Desired(snap)
		if f.Desired.Instance.Region = region; lbsync.Blocked(f.Skips) {
			c.report(ctx, r.seat, f.Skips)
			return f
		}
	}
	if lbsync.Blocked(f.Skips) { // There is no CLB that could go on as it is.
		c.report(ctx, r.seat, f.Skips)
		return f
	}
	f.Desired = lbsync.Complete(f.Actual, f.Desired)
	if f.Options.ExistingID == "" { // else Kept says it: what a new one would be like is asked for by nobody
		f.Skips = append(f.Skips, lbsync.Fixed(f.Actual, f.Desired)...)
	}
	f.Skips = append(f.Skips, lbsync.Replaced(f.Actual, f.Desired)...)
	f.Skips = append(f.Skips, lbsync.Foreign(f.Actual, f.Desired)...)
	f.Skips = append(f.Skips, lbsync.Kept(f.Actual, f.Options)...)
	f.Desired = snap.KeepPods(f.Actual, f.Desired)
	if unsure {
		f.Desired = snap.Keep(f.Actual, f.Desired)
	} else {
		f.Skips = append(f.Skips, unavailable(f.Desired, f.Skips)...)
	}
	leftOut, refusals := r.leftOut(f.Actual, f.Desired, now)
	f.Skips = append(f.Skips, refusals...)
	f.Desired = leftOut.Without(f.Actual, f.Desired)
	f.Skips = append(f.Skips, r.twins...)
	c.report(ctx, r.seat, f.Skips)
	if f.Failure != nil {
		return f
	}
	desired, tolerance := lbsync.Tolerate(f.Actual, f.Desired, r.tolerance)
	r.tolerate(tolerance)
	f.Desired, f.Kept = desired, tolerance.Differences()
	return f
}

// soonest returns the shorter of two times until a CLB is looked at again, of which 0 is never.
func soonest(a, b time.Duration) time.Duration {
	if a == 0 || b > 0 && b < a {
		return b
	}
	return a
}

// actual returns the CLB as it is: from memory, or read if there is no memory of it or that is due for verification.
func (c *Controller) actual(ctx context.Context, r *state, wanted lbsync.Instance, svc lbsync.Service) (lbsync.LoadBalancer, error) {
	if r.actual != nil && time.Now().Before(r.verify) {
		return *r.actual, nil
	}
	hint := svc.Options.LoadBalancerID
	if r.actual != nil && r.actual.Present {
		hint = r.actual.Instance.ID
	}
	lb, twins, err := c.observe(ctx, r, svc.Service, hint)
	if err != nil {
		return lbsync.LoadBalancer{}, err
	}
	// In a dry run it is the real controller that changes the CLB; where nothing is written, the plan says it all.
	if r.actual != nil && !c.dryRun && !svc.Options.PlanOnly {
		before := *r.actual
		before.Instance.Attributes = wanted.Among(before.Instance.Attributes, lb.Instance.Attributes)
		c.verified(ctx, r, lbsync.Drift(before, lb), before, lb)
	}
	c.memory.noteRegion(lb.Instance)
	r.order(false, lb.Present, nil)
	// Spread from half to one and a half of the time, so that what a restart read at once is not verified at once.
	r.actual, r.twins, r.known, r.verify = &lb, twins, time.Now(), time.Now().Add(wait.Jitter(c.verify/2, 2))
	return lb, nil
}

// observe finds the owner's CLB by its tags. hint spares the search if the CLB of that ID carries them; by
// itself an ID proves nothing, since manifests are copied. r has the cloud of the CLB's region then.
func (c *Controller) observe(ctx context.Context, r *state, svc *corev1.Service, hint string) (lbsync.LoadBalancer, []lbsync.Skip, error) {
	if hint != "" {
		lb, err := r.cloud.Observe(ctx, hint)
		switch {
		case err == nil && c.owner(svc).Owns(lb.Instance.Tags):
			return lb, nil, nil
		case mayPass(err):
			return lb, nil, err
		}
	}
	found, cloud, err := c.find(ctx, r.cloud, svc)
	if err != nil || len(found) == 0 {
		return lbsync.LoadBalancer{}, nil, err
	}
	r.cloud = cloud
	var twins []lbsync.Skip
	for _, twin := range found[1:] {
		twins = append(twins, lbsync.Skip{Object: "clb " + twin.ID, Reason: lbsync.Duplicate, Warning: true,
			Message: fmt.Sprintf("CLB %s carries the tags of this Service too and is not used: %s is older. It is deleted with the Service; delete it, or take its tag %s off", twin.ID, found[0].ID, lbsync.TagService)})
	}
	lb, err := cloud.Observe(ctx, found[0].ID)
	return lb, twins, err
}

// steps carries out one step after the other until none is left, or the next has to wait. It returns the
// CLB as it is then, and the last step, whose plan is empty.
func (c *Controller) steps(ctx context.Context, r *state, actual, desired lbsync.LoadBalancer, d due) (lbsync.LoadBalancer, lbsync.Step, error) {
	seen := lbsync.Observation{}
	for range stepsMax {
		if c.stopped() {
			return actual, lbsync.Step{}, nil
		}
		seen.Now = time.Now()
		r.stamps = r.stamps.Update(actual, desired, seen.Now)
		seen.Memory, seen.HeldSince, seen.Reweighted = r.stamps, r.held, r.tuned
		step := lbsync.Next(actual, desired, seen, c.settings.Timing)
		c.tellHeld(ctx, r, step, actual, desired)
		var err error
		switch {
		case !step.Plan.Empty():
			var refused lbsync.Refusals
			if actual, refused, err = c.apply(ctx, r, step.Plan, actual, desired); err != nil {
				return actual, step, err
			}
			desired = refused.Without(actual, desired)
			made := step.Plan.Without(refused)
			r.await(made.Register, desired, d.trigger, c.settings.Timing.HealthDeadline)
			if len(made.Register)+len(made.Reweight)+len(made.Deregister) > 0 {
				programmed(d.trigger)
				d.trigger = time.Time{}
			}
			if step.Tune {
				r.tuned = seen.Now
			}
		case step.Ask:
			if seen.Health, err = c.healths.of(ctx, actual.Instance.ID); err != nil {
				if lbsync.KindOf(err) == lbsync.NotFound {
					r.actual = nil
				}
				return actual, step, err
			}
			r.settled(seen.Health)
		default:
			if v := klog.FromContext(ctx).V(4); v.Enabled() && len(step.Waits) > 0 {
				v.Info("Waiting", "clb", actual.Instance.ID, "for", step.Waits, "again", step.Again)
			}
			for _, s := range r.all() {
				if s.tries[tryPrepare].err == nil && len(r.waitsOf(step.Waits, s, actual, desired)) == 0 {
					c.tellInStep(s, actual)
				}
			}
			if poll := c.settings.Timing.Poll; step.Again == poll && (step.Awaits(lbsync.ForHealth) || step.Awaits(lbsync.ForSuccessor)) {
				step.Again = untilPoll(time.Now(), poll)
			}
			return actual, step, nil
		}
	}
	return actual, lbsync.Step{}, fmt.Errorf("CLB %s is not in step after %d steps, which should be enough for anything: trying again from a new reading", actual.Instance.ID, stepsMax)
}

// apply carries out a plan and remembers the CLB as it is then, or that this is not known, and what was refused.
// That is no error: everything else was carried out.
func (c *Controller) apply(ctx context.Context, r *state, plan lbsync.Plan, actual, desired lbsync.LoadBalancer) (lbsync.LoadBalancer, lbsync.Refusals, error) {
	for _, s := range r.all() {
		c.tellBegin(s, r.part(plan, s, actual, desired))
	}
	klog.FromContext(ctx).Info("Applying", "clb", actual.Instance.ID, "plan", plan.String())
	now, err := plan.Apply(ctx, r.cloud, actual)
	refused, only := lbsync.OnlyRefused(err)
	if only {
		klog.FromContext(ctx).Error(err, "Refused", "clb", actual.Instance.ID, "changes", len(refused))
		r.refuse(refused, time.Now(), c.verify)
		err = nil
	}
	c.memory.noteRegion(now.Instance)
	r.order(plan.Create != nil, now.Present, err)
	if err == nil || trusted(err) {
		r.actual, r.known = &now, time.Now()
	} else {
		r.actual = nil
	}
	if err == nil {
		for _, s := range r.all() {
			countChanges(s, r.part(plan.Without(refused), s, actual, desired))
		}
	}
	return now, refused, err
}
