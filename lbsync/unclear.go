// SPDX-License-Identifier: Apache-2.0

package lbsync

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// Unclear is what a listener of a Service port whose protocol cannot be read is bound to, if there is one.
type Unclear struct {
	Name      string // of the listener: ListenerName of its Service
	Targets   map[Target]int
	Idle      bool
	Answering Answering
}

// unclear notes for each protocol that a port may have what its listener would be bound to: which one it has only the CLB says.
func (s Snapshot) unclear(lb *LoadBalancer, svc Service, port corev1.ServicePort, choice choice, hosts *Hosts) []Skip {
	if possible, skips := s.listeners(svc, port); len(possible) == 0 {
		return skips
	}
	var skips []Skip
	twin := slices.ContainsFunc(svc.Spec.Ports, func(o corev1.ServicePort) bool { return o.Port == port.Port && own(o) != own(port) })
	for _, protocol := range protocols {
		if protocol.Transport() != own(port) && (twin || !s.Settings.Direct(svc)) {
			continue
		}
		k := ListenerKey{Protocol: protocol, Port: uint16(port.Port)}
		// By itself: of the listeners that may be there, none is to have what another one needs.
		alone := LoadBalancer{Targets: map[Binding]int{}, Idle: map[ListenerKey]bool{}, Answering: map[ListenerKey]Answering{}}
		said := s.bind(&alone, svc, port, k, choice, hosts)
		if protocol == own(port) {
			skips = said // the same for the others
		}
		one := Unclear{Name: ListenerName(string(svc.UID)), Targets: map[Target]int{}, Idle: alone.Idle[k], Answering: alone.Answering[k]}
		for b, weight := range alone.Targets {
			one.Targets[b.Target] = weight
		}
		if lb.Unclear == nil {
			lb.Unclear = map[ListenerKey]Unclear{}
		}
		lb.Unclear[k] = one
	}
	return skips
}

// keepUnclear returns desired with those listeners of actual that are Unclear, as they are, and their rules. Their targets follow
// the Service, and who may reach them does.
func (l LoadBalancer) keepUnclear(actual LoadBalancer) LoadBalancer {
	if len(l.Unclear) == 0 {
		return l
	}
	out := l.Clone()
	out.Unclear = nil
	for _, k := range sortedListeners(actual.Listeners) {
		one, is := l.Unclear[k.Parent()]
		if !is || actual.Listeners[k.Parent()].Name != one.Name {
			continue
		}
		if _, taken := l.taken(actual.Listeners[k.Parent()]); taken {
			continue
		}
		out.Listeners[k] = actual.Listeners[k]
		if k.Protocol.layer7() && !k.Rule() {
			continue // its rules have the targets
		}
		for t, weight := range one.Targets {
			out.Targets[Binding{Listener: k, Target: t}] = weight
		}
		if one.Idle {
			out.Idle[k] = true
		}
		out.Answering[k] = one.Answering
	}
	open := map[ListenerKey]bool{}
	for k := range out.Listeners {
		open[k.port()] = true
	}
	out.Instance.Access = slices.DeleteFunc(out.Instance.Access, func(r AccessRule) bool {
		return r.Port != 0 && !open[ListenerKey{Protocol: r.Protocol, Port: r.Port}]
	})
	return out
}

// at returns the listeners and rules of a Service port, whatever they speak.
func (l LoadBalancer) at(svc Service, port corev1.ServicePort) []wanted {
	var out []wanted
	for _, k := range sortedListeners(l.Listeners) {
		if one := l.Listeners[k]; k.Port == uint16(port.Port) && one.Name == ListenerName(string(svc.UID)) {
			out = append(out, wanted{Listener: one})
		}
	}
	return out
}
