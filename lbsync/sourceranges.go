// SPDX-License-Identifier: Apache-2.0

package lbsync

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/clbsync/clbsync/lbsync/annotation"
)

// AccessMax is how many rules a security group takes for what comes in.
const AccessMax = 100

// AccessRule lets the addresses of a range reach a listener. What no rule of a group lets in is dropped.
type AccessRule struct {
	From     netip.Prefix // masked
	Protocol Protocol     // TCP or UDP, what packets have whatever the listener makes of them; "": any
	Port     uint16       // of the listener; 0: any
	Odd      string       // actual only: a rule that this controller never writes, in words
}

func (r AccessRule) compare(o AccessRule) int {
	return cmp.Or(r.From.Addr().Compare(o.From.Addr()), cmp.Compare(r.From.Bits(), o.From.Bits()), cmp.Compare(r.Port, o.Port), cmp.Compare(r.Protocol, o.Protocol), cmp.Compare(r.Odd, o.Odd))
}

func (r AccessRule) door() string {
	switch {
	case r.Odd != "":
		return r.Odd
	case r.Port == 0:
		return "everything"
	}
	return ListenerKey{Protocol: r.Protocol, Port: r.Port}.String()
}

// AccessText is a list of rules for people, the same for the same rules in whatever order: the ranges, and what they reach.
// "none" for not nil and empty: nobody is kept out; "" for nil.
func AccessText(rules []AccessRule) string {
	switch {
	case rules == nil:
		return ""
	case len(rules) == 0:
		return "none"
	}
	var groups []string // of ranges that reach the same, in the order of their first
	members := map[string][]string{}
	doors := map[netip.Prefix][]string{}
	var order []netip.Prefix
	for _, r := range slices.SortedFunc(slices.Values(rules), AccessRule.compare) {
		if doors[r.From] == nil {
			order = append(order, r.From)
		}
		doors[r.From] = append(doors[r.From], r.door())
	}
	for _, from := range order {
		to := strings.Join(doors[from], " ")
		if members[to] == nil {
			groups = append(groups, to)
		}
		members[to] = append(members[to], from.String())
	}
	var parts []string
	for _, to := range groups {
		parts = append(parts, strings.Join(members[to], " ")+" to "+to)
	}
	return strings.Join(parts, ", ")
}

// SourceRanges returns the ranges of addresses that may use a Service, masked, sorted, and without those that lie within
// another one; nil: everybody may. wrong is what can be read as no range. The field counts over the annotation, as in the
// stock controller. Ranges of no bits alone keep nobody out.
func SourceRanges(svc Service) (ranges []netip.Prefix, wrong []string) {
	texts := svc.Spec.LoadBalancerSourceRanges
	if len(texts) == 0 {
		texts = svc.Options.SourceRanges
	}
	open := true
	for _, text := range texts {
		p, err := netip.ParsePrefix(strings.TrimSpace(text))
		if err != nil {
			wrong = append(wrong, text)
			continue
		}
		if p.Addr().Is4In6() && p.Bits() >= 96 {
			p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
		}
		open = open && p.Bits() == 0
		ranges = append(ranges, p.Masked())
	}
	if open {
		return nil, wrong
	}
	slices.SortFunc(ranges, func(a, b netip.Prefix) int {
		return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
	})
	kept := ranges[:0]
	for _, p := range ranges { // What holds another one comes before it, and nothing that ends earlier comes between.
		if len(kept) > 0 && kept[len(kept)-1].Bits() <= p.Bits() && kept[len(kept)-1].Contains(p.Addr()) {
			continue
		}
		kept = append(kept, p)
	}
	return kept, wrong
}

// access returns the rules that let ranges, and nobody else, reach the listeners; not nil and empty without ranges. Where a
// group has no room for each port by itself, a range reaches all: on a CLB of ours there is nothing else to reach.
func access(ranges []netip.Prefix, listeners map[ListenerKey]Listener, unclear map[ListenerKey]Unclear) []AccessRule {
	type door struct {
		protocol Protocol
		port     uint16
	}
	doors := map[door]bool{}
	for k := range listeners {
		doors[door{k.Protocol.Transport(), k.Port}] = true
	}
	for k := range unclear { // whatever is there
		doors[door{k.Protocol.Transport(), k.Port}] = true
	}
	if len(ranges)*len(doors) > AccessMax {
		doors = map[door]bool{{}: true}
	}
	rules := []AccessRule{}
	for _, from := range ranges {
		for d := range doors {
			rules = append(rules, AccessRule{From: from, Protocol: d.protocol, Port: d.port})
		}
	}
	slices.SortFunc(rules, AccessRule.compare)
	return rules
}

// accessInDoubt reports whether it cannot be said who may use the Service.
func (s Snapshot) accessInDoubt(svc Service) bool {
	ranges, wrong := SourceRanges(svc)
	return slices.ContainsFunc(svc.Problems, func(p annotation.Problem) bool { return p.Access }) || len(rangeSkips(svc, ranges, wrong, true, s.theirs(svc))) > 0
}

// opensNothing returns desired, where it is in doubt who may connect, without the listeners whose port is not open in actual.
func (l LoadBalancer) opensNothing(actual LoadBalancer) LoadBalancer {
	if !l.AccessInDoubt {
		return l
	}
	open := map[ListenerKey]bool{}
	for k, have := range actual.Listeners {
		if have.Ours() {
			open[k.port()] = true
		}
	}
	out := l.Clone()
	for _, k := range sortedListeners(l.Listeners) {
		if !open[k.port()] {
			out.remove(k)
		}
	}
	return out
}

// rangeSkips returns why the ranges of a Service cannot be kept. A CLB that lets everybody in is not what a list of
// ranges asks for, so there is none at all then; and where one serves already, it lets in whom it let in before. theirs: it is
// a CLB that somebody made.
func rangeSkips(svc Service, ranges []netip.Prefix, wrong []string, served, theirs bool) []Skip {
	object, field := "spec.loadBalancerSourceRanges", "spec.loadBalancerSourceRanges"
	if len(svc.Spec.LoadBalancerSourceRanges) == 0 {
		object, field = "annotation "+annotation.SourceRanges, "annotation "+annotation.SourceRanges
	}
	skip := func(format string, args ...any) []Skip {
		message := field + " " + fmt.Sprintf(format, args...) + "; " + leavesAll
		if served {
			message = field + " " + fmt.Sprintf(format, args...) + "; " + leavesDoors
		}
		return []Skip{{Object: object, Reason: RangesRefused, Warning: true, Blocking: !served, Creation: true, Message: message}}
	}
	const instead = "restrict the addresses in a NetworkPolicy or the nodes' security group"
	switch {
	case len(wrong) > 0:
		return skip("has %q, which is no range of addresses like 10.0.0.0/8 or 2001:db8::/32", wrong)
	case len(ranges) == 0:
		return nil
	case theirs:
		return skip("cannot be kept: CLB %s was made by somebody else, whose security groups are not changed here, and may serve others; bind a security group to it in the console, or %s, and remove the ranges", svc.Options.ExistingID, instead)
	case len(svc.Options.SecurityGroups) > 0:
		return skip("does not go together with the annotation %s: CLB lets in what any of its groups lets in; put the ranges into one of these groups, or remove the annotation", annotation.SecurityGroups)
	case len(ranges) > AccessMax:
		return skip("has %d ranges, and a security group takes %d rules; join ranges that lie side by side, or %s", len(ranges), AccessMax, instead)
	}
	return nil
}
