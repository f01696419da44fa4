// SPDX-License-Identifier: Apache-2.0

package clb

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	clbapi "github.com/tencentcloud/tencentcloud-sdk-go/tencentcloud/clb/v20180317"
	"k8s.io/klog/v2"

	"github.com/clbsync/clbsync/lbsync"
)

const (
	pageSize = 100 // CLB's largest

	statusNormal = 1

	// tokens is how many CLBs in a row may be lost behind the back of one Service.
	tokens     = 10
	tokenBytes = 64 // CLB's largest

	// How long a CLB may be missing in lists before it counts as deleted: after its task reported it as made, and when CLB
	// knows no task of it any more. Too short would be worse than too long: another CLB would be bought.
	appearsMade    = 5 * time.Second
	appearsUnknown = time.Minute
)

// Find returns the CLBs that were created for the owner, oldest first, by their tags; nil if there are none. More
// than one is a fault that an earlier program or a person left behind: the first is the one to use.
func (c *Client) Find(ctx context.Context, owner lbsync.Owner) ([]lbsync.Instance, error) {
	found, err := c.find(ctx, owner)
	if err != nil || len(found) == 0 {
		return nil, err
	}
	out := make([]lbsync.Instance, len(found))
	for i, lb := range found {
		out[i] = c.balancer(lb)
	}
	return out, nil
}

func (c *Client) find(ctx context.Context, owner lbsync.Owner) ([]*clbapi.LoadBalancer, error) {
	if !owner.Owns(owner.Tags()) {
		return nil, fmt.Errorf("find a load balancer: owner %+v lacks a part", owner)
	}
	req := clbapi.NewDescribeLoadBalancersRequest()
	for _, key := range []string{lbsync.TagService, lbsync.TagCluster} {
		req.Filters = append(req.Filters, &clbapi.Filter{Name: new("tag:" + key), Values: []*string{new(owner.Tags()[key])}})
	}
	req.Limit = new(int64(pageSize))
	var found []*clbapi.LoadBalancer
	for offset := int64(0); ; offset += pageSize {
		req.Offset = new(offset)
		resp, _, err := call(ctx, c, "DescribeLoadBalancers", c.clb.DescribeLoadBalancersWithContext, req)
		if err != nil {
			return nil, err
		}
		page := resp.Response.LoadBalancerSet
		for _, lb := range page {
			if owner.Owns(tags(lb)) { // the filter matches parts of values
				found = append(found, lb)
			}
		}
		if len(page) < pageSize {
			break
		}
	}
	slices.SortFunc(found, func(a, b *clbapi.LoadBalancer) int {
		return cmp.Or(cmp.Compare(deref(a.CreateTime), deref(b.CreateTime)), cmp.Compare(deref(a.LoadBalancerId), deref(b.LoadBalancerId)))
	})
	return found, nil
}

// describe reads one CLB; the error's kind is NotFound if there is none.
func (c *Client) describe(ctx context.Context, id string) (*clbapi.LoadBalancer, error) {
	const action = "DescribeLoadBalancers"
	if id == "" {
		return nil, &lbsync.Error{Kind: lbsync.Invalid, Action: action, Err: errors.New("the ID of the load balancer is empty")}
	}
	req := clbapi.NewDescribeLoadBalancersRequest()
	req.LoadBalancerIds = []*string{&id}
	resp, _, err := call(ctx, c, action, c.clb.DescribeLoadBalancersWithContext, req)
	if err != nil {
		return nil, err
	}
	for _, lb := range resp.Response.LoadBalancerSet {
		if deref(lb.LoadBalancerId) == id {
			return lb, nil
		}
	}
	return nil, &lbsync.Error{Kind: lbsync.NotFound, Action: action, RequestID: deref(resp.Response.RequestId),
		Err: fmt.Errorf("load balancer %s does not exist in %s", id, c.cfg.Region)}
}

