// SPDX-License-Identifier: Apache-2.0

package cloud

import (
	"maps"
	"net/netip"
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
	Scheduler     string      `json:"scheduler"`
	SessionExpire int         `json:"sessionExpire"` // seconds, 0 is off
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
	s := State{Version: c.version, LoadBalancers: []LoadBalancer{}, Tasks: []Task{}, Instances: []Instance{}}
	for _, name := range c.cfg.Regions {
		r := c.regions[name]
		for _, lb := range r.byAge {
			s.LoadBalancers = append(s.LoadBalancers, lb.state(name))
		}
		for _, id := range slices.Sorted(maps.Keys(r.instances)) {
			s.Instances = append(s.Instances, *r.instances[id])
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
	for _, l := range lb.listeners {
		n := Listener{
			ID: l.id, Name: l.name, Protocol: l.protocol, Port: int(l.port), Scheduler: l.settings.scheduler,
			SessionExpire: int(l.settings.sessionExpire), HealthCheck: l.settings.check, Targets: []Target{},
		}
		receives := l.receiving()
		for i, t := range l.targets {
			n.Targets = append(n.Targets, Target{t.instance, t.addr.String(), int(t.port), int(t.weight), string(t.health.Status), receives[i]})
		}
		out.Listeners = append(out.Listeners, n)
	}
	return out
}

// Forwarding is what a data path has to do with packets.
type Forwarding struct {
	Listeners []ForwardingListener
	VIPs      []netip.Addr // every address ever given out: what arrives for one without a listener is dropped
	Sources   []netip.Addr // of probes
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
	f := Forwarding{Sources: []netip.Addr{c.cfg.Health.Source}}
	for _, name := range c.cfg.Regions {
		r := c.regions[name]
		f.VIPs = append(f.VIPs, r.everVIP...)
		for _, lb := range r.byAge {
			if len(lb.listeners) > 0 {
				f.Sources = append(f.Sources, lb.vip)
			}
			for _, l := range lb.listeners {
				f.Listeners = append(f.Listeners, l.forwarding())
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
		ID: l.id, UDP: l.protocol == "UDP", VIP: l.lb.vip, Port: uint16(l.port), Sticky: time.Duration(s.sessionExpire) * time.Second,
		Allow: l.lb.allowed(l.cloud), Reset: s.deregisterRst, MoveDead: s.rescheduleUnhealthy,
		MoveUDP: s.rescheduleZero || l.cloud.cfg.Assumptions.UDPMovesAtWeightZero,
	}
	if s.scheduler == "IP_HASH" {
		out.Sticky = hashSticky
	}
	receives := l.receiving()
	for i, t := range l.targets {
		n := ForwardingTarget{Addr: netip.AddrPortFrom(t.addr, uint16(t.port)), Drained: t.weight == 0}
		if receives[i] {
			n.Weight = int(t.weight)
		}
		out.Targets = append(out.Targets, n)
	}
	return out
}

// allowed joins the security groups of a CLB; nil means that it has none.
func (lb *loadBalancer) allowed(c *Cloud) []netip.Prefix {
	if len(lb.securityGroups) == 0 {
		return nil
	}
	out := []netip.Prefix{}
	for _, id := range lb.securityGroups {
		if g := c.cfg.securityGroup(id); g != nil {
			out = append(out, g.Allow...)
		}
	}
	return out
}
