// SPDX-License-Identifier: Apache-2.0

package lbsync

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/clbsync/clbsync/lbsync/annotation"
)

const (
	healthPath = "/healthz"
	// healthDomain is the Host header of probes where nothing better is known. CLB insists on one; nobody reads it.
	healthDomain = "healthz.clbsync.io"
	ruleURL      = "/" // of every rule of a Service: specify-protocol has domains and no paths
	// siteCodes is what is healthy in a rule: all but 5xx. What a site answers at its path is its own affair, a redirect or a login,
	// say, and CLB's own default takes 5xx for healthy too.
	siteCodes = 1 + 2 + 4 + 8
	// CLB keeps a client at its target for 30 s to 3600 s; Kubernetes allows a day, and its default is 3 h.
	sessionMin = 30 * time.Second
	sessionMax = 3600 * time.Second
)

// wanted is a listener, or rule, of a Service.
type wanted struct {
	Listener
	waits bool // for its certificate
}

// listeners returns the listeners of a Service port, each before its rules; nil if there can be none.
func (s Snapshot) listeners(svc Service, port corev1.ServicePort) ([]wanted, []Skip) {
	var skips []Skip
	warn := func(reason Reason, format string, args ...any) {
		skips = append(skips, Skip{Object: portName(port), Reason: reason, Message: fmt.Sprintf(format, args...), Warning: true})
	}
	if port.Protocol != corev1.ProtocolTCP && port.Protocol != corev1.ProtocolUDP && port.Protocol != "" {
		warn(UnsupportedProtocol, "Port %s has the protocol %s, which CLB does not have; it has TCP and UDP", portName(port), port.Protocol)
		return nil, skips
	}
	if port.NodePort == 0 && !s.Settings.Direct(svc) {
		warn(NoNodePort, "Port %s has no nodePort, so nodes cannot be bound; set spec.allocateLoadBalancerNodePorts to true, or bind pods with the annotation %s", portName(port), annotation.DirectAccess)
		return nil, skips
	}
	speaks, impossible := svc.protocols(port, s.Settings)
	if len(impossible) > 0 {
		warn(ProtocolImpossible, "Annotation %s asks for %s on port %s, whose node port is of %s: TCP, TCP_SSL, HTTP and HTTPS are possible over TCP, UDP and QUIC over UDP; add a port of the other protocol, or use %s. The port has %s",
			annotation.SpecifyProtocol, joined(impossible), portName(port), own(port), annotation.DirectAccess, joined(speaks))
	}
	var out []wanted
	for _, protocol := range speaks {
		l := wanted{Listener: Listener{ListenerKey: ListenerKey{Protocol: protocol, Port: uint16(port.Port)}, Name: ListenerName(string(svc.UID))}}
		more := []wanted{l}
		var more2 []Skip
		switch {
		case protocol.layer7():
			more, more2 = s.site(svc, port, l)
		default:
			more[0], more2 = s.layer4(svc, port, l)
		}
		skips = append(skips, more2...)
		out = append(out, more...)
	}
	return out, skips
}

// layer4 fills in a listener that has targets itself.
func (s Snapshot) layer4(svc Service, port corev1.ServicePort, l wanted) (wanted, []Skip) {
	l.Check = s.check(svc, l.Protocol)
	var skips []Skip
	l.Listener, skips = s.settings(svc, port, l.Listener)
	if l.Protocol == TCPSSL || l.Protocol == QUIC {
		var missing []Skip
		l.Certificate, l.waits, missing = svc.certificate(port, l.ListenerKey, svc.Options.Protocols[port.Port].TLS)
		skips = append(skips, missing...)
	}
	return l, skips
}

