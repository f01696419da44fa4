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
	Health map[Binding]Health // as read now; nil: not read. An absent binding is HealthUnknown
	Memory Memory

	HeldSince  time.Time // since when the steps before had a Doubt; zero if the last one had none
	Reweighted time.Time // when a step last changed weights that were not 0 and did not become 0; zero: long ago
}

// Memory says since when each target has been as it is: taking new connections, or not (weight 0), or wanted
// and not there. CLB does not tell. It is lost in a restart, after which every target counts as changed just
// now: waits start again, which costs time and never a connection.
type Memory map[Binding]Stamp

// Stamp is an entry of Memory.
type Stamp struct {
	Absent bool        // the target is wanted and not there
	Again  bool        // the target is closed and wanted open
	Open   bool        // the weight is not 0
	Check  HealthCheck // how its listener probes: under another check, what was known of its health is worth nothing
	Since  time.Time
}

// Update brings the memory up to what is there now and returns it. m may be nil. Of targets that are not
// there it keeps only those that may have to wait before they come.
func (m Memory) Update(actual, desired LoadBalancer, now time.Time) Memory {
	out := make(Memory, len(actual.Targets))
	note := func(b Binding, stamp Stamp) {
		if old, ok := m[b]; ok && old.Absent == stamp.Absent && old.Again == stamp.Again && old.Open == stamp.Open && old.Check == stamp.Check {
			stamp = old
		}
		out[b] = stamp
	}
	for b, weight := range actual.Targets {
		note(b, Stamp{Open: weight > 0, Again: weight == 0 && desired.Targets[b] > 0, Check: actual.Listeners[b.Listener].Check, Since: now})
	}
	for b, weight := range desired.Targets {
		if _, there := actual.Targets[b]; !there && weight > 0 && b.Listener.blind() {
			note(b, Stamp{Absent: true, Since: now})
		}
	}
	return out
}

// Step is the part of a plan that is safe now, and what the rest waits for.
type Step struct {
	Plan  Plan
	Waits []Wait        // sorted by listener; empty: nothing is left to do after Plan
	Again time.Duration // when to look again, if Waits is not empty; always positive then
	Ask   bool          // the health of the targets, read now, could let more be done; never with an Observation that has it
	Doubt bool          // most targets of a listener would go for doubtful reasons, and nobody allowed it
	Held  bool          // that is held (waits ForRelease)
	Tune  bool          // the plan has changes of weights that are damped: Observation.Reweighted is now
}

// Wait is why a target, or without one a listener, stays as it is although the desired state wants it otherwise.
type Wait struct {
	Binding
	Reason WaitReason
}

// WaitReason is why a target has to wait.
type WaitReason string

// The reasons.
const (
	ForHealth    WaitReason = "new targets are not healthy yet"
	ForSuccessor WaitReason = "the listener that takes its port over does not serve yet"
	ForDrain     WaitReason = "its connections are draining"
	ForEndpoint  WaitReason = "no other target can take its traffic"
	ForRelease   WaitReason = "most targets would go for reasons that are about their nodes"
	ForRoom      WaitReason = "the listener has as many targets as it may"
	ForPlace     WaitReason = "another listener still has it"
	ForDamping   WaitReason = "weights were changed a moment ago"
	ForRules     WaitReason = "its node has had no time for its rules"
)

func (w Wait) String() string {
	if w.Target == (Target{}) {
		return fmt.Sprintf("listener %s: %s", w.Listener, w.Reason)
	}
	return fmt.Sprintf("%s: %s", w.Binding, w.Reason)
}

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
//	new targets are registered ─► enough of them healthy, or HealthDeadline over
//	    ─► old targets to weight 0 ─► Drain over ─► old targets deregistered
//
// Enough is as much weight in healthy targets as desired asks for, so a rollout drains its old targets one by
// one, at the pace at which new ones become healthy. A target that nobody answers behind, and one that CLB
// found unhealthy, is no loss: it goes at once while another can take over. A listener loses its last target
// only if it is Idle, and its last healthy one only to a healthy one. A removal that takes more than half of a
// listener's targets for doubtful reasons is held for RemovalHold. Where the quota has no room for new
// targets, a few old ones go first. Everything that takes nothing away (listeners, settings, new targets,
// weights other than 0) comes at once, but for UDP targets and closed targets that open again, whose nodes are
// given Programming to program their rules. A listener that nobody wants goes at once, with its targets, and so does a whole CLB; but one
// whose port a listener of the other transport takes over for its Service goes when that serves.
func Next(actual, desired LoadBalancer, seen Observation, t Timing) Step {
	all := Diff(actual, desired)
	switch {
	case all.Create != nil && len(desired.Listeners) == 0:
		return Step{}
	case all.Create != nil:
		return Step{Plan: Plan{Create: all.Create}}
	case !desired.Present:
		return Step{Plan: Removal(actual, desired.Instance.Owner)}
	}
	step := Step{Plan: Plan{
		ModifyInstance:  all.ModifyInstance,
		Tag:             all.Tag,
		CreateListeners: all.CreateListeners,
		ModifyListeners: all.ModifyListeners,
		DeleteListeners: all.DeleteListeners,
	}}
	h := handover{actual: actual, desired: desired, seen: seen, timing: t, step: &step, listeners: map[ListenerKey]*side{}}
	h.contested = contested(actual, desired, all)
	for k, m := range movingOf(actual, desired, all) {
		h.listeners[k] = h.side(k, m)
	}
	for _, c := range all.Register {
		h.register(c)
	}
	h.succeed(all)
	var tuning []Change
	for _, c := range all.Reweight {
		switch {
		case c.Weight == 0:
			h.drain(c)
		case c.Was == 0:
			h.reopen(c)
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
	slices.SortFunc(step.Plan.Deregister, func(a, b Change) int { return a.compare(b.Binding) })
	slices.SortFunc(step.Plan.Reweight, func(a, b Change) int { return a.compare(b.Binding) })
	slices.SortFunc(step.Waits, func(a, b Wait) int { return a.compare(b.Binding) })
	return step
}
