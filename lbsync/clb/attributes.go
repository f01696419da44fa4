// SPDX-License-Identifier: Apache-2.0

package clb

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	clbapi "github.com/tencentcloud/tencentcloud-sdk-go/tencentcloud/clb/v20180317"

	"github.com/clbsync/clbsync/lbsync"
)

// place puts into an order what is taken at creation only. The owner's tags and what the kind of CLB decides are not of it.
func place(req *clbapi.CreateLoadBalancerRequest, p *lbsync.Order) {
	if p == nil {
		return
	}
	req.AddressIPVersion, req.VipIsp, req.Vip = given(p.AddressIPVersion), given(p.VipIsp), given(p.Vip)
	req.ZoneId, req.MasterZoneId, req.SlaveZoneId = given(p.ZoneID), given(p.MasterZoneID), given(p.SlaveZoneID)
	req.SubnetId, req.BandwidthPackageId, req.SlaType = given(p.SubnetID), given(p.BandwidthPackageID), given(p.SLAType)
	req.EipAddressId, req.Egress, req.LBChargeType = given(p.EipAddressID), given(p.Egress), given(p.LBChargeType)
	req.DynamicVip, req.SnatPro, req.LoadBalancerPassToTarget = p.DynamicVip, p.SnatPro, p.LoadBalancerPassToTarget
	req.ProjectId = int64Of(p.ProjectID)
	if net := p.InternetAccessible; net != nil {
		req.InternetAccessible = &clbapi.InternetAccessible{InternetChargeType: given(net.InternetChargeType),
			InternetMaxBandwidthOut: int64Of(net.InternetMaxBandwidthOut), BandwidthpkgSubType: given(net.BandwidthpkgSubType)}
	}
	for _, s := range p.SnatIPs {
		req.SnatIps = append(req.SnatIps, &clbapi.SnatIp{SubnetId: &s.SubnetID, Ip: given(s.IP)})
	}
}

