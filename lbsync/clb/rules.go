// SPDX-License-Identifier: Apache-2.0

package clb

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	clbapi "github.com/tencentcloud/tencentcloud-sdk-go/tencentcloud/clb/v20180317"

	"github.com/clbsync/clbsync/lbsync"
)

// rulesPerCreate is what one request takes: as many as a listener may have by default, and no more than a request is sure to.
const rulesPerCreate = 50

// ruleID is the ID of a rule in lbsync's words: CLB's ID of a rule is of no use without its listener's.
func ruleID(listener, location string) string { return listener + "/" + location }

// location returns the two IDs of a listener or rule in CLB's words; the second is "" for a listener.
func location(id string) (listener, location string) {
	listener, location, _ = strings.Cut(id, "/")
	return listener, location
}

// optional is nil for "".
func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// createRules makes rules of one listener and returns their IDs in the order of part.
func (c *Client) createRules(ctx context.Context, lb string, listeners []lbsync.Listener, part []int) ([]string, error) {
	const action = "CreateRule"
	parent := listeners[part[0]].ID
	if err := named(action, listeners[part[0]].Parent(), parent); err != nil {
		return nil, err
	}
	req := clbapi.NewCreateRuleRequest()
	req.LoadBalancerId, req.ListenerId = &lb, &parent
	first := map[string]bool{}
	for _, i := range part {
		l := listeners[i]
		r := &clbapi.RuleInput{
			Domain: new(l.Domain), Url: new(l.URL), HealthCheck: healthCheck(l, false), Scheduler: new(l.Scheduler.String()),
			SessionExpireTime: new(int64(l.SessionExpire / time.Second)),
		}
		if l.ForwardType != "" {
			r.ForwardType = new(l.ForwardType)
		}
		if l.Default {
			r.DefaultServer = new(true)
		}
		if !first[l.Domain] { // the domain's others find it there
			r.Certificate, r.MultiCertInfo = certificate(l.Certificate)
		}
		first[l.Domain] = true
		req.Rules = append(req.Rules, r)
	}
	resp, err := change(ctx, c, lb, []string{parent}, action, c.clb.CreateRuleWithContext, req)
	if err != nil {
		return nil, err
	}
	made := values(resp.Response.LocationIds)
	if len(made) != len(part) {
		return nil, &lbsync.Error{Action: action, RequestID: deref(resp.Response.RequestId),
			Err: fmt.Errorf("asked for %d rules, the answer has the IDs %q", len(part), made)}
	}
	for n := range made {
		made[n] = ruleID(parent, made[n])
	}
	return made, nil
}

// modifyRule changes what a rule has of its own, and what it shares with its domain: the two are requests of their own.
func (c *Client) modifyRule(ctx context.Context, lb string, ch lbsync.ListenerChange) error {
	from, to := ch.From, ch.To
	parent, id := location(to.ID)
	if from.Certificate != to.Certificate || to.Default && !from.Default {
		req := clbapi.NewModifyDomainAttributesRequest()
		req.LoadBalancerId, req.ListenerId, req.Domain = &lb, &parent, new(to.Domain)
		if from.Certificate != to.Certificate {
			req.Certificate, req.MultiCertInfo = certificate(to.Certificate)
		}
		if to.Default && !from.Default {
			req.DefaultServer = new(true)
		}
		if _, err := change(ctx, c, lb, []string{to.ID}, "ModifyDomainAttributes", c.clb.ModifyDomainAttributesWithContext, req); err != nil {
			return err
		}
	}
	from.Certificate, from.Default = to.Certificate, to.Default
	if from == to {
		return nil
	}
	req := clbapi.NewModifyRuleRequest()
	req.LoadBalancerId, req.ListenerId, req.LocationId = &lb, &parent, &id
	req.HealthCheck = healthCheck(to, true)
	req.Scheduler = new(to.Scheduler.String())
	req.SessionExpireTime = new(int64(to.SessionExpire / time.Second))
	if from.ForwardType != to.ForwardType {
		req.ForwardType = new(cmp.Or(to.ForwardType, "HTTP"))
	}
	_, err := change(ctx, c, lb, []string{to.ID}, "ModifyRule", c.clb.ModifyRuleWithContext, req)
	return err
}

const actionDeleteRule = "DeleteRule"

// deleteRules takes rules away, listener by listener.
func (c *Client) deleteRules(ctx context.Context, lb string, ids []string) error {
	of := map[string][]string{}
	for _, id := range ids {
		parent, rule := location(id)
		of[parent] = append(of[parent], rule)
	}
	for _, parent := range slices.Sorted(maps.Keys(of)) {
		if err := c.deleteRulesOf(ctx, lb, parent, of[parent]); err != nil {
			return err
		}
	}
	return nil
}

// deleteRulesOf takes rules of one listener away, those apart that are gone. A domain that is the default goes only if
// another one takes its place, and CLB wants it named: it is the first of those that stay.
func (c *Client) deleteRulesOf(ctx context.Context, lb, parent string, rules []string) error {
	var last error
	for range 3 { // more can go in the meantime, but not for ever
		raw, err := c.listeners(ctx, lb)
		if err != nil {
			return errors.Join(gone(err), last)
		}
		i := slices.IndexFunc(raw, func(l *clbapi.Listener) bool { return deref(l.ListenerId) == parent })
		if i < 0 {
			return nil
		}
		req := clbapi.NewDeleteRuleRequest()
		req.LoadBalancerId, req.ListenerId = &lb, &parent
		var stay []string
		wasDefault := false
		for _, r := range raw[i].Rules {
			if slices.Contains(rules, deref(r.LocationId)) {
				req.LocationIds = append(req.LocationIds, r.LocationId)
				wasDefault = wasDefault || deref(r.DefaultServer)
			} else {
				stay = append(stay, deref(r.Domain))
			}
		}
		if len(req.LocationIds) == 0 {
			return nil
		}
		if wasDefault && len(stay) > 0 {
			req.NewDefaultServerDomain = new(slices.Min(stay))
		}
		_, err = change(ctx, c, lb, []string{parent}, actionDeleteRule, c.clb.DeleteRuleWithContext, req)
		if lbsync.KindOf(err) != lbsync.NotFound {
			return err
		}
		last = err
	}
	return last
}

// forwardingRule is a rule in lbsync's words: equal to the one it was made from.
func forwardingRule(r *clbapi.RuleOutput, of lbsync.Listener) lbsync.Listener {
	out := lbsync.Listener{ListenerKey: of.ListenerKey, Name: of.Name}
	out.Domain, out.URL = deref(r.Domain), deref(r.Url)
	out.ID = ruleID(of.ID, deref(r.LocationId))
	out.Check = check(r.HealthCheck, out.ListenerKey)
	out.SessionExpire = time.Duration(deref(r.SessionExpireTime)) * time.Second
	out.Scheduler = schedulerOf(r.Scheduler)
	out.Default = deref(r.DefaultServer)
	if of.SNI {
		out.Certificate = certificateOf(r.Certificate)
	}
	if t := deref(r.ForwardType); t != "HTTP" {
		out.ForwardType = t
	}
	return out
}

// forwardingRules are the rules of a listener that CLB did not make by itself, for a redirect.
func forwardingRules(l *clbapi.Listener, of lbsync.Listener) []lbsync.Listener {
	var out []lbsync.Listener
	for _, r := range l.Rules {
		if deref(r.Domain) != "" && !deref(r.BeAutoCreated) {
			out = append(out, forwardingRule(r, of))
		}
	}
	return out
}
