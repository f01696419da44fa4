// SPDX-License-Identifier: Apache-2.0

// Package conntrack forgets UDP flows that the kernel would keep sending to an endpoint that no longer serves. A UDP
// flow has no end: as long as a client sends, its first translation holds, to a pod that is gone or to a Service
// that is deleted. TCP is never touched: an endpoint that leaves finishes what it has begun.
//
// Stale decides about one flow and is pure; CleanUp reads and deletes. nodeagent/agent calls it after the rules have changed.
package conntrack

import (
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"

	"github.com/clbsync/clbsync/nodeagent"
)

// Ports maps UDP NodePorts to the endpoints that serve. A port with an empty list is one of ours without endpoints, or
// one that was ours: its flows have nowhere to go.
type Ports map[uint16][]netip.AddrPort

// Of returns the UDP NodePorts of the services. Endpoints that serve count whether ready or not: what is under way
// ends with the pod, not with its readiness. Gated ones serve without being said to.
func Of(services nodeagent.Services) Ports {
	ports := Ports{}
	for _, p := range services.Ports {
		if p.Name.Protocol != corev1.ProtocolUDP {
			continue
		}
		serving := []netip.AddrPort{}
		for _, e := range p.Endpoints {
			if e.Serving || e.Gated {
				serving = append(serving, e.Address)
			}
		}
		ports[p.NodePort] = serving
	}
	return ports
}

// Equal tells whether the same ports have the same endpoints, in the same order.
func (p Ports) Equal(other Ports) bool {
	return maps.EqualFunc(p, other, slices.Equal[[]netip.AddrPort])
}

// Flow is one tracked UDP flow: where the client sent it, and who answers.
type Flow struct{ Destination, Answers netip.AddrPort }

// Stale tells whether a flow is to be forgotten. Only flows to the node's own addresses are ours: a pod that talks to
// port 30001 of a server elsewhere is nobody's NodePort. A flow that was never redirected is stale only if there is an
// endpoint that could take it now: it began before the Service had endpoints, and the client may never stop sending.
func Stale(f Flow, ports Ports, node []netip.Addr) bool {
	serving, ours := ports[f.Destination.Port()]
	if !ours || !slices.Contains(node, f.Destination.Addr()) {
		return false
	}
	if f.Answers == f.Destination {
		return len(serving) > 0
	}
	return !slices.Contains(serving, f.Answers)
}

// CleanUp deletes the stale flows of a family and returns how many. The kernel interrupts a listing when the table changes
// under it: after an error some flows may have been dealt with and others not, and the caller asks again.
func CleanUp(family corev1.IPFamily, ports Ports) (deleted uint, err error) {
	if len(ports) == 0 {
		return 0, nil
	}
	node, err := nodeAddresses(family)
	if err != nil {
		return 0, err
	}
	inet := netlink.InetFamily(unix.AF_INET)
	if family == corev1.IPv6Protocol {
		inet = unix.AF_INET6
	}
	deleted, err = netlink.ConntrackDeleteFilters(netlink.ConntrackTable, inet, filter{ports, node})
	if err != nil {
		return deleted, fmt.Errorf("UDP flows of %s: %w", family, err)
	}
	return deleted, nil
}

type filter struct {
	ports Ports
	node  []netip.Addr
}

// MatchConntrackFlow is called by netlink for each flow.
func (f filter) MatchConntrackFlow(flow *netlink.ConntrackFlow) bool {
	if flow.Forward.Protocol != unix.IPPROTO_UDP {
		return false
	}
	return Stale(Flow{
		Destination: netip.AddrPortFrom(addr(flow.Forward.DstIP), flow.Forward.DstPort),
		Answers:     netip.AddrPortFrom(addr(flow.Reverse.SrcIP), flow.Reverse.SrcPort),
	}, f.ports, f.node)
}

func addr(ip net.IP) netip.Addr {
	a, _ := netip.AddrFromSlice(ip)
	return a.Unmap()
}

func nodeAddresses(family corev1.IPFamily) ([]netip.Addr, error) {
	version := netlink.FAMILY_V4
	if family == corev1.IPv6Protocol {
		version = netlink.FAMILY_V6
	}
	list, err := netlink.AddrList(nil, version)
	if err != nil {
		return nil, fmt.Errorf("addresses of this node: %w", err)
	}
	out := make([]netip.Addr, 0, len(list))
	for _, a := range list {
		out = append(out, addr(a.IP))
	}
	return out, nil
}
