// SPDX-License-Identifier: Apache-2.0

package lbsync

import (
	"fmt"
	"slices"
	"time"
)

// Observation is what is known of the targets besides their weights.
type Observation struct {
	Now    time.Time
	Health map[Binding]Health // as read since the last change of a listener; an absent binding is HealthUnknown
	Memory Memory
}

// Memory says since when each target has been as it is: taking new connections, or not (weight 0). CLB does
// not tell. It is lost in a restart, after which every target counts as changed just now: waits start
// again, which costs time and never a connection.
type Memory map[Binding]Stamp

// Stamp is an entry of Memory.
type Stamp struct {
	Open  bool        // the weight is not 0
	Check HealthCheck // how its listener probes: under another check, what was known of its health is worth nothing
	Since time.Time
}

// Update brings the memory up to what is there now and returns it. m may be nil.
func (m Memory) Update(actual LoadBalancer, now time.Time) Memory {
	out := make(Memory, len(actual.Targets))
	for b, weight := range actual.Targets {
		out[b] = Stamp{Open: weight > 0, Check: actual.Listeners[b.Listener].Check, Since: now}
		if old, ok := m[b]; ok && old.Open == out[b].Open && old.Check == out[b].Check {
			out[b] = old
		}
	}
	return out
}

// Step is the part of a plan that is safe now, and what the rest waits for.
type Step struct {
	Plan  Plan
	Waits []Wait        // sorted by listener; empty: nothing is left to do after Plan
	Again time.Duration // when to look again, if Waits is not empty; always positive then
}

// Wait is why a target stays as it is although the desired state wants it otherwise.
type Wait struct {
	Binding
	Reason WaitReason
}

// WaitReason is why a target has to wait.
type WaitReason string

// The reasons. ForHealth is the only one that the targets' health, read anew, can end.
const (
	ForHealth   WaitReason = "new targets are not healthy yet"
	ForDrain    WaitReason = "its connections are draining"
	ForEndpoint WaitReason = "no other target can take its traffic"
)

func (w Wait) String() string { return fmt.Sprintf("%s: %s", w.Binding, w.Reason) }

// Awaits reports whether one of the step's waits has the reason.
func (s Step) Awaits(reason WaitReason) bool {
	for _, w := range s.Waits {
		if w.Reason == reason {
			return true
		}
	}
	return false
}

// Next returns the step from actual towards desired that is safe now. Repeated until neither a change nor a
// wait is left, it ends in desired. The order of a handover, for each listener by itself:
//
//	new targets are registered ─► all of them healthy, or HealthDeadline over
//	    ─► old targets to weight 0 ─► Drain over ─► old targets deregistered
//
// An old target that CLB found unhealthy gets no traffic as long as another is healthy, so it goes at once.
// A listener loses its last target only if it is Idle. Everything that takes nothing away (listeners,
// settings, new targets, weights other than 0) comes at once. A listener that nobody wants goes at once,
// with its targets, and so does a whole CLB.
func Next(actual, desired LoadBalancer, seen Observation, t Timing) Step {
	all := Diff(actual, desired)
	switch {
	case all.Create != nil && len(desired.Listeners) == 0:
		return Step{}
	case all.Create != nil:
		return Step{Plan: Plan{Create: all.Create}}
	case !desired.Present:
		return Step{Plan: Plan{DeleteListeners: all.DeleteListeners, Delete: all.Delete}}
	}
	step := Step{Plan: Plan{
		CreateListeners: all.CreateListeners,
		ModifyListeners: all.ModifyListeners,
		Register:        all.Register,
		DeleteListeners: all.DeleteListeners,
	}}
	h := handover{actual: actual, desired: desired, seen: seen, timing: t, step: &step, covers: map[ListenerKey]cover{}, unsure: map[ListenerKey]bool{}}
	for _, c := range all.ModifyListeners {
		// Nothing is taken away in the step that changes how health is found: the health that is known was
		// found the old way, and the target that is to take the traffic may fail the new one.
		if c.From.Check != c.To.Check {
			h.unsure[c.To.ListenerKey] = true
		}
	}
	for _, c := range all.Reweight {
		if c.Weight > 0 {
			step.Plan.Reweight = append(step.Plan.Reweight, c)
		} else {
			h.drain(c)
		}
	}
	for _, c := range all.Deregister {
		if _, wanted := desired.Listeners[c.Listener]; wanted {
			h.remove(c)
		}
	}
	slices.SortFunc(step.Plan.Reweight, func(a, b Change) int { return a.compare(b.Binding) })
	slices.SortFunc(step.Waits, func(a, b Wait) int { return a.compare(b.Binding) })
	return step
}

