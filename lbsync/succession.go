// SPDX-License-Identifier: Apache-2.0

package lbsync

import "slices"

// succeed takes out of the listeners that the step deletes those whose port a listener of the other transport takes over for the
// same Service, until that serves: a browser whose QUIC stops tries TCP, and must not find it refused. They can stand side by side,
// and the wait is that of a handover, for as long as new targets may take to become healthy. Registrations come first.
func (h *handover) succeed(all Plan) {
	h.step.Plan.DeleteListeners = slices.DeleteFunc(slices.Clone(h.step.Plan.DeleteListeners), func(old Listener) bool {
		heir := ListenerKey{Protocol: otherTransport(old.Protocol), Port: old.Port}
		if old.Rule() || h.needed(old.ListenerKey, all) {
			return false
		}
		for k, l := range h.desired.Listeners {
			if k.Rule() || k.port() != heir || l.Name != old.Name || h.serves(k) {
				continue
			}
			h.wait(Change{Binding: Binding{Listener: old.ListenerKey}}, ForSuccessor, h.timing.Poll)
			return true
		}
		return false
	})
}

func otherTransport(p Protocol) Protocol {
	if p.Transport() == UDP {
		return TCP
	}
	return UDP
}

// needed reports whether a listener that stays is to have a target of one that goes, which CLB gives to one of them only.
func (h *handover) needed(old ListenerKey, all Plan) bool {
	if old.Protocol.layer7() {
		return false // Rules share targets.
	}
	for _, c := range all.Register {
		if _, has := h.actual.Targets[Binding{old, c.Target}]; has && c.Listener.Protocol == old.Protocol {
			return true
		}
	}
	return false
}

// serves reports whether a listener, with its rules, can take what comes: enough of its targets are healthy, or one has been there for
// so long that it is no newcomer, or there is nothing to wait for. A target that neither is there nor comes now waits for
// something else, and nobody waits for it.
func (h *handover) serves(k ListenerKey) bool {
	coming := map[Binding]bool{}
	for _, c := range h.step.Plan.Register {
		coming[c.Binding] = true
	}
	need, have, newcomer := 0, sum{}, true
	for b, weight := range h.desired.Targets {
		if b.Listener.Parent() != k || weight == 0 || h.actual.Targets[b] == 0 && !coming[b] || h.dead(b) {
			continue
		}
		need += weight
		have = have.plus(h.worth(b, weight))
		newcomer = newcomer && (h.actual.Targets[b] == 0 || h.age(b) < h.timing.HealthDeadline)
	}
	if need == 0 || !newcomer || have.known >= need {
		return true
	}
	h.step.Ask = h.step.Ask || h.seen.Health == nil && have.hoped >= need
	return false
}
