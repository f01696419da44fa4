// SPDX-License-Identifier: Apache-2.0

package cloud

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	clb "github.com/tencentcloud/tencentcloud-sdk-go/tencentcloud/clb/v20180317"
)

func describeLoadBalancers(k *call, in *clb.DescribeLoadBalancersRequest) (*clb.DescribeLoadBalancersResponseParams, *Error) {
	if len(in.LoadBalancerIds) > 20 {
		return nil, errorf(codeLength, "The length of LoadBalancerIds is %d, it should be at most 20.", len(in.LoadBalancerIds))
	}
	offset, limit, err := page(in.Offset, in.Limit)
	if err != nil {
		return nil, err
	}
	match, err := k.filterLoadBalancers(in.Filters)
	if err != nil {
		return nil, err
	}
	for _, f := range in.AdditionalFields {
		if value(f) != "TargetCount" {
			return nil, errorf(codeValue, "The additional field %q is unknown, it should be TargetCount.", value(f))
		}
	}
	var found []*loadBalancer
	for _, lb := range k.byAge {
		if lb.listed && lb.matches(in) && match(lb) {
			found = append(found, lb)
		}
	}
	if err := sortLoadBalancers(found, in); err != nil {
		return nil, err
	}
	out := &clb.DescribeLoadBalancersResponseParams{TotalCount: new(uint64(len(found))), LoadBalancerSet: []*clb.LoadBalancer{}}
	for _, lb := range slice(found, offset, limit) {
		out.LoadBalancerSet = append(out.LoadBalancerSet, lb.wire(k.cloud, len(in.AdditionalFields) > 0))
	}
	return out, nil
}

// page checks Offset and Limit, which have one meaning in all of CLB.
func page(offset, limit *int64) (int, int, *Error) {
	o, l := value(offset), int64(20)
	if limit != nil {
		l = *limit
	}
	switch {
	case o < 0:
		return 0, 0, errorf(codeRange, "The value of Offset is %d, it should not be negative.", o)
	case l < 1 || l > 100:
		return 0, 0, errorf(codeRange, "The value of Limit is %d, it should be 1 to 100.", l)
	}
	return int(o), int(l), nil
}

func slice[T any](all []T, offset, limit int) []T {
	offset = min(offset, len(all))
	return all[offset:min(offset+limit, len(all))]
}

// matches applies the parameters that are not in Filters.
func (lb *loadBalancer) matches(in *clb.DescribeLoadBalancersRequest) bool {
	anyOf := func(list []*string, v string) bool {
		return len(list) == 0 || slices.ContainsFunc(list, func(p *string) bool { return value(p) == v })
	}
	search := func(p *string, in ...string) bool {
		return value(p) == "" || slices.ContainsFunc(in, func(s string) bool { return strings.Contains(s, *p) })
	}
	vip := lb.visibleVIP()
	return anyOf(in.LoadBalancerIds, lb.id) && anyOf(in.LoadBalancerVips, vip) &&
		search(in.LoadBalancerName, lb.name) && search(in.Domain, lb.domain) && search(in.SearchKey, lb.name, lb.domain, vip, lb.id) &&
		equal(in.LoadBalancerType, lb.kind) && equal(in.VpcId, lb.vpc) && equal(in.Forward, int64(lb.forward())) && equal(in.ProjectId, lb.project) &&
		(in.SecurityGroup == nil || slices.Contains(lb.securityGroups, *in.SecurityGroup)) && equal(in.MasterZone, lb.zone) &&
		(in.WithRs == nil || *in.WithRs < 0 || (*in.WithRs == 1) == (lb.targetCount() > 0)) &&
		len(in.BackendPublicIps) == 0 && lb.hasBackend(values(in.BackendPrivateIps))
}

func equal[T comparable](want *T, have T) bool { return want == nil || *want == have }

func (lb *loadBalancer) hasBackend(ips []string) bool {
	for _, p := range lb.pools() {
		for _, t := range p.targets {
			if slices.Contains(ips, t.addr.String()) {
				return true
			}
		}
	}
	return len(ips) == 0
}

// checkFilters applies the limits that all filters of CLB share.
func checkFilters(filters []*clb.Filter) *Error {
	if len(filters) > 10 {
		return errorf(codeLength, "The length of Filters is %d, it should be at most 10.", len(filters))
	}
	for i, f := range filters {
		switch {
		case value(f.Name) == "":
			return errorf(codeFilter, "Filters.%d has no Name.", i)
		case len(f.Values) == 0:
			return errorf(codeFilter, "The filter %s has no Values.", *f.Name)
		case len(f.Values) > 100:
			return errorf(codeLength, "The filter %s has %d Values, it should have at most 100.", *f.Name, len(f.Values))
		}
	}
	return nil
}

