// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/clbsync/clbsync/clbsim/cloud"
)

const table = "ip clbsim"

// Ruleset is the content of our table, as values that can be compared.
type Ruleset struct {
	sets   map[string]set
	chains map[string]chain
}

// set is a set or a map of nftables.
type set struct {
	kind     string   // "set" or "map"
	spec     string   // what stands in braces
	elements []string // sorted; nil for sets that packets fill
}

type chain struct {
	hook  string // of base chains, what stands in braces
	rules []string
}

// Render returns the rules for what the listeners say. Those of proxies lead to
// their ports on this machine.
func Render(f cloud.Forwarding, ports map[string]uint16) Ruleset {
	r := Ruleset{sets: map[string]set{}, chains: map[string]chain{}}
	r.frame()
	var vips, sources, dispatch, resets, proxied []string
	bound := map[string][]string{"tcp": nil, "udp": nil}
	for _, v := range f.VIPs {
		vips = append(vips, v.String())
	}
	for _, s := range f.Sources {
		sources = append(sources, sourceElement(s))
	}
	for _, l := range f.Listeners {
		proto := protocol(l)
		dispatch = append(dispatch, fmt.Sprintf("%s . %s . %d : goto %s", proto, l.VIP, l.Port, l.ID))
		for _, t := range l.Targets {
			bound[proto] = append(bound[proto], fmt.Sprintf("%s . %d . %s . %d", l.VIP, l.Port, t.Addr.Addr(), t.Addr.Port()))
		}
		if l.Reset && !l.UDP {
			resets = append(resets, fmt.Sprintf("%s . %d", l.VIP, l.Port))
		}
		r.listener(l)
	}
	for _, p := range f.Proxies {
		dispatch = append(dispatch, fmt.Sprintf("tcp . %s . %d : goto %s", p.VIP, p.Port, p.ID))
		proxied = append(proxied, fmt.Sprintf("%s . %d . %d", p.VIP, p.Port, ports[p.ID]))
		r.proxy(p, ports[p.ID])
	}
	r.fill("vips", vips)
	r.fill("proxied", proxied)
	r.fill("probe_source", sources)
	r.fill("listeners", dispatch)
	r.fill("bound_tcp", bound["tcp"])
	r.fill("bound_udp", bound["udp"])
	r.fill("resets", resets)
	return r
}

// Mark is the packet mark that stands for a source address of probes.
func Mark(a netip.Addr) uint32 {
	b := a.As4()
	return binary.BigEndian.Uint32(b[:])
}

// sourceElement maps the mark of an address to the address.
func sourceElement(a netip.Addr) string { return fmt.Sprintf("0x%08x : %s", Mark(a), a) }

func protocol(l cloud.ForwardingListener) string {
	if l.UDP {
		return "udp"
	}
	return "tcp"
}

// frame adds what does not depend on the listeners.
func (r Ruleset) frame() {
	const flow = "ct original ip daddr . ct original proto-dst . ct reply ip saddr . ct reply proto-src"
	const tuple = "type ipv4_addr . inet_service . ipv4_addr . inet_service;"
	r.sets["vips"] = set{kind: "set", spec: "type ipv4_addr;"}
	r.sets["probe_source"] = set{kind: "map", spec: "type mark : ipv4_addr;"}
	r.sets["listeners"] = set{kind: "map", spec: "type inet_proto . ipv4_addr . inet_service : verdict;"}
	r.sets["bound_tcp"] = set{kind: "set", spec: tuple}
	r.sets["bound_udp"] = set{kind: "set", spec: tuple}
	r.sets["proxied"] = set{kind: "set", spec: "type ipv4_addr . inet_service . inet_service;"}
	r.sets["resets"] = set{kind: "set", spec: "type ipv4_addr . inet_service;"}

	enter := []string{"ip daddr @vips goto dispatch"}
	watch := []string{"ct original ip daddr @vips goto guard"}
	r.chains["prerouting"] = chain{"type nat hook prerouting priority -100; policy accept;", enter}
	r.chains["output"] = chain{"type nat hook output priority -100; policy accept;", enter}
	r.chains["forward"] = chain{"type filter hook forward priority 0; policy accept;", watch}
	r.chains["output_filter"] = chain{"type filter hook output priority 0; policy accept;", watch}
	r.chains["postrouting"] = chain{"type nat hook postrouting priority 100; policy accept;", []string{"snat ip to meta mark map @probe_source"}}
	r.chains["dispatch"] = chain{rules: []string{
		// A flow that conntrack has forgotten is over. Picking it up in its middle
		// would send it to a target that has never heard of it.
		"tcp flags & (fin | syn | rst | ack) != syn drop",
		"meta l4proto . ip daddr . th dport vmap @listeners",
		"drop",
	}}
	r.chains["guard"] = chain{rules: []string{
		"meta l4proto tcp " + flow + " @bound_tcp accept",
		"meta l4proto udp " + flow + " @bound_udp accept",
		"meta l4proto tcp ct original ip daddr . ct original proto-dst . ct reply proto-src @proxied accept",
		"ct state related accept",
		"meta l4proto tcp ct original ip daddr . ct original proto-dst @resets reject with tcp reset",
		"drop",
	}}
}

