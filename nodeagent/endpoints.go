// SPDX-License-Identifier: Apache-2.0

package nodeagent

import (
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

// portKey is how a slice's port finds the Service's port: by name and protocol, never by number.
type portKey struct {
	name     string
	protocol corev1.Protocol
}

// endpoints collects what the slices say.
func (d *desiring) endpoints() map[portKey][]Endpoint {
	byPort := map[portKey]map[netip.AddrPort]Endpoint{}
	for _, slice := range d.slices {
		for _, port := range slice.Ports {
			if port.Name == nil || port.Port == nil || *port.Port == 0 {
				continue // "all ports", which no proxy supports
			}
			protocol := corev1.ProtocolTCP
			if port.Protocol != nil {
				protocol = protocolOf(*port.Protocol)
			}
			if *port.Port < 0 || *port.Port > 65535 || protocol == "" {
				d.skip("EndpointSlice", slice.Namespace, slice.Name, "port %q is %d/%s, not within 1-65535 or none of TCP, UDP, SCTP",
					*port.Name, *port.Port, protocol)
				continue
			}
			key := portKey{*port.Name, protocol}
			if byPort[key] == nil {
				byPort[key] = make(map[netip.AddrPort]Endpoint, len(slice.Endpoints))
			}
			d.mergeSlice(byPort[key], slice, uint16(*port.Port))
		}
	}
	sorted := make(map[portKey][]Endpoint, len(byPort))
	for key, set := range byPort {
		list := make([]Endpoint, 0, len(set))
		for _, e := range set {
			list = append(list, e)
		}
		slices.SortFunc(list, func(a, b Endpoint) int { return a.Address.Compare(b.Address) })
		sorted[key] = list
	}
	return sorted
}

// mergeSlice adds a slice's endpoints. An address may be named twice: while an endpoint moves between slices, or
// when a new pod got the address of one that still terminates. The one that does not terminate wins.
func (d *desiring) mergeSlice(set map[netip.AddrPort]Endpoint, slice *discoveryv1.EndpointSlice, port uint16) {
	for _, e := range slice.Endpoints {
		if len(e.Addresses) == 0 {
			continue
		}
		addr, ok := parseAddr(e.Addresses[0], d.family)
		if !ok || !routable(addr) {
			d.skip("EndpointSlice", slice.Namespace, slice.Name, "address %.64q is no usable %s address", e.Addresses[0], d.family)
			continue
		}
		endpoint := Endpoint{
			Address:     netip.AddrPortFrom(addr, port),
			Local:       e.NodeName != nil && *e.NodeName != "" && *e.NodeName == d.node,
			Ready:       e.Conditions.Ready == nil || *e.Conditions.Ready,
			Serving:     e.Conditions.Serving == nil || *e.Conditions.Serving,
			Terminating: e.Conditions.Terminating != nil && *e.Conditions.Terminating,
		}
		if endpoint.Local && e.TargetRef != nil {
			d.pods = append(d.pods, e.TargetRef.UID)
			endpoint.Gated = !endpoint.Ready && !endpoint.Terminating && d.gated[e.TargetRef.UID]
		}
		if e.Hints != nil {
			for _, zone := range e.Hints.ForZones {
				endpoint.zoneHints = append(endpoint.zoneHints, zone.Name)
			}
			for _, node := range e.Hints.ForNodes {
				endpoint.nodeHints = append(endpoint.nodeHints, node.Name)
			}
		}
		if _, exists := set[endpoint.Address]; !exists || !endpoint.Terminating {
			set[endpoint.Address] = endpoint
		}
	}
}

// routable refuses addresses that the kernel takes no packet for, or that would turn a NodePort into a door to the
// node's own loopback services. The API server refuses them too; a slice written past it does not count.
func routable(a netip.Addr) bool {
	return !a.IsUnspecified() && !a.IsLoopback() && !a.IsMulticast() && !a.IsLinkLocalUnicast() &&
		a != netip.AddrFrom4([4]byte{255, 255, 255, 255})
}

func (e Endpoint) servingTerminating() bool { return e.Serving && e.Terminating }

// here reports whether this node's Local ports send new connections to the endpoint while it can.
func (e Endpoint) here() bool { return e.Local && (e.Ready || e.Gated) }

func addresses(endpoints []Endpoint, use func(Endpoint) bool) []netip.AddrPort {
	var out []netip.AddrPort
	for _, e := range endpoints {
		if use(e) {
			out = append(out, e.Address)
		}
	}
	return out
}

func clusterEndpoints(endpoints []Endpoint, node, zone string) []netip.AddrPort {
	nearby := topology(endpoints, node, zone)
	ready := addresses(endpoints, func(e Endpoint) bool { return e.Ready && nearby(e) })
	if len(ready) > 0 {
		return ready
	}
	return addresses(endpoints, Endpoint.servingTerminating)
}

func localEndpoints(endpoints []Endpoint) []netip.AddrPort {
	ready := addresses(endpoints, Endpoint.here)
	if len(ready) > 0 {
		return ready
	}
	return addresses(endpoints, func(e Endpoint) bool { return e.Local && e.servingTerminating() })
}

// topology returns which ready endpoints the hints leave. Hints count only when every ready endpoint has one and one
// of them names us: a single endpoint without a hint means that the controller has not finished, and then a node
// that trusted the others would send all its traffic to a few.
func topology(endpoints []Endpoint, node, zone string) func(Endpoint) bool {
	forNode := func(e Endpoint) bool { return slices.Contains(e.nodeHints, node) }
	forZone := func(e Endpoint) bool { return slices.Contains(e.zoneHints, zone) }
	allNode, anyNode, allZone, anyZone := true, false, true, false
	for _, e := range endpoints {
		if !e.Ready {
			continue
		}
		allNode = allNode && len(e.nodeHints) > 0
		allZone = allZone && len(e.zoneHints) > 0
		anyNode = anyNode || forNode(e)
		anyZone = anyZone || forZone(e)
	}
	switch {
	case allNode && anyNode:
		return forNode
	case allZone && anyZone:
		return forZone
	}
	return func(Endpoint) bool { return true }
}
