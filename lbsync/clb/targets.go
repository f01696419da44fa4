// SPDX-License-Identifier: Apache-2.0

package clb

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	clbapi "github.com/tencentcloud/tencentcloud-sdk-go/tencentcloud/clb/v20180317"

	"github.com/clbsync/clbsync/lbsync"
)

// What one request takes.
const (
	targetsPerBatch = 500
	targetsPerRule  = 50  // of BatchModifyTargetWeight
	rulesPerBatch   = 100 // of BatchModifyTargetWeight
)

const (
	actionRegister   = "BatchRegisterTargets"
	actionDeregister = "BatchDeregisterTargets"
	actionReweight   = "BatchModifyTargetWeight"
)

// Register implements lbsync.API. What CLB refuses does not keep the rest from being registered; the error names it.
func (c *Client) Register(ctx context.Context, lb string, changes []lbsync.Change) error {
	return inBatches(changes, actionRegister, func(part []lbsync.Change, ids []string) (failed []string, message, requestID string, err error) {
		req := clbapi.NewBatchRegisterTargetsRequest()
		req.LoadBalancerId, req.Targets = &lb, batchTargets(part, true)
		resp, err := change(ctx, c, lb, ids, actionRegister, c.clb.BatchRegisterTargetsWithContext, req)
		if err != nil {
			return nil, "", "", err
		}
		r := resp.Response
		return values(r.FailListenerIdSet), deref(r.Message), deref(r.RequestId), nil
	})
}

// Deregister implements lbsync.API, with Register's rule for partial failures.
func (c *Client) Deregister(ctx context.Context, lb string, changes []lbsync.Change) error {
	return inBatches(changes, actionDeregister, func(part []lbsync.Change, ids []string) (failed []string, message, requestID string, err error) {
		req := clbapi.NewBatchDeregisterTargetsRequest()
		req.LoadBalancerId, req.Targets = &lb, batchTargets(part, false)
		resp, err := change(ctx, c, lb, ids, actionDeregister, c.clb.BatchDeregisterTargetsWithContext, req)
		if err != nil {
			return nil, "", "", err
		}
		r := resp.Response
		return values(r.FailListenerIdSet), deref(r.Message), deref(r.RequestId), nil
	})
}

// Reweight implements lbsync.API.
func (c *Client) Reweight(ctx context.Context, lb string, changes []lbsync.Change) error {
	return inBatches(changes, actionReweight, func(part []lbsync.Change, ids []string) ([]string, string, string, error) {
		for rules := range slices.Chunk(weightRules(part), rulesPerBatch) {
			req := clbapi.NewBatchModifyTargetWeightRequest()
			req.LoadBalancerId, req.ModifyList = &lb, rules
			if _, err := change(ctx, c, lb, ids, actionReweight, c.clb.BatchModifyTargetWeightWithContext, req); err != nil {
				return nil, "", "", err
			}
		}
		return nil, "", "", nil
	})
}

// refusalsMax bounds how many refused targets one call finds by halving. What is left then is refused in one piece: a
// request that is wrong in every target would cost two requests for each.
const refusalsMax = 16

// inBatches hands changes to send in parts that one request takes, in order, with the IDs of their listeners. A part that
// CLB refuses is halved until only what cannot be is left out: one instance that is gone must not keep the others from
// the CLB. It stops at the first error of any other kind.
func inBatches(changes []lbsync.Change, action string, send func(part []lbsync.Change, ids []string) (failed []string, message, requestID string, err error)) error {
	for _, ch := range changes {
		if err := named(action, ch.Listener, ch.ListenerID); err != nil {
			return err
		}
	}
	var refused lbsync.Refusals
	var faults []error
	for parts := slices.Collect(slices.Chunk(changes, targetsPerBatch)); len(parts) > 0; {
		part := parts[0]
		parts = parts[1:]
		keys := map[string]lbsync.ListenerKey{}
		var ids []string
		for _, ch := range part {
			if _, ok := keys[ch.ListenerID]; !ok {
				keys[ch.ListenerID], ids = ch.Listener, append(ids, ch.ListenerID)
			}
		}
		failed, message, requestID, err := send(part, ids)
		if err == nil && len(failed) > 0 {
			err = partial(action, failed, keys, message, requestID)
			part = slices.DeleteFunc(slices.Clone(part), func(ch lbsync.Change) bool { return !slices.ContainsFunc(failed, fails(ch.ListenerID)) })
		}
		switch {
		case err == nil || len(part) == 0:
		case !refusable(action, err) && len(failed) > 0:
			faults = append(faults, err) // the other listeners have theirs, so the next batch may as well
		case !refusable(action, err):
			return errors.Join(append([]error{err, unlessNone(refused)}, faults...)...)
		case len(part) == 1 || len(refused) >= refusalsMax:
			for _, ch := range part {
				refused = append(refused, lbsync.Refusal{Binding: ch.Binding, Err: err})
			}
		default:
			half := len(part) / 2
			parts = append([][]lbsync.Change{part[:half], part[half:]}, parts...)
		}
	}
	if len(faults) > 0 {
		return errors.Join(append(faults, unlessNone(refused))...)
	}
	return unlessNone(refused)
}

