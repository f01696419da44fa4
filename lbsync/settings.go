// SPDX-License-Identifier: Apache-2.0

package lbsync

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/clbsync/clbsync/lbsync/annotation"
	"github.com/clbsync/clbsync/lbsync/serviceconfig"
)

// ServiceConfig is the TkeServiceConfig of a Service. The zero value is none.
type ServiceConfig struct {
	Name     string
	Absent   bool // the Service names it and there is none
	Unserved bool // nor is there the kind of resource in the cluster
	Config   serviceconfig.Config
	Problems []serviceconfig.Problem
}

func (c ServiceConfig) section4(k ListenerKey) serviceconfig.Layer4 {
	return c.Config.Layer4[serviceconfig.Key{Protocol: string(k.Protocol), Port: int(k.Port)}]
}

func (c ServiceConfig) section7(k ListenerKey) serviceconfig.Layer7 {
	return c.Config.Layer7[serviceconfig.Key{Protocol: string(k.Protocol), Port: int(k.Port)}]
}

// skips says what is wrong with the Service's TkeServiceConfig.
func (c ServiceConfig) skips() []Skip {
	object := "TkeServiceConfig " + c.Name
	switch {
	case c.Unserved:
		return []Skip{{Object: object, Reason: NoServiceConfig, Warning: true,
			Message: fmt.Sprintf("TkeServiceConfig %s: the cluster does not know the kind %s.%s, so the listeners have their defaults; apply the CustomResourceDefinition that comes with clbsync", c.Name, serviceconfig.Resource, serviceconfig.Group)}}
	case c.Absent:
		return []Skip{{Object: object, Reason: NoServiceConfig, Warning: true,
			Message: fmt.Sprintf("TkeServiceConfig %s, which the annotation %s names, does not exist in the Service's namespace (TKE: E4026): the listeners have their defaults until it does", c.Name, annotation.ServiceConfig)}}
	}
	var skips []Skip
	for _, p := range c.Problems {
		skips = append(skips, Skip{Object: object, Reason: BadServiceConfig, Warning: true, Message: fmt.Sprintf("TkeServiceConfig %s: %v", c.Name, p)})
	}
	return skips
}

// bandwidthSkips says to a Service that its CLB does not get the bandwidth that its TkeServiceConfig asks for.
func (s Snapshot) bandwidthSkips(svc Service) []Skip {
	why := ""
	switch {
	case svc.Config.Config.Bandwidth == 0:
		return nil
	case s.Existing != "":
		why = fmt.Sprintf("CLB %s was made by somebody else, whose settings are not changed here; set it in the console", s.Existing)
	case s.internal(svc):
		why = "the CLB is internal, and traffic in the VPC is not bounded; remove it"
	default:
		return nil
	}
	return []Skip{{Object: "TkeServiceConfig " + svc.Config.Name, Reason: SettingIgnored, Warning: true,
		Message: fmt.Sprintf("TkeServiceConfig %s: internetMaxBandwidthOut %d has no effect: %s", svc.Config.Name, svc.Config.Config.Bandwidth, why)}}
}

// ruleSkips says which rules of a section are none of a listener's, whose domains are hosts.
func ruleSkips(svc Service, parent ListenerKey, hosts map[string]annotation.Host, section serviceconfig.Layer7) []Skip {
	var skips []Skip
	skip := func(format string, args ...any) {
		skips = append(skips, Skip{Object: "rule " + parent.String(), Reason: SettingIgnored, Warning: true,
			Message: fmt.Sprintf("TkeServiceConfig %s: %s of %s ", svc.Config.Name, fmt.Sprintf(format, args...), parent) +
				"has no effect: there are rules for the hosts in the annotation " + annotation.SpecifyProtocol + ", each with the url " + ruleURL})
	}
	for _, d := range section.Domains {
		if _, there := hosts[d.Domain]; !there {
			skip("the domain %s", d.Domain)
			continue
		}
		for _, r := range d.Rules {
			if r.URL != ruleURL {
				skip("the url %s of the domain %s", r.URL, d.Domain)
			}
		}
	}
	return skips
}

