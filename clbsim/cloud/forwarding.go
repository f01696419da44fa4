// SPDX-License-Identifier: Apache-2.0

package cloud

import (
	"net/netip"
	"time"
)

// Forwarding is what a data path has to do with packets.
type Forwarding struct {
	Listeners []ForwardingListener
	VIPs      []netip.Addr // every address ever given out: what arrives for one without a listener is dropped
	Sources   []netip.Addr // of probes
}

// ForwardingListener is one listener as a data path sees it.
type ForwardingListener struct {
	ID       string
	UDP      bool
	VIP      netip.Addr
	Port     uint16
	Targets  []ForwardingTarget
	Sticky   time.Duration  // a client's connections go to one target; 0 is off
	Allow    []netip.Prefix // sources that may enter; nil is everyone
	Reset    bool           // TCP connections to deregistered targets are reset, not just dropped
	MoveUDP  bool           // UDP flows leave a target of weight 0 at once
	MoveDead bool           // UDP flows leave an unhealthy target at once
}

// ForwardingTarget is one registered target. Weight is 0 if it gets no new
// traffic, whatever the reason; its established flows go on.
type ForwardingTarget struct {
	Addr    netip.AddrPort
	Weight  int
	Drained bool // its own weight is 0
}

// Forwarding returns what a data path has to do now.
func (c *Cloud) Forwarding() Forwarding {
	f := Forwarding{Sources: []netip.Addr{c.cfg.Health.Source}}
	for _, name := range c.cfg.Regions {
		r := c.regions[name]
		for _, a := range r.everVIP {
			if a.Is4() {
				f.VIPs = append(f.VIPs, a)
			}
		}
		for _, lb := range r.byAge {
			if lb.isolated || !lb.vip.Is4() {
				continue // nothing answers at its VIP
			}
			if len(lb.listeners) > 0 {
				f.Sources = append(f.Sources, lb.vip)
			}
			for _, l := range lb.listeners {
				if l.protocol == TCP || l.protocol == UDP {
					f.Listeners = append(f.Listeners, l.forwarding())
				}
			}
		}
	}
	return f
}

// hashSticky stands in for the IP_HASH scheduler: a client keeps its target.
const hashSticky = time.Hour

func (l *listener) forwarding() ForwardingListener {
	s := l.settings
	out := ForwardingListener{
		ID: l.id, UDP: l.protocol == UDP, VIP: l.lb.vip, Port: uint16(l.port), Sticky: time.Duration(s.sessionExpire) * time.Second,
		Allow: l.allowed(), Reset: s.deregisterRst, MoveDead: s.rescheduleUnhealthy,
		MoveUDP: s.rescheduleZero || l.cloud.cfg.Assumptions.UDPMovesAtWeightZero,
	}
	if s.scheduler == "IP_HASH" {
		out.Sticky = hashSticky
	}
	receives := l.receiving()
	for i, t := range l.targets {
		n := ForwardingTarget{Addr: netip.AddrPortFrom(t.addr, uint16(t.port)), Drained: t.weight == 0}
		if receives[i] {
			n.Weight = int(t.weight)
		}
		out.Targets = append(out.Targets, n)
	}
	return out
}

// allowed returns the sources that the security groups of a CLB admit to a
// listener; nil means that it has no group.
func (l *listener) allowed() []netip.Prefix {
	if len(l.lb.securityGroups) == 0 {
		return nil
	}
	groups := l.cloud.regionOf(l.lb.vpc).groups
	var policies []Policy
	for _, id := range l.lb.securityGroups {
		if g := groups[id]; g != nil {
			for _, p := range g.ingress {
				if p.covers(transport(l.protocol), l.port) {
					policies = append(policies, p)
				}
			}
		}
	}
	return admitted(policies)
}
