// SPDX-License-Identifier: Apache-2.0

package nodeagent

import (
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
	return NewModel(family).Desired(s)
}

// desiring works out what one Service asks for, as if it were alone.
type desiring struct {
	family corev1.IPFamily
	node   string
	zone   string
	slices []*discoveryv1.EndpointSlice // of the Service and family, sorted by name
	gated  map[types.UID]bool
	claim
}

// claim is what one Service asks for.
type claim struct {
	ports  []ServicePort
	health []HealthPort
	skips  []Skip
	twins  bool        // two of the ports have the same name
	pods   []types.UID // on this node, of its endpoints
}

func (d *desiring) skip(kind, namespace, name, format string, args ...any) {
	d.skips = append(d.skips, Skip{
		Object: kind + " " + namespace + "/" + name,
		Reason: fmt.Sprintf(format, args...),
	})
}

// handles tells whether NodePorts of the Service are this proxy's business in the family.
func handles(s *corev1.Service, family corev1.IPFamily) bool {
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
		_, ok := parseAddr(ip, family)
		return ok
	})
}

func (d *desiring) addService(s *corev1.Service) {
	name := types.NamespacedName{Namespace: s.Namespace, Name: s.Name}
	local := externallyAccessible(s) && s.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal
	endpoints := d.endpoints()
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
		sp.ClusterEndpoints = clusterEndpoints(sp.Endpoints, d.node, d.zone)
		if local {
			sp.LocalEndpoints = localEndpoints(sp.Endpoints)
			if len(sp.ClusterEndpoints) == 0 {
				sp.ClusterEndpoints = sp.LocalEndpoints
			}
		}
		d.twins = d.twins || slices.ContainsFunc(d.ports, func(p ServicePort) bool { return p.Name == sp.Name })
		d.ports = append(d.ports, sp)
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
			if e.here() {
				ready[e.Address.Addr()] = true
			}
		}
	}
	d.health = append(d.health, HealthPort{
		Service:   types.NamespacedName{Namespace: s.Namespace, Name: s.Name},
		Port:      uint16(s.Spec.HealthCheckNodePort),
		Addresses: slices.SortedFunc(maps.Keys(ready), netip.Addr.Compare),
	})
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
