// SPDX-License-Identifier: Apache-2.0

package clb

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"k8s.io/klog/v2"

	"github.com/clbsync/clbsync/lbsync"
)

// groupPage is the largest page of DescribeSecurityGroups.
const groupPage = 100

// ownedGroups returns the security groups whose tags prove that they were made for owners of the cluster, the oldest
// first; for one owner alone if it names a Service.
func (c *Client) ownedGroups(ctx context.Context, owner lbsync.Owner) ([]*securityGroup, error) {
	filter := func(key, value string) *vpcFilter {
		return &vpcFilter{Name: new("tag:" + key), Values: []*string{&value}}
	}
	req := &vpcRequest{Filters: []*vpcFilter{filter(lbsync.TagCluster, owner.ClusterID)}, Limit: new(strconv.Itoa(groupPage))}
	if owner.ServiceUID != "" {
		req.Filters = append(req.Filters, filter(lbsync.TagService, owner.ServiceUID))
	}
	var found []*securityGroup
	for offset := 0; ; offset += groupPage {
		req.Offset = new(strconv.Itoa(offset))
		resp, err := c.askVPC(ctx, actionGroups, req)
		if err != nil {
			return nil, err
		}
		page := resp.Response.SecurityGroupSet
		for _, g := range page {
			if of := lbsync.OwnerOf(groupTags(g)); of.Owns(groupTags(g)) && of.ClusterID == owner.ClusterID && (owner.ServiceUID == "" || of == owner) {
				found = append(found, g)
			}
		}
		if len(page) < groupPage {
			break
		}
	}
	slices.SortFunc(found, func(a, b *securityGroup) int {
		return cmp.Or(cmp.Compare(deref(a.CreatedTime), deref(b.CreatedTime)), cmp.Compare(deref(a.SecurityGroupId), deref(b.SecurityGroupId)))
	})
	return found, nil
}

// readableGroups is ownedGroups of an account that may read groups; one that may not cannot have made one, and has none.
func (c *Client) readableGroups(ctx context.Context, owner lbsync.Owner) ([]*securityGroup, error) {
	groups, err := c.ownedGroups(ctx, owner)
	if lbsync.KindOf(err) == lbsync.Denied {
		klog.FromContext(ctx).V(2).Info("Taking no security group for ours, they cannot be read", "owner", owner, "reason", err)
		return nil, nil
	}
	return groups, err
}

func groupTags(g *securityGroup) map[string]string {
	out := make(map[string]string, len(g.TagSet))
	for _, t := range g.TagSet {
		out[deref(t.Key)] = deref(t.Value)
	}
	return out
}

// readAccess fills in what a CLB's own group lets in, and takes that group out of those that somebody chose. Only a CLB that
// has groups costs requests.
func (c *Client) readAccess(ctx context.Context, i *lbsync.Instance) error {
	i.Access = []lbsync.AccessRule{}
	owner := lbsync.OwnerOf(i.Tags)
	if len(i.SecurityGroups) == 0 || !owner.Owns(i.Tags) {
		return nil
	}
	groups, err := c.readableGroups(ctx, owner)
	if err != nil {
		return err
	}
	for _, g := range groups {
		id := deref(g.SecurityGroupId)
		if !slices.Contains(i.SecurityGroups, id) {
			continue
		}
		resp, err := c.askVPC(ctx, actionPolicies, &vpcRequest{SecurityGroupId: &id})
		if err != nil {
			return err
		}
		if set := resp.Response.SecurityGroupPolicySet; set != nil {
			i.Access = append(i.Access, rulesOf(set.Ingress)...)
		}
		if len(i.Access) == 0 { // It lets nobody in, which is not what no group at all does.
			i.Access = append(i.Access, lbsync.AccessRule{Odd: "nothing"})
		}
		i.SecurityGroups = slices.DeleteFunc(slices.Clone(i.SecurityGroups), func(s string) bool { return s == id })
	}
	return nil
}

// setAccess carries out what a change asks for of security groups: those that somebody chose, and our own one with its
// rules. The rules come first and the binding after them, in one request, so that at no time more is let in than
// before or after.
func (c *Client) setAccess(ctx context.Context, to lbsync.InstanceChange) error {
	owner := lbsync.OwnerOf(to.To.Tags)
	bound := slices.Clone(to.To.SecurityGroups)
	restricted, was := len(to.To.Access) > 0, len(to.From.Access) > 0
	var ours []*securityGroup
	if restricted || was {
		var err error
		if ours, err = c.ownedGroups(ctx, owner); err != nil {
			return err
		}
	}
	for _, g := range ours { // What was read before it was known whose it is may name one.
		bound = slices.DeleteFunc(bound, func(id string) bool { return id == deref(g.SecurityGroupId) })
	}
	if restricted {
		id, err := c.prepareGroup(ctx, owner, ours, to.To)
		if err != nil {
			return err
		}
		bound = append(bound, id)
	}
	if err := c.bindGroups(ctx, to.To.ID, bound); err != nil || restricted {
		return err
	}
	return c.deleteGroups(ctx, ours)
}

