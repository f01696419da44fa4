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

	HeldSince  time.Time // since when the steps before were Held; zero if the last one was not
	Reweighted time.Time // when a step last changed weights that were not 0 and did not become 0; zero: long ago
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
	Held  bool          // a removal of most targets for doubtful reasons is held (waits ForRelease)
	Tune  bool          // the plan has changes of weights that are damped: Observation.Reweighted is now
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
	ForRelease  WaitReason = "most targets would go for reasons that are about their nodes"
	ForRoom     WaitReason = "the listener has as many targets as it may"
	ForPlace    WaitReason = "another listener still has it"
	ForDamping  WaitReason = "weights were changed a moment ago"
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
// A listener loses its last target only if it is Idle. A removal that takes more than half of a listener's
// targets for doubtful reasons is held for RemovalHold. Where the quota has no room for new targets, a few
// old ones go first. Everything that takes nothing away (listeners, settings, new targets, weights other
// than 0) comes at once. A listener that nobody wants goes at once, with its targets, and so does a whole
// CLB.
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
		DeleteListeners: all.DeleteListeners,
	}}
	h := handover{actual: actual, desired: desired, seen: seen, timing: t, step: &step, listeners: map[ListenerKey]*side{}}
	for k := range desired.Listeners {
		h.listeners[k] = h.side(k, all)
	}
	h.contested = contested(actual, desired, all)
	for _, c := range all.Register {
		h.register(c)
	}
	var tuning []Change
	for _, c := range all.Reweight {
		switch {
		case c.Weight == 0:
			h.drain(c)
		case c.Was == 0:
			step.Plan.Reweight = append(step.Plan.Reweight, c)
		default:
			tuning = append(tuning, c)
		}
	}
	for _, c := range all.Deregister {
		if _, wanted := desired.Listeners[c.Listener]; wanted {
			h.remove(c)
		}
	}
	h.tune(tuning)
	slices.SortFunc(step.Plan.Reweight, func(a, b Change) int { return a.compare(b.Binding) })
	slices.SortFunc(step.Waits, func(a, b Wait) int { return a.compare(b.Binding) })
	return step
}

// handover decides, target by target, what may come and what may be taken away.
type handover struct {
	actual, desired LoadBalancer
	seen            Observation
	timing          Timing
	step            *Step
	listeners       map[ListenerKey]*side
	contested       map[place]bool // targets that one listener has and another one wants
}

// place is what CLB gives to one listener only: a target, for a protocol.
type place struct {
	Protocol Protocol
	Target   Target
}

// contested returns the targets that have to leave one listener that stays before another can have them: two
// ports of a Service that swap their node ports, for instance. Each would wait for the other for ever.
func contested(actual, desired LoadBalancer, all Plan) map[place]bool {
	wanted := map[place]bool{}
	for _, c := range all.Register {
		wanted[place{c.Listener.Protocol, c.Target}] = true
	}
	out := map[place]bool{}
	for b := range actual.Targets {
		_, stays := desired.Listeners[b.Listener]
		if p := (place{b.Listener.Protocol, b.Target}); stays && wanted[p] {
			out[p] = true
		}
	}
	return out
}

// side is what is decided once for a listener.
type side struct {
	unsure  bool // what is known of its health says nothing now
	cover   cover
	healthy bool // a target that stays is healthy
	held    bool // too many targets would go for doubtful reasons
	room    int  // how many targets may come; negative is no limit
	force   int  // how many targets may be closed though nothing covers them, to make room
}

func (h *handover) side(l ListenerKey, all Plan) *side {
	s := &side{cover: h.cover(l), healthy: h.anyHealthy(l), held: h.doubtful(l, all), room: -1}
	for _, c := range all.ModifyListeners {
		// Nothing is taken away in the step that changes how health is found: the health that is known was
		// found the old way, and the target that is to take the traffic may fail the new one.
		if c.To.ListenerKey == l && c.From.Check != c.To.Check {
			s.unsure = true
		}
	}
	if quota := h.desired.TargetQuota; quota > 0 {
		s.room, s.force = h.makeRoom(l, all, quota)
	}
	return s
}

