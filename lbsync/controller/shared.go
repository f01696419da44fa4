// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/clbsync/clbsync/lbsync"
	"github.com/clbsync/clbsync/lbsync/annotation"
)

// party is a Service at the sync of a CLB that somebody made.
type party struct {
	lbsync.Service
	seat  *seat
	live  bool // the API server still has it
	stays bool // what it has stays as it is
	err   error
}

// sharing is one sync of a CLB that somebody made, with the Services that share it.
type sharing struct {
	*Controller
	key     key
	r       *state
	due     due
	parties []*party
	snap    lbsync.Snapshot
	unsure  bool // the instance of some node has never been answered
	desired lbsync.LoadBalancer
	skips   []lbsync.Skip
	step    lbsync.Step
	again   time.Duration
	out     outcome
}

// syncShared is sync for a CLB that somebody made. Whatever is wrong with one of its Services costs that one only.
func (c *Controller) syncShared(ctx context.Context, k key, r *state, d due) (time.Duration, outcome) {
	if d.changed {
		r.refused = nil
	}
	s := &sharing{Controller: c, key: k, r: r, due: d, out: outcome{each: map[types.UID]outcome{}}}
	if r.seats == nil {
		r.seats = map[types.UID]*seat{}
	}
	begun := time.Now()
	if err := s.gather(); err != nil {
		return 0, outcome{err: err}
	}
	if len(s.parties) == 0 {
		c.memory.forget(k)
		return 0, outcome{}
	}
	found, err := s.observe(ctx)
	if err == nil && found {
		err = s.settle(ctx)
	}
	switch {
	case err != nil:
	case len(s.parties) == 0:
		r.clear()
		c.memory.forget(k)
		return 0, outcome{}
	case !found:
		for _, p := range s.parties {
			if !p.Leaving {
				s.skips = append(s.skips, lbsync.NotFoundSkip(p.Service, k.Name, p.Options.CrossRegion))
			}
		}
		s.again = wait.Jitter(c.verify, jitter)
	default:
		err = s.pursue(ctx, begun)
	}
	s.conclude(ctx, found, err)
	return s.again, s.out
}

// gather finds the Services: those that belong to the CLB by what was noted or by their annotation, and those that did when
// they were last seen.
func (s *sharing) gather() error {
	found, err := s.members.ByIndex(byCLB, s.key.Name)
	if err != nil {
		return err
	}
	here := map[types.UID]bool{}
	add := func(svc *corev1.Service, live bool) {
		if here[svc.UID] {
			return
		}
		here[svc.UID] = true
		options, problems := annotation.Parse(svc.Annotations)
		p := &party{Service: lbsync.Service{Service: svc, Options: options, Problems: problems}, live: live}
		p.Leaving = !live || !s.settings.Wants(svc) || s.due.retire != nil && s.due.retire.UID == svc.UID
		s.parties = append(s.parties, p)
	}
	for _, obj := range found {
		if svc := obj.(*corev1.Service); s.concerns(svc) {
			add(svc, true)
		}
	}
	known := slices.Collect(maps.Values(s.r.seats))
	if s.due.retire != nil {
		known = append(known, &seat{service: s.due.retire})
	}
	for _, last := range known {
		svc, err := s.services.Services(last.service.Namespace).Get(last.service.Name)
		switch {
		case err != nil && !apierrors.IsNotFound(err):
			return err
		case err == nil && svc.UID == last.service.UID:
			add(svc, true)
		default:
			add(last.service, false)
		}
	}
	slices.SortFunc(s.parties, func(a, b *party) int { return lbsync.ByClaim(a.Service, b.Service) })
	services := make([]lbsync.Service, len(s.parties))
	for i, p := range s.parties {
		services[i] = p.Service
	}
	s.memory.reaches(s.key, reachOf(s.settings, services, s.r.actual))
	return nil
}

// observe reads the CLB, if that is due, and reports whether there is one.
func (s *sharing) observe(ctx context.Context) (bool, error) {
	r := s.r
	if r.actual != nil && time.Now().Before(r.verify) && r.cloud != nil {
		return true, nil
	}
	var err error
	if r.cloud, err = s.cloudOf(s.parties[0].Service.Service); err != nil {
		return false, err
	}
	lb, err := r.cloud.Observe(ctx, s.key.Name)
	if lbsync.KindOf(err) == lbsync.NotFound {
		r.actual = nil
		return false, nil
	}
	if err != nil {
		return false, err
	}
	s.memory.noteRegion(lb.Instance)
	if r.actual != nil && !s.dryRun {
		s.verified(ctx, r, lbsync.Drift(*r.actual, lb), *r.actual, lb)
	}
	r.actual, r.known, r.verify = &lb, time.Now(), time.Now().Add(wait.Jitter(s.verify/2, 2))
	return true, nil
}

