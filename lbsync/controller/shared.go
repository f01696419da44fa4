// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
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
	if err == nil {
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
	services := make([]*corev1.Service, len(s.parties)) // all of them: any may know the region that it is in
	for i, p := range s.parties {
		services[i] = p.Service.Service
	}
	lb, cloud, err := s.observeExisting(ctx, r.cloud, s.key.Name, services...)
	r.cloud = cloud
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
// another one, is sent there; where the CLB is gone, nobody has anything.
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
	svc, has := p.Service.Service, s.r.actual != nil && s.r.actual.Has(p.UID)
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
