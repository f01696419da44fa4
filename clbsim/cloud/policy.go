// SPDX-License-Identifier: Apache-2.0

package cloud

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

var policyProtocols = []string{"TCP", "UDP", "ICMP", "ICMPV6", "GRE", "ALL"}

// policies reads both directions of a policy set.
func (k *call) policies(in *policySet) (ingress, egress []Policy, err *Error) {
	if ingress, err = k.direction("Ingress", in.Ingress); err == nil {
		egress, err = k.direction("Egress", in.Egress)
	}
	return ingress, egress, err
}

func (k *call) direction(name string, in []*policy) ([]Policy, *Error) {
	if len(in) > maxPolicies {
		return nil, errorf(codePolicyLimit, "%s has %d policies, it should have at most %d.", name, len(in), maxPolicies)
	}
	var out []Policy
	for i, p := range in {
		n, err := parsePolicy(fmt.Sprintf("%s.%d", name, i), p)
		if err != nil {
			return nil, err
		}
		n.modified = k.Now
		out = append(out, n)
	}
	return out, nil
}

// parsePolicy checks one policy and gives it the form in which it reads back:
// the protocol in small letters, everything else as it came.
func parsePolicy(path string, in *policy) (Policy, *Error) {
	protocol := strings.ToUpper(cmp.Or(value(in.Protocol), "ALL"))
	p := Policy{
		Protocol: strings.ToLower(protocol), Port: cmp.Or(value(in.Port), "ALL"), CIDR: value(in.CidrBlock), IPv6CIDR: value(in.Ipv6CidrBlock),
		Action: strings.ToUpper(value(in.Action)), Description: value(in.PolicyDescription),
	}
	if protocol == "ALL" {
		p.Protocol = protocol
	}
	if strings.EqualFold(p.Port, "ALL") {
		p.Port = "ALL"
	}
	ported := protocol == "TCP" || protocol == "UDP"
	switch {
	case in.ServiceTemplate != nil || in.AddressTemplate != nil || value(in.SecurityGroupID) != "":
		return p, errorf(codeUnsupported, "clbsim does not simulate ServiceTemplate, AddressTemplate and SecurityGroupId in policies.")
	case !slices.Contains(policyProtocols, protocol):
		return p, errorf(codeVPCValue, "The value of %s.Protocol is %q, it should be one of %s.", path, *in.Protocol, strings.Join(policyProtocols, ", "))
	case p.Action != "ACCEPT" && p.Action != "DROP":
		return p, errorf(codeVPCValue, "The value of %s.Action is %q, it should be ACCEPT or DROP.", path, value(in.Action))
	case p.CIDR != "" && p.IPv6CIDR != "":
		return p, errorf(codeCoexist, "%s.CidrBlock and %s.Ipv6CidrBlock cannot be given together.", path, path)
	case p.Port != "ALL" && !ported:
		return p, errorf(codeCoexist, "%s.Port is for the protocols TCP and UDP, not %s.", path, protocol)
	case len([]rune(p.Description)) > 100:
		return p, errorf(codeVPCTooLong, "%s.PolicyDescription is longer than 100.", path)
	}
	if _, ok := portRanges(p.Port); !ok {
		return p, errorf(codeVPCValue, "The value of %s.Port is %q, it should be like ALL, 80, 80,443 or 8000-8010.", path, p.Port)
	}
	if p.CIDR == "" && p.IPv6CIDR == "" {
		p.CIDR = "0.0.0.0/0"
	}
	if a, ok := p.prefix(); !ok || a.Addr().Is4() != (p.CIDR != "") {
		return p, errorf(codeVPCValue, "%s: %q is not a range of addresses, such as 10.0.0.0/8.", path, p.CIDR+p.IPv6CIDR)
	}
	return p, nil
}

// prefix is the range of a policy; a bare address is a range of one.
func (p Policy) prefix() (netip.Prefix, bool) {
	text := p.CIDR + p.IPv6CIDR
	if a, err := netip.ParseAddr(text); err == nil && a.Zone() == "" {
		return netip.PrefixFrom(a, a.BitLen()), true
	}
	r, err := netip.ParsePrefix(text)
	return r.Masked(), err == nil
}

// portRanges reads the ports of a policy; nil is all.
func portRanges(text string) (out [][2]int, ok bool) {
	if text == "ALL" {
		return nil, true
	}
	for part := range strings.SplitSeq(text, ",") {
		from, to, isRange := strings.Cut(part, "-")
		if !isRange {
			to = from
		}
		a, err := strconv.Atoi(from)
		b, errB := strconv.Atoi(to)
		if err != nil || errB != nil || a < 1 || b > 65535 || a > b {
			return nil, false
		}
		out = append(out, [2]int{a, b})
	}
	return out, true
}