func (r Ruleset) fill(name string, elements []string) {
	s := r.sets[name]
	slices.Sort(elements)
	s.elements = slices.Compact(append([]string{}, elements...))
	r.sets[name] = s
}

// listener adds the chain of a listener. It ends in a drop: a listener without
// a target that receives swallows what comes.
func (r Ruleset) listener(l cloud.ForwardingListener) {
	var rules []string
	if from, open := sources(l.Allow); !open {
		rules = append(rules, from)
	}
	var weights []int
	var receivers []netip.AddrPort
	for _, t := range l.Targets {
		if t.Weight > 0 {
			weights, receivers = append(weights, t.Weight), append(receivers, t.Addr)
		}
	}
	if l.Sticky > 0 {
		rules = append(rules, r.sticky(l, receivers, Sequence(weights))...)
	} else if rule := plain(protocol(l), receivers, Sequence(weights)); rule != "" {
		rules = append(rules, rule)
	}
	r.chains[l.ID] = chain{rules: append(rules, "drop")}
}

// proxy adds the chain of a listener whose connections end on this machine.
func (r Ruleset) proxy(p cloud.ForwardingProxy, port uint16) {
	var rules []string
	if from, open := sources(p.Allow); !open {
		rules = append(rules, from)
	}
	r.chains[p.ID] = chain{rules: append(rules, fmt.Sprintf("meta l4proto tcp redirect to :%d", port), "drop")}
}

// sources returns the rule that drops everyone but the given ranges. Ranges
// inside of others are left out: nft refuses sets whose intervals overlap.
func sources(allow []netip.Prefix) (rule string, open bool) {
	if allow == nil {
		return "", true
	}
	sorted := slices.Clone(allow)
	slices.SortFunc(sorted, func(a, b netip.Prefix) int { return a.Bits() - b.Bits() })
	var kept []netip.Prefix
	var texts []string
	for _, p := range sorted {
		p = p.Masked()
		if !p.Addr().Is4() || slices.ContainsFunc(kept, func(k netip.Prefix) bool { return k.Contains(p.Addr()) }) {
			continue
		}
		if p.Bits() == 0 {
			return "", true
		}
		kept, texts = append(kept, p), append(texts, p.String())
	}
	if len(kept) == 0 {
		return "drop", false
	}
	return "ip saddr != { " + strings.Join(texts, ", ") + " } drop", false
}

// plain is one rule: the counter of numgen walks through the sequence.
func plain(proto string, receivers []netip.AddrPort, sequence []int) string {
	switch len(receivers) {
	case 0:
		return ""
	case 1:
		return fmt.Sprintf("meta l4proto %s dnat ip to %s", proto, receivers[0])
	}
	slots := make([]string, len(sequence))
	for i, n := range sequence {
		slots[i] = fmt.Sprintf("%d : %s . %d", i, receivers[n].Addr(), receivers[n].Port())
	}
	return fmt.Sprintf("meta l4proto %s dnat ip to numgen inc mod %d map { %s }", proto, len(sequence), strings.Join(slots, ", "))
}

// sticky gives each target a chain, and a set of the clients that it has
// served. The set lives as long as the target receives, so that other
// targets' clients stay where they are when one comes or goes.
func (r Ruleset) sticky(l cloud.ForwardingListener, receivers []netip.AddrPort, sequence []int) []string {
	names := make([]string, len(receivers))
	var rules []string
	for i, t := range receivers {
		names[i] = fmt.Sprintf("%s/%s/%d", l.ID, t.Addr(), t.Port())
		r.sets[names[i]] = set{kind: "set", spec: "type ipv4_addr; flags dynamic,timeout; size 65535;"}
		r.chains[names[i]] = chain{rules: []string{fmt.Sprintf("meta l4proto %s update @%s { ip saddr timeout %ds } dnat ip to %s", protocol(l), names[i], int(l.Sticky/time.Second), t)}}
		rules = append(rules, fmt.Sprintf("ip saddr @%s goto %s", names[i], names[i]))
	}
	switch len(receivers) {
	case 0:
		return nil
	case 1:
		return []string{"goto " + names[0]}
	}
	slots := make([]string, len(sequence))
	for i, n := range sequence {
		slots[i] = fmt.Sprintf("%d : goto %s", i, names[n])
	}
	return append(rules, fmt.Sprintf("numgen inc mod %d vmap { %s }", len(sequence), strings.Join(slots, ", ")))
}
