// SPDX-License-Identifier: Apache-2.0

package lbsync

import (
	"cmp"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
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
// the nodes' agents serve it: its node has to be bound and healthy before the gate opens. A slice that is out of date
// counts too: it does not say at which port of its own a pod serves, but on which node, which is all that a node port asks for.
func endpointsOf(svc Service, port corev1.ServicePort, family discoveryv1.AddressType) endpoints {
	ready, serving := map[string]string{}, map[string]string{} // address → node
	waiting := false
	for _, slice := range svc.Slices {
		if slice.AddressType != family || portIn(slice, port) == 0 && !svc.outdated(slice, port) {
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

// sliceController is who writes the slices of Services that select their pods.
const sliceController = "endpointslice-controller.k8s.io"

// outdated reports whether a slice that lacks the Service port was written for ports that the Service had before: its author
// renamed one, and the slices follow when their controller gets to it. Taken for word that nobody serves the port, such a slice
// would have all targets of a Service drained that works.
//
// It shows by a port that the Service has not, or by the lack of one with a numbered target port, which every endpoint has. What
// lacks a port otherwise is up to date: no pod there has the named target port. Who writes slices of his own gives their ports
// what names he likes, so these are never out of date.
func (s Service) outdated(slice *discoveryv1.EndpointSlice, port corev1.ServicePort) bool {
	by := slice.Labels[discoveryv1.LabelManagedBy]
	if by != "" && by != sliceController {
		return false
	}
	if by == sliceController && len(s.Spec.Selector) > 0 && port.TargetPort.Type == intstr.Int {
		return true
	}
	return slices.ContainsFunc(slice.Ports, func(p discoveryv1.EndpointPort) bool {
		return !slices.ContainsFunc(s.Spec.Ports, func(own corev1.ServicePort) bool { return names(p, own) })
	})
}

// names reports whether a port of a slice is that of a Service port: the same name and protocol, which is how the numbered or
// named target port of the Service got there.
func names(p discoveryv1.EndpointPort, port corev1.ServicePort) bool {
	name, protocol := "", corev1.ProtocolTCP
	if p.Name != nil {
		name = *p.Name
	}
	if p.Protocol != nil {
		protocol = *p.Protocol
	}
	return name == port.Name && protocol == cmp.Or(port.Protocol, corev1.ProtocolTCP)
}

// portIn returns the number that the Service port has at the endpoints of a slice; 0: they do not have it.
func portIn(slice *discoveryv1.EndpointSlice, port corev1.ServicePort) uint16 {
	for _, p := range slice.Ports {
		if p.Port != nil && *p.Port != 0 && names(p, port) {
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
