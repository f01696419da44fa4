// SPDX-License-Identifier: Apache-2.0

package cloud

import (
	"cmp"
	"maps"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// securityGroup decides who may enter a CLB that is bound to it. What no
// policy accepts is dropped.
type securityGroup struct {
	id, name, description string
	project               string
	tags                  map[string]string
	created, changed      time.Time
	version               int64
	ingress, egress       []Policy
}

// Policy is one rule of a security group, as it reads back.
type Policy struct {
	Protocol    string    `json:"protocol"` // tcp, udp, icmp, icmpv6, gre or ALL
	Port        string    `json:"port"`     // ALL, 80, 80,443 or 80-90
	CIDR        string    `json:"cidr,omitempty"`
	IPv6CIDR    string    `json:"ipv6CIDR,omitempty"`
	Action      string    `json:"action"` // ACCEPT or DROP
	Description string    `json:"description,omitempty"`
	modified    time.Time // no part of what a policy says
}

// The limits of security groups, from the documentation of the service.
const (
	maxGroups   = 50  // of a region
	maxPolicies = 100 // of one direction of a group
)

// Codes of the VPC service.
const (
	codeVPCValue      = "InvalidParameterValue.Malformed"
	codeVPCTooLong    = "InvalidParameterValue.TooLong"
	codeVPCRange      = "InvalidParameterValue.Range"
	codeVPCLimit      = "InvalidParameterValue.LimitExceeded"
	codeVPCEmpty      = "InvalidParameterValue.Empty"
	codeCoexist       = "InvalidParameter.Coexist"
	codeGroupNotFound = "InvalidSecurityGroupID.NotFound"
	codeGroupForm     = "InvalidSecurityGroupID.Malformed"
	codeNotFound      = "ResourceNotFound"
	codeInUse         = "ResourceInUse"
	codePolicyLimit   = "LimitExceeded.SecurityGroupPolicySet"
	codePolicyTwice   = "UnsupportedOperation.DuplicatePolicy"
	codeVersion       = "UnsupportedOperation.VersionMismatch"
)

var groupID = regexp.MustCompile(`^sg-[a-z0-9]{8}$`)

// newSecurityGroup makes a group of the configuration: it accepts what it
// lists.
func newSecurityGroup(g SecurityGroup) *securityGroup {
	out := &securityGroup{id: g.ID, name: cmp.Or(g.Name, g.ID), project: "0", tags: map[string]string{}}
	maps.Copy(out.tags, g.Tags)
	for _, p := range g.Allow {
		n := Policy{Protocol: "ALL", Port: "ALL", CIDR: p.String(), Action: "ACCEPT"}
		if p.Addr().Is6() {
			n.CIDR, n.IPv6CIDR = "", p.String()
		}
		out.ingress = append(out.ingress, n)
	}
	return out
}

func (k *call) newGroup(name, description, project *string, tags []*vpcTag) (*securityGroup, *Error) {
	switch {
	case value(name) == "":
		return nil, missing("GroupName")
	case utf8.RuneCountInString(*name) > 60:
		return nil, errorf(codeVPCTooLong, "GroupName is longer than 60.")
	case description == nil:
		return nil, missing("GroupDescription")
	case utf8.RuneCountInString(*description) > 100:
		return nil, errorf(codeVPCTooLong, "GroupDescription is longer than 100.")
	case len(k.groups) >= maxGroups:
		return nil, errorf(codeLimit, "The number of security groups exceeds the quota of %d.", maxGroups)
	}
	g := &securityGroup{
		id: newID("sg-", func(id string) bool { return k.groups[id] != nil }), name: *name, description: *description,
		project: cmp.Or(value(project), "0"), tags: map[string]string{}, created: k.Now, changed: k.Now,
	}
	for _, t := range tags {
		key := value(t.Key)
		_, twice := g.tags[key]
		switch {
		case key == "":
			return nil, errorf("InvalidParameterValue.TagInvalidKey", "A tag key is empty.")
		case twice:
			return nil, errorf("InvalidParameterValue.TagDuplicateKey", "The tag key %s is given twice.", key)
		case tagProblem(key, value(t.Value)) != "":
			return nil, errorf("InvalidParameterValue.TagInvalidKey", "The tag %s is wrong: %s.", key, tagProblem(key, value(t.Value)))
		}
		g.tags[key] = value(t.Value)
	}
	return g, nil
}

func createSecurityGroup(k *call, in *createSecurityGroupRequest) (*createSecurityGroupResponse, *Error) {
	g, err := k.newGroup(in.GroupName, in.GroupDescription, in.ProjectID, in.Tags)
	if err != nil {
		return nil, err
	}
	k.groups[g.id] = g
	return &createSecurityGroupResponse{SecurityGroup: g.wire()}, nil
}

func createSecurityGroupWithPolicies(k *call, in *createSecurityGroupWithPoliciesRequest) (*createSecurityGroupResponse, *Error) {
	g, err := k.newGroup(in.GroupName, in.GroupDescription, in.ProjectID, nil)
	if err != nil {
		return nil, err
	}
	if s := in.SecurityGroupPolicySet; s != nil {
		if g.ingress, g.egress, err = k.policies(s); err != nil {
			return nil, err
		}
	}
	k.groups[g.id] = g
	return &createSecurityGroupResponse{SecurityGroup: g.wire()}, nil
}

// securityGroup finds a group by the SecurityGroupId of a request.
func (k *call) securityGroup(id *string) (*securityGroup, *Error) {
	switch g := k.groups[value(id)]; {
	case value(id) == "":
		return nil, missing("SecurityGroupId")
	case !groupID.MatchString(*id):
		return nil, errorf(codeGroupForm, "The security group id %q is malformed.", *id)
	case g == nil:
		return nil, errorf(codeGroupNotFound, "The security group %s does not exist.", *id)
	default:
		return g, nil
	}
}

func deleteSecurityGroup(k *call, in *securityGroupRequest) (*vpcResponse, *Error) {
	g, err := k.securityGroup(in.SecurityGroupID)
	if err != nil {
		return nil, err
	}
	for _, lb := range k.byAge {
		if slices.Contains(lb.securityGroups, g.id) {
			return nil, errorf(codeInUse, "The security group %s is bound to %s.", g.id, lb.id)
		}
	}
	delete(k.groups, g.id)
	return &vpcResponse{}, nil
}

func describeSecurityGroups(k *call, in *describeSecurityGroupsRequest) (*describeSecurityGroupsResponse, *Error) {
	offset, limit, err := vpcPage(in.Offset, in.Limit)
	switch {
	case err != nil:
		return nil, err
	case len(in.SecurityGroupIDs) > 0 && len(in.Filters) > 0:
		return nil, errorf(codeCoexist, "SecurityGroupIds and Filters cannot be given together.")
	case len(in.SecurityGroupIDs) > 100:
		return nil, errorf(codeVPCLimit, "The length of SecurityGroupIds is %d, it should be at most 100.", len(in.SecurityGroupIDs))
	}
	for _, id := range in.SecurityGroupIDs {
		if _, err := k.securityGroup(id); err != nil {
			return nil, err
		}
	}
	match, err := vpcFilters(in.Filters, map[string]func(*securityGroup) string{
		"security-group-id":   func(g *securityGroup) string { return g.id },
		"security-group-name": func(g *securityGroup) string { return g.name },
		"project-id":          func(g *securityGroup) string { return g.project },
	}, func(g *securityGroup) map[string]string { return g.tags })
	if err != nil {
		return nil, err
	}
	var found []*securityGroup
	for _, id := range slices.Sorted(maps.Keys(k.groups)) {
		g := k.groups[id]
		if (len(in.SecurityGroupIDs) == 0 || slices.Contains(values(in.SecurityGroupIDs), id)) && match(g) {
			found = append(found, g)
		}
	}
	out := &describeSecurityGroupsResponse{SecurityGroupSet: []*securityGroupWire{}, TotalCount: uint64(len(found))}
	for _, g := range slice(found, offset, limit) {
		out.SecurityGroupSet = append(out.SecurityGroupSet, g.wire())
	}
	return out, nil
}

// vpcPage reads Offset and Limit, which are texts in the VPC service.
func vpcPage(offset, limit *string) (int, int, *Error) {
	o, err := strconv.Atoi(cmp.Or(value(offset), "0"))
	if err != nil || o < 0 {
		return 0, 0, errorf(codeVPCRange, "The value of Offset is %q, it should be a number.", value(offset))
	}
	l, err := strconv.Atoi(cmp.Or(value(limit), "20"))
	if err != nil || l < 1 || l > 100 {
		return 0, 0, errorf(codeVPCRange, "The value of Limit is %q, it should be 1 to 100.", value(limit))
	}
	return o, l, nil
}

// vpcFilters turns the Filters of the VPC service into one predicate.
func vpcFilters[T any](filters []*vpcFilter, fields map[string]func(T) string, tags func(T) map[string]string) (func(T) bool, *Error) {
	var all []func(T) bool
	for _, f := range filters {
		name, want := value(f.Name), values(f.Values)
		tag, isTag := strings.CutPrefix(name, "tag:")
		field := fields[name]
		switch {
		case len(want) == 0 || len(want) > 5:
			return nil, errorf(codeFilter, "The filter %q has %d Values, it should have 1 to 5.", name, len(want))
		case isTag:
			all = append(all, func(v T) bool { have, ok := tags(v)[tag]; return ok && slices.Contains(want, have) })
		case name == "tag-key":
			all = append(all, func(v T) bool {
				return slices.ContainsFunc(want, func(key string) bool { _, ok := tags(v)[key]; return ok })
			})
		case field == nil:
			return nil, errorf(codeFilter, "The filter %q is unknown.", name)
		default:
			all = append(all, func(v T) bool { return slices.Contains(want, field(v)) })
		}
	}
	if len(all) > 10 {
		return nil, errorf(codeVPCLimit, "The length of Filters is %d, it should be at most 10.", len(all))
	}
	return func(v T) bool { return !slices.ContainsFunc(all, func(m func(T) bool) bool { return !m(v) }) }, nil
}

func (g *securityGroup) wire() *securityGroupWire {
	out := &securityGroupWire{
		SecurityGroupID: g.id, SecurityGroupName: g.name, SecurityGroupDesc: g.description, ProjectID: g.project,
		CreatedTime: wireTime(g.created), UpdateTime: wireTime(g.changed), TagSet: []*vpcTag{},
	}
	for _, key := range slices.Sorted(maps.Keys(g.tags)) {
		out.TagSet = append(out.TagSet, &vpcTag{new(key), new(g.tags[key])})
	}
	return out
}

func describeSubnets(k *call, in *describeSubnetsRequest) (*describeSubnetsResponse, *Error) {
	offset, limit, err := vpcPage(in.Offset, in.Limit)
	switch {
	case err != nil:
		return nil, err
	case len(in.SubnetIDs) > 0 && len(in.Filters) > 0:
		return nil, errorf(codeCoexist, "SubnetIds and Filters cannot be given together.")
	case len(in.SubnetIDs) > 100:
		return nil, errorf(codeVPCLimit, "The length of SubnetIds is %d, it should be at most 100.", len(in.SubnetIDs))
	}
	match, err := vpcFilters(in.Filters, map[string]func(Subnet) string{
		"subnet-id":  func(s Subnet) string { return s.ID },
		"vpc-id":     func(s Subnet) string { return s.VPC },
		"cidr-block": func(s Subnet) string { return s.CIDR.String() },
		"zone":       func(s Subnet) string { return s.Zone },
	}, func(Subnet) map[string]string { return nil })
	if err != nil {
		return nil, err
	}
	var found []Subnet
	for _, s := range k.cloud.cfg.Subnets {
		if k.cloud.cfg.vpc(s.VPC).Region == k.name && match(s) && (len(in.SubnetIDs) == 0 || slices.Contains(values(in.SubnetIDs), s.ID)) {
			found = append(found, s)
		}
	}
	for _, id := range values(in.SubnetIDs) {
		if !slices.ContainsFunc(found, func(s Subnet) bool { return s.ID == id }) {
			return nil, errorf(codeNotFound, "The subnet %s does not exist.", id)
		}
	}
	out := &describeSubnetsResponse{TotalCount: uint64(len(found)), SubnetSet: []*subnetWire{}}
	for _, s := range slice(found, offset, limit) {
		out.SubnetSet = append(out.SubnetSet, k.subnetWire(s))
	}
	return out, nil
}

// subnetWire counts what is free of a subnet: its size without the first, the
// gateway's and the last address, and without what is in use.
func (k *call) subnetWire(s Subnet) *subnetWire {
	total := uint64(1)<<(32-s.CIDR.Bits()) - min(3, uint64(1)<<(32-s.CIDR.Bits()))
	used := uint64(0)
	for a := range k.vips {
		if s.CIDR.Contains(a) {
			used++
		}
	}
	for _, i := range k.instances {
		if a, err := netip.ParseAddr(i.PrivateIP); err == nil && s.CIDR.Contains(a) {
			used++
		}
	}
	out := &subnetWire{
		VpcID: s.VPC, SubnetID: s.ID, SubnetName: s.ID, CidrBlock: s.CIDR.String(), Zone: s.Zone, TotalIPAddressCount: total,
		AvailableIPAddressCount: total - min(used, total), TagSet: []*vpcTag{},
	}
	if s.IPv6CIDR.IsValid() {
		out.Ipv6CidrBlock = s.IPv6CIDR.String()
	}
	return out
}