// site fills in an HTTP or HTTPS listener and adds its rules. One certificate for all domains belongs to the listener;
// where they differ, each domain has its own (SNI).
func (s Snapshot) site(svc Service, port corev1.ServicePort, parent wanted) ([]wanted, []Skip) {
	spec := svc.Options.Protocols[port.Port]
	section := svc.Config.section7(parent.ListenerKey)
	parent.KeepAlive = section.KeepaliveEnable == 1
	secrets := map[string]bool{}
	for _, host := range spec.Hosts {
		secrets[cmp.Or(host.TLS, spec.TLS)] = true
	}
	var skips []Skip
	parent.SNI = parent.Protocol == HTTPS && len(secrets) > 1
	if parent.Protocol == HTTPS && !parent.SNI {
		name := ""
		for only := range secrets {
			name = only
		}
		parent.Certificate, parent.waits, skips = svc.certificate(port, parent.ListenerKey, name)
	}
	out := []wanted{parent}
	for _, domain := range slices.Sorted(maps.Keys(spec.Hosts)) {
		rule := wanted{Listener: Listener{ListenerKey: parent.ListenerKey, Name: parent.Name}}
		rule.Domain, rule.URL = domain, ruleURL
		rule.Default = section.DefaultServer == domain
		rule.Check = s.Settings.Check
		rule.Check.Type, rule.Check.Path, rule.Check.Domain, rule.Check.Codes = CheckHTTP, "/", domain, siteCodes
		if strings.Contains(domain, "*") {
			rule.Check.Domain = healthDomain
		}
		rule.Check.FromVIP = svc.IPVersion(s.CLB) == IPv6
		more := []Skip(nil)
		rule.Listener, more = s.settings(svc, port, rule.Listener)
		skips = append(skips, more...)
		if parent.SNI {
			rule.Certificate, rule.waits, more = svc.certificate(port, rule.ListenerKey, cmp.Or(spec.Hosts[domain].TLS, spec.TLS))
			skips = append(skips, more...)
		}
		out = append(out, rule)
	}
	skips = append(skips, ruleSkips(svc, parent.ListenerKey, spec.Hosts, section)...)
	if d := section.DefaultServer; d != "" {
		if _, there := spec.Hosts[d]; !there {
			skips = append(skips, Skip{Object: "rule " + parent.String(), Reason: SettingIgnored, Warning: true,
				Message: fmt.Sprintf("TkeServiceConfig %s: defaultServer of %s is %q, which is none of its hosts: the default domain stays what it is", svc.Config.Name, parent.ListenerKey, d)})
		}
	}
	return out, skips
}

func own(port corev1.ServicePort) Protocol {
	return Protocol(cmp.Or(port.Protocol, corev1.ProtocolTCP))
}

// protocols returns what the listeners of a port speak, and what specify-protocol asks for and cannot be: CLB ends TLS, HTTP
// and QUIC, but behind it a node port is of one transport. A pod's address has both.
func (s Service) protocols(port corev1.ServicePort, settings Settings) (speaks, impossible []Protocol) {
	spec, given := s.Options.Protocols[port.Port]
	if !given {
		return []Protocol{own(port)}, nil
	}
	twin := slices.ContainsFunc(s.Spec.Ports, func(o corev1.ServicePort) bool { return o.Port == port.Port && own(o) != own(port) })
	for _, name := range spec.Protocols {
		switch p := Protocol(name); {
		case p.Transport() == own(port), settings.Direct(s) && !twin:
			speaks = append(speaks, p)
		case !twin:
			impossible = append(impossible, p)
		}
	}
	if len(speaks) == 0 {
		speaks = []Protocol{own(port)}
	}
	return speaks, impossible
}

// everyNode reports whether a listener of the port may have targets on nodes without a pod of the Service.
func (s Service) everyNode(port corev1.ServicePort, settings Settings, clb *Instance) bool {
	speaks, _ := s.protocols(port, settings)
	return slices.ContainsFunc(speaks, func(p Protocol) bool { return !byPods(s, p, s.IPVersion(clb)) })
}

func joined(protocols []Protocol) string {
	var names []string
	for _, p := range protocols {
		names = append(names, string(p))
	}
	return strings.Join(names, " and ")
}

