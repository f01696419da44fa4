// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/clbsync/clbsync/lbsync"
)

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
