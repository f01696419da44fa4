// SPDX-License-Identifier: Apache-2.0

package cloud

import (
	"net/netip"
	"slices"
	"time"

	"github.com/clbsync/clbsync/clbsim/health"
)

// pool is the targets of one listener of layer 4, or of one forwarding rule of
// layer 7, with what decides about them.
type pool struct {
	listener *listener
	rule     *rule     // nil at layer 4
	targets  []*target // in order of registration
}

// id names a pool in messages.
func (p *pool) id() string {
	if p.rule != nil {
		return p.rule.id
	}
	return p.listener.id
}

func (p *pool) cloud() *Cloud { return p.listener.cloud }

func (p *pool) check() HealthCheck {
	if p.rule != nil {
		return p.rule.settings.check
	}
	return p.listener.settings.check
}

// exists tells whether the listener and the rule of a pool are still there.
func (p *pool) exists() bool {
	l := p.listener
	return l.lb.listener(l.id) == l && (p.rule == nil || l.rule(p.rule.id) == p.rule)
}

// pools returns the listener's own pool, or those of its rules.
func (l *listener) pools() []*pool {
	if !layer7(l.protocol) {
		return []*pool{&l.pool}
	}
	out := make([]*pool, len(l.rules))
	for i, r := range l.rules {
		out[i] = &r.pool
	}
	return out
}

// pools returns all pools of a load balancer, in order.
func (lb *loadBalancer) pools() []*pool {
	var out []*pool
	for _, l := range lb.listeners {
		out = append(out, l.pools()...)
	}
	return out
}

// at returns the target with an address and port.
func (p *pool) at(a netip.Addr, port int64) *target {
	for _, t := range p.targets {
		if t.port == port && t.addr == a {
			return t
		}
	}
	return nil
}

func (p *pool) register(t *target, now time.Time) {
	if old := p.at(t.addr, t.port); old != nil {
		old.weight = t.weight
		if p.cloud().cfg.Assumptions.RegisterBound == Rebind {
			old.registered = now
			p.restart(old, now)
		}
		return
	}
	t.registered = now
	p.targets = append(p.targets, t)
	p.restart(t, now)
}

func (p *pool) unregister(gone func(*target) bool) {
	p.targets = slices.DeleteFunc(p.targets, func(t *target) bool {
		if gone(t) {
			t.turn++
			return true
		}
		return false
	})
}

// drop ends the probes of a pool's targets.
func (p *pool) drop() { p.unregister(func(*target) bool { return true }) }

// restart begins the health of a target anew.
func (p *pool) restart(t *target, now time.Time) {
	t.health = health.New(p.check().rules(p.cloud().cfg.Health))
	p.cloud().scheduleProbe(t, now)
}

// recheck follows a change of the health check. Switching it on or off begins
// anew; any other change keeps what is known and applies from the next probe.
func (p *pool) recheck(before HealthCheck, now time.Time) {
	for _, t := range p.targets {
		if before.On != p.check().On {
			p.restart(t, now)
		} else if before != p.check() {
			p.cloud().scheduleProbe(t, now)
		}
	}
}

// receiving returns the targets of a pool that get new traffic, in order.
func (p *pool) receiving() []bool {
	candidates := make([]health.Candidate, len(p.targets))
	for i, t := range p.targets {
		candidates[i] = health.Candidate{Weight: int(t.weight), Status: t.health.Status}
	}
	a := p.cloud().cfg.Assumptions
	return health.Receiving(candidates, health.FailOpen{Unprobed: a.UnprobedIsUnhealthy, Drained: a.DrainedIsLeftOut})
}
