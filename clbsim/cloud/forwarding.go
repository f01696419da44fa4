// SPDX-License-Identifier: Apache-2.0

package cloud

import (
	"net/netip"
	"time"
)

// Forwarding is what a data path has to do with packets.
type Forwarding struct {
	Listeners []ForwardingListener // of TCP and UDP
	Proxies   []ForwardingProxy    // of TCP_SSL, HTTP and HTTPS
	Idle      []string             // listeners that are not carried: of QUIC, or of IPv6
	VIPs      []netip.Addr         // every address ever given out: what arrives for one without a listener is dropped
	Sources   []netip.Addr         // of probes and proxies
	Source    netip.Addr           // of proxies
}

// ForwardingListener is one listener as a data path sees it.
type ForwardingListener struct {
	ID       string
	UDP      bool
	VIP      netip.Addr
	Port     uint16
	Targets  []ForwardingTarget
	Sticky   time.Duration  // a client's connections go to one target; 0 is off
	Allow    []netip.Prefix // sources that may enter; nil is everyone
	Reset    bool           // TCP connections to deregistered targets are reset, not just dropped
	MoveUDP  bool           // UDP flows leave a target of weight 0 at once
	MoveDead bool           // UDP flows leave an unhealthy target at once
}

// ForwardingTarget is one registered target. Weight is 0 if it gets no new
// traffic, whatever the reason; its established flows go on.
type ForwardingTarget struct {
	Addr    netip.AddrPort
	Weight  int
	Drained bool // its own weight is 0
}

// Forwarding returns what a data path has to do now.
func (c *Cloud) Forwarding() Forwarding {
	f := Forwarding{Sources: []netip.Addr{c.cfg.Health.Source, c.cfg.Health.Proxy}, Source: c.cfg.Health.Proxy}
	for _, name := range c.cfg.Regions {
		r := c.regions[name]
		for _, a := range r.everVIP {
			if a.Is4() {
				f.VIPs = append(f.VIPs, a)
			}
		}
		for _, lb := range r.byAge {
			if lb.isolated {
				continue // nothing answers at its VIP
			}
			if !lb.vip.Is4() {
				for _, l := range lb.listeners {
					f.Idle = append(f.Idle, l.id)
				}
				continue
			}
			if len(lb.listeners) > 0 {
				f.Sources = append(f.Sources, lb.vip)
			}
			for _, l := range lb.listeners {
				switch l.protocol {
				case TCP, UDP:
					f.Listeners = append(f.Listeners, l.forwarding())
				case QUIC:
					f.Idle = append(f.Idle, l.id)
				default:
					f.Proxies = append(f.Proxies, l.proxy())
				}
			}
		}
	}
	return f
}

// hashSticky stands in for the IP_HASH scheduler: a client keeps its target.
const hashSticky = time.Hour

func (l *listener) forwarding() ForwardingListener {
	s := l.settings
	out := ForwardingListener{
		ID: l.id, UDP: l.protocol == UDP, VIP: l.lb.vip, Port: uint16(l.port), Sticky: time.Duration(s.sessionExpire) * time.Second,
		Allow: l.allowed(), Reset: s.deregisterRst, MoveDead: s.rescheduleUnhealthy,
		MoveUDP: s.rescheduleZero || l.cloud.cfg.Assumptions.UDPMovesAtWeightZero,
	}
	if s.scheduler == "IP_HASH" {
		out.Sticky = hashSticky
	}
	out.Targets = l.pool.forwarding()
	return out
}

// forwarding returns the targets of a pool.
func (p *pool) forwarding() []ForwardingTarget {
	var out []ForwardingTarget
	receives := p.receiving()
	for i, t := range p.targets {
		n := ForwardingTarget{Addr: netip.AddrPortFrom(t.addr, uint16(t.port)), Drained: t.weight == 0}
		if receives[i] {
			n.Weight = int(t.weight)
		}
		out = append(out, n)
	}
	return out
}

// allowed returns the sources that the security groups of a CLB admit to a
// listener; nil means that it has no group.
func (l *listener) allowed() []netip.Prefix {
	if len(l.lb.securityGroups) == 0 {
		return nil
	}
	groups := l.cloud.regionOf(l.lb.vpc).groups
	var policies []Policy
	for _, id := range l.lb.securityGroups {
		if g := groups[id]; g != nil {
			for _, p := range g.ingress {
				if p.covers(transport(l.protocol), l.port) {
					policies = append(policies, p)
				}
			}
		}
	}
	return admitted(policies)
}

// ForwardingProxy is a listener whose connections end at the CLB, which makes
// others to the targets.
type ForwardingProxy struct {
	ID            string
	Protocol      string // TCP_SSL, HTTP or HTTPS
	VIP           netip.Addr
	Port          uint16
	Allow         []netip.Prefix // sources that may enter; nil is everyone
	TLS           ForwardingTLS  // of TCP_SSL, and of HTTPS without SNI
	Targets       []ForwardingTarget
	ProxyProtocol bool // TCP_SSL tells targets the client's address
	Sites         []ForwardingSite
}

// ForwardingTLS is what a listener or a domain presents, and asks of clients.
// Without certificates it is nothing.
type ForwardingTLS struct {
	Certificates []Certificate
	Clients      string // ON or OPTIONAL: clients have a certificate; "": they are not asked
}

// ForwardingSite is the rules of the same domains.
type ForwardingSite struct {
	Domains []string
	Default bool
	HTTP2   bool
	TLS     ForwardingTLS // with SNI
	Rules   []ForwardingRule
}

// ForwardingRule is one rule as a data path sees it.
type ForwardingRule struct {
	ID          string
	URL         string // requests whose path begins with it, unless another rule has more of it
	ForwardType string // HTTP, HTTPS, GRPC or GRPCS
	Scheduler   string // WRR, LEAST_CONN or IP_HASH
	Sticky      time.Duration
	Cookie      string // of sticky clients; "": CLB's own
	Targets     []ForwardingTarget
}

func (l *listener) proxy() ForwardingProxy {
	out := ForwardingProxy{
		ID: l.id, Protocol: l.protocol, VIP: l.lb.vip, Port: uint16(l.port), Allow: l.allowed(), TLS: l.cloud.tls(l.settings.certificate),
		ProxyProtocol: l.settings.proxyProtocol, Targets: l.pool.forwarding(),
	}
	at := map[*site]int{}
	for _, r := range l.rules {
		i, ok := at[r.site]
		if !ok {
			i = len(out.Sites)
			at[r.site] = i
			out.Sites = append(out.Sites, ForwardingSite{Domains: r.site.domains, Default: r.site.isDefault, HTTP2: r.site.http2, TLS: l.cloud.tls(r.site.certificate)})
		}
		s := r.settings
		out.Sites[i].Rules = append(out.Sites[i].Rules, ForwardingRule{
			ID: r.id, URL: r.url, ForwardType: s.forwardType, Scheduler: s.scheduler, Sticky: time.Duration(s.sessionExpire) * time.Second,
			Cookie: s.cookie, Targets: r.pool.forwarding(),
		})
	}
	return out
}

func (c *Cloud) tls(cert *certificate) ForwardingTLS {
	out := ForwardingTLS{}
	for _, id := range cert.all() {
		known := Certificate{ID: id}
		if k := c.cfg.certificate(id); k != nil {
			known = *k
		}
		out.Certificates = append(out.Certificates, known)
	}
	if cert != nil {
		out.Clients = cert.verify
	}
	return out
}