// covers tells whether a policy is about a port.
func (p Policy) covers(protocol string, port int64) bool {
	ports, _ := portRanges(p.Port)
	return (p.Protocol == "ALL" || p.Protocol == strings.ToLower(protocol)) &&
		(ports == nil || slices.ContainsFunc(ports, func(r [2]int) bool { return int64(r[0]) <= port && port <= int64(r[1]) }))
}

// admitted returns the sources that policies accept, in their order: the first
// one that a packet matches decides, and one that matches none is dropped.
func admitted(policies []Policy) []netip.Prefix {
	undecided := []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}
	out := []netip.Prefix{}
	for _, p := range policies {
		r, _ := p.prefix()
		var rest []netip.Prefix
		for _, u := range undecided {
			switch {
			case !u.Overlaps(r):
				rest = append(rest, u)
				continue
			case u.Bits() >= r.Bits():
				if p.Action == "ACCEPT" {
					out = append(out, u)
				}
				continue
			case p.Action == "ACCEPT":
				out = append(out, r)
			}
			rest = append(rest, without(u, r)...)
		}
		undecided = rest
	}
	return out
}

// without cuts a smaller range out of a larger one.
func without(all, hole netip.Prefix) []netip.Prefix {
	var out []netip.Prefix
	for all.Bits() < hole.Bits() {
		low, high := halves(all)
		if low.Contains(hole.Addr()) {
			all, out = low, append(out, high)
		} else {
			all, out = high, append(out, low)
		}
	}
	return out
}

func halves(p netip.Prefix) (low, high netip.Prefix) {
	bits := p.Bits() + 1
	b := p.Masked().Addr().AsSlice()
	b[p.Bits()/8] |= 1 << (7 - p.Bits()%8)
	upper, _ := netip.AddrFromSlice(b)
	return netip.PrefixFrom(p.Masked().Addr(), bits), netip.PrefixFrom(upper, bits)
}

func describePolicies(k *call, in *securityGroupRequest) (*policiesResponse, *Error) {
	g, err := k.securityGroup(in.SecurityGroupID)
	if err != nil {
		return nil, err
	}
	return &policiesResponse{SecurityGroupPolicySet: &policySet{Version: g.versionText(), Ingress: policyWires(g.ingress), Egress: policyWires(g.egress)}}, nil
}

func (g *securityGroup) versionText() *string { return new(strconv.FormatInt(g.version, 10)) }

func policyWires(ps []Policy) []*policy {
	out := []*policy{}
	for i, p := range ps {
		out = append(out, &policy{
			PolicyIndex: new(int64(i)), Protocol: &p.Protocol, Port: &p.Port, CidrBlock: &p.CIDR, Ipv6CidrBlock: &p.IPv6CIDR, SecurityGroupID: new(""),
			ServiceTemplate: emptyTemplate(), AddressTemplate: emptyTemplate(), Action: &p.Action, PolicyDescription: &p.Description, ModifyTime: wireTime(p.modified),
		})
	}
	return out
}

func emptyTemplate() *template {
	return &template{ServiceID: new(""), ServiceGroupID: new(""), AddressID: new(""), AddressGroupID: new("")}
}

// onPolicies finds the group whose policies a request is about. A version that
// is given has to be the group's.
func (k *call) onPolicies(id *string, set *policySet) (*securityGroup, *Error) {
	g, err := k.securityGroup(id)
	switch {
	case err != nil:
		if err.Code == codeGroupNotFound {
			err = errorf(codeNotFound, "%s", err.Message)
		}
		return nil, err
	case set == nil:
		return nil, missing("SecurityGroupPolicySet")
	case set.Version != nil && *set.Version != "0" && *set.Version != *g.versionText():
		return nil, errorf(codeVersion, "The version of %s is %d, not %s.", g.id, g.version, *set.Version)
	}
	return g, nil
}

func (g *securityGroup) change(k *call, ingress, egress []Policy) (*vpcResponse, *Error) {
	for _, d := range [][]Policy{ingress, egress} {
		if len(d) > maxPolicies {
			return nil, errorf(codePolicyLimit, "%s would have %d policies in one direction, it should have at most %d.", g.id, len(d), maxPolicies)
		}
	}
	g.ingress, g.egress, g.changed = ingress, egress, k.Now
	g.version++
	return &vpcResponse{}, nil
}