// settle decides which of the Services are served here. One that has a CLB of its own, or has nothing here and names
// another one, is sent there.
func (s *sharing) settle(ctx context.Context) error {
	var stay []*party
	for _, p := range s.parties {
		svc := p.Service.Service
		here, err := s.settleOne(ctx, p)
		if err != nil {
			return err
		}
		if !here {
			if seat := s.r.seats[svc.UID]; seat != nil {
				seat.leave()
				delete(s.r.seats, svc.UID)
			}
			continue
		}
		p.seat = s.r.seats[svc.UID]
		if p.seat == nil {
			p.seat = newSeat()
			s.r.seats[svc.UID] = p.seat
		}
		p.seat.service = svc
		stay = append(stay, p)
	}
	s.parties = stay
	return nil
}

func (s *sharing) settleOne(ctx context.Context, p *party) (bool, error) {
	svc, has := p.Service.Service, s.r.actual.Has(p.UID)
	if at := s.memory.claim(svc.UID, s.key); at != s.key {
		s.queue.add(at, 0, due{changed: true})
		return has, nil
	}
	noted := hasFinalizer(svc) && slices.Contains(p.Options.Applied, annotation.ExistingID)
	switch {
	case !p.live, p.Leaving && (has || noted), p.Options.Skip && has:
		return true, nil
	case has:
		return true, nil // What it has here is proof enough, whatever its annotations say.
	case noted && p.Options.ExistingID != s.key.Name:
		s.memory.yield(svc.UID, s.key)
		return false, s.unpin(ctx, svc)
	case !noted && !p.Leaving && s.r.seats[svc.UID] == nil:
		found, err := s.r.cloud.Find(ctx, s.owner(svc))
		if err != nil {
			return false, err
		}
		if len(found) > 0 {
			s.memory.yield(svc.UID, s.key)
			return false, s.pin(ctx, svc, found[0].ID, ownKey(svc))
		}
	case keyOf(svc) != s.key:
		s.memory.yield(svc.UID, s.key)
		s.queue.add(keyOf(svc), 0, due{changed: true})
		return false, nil
	}
	return true, nil
}

// pursue takes the CLB towards what its Services ask for.
func (s *sharing) pursue(ctx context.Context, begun time.Time) error {
	r := s.r
	for _, p := range s.parties {
		r.follow(p.seat, s.policyOf(p.Service), *r.actual)
		s.secrets.read(ctx, p.Service.Service, s.due.changed)
	}
	if err := s.look(); err != nil {
		return err
	}
	if !s.dryRun {
		s.prepareAll(ctx)
		if err := s.look(); err != nil {
			return err
		}
	}
	actual := *r.actual
	s.desired = lbsync.Complete(actual, s.desired)
	s.skips = append(s.skips, lbsync.Replaced(actual, s.desired)...)
	s.skips = append(s.skips, lbsync.Foreign(actual, s.desired)...)
	s.desired = s.snap.KeepPods(actual, s.desired)
	if s.unsure {
		s.desired = s.snap.Keep(actual, s.desired)
	}
	leftOut, refusals := r.leftOut(actual, s.desired, begun)
	for i := range refusals {
		refusals[i].Service = r.refused[i].Whose(actual, s.desired)
	}
	s.skips = append(s.skips, refusals...)
	s.desired = leftOut.Without(actual, s.desired)
	desired, tolerance := lbsync.Tolerate(actual, s.desired, r.tolerance)
	r.tolerate(tolerance)
	s.desired = desired
	if s.dryRun {
		s.again = max(time.Until(r.verify), atOnce)
		return nil
	}
	known := len(r.refused)
	_, step, err := s.steps(ctx, r, actual, s.desired, s.due)
	s.step = step
	if err != nil {
		return err
	}
	r.retried(begun)
	s.again = soonest(step.Again, soonest(r.nextTry(begun), max(time.Until(r.verify), atOnce)))
	if len(r.refused) > known {
		s.again = atOnce // to say so
	} else {
		s.again = soonest(s.again, s.untilHealthy(ctx, r, *r.actual))
	}
	return nil
}