// CreateLoadBalancer implements lbsync.API. What makes it safe to repeat, after a crash at any point too: the tags are part
// of the order, so that what was made is found again; and the order's token is made from the owner, so that an order
// whose outcome is unknown is not placed twice.
func (c *Client) CreateLoadBalancer(ctx context.Context, want lbsync.Instance) (lbsync.Instance, error) {
	if !want.Owner.Owns(want.Owner.Tags()) {
		return lbsync.Instance{}, &lbsync.Error{Kind: lbsync.Invalid, Action: actionCreate, Err: fmt.Errorf("owner %+v lacks a part", want.Owner)}
	}
	unlock, err := c.locks.lock(ctx, want.Owner.ServiceUID)
	if err != nil {
		return lbsync.Instance{}, &lbsync.Error{Kind: lbsync.Busy, Action: actionCreate, Err: err}
	}
	defer unlock()
	for n := 1; n <= tokens; n++ {
		made, err := c.ensure(ctx, want, token(want.Owner.ServiceUID, n))
		if made.Owner = want.Owner; err == nil {
			return made, c.readAccess(ctx, &made)
		}
		if e, ok := errors.AsType[*lbsync.Error](err); !ok || e.Kind != lbsync.NotFound && e.Code != codeTokenDead {
			return lbsync.Instance{}, err
		}
		klog.FromContext(ctx).V(2).Info("An earlier order of this owner led to nothing that is left", "owner", want.Owner, "order", n, "reason", err)
	}
	return lbsync.Instance{}, &lbsync.Error{Action: actionCreate, Err: fmt.Errorf("%d orders for Service %s led to load balancers that are gone", tokens, want.Owner.ServiceUID)}
}

const actionCreate = "CreateLoadBalancer"

// ensure returns the owner's CLB, bought with the token if there is none. The error's kind is NotFound if what the token
// led to is gone.
func (c *Client) ensure(ctx context.Context, want lbsync.Instance, token string) (lbsync.Instance, error) {
	id, err := c.existing(ctx, want.Owner)
	if err != nil {
		return lbsync.Instance{}, err
	}
	if id != "" {
		return c.ready(ctx, id, want.Owner, appearsMade)
	}
	id, appears, err := c.order(ctx, want, token)
	if err != nil {
		return lbsync.Instance{}, err
	}
	return c.ready(ctx, id, want.Owner, appears)
}

// existing returns the ID of the owner's oldest CLB, "" if there is none.
func (c *Client) existing(ctx context.Context, owner lbsync.Owner) (string, error) {
	found, err := c.Find(ctx, owner)
	if err != nil || len(found) == 0 {
		return "", err
	}
	for _, other := range found[1:] {
		klog.FromContext(ctx).Error(nil, "More than one load balancer has the tags of one Service: the oldest is used, delete the others",
			"owner", owner, "used", found[0].ID, "other", other.ID)
	}
	return found[0].ID, nil
}

// order buys a CLB. A token that was used before leads to what it led to then. appears is how long the CLB may stay unseen.
func (c *Client) order(ctx context.Context, want lbsync.Instance, token string) (id string, appears time.Duration, err error) {
	req := clbapi.NewCreateLoadBalancerRequest()
	req.Forward = new(int64(1))
	req.LoadBalancerType = new("OPEN")
	if vpc := cmp.Or(want.VPCID, c.cfg.VPCID); vpc != "" {
		req.VpcId = &vpc
	}
	place(req, want.Order)
	if want.Internal {
		req.LoadBalancerType = new("INTERNAL")
		req.SubnetId = &want.SubnetID // refused for public ones
	}
	if want.Name != "" {
		req.LoadBalancerName = &want.Name
	}
	req.Number = new(uint64(1))
	req.ClientToken = &token
	owned := want.Owner.Tags()
	for _, k := range slices.Sorted(maps.Keys(owned)) {
		req.Tags = append(req.Tags, &clbapi.TagInfo{TagKey: new(k), TagValue: new(owned[k])})
	}
	if want.Order != nil {
		for _, t := range want.Order.Tags {
			req.Tags = append(req.Tags, &clbapi.TagInfo{TagKey: &t.TagKey, TagValue: &t.TagValue})
		}
	}
	resp, task, err := call(ctx, c, actionCreate, c.clb.CreateLoadBalancerWithContext, req)
	if err != nil {
		return "", 0, refused(err)
	}
	ids, appears := values(resp.Response.LoadBalancerIds), appearsMade
	switch made, err := c.await(ctx, actionCreate, task, deref(resp.Response.DealName)); {
	case errors.Is(err, errNoTask) && len(ids) > 0:
		appears = appearsUnknown
	case err != nil:
		return "", 0, refused(err)
	case len(ids) == 0: // CLB answers before it knows the ID when it is slow
		ids = made
	}
	if len(ids) != 1 {
		return "", 0, &lbsync.Error{Action: actionCreate, RequestID: task, Err: fmt.Errorf("the order led to load balancers %q instead of one", ids)}
	}
	return ids[0], appears, nil
}

// refused is the error of an order. What an order does not find is something that it names, such as its subnet: there is
// no earlier CLB that is gone, and no use in another token.
func refused(err error) error {
	if e, ok := errors.AsType[*lbsync.Error](err); ok && e.Kind == lbsync.NotFound {
		wrong := *e
		wrong.Kind = lbsync.Invalid
		return &wrong
	}
	return err
}

