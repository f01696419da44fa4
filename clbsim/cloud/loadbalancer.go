// SPDX-License-Identifier: Apache-2.0

package cloud

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"time"
	"unicode/utf8"

	clb "github.com/tencentcloud/tencentcloud-sdk-go/tencentcloud/clb/v20180317"
)

// The types of load balancers.
const (
	TypePublic   = "OPEN"
	TypeInternal = "INTERNAL"
)

// loadBalancer is one CLB. It exists from the acceptance of its order; running
// tells whether its creation has ended.
type loadBalancer struct {
	id, name, kind  string
	vpc, subnet     string
	vip             netip.Addr
	domain          string // of domain-style CLBs, which hide their VIP
	running, listed bool
	created         time.Time
	changed         time.Time
	project         int64
	zone            string
	isp             string
	sla             string
	chargeType      string
	bandwidth       int64
	tags            map[string]string
	securityGroups  []string
	passToTarget    bool
	deleteProtect   bool
	ipv6Mode        string // "" is IPv4
	mixIPTarget     bool   // IPv6FullChain: rules take targets of IPv4, too
	snatPro         bool   // targets may be outside of the network
	snatIPs         []snatIP
	targetRegion    string // where targets are
	targetVPC       string
	isolated        bool // for arrears: nothing can be changed
	classic         bool
	listeners       []*listener // oldest first
	busy            *task
}

func (k *call) newLoadBalancer(in *clb.CreateLoadBalancerRequest) (*loadBalancer, *Error) {
	lb := &loadBalancer{
		id:   newID("lb-", func(id string) bool { return k.lbs[id] != nil }),
		kind: *in.LoadBalancerType, vpc: cmp.Or(value(in.VpcId), k.defaultVPC()), subnet: value(in.SubnetId),
		ipv6Mode: ipMode(in), snatPro: value(in.SnatPro), created: k.Now, changed: k.Now, project: value(in.ProjectId), zone: k.cloud.zoneName(cmp.Or(value(in.ZoneId), value(in.MasterZoneId))),
		isp: cmp.Or(value(in.VipIsp), "BGP"), sla: value(in.SlaType), tags: map[string]string{}, passToTarget: value(in.LoadBalancerPassToTarget),
		listed: k.cloud.cfg.Assumptions.CreateListed == AtOnce && k.cloud.cfg.Assumptions.CreateReturnsIDs,
	}
	lb.targetVPC, lb.targetRegion = lb.vpc, k.name
	if lb.fullChain() && in.LoadBalancerPassToTarget == nil {
		lb.passToTarget = true
	}
	ranges := k.cloud.cfg.PublicVIPs
	switch lb.ipv6Mode {
	case modeNAT64:
		ranges = k.cloud.cfg.PublicIPv6VIPs
	case modeFullChain:
		ranges = []netip.Prefix{k.cloud.cfg.subnet(lb.subnet).IPv6CIDR}
	}
	if lb.kind == TypeInternal {
		s := k.cloud.cfg.subnet(lb.subnet)
		ranges, lb.isp, lb.zone = []netip.Prefix{s.CIDR}, "INTERNAL", s.Zone
	} else {
		lb.chargeType, lb.bandwidth = "TRAFFIC_POSTPAID_BY_HOUR", 10
		if ia := in.InternetAccessible; ia != nil {
			lb.chargeType = cmp.Or(value(ia.InternetChargeType), lb.chargeType)
			lb.bandwidth = cmp.Or(value(ia.InternetMaxBandwidthOut), lb.bandwidth)
		}
	}
	var err *Error
	if in.Vip != nil {
		lb.vip, err = k.chosenVIP(*in.Vip, ranges)
	} else {
		lb.vip, err = k.takeVIP(ranges)
	}
	if err != nil {
		return nil, err
	}
	if lb.snatIPs, err = k.takeSnatIPs(lb, in.SnatIps, 1); err != nil {
		delete(k.vips, lb.vip)
		return nil, err
	}
	for _, t := range in.Tags {
		lb.tags[value(t.TagKey)] = value(t.TagValue)
	}
	if lb.kind == TypePublic && (value(in.DynamicVip) || k.cloud.cfg.Assumptions.DomainStyle == EveryPublic) {
		lb.domain = lb.id + "-" + newID("", func(string) bool { return false }) + ".clb." + k.name + ".tencentclb.com"
	}
	// A name that is taken is not an error: CLB silently makes one up.
	lb.name = value(in.LoadBalancerName)
	if lb.name == "" || k.names[lb.name] {
		lb.name = lb.id
	}
	k.names[lb.name] = true
	k.lbs[lb.id] = lb
	k.byAge = append(k.byAge, lb)
	return lb, nil
}