// makeRoom returns how many targets may come to a listener, and how many may be closed for those that find
// no room: a tenth at a time, since the others carry what these few carried; none while those that came
// before are not usable yet; and never the last one, unless there can be but one.
func (h *handover) makeRoom(l ListenerKey, all Plan, quota int) (room, force int) {
	var there, open, coming, leaving int
	settling := false
	for b, weight := range h.actual.Targets {
		if b.Listener != l {
			continue
		}
		there++
		if weight > 0 {
			open++
			settling = settling || h.desired.Targets[b] > 0 && !h.usable(b)
		}
	}
	for _, c := range all.Register {
		if c.Listener == l {
			coming++
		}
	}
	for _, c := range all.Deregister {
		if c.Listener == l && c.Was == 0 {
			leaving++
		}
	}
	room = max(quota-there, 0)
	if settling || room > 0 || coming == 0 {
		return room, 0
	}
	force = min(coming, max(quota/10, 1)) - leaving
	if open > 1 {
		force = min(force, open-1)
	}
	return room, max(force, 0)
}

// register lets a target come, if there is room.
func (h *handover) register(c Change) {
	s := h.listeners[c.Listener]
	switch {
	case h.contested[place{c.Listener.Protocol, c.Target}]:
		h.wait(c, ForPlace, h.timing.Poll)
		return
	case s.room == 0:
		h.wait(c, ForRoom, h.timing.Poll)
		return
	}
	s.room--
	h.step.Plan.Register = append(h.step.Plan.Register, c)
}

// tune changes weights among targets that are open and stay open. A rollout changes them with each pod: the
// first change is made at once, the following ones are gathered, unless a call is due anyway.
func (h *handover) tune(changes []Change) {
	if left := h.timing.Damping - h.seen.Now.Sub(h.seen.Reweighted); left > 0 && !h.seen.Reweighted.IsZero() && len(h.step.Plan.Reweight) == 0 {
		for _, c := range changes {
			h.wait(c, ForDamping, left)
		}
		return
	}
	h.step.Tune = len(changes) > 0
	h.step.Plan.Reweight = append(h.step.Plan.Reweight, changes...)
}

// drain takes new connections from a target that stays.
func (h *handover) drain(c Change) {
	if h.mayClose(c) {
		h.step.Plan.Reweight = append(h.step.Plan.Reweight, c)
	}
}

// remove takes a target away: to weight 0 first, and out when its connections have had their time; at once
// if another listener needs it.
func (h *handover) remove(c Change) {
	if h.contested[place{c.Listener.Protocol, c.Target}] {
		h.step.Plan.Deregister = append(h.step.Plan.Deregister, c)
		return
	}
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
	s := h.listeners[c.Listener]
	switch {
	case s.unsure:
		h.wait(c, ForHealth, h.timing.Poll)
	case h.seen.Health[c.Binding] == Unhealthy && s.healthy:
		return true
	case s.held:
		h.step.Held = true
		h.wait(c, ForRelease, h.timing.RemovalHold-h.held())
	case s.cover == covered:
		return true
	case s.force > 0:
		s.force--
		return true
	case s.cover == coming:
		h.wait(c, ForHealth, h.timing.Poll)
	default:
		h.wait(c, ForEndpoint, h.timing.HealthDeadline)
	}
	return false
}

func (h *handover) held() time.Duration {
	if h.seen.HeldSince.IsZero() {
		return 0
	}
	return h.seen.Now.Sub(h.seen.HeldSince)
}

// doubtful reports whether a listener would lose more than half of its open targets for doubtful reasons,
// and would be left with less than half of what it has.
func (h *handover) doubtful(l ListenerKey, all Plan) bool {
	if h.desired.RemovalAllowed || h.held() >= h.timing.RemovalHold {
		return false
	}
	var before, after, going int
	for b, weight := range h.actual.Targets {
		if b.Listener == l && weight > 0 {
			before++
		}
	}
	for b, weight := range h.desired.Targets {
		if b.Listener == l && weight > 0 {
			after++
		}
	}
	count := func(changes []Change) {
		for _, c := range changes {
			host := c.Target.Host()
			_, doubtful := h.desired.Doubtful[host]
			if c.Listener == l && c.Was > 0 && c.Weight == 0 && (doubtful || !h.desired.Known[host]) {
				going++
			}
		}
	}
	count(all.Reweight)
	count(all.Deregister)
	return 2*going > before && 2*after < before
}

// cover says whether the targets that stay can take a listener's traffic.
type cover int

const (
	nobody  cover = iota // there is none, and there should be
	coming               // there are some, which are not healthy yet
	covered              // yes, or there is no traffic to take
)

// anyHealthy reports whether a target that stays and is open is healthy.
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