// settings fills in what the Service, its annotation for all listeners and its TkeServiceConfig say of a listener or rule, in
// this order: the last word counts. Check is what it is by default.
func (s Snapshot) settings(svc Service, port corev1.ServicePort, l Listener) (Listener, []Skip) {
	var skips []Skip
	var check *serviceconfig.HealthCheck
	var session *serviceconfig.Session
	scheduler, idle := "", 0
	if all := svc.Options.Listener; all != nil {
		scheduler = all.Scheduler
		if all.IdleConnectTimeout != nil {
			idle = *all.IdleConnectTimeout
		}
	}
	if l.Rule() {
		rule := svc.Config.section7(l.ListenerKey).Rule(l.Domain, l.URL)
		check, session, scheduler = rule.HealthCheck, rule.Session, cmp.Or(rule.Scheduler, scheduler)
		if l.ForwardType = rule.ForwardType; l.ForwardType == "HTTP" {
			l.ForwardType = ""
		}
		switch {
		case l.ForwardType == "HTTPS" && l.Protocol == HTTP:
			skips = append(skips, ignored(port, l, "forwardType HTTPS"))
			l.ForwardType = ""
		case l.ForwardType != "":
			l.Check.Type = CheckType(l.ForwardType)
		}
	} else {
		section := svc.Config.section4(l.ListenerKey)
		check, session, scheduler, idle = section.HealthCheck, section.Session, cmp.Or(section.Scheduler, scheduler), cmp.Or(section.IdleTimeout, idle)
	}
	l, skips = stick(svc, port, l, session, skips)
	if scheduler != "WRR" {
		l.Scheduler = Scheduler(scheduler)
	}
	if idle != 0 && !l.Rule() {
		if l.IdleTimeout = time.Duration(idle) * time.Second; l.Protocol.IdleDefault() == 0 {
			if svc.Config.section4(l.ListenerKey).IdleTimeout != 0 {
				skips = append(skips, ignored(port, l, "idle timeout"))
			}
			l.IdleTimeout = 0
		}
		if l.IdleTimeout == l.Protocol.IdleDefault() {
			l.IdleTimeout = 0
		}
	}
	if check != nil {
		var wrong string
		if l.Check, wrong = s.probing(l, *check); wrong != "" {
			skips = append(skips, Skip{Object: portName(port), Reason: BadServiceConfig, Warning: true,
				Message: fmt.Sprintf("TkeServiceConfig %s: healthCheck of the %s is left out: %s", svc.Config.Name, l.what(), wrong)})
		}
	}
	return s.preventLoopback(svc, port, l, skips)
}

// ignored says that CLB does not have for a listener or rule what somebody set.
func ignored(port corev1.ServicePort, l Listener, what string) Skip {
	return Skip{Object: portName(port), Reason: SettingIgnored, Warning: true,
		Message: fmt.Sprintf("The %s has no %s: CLB has that for other protocols", l.what(), what)}
}

// stick has a listener or rule keep a client at its target for as long as is asked, as far as CLB can. session is what its
// section of the TkeServiceConfig says, nil for nothing.
func stick(svc Service, port corev1.ServicePort, l Listener, session *serviceconfig.Session, skips []Skip) (Listener, []Skip) {
	asked, from := affinity(svc)
	if all := svc.Options.Listener; all != nil && all.SessionExpireTime != nil {
		asked, from = time.Duration(*all.SessionExpireTime)*time.Second, annotation.ListenerParams
	}
	if session != nil {
		asked, from = 0, "TkeServiceConfig "+svc.Config.Name
		if session.Enable {
			asked = time.Duration(cmp.Or(session.Expire, 30)) * time.Second
		}
	}
	can := l.Protocol == TCP || l.Protocol == UDP || l.Rule()
	switch {
	case asked == 0:
	case !can && from == annotation.ListenerParams: // is for those that have it
	case !can:
		skips = append(skips, ignored(port, l, "session ("+from+")"))
	default:
		if l.SessionExpire = min(max(asked, sessionMin), sessionMax); l.SessionExpire != asked {
			skips = append(skips, Skip{Object: portName(port), Reason: SessionClamped, Warning: true,
				Message: fmt.Sprintf("Port %s keeps a client at its target for %s, not %s: CLB takes %s to %s", portName(port), l.SessionExpire, asked, sessionMin, sessionMax)})
		}
	}
	return l, skips
}

// preventLoopback has probes come from 100.64.0.0/10 where that is asked for, whatever a TkeServiceConfig says: a node that
// answers for the CLB's address takes a probe from there for its own, and the target would be found dead.
func (s Snapshot) preventLoopback(svc Service, port corev1.ServicePort, l Listener, skips []Skip) (Listener, []Skip) {
	if !svc.Options.PreventLoopback || !l.Check.On || !l.Check.FromVIP || svc.IPVersion(s.CLB) == IPv6 {
		return l, skips
	}
	l.Check.FromVIP = false
	return l, append(skips, Skip{Object: portName(port), Reason: SettingIgnored, Warning: true,
		Message: fmt.Sprintf("TkeServiceConfig %s: sourceIpType 0 of the %s is left out: the annotation %s has probes come from 100.64.0.0/10", svc.Config.Name, l.what(), annotation.PreventLoopback)})
}

// IdleDefault is how long CLB remembers a silent connection of such a listener by default; 0 if that cannot be set.
func (p Protocol) IdleDefault() time.Duration {
	switch p {
	case TCP:
		return 900 * time.Second
	case UDP:
		return 300 * time.Second
	}
	return 0
}

// affinity returns the stickiness that the Service's own fields ask for.
func affinity(svc Service) (time.Duration, string) {
	if svc.Spec.SessionAffinity != corev1.ServiceAffinityClientIP {
		return 0, ""
	}
	asked := time.Duration(corev1.DefaultClientIPServiceAffinitySeconds) * time.Second
	if c := svc.Spec.SessionAffinityConfig; c != nil && c.ClientIP != nil && c.ClientIP.TimeoutSeconds != nil {
		asked = time.Duration(*c.ClientIP.TimeoutSeconds) * time.Second
	}
	return asked, "sessionAffinity"
}