func (k *call) chosenVIP(text string, ranges []netip.Prefix) (netip.Addr, *Error) {
	a, err := netip.ParseAddr(text)
	inRange := slices.ContainsFunc(ranges, func(p netip.Prefix) bool { return p.Contains(a) })
	switch {
	case err != nil || !inRange:
		return a, errorf(codeValue, "The Vip %s is not an address of the subnet.", text)
	case k.cloud.addressInUse(a):
		return a, errorf(codeValue, "The Vip %s is in use.", text)
	}
	k.reserveVIP(a)
	return a, nil
}

// remove takes a load balancer with all that belongs to it out of the region.
func (r *region) remove(lb *loadBalancer) {
	for _, p := range lb.pools() {
		p.drop()
	}
	lb.listeners = nil
	delete(r.lbs, lb.id)
	delete(r.names, lb.name)
	delete(r.vips, lb.vip)
	r.release(lb.snatIPs)
	r.byAge = slices.DeleteFunc(r.byAge, func(o *loadBalancer) bool { return o == lb })
}

// loadBalancer finds a load balancer by the LoadBalancerId of a request.
func (k *call) loadBalancer(id *string) (*loadBalancer, *Error) {
	if value(id) == "" {
		return nil, missing("LoadBalancerId")
	}
	lb := k.lbs[*id]
	if lb == nil || !lb.listed && !k.Console {
		return nil, errorf(codeLBNotFound, "LB not exist: %s.", *id)
	}
	if lb.classic && !classicActions[k.Action.Name] {
		return nil, errorf(codeInvalid, "%s is a classic load balancer (Forward 0), %s is for others.", lb.id, k.Action.Name)
	}
	return lb, nil
}

// locked finds a load balancer that is free for a write.
func (k *call) locked(id *string) (*loadBalancer, *Error) {
	lb, err := k.loadBalancer(id)
	if err != nil {
		return nil, err
	}
	return lb, k.lock(lb)
}

func (lb *loadBalancer) targetCount() (n int) {
	for _, p := range lb.pools() {
		n += len(p.targets)
	}
	return n
}

// The guards of DeleteLoadBalancer.
const (
	guardTargets   = 20
	guardDeletions = 30
)

func deleteLoadBalancer(k *call, in *clb.DeleteLoadBalancerRequest) (*clb.DeleteLoadBalancerResponseParams, *Error) {
	ids := values(in.LoadBalancerIds)
	switch {
	case len(ids) == 0:
		return nil, missing("LoadBalancerIds")
	case len(ids) > 20:
		return nil, errorf(codeLength, "The length of LoadBalancerIds is %d, it should be at most 20.", len(ids))
	}
	var lbs []*loadBalancer
	for _, id := range slices.Compact(slices.Sorted(slices.Values(ids))) {
		lb, err := k.locked(&id)
		if err != nil {
			return nil, err
		}
		switch n := lb.targetCount(); {
		case lb.deleteProtect:
			return nil, errorf(codeFailed, "The delete protection of %s is on.", id)
		case n >= guardTargets && !value(in.ForceDelete) && !k.Console:
			return nil, errorf(codeTargetNumRisk, "%s has %d targets, deleting it needs ForceDelete.", id, n)
		}
		lbs = append(lbs, lb)
	}
	if !k.Console {
		if err := k.countDeletions(len(lbs)); err != nil {
			return nil, err
		}
	}
	k.start(lbs, func(time.Time) string {
		for _, lb := range lbs {
			if k.lbs[lb.id] == lb {
				k.remove(lb)
			}
		}
		return ""
	})
	return &clb.DeleteLoadBalancerResponseParams{}, nil
}

// countDeletions is the guard against deletions in bursts. ForceDelete does
// not override it.
func (k *call) countDeletions(n int) *Error {
	window := time.Duration(k.cloud.cfg.Assumptions.DeleteFrequencyWindow)
	k.deletions = slices.DeleteFunc(k.deletions, func(t time.Time) bool { return k.Now.Sub(t) >= window })
	if len(k.deletions)+n > guardDeletions {
		return errorf(codeFrequencyRisk, "%d load balancers were deleted in this region within %v.", len(k.deletions), window)
	}
	for range n {
		k.deletions = append(k.deletions, k.Now)
	}
	return nil
}

// set overwrites v if a new value is given.
func set[T any](v *T, given *T) {
	if given != nil {
		*v = *given
	}
}

func checkName(field string, name *string) *Error {
	if name == nil {
		return nil
	}
	if n := utf8.RuneCountInString(*name); n < 1 || n > 80 {
		return errorf(codeLength, "The length of %s is %d, it should be 1 to 80.", field, n)
	}
	for _, c := range *name {
		if c < ' ' || c > 0xFFFF {
			return errorf(codeValue, "%s contains the character %q, which is not allowed.", field, c)
		}
	}
	return nil
}

func sortedTags(tags map[string]string) []*clb.TagInfo {
	out := []*clb.TagInfo{}
	for _, k := range slices.Sorted(maps.Keys(tags)) {
		out = append(out, &clb.TagInfo{TagKey: new(k), TagValue: new(tags[k])})
	}
	return out
}
