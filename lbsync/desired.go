// SPDX-License-Identifier: Apache-2.0

package lbsync

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/clbsync/clbsync/lbsync/annotation"
)

const (
	healthPath = "/healthz"
	// healthDomain is the Host header of probes. CLB insists on one; nobody reads it.
	healthDomain = "healthz.clbsync.io"
	nameMax      = 80
	// CLB keeps a client at its target for 30 s to 3600 s; Kubernetes allows a day, and its default is 3 h.
	sessionMin = 30 * time.Second
	sessionMax = 3600 * time.Second
)

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
	if s.Existing != "" {
		lb.Present, lb.Instance, skips = true, Instance{ID: s.Existing}, nil
		lb.RemovalAllowed = false // of each Service by itself
	}
	var hosts *Hosts
	var parts []part
	for _, svc := range s.Services {
		if svc.Leaving || !s.Settings.Wants(svc.Service) {
			if s.Existing != "" && (svc.Options.Skip || svc.Options.PlanOnly) {
				parts = append(parts, part{svc, s.Actual.Of(svc.UID, LoadBalancer{})})
			}
			continue
		}
		if hosts == nil {
			lb.Present = true
			hosts = s.shared()
			lb.Known, lb.Doubtful = hosts.known, hosts.doubtful
			skips = append(skips, hosts.skips...)
		}
		if s.Existing == "" {
			skips = append(skips, s.service(&lb, svc, hosts)...)
			continue
		}
		p := part{svc, LoadBalancer{Listeners: map[ListenerKey]Listener{}, Targets: map[Binding]int{}, Idle: map[ListenerKey]bool{}, Answering: map[ListenerKey]Answering{}, RemovalAllowed: svc.Options.AllowRemoval}}
		switch own, stays := s.stays(svc); {
		case stays:
			p.lb = s.Actual.Of(svc.UID, LoadBalancer{})
			skips = append(skips, own...)
		default:
			skips = append(skips, of(svc, append(s.service(&p.lb, svc, hosts), s.adoption(svc)...))...)
		}
		parts = append(parts, p)
	}
	if s.Existing != "" {
		skips = append(skips, s.share(&lb, parts)...)
	}
	if lb.Present && first.Options.ExistingID == "" {
		ranges, _ := SourceRanges(first)
		lb.Instance.Access = access(ranges, lb.Listeners)
	}
	return lb, skips
}

// service adds what one Service asks for to lb.
func (s Snapshot) service(lb *LoadBalancer, svc Service, hosts *Hosts) []Skip {
	ranges, wrong := SourceRanges(svc)
	skips := append(manifestSkips(svc), rangeSkips(svc, ranges, wrong)...)
	skips = append(skips, familySkips(svc, s.CLB)...)
	skips = append(skips, ignoredSkips(svc, s.Settings.Direct(svc))...)
	var choice choice
	if s.Settings.Direct(svc) {
		skips = append(skips, podSkips(svc)...)
	} else {
		var notSelected []Skip
		choice, notSelected = hosts.selected(svc, s.naming(svc))
		skips = append(skips, notSelected...)
	}
	for _, port := range svc.Spec.Ports {
		listener, portSkips := s.listener(svc, port)
		skips = append(skips, portSkips...)
		if listener.Protocol == "" {
			continue
		}
		if other, taken := lb.Listeners[listener.ListenerKey]; taken {
			skips = append(skips, Skip{Object: portName(port), Reason: PortTaken, Warning: true,
				Message: fmt.Sprintf("Port %s of %s/%s is left out: the CLB's listener %s belongs to %s", portName(port), svc.Namespace, svc.Name, listener.ListenerKey, other.Name)})
			continue
		}
		lb.Listeners[listener.ListenerKey] = listener
		skips = append(skips, s.bind(lb, svc, port, listener.ListenerKey, choice, hosts)...)
	}
	return skips
}

// manifestSkips returns what is wrong with the Service as a whole.
func manifestSkips(svc Service) []Skip {
	skips := handsOff(svc)
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
	return skips
}

// listener returns the listener of a Service port; its Protocol is "" if there can be none.
func (s Snapshot) listener(svc Service, port corev1.ServicePort) (Listener, []Skip) {
	var skips []Skip
	warn := func(reason Reason, format string, args ...any) {
		skips = append(skips, Skip{Object: portName(port), Reason: reason, Message: fmt.Sprintf(format, args...), Warning: true})
	}
	var protocol Protocol
	switch port.Protocol {
	case corev1.ProtocolTCP, "":
		protocol = TCP
	case corev1.ProtocolUDP:
		protocol = UDP
	default:
		warn(UnsupportedProtocol, "Port %s has the protocol %s, which CLB does not have; it has TCP and UDP", portName(port), port.Protocol)
		return Listener{}, skips
	}
	if port.NodePort == 0 && !s.Settings.Direct(svc) {
		warn(NoNodePort, "Port %s has no nodePort, so nodes cannot be bound; set spec.allocateLoadBalancerNodePorts to true, or bind pods with the annotation %s", portName(port), annotation.DirectAccess)
		return Listener{}, skips
	}
	l := Listener{
		ListenerKey: ListenerKey{Protocol: protocol, Port: uint16(port.Port)},
		Name:        ListenerName(string(svc.UID)),
		Check:       s.check(svc, protocol),
	}
	if svc.Spec.SessionAffinity == corev1.ServiceAffinityClientIP {
		asked := time.Duration(corev1.DefaultClientIPServiceAffinitySeconds) * time.Second
		if c := svc.Spec.SessionAffinityConfig; c != nil && c.ClientIP != nil && c.ClientIP.TimeoutSeconds != nil {
			asked = time.Duration(*c.ClientIP.TimeoutSeconds) * time.Second
		}
		if l.SessionExpire = min(max(asked, sessionMin), sessionMax); l.SessionExpire != asked {
			skips = append(skips, Skip{Object: portName(port), Reason: SessionClamped,
				Message: fmt.Sprintf("Port %s keeps a client at its target for %s, not %s: CLB takes %s to %s", portName(port), l.SessionExpire, asked, sessionMin, sessionMax)})
		}
	}
	return l, skips
}

// check returns how the targets of a Service's listener are probed. Under Local the node is asked whether
// it has pods; CLB can ask that for TCP only.
func (s Snapshot) check(svc Service, protocol Protocol) HealthCheck {
	check := s.Settings.Check
	switch {
	case protocol == UDP && !s.Settings.UDPCheck:
		return HealthCheck{}
	case protocol == UDP:
		check.Type = CheckPing
	case local(svc) && svc.Spec.HealthCheckNodePort != 0 && !s.Settings.Direct(svc) && svc.IPVersion(s.CLB) != IPv6:
		check.Type, check.Port, check.Path, check.Domain = CheckHTTP, uint16(svc.Spec.HealthCheckNodePort), healthPath, healthDomain
	default:
		check.Type = CheckTCP
	}
	return check
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