// ready waits until a CLB is in service and proves whose it is. The error's kind is NotFound if it does not appear, or goes.
func (c *Client) ready(ctx context.Context, id string, owner lbsync.Owner, appears time.Duration) (lbsync.Instance, error) {
	start := time.Now()
	var lb *clbapi.LoadBalancer
	var last error
	got, err := poll(ctx, pollFirst, c.cfg.TaskTimeout, func() (lbsync.Instance, bool, error) {
		now, err := c.describe(ctx, id)
		switch last = err; {
		case lbsync.KindOf(err) == lbsync.NotFound:
			return lbsync.Instance{}, lb != nil || time.Since(start) > appears, err
		case err != nil:
			return lbsync.Instance{}, settled(lbsync.KindOf(err)), err
		}
		lb = now
		return c.balancer(lb), deref(lb.Status) == statusNormal && owner.Owns(tags(lb)), nil
	})
	switch {
	case err == nil, lbsync.KindOf(err) != lbsync.Unknown:
		return got, err
	case !errors.Is(err, errPollTime), lb == nil:
		return got, &lbsync.Error{Action: actionCreate, Err: fmt.Errorf("waiting for %s: %w", id, errors.Join(err, last))}
	case deref(lb.Status) != statusNormal:
		return got, &lbsync.Error{Action: actionCreate, Err: fmt.Errorf("%s is still not in service after %s", id, c.cfg.TaskTimeout)}
	}
	return got, &lbsync.Error{Kind: lbsync.Denied, Action: actionCreate, Err: fmt.Errorf("%s was created but has the tags %v instead of %v", id, tags(lb), owner.Tags()),
		Hint: "grant tag:TagResources in CAM to the account or role in use, and put these tags on it or delete it"}
}

// token returns the n-th token of an owner's series. The first names the owner; the others follow when what the ones before
// led to is gone.
func token(uid string, n int) string {
	suffix := ""
	if n > 1 {
		suffix = fmt.Sprintf("-%d", n)
	}
	if len(uid) > tokenBytes-len("-99") || strings.ContainsFunc(uid, func(r rune) bool { return r <= ' ' || r > '~' }) {
		sum := sha256.Sum256([]byte(uid))
		uid = hex.EncodeToString(sum[:16])
	}
	return uid + suffix
}

// DeleteLoadBalancer implements lbsync.API.
func (c *Client) DeleteLoadBalancer(ctx context.Context, lb lbsync.Instance) error {
	have, err := c.describe(ctx, lb.ID)
	switch {
	case lbsync.KindOf(err) == lbsync.NotFound:
		return nil
	case err != nil:
		return err
	case !lb.Owner.Owns(tags(have)):
		return &lbsync.Error{Kind: lbsync.Denied, Action: actionDelete, Err: fmt.Errorf("%s has the tags %v, which do not prove that it was created for Service %s of cluster %s",
			lb.ID, tags(have), lb.Owner.ServiceUID, lb.Owner.ClusterID), Hint: "it is left alone; delete it by hand if nothing else needs it"}
	}
	if slices.Contains(values(have.AttributeFlags), "DeleteProtect") {
		req := clbapi.NewModifyLoadBalancerAttributesRequest()
		req.LoadBalancerId, req.DeleteProtect = &lb.ID, new(false)
		if _, err := change(ctx, c, lb.ID, nil, "ModifyLoadBalancerAttributes", c.clb.ModifyLoadBalancerAttributesWithContext, req); err != nil {
			return gone(err)
		}
	}
	req := clbapi.NewDeleteLoadBalancerRequest()
	req.LoadBalancerIds = []*string{&lb.ID}
	_, err = change(ctx, c, lb.ID, nil, actionDelete, c.clb.DeleteLoadBalancerWithContext, req)
	if err := gone(err); err != nil || len(have.SecureGroups) == 0 {
		return err
	}
	groups, err := c.readableGroups(ctx, lb.Owner)
	if err != nil {
		return err
	}
	return c.deleteGroups(ctx, groups)
}

const actionDelete = "DeleteLoadBalancer"

// gone takes what is gone already for success.
func gone(err error) error {
	if lbsync.KindOf(err) == lbsync.NotFound {
		return nil
	}
	return err
}

func tags(lb *clbapi.LoadBalancer) map[string]string {
	out := make(map[string]string, len(lb.Tags))
	for _, t := range lb.Tags {
		out[deref(t.TagKey)] = deref(t.TagValue)
	}
	return out
}