// probes are the checks that CLB has for the listeners of a protocol, or their rules.
var probes = map[Protocol][]CheckType{
	TCP: {CheckTCP, CheckHTTP}, UDP: {CheckPing}, TCPSSL: {CheckTCP, CheckHTTP}, QUIC: {CheckTCP, CheckHTTP},
	HTTP: {CheckHTTP, CheckGRPC}, HTTPS: {CheckHTTP, CheckHTTPS, CheckGRPC},
}

// probing returns a listener's check with what its section says of it, or the check as it is and what is wrong.
func (s Snapshot) probing(l Listener, c serviceconfig.HealthCheck) (HealthCheck, string) {
	if !c.Enable {
		return HealthCheck{}, ""
	}
	h := l.Check
	if !h.On {
		h = s.Settings.Check
		h.Type = probes[l.Protocol][0]
	}
	h.Interval = seconds(c.Interval, h.Interval)
	h.Timeout = seconds(c.Timeout, h.Timeout)
	h.Healthy, h.Unhealthy = cmp.Or(c.Healthy, h.Healthy), cmp.Or(c.Unhealthy, h.Unhealthy)
	if c.SourceIPType != nil {
		h.FromVIP = *c.SourceIPType == 0
	}
	kind := CheckType(c.CheckType)
	if kind == "" && asksHTTP(c) && !l.Rule() {
		kind = CheckHTTP
	}
	if kind != "" {
		if !slices.Contains(probes[l.Protocol], kind) {
			return l.Check, fmt.Sprintf("checkType is %s, and CLB probes the targets of %s by %v", kind, l.Protocol, probes[l.Protocol])
		}
		h = probe(h, kind, l)
	}
	if c.CheckPort != 0 {
		if l.Protocol != TCP && l.Protocol != UDP {
			return l.Check, fmt.Sprintf("checkPort is %d, and CLB has that for TCP and UDP alone", c.CheckPort)
		}
		h.Port = uint16(c.CheckPort)
	}
	if h.Type.http() || h.Type == CheckGRPC {
		h.Path, h.Domain = cmp.Or(c.Path, h.Path), cmp.Or(c.Domain, h.Domain)
	}
	if h.Type.http() {
		if h.Codes = cmp.Or(c.Code, h.Codes); h.Codes == 2 {
			h.Codes = 0
		}
		h.Head, h.HTTP10 = c.Method == "HEAD", c.HTTPVersion == "HTTP/1.0" && !l.Rule()
	}
	if h.Timeout >= h.Interval {
		return l.Check, fmt.Sprintf("timeout is %s, not less than intervalTime, %s", h.Timeout, h.Interval)
	}
	return h, ""
}

// asksHTTP reports whether a section sets something that only HTTP probes have.
func asksHTTP(c serviceconfig.HealthCheck) bool {
	return c.Path != "" || c.Domain != "" || c.Method != "" || c.Code != 0 || c.HTTPVersion != ""
}

// probe returns a check of another type, with what that needs.
func probe(h HealthCheck, kind CheckType, l Listener) HealthCheck {
	was := h
	h.Type, h.Port, h.Path, h.Domain, h.Codes = kind, 0, "", "", 0
	switch {
	case kind == was.Type && l.Rule():
		return was
	case l.Rule() && kind == CheckGRPC:
		h.Path, h.Domain = "/", was.Domain
	case l.Rule():
		h.Path, h.Domain, h.Codes = "/", was.Domain, siteCodes
	case kind == CheckHTTP:
		h.Path, h.Domain = "/", healthDomain
	}
	return h
}

func seconds(n int, otherwise time.Duration) time.Duration {
	if n == 0 {
		return otherwise
	}
	return time.Duration(n) * time.Second
}

// Sections returns the listeners of a Service as the TkeServiceConfig that is made for it has them.
func (s Snapshot) Sections(svc Service) []serviceconfig.Listener {
	if !svc.Options.ConfigAuto {
		return nil
	}
	var out []serviceconfig.Listener
	for _, port := range svc.Spec.Ports {
		listeners, _ := s.listeners(svc, port)
		for _, l := range listeners {
			if !l.Rule() {
				out = append(out, serviceconfig.Listener{Key: serviceconfig.Key{Protocol: string(l.Protocol), Port: int(l.Port)}, URL: ruleURL})
			} else {
				last := &out[len(out)-1]
				last.Domains = append(last.Domains, l.Domain)
			}
			if l.Check.On {
				out[len(out)-1].Check = &serviceconfig.HealthCheck{Enable: true, Interval: int(l.Check.Interval / time.Second), Timeout: int(l.Check.Timeout / time.Second),
					Healthy: l.Check.Healthy, Unhealthy: l.Check.Unhealthy}
			}
		}
	}
	return out
}