// look computes what the CLB should be.
func (s *sharing) look() (err error) {
	var services []lbsync.Service
	for _, p := range s.parties {
		if p.err == nil && s.memory.claim(p.UID, s.key) == s.key {
			services = append(services, p.Service)
		} // else what it has is left alone until it can be looked at
	}
	if s.snap, s.unsure, err = s.snapshot(s.r.actual, services...); err != nil {
		return err
	}
	s.snap.Existing, s.snap.Actual = s.key.Name, *s.r.actual
	s.desired, s.skips = lbsync.Desired(s.snap)
	for _, p := range s.parties {
		p.stays = p.err == nil && s.snap.Stays(p.Service)
	}
	return nil
}

// prepareAll makes sure that every Service outlives its listeners.
func (s *sharing) prepareAll(ctx context.Context) {
	for _, p := range s.parties {
		if p.Leaving || p.stays || !p.live {
			continue
		}
		svc := p.Service.Service
		p.err = s.attempt(ctx, p.seat, svc, tryPrepare, s.due.changed, func() error {
			now, err := s.prepare(ctx, svc, lbsync.Finding{Options: s.here(p.Options), Actual: *s.r.actual})
			if err == nil {
				p.Service.Service, p.seat.service = now, now
			}
			return err
		})
		if p.err == nil {
			_ = s.attempt(ctx, p.seat, svc, tryConfig, s.due.changed, func() error {
				return s.configs.auto(ctx, p.Service.Service, p.Options.ConfigAuto, s.snap.Sections(s.snap.ServiceOf(p.UID)))
			})
		}
	}
}

// here returns the options with the CLB that serves the Service in the place of one that it names meanwhile.
func (s *sharing) here(o annotation.Options) annotation.Options {
	o.ExistingID = s.key.Name
	return o
}

// conclude makes known to each Service what came of it, and lets those go that have nothing here any more.
func (s *sharing) conclude(ctx context.Context, found bool, failure error) {
	var errs []error
	staying := 0
	for _, p := range s.parties {
		if !p.Leaving {
			staying++
		}
	}
	for _, p := range s.parties {
		if p.seat == nil { // not settled: a failure came first
			if p.seat = s.r.seats[p.UID]; p.seat == nil {
				p.seat = newSeat()
				s.r.seats[p.UID] = p.seat
			}
			p.seat.service = p.Service.Service
		}
		if s.memory.claim(p.UID, s.key) != s.key {
			continue
		}
		one := s.tell(ctx, p, found, failure, staying)
		s.out.each[p.UID] = one
		if one.err != nil && failure == nil {
			errs = append(errs, one.err)
		}
		s.again = soonest(s.again, p.seat.retryIn(time.Now()))
	}
	// What fails for one of them is tried again by itself: it must not hold back the others, as a failure of the CLB does.
	s.out.err, s.out.trouble = failure, errors.Join(errs...)
	if len(s.r.seats) == 0 && failure == nil {
		s.r.clear()
		s.memory.forget(s.key)
		s.again = 0
	}
}

// tell concludes the sync for one Service.
func (s *sharing) tell(ctx context.Context, p *party, found bool, failure error, staying int) outcome {
	f := s.finding(p, found, failure)
	s.report(ctx, p.seat, f.Skips)
	out := outcome{present: f.Actual.Present && len(f.Actual.Listeners) > 0, ingress: lbsync.Ingress(f.Actual.Instance, p.Options.IPMode), refused: blocker(f.Skips), err: f.Failure}
	if s.dryRun || f.PlanOnly {
		s.show(ctx, p.seat, f.Plan)
	}
	if s.dryRun {
		return out
	}
	gone := p.Leaving && f.Failure == nil && (len(f.Actual.Listeners) == 0 || p.Options.Skip) && !f.PlanOnly
	if gone {
		out.err = s.attempt(ctx, p.seat, p.Service.Service, tryRelease, s.due.changed, func() error { return s.letGo(ctx, p, found, staying) })
		return out
	}
	if !p.live {
		return out
	}
	err := s.attempt(ctx, p.seat, p.Service.Service, tryPublish, s.due.changed, func() error {
		later, err := s.publish(ctx, p.seat, p.Service.Service, f, s.r.failures)
		s.again = soonest(s.again, later)
		return err
	})
	if out.err = errors.Join(out.err, err); apierrors.IsNotFound(err) {
		out.err = f.Failure
	}
	return out
}

