// SPDX-License-Identifier: Apache-2.0

package clb

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	clbapi "github.com/tencentcloud/tencentcloud-sdk-go/tencentcloud/clb/v20180317"

	"github.com/clbsync/clbsync/lbsync"
)

const listenersPerRead = 20 // of DescribeTargets

// Observe reads a CLB with its listeners, and the targets of those that are ours; what others put on the listeners that
// they made is nobody's business here. The error's kind is NotFound if the CLB is gone.
func (c *Client) Observe(ctx context.Context, id string) (lbsync.LoadBalancer, error) {
	have, err := c.describe(ctx, id)
	if err != nil {
		return lbsync.LoadBalancer{}, err
	}
	if err := manageable(have); err != nil {
		return lbsync.LoadBalancer{}, err
	}
	raw, err := c.listeners(ctx, id)
	if err != nil {
		return lbsync.LoadBalancer{}, err
	}
	lb := lbsync.LoadBalancer{Present: true, Instance: instance(have), Listeners: map[lbsync.ListenerKey]lbsync.Listener{}, Targets: map[lbsync.Binding]int{}}
	var ours []string
	for _, r := range raw {
		l := listener(r)
		lb.Listeners[l.ListenerKey] = l
		if l.Ours() {
			ours = append(ours, l.ID)
		}
	}
	for part := range slices.Chunk(ours, listenersPerRead) {
		if err := c.targets(ctx, id, part, lb.Targets); err != nil {
			return lbsync.LoadBalancer{}, err
		}
	}
	return lb, nil
}

// manageable refuses a CLB that takes no changes, and says why.
func manageable(lb *clbapi.LoadBalancer) error {
	id := deref(lb.LoadBalancerId)
	e := &lbsync.Error{Kind: lbsync.Denied, Action: "DescribeLoadBalancers"}
	switch {
	case deref(lb.Isolation) != 0:
		e.Err, e.Hint = fmt.Errorf("%s is isolated", id), "the account is in arrears or its prepaid time is over: top it up or renew it"
	case lb.Forward != nil && *lb.Forward == 0:
		e.Err, e.Hint = fmt.Errorf("%s is a classic load balancer", id), "only CLBs of the current kind can be managed: use another one"
	default:
		return nil
	}
	return e
}

// targets adds the targets of listeners to into.
func (c *Client) targets(ctx context.Context, lb string, listeners []string, into map[lbsync.Binding]int) error {
	req := clbapi.NewDescribeTargetsRequest()
	req.LoadBalancerId, req.ListenerIds = &lb, pointers(listeners)
	resp, _, err := call(ctx, c, "DescribeTargets", c.clb.DescribeTargetsWithContext, req)
	if err != nil {
		return err
	}
	for _, l := range resp.Response.Listeners {
		key := lbsync.ListenerKey{Protocol: lbsync.Protocol(deref(l.Protocol)), Port: uint16(deref(l.Port))}
		for _, b := range l.Targets {
			into[lbsync.Binding{Listener: key, Target: target(b)}] = int(deref(b.Weight))
		}
	}
	return nil
}

// Health reads what CLB says of the targets of a CLB. A target that it does not name yet is not in the map, which reads
// as HealthUnknown. The error's kind is NotFound if the CLB is gone.
func (c *Client) Health(ctx context.Context, id string) (map[lbsync.Binding]lbsync.Health, error) {
	req := clbapi.NewDescribeTargetHealthRequest()
	req.LoadBalancerIds = []*string{&id}
	resp, _, err := call(ctx, c, "DescribeTargetHealth", c.clb.DescribeTargetHealthWithContext, req)
	if err != nil {
		return nil, err
	}
	out := map[lbsync.Binding]lbsync.Health{}
	for _, lb := range resp.Response.LoadBalancers {
		if deref(lb.LoadBalancerId) != id {
			continue
		}
		for _, l := range lb.Listeners {
			key := lbsync.ListenerKey{Protocol: lbsync.Protocol(deref(l.Protocol)), Port: uint16(deref(l.Port))}
			for _, r := range l.Rules {
				for _, t := range r.Targets {
					out[lbsync.Binding{Listener: key, Target: probed(t)}] = health(t)
				}
			}
		}
	}
	return out, nil
}

// probed is the target that a health is of. Unlike DescribeTargets, the answer has no type.
func probed(t *clbapi.TargetHealth) lbsync.Target {
	out := lbsync.Target{Port: uint16(deref(t.Port))}
	if id := deref(t.TargetId); strings.HasPrefix(id, "ins-") {
		out.Instance = id
	} else if a, err := netip.ParseAddr(deref(t.IP)); err == nil {
		out.IP = a
	}
	return out
}

func health(t *clbapi.TargetHealth) lbsync.Health {
	switch deref(t.HealthStatusDetail) {
	case "Alive":
		return lbsync.Healthy
	case "Dead":
		return lbsync.Unhealthy
	case "Close":
		return lbsync.HealthOff
	case "":
		if deref(t.HealthStatus) {
			return lbsync.Healthy
		}
	}
	return lbsync.HealthUnknown
}

// Quotas are limits; 0 is one that CLB did not name.
type Quotas struct {
	Public    int // public CLBs of the region
	Internal  int // internal CLBs of the region
	Listeners int // of a CLB
	Targets   int // of a listener
}

// Quotas reads the limits of the account.
func (c *Client) Quotas(ctx context.Context) (Quotas, error) {
	resp, _, err := call(ctx, c, "DescribeQuota", c.clb.DescribeQuotaWithContext, clbapi.NewDescribeQuotaRequest())
	if err != nil {
		return Quotas{}, err
	}
	limit := map[string]int{}
	for _, q := range resp.Response.QuotaSet {
		limit[deref(q.QuotaId)] = int(deref(q.QuotaLimit))
	}
	return Quotas{
		Public:    limit["TOTAL_OPEN_CLB_QUOTA"],
		Internal:  limit["TOTAL_INTERNAL_CLB_QUOTA"],
		Listeners: limit["TOTAL_LISTENER_QUOTA"],
		Targets:   limit["TOTAL_TARGET_BIND_QUOTA"],
	}, nil
}
