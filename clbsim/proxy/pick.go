// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"hash/fnv"
	"net/netip"
	"slices"
	"sync"

	"github.com/clbsync/clbsync/clbsim/cloud"
)

// picker lets the targets of one listener or rule take turns.
type picker struct {
	mu      sync.Mutex
	targets []cloud.ForwardingTarget
	gained  map[netip.AddrPort]int // of smooth weighted round robin
	active  map[netip.AddrPort]int // connections or requests under way
}

func newPicker() *picker {
	return &picker{gained: map[netip.AddrPort]int{}, active: map[netip.AddrPort]int{}}
}

// set changes the targets. Turns begin anew if any has changed.
func (p *picker) set(targets []cloud.ForwardingTarget) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !slices.Equal(p.targets, targets) {
		p.targets = targets
		clear(p.gained)
	}
}

// pick returns a target that receives, and how to say that the work there is
// done. False means that none receives.
func (p *picker) pick(scheduler string, client netip.Addr) (netip.AddrPort, func(), bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var receivers []cloud.ForwardingTarget
	total := 0
	for _, t := range p.targets {
		if t.Weight > 0 {
			receivers, total = append(receivers, t), total+t.Weight
		}
	}
	if len(receivers) == 0 {
		return netip.AddrPort{}, nil, false
	}
	var at netip.AddrPort
	switch scheduler {
	case "LEAST_CONN":
		at = slices.MinFunc(receivers, func(a, b cloud.ForwardingTarget) int {
			return p.active[a.Addr]*b.Weight - p.active[b.Addr]*a.Weight
		}).Addr
	case "IP_HASH":
		h := fnv.New32a()
		_, _ = h.Write(client.AsSlice())
		at = receivers[int(h.Sum32()%uint32(len(receivers)))].Addr
	default:
		for _, t := range receivers {
			p.gained[t.Addr] += t.Weight
		}
		at = slices.MaxFunc(receivers, func(a, b cloud.ForwardingTarget) int { return p.gained[a.Addr] - p.gained[b.Addr] }).Addr
		p.gained[at] -= total
	}
	return at, p.hold(at), true
}

// keep returns a target by the name that a sticky client has for it, if it
// still receives.
func (p *picker) keep(name string) (netip.AddrPort, func(), bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, t := range p.targets {
		if t.Weight > 0 && nameOf(t.Addr) == name {
			return t.Addr, p.hold(t.Addr), true
		}
	}
	return netip.AddrPort{}, nil, false
}

// bound tells whether a target is registered.
func (p *picker) bound(a netip.AddrPort) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.ContainsFunc(p.targets, func(t cloud.ForwardingTarget) bool { return t.Addr == a })
}

// hold counts work at a target until it is let go. The lock is held.
func (p *picker) hold(a netip.AddrPort) func() {
	p.active[a]++
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.active[a]--; p.active[a] == 0 {
			delete(p.active, a)
		}
	}
}
