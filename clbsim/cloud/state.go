// SPDX-License-Identifier: Apache-2.0

package cloud

import (
	"maps"
	"slices"
	"time"
)

// State is everything that exists, for people and tests to look at. It shows
// more than the API: the VIP of domain-style CLBs, locks, and who receives.
type State struct {
	Version       int            `json:"version"` // changes with every visible change
	LoadBalancers []LoadBalancer `json:"loadBalancers"`
	Tasks         []Task         `json:"tasks"` // those that run, after the latest 100 that have ended
	Instances     []Instance     `json:"instances"`
	Groups        []Group        `json:"securityGroups"`
}

// Group is one security group in State.
type Group struct {
	ID      string            `json:"id"`
	Name    string            `json:"name"`
	Region  string            `json:"region"`
	Tags    map[string]string `json:"tags"`
	Ingress []Policy          `json:"ingress"`
	Egress  []Policy          `json:"egress"`
}

// LoadBalancer is one CLB in State.
type LoadBalancer struct {
	ID             string            `json:"id"`
	Name           string            `json:"name"`
	Region         string            `json:"region"`
	Type           string            `json:"type"`   // OPEN or INTERNAL
	Status         string            `json:"status"` // creating or active
	VIP            string            `json:"vip"`
	Domain         string            `json:"domain,omitempty"`
	VPC            string            `json:"vpc"`
	Subnet         string            `json:"subnet,omitempty"`
	IPv6Mode       string            `json:"ipv6Mode,omitempty"`  // IPv6Nat64 or IPv6FullChain
	Bandwidth      int               `json:"bandwidth,omitempty"` // Mbit/s, of public CLBs
	ChargeType     string            `json:"chargeType,omitempty"`
	SnatPro        bool              `json:"snatPro,omitempty"`
	SnatIPs        []string          `json:"snatIPs,omitempty"`
	TargetRegion   string            `json:"targetRegion"`
	TargetVPC      string            `json:"targetVPC"`
	Isolated       bool              `json:"isolated,omitempty"`
	Classic        bool              `json:"classic,omitempty"`
	Tags           map[string]string `json:"tags"`
	SecurityGroups []string          `json:"securityGroups,omitempty"`
	PassToTarget   bool              `json:"passToTarget"`
	DeleteProtect  bool              `json:"deleteProtect"`
	Locked         bool              `json:"locked"` // a task works on it
	Listeners      []Listener        `json:"listeners"`
}

// Listener is one listener in State.
type Listener struct {
	ID            string      `json:"id"`
	Name          string      `json:"name"`
	Protocol      string      `json:"protocol"`
	Port          int         `json:"port"`
	EndPort       int         `json:"endPort,omitempty"` // of a range of ports
	Scheduler     string      `json:"scheduler"`
	SessionExpire int         `json:"sessionExpire"` // seconds, 0 is off
	HealthCheck   HealthCheck `json:"healthCheck"`
	Targets       []Target    `json:"targets"`                // of layer 4
	Certificates  []string    `json:"certificates,omitempty"` // of TCP_SSL, QUIC, and HTTPS without SNI
	SNI           bool        `json:"sni,omitempty"`
	Rules         []Rule      `json:"rules,omitempty"` // of layer 7
}

// Rule is one forwarding rule in State.
type Rule struct {
	ID            string      `json:"id"`
	Domains       []string    `json:"domains"`
	URL           string      `json:"url"`
	Default       bool        `json:"default"` // of the listener's default domain
	Certificates  []string    `json:"certificates,omitempty"`
	Scheduler     string      `json:"scheduler"`
	SessionExpire int         `json:"sessionExpire"` // seconds, 0 is off
	ForwardType   string      `json:"forwardType"`
	HealthCheck   HealthCheck `json:"healthCheck"`
	Targets       []Target    `json:"targets"`
}

// Target is one target in State.
type Target struct {
	Instance string `json:"instance,omitempty"` // empty if bound by address
	Address  string `json:"address"`
	Port     int    `json:"port"`
	Weight   int    `json:"weight"`
	Status   string `json:"status"`   // Unknown, Alive, Dead or Close
	Receives bool   `json:"receives"` // new traffic goes there
}