// intervalMinIPv6 is what CLB takes where probes are IPv6; for IPv4 it is 2 s.
const intervalMinIPv6 = 5 * time.Second

// check returns how the targets of a Service's listener are probed. Under Local the node is asked whether
// it has pods; CLB can ask that for TCP only. What a QUIC listener's targets speak is UDP, and CLB has no probe for that: its
// TCP probes would find every target dead.
func (s Snapshot) check(svc Service, protocol Protocol) HealthCheck {
	check := s.Settings.Check
	switch {
	case protocol == QUIC, protocol == UDP && !s.Settings.UDPCheck:
		return HealthCheck{}
	case protocol == UDP:
		check.Type = CheckPing
	case protocol.asksNode() && local(svc) && svc.Spec.HealthCheckNodePort != 0 && !s.Settings.Direct(svc) && svc.IPVersion(s.CLB) != IPv6:
		check.Type, check.Port, check.Path, check.Domain = CheckHTTP, uint16(svc.Spec.HealthCheckNodePort), healthPath, healthDomain
	default:
		check.Type = CheckTCP
	}
	if svc.IPVersion(s.CLB) == IPv6 {
		check.FromVIP, check.Interval = true, max(check.Interval, intervalMinIPv6)
	}
	return check
}

// receivers counts the listeners and rules that have targets.
func (l LoadBalancer) receivers() int {
	n := 0
	for k := range l.Listeners {
		if !k.Protocol.layer7() || k.Rule() {
			n++
		}
	}
	return n
}

// remove takes a listener out, with its rules and its targets. The maps are those of l.
func (l LoadBalancer) remove(k ListenerKey) {
	goes := func(o ListenerKey) bool { return o == k || o.Parent() == k }
	maps.DeleteFunc(l.Listeners, func(o ListenerKey, _ Listener) bool { return goes(o) })
	maps.DeleteFunc(l.Targets, func(b Binding, _ int) bool { return goes(b.Listener) })
}

// what is the listener in words.
func (l Listener) what() string {
	if l.Rule() {
		return "rule " + l.ListenerKey.String()
	}
	return "listener " + l.ListenerKey.String()
}

// describe says what settings the listener has, those that are as by default left out.
func (l Listener) describe() string {
	var parts []string
	add := func(is bool, format string, args ...any) {
		if is {
			parts = append(parts, fmt.Sprintf(format, args...))
		}
	}
	add(!l.Protocol.layer7() || l.Rule(), "check %s", l.Check)
	add(l.Check.On, "%s×%d/%d%s", l.Check.Interval, l.Check.Healthy, l.Check.Unhealthy, l.Check.details())
	add(l.SessionExpire > 0, "session %s", l.SessionExpire)
	add(l.Scheduler != "", "%s", l.Scheduler)
	add(l.IdleTimeout > 0, "idle %s", l.IdleTimeout)
	add(l.SNI, "SNI")
	add(l.Certificate != Certificate{}, "certificate %s", l.Certificate)
	add(l.KeepAlive, "keep-alive")
	add(l.ForwardType != "", "forwards %s", l.ForwardType)
	add(l.Default, "default")
	return strings.Join(parts, " ")
}

// details are the settings of a check that are seldom other than by default.
func (h HealthCheck) details() string {
	var b strings.Builder
	add := func(is bool, format string, args ...any) {
		if is {
			fmt.Fprintf(&b, " "+format, args...)
		}
	}
	add(h.Head, "HEAD")
	add(h.HTTP10, "HTTP/1.0")
	add(h.Codes != 0, "codes %d", h.Codes)
	add(h.FromVIP, "from the VIP")
	return b.String()
}

func (h HealthCheck) unusual() string {
	return cmp.Or(strings.TrimSpace(h.details()), "nothing unusual")
}

func (c Certificate) String() string {
	if c.CA != "" {
		return c.IDs + " and CA " + c.CA
	}
	return c.IDs
}

func (s Scheduler) String() string { return cmp.Or(string(s), "WRR") }