// finding is what the sync found out about one Service.
func (s *sharing) finding(p *party, found bool, failure error) lbsync.Finding {
	f := lbsync.Finding{Options: s.here(p.Options), Hold: s.settings.Timing.RemovalHold, PlanOnly: p.Options.PlanOnly, Failure: failure}
	if f.Failure == nil {
		f.Failure = p.err
	}
	for _, skip := range s.skips {
		if skip.Service == "" || skip.Service == p.UID {
			f.Skips = append(f.Skips, skip)
		}
	}
	if s.r.actual == nil {
		return f
	}
	actual := *s.r.actual
	f.Actual, f.Desired = actual.Of(p.UID, s.desired), s.desired.Of(p.UID, lbsync.LoadBalancer{})
	if found && len(f.Actual.Listeners) == 0 && p.stays {
		f.Actual = lbsync.LoadBalancer{} // It has nothing here, and is to have nothing.
	}
	if !p.stays && !p.Leaving && found {
		f.Skips = append(f.Skips, unavailable(f.Desired, f.Skips)...)
	}
	f.Waits, f.Held = s.r.waitsOf(s.step.Waits, p.seat, actual, s.desired), s.step.Held
	for _, d := range s.r.tolerance.Differences() {
		if lbsync.Whose(d.Listener, actual, s.desired) == p.UID || d.Was.Listener.Name == lbsync.ListenerName(string(p.UID)) {
			f.Kept = append(f.Kept, d)
		}
	}
	if found && (f.PlanOnly || s.dryRun) {
		f.Plan = s.snap.PlanOf(p.UID, s.unsure)
	}
	return f
}

// letGo releases a Service that has nothing here any more, and the CLB, when it is the last.
func (s *sharing) letGo(ctx context.Context, p *party, found bool, staying int) error {
	r := s.r
	for _, one := range r.refused {
		if one.Attribute == lbsync.AttributeUsedBy && one.Value == "" && found && staying == 0 {
			s.Controller.tell(p.Service.Service, corev1.EventTypeWarning, string(lbsync.NotTagged), one.Skip().Message)
		}
	}
	switch {
	case p.Options.Skip:
		if out := s.leaveAsIs(ctx, p.Service.Service, p.live); out.err != nil {
			return out.err
		}
	case p.live:
		s.Controller.tell(p.Service.Service, corev1.EventTypeNormal, eventDeleted, fmt.Sprintf("The Service has no listener on load balancer %s any more; the load balancer stays", s.key.Name))
		if err := s.release(ctx, p.Service.Service); err != nil && !apierrors.IsNotFound(err) {
			return err
		}
	}
	p.seat.leave()
	delete(r.seats, p.UID)
	s.memory.yield(p.UID, s.key)
	return nil
}

// waitsOf returns those of the waits that are about a Service's targets.
func (r *state) waitsOf(waits []lbsync.Wait, s *seat, actual, desired lbsync.LoadBalancer) []lbsync.Wait {
	if r.seats == nil {
		return waits
	}
	return slices.DeleteFunc(slices.Clone(waits), func(w lbsync.Wait) bool { return lbsync.Whose(w.Listener, actual, desired) != s.service.UID })
}

// companions returns a Service and those that share its CLB.
func (c *Controller) companions(svc *corev1.Service) ([]*corev1.Service, error) {
	k := keyOf(svc)
	all := []*corev1.Service{svc}
	if !shared(k) {
		return all, nil
	}
	found, err := c.members.ByIndex(byCLB, k.Name)
	if err != nil {
		return nil, err
	}
	for _, obj := range found {
		if other := obj.(*corev1.Service); other.UID != svc.UID && c.concerns(other) {
			all = append(all, other)
		}
	}
	return all, nil
}

// snapshotOf returns all that decides about the CLB of a Service, as the caches have it now, for others than the workers.
func (c *Controller) snapshotOf(svc *corev1.Service, actual lbsync.LoadBalancer) (snap lbsync.Snapshot, own lbsync.Service, unsure bool, err error) {
	k := keyOf(svc)
	all, err := c.companions(svc)
	if err != nil {
		return snap, own, false, err
	}
	services := make([]lbsync.Service, len(all))
	for i, one := range all {
		options, problems := annotation.Parse(one.Annotations)
		services[i] = lbsync.Service{Service: one, Options: options, Problems: problems}
	}
	slices.SortFunc(services, lbsync.ByClaim)
	if snap, unsure, err = c.snapshot(&actual, services...); err != nil {
		return snap, own, false, err
	}
	if shared(k) {
		snap.Existing, snap.Actual = k.Name, actual
	}
	for _, one := range snap.Services {
		if one.UID == svc.UID {
			own = one
		}
	}
	return snap, own, unsure, nil
}