// Task is one asynchronous task in State.
type Task struct {
	ID            string    `json:"id"`
	Action        string    `json:"action"`
	LoadBalancers []string  `json:"loadBalancers"`
	Status        string    `json:"status"` // running, done or failed
	Message       string    `json:"message,omitempty"`
	End           time.Time `json:"end"` // due or past
}

// Snapshot returns a copy of the state.
func (c *Cloud) Snapshot() State {
	s := State{Version: c.version, LoadBalancers: []LoadBalancer{}, Tasks: []Task{}, Instances: []Instance{}, Groups: []Group{}}
	for _, name := range c.cfg.Regions {
		r := c.regions[name]
		for _, lb := range r.byAge {
			s.LoadBalancers = append(s.LoadBalancers, lb.state(name))
		}
		for _, id := range slices.Sorted(maps.Keys(r.instances)) {
			s.Instances = append(s.Instances, *r.instances[id])
		}
		for _, id := range slices.Sorted(maps.Keys(r.groups)) {
			g := r.groups[id]
			s.Groups = append(s.Groups, Group{g.id, g.name, name, maps.Clone(g.tags), slices.Clone(g.ingress), slices.Clone(g.egress)})
		}
	}
	// Whoever waits for a state gets it at every change: hours of ended tasks
	// would be most of it.
	const shown = 100
	for _, t := range c.ended[max(len(c.ended)-shown, 0):] {
		s.Tasks = append(s.Tasks, t.state())
	}
	for _, id := range slices.Sorted(maps.Keys(c.running)) {
		s.Tasks = append(s.Tasks, c.running[id].state())
	}
	return s
}

func (t *task) state() Task {
	out := Task{ID: t.id, Action: t.action, Status: [...]string{"done", "failed", "running"}[t.status], Message: t.message, End: t.end, LoadBalancers: []string{}}
	for _, lb := range t.lbs {
		out.LoadBalancers = append(out.LoadBalancers, lb.id)
	}
	return out
}

func (lb *loadBalancer) state(region string) LoadBalancer {
	out := LoadBalancer{
		ID: lb.id, Name: lb.name, Region: region, Type: lb.kind, Status: "creating", VIP: lb.vip.String(), Domain: lb.domain, VPC: lb.vpc, Subnet: lb.subnet,
		Tags: maps.Clone(lb.tags), SecurityGroups: slices.Clone(lb.securityGroups), PassToTarget: lb.passToTarget,
		DeleteProtect: lb.deleteProtect, Locked: lb.busy != nil, Listeners: []Listener{},
	}
	if lb.running {
		out.Status = "active"
	}
	out.IPv6Mode, out.Bandwidth, out.ChargeType, out.SnatPro = lb.ipv6Mode, int(lb.bandwidth), lb.chargeType, lb.snatPro
	out.TargetRegion, out.TargetVPC, out.Isolated, out.Classic = lb.targetRegion, lb.targetVPC, lb.isolated, lb.classic
	for _, s := range lb.snatIPs {
		out.SnatIPs = append(out.SnatIPs, s.ip.String())
	}
	for _, l := range lb.listeners {
		n := Listener{
			ID: l.id, Name: l.name, Protocol: l.protocol, Port: int(l.port), EndPort: int(l.endPort), Scheduler: l.settings.scheduler,
			SessionExpire: int(l.settings.sessionExpire), HealthCheck: l.settings.check, Targets: l.pool.state(),
			Certificates: l.settings.certificate.all(), SNI: l.settings.sni,
		}
		for _, r := range l.rules {
			n.Rules = append(n.Rules, r.state())
		}
		out.Listeners = append(out.Listeners, n)
	}
	return out
}

func (p *pool) state() []Target {
	out := []Target{}
	receives := p.receiving()
	for i, t := range p.targets {
		out = append(out, Target{t.instance, t.addr.String(), int(t.port), int(t.weight), string(t.health.Status), receives[i]})
	}
	return out
}

func (r *rule) state() Rule {
	s := r.settings
	return Rule{
		ID: r.id, Domains: slices.Clone(r.site.domains), URL: r.url, Default: r.site.isDefault, Certificates: r.site.certificate.all(),
		Scheduler: s.scheduler, SessionExpire: int(s.sessionExpire), ForwardType: s.forwardType, HealthCheck: s.check, Targets: r.pool.state(),
	}
}
