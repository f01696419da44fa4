// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"net/netip"

	"github.com/clbsync/clbsync/clbsim/cloud"
)

// Flow is where UDP packets from any client to a VIP's port have been sent.
type Flow struct{ VIP, Target netip.AddrPort }

// Kept returns the UDP flows that may go on. A flow to a target that is not
// bound never may. One to a target that gets no new traffic may, unless the
// listener is set to reschedule: CLB then moves it.
func Kept(f cloud.Forwarding) map[Flow]bool {
	out := map[Flow]bool{}
	for _, l := range f.Listeners {
		if !l.UDP {
			continue
		}
		for _, t := range l.Targets {
			moves := t.Weight == 0 && (t.Drained && l.MoveUDP || !t.Drained && l.MoveDead)
			if !moves {
				out[Flow{netip.AddrPortFrom(l.VIP, l.Port), t.Addr}] = true
			}
		}
	}
	return out
}

// Ended returns the flows that are no longer kept.
func Ended(before, after map[Flow]bool) map[Flow]bool {
	out := map[Flow]bool{}
	for f := range before {
		if !after[f] {
			out[f] = true
		}
	}
	return out
}