// handover decides, target by target, what may be taken away.
type handover struct {
	actual, desired LoadBalancer
	seen            Observation
	timing          Timing
	step            *Step
	unsure          map[ListenerKey]bool  // the listeners whose health says nothing now
	covers          map[ListenerKey]cover // what was decided already
}

// cover says whether the targets that stay can take a listener's traffic.
type cover int

const (
	nobody  cover = iota // there is none, and there should be
	coming               // there are some, which are not healthy yet
	covered              // yes, or there is no traffic to take
)

// drain takes new connections from a target that stays.
func (h *handover) drain(c Change) {
	if h.mayClose(c) {
		h.step.Plan.Reweight = append(h.step.Plan.Reweight, c)
	}
}

// remove takes a target away: to weight 0 first, and out when its connections have had their time.
func (h *handover) remove(c Change) {
	if c.Was > 0 {
		if !h.mayClose(c) {
			return
		}
		if h.timing.Drain > 0 && h.seen.Health[c.Binding] != Unhealthy {
			h.step.Plan.Reweight = append(h.step.Plan.Reweight, c)
			return
		}
	} else if left := h.since(c.Binding, h.timing.Drain); left > 0 {
		h.wait(c, ForDrain, left)
		return
	}
	h.step.Plan.Deregister = append(h.step.Plan.Deregister, c)
}

// mayClose reports whether the target may lose its traffic now, and notes the wait if not.
func (h *handover) mayClose(c Change) bool {
	if h.unsure[c.Listener] {
		h.wait(c, ForHealth, h.timing.Poll)
		return false
	}
	if h.seen.Health[c.Binding] == Unhealthy && h.anyHealthy(c.Listener) {
		return true
	}
	cover, known := h.covers[c.Listener]
	if !known {
		cover = h.cover(c.Listener)
		h.covers[c.Listener] = cover
	}
	switch cover {
	case coming:
		h.wait(c, ForHealth, h.timing.Poll)
	case nobody:
		h.wait(c, ForEndpoint, h.timing.HealthDeadline)
	}
	return cover == covered
}

func (h *handover) anyHealthy(l ListenerKey) bool {
	for b, weight := range h.desired.Targets {
		if b.Listener == l && weight > 0 && h.actual.Targets[b] > 0 && h.seen.Health[b] == Healthy {
			return true
		}
	}
	return false
}

func (h *handover) cover(l ListenerKey) cover {
	result := nobody
	if h.desired.Idle[l] {
		result = covered
	}
	for b, weight := range h.desired.Targets {
		if b.Listener != l || weight == 0 {
			continue
		}
		if !h.usable(b) {
			return coming
		}
		result = covered
	}
	return result
}

// usable reports whether the target takes traffic, or had its time to.
func (h *handover) usable(b Binding) bool {
	if h.actual.Targets[b] == 0 {
		return false
	}
	if health := h.seen.Health[b]; health == Healthy || health == HealthOff {
		return true
	}
	return h.since(b, h.timing.HealthDeadline) <= 0
}

// since returns what is left of a time that began when the target became as it is.
func (h *handover) since(b Binding, period time.Duration) time.Duration {
	stamp, ok := h.seen.Memory[b]
	if !ok {
		return period
	}
	return period - h.seen.Now.Sub(stamp.Since)
}

func (h *handover) wait(c Change, reason WaitReason, again time.Duration) {
	h.step.Waits = append(h.step.Waits, Wait{Binding: c.Binding, Reason: reason})
	if h.step.Again == 0 || again < h.step.Again {
		h.step.Again = again
	}
}

// Fixed returns a Skip for each setting that CLB takes only when it is created and that the manifest has
// changed since. The CLB stays as it is: making it anew would change its address.
func Fixed(actual, desired LoadBalancer) []Skip {
	if !actual.Present || !desired.Present {
		return nil
	}
	a, d := actual.Instance, desired.Instance
	network := func(i Instance) string {
		if i.Internal {
			return "internal in " + i.SubnetID
		}
		return "public"
	}
	if a.Internal == d.Internal && (!a.Internal || a.SubnetID == d.SubnetID) {
		return nil
	}
	return []Skip{{Object: "clb " + a.ID, Reason: CreateTimeOnly, Warning: true,
		Message: fmt.Sprintf("CLB %s is %s and stays so, though the manifest asks for %s: CLB cannot change it; to get another CLB, and another address, change spec.type to ClusterIP and back", a.ID, network(a), network(d))}}
}
