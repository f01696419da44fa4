// SPDX-License-Identifier: Apache-2.0

package lbsync

import (
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

// endpoints counts, by node, the endpoints of one Service port as kube-proxy sees them.
type endpoints struct {
	ready   map[string]int // take new connections
	serving map[string]int // terminating and still serving
	waiting bool           // some are neither, and not terminating: they start, or cannot be reached for now
}

// endpointsOf reads the slices of a family of a Service for one of its ports. An endpoint whose address stands in
// two slices counts once, and a terminating twin gives way: while a pod moves from slice to slice, both are
// there for a moment. Under Local an endpoint that only our own readiness gate holds up counts as ready, if
// the nodes' agents serve it: its node has to be bound and healthy before the gate opens.
func endpointsOf(svc Service, port corev1.ServicePort, family discoveryv1.AddressType) endpoints {
	ready, serving := map[string]string{}, map[string]string{} // address → node
	waiting := false
	for _, slice := range svc.Slices {
		if slice.AddressType != family || !hasPort(slice, port) {
			continue
		}
		for _, e := range slice.Endpoints {
			if e.NodeName == nil || len(e.Addresses) == 0 {
				continue
			}
			switch {
			case isTrue(e.Conditions.Ready, true), local(svc) && svc.admits(e):
				ready[e.Addresses[0]] = *e.NodeName
			case isTrue(e.Conditions.Serving, true) && isTrue(e.Conditions.Terminating, false):
				serving[e.Addresses[0]] = *e.NodeName
			case !isTrue(e.Conditions.Terminating, false):
				waiting = true
			}
		}
	}
	out := endpoints{ready: map[string]int{}, serving: map[string]int{}, waiting: waiting}
	for _, node := range ready {
		out.ready[node]++
	}
	for address, node := range serving {
		if _, twin := ready[address]; !twin {
			out.serving[node]++
		}
	}
	return out
}

// hosts returns those of the hosts on which somebody serves.
func (e endpoints) hosts(c choice) []*host {
	var out []*host
	of := func(node string) *host {
		if h := c.byNode[node]; h != nil && h.at[c.naming].target != (Target{}) {
			return h
		}
		return nil
	}
	for node := range e.ready {
		if h := of(node); h != nil {
			out = append(out, h)
		}
	}
	for node := range e.serving {
		if h := of(node); h != nil && e.ready[node] == 0 {
			out = append(out, h)
		}
	}
	return out
}

// admits reports whether the endpoint is a pod that waits for our gate alone.
func (s Service) admits(e discoveryv1.Endpoint) bool {
	return len(s.Gated) > 0 && e.TargetRef != nil && s.Gated[e.TargetRef.UID] && !isTrue(e.Conditions.Terminating, false)
}

// none reports whether nobody serves, and nobody is there who could. A partition of the network makes all pods
// of a Service not ready: to take its targets away would add CLB's probing time to the outage.
func (e endpoints) none() bool { return len(e.ready) == 0 && len(e.serving) == 0 && !e.waiting }

// hasPort reports whether the slice's endpoints have the Service port: the same name and protocol, which is
// how the numbered or named target port of the Service got there.
func hasPort(slice *discoveryv1.EndpointSlice, port corev1.ServicePort) bool {
	return portIn(slice, port) != 0
}

// portIn returns the number that the Service port has at the endpoints of a slice; 0: they do not have it.
func portIn(slice *discoveryv1.EndpointSlice, port corev1.ServicePort) uint16 {
	for _, p := range slice.Ports {
		name, protocol := "", corev1.ProtocolTCP
		if p.Name != nil {
			name = *p.Name
		}
		if p.Protocol != nil {
			protocol = *p.Protocol
		}
		if p.Port != nil && *p.Port != 0 && name == port.Name && protocol == port.Protocol {
			return uint16(*p.Port)
		}
	}
	return 0
}

func isTrue(b *bool, unset bool) bool {
	if b == nil {
		return unset
	}
	return *b
}
