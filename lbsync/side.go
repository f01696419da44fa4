// SPDX-License-Identifier: Apache-2.0

package lbsync

import (
	"slices"
	"time"
)

// moving is a listener whose targets are to change: those that there are and that are wanted, and the changes.
type moving struct {
	actual, desired                map[Target]int
	register, reweight, deregister []Change
	checked                        bool // how its targets are probed is changed too
}

// movingOf sorts what is to change by listener. It looks at each target once, however many listeners there are.
func movingOf(actual, desired LoadBalancer, all Plan) map[ListenerKey]*moving {
	out := map[ListenerKey]*moving{}
	of := func(k ListenerKey) *moving {
		m := out[k]
		if m == nil {
			m = &moving{actual: map[Target]int{}, desired: map[Target]int{}}
			out[k] = m
		}
		return m
	}
	for _, c := range all.Register {
		m := of(c.Listener)
		m.register = append(m.register, c)
	}
	for _, c := range all.Reweight {
		m := of(c.Listener)
		m.reweight = append(m.reweight, c)
	}
	for _, c := range all.Deregister {
		m := of(c.Listener)
		m.deregister = append(m.deregister, c)
	}
	if len(out) == 0 {
		return nil
	}
	for _, c := range all.ModifyListeners {
		if m := out[c.To.ListenerKey]; m != nil {
			m.checked = c.From.Check != c.To.Check
		}
	}
	for b, weight := range actual.Targets {
		if m := out[b.Listener]; m != nil {
			m.actual[b.Target] = weight
		}
	}
	for b, weight := range desired.Targets {
		if m := out[b.Listener]; m != nil {
			m.desired[b.Target] = weight
		}
	}
	return out
}

// side is what is decided once for a listener.
type side struct {
	unsure bool // what is known of its health says nothing now
	held   bool // too many targets would go for doubtful reasons
	room   int  // how many targets may come; negative is no limit
	force  int  // how many targets may be closed though nothing covers them, to make room

	need    int  // the weight that desired asks for, without targets that had their time and are dead
	given   bool // desired asks for targets, and they all had their time and are dead
	have    sum  // the weight of what answers now, by how sure that is
	going   int  // the weight that would leave
	healthy bool // a target that stays is known to be healthy
	settled bool // a target that stays is healthy, or was long enough to be taken for healthy
}

// sum adds up weights of targets. Each includes the one before.
type sum struct {
	known    int // known to be healthy, or not probed
	presumed int // or open for so long that it would be a surprise if not
	hoped    int // or not asked about
}

func (s sum) minus(o sum) sum {
	return sum{s.known - o.known, s.presumed - o.presumed, s.hoped - o.hoped}
}

func (s sum) plus(o sum) sum {
	return sum{s.known + o.known, s.presumed + o.presumed, s.hoped + o.hoped}
}

func (h *handover) side(l ListenerKey, m *moving) *side {
	// Nothing is taken away in the step that changes how health is found: the health that is known was
	// found the old way, and the target that is to take the traffic may fail the new one.
	s := &side{room: -1, unsure: m.checked}
	if h.doubtful(l, m) {
		h.step.Doubt = true
		s.held = h.held() < h.timing.RemovalHold
	}
	wanted := false
	for t, weight := range m.desired {
		if weight == 0 {
			continue
		}
		b := Binding{l, t}
		wanted = true
		if !h.dead(b) {
			s.need += weight
		}
		w := h.worth(b, weight)
		s.healthy = s.healthy || w.known > 0
		s.settled = s.settled || w.presumed > 0
		s.have = s.have.plus(w)
	}
	s.given = wanted && s.need == 0
	for t, weight := range m.actual {
		if weight > 0 && m.desired[t] == 0 {
			s.have = s.have.plus(h.worth(Binding{l, t}, weight))
			s.going += weight
		}
	}
	if quota := h.desired.TargetQuota; quota > 0 {
		s.room, s.force = h.makeRoom(l, m, quota)
	}
	return s
}

