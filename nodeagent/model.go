// SPDX-License-Identifier: Apache-2.0

package nodeagent

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Model is Desired with a memory: a Service whose objects are the same pointers as the time before is not worked out
// again. Of five thousand Services the one that changed costs something; the others cost a comparison. It is not safe
// for concurrent use.
type Model struct {
	family     corev1.IPFamily
	node, zone string
	services   map[types.NamespacedName]*remembered
	gated      map[types.UID]bool
	turned     map[types.UID]bool // pods that are gated now and were not the time before, or the other way round
	round      uint64
}

type remembered struct {
	service *corev1.Service
	slices  []*discoveryv1.EndpointSlice
	seen    uint64 // the last round that had the Service
	claim
}

// NewModel returns a model that remembers nothing.
func NewModel(family corev1.IPFamily) *Model {
	return &Model{family: family, services: map[types.NamespacedName]*remembered{}}
}

// Desired is the function of the same name. Objects that the snapshot shares with the one before must not have changed.
func (m *Model) Desired(s Snapshot) Services {
	zone := ""
	if s.Node != nil {
		zone = s.Node.Labels[corev1.LabelTopologyZone]
	}
	if m.zone != zone || m.node != s.NodeName {
		m.zone, m.node = zone, s.NodeName
		clear(m.services)
	}
	m.turned = difference(m.gated, s.Gated)
	m.gated = maps.Clone(s.Gated)
	m.round++
	byService := m.group(s.Slices)
	for _, service := range s.Services {
		if handles(service, m.family) {
			name := types.NamespacedName{Namespace: service.Namespace, Name: service.Name}
			m.look(name, service, byService[name])
		}
	}
	for name, r := range m.services {
		if r.seen != m.round {
			delete(m.services, name)
		}
	}
	return m.together()
}

// group sorts the slices of this family by Service. Their order within a Service is that of their names: where two
// slices contradict each other, the outcome must not depend on the order of a cache.
func (m *Model) group(all []*discoveryv1.EndpointSlice) map[types.NamespacedName][]*discoveryv1.EndpointSlice {
	want := discoveryv1.AddressTypeIPv4
	if m.family == corev1.IPv6Protocol {
		want = discoveryv1.AddressTypeIPv6
	}
	groups := make(map[types.NamespacedName][]*discoveryv1.EndpointSlice, len(m.services))
	for _, slice := range all {
		if slice.AddressType != want {
			continue
		}
		service := slice.Labels[discoveryv1.LabelServiceName]
		_, headless := slice.Labels[corev1.IsHeadlessService]
		if service == "" || headless {
			continue
		}
		name := types.NamespacedName{Namespace: slice.Namespace, Name: service}
		groups[name] = append(groups[name], slice)
	}
	for _, list := range groups {
		if len(list) > 1 {
			slices.SortFunc(list, func(a, b *discoveryv1.EndpointSlice) int { return cmp.Compare(a.Name, b.Name) })
		}
	}
	return groups
}

func (m *Model) look(name types.NamespacedName, service *corev1.Service, of []*discoveryv1.EndpointSlice) {
	r := m.services[name]
	if r == nil || r.service != service || !slices.Equal(r.slices, of) || len(m.turned) > 0 && slices.ContainsFunc(r.pods, func(uid types.UID) bool { return m.turned[uid] }) {
		d := desiring{family: m.family, node: m.node, zone: m.zone, slices: of, gated: m.gated}
		d.addService(service)
		r = &remembered{service: service, slices: of, claim: d.claim}
		m.services[name] = r
	}
	r.seen = m.round
}

// difference returns what is in one of two sets only; nil if nothing is.
func difference(a, b map[types.UID]bool) map[types.UID]bool {
	var out map[types.UID]bool
	for _, sets := range [][2]map[types.UID]bool{{a, b}, {b, a}} {
		for uid := range sets[0] {
			if sets[1][uid] {
				continue
			}
			if out == nil {
				out = map[types.UID]bool{}
			}
			out[uid] = true
		}
	}
	return out
}

// claimant is a Service that asks for a port.
type claimant struct {
	key   uint32 // protocol and port
	index int    // in the Service's list
	of    *remembered
}

func (a claimant) compare(b claimant) int {
	if a.key != b.key {
		return cmp.Compare(a.key, b.key)
	}
	return cmp.Or(cmp.Compare(a.of.service.Namespace, b.of.service.Namespace), cmp.Compare(a.of.service.Name, b.of.service.Name),
		cmp.Compare(a.index, b.index))
}

// together puts the claims side by side, sorted, and leaves each port to the first Service by name. The API server hands
// no port out twice, but while a Service is deleted and another takes its port, a cache may show both.
func (m *Model) together() Services {
	var out Services
	ports, health, twins := make([]claimant, 0, 2*len(m.services)), []claimant{}, false
	for _, r := range m.services {
		for i, p := range r.ports {
			ports = append(ports, claimant{protocolOrder(p.Name.Protocol)<<16 | uint32(p.NodePort), i, r})
		}
		for i, h := range r.health {
			health = append(health, claimant{uint32(h.Port), i, r})
		}
		out.Skips = append(out.Skips, r.skips...)
		twins = twins || r.twins
	}
	slices.SortFunc(ports, claimant.compare)
	slices.SortFunc(health, claimant.compare)
	out.Ports = make([]ServicePort, 0, len(ports))
	for i, c := range ports {
		p := c.of.ports[c.index]
		if i > 0 && ports[i-1].key == c.key {
			out.skip(p.Name.NamespacedName, "nodePort %d/%s of port %q belongs to %s", p.NodePort, p.Name.Protocol, p.Name.Port, out.Ports[len(out.Ports)-1].Name)
			continue
		}
		out.Ports = append(out.Ports, p)
	}
	if twins {
		out.dropTwins()
	}
	for i, c := range health {
		h := c.of.health[c.index]
		if i > 0 && health[i-1].key == c.key {
			out.skip(h.Service, "healthCheckNodePort %d belongs to %s", h.Port, out.Health[len(out.Health)-1].Service)
			continue
		}
		out.Health = append(out.Health, h)
	}
	slices.SortFunc(out.Skips, Skip.Compare)
	out.Skips = slices.Compact(out.Skips)
	return out
}

// protocolOrder is the alphabet's.
func protocolOrder(p corev1.Protocol) uint32 {
	switch p {
	case corev1.ProtocolSCTP:
		return 0
	case corev1.ProtocolTCP:
		return 1
	}
	return 2
}

func (s *Services) skip(service types.NamespacedName, format string, args ...any) {
	s.Skips = append(s.Skips, Skip{Object: "Service " + service.String(), Reason: fmt.Sprintf(format, args...)})
}

// dropTwins leaves each service port name to its first node port. Two ports of one Service with the same name and
// protocol cannot pass the API server; if they came through, both would claim the same chains.
func (s *Services) dropTwins() {
	seen := make(map[ServicePortName]uint16, len(s.Ports))
	kept := s.Ports[:0]
	for _, p := range s.Ports {
		if first, twice := seen[p.Name]; twice {
			s.skip(p.Name.NamespacedName, "port %q/%s has nodePort %d and %d; the first is used", p.Name.Port, p.Name.Protocol, first, p.NodePort)
			continue
		}
		seen[p.Name] = p.NodePort
		kept = append(kept, p)
	}
	s.Ports = kept
}