// noInstance is what CLB says of an instance that is gone, or not yet in the VPC.
var noInstance = regexp.MustCompile(`(?i)\bins-\w+\b.*not (exist|found)`)

// refusable reports whether an error of a batch is about some of its targets. That the CLB or a listener is gone is about
// all of them, and says that what is known of the CLB is wrong; so does a target that is gone before it is taken away.
func refusable(action string, err error) bool {
	return lbsync.Refusable(err) || action == actionRegister && lbsync.KindOf(err) == lbsync.NotFound && noInstance.MatchString(err.Error())
}

// unlessNone is nil for no refusals: an empty slice in an error is an error.
func unlessNone(r lbsync.Refusals) error {
	if len(r) == 0 {
		return nil
	}
	return r
}

// fails reports whether an ID in CLB's answer means a listener or rule: CLB may name either for a rule.
func fails(id string) func(string) bool {
	parent, rule := location(id)
	return func(failed string) bool { return failed == parent || rule != "" && failed == rule }
}

// partial is the error of a batch that succeeded but for some listeners.
func partial(action string, failed []string, keys map[string]lbsync.ListenerKey, message, requestID string) error {
	slices.Sort(failed)
	names := make([]string, len(failed))
	for i, id := range failed {
		names[i] = id
		for _, full := range slices.Sorted(maps.Keys(keys)) {
			if fails(full)(id) {
				names[i] = fmt.Sprintf("%s (%s)", keys[full], id)
				break
			}
		}
	}
	c := Meaning(action, "FailedOperation", message)
	kind, hint := c.Kind(), c.hint()
	switch {
	case settled(kind):
	case kind == lbsync.Unknown:
		kind, hint = lbsync.Invalid, "" // it was answered, and there is no code: as if each listener had been asked for alone
	default:
		kind, hint = lbsync.Unknown, "" // the other listeners were changed: to repeat the request is not safe
	}
	return &lbsync.Error{Kind: kind, Action: action, RequestID: requestID, Hint: hint,
		Err: fmt.Errorf("failed for listeners %s: %s", strings.Join(names, ", "), shorten(message))}
}

func batchTargets(changes []lbsync.Change, weight bool) []*clbapi.BatchTarget {
	out := make([]*clbapi.BatchTarget, len(changes))
	for i, ch := range changes {
		listener, rule := location(changes[i].ListenerID)
		t := &clbapi.BatchTarget{ListenerId: &listener, LocationId: optional(rule), Port: new(int64(ch.Target.Port))}
		t.InstanceId, t.EniIp = host(ch.Target)
		if weight {
			t.Weight = new(int64(ch.Weight)) // an explicit 0 too: left out it would be 10
		}
		out[i] = t
	}
	return out
}

// weightRules groups changes by listener, in the order given, at most targetsPerRule in each.
func weightRules(changes []lbsync.Change) []*clbapi.RsWeightRule {
	var out []*clbapi.RsWeightRule
	open := map[string]*clbapi.RsWeightRule{}
	for i, ch := range changes {
		r := open[ch.ListenerID]
		if r == nil || len(r.Targets) == targetsPerRule {
			listener, rule := location(changes[i].ListenerID)
			r = &clbapi.RsWeightRule{ListenerId: &listener, LocationId: optional(rule)}
			open[ch.ListenerID], out = r, append(out, r)
		}
		t := &clbapi.Target{Port: new(int64(ch.Target.Port)), Weight: new(int64(ch.Weight))}
		t.InstanceId, t.EniIp = host(ch.Target)
		r.Targets = append(r.Targets, t)
	}
	return out
}

// host returns exactly one of a target's two names.
func host(t lbsync.Target) (instance, address *string) {
	if t.Instance != "" {
		return &t.Instance, nil
	}
	return nil, new(t.IP.String())
}

// target is a registered target in lbsync's words. The instance's ID stands for its primary address alone, so it is the
// identity of what was registered by ID, and of nothing else.
func target(b *clbapi.Backend) lbsync.Target {
	t := lbsync.Target{Port: uint16(deref(b.Port))}
	if deref(b.Type) == "CVM" && deref(b.InstanceId) != "" {
		t.Instance = *b.InstanceId
		return t
	}
	for _, s := range values(b.PrivateIpAddresses) {
		if a, err := netip.ParseAddr(s); err == nil {
			t.IP = a
			return t
		}
	}
	t.Instance = deref(b.InstanceId)
	return t
}
