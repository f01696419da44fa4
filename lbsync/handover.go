// SPDX-License-Identifier: Apache-2.0

package lbsync

import (
	"time"
)

// presumable is how much of the weight that stays may go without the health of what stays being read: a
// tenth. A node that leaves a cluster of many would otherwise cost a read for each Service.
const presumable = 10

// handover decides, target by target, what may come and what may be taken away.
type handover struct {
	actual, desired LoadBalancer
	seen            Observation
	timing          Timing
	step            *Step
	listeners       map[ListenerKey]*side
	contested       map[place]bool // targets that one listener has and another one wants
}

// place is what CLB gives to one listener only: a target, for a protocol; rules may share targets.
type place struct {
	ListenerKey // of layer 4 without its port
	Target      Target
}

func (b Binding) place() place {
	if b.Listener.Rule() {
		return place{b.Listener, b.Target}
	}
	return place{ListenerKey{Protocol: b.Listener.Protocol}, b.Target}
}

// contested returns the targets that have to leave one listener that stays before another can have them: two
// ports of a Service that swap their node ports, for instance. Each would wait for the other for ever.
func contested(actual, desired LoadBalancer, all Plan) map[place]bool {
	wanted := map[place]bool{}
	for _, c := range all.Register {
		wanted[c.place()] = true
	}
	out := map[place]bool{}
	for b := range actual.Targets {
		_, stays := desired.Listeners[b.Listener]
		if p := b.place(); stays && wanted[p] {
			out[p] = true
		}
	}
	return out
}

// register lets a target come, if there is room.
func (h *handover) register(c Change) {
	s := h.listeners[c.Listener]
	switch {
	case h.contested[c.place()]:
		h.wait(c, ForPlace, h.timing.Poll)
		return
	case s.room == 0:
		h.wait(c, ForRoom, h.timing.Poll)
		return
	}
	pod := h.desired.Answering[c.Listener].pod(c.Target, h.desired.Known) // has no rules in between
	if left := h.timing.Programming - h.age(c.Binding); left > 0 && !pod && c.Listener.blind() && s.have.hoped > 0 {
		h.wait(c, ForRules, left)
		return
	}
	s.room--
	h.step.Plan.Register = append(h.step.Plan.Register, c)
}

// reopen gives a closed target its weight back, after its node had time for its rules: CLB may not have noticed yet that
// the last pod there had gone, and would send at once, to a node that still knows pods which end, and not the new one.
func (h *handover) reopen(c Change) {
	pod := h.desired.Answering[c.Listener].pod(c.Target, h.desired.Known) // has no rules in between
	if left := h.timing.Programming - h.age(c.Binding); left > 0 && !pod && h.listeners[c.Listener].have.hoped > 0 {
		h.wait(c, ForRules, left)
		return
	}
	h.step.Plan.Reweight = append(h.step.Plan.Reweight, c)
}

// blind reports whether the health check of such listeners cannot see the nodes' rules: CLB would send to a
// node that answers its ping and refuses the datagram.
func (k ListenerKey) blind() bool { return k.Protocol.Transport() == UDP }

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
	if h.contested[c.place()] {
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
	} else if left := h.timing.Drain - h.age(c.Binding); left > 0 {
		h.wait(c, ForDrain, left)
		return
	}
	h.step.Plan.Deregister = append(h.step.Plan.Deregister, c)
}

// mayClose reports whether the target may lose its traffic now, and notes the wait if not. What it allows is
// taken out of what the listener has.
func (h *handover) mayClose(c Change) bool {
	s := h.listeners[c.Listener]
	health, worth := h.seen.Health[c.Binding], h.worth(c.Binding, c.Was)
	left := s.have.minus(worth)
	switch {
	case s.unsure:
		h.wait(c, ForHealth, h.timing.Poll)
	case s.healthy && health == Unhealthy, s.settled && h.vacant(c.Binding):
		return true // it was worth nothing
	case s.held && h.isDoubtful(c):
		h.step.Held = true
		h.step.Ask = h.step.Ask || h.seen.Health == nil // what is dead need not stay
		h.wait(c, ForRelease, min(h.timing.RemovalHold-h.held(), h.timing.HealthDeadline))
	case h.desired.Idle[c.Listener], s.need > 0 && left.known >= s.need,
		s.need > 0 && left.presumed >= s.need && s.going*presumable <= s.need:
		s.have = left
		return true
	case s.force > 0:
		s.force--
		s.have = left
		return true
	case s.given && health != Healthy && health != HealthOff:
		return true // neither it nor what is to come after it works
	case s.need == 0:
		h.wait(c, ForEndpoint, h.timing.HealthDeadline)
	default:
		h.step.Ask = h.step.Ask || left.hoped >= s.need
		h.wait(c, ForHealth, h.timing.Poll)
	}
	return false
}

func (h *handover) held() time.Duration {
	if h.seen.HeldSince.IsZero() {
		return 0
	}
	return h.seen.Now.Sub(h.seen.HeldSince)
}

func (h *handover) wait(c Change, reason WaitReason, again time.Duration) {
	h.step.Waits = append(h.step.Waits, Wait{Binding: c.Binding, Reason: reason})
	if h.step.Again == 0 || again < h.step.Again {
		h.step.Again = again
	}
}
