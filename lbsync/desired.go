// SPDX-License-Identifier: Apache-2.0

package lbsync

import (
	"fmt"
	"net/netip"

	corev1 "k8s.io/api/core/v1"

	"github.com/clbsync/clbsync/lbsync/annotation"
)

const nameMax = 80

// Desired returns the CLB that the snapshot's Services should have, and what was left out or changed, and
// why. It is total: whatever is wrong with a manifest becomes a Skip and costs only what it touches. If
// Blocked(skips), the CLB is not to be changed at all.
func Desired(s Snapshot) (LoadBalancer, []Skip) {
	first := s.Services[0]
	instance, skips := s.instance(first)
	lb := LoadBalancer{
		Instance:  instance,
		Listeners: map[ListenerKey]Listener{},
		Targets:   map[Binding]int{},
		Idle:      map[ListenerKey]bool{},
		Answering: map[ListenerKey]Answering{},

		TargetQuota:    s.TargetQuota,
		RemovalAllowed: first.Options.AllowRemoval,
	}
	var hosts *Hosts
	for _, svc := range s.Services {
		if !s.Settings.Wants(svc.Service) {
			continue
		}
		if !lb.Present {
			lb.Present = true
			hosts = s.shared()
			lb.Known, lb.Doubtful = hosts.known, hosts.doubtful
			skips = append(skips, hosts.skips...)
		}
		skips = append(skips, s.service(&lb, svc, hosts)...)
	}
	return lb, skips
}

// service adds what one Service asks for to lb.
func (s Snapshot) service(lb *LoadBalancer, svc Service, hosts *Hosts) []Skip {
	skips := append(manifestSkips(svc), svc.Config.skips()...)
	choice, notSelected := hosts.selected(svc)
	skips = append(skips, notSelected...)
	for _, port := range svc.Spec.Ports {
		listeners, portSkips := s.listeners(svc, port)
		skips = append(skips, portSkips...)
		for _, listener := range listeners {
			skips = append(skips, s.add(lb, svc, port, listener, choice)...)
		}
	}
	return skips
}

// add adds a listener of a Service port to lb, with its targets.
func (s Snapshot) add(lb *LoadBalancer, svc Service, port corev1.ServicePort, listener wanted, choice choice) []Skip {
	var skips []Skip
	if other, taken := lb.taken(listener.Listener); taken {
		if listener.Rule() {
			return nil // said of its parent
		}
		return []Skip{{Object: portName(port), Reason: PortTaken, Warning: true,
			Message: fmt.Sprintf("Port %s of %s/%s is left out: the CLB's listener %s belongs to %s", portName(port), svc.Namespace, svc.Name, other.ListenerKey, other.Name)}}
	}
	lb.Listeners[listener.ListenerKey] = listener.Listener
	if listener.waits {
		if lb.Waiting == nil {
			lb.Waiting = map[ListenerKey]bool{}
		}
		lb.Waiting[listener.ListenerKey] = true
	}
	if listener.Protocol.layer7() && !listener.Rule() {
		return nil // its rules have the targets
	}
	nodes := endpointsOf(svc, port)
	if nodes.none() {
		lb.Idle[listener.ListenerKey] = true
	}
	lb.Answering[listener.ListenerKey] = answering(svc, port, nodes)
	bound := weights(svc, listener.Protocol, nodes, choice)
	if quota := s.TargetQuota; quota > 0 && len(bound) > quota {
		skips = append(skips, Skip{Object: portName(port), Reason: QuotaExceeded, Warning: true, Message: fmt.Sprintf(
			"Port %s is bound to %d of %d nodes, since CLB takes %d targets per listener (quota TOTAL_TARGET_BIND_QUOTA); ask for a larger quota, or choose nodes with the annotation %s",
			portName(port), quota, len(bound), quota, annotation.Backends)})
		ready := nodes.ready
		if !local(svc) {
			ready = nil // Any node answers: to follow the pods would cost a handover for each that moves.
		}
		bound = subset(bound, ready, quota, string(svc.UID))
	}
	for _, b := range bound {
		lb.Targets[Binding{Listener: listener.ListenerKey, Target: b.target(uint16(port.NodePort))}] = b.weight
	}
	return skips
}

