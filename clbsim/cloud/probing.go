// SPDX-License-Identifier: Apache-2.0

package cloud

import (
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// Probe is one health check to make now.
type Probe struct {
	Check   HealthCheck
	Target  netip.AddrPort // CheckPort applied
	UDP     bool           // the listener's protocol
	Source  netip.Addr     // where CLB's probes come from
	Timeout time.Duration

	target *target
	turn   int
}

// Override forces the health of matching targets, whatever their probes say.
// Empty fields match everything.
type Override struct {
	Instance     string `json:"instance,omitempty"`
	Address      string `json:"address,omitempty"`
	Port         int64  `json:"port,omitempty"`
	LoadBalancer string `json:"loadBalancer,omitempty"`
	Listener     string `json:"listener,omitempty"`
	Rule         string `json:"rule,omitempty"`
	State        string `json:"state"` // up, down, or auto to end an override of the same match
}

// The states of an Override.
const (
	Up   = "up"
	Down = "down"
	Auto = "auto"
)

// SetOverride adds an override, or replaces the one with the same match. The
// latest wins. Its effect comes through the probes that follow: a target that
// is told to be down dies after interval × UnHealthNum.
func (c *Cloud) SetOverride(o Override, now time.Time) error {
	if o.State != Up && o.State != Down && o.State != Auto {
		return fmt.Errorf("state: %q is not one of up, down, auto", o.State)
	}
	match := func(p Override) Override { p.State = ""; return p }
	kept := c.overrides[:0]
	for _, p := range c.overrides {
		if match(p) != match(o) {
			kept = append(kept, p)
		}
	}
	c.overrides = kept
	if o.State != Auto {
		c.overrides = append(c.overrides, o)
	}
	c.wakeProbes(now)
	return nil
}

// ClearOverrides ends all overrides.
func (c *Cloud) ClearOverrides(now time.Time) {
	c.overrides = nil
	c.wakeProbes(now)
}

// forced returns what an override makes of a target's probes.
func (c *Cloud) forced(t *target) (up, ok bool) {
	for _, o := range slices.Backward(c.overrides) {
		if (o.Instance == "" || o.Instance == t.instance) && (o.Address == "" || o.Address == t.addr.String()) &&
			(o.Port == 0 || o.Port == t.port) && (o.LoadBalancer == "" || o.LoadBalancer == t.pool.listener.lb.id) &&
			(o.Listener == "" || o.Listener == t.pool.listener.id) && (o.Rule == "" || o.Rule == t.location()) {
			return o.State == Up, true
		}
	}
	return false, false
}

// scheduleProbe plans the next probe of a target one interval from now.
func (c *Cloud) scheduleProbe(t *target, now time.Time) {
	t.turn++
	rules := t.pool.check().rules(c.cfg.Health)
	if rules.Off {
		return
	}
	t.probeAt = now.Add(rules.Interval)
	c.schedule(event{at: t.probeAt, target: t, turn: t.turn})
}

// wakeProbes plans a probe for every target whose settled state may not hold
// under new overrides. Real probes go on anyway.
func (c *Cloud) wakeProbes(now time.Time) {
	if c.cfg.Health.Probe == ProbeReal {
		return
	}
	c.eachTarget(func(t *target) {
		if !t.health.Settled(c.simulated(t)) {
			c.scheduleProbe(t, now)
		}
	})
}

func (c *Cloud) eachTarget(f func(*target)) {
	for _, name := range c.cfg.Regions {
		for _, lb := range c.regions[name].byAge {
			for _, p := range lb.pools() {
				for _, t := range p.targets {
					f(t)
				}
			}
		}
	}
}

// simulated is the result of a probe that nobody makes: a target is up unless
// an override says otherwise or its instance does not run.
func (c *Cloud) simulated(t *target) bool {
	if up, ok := c.forced(t); ok {
		return up
	}
	if t.instance == "" {
		return true
	}
	i := c.regionOf(t.pool.listener.lb.vpc).instances[t.instance]
	return i != nil && i.State == "RUNNING"
}

// probeDue makes a simulated probe, or asks for a real one. An override makes
// the real one needless.
func (c *Cloud) probeDue(t *target, now time.Time) {
	forced, isForced := c.forced(t)
	switch {
	case isForced:
		c.probed(t, forced, now)
	case c.cfg.Health.Probe == ProbeSimulated:
		c.probed(t, c.simulated(t), now)
	default:
		c.due.Probes = append(c.due.Probes, c.probe(t))
	}
}

func (c *Cloud) probe(t *target) Probe {
	check := t.pool.check()
	p := Probe{
		Check: check, UDP: transport(t.pool.listener.protocol) == "UDP", Source: c.cfg.Health.Source,
		Timeout: c.cfg.Health.scale(time.Duration(check.Timeout) * time.Second), target: t, turn: t.turn,
	}
	port := t.port
	if check.Port != 0 {
		port = check.Port
	}
	if check.SourceIPType == 0 {
		p.Source = t.pool.listener.lb.vip
	}
	p.Target = netip.AddrPortFrom(t.addr, uint16(port))
	return p
}

// Probed takes the result of a probe that Advance asked for. One that was
// superseded meanwhile is ignored.
func (c *Cloud) Probed(p Probe, ok bool, now time.Time) {
	if p.target.turn == p.turn {
		c.probed(p.target, ok, now)
	}
}

func (c *Cloud) probed(t *target, ok bool, now time.Time) {
	before := t.health.Status
	t.health = t.health.Probed(t.pool.check().rules(c.cfg.Health), ok)
	if t.health.Status != before {
		c.version++
	}
	// A settled target would be probed for ever with the same result. With
	// 100,000 targets that is all a simulation would do.
	if c.cfg.Health.Probe == ProbeSimulated && t.health.Settled(c.simulated(t)) {
		t.turn++
		return
	}
	// The interval counts from the start of a probe, unless it took longer.
	rules := t.pool.check().rules(c.cfg.Health)
	if late := now.Add(-rules.Interval); t.probeAt.Before(late) {
		t.probeAt = late
	}
	c.scheduleProbe(t, t.probeAt)
}
