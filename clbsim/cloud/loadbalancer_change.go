// SPDX-License-Identifier: Apache-2.0

package cloud

import (
	"cmp"
	"slices"
	"time"

	clb "github.com/tencentcloud/tencentcloud-sdk-go/tencentcloud/clb/v20180317"
)

func modifyLoadBalancerAttributes(k *call, in *clb.ModifyLoadBalancerAttributesRequest) (*clb.ModifyLoadBalancerAttributesResponseParams, *Error) {
	switch {
	case value(in.SwitchFlag) != 0, in.ModifyClassicDomain != nil, in.AssociateEndpoint != nil:
		return nil, errorf(codeUnsupported, "clbsim does not simulate SwitchFlag, ModifyClassicDomain and AssociateEndpoint.")
	case in.LoadBalancerName == nil && in.InternetChargeInfo == nil && in.LoadBalancerPassToTarget == nil && in.DeleteProtect == nil &&
		in.SnatPro == nil && in.TargetRegionInfo == nil && value(in.LoadBalancerId) != "":
		return nil, errorf(codeMissing, "Nothing to modify: at least one attribute is required.")
	}
	if err := checkName("LoadBalancerName", in.LoadBalancerName); err != nil {
		return nil, err
	}
	lb, err := k.locked(in.LoadBalancerId)
	if err != nil {
		return nil, err
	}
	if err := k.checkAttributes(lb, in); err != nil {
		return nil, err
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
		if in.SnatPro != nil && !*in.SnatPro {
			k.release(lb.snatIPs)
			lb.snatIPs = nil
		}
		set(&lb.snatPro, in.SnatPro)
		if t := in.TargetRegionInfo; t != nil {
			lb.targetRegion, lb.targetVPC = *t.Region, *t.VpcId
		}
		lb.changed = now
		return ""
	})
	return &clb.ModifyLoadBalancerAttributesResponseParams{DealName: new("")}, nil
}

// checkAttributes checks whether the load balancer can have the attributes.
func (k *call) checkAttributes(lb *loadBalancer, in *clb.ModifyLoadBalancerAttributesRequest) *Error {
	if err := checkInternet(in.InternetChargeInfo, lb.sla != ""); err != nil {
		return err
	}
	if name := value(in.LoadBalancerName); name != "" && name != lb.name && k.names[name] {
		return errorf(codeDuplicate, "The name %s is in use.", name)
	}
	if in.InternetChargeInfo != nil && lb.kind == TypeInternal && lb.sla == "" {
		return errorf(codeInvalid, "InternetChargeInfo is for public load balancers and internal ones of a performance type, %s is neither.", lb.id)
	}
	if err := k.checkTargetRegion(lb, in.TargetRegionInfo); err != nil {
		return err
	}
	if in.SnatPro != nil && !*in.SnatPro && k.hasFarTargets(lb) {
		return errorf(codeFailed, "%s has targets outside of %s and needs SnatPro.", lb.id, lb.vpc)
	}
	return nil
}

// checkTargetRegion checks the network that targets are to be in. It cannot
// change under targets that are bound.
func (k *call) checkTargetRegion(lb *loadBalancer, in *clb.TargetRegionInfo) *Error {
	if in == nil {
		return nil
	}
	vpc := k.cloud.cfg.vpc(value(in.VpcId))
	switch {
	case value(in.Region) == "":
		return missing("TargetRegionInfo.Region")
	case value(in.VpcId) == "":
		return missing("TargetRegionInfo.VpcId")
	case k.cloud.regions[*in.Region] == nil:
		return errorf(codeRegionNotFound, "The region %s does not exist.", *in.Region)
	case vpc == nil || vpc.Region != *in.Region:
		return errorf(codeValue, "The VPC %s does not exist in %s.", *in.VpcId, *in.Region)
	case *in.VpcId != lb.targetVPC && lb.targetCount() > 0:
		return errorf(codeFailed, "%s has targets in %s: TargetRegionInfo cannot change.", lb.id, lb.targetVPC)
	}
	return nil
}

// maxSecurityGroups is how many groups one load balancer can have.
const maxSecurityGroups = 50

func setLoadBalancerSecurityGroups(k *call, in *clb.SetLoadBalancerSecurityGroupsRequest) (*clb.SetLoadBalancerSecurityGroupsResponseParams, *Error) {
	groups := values(in.SecurityGroups)
	if len(groups) > maxSecurityGroups {
		return nil, errorf(codeLimit, "A load balancer can have %d security groups, not %d.", maxSecurityGroups, len(groups))
	}
	lb, err := k.locked(in.LoadBalancerId)
	if err != nil {
		return nil, err
	}
	for i, g := range groups {
		switch {
		case k.groups[g] == nil:
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

// setSecurityGroupForLoadBalancers binds one group to many load balancers, or
// takes it from them.
func setSecurityGroupForLoadBalancers(k *call, in *clb.SetSecurityGroupForLoadbalancersRequest) (*clb.SetSecurityGroupForLoadbalancersResponseParams, *Error) {
	group, op := value(in.SecurityGroup), value(in.OperationType)
	switch n := len(in.LoadBalancerIds); {
	case n == 0:
		return nil, missing("LoadBalancerIds")
	case n > 20:
		return nil, errorf(codeLength, "The length of LoadBalancerIds is %d, it should be at most 20.", n)
	case group == "":
		return nil, missing("SecurityGroup")
	case k.groups[group] == nil:
		return nil, errorf(codeValue, "The security group %s does not exist.", group)
	case op != "ADD" && op != "DEL":
		return nil, errorf(codeValue, "The value of OperationType is %q, it should be ADD or DEL.", op)
	}
	var lbs []*loadBalancer
	for _, id := range in.LoadBalancerIds {
		lb, err := k.locked(id)
		switch {
		case err != nil:
			return nil, err
		case op == "ADD" && len(lb.securityGroups) >= maxSecurityGroups && !slices.Contains(lb.securityGroups, group):
			return nil, errorf(codeFailed, "%s has %d security groups already.", lb.id, maxSecurityGroups)
		}
		lbs = append(lbs, lb)
	}
	for _, lb := range lbs {
		k.startSync(lb, func(time.Time) string {
			lb.securityGroups = slices.DeleteFunc(slices.Clone(lb.securityGroups), func(g string) bool { return g == group && op == "DEL" })
			if op == "ADD" && !slices.Contains(lb.securityGroups, group) {
				lb.securityGroups = append(lb.securityGroups, group)
			}
			return ""
		})
	}
	return &clb.SetSecurityGroupForLoadbalancersResponseParams{}, nil
}