// prepareGroup returns the ID of the owner's group, made if there is none, with the rules and no others in it.
func (c *Client) prepareGroup(ctx context.Context, owner lbsync.Owner, have []*securityGroup, to lbsync.Instance) (string, error) {
	var id string
	if len(have) > 0 {
		id = deref(have[0].SecurityGroupId)
	} else {
		req := &vpcRequest{GroupName: new(lbsync.ListenerName(owner.ServiceUID)), GroupDescription: new("Source ranges of CLB " + to.ID + ", kept by clbsync")}
		for _, key := range []string{lbsync.TagCreatedBy, lbsync.TagCluster, lbsync.TagService} {
			req.Tags = append(req.Tags, &vpcTag{Key: new(key), Value: new(owner.Tags()[key])})
		}
		resp, err := c.askVPC(ctx, actionCreateGroup, req)
		if err != nil {
			return "", refused(err)
		}
		if resp.Response.SecurityGroup == nil || deref(resp.Response.SecurityGroup.SecurityGroupId) == "" {
			return "", &lbsync.Error{Action: actionCreateGroup, RequestID: deref(resp.Response.RequestId), Err: fmt.Errorf("the answer names no group")}
		}
		id = *resp.Response.SecurityGroup.SecurityGroupId
	}
	// What goes out is asked for nowhere at a CLB; without these a set would be emptied.
	set := &policySet{Ingress: policiesOf(to.Access), Egress: []*policy{
		{Protocol: new("ALL"), Port: new("ALL"), CidrBlock: new("0.0.0.0/0"), Action: new("ACCEPT")},
		{Protocol: new("ALL"), Port: new("ALL"), Ipv6CidrBlock: new("::/0"), Action: new("ACCEPT")},
	}}
	_, err := c.askVPC(ctx, actionModifyPolicies, &vpcRequest{SecurityGroupId: &id, SecurityGroupPolicySet: set})
	return id, err
}

// DeleteSecurityGroups deletes the groups that were made for the owner, and succeeds if there are none. The CLB that one is
// bound to has to be gone.
func (c *Client) DeleteSecurityGroups(ctx context.Context, owner lbsync.Owner) error {
	if !owner.Owns(owner.Tags()) {
		return &lbsync.Error{Kind: lbsync.Invalid, Action: actionDeleteGroup, Err: fmt.Errorf("owner %+v lacks a part", owner)}
	}
	groups, err := c.readableGroups(ctx, owner)
	if err != nil {
		return err
	}
	return c.deleteGroups(ctx, groups)
}

func (c *Client) deleteGroups(ctx context.Context, groups []*securityGroup) error {
	for _, g := range groups {
		_, err := c.askVPC(ctx, actionDeleteGroup, &vpcRequest{SecurityGroupId: g.SecurityGroupId})
		if lbsync.KindOf(err) == lbsync.NotFound && !c.listed(ctx, g) {
			continue
		}
		if err != nil {
			return fmt.Errorf("security group %s: %w", deref(g.SecurityGroupId), err)
		}
	}
	return nil
}

// listed reports whether a group is there, though it was said to be gone: the last that names it is about to go too. What
// cannot be read may be there.
func (c *Client) listed(ctx context.Context, g *securityGroup) bool {
	req := &vpcRequest{Filters: []*vpcFilter{{Name: new("security-group-id"), Values: []*string{g.SecurityGroupId}}}, Limit: new("1")}
	resp, err := c.askVPC(ctx, actionGroups, req)
	return err != nil || len(resp.Response.SecurityGroupSet) > 0
}

// policiesOf are rules as the VPC service takes them, rulesOf the way back.
func policiesOf(rules []lbsync.AccessRule) []*policy {
	var out []*policy
	for _, r := range rules {
		p := &policy{Protocol: new("ALL"), Port: new("ALL"), Action: new("ACCEPT")}
		if r.Port != 0 {
			p.Protocol, p.Port = new(strings.ToLower(string(r.Protocol))), new(strconv.Itoa(int(r.Port)))
		}
		if from := r.From.String(); r.From.Addr().Is4() {
			p.CidrBlock = &from
		} else {
			p.Ipv6CidrBlock = &from
		}
		out = append(out, p)
	}
	return out
}

func rulesOf(policies []*policy) []lbsync.AccessRule {
	var out []lbsync.AccessRule
	for _, p := range policies {
		out = append(out, ruleOf(p))
	}
	return out
}

func ruleOf(p *policy) lbsync.AccessRule {
	from, protocol, port := cmp.Or(deref(p.CidrBlock), deref(p.Ipv6CidrBlock)), strings.ToUpper(deref(p.Protocol)), strings.ToUpper(deref(p.Port))
	odd := lbsync.AccessRule{Odd: strings.Join(strings.Fields(strings.Join([]string{deref(p.Action), protocol, port, from, deref(p.SecurityGroupId)}, " ")), " ")}
	prefix, err := netip.ParsePrefix(from)
	if addr, addrErr := netip.ParseAddr(from); addrErr == nil { // a range of one is answered without its length
		prefix, err = netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	if err != nil || !strings.EqualFold(deref(p.Action), "ACCEPT") {
		return odd
	}
	if protocol == "ALL" && port == "ALL" {
		return lbsync.AccessRule{From: prefix.Masked()}
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 || protocol != string(lbsync.TCP) && protocol != string(lbsync.UDP) {
		return odd
	}
	return lbsync.AccessRule{From: prefix.Masked(), Protocol: lbsync.Protocol(protocol), Port: uint16(n)}
}