// taken returns the listener that has the place of a new one: the port, in its transport. The place of a rule is taken if its
// parent found its own taken.
func (l LoadBalancer) taken(by Listener) (Listener, bool) {
	if by.Rule() {
		parent, there := l.Listeners[by.Parent()]
		return parent, !there || parent.Name != by.Name
	}
	for _, p := range []Protocol{TCP, UDP, TCPSSL, QUIC, HTTP, HTTPS} {
		k := ListenerKey{Protocol: p, Port: by.Port}
		if other, there := l.Listeners[k]; there && k.port() == by.port() {
			return other, true
		}
	}
	return Listener{}, false
}

// manifestSkips returns what is wrong with the Service as a whole.
func manifestSkips(svc Service) []Skip {
	var skips []Skip
	warn := func(object string, reason Reason, blocking bool, format string, args ...any) {
		skips = append(skips, Skip{Object: object, Reason: reason, Warning: true, Blocking: blocking, Message: fmt.Sprintf(format, args...)})
	}
	for _, p := range svc.Problems {
		effect := "it has no effect"
		if p.Blocking {
			effect = "nothing is created or changed for the Service until it is mended"
		}
		warn("annotation "+p.Name, BadAnnotation, p.Blocking, "Annotation %s has the value %q: %s; %s", p.Name, p.Value, p.Reason, effect)
	}
	if families := svc.Spec.IPFamilies; len(families) == 1 && families[0] == corev1.IPv6Protocol {
		warn("spec.ipFamilies", UnsupportedFamily, true, "spec.ipFamilies is [IPv6]: only IPv4 CLBs are supported, so the Service gets none; add IPv4")
	}
	for _, r := range svc.Spec.LoadBalancerSourceRanges {
		// A CLB that lets everybody in is not what a list of ranges asks for, so there is none at all.
		if p, err := netip.ParsePrefix(r); err != nil || p.Bits() != 0 {
			warn("spec.loadBalancerSourceRanges", RangesRefused, true, "spec.loadBalancerSourceRanges has %q: ranges other than 0.0.0.0/0 are not supported yet, and the Service would be open to everybody; "+
				"remove spec.loadBalancerSourceRanges, or restrict the addresses in a NetworkPolicy or the nodes' security group", r)
			break
		}
	}
	if svc.Options.WeightByPods && (!local(svc) || !svc.Options.BindNodesOfPods) {
		warn("annotation "+annotation.WeightByPods, WeightsIgnored, false, "Annotation %s has no effect: it needs externalTrafficPolicy: Local and %s: \"true\"", annotation.WeightByPods, annotation.BindNodesOfPods)
	}
	return skips
}

// answering returns where traffic for a Service port finds somebody: under Cluster each node passes it on.
func answering(svc Service, port corev1.ServicePort, nodes endpoints) Answering {
	a := Answering{Port: uint16(port.NodePort)}
	if !local(svc) {
		return a
	}
	a.Nodes = map[string]bool{}
	for _, counts := range []map[string]int{nodes.ready, nodes.serving} {
		for node := range counts {
			a.Nodes[node] = true
		}
	}
	return a
}

func local(svc Service) bool {
	return svc.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal
}

func portName(port corev1.ServicePort) string {
	if port.Name != "" {
		return port.Name
	}
	return fmt.Sprintf("%d/%s", port.Port, port.Protocol)
}

// instanceName is what people see in the console. CLB takes 80 characters.
func instanceName(cluster string, svc *corev1.Service) string {
	name := fmt.Sprintf("%s_%s_%s", cluster, svc.Namespace, svc.Name)
	return name[:min(len(name), nameMax)]
}
