// SPDX-License-Identifier: Apache-2.0

package nodeagent

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// Packet is the first packet of a flow, as it enters this node or leaves one of its processes.
type Packet struct {
	Source      netip.Addr
	Destination netip.Addr
	Protocol    corev1.Protocol
	Port        uint16 // destination port
	Interface   string // it came in by; "" when a process of this node sent it
	// SourceIsNode and DestinationIsNode: the address is one of this node's, loopback included.
	SourceIsNode, DestinationIsNode bool
}

// Destination is an endpoint that a packet may be sent to.
type Destination struct {
	Endpoint   netip.AddrPort
	Masquerade bool // the endpoint sees the node's address as the source
}

// Fate is what the rules do with a packet.
type Fate struct {
	Verdict Verdict
	// Frontend is the NodePort that took the packet, nil if none did.
	Frontend *Frontend
	// Destinations are equally likely; empty unless the verdict is Forward. Sorted by endpoint.
	Destinations []Destination
}

// Trace follows a packet through the rules.
func (r Rules) Trace(p Packet) Fate {
	if !p.DestinationIsNode {
		return Fate{Verdict: Pass}
	}
	f := r.frontendOf(p)
	if f == nil {
		if p.Protocol == corev1.ProtocolTCP && slices.Contains(r.Health, p.Port) {
			return Fate{Verdict: Accept}
		}
		return Fate{Verdict: Pass}
	}
	if !p.Destination.IsLoopback() || r.Settings.Localhost {
		for _, step := range f.Steps {
			if r.matches(step.From, p) {
				return Fate{Verdict: Forward, Frontend: f, Destinations: destinations(f.Pool(step.To), step.Masquerade, p.Source)}
			}
		}
	}
	return Fate{Verdict: f.Otherwise, Frontend: f}
}

func (r Rules) frontendOf(p Packet) *Frontend {
	i, found := slices.BinarySearchFunc(r.Frontends, p, func(f Frontend, p Packet) int {
		return cmp.Or(cmp.Compare(f.Name.Protocol, p.Protocol), cmp.Compare(f.Port, p.Port))
	})
	if !found {
		return nil
	}
	return &r.Frontends[i]
}

func (r Rules) matches(s Source, p Packet) bool {
	switch pods := r.Settings.Pods; {
	case s == Anyone:
		return true
	case s == ThisNode:
		return p.SourceIsNode
	case pods.Interface != "":
		return p.Interface == pods.Interface
	case pods.InterfacePrefix != "":
		return strings.HasPrefix(p.Interface, pods.InterfacePrefix)
	default:
		return slices.ContainsFunc(pods.CIDRs, func(c netip.Prefix) bool { return c.Contains(p.Source) })
	}
}

func destinations(pool []netip.AddrPort, masquerade bool, source netip.Addr) []Destination {
	out := make([]Destination, 0, len(pool))
	for _, e := range pool {
		out = append(out, Destination{Endpoint: e, Masquerade: masquerade || e.Addr() == source})
	}
	return out
}
