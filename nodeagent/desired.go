// SPDX-License-Identifier: Apache-2.0

package nodeagent

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"
	netutils "k8s.io/utils/net"
)

// LabelServiceProxyName hands a Service over to another proxy; whatever its value, we leave such a Service alone.
const LabelServiceProxyName = "service.kubernetes.io/service-proxy-name"

// affinityMax bounds the affinity time-out to what the API allows (one day).
const affinityMax = 24 * time.Hour

// Desired returns the NodePorts and health ports that this node must serve in one family. It is total:
// what cannot be used is left out and named in Skips. The result depends on nothing but the content of the
// snapshot: not on the order of its lists.
func Desired(s Snapshot, family corev1.IPFamily) Services {
	d := &desiring{snapshot: s, family: family, slices: map[types.NamespacedName][]*discoveryv1.EndpointSlice{}}
	if s.Node != nil {
		d.zone = s.Node.Labels[corev1.LabelTopologyZone]
	}
	d.sortSlices()
	services := slices.Clone(s.Services)
	slices.SortFunc(services, func(a, b *corev1.Service) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	for _, service := range services {
		if d.handles(service) {
			d.addService(service)
		}
	}
	d.keepFirst()
	slices.SortFunc(d.out.Skips, func(a, b Skip) int {
		return cmp.Or(cmp.Compare(a.Object, b.Object), cmp.Compare(a.Reason, b.Reason))
	})
	d.out.Skips = slices.Compact(d.out.Skips)
	return d.out
}

type desiring struct {
	snapshot Snapshot
	family   corev1.IPFamily
	zone     string
	slices   map[types.NamespacedName][]*discoveryv1.EndpointSlice
	out      Services
}

func (d *desiring) skip(kind, namespace, name, format string, args ...any) {
	d.out.Skips = append(d.out.Skips, Skip{
		Object: kind + " " + namespace + "/" + name,
		Reason: fmt.Sprintf(format, args...),
	})
}

// sortSlices groups the slices of this family by Service. Their order within a Service is that of their names:
// where two slices contradict each other, the outcome must not depend on the order of a cache.
func (d *desiring) sortSlices() {
	want := discoveryv1.AddressTypeIPv4
	if d.family == corev1.IPv6Protocol {
		want = discoveryv1.AddressTypeIPv6
	}
	for _, slice := range d.snapshot.Slices {
		service := slice.Labels[discoveryv1.LabelServiceName]
		_, headless := slice.Labels[corev1.IsHeadlessService]
		if slice.AddressType != want || service == "" || headless {
			continue
		}
		name := types.NamespacedName{Namespace: slice.Namespace, Name: service}
		d.slices[name] = append(d.slices[name], slice)
	}
	for _, list := range d.slices {
		if len(list) > 1 {
			slices.SortFunc(list, func(a, b *discoveryv1.EndpointSlice) int { return cmp.Compare(a.Name, b.Name) })
		}
	}
}

// handles tells whether NodePorts of the Service are this proxy's business in this family.
func (d *desiring) handles(s *corev1.Service) bool {
	if _, other := s.Labels[LabelServiceProxyName]; other || s.Spec.Type == corev1.ServiceTypeExternalName {
		return false
	}
	if s.Spec.ClusterIP == "" || s.Spec.ClusterIP == corev1.ClusterIPNone {
		return false
	}
	ips := s.Spec.ClusterIPs
	if len(ips) == 0 {
		ips = []string{s.Spec.ClusterIP}
	}
	return slices.ContainsFunc(ips, func(ip string) bool {
		_, ok := parseAddr(ip, d.family)
		return ok
	})
}

func (d *desiring) addService(s *corev1.Service) {
	name := types.NamespacedName{Namespace: s.Namespace, Name: s.Name}
	local := externallyAccessible(s) && s.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal
	endpoints := d.endpoints(name)
	for _, port := range s.Spec.Ports {
		if port.NodePort == 0 {
			continue
		}
		if port.NodePort < 0 || port.NodePort > 65535 {
			d.skip("Service", s.Namespace, s.Name, "nodePort %d of port %q is not within 1-65535", port.NodePort, port.Name)
			continue
		}
		protocol := protocolOf(port.Protocol)
		if protocol == "" {
			d.skip("Service", s.Namespace, s.Name, "protocol %q of port %q is none of TCP, UDP, SCTP", port.Protocol, port.Name)
			continue
		}
		sp := ServicePort{
			Name:     ServicePortName{NamespacedName: name, Port: port.Name, Protocol: protocol},
			NodePort: uint16(port.NodePort),
			Local:    local,
			Affinity: affinity(s),
		}
		sp.Endpoints = endpoints[portKey{port.Name, protocol}]
		sp.ClusterEndpoints = clusterEndpoints(sp.Endpoints, d.snapshot.NodeName, d.zone)
		if local {
			sp.LocalEndpoints = localEndpoints(sp.Endpoints)
		}
		d.out.Ports = append(d.out.Ports, sp)
	}
	if s.Spec.Type == corev1.ServiceTypeLoadBalancer && local && s.Spec.HealthCheckNodePort != 0 {
		d.addHealth(s, endpoints)
	}
}

func (d *desiring) addHealth(s *corev1.Service, endpoints map[portKey][]Endpoint) {
	if s.Spec.HealthCheckNodePort < 0 || s.Spec.HealthCheckNodePort > 65535 {
		d.skip("Service", s.Namespace, s.Name, "healthCheckNodePort %d is not within 1-65535", s.Spec.HealthCheckNodePort)
		return
	}
	ready := map[netip.Addr]bool{}
	for _, list := range endpoints {
		for _, e := range list {
			if e.Local && e.Ready {
				ready[e.Address.Addr()] = true
			}
		}
	}
	d.out.Health = append(d.out.Health, HealthPort{
		Service:   types.NamespacedName{Namespace: s.Namespace, Name: s.Name},
		Port:      uint16(s.Spec.HealthCheckNodePort),
		Addresses: slices.SortedFunc(maps.Keys(ready), netip.Addr.Compare),
	})
}

// keepFirst sorts the result and leaves each port to the first Service by name. The API server hands no port
// out twice, but while a Service is deleted and another takes its port, a cache may show both.
func (d *desiring) keepFirst() {
	slices.SortStableFunc(d.out.Ports, func(a, b ServicePort) int {
		return cmp.Or(cmp.Compare(a.Name.Protocol, b.Name.Protocol), cmp.Compare(a.NodePort, b.NodePort))
	})
	ports := d.out.Ports[:0]
	for _, p := range d.out.Ports {
		if n := len(ports); n > 0 && ports[n-1].NodePort == p.NodePort && ports[n-1].Name.Protocol == p.Name.Protocol {
			d.skip("Service", p.Name.Namespace, p.Name.Name, "nodePort %d/%s of port %q belongs to %s",
				p.NodePort, p.Name.Protocol, p.Name.Port, ports[n-1].Name)
			continue
		}
		ports = append(ports, p)
	}
	d.out.Ports = d.dropTwins(ports)
	slices.SortStableFunc(d.out.Health, func(a, b HealthPort) int { return cmp.Compare(a.Port, b.Port) })
	health := d.out.Health[:0]
	for _, h := range d.out.Health {
		if n := len(health); n > 0 && health[n-1].Port == h.Port {
			d.skip("Service", h.Service.Namespace, h.Service.Name, "healthCheckNodePort %d belongs to %s", h.Port, health[n-1].Service)
			continue
		}
		health = append(health, h)
	}
	d.out.Health = health
}

// dropTwins leaves each service port name to its first node port. Two ports of one Service with the same name and
// protocol cannot pass the API server; if they came through, both would claim the same chains.
func (d *desiring) dropTwins(ports []ServicePort) []ServicePort {
	seen := make(map[ServicePortName]uint16, len(ports))
	kept := ports[:0]
	for _, p := range ports {
		if first, twice := seen[p.Name]; twice {
			d.skip("Service", p.Name.Namespace, p.Name.Name, "port %q/%s has nodePort %d and %d; the first is used",
				p.Name.Port, p.Name.Protocol, first, p.NodePort)
			continue
		}
		seen[p.Name] = p.NodePort
		kept = append(kept, p)
	}
	return kept
}

func externallyAccessible(s *corev1.Service) bool {
	return s.Spec.Type == corev1.ServiceTypeLoadBalancer || s.Spec.Type == corev1.ServiceTypeNodePort ||
		(s.Spec.Type == corev1.ServiceTypeClusterIP && len(s.Spec.ExternalIPs) > 0)
}

func affinity(s *corev1.Service) time.Duration {
	if s.Spec.SessionAffinity != corev1.ServiceAffinityClientIP {
		return 0
	}
	seconds := int32(corev1.DefaultClientIPServiceAffinitySeconds)
	if c := s.Spec.SessionAffinityConfig; c != nil && c.ClientIP != nil && c.ClientIP.TimeoutSeconds != nil {
		seconds = *c.ClientIP.TimeoutSeconds
	}
	return min(max(time.Duration(seconds)*time.Second, time.Second), affinityMax)
}

func protocolOf(p corev1.Protocol) corev1.Protocol {
	switch p {
	case "":
		return corev1.ProtocolTCP
	case corev1.ProtocolTCP, corev1.ProtocolUDP, corev1.ProtocolSCTP:
		return p
	}
	return ""
}

// parseAddr reads an address of the family. Like the rest of Kubernetes it accepts leading zeros in IPv4.
func parseAddr(text string, family corev1.IPFamily) (netip.Addr, bool) {
	addr, ok := netip.AddrFromSlice(netutils.ParseIPSloppy(text))
	addr = addr.Unmap()
	return addr, ok && addr.Is4() == (family == corev1.IPv4Protocol)
}