// given is a text as the SDK takes it: what is empty is not sent.
func given(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func int64Of(n *int) *int64 {
	if n == nil {
		return nil
	}
	return new(int64(*n))
}

const (
	actionAttributes     = "ModifyLoadBalancerAttributes"
	actionSecurityGroups = "SetLoadBalancerSecurityGroups"
)

// ModifyLoadBalancer implements lbsync.API. Security groups go first: what they keep out must not get in for the time of
// another change. The other attributes share a request, and have one each if CLB refuses that.
func (c *Client) ModifyLoadBalancer(ctx context.Context, to lbsync.InstanceChange) error {
	if to.To.ID == "" {
		return &lbsync.Error{Kind: lbsync.Invalid, Action: actionAttributes, Err: fmt.Errorf("the CLB %q has no ID", to.To.Name)}
	}
	var refused lbsync.Refusals
	var rest []lbsync.Attribute
	set := false
	for _, name := range to.Changes() {
		switch {
		case name != lbsync.AttributeSecurityGroups && name != lbsync.AttributeSourceRanges:
			rest = append(rest, name)
		case set: // by the other one: they share a request
		default:
			set = true
			if err := leaveOut(&refused, to.To, name, c.setAccess(ctx, to)); err != nil {
				return err
			}
		}
	}
	for parts := [][]lbsync.Attribute{rest}; len(rest) > 0 && len(parts) > 0; {
		part := parts[0]
		parts = parts[1:]
		err := c.setAttributes(ctx, to.To, part)
		if refusesAttributes(err) && len(part) > 1 {
			parts = slices.Collect(slices.Chunk(part, 1))
			continue
		}
		if err := leaveOut(&refused, to.To, part[0], err); err != nil {
			return err
		}
	}
	return unlessNone(refused)
}

// bindGroups makes groups those that are bound to a CLB, and no others.
func (c *Client) bindGroups(ctx context.Context, lb string, groups []string) error {
	req := clbapi.NewSetLoadBalancerSecurityGroupsRequest()
	req.LoadBalancerId, req.SecurityGroups = &lb, pointers(groups)
	_, err := change(ctx, c, lb, nil, actionSecurityGroups, c.clb.SetLoadBalancerSecurityGroupsWithContext, req)
	return err
}

// refusesAttributes reports whether an error is about attributes that were asked for. A conflict is not: somebody else changed
// the same thing at the same time, and it is read and tried again.
func refusesAttributes(err error) bool {
	return lbsync.Refusable(err) && lbsync.KindOf(err) != lbsync.Conflict
}

// leaveOut notes an attribute that is refused for good and returns any other error.
func leaveOut(refused *lbsync.Refusals, to lbsync.Instance, name lbsync.Attribute, err error) error {
	if err == nil || !refusesAttributes(err) {
		return err
	}
	*refused = append(*refused, lbsync.Refusal{Attribute: name, Value: to.Text(name), Err: err})
	return nil
}

// setAttributes changes attributes in one request.
func (c *Client) setAttributes(ctx context.Context, to lbsync.Instance, names []lbsync.Attribute) error {
	req := clbapi.NewModifyLoadBalancerAttributesRequest()
	req.LoadBalancerId = &to.ID
	for _, name := range names {
		switch name {
		case lbsync.AttributePassToTarget:
			req.LoadBalancerPassToTarget = to.PassToTarget
		case lbsync.AttributeDeleteProtect:
			req.DeleteProtect = to.DeleteProtect
		case lbsync.AttributeSnatPro:
			req.SnatPro = to.SnatPro
		case lbsync.AttributeBandwidth:
			req.InternetChargeInfo = &clbapi.InternetAccessible{InternetMaxBandwidthOut: new(int64(to.Bandwidth))}
		}
	}
	_, err := change(ctx, c, to.ID, nil, actionAttributes, c.clb.ModifyLoadBalancerAttributesWithContext, req)
	return err
}

// balancer is a CLB in lbsync's words.
func (c *Client) balancer(lb *clbapi.LoadBalancer) lbsync.Instance {
	i := lbsync.Instance{
		ID:       deref(lb.LoadBalancerId),
		Name:     deref(lb.LoadBalancerName),
		Internal: deref(lb.LoadBalancerType) == "INTERNAL",
		Region:   c.cfg.away,
		VPCID:    deref(lb.VpcId),
		SubnetID: deref(lb.SubnetId),
		Tags:     tags(lb),
		Domain:   cmp.Or(deref(lb.LoadBalancerDomain), deref(lb.Domain)),
		Order:    bought(lb),
		Attributes: lbsync.Attributes{
			SecurityGroups: append([]string{}, values(lb.SecureGroups)...),
			PassToTarget:   new(deref(lb.LoadBalancerPassToTarget)),
			DeleteProtect:  new(slices.Contains(values(lb.AttributeFlags), "DeleteProtect")),
			SnatPro:        new(deref(lb.SnatPro)),
		},
	}
	if net := lb.NetworkAttributes; net != nil {
		i.Bandwidth = int(deref(net.InternetMaxBandwidthOut))
	}
	for _, v := range append(values(lb.LoadBalancerVips), deref(lb.AddressIPv6)) {
		if a, err := netip.ParseAddr(v); err == nil && !slices.Contains(i.VIPs, a) {
			i.VIPs = append(i.VIPs, a)
		}
	}
	if strings.EqualFold(deref(lb.IPv6Mode), "IPv6Nat64") {
		if a, err := netip.ParseAddr(deref(lb.AddressIPv6)); err == nil {
			i.NatIPv6 = a
		}
	}
	return i
}

// bought is as much of an order as CLB tells of what it led to.
func bought(lb *clbapi.LoadBalancer) *lbsync.Order {
	p := &lbsync.Order{
		AddressIPVersion: version(lb),
		VipIsp:           deref(lb.VipIsp),
		SLAType:          deref(lb.SlaType),
		Egress:           deref(lb.Egress),
	}
	if lb.ProjectId != nil {
		p.ProjectID = new(int(*lb.ProjectId))
	}
	if net := lb.NetworkAttributes; net != nil && deref(net.InternetChargeType) != "" {
		p.InternetAccessible = &lbsync.InternetAccess{InternetChargeType: deref(net.InternetChargeType)}
	}
	if zone := lb.MasterZone; zone != nil && deref(zone.Zone) != "" { // by name and by number, as both may be ordered
		p.MasterZoneID = fmt.Sprintf("%s %d", deref(zone.Zone), deref(zone.ZoneId))
	}
	for _, s := range lb.SnatIps {
		p.SnatIPs = append(p.SnatIPs, lbsync.SnatIP{SubnetID: deref(s.SubnetId), IP: deref(s.Ip)})
	}
	return p
}

// version is the one of AddressIPVersion in the words of an order: CLB answers in others.
func version(lb *clbapi.LoadBalancer) string {
	switch {
	case strings.EqualFold(deref(lb.IPv6Mode), "IPv6FullChain"):
		return "IPv6FullChain"
	case strings.EqualFold(deref(lb.AddressIPVersion), "ipv6"):
		return "IPV6"
	case strings.EqualFold(deref(lb.AddressIPVersion), "ipv4"):
		return "IPV4"
	}
	return ""
}