// modifyPolicies replaces both directions. Version 0 is a trap: it clears the
// group, whatever else is given.
func modifyPolicies(k *call, in *modifyPoliciesRequest) (*vpcResponse, *Error) {
	g, err := k.onPolicies(in.SecurityGroupID, in.SecurityGroupPolicySet)
	if err != nil {
		return nil, err
	}
	if value(in.SecurityGroupPolicySet.Version) == "0" {
		return g.change(k, nil, nil)
	}
	ingress, egress, err := k.policies(in.SecurityGroupPolicySet)
	if err != nil {
		return nil, err
	}
	return g.change(k, ingress, egress)
}

// createPolicies adds policies of one direction, at an index or at the end.
func createPolicies(k *call, in *policiesRequest) (*vpcResponse, *Error) {
	g, err := k.onPolicies(in.SecurityGroupID, in.SecurityGroupPolicySet)
	if err != nil {
		return nil, err
	}
	side, raw, err := g.oneDirection(in.SecurityGroupPolicySet)
	if err != nil {
		return nil, err
	}
	more, err := k.direction("SecurityGroupPolicySet", raw)
	if err != nil {
		return nil, err
	}
	at := int64(len(*side))
	for i, p := range raw {
		if i > 0 && value(p.PolicyIndex) != value(raw[0].PolicyIndex) {
			return nil, errorf(codeVPCRange, "The policies of one request should have one PolicyIndex.")
		}
		if p.PolicyIndex != nil {
			at = *p.PolicyIndex
		}
		if slices.ContainsFunc(*side, more[i].same) || slices.ContainsFunc(more[:i], more[i].same) {
			return nil, errorf(codePolicyTwice, "%s has the policy %s %s %s already.", g.id, more[i].Protocol, more[i].Port, more[i].CIDR+more[i].IPv6CIDR)
		}
	}
	if at < 0 || at > int64(len(*side)) {
		return nil, errorf(codeVPCRange, "The PolicyIndex %d is out of range, %s has %d policies.", at, g.id, len(*side))
	}
	if len(*side)+len(more) > maxPolicies {
		return nil, errorf(codePolicyLimit, "%s would have %d policies in one direction, it should have at most %d.", g.id, len(*side)+len(more), maxPolicies)
	}
	*side = slices.Insert(slices.Clone(*side), int(at), more...)
	return g.change(k, g.ingress, g.egress)
}

// same tells whether two policies say the same, whatever their description.
func (p Policy) same(o Policy) bool {
	p.Description, o.Description, p.modified = "", "", o.modified
	return p == o
}

// oneDirection is the direction of a group that a policy set is about.
func (g *securityGroup) oneDirection(in *policySet) (*[]Policy, []*policy, *Error) {
	switch {
	case len(in.Ingress) > 0 && len(in.Egress) > 0:
		return nil, nil, errorf(codeCoexist, "Ingress and Egress cannot be given together.")
	case len(in.Ingress) > 0:
		return &g.ingress, in.Ingress, nil
	case len(in.Egress) > 0:
		return &g.egress, in.Egress, nil
	}
	return nil, nil, errorf(codeVPCEmpty, "SecurityGroupPolicySet has neither Ingress nor Egress.")
}

// deletePolicies removes policies of one direction, each by its index or by
// what it says.
func deletePolicies(k *call, in *policiesRequest) (*vpcResponse, *Error) {
	g, err := k.onPolicies(in.SecurityGroupID, in.SecurityGroupPolicySet)
	if err != nil {
		return nil, err
	}
	side, raw, err := g.oneDirection(in.SecurityGroupPolicySet)
	if err != nil {
		return nil, err
	}
	gone := map[int]bool{}
	for i, p := range raw {
		at := int(value(p.PolicyIndex))
		if p.PolicyIndex == nil {
			n, err := parsePolicy(fmt.Sprintf("SecurityGroupPolicySet.%d", i), p)
			if err != nil {
				return nil, err
			}
			at = slices.IndexFunc(*side, n.same)
		}
		if at < 0 || at >= len(*side) {
			return nil, errorf(codeNotFound, "The policy %d of the request does not exist in %s.", i, g.id)
		}
		gone[at] = true
	}
	var rest []Policy
	for i, p := range *side {
		if !gone[i] {
			rest = append(rest, p)
		}
	}
	*side = rest
	return g.change(k, g.ingress, g.egress)
}
