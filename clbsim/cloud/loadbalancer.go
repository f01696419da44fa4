// SPDX-License-Identifier: Apache-2.0

package cloud

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"strings"
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
	listeners       []*listener // oldest first
	busy            *task
}

func (k *call) newLoadBalancer(in *clb.CreateLoadBalancerRequest) (*loadBalancer, *Error) {
	lb := &loadBalancer{
		id:   newID("lb-", func(id string) bool { return k.lbs[id] != nil }),
		kind: *in.LoadBalancerType, vpc: cmp.Or(value(in.VpcId), k.defaultVPC()), subnet: value(in.SubnetId),
		created: k.Now, changed: k.Now, project: value(in.ProjectId), zone: k.cloud.zoneName(cmp.Or(value(in.ZoneId), value(in.MasterZoneId))),
		isp: cmp.Or(value(in.VipIsp), "BGP"), sla: value(in.SlaType), tags: map[string]string{}, passToTarget: value(in.LoadBalancerPassToTarget),
		listed: k.cloud.cfg.Assumptions.CreateListed == AtOnce && k.cloud.cfg.Assumptions.CreateReturnsIDs,
	}
	ranges := k.cloud.cfg.PublicVIPs
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
	case k.vips[a] || k.addressInUse(a):
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

// fullChain tells whether a load balancer is IPv6 to its targets.
func (lb *loadBalancer) fullChain() bool { return false }

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

func modifyLoadBalancerAttributes(k *call, in *clb.ModifyLoadBalancerAttributesRequest) (*clb.ModifyLoadBalancerAttributesResponseParams, *Error) {
	switch {
	case in.TargetRegionInfo != nil, in.SwitchFlag != nil && *in.SwitchFlag != 0, in.SnatPro != nil, in.ModifyClassicDomain != nil, in.AssociateEndpoint != nil:
		return nil, errorf(codeUnsupported, "clbsim simulates LoadBalancerName, InternetChargeInfo, LoadBalancerPassToTarget and DeleteProtect of this action only.")
	case in.LoadBalancerName == nil && in.InternetChargeInfo == nil && in.LoadBalancerPassToTarget == nil && in.DeleteProtect == nil && value(in.LoadBalancerId) != "":
		return nil, errorf(codeMissing, "Nothing to modify: at least one attribute is required.")
	}
	if err := checkName("LoadBalancerName", in.LoadBalancerName); err != nil {
		return nil, err
	}
	if err := checkInternet(in.InternetChargeInfo); err != nil {
		return nil, err
	}
	lb, err := k.locked(in.LoadBalancerId)
	if err != nil {
		return nil, err
	}
	if name := value(in.LoadBalancerName); name != "" && name != lb.name && k.names[name] {
		return nil, errorf(codeDuplicate, "The name %s is in use.", name)
	}
	k.start([]*loadBalancer{lb}, func(now time.Time) string {
		if in.LoadBalancerName != nil {
			delete(k.names, lb.name)
			lb.name = *in.LoadBalancerName
			k.names[lb.name] = true
		}
		if ia := in.InternetChargeInfo; ia != nil {
			lb.chargeType = cmp.Or(value(ia.InternetChargeType), lb.chargeType)
			lb.bandwidth = cmp.Or(value(ia.InternetMaxBandwidthOut), lb.bandwidth)
		}
		set(&lb.passToTarget, in.LoadBalancerPassToTarget)
		set(&lb.deleteProtect, in.DeleteProtect)
		lb.changed = now
		return ""
	})
	return &clb.ModifyLoadBalancerAttributesResponseParams{DealName: new("")}, nil
}

func setLoadBalancerSecurityGroups(k *call, in *clb.SetLoadBalancerSecurityGroupsRequest) (*clb.SetLoadBalancerSecurityGroupsResponseParams, *Error) {
	groups := values(in.SecurityGroups)
	if len(groups) > 50 {
		return nil, errorf(codeLimit, "A load balancer can have 50 security groups, not %d.", len(groups))
	}
	lb, err := k.locked(in.LoadBalancerId)
	if err != nil {
		return nil, err
	}
	for i, g := range groups {
		switch {
		case !strings.HasPrefix(g, "sg-") || k.cloud.cfg.securityGroup(g) == nil:
			return nil, errorf(codeValue, "The security group %s does not exist.", g)
		case slices.Contains(groups[:i], g):
			return nil, errorf(codeValue, "The security group %s is given twice.", g)
		}
	}
	k.startSync(lb, func(time.Time) string {
		lb.securityGroups = groups
		return ""
	})
	return &clb.SetLoadBalancerSecurityGroupsResponseParams{}, nil
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