// filterLoadBalancers turns Filters into one predicate: filters are joined by
// and, the values of one by or.
func (k *call) filterLoadBalancers(filters []*clb.Filter) (func(*loadBalancer) bool, *Error) {
	if err := checkFilters(filters); err != nil {
		return nil, err
	}
	var all []func(*loadBalancer) bool
	for _, f := range filters {
		name, want := *f.Name, values(f.Values)
		has := func(field func(*loadBalancer) string) {
			all = append(all, func(lb *loadBalancer) bool { return slices.Contains(want, field(lb)) })
		}
		tag, isTag := strings.CutPrefix(name, "tag:")
		switch {
		case isTag:
			all = append(all, func(lb *loadBalancer) bool {
				v, ok := lb.tags[tag]
				return ok && slices.Contains(want, v)
			})
		case name == "tag-key":
			all = append(all, func(lb *loadBalancer) bool {
				return slices.ContainsFunc(want, func(key string) bool { _, ok := lb.tags[key]; return ok })
			})
		case name == "charge-type":
			has(func(*loadBalancer) string { return "POSTPAID_BY_HOUR" })
		case name == "internet-charge-type":
			has(func(lb *loadBalancer) string { return lb.chargeType })
		case name == "master-zone-id":
			has(func(lb *loadBalancer) string { return k.cloud.zoneID(lb.zone) })
		case name == "vip-isp":
			has(func(lb *loadBalancer) string { return lb.isp })
		case name == "sla-type":
			has(func(lb *loadBalancer) string { return lb.sla })
		case name == "exclusive":
			has(func(*loadBalancer) string { return "0" })
		default:
			return nil, errorf(codeFilter, "The filter %s is unknown.", name)
		}
	}
	return func(lb *loadBalancer) bool {
		return !slices.ContainsFunc(all, func(m func(*loadBalancer) bool) bool { return !m(lb) })
	}, nil
}

func (c *Cloud) zoneID(name string) string {
	for _, z := range c.cfg.Zones {
		if z.Name == name {
			return z.ID
		}
	}
	return ""
}

// sortLoadBalancers orders as asked; by default the youngest comes first.
func sortLoadBalancers(lbs []*loadBalancer, in *clb.DescribeLoadBalancersRequest) *Error {
	var less func(a, b *loadBalancer) int
	switch by := value(in.OrderBy); by {
	case "", "CreateTime":
		less = func(a, b *loadBalancer) int { return a.created.Compare(b.created) }
	case "LoadBalancerName":
		less = func(a, b *loadBalancer) int { return cmp.Compare(a.name, b.name) }
	case "Domain":
		less = func(a, b *loadBalancer) int { return cmp.Compare(a.domain, b.domain) }
	case "LoadBalancerType":
		less = func(a, b *loadBalancer) int { return cmp.Compare(a.kind, b.kind) }
	default:
		return errorf(codeValue, "The value of OrderBy is %q.", by)
	}
	sign := -1
	if in.OrderType != nil {
		switch *in.OrderType {
		case 0:
			sign = 1
		case 1:
		default:
			return errorf(codeValue, "The value of OrderType is %d, it should be 0 or 1.", *in.OrderType)
		}
	}
	slices.SortStableFunc(lbs, func(a, b *loadBalancer) int { return sign * less(a, b) })
	return nil
}

// visibleVIP is empty for domain-style CLBs and while the creation runs.
func (lb *loadBalancer) visibleVIP() string {
	if lb.domain != "" || !lb.running {
		return ""
	}
	return lb.vip.String()
}

func (lb *loadBalancer) wire(c *Cloud, withCount bool) *clb.LoadBalancer {
	out := &clb.LoadBalancer{
		LoadBalancerId: &lb.id, LoadBalancerName: new(lb.name), LoadBalancerType: &lb.kind, Forward: new(lb.forward()), Domain: new(lb.domain),
		LoadBalancerVips: []*string{}, Status: new(uint64(0)), CreateTime: wireTime(lb.created), StatusTime: wireTime(lb.changed),
		ProjectId: new(uint64(lb.project)), VpcId: &lb.vpc, OpenBgp: new(uint64(0)), Snat: new(false), Isolation: new(uint64(0)),
		SubnetId: &lb.subnet, Tags: sortedTags(lb.tags), SecureGroups: pointers(slices.Clone(lb.securityGroups)),
		TargetRegionInfo: &clb.TargetRegionInfo{Region: new(lb.targetRegion), VpcId: new(lb.targetVPC)},
		AddressIPVersion: new("ipv4"), VipIsp: &lb.isp, ChargeType: new("POSTPAID_BY_HOUR"), LoadBalancerPassToTarget: new(lb.passToTarget),
		SnatPro: new(lb.snatPro), SnatIps: lb.snatWire(), SlaType: &lb.sla, IsBlock: new(false), AttributeFlags: []*string{}, LoadBalancerDomain: new(lb.domain),
		MixIpTarget: new(lb.mixIPTarget), NfvInfo: new(""), Exclusive: new(uint64(0)),
	}
	if lb.running {
		out.Status = new(uint64(1))
	}
	vip := lb.visibleVIP()
	if vip != "" && (lb.ipv6Mode == "" || c.cfg.Assumptions.IPv6Address == InBoth) {
		out.LoadBalancerVips = []*string{&vip}
	}
	if lb.ipv6Mode != "" {
		out.AddressIPVersion, out.IPv6Mode, out.AddressIPv6 = new("ipv6"), new(lb.ipv6Mode), &vip
	}
	if lb.isolated {
		out.Isolation, out.AttributeFlags = new(uint64(1)), append(out.AttributeFlags, new("Stop"))
	}
	if lb.deleteProtect {
		out.AttributeFlags = append(out.AttributeFlags, new("DeleteProtect"))
	}
	if lb.domain != "" {
		out.AttributeFlags = append(out.AttributeFlags, new("IsDomainCLB"))
	}
	if lb.kind == TypePublic {
		out.NetworkAttributes = &clb.InternetAccessible{InternetChargeType: new(lb.chargeType), InternetMaxBandwidthOut: new(lb.bandwidth)}
	}
	if lb.zone != "" {
		out.MasterZone = &clb.ZoneInfo{Zone: new(lb.zone), ZoneId: zoneNumber(c.zoneID(lb.zone))}
	}
	if withCount {
		out.TargetCount = new(uint64(lb.targetCount()))
	}
	return out
}

func zoneNumber(id string) *uint64 {
	n, err := strconv.ParseUint(id, 10, 64)
	if err != nil {
		return nil
	}
	return &n
}
