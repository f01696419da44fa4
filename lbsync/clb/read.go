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

const (
	listenersPerRead = 20 // of DescribeTargets
	clbsPerHealth    = 30 // of DescribeTargetHealth
)

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
	lb := lbsync.LoadBalancer{Present: true, Instance: c.balancer(have), Listeners: map[lbsync.ListenerKey]lbsync.Listener{}, Targets: map[lbsync.Binding]int{}}
	if err := c.readAccess(ctx, &lb.Instance); err != nil {
		return lbsync.LoadBalancer{}, err
	}
	var ours []string
	for _, r := range raw {
		l := listener(r)
		lb.Listeners[l.ListenerKey] = l
		if l.Ours() {
			ours = append(ours, l.ID)
		}
		for _, rule := range forwardingRules(r, l) {
			lb.Listeners[rule.ListenerKey] = rule
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
		for _, r := range l.Rules {
			key := ruleKey(key, r.Domain, r.Url)
			for _, b := range r.Targets {
				into[lbsync.Binding{Listener: key, Target: target(b)}] = int(deref(b.Weight))
			}
		}
	}
	return nil
}

// Health reads what CLB says of the targets of CLBs, up to 30 in a request. In the result is an entry for each CLB that
// there is, and in it are the targets that CLB names so far: one that is not there reads as HealthUnknown. A CLB that is
// gone is not in the result and is no error. With an error, the result holds what could be read.
func (c *Client) Health(ctx context.Context, ids []string) (map[string]map[lbsync.Binding]lbsync.Health, error) {
	out := map[string]map[lbsync.Binding]lbsync.Health{}
	for part := range slices.Chunk(ids, clbsPerHealth) {
		if err := c.health(ctx, part, out); err != nil {
			return out, err
		}
	}
	return out, nil
}

// health adds the healths of CLBs to into. CLB refuses a request that names one CLB that is gone, and does not say which
// it is: the halves are asked for then, so that those that are there get their answer, at the price of a few requests
// each time that a CLB has gone and not of one for each of its neighbours.
func (c *Client) health(ctx context.Context, ids []string, into map[string]map[lbsync.Binding]lbsync.Health) error {
	req := clbapi.NewDescribeTargetHealthRequest()
	req.LoadBalancerIds = pointers(ids)
	resp, _, err := call(ctx, c, "DescribeTargetHealth", c.clb.DescribeTargetHealthWithContext, req)
	switch {
	case lbsync.KindOf(err) == lbsync.NotFound && len(ids) == 1:
		return nil
	case lbsync.KindOf(err) == lbsync.NotFound:
		half := len(ids) / 2
		if err := c.health(ctx, ids[:half], into); err != nil {
			return err
		}
		return c.health(ctx, ids[half:], into)
	case err != nil:
		return err
	}
	for _, id := range ids {
		into[id] = map[lbsync.Binding]lbsync.Health{}
	}
	for _, lb := range resp.Response.LoadBalancers {
		of, asked := into[deref(lb.LoadBalancerId)]
		if !asked {
			continue
		}
		for _, l := range lb.Listeners {
			key := lbsync.ListenerKey{Protocol: lbsync.Protocol(deref(l.Protocol)), Port: uint16(deref(l.Port))}
			for _, r := range l.Rules { // of other protocols too, which have one without a domain
				key := ruleKey(key, r.Domain, r.Url)
				for _, t := range r.Targets {
					of[lbsync.Binding{Listener: key, Target: probed(t)}] = health(t)
				}
			}
		}
	}
	return nil
}

// ruleKey is the key of a rule of a listener; that of the listener itself if it has no rules.
func ruleKey(of lbsync.ListenerKey, domain, url *string) lbsync.ListenerKey {
	if layer7(of.Protocol) {
		of.Domain, of.URL = deref(domain), deref(url)
	}
	return of
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