// worth is what a target counts for, at a weight.
func (h *handover) worth(b Binding, weight int) sum {
	if h.actual.Targets[b] == 0 || h.vacant(b) {
		return sum{}
	}
	health, age := h.seen.Health[b], h.age(b)
	switch {
	case health == Healthy, health == HealthOff, health == HealthUnknown && h.seen.Health != nil && age >= h.timing.HealthDeadline:
		return sum{weight, weight, weight}
	case h.seen.Health != nil:
		return sum{}
	case age >= h.timing.HealthDeadline:
		return sum{0, weight, weight}
	case age > 0:
		return sum{0, 0, weight}
	}
	return sum{}
}

// dead reports whether the target had its time and is known to be unhealthy.
func (h *handover) dead(b Binding) bool {
	return h.actual.Targets[b] > 0 && h.seen.Health[b] == Unhealthy && h.age(b) >= h.timing.HealthDeadline
}

// vacant reports whether nobody answers behind a target, whatever CLB's probes have found out so far: no pod
// of the Service is on its node, the Service has another node port now, or it was a pod that is gone or not ready.
func (h *handover) vacant(b Binding) bool {
	a, ok := h.desired.Answering[b.Listener]
	return ok && a.silent(b.Target, h.desired.Known)
}

// age returns for how long the target has been as it is; 0 if that is not known.
func (h *handover) age(b Binding) time.Duration {
	stamp, ok := h.seen.Memory[b]
	if !ok {
		return 0
	}
	return h.seen.Now.Sub(stamp.Since)
}

// makeRoom returns how many targets may come to a listener, and how many may be closed for those that find
// no room: a tenth at a time, since the others carry what these few carried; none while those that came
// before are not usable yet, or while a target that gets nothing anyway can go instead; and never the last
// one, unless there can be but one.
func (h *handover) makeRoom(l ListenerKey, m *moving, quota int) (room, force int) {
	there, coming := len(m.actual), len(m.register)
	var open, leaving int
	settling, unread := false, true
	var spare []Binding
	for t, weight := range m.actual {
		b := Binding{l, t}
		want, stays := m.desired[t]
		switch {
		case weight > 0:
			open++
			if want > 0 && h.settling(b) {
				settling, unread = true, unread && h.seen.Health == nil && h.age(b) > 0
			}
		case stays && want == 0:
			spare = append(spare, b)
		}
	}
	for _, c := range m.deregister {
		if c.Was == 0 {
			leaving++
		}
	}
	room = max(quota-there, 0)
	if room > 0 || coming == 0 {
		return room, 0
	}
	if settling {
		h.step.Ask = h.step.Ask || unread
		return room, 0
	}
	force = max(min(coming, max(quota/10, 1))-leaving, 0)
	slices.SortFunc(spare, Binding.compare)
	for _, b := range spare[:min(len(spare), force)] {
		h.remove(Change{Binding: b, ListenerID: h.actual.Listeners[l].ID})
		force--
	}
	if quota > 1 {
		force = min(force, open-1)
	}
	return room, max(force, 0)
}

// settling reports whether an open target may still become healthy.
func (h *handover) settling(b Binding) bool {
	health := h.seen.Health[b]
	return health != Healthy && health != HealthOff && h.age(b) < h.timing.HealthDeadline
}

// doubtful reports whether a listener would lose more than half of its open targets for doubtful reasons,
// and would be left with less than half of what it has.
func (h *handover) doubtful(l ListenerKey, m *moving) bool {
	if h.desired.RemovalAllowed || h.desired.Released[l] {
		return false
	}
	var before, after, going int
	for _, weight := range m.actual {
		if weight > 0 {
			before++
		}
	}
	for _, weight := range m.desired {
		if weight > 0 {
			after++
		}
	}
	for _, changes := range [][]Change{m.reweight, m.deregister} {
		for _, c := range changes {
			if c.Was > 0 && c.Weight == 0 && h.isDoubtful(c) {
				going++
			}
		}
	}
	return 2*going > before && 2*after < before
}

// isDoubtful reports whether a target would go for a reason that is about its node and that nobody decided. Where
// pods are the targets, a node goes because somebody decided that; and a pod that is no endpoint any more is one that ended.
func (h *handover) isDoubtful(c Change) bool {
	if a := h.desired.Answering[c.Listener]; a.Direct || a.pod(c.Target, h.desired.Known) {
		return a.Pods[c.Target.IP] == Unknowns
	}
	host := c.Target.Host()
	_, doubtful := h.desired.Doubtful[host]
	_, known := h.desired.Known[host]
	return doubtful || !known
}
