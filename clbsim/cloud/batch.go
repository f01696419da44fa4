// SPDX-License-Identifier: Apache-2.0

package cloud

import (
	"fmt"
	"slices"
	"strings"
	"time"

	clb "github.com/tencentcloud/tencentcloud-sdk-go/tencentcloud/clb/v20180317"
)

// maxBatch is the number of targets in one batch request.
const maxBatch = 500

// group is what a batch request asks of one listener, or of its rules.
type group struct {
	listener *listener
	parts    []part
}

// part is what a batch request asks of one pool.
type part struct {
	pool *pool
	refs []targetRef
}

// batch checks a batch request and sorts it by listener. A listener that does
// not exist fails the whole request.
func (k *call) batch(lbID *string, in []*clb.BatchTarget) (*loadBalancer, []group, *Error) {
	switch {
	case len(in) == 0:
		return nil, nil, missing("Targets")
	case len(in) > maxBatch:
		return nil, nil, errorf(codeLength, "The length of Targets is %d, it should be at most %d.", len(in), maxBatch)
	}
	refs := make([]targetRef, len(in))
	for i, t := range in {
		path := fmt.Sprintf("Targets.%d", i)
		if value(t.ListenerId) == "" {
			return nil, nil, missing(path + ".ListenerId")
		}
		var err *Error
		if refs[i], err = parseTarget(path, t.Port, t.InstanceId, t.EniIp, t.Weight, t.Tag); err != nil {
			return nil, nil, err
		}
	}
	lb, err := k.locked(lbID)
	if err != nil {
		return nil, nil, err
	}
	var groups []group
	for i, t := range in {
		l, err := k.listener(lb, "ListenerId", t.ListenerId)
		if err != nil {
			return nil, nil, err
		}
		p, err := l.poolOf(t.LocationId, nil, nil)
		if err != nil {
			return nil, nil, err
		}
		at := slices.IndexFunc(groups, func(g group) bool { return g.listener == l })
		if at < 0 {
			at = len(groups)
			groups = append(groups, group{listener: l})
		}
		groups[at].add(p, refs[i])
	}
	return lb, groups, nil
}

func (g *group) add(p *pool, r targetRef) {
	for i := range g.parts {
		if g.parts[i].pool == p {
			g.parts[i].refs = append(g.parts[i].refs, r)
			return
		}
	}
	g.parts = append(g.parts, part{p, []targetRef{r}})
}

// change makes a change of every part of a group out of that of a pool. If one
// part is refused, so is the group.
func (g group) change(change func(*pool, []targetRef) (func(time.Time) string, *Error)) ([]func(time.Time) string, *Error) {
	var effects []func(time.Time) string
	for _, p := range g.parts {
		effect, err := change(p.pool, p.refs)
		if err != nil {
			return nil, err
		}
		effects = append(effects, effect)
	}
	return effects, nil
}

// runBatch applies a change listener by listener. A listener whose change is
// refused comes back in failed, with nothing of it applied, while the others
// go on: the API answers success for both.
func (k *call) runBatch(lb *loadBalancer, groups []group,
	change func(*pool, []targetRef) (func(time.Time) string, *Error),
) (failed []*string, message string, err *Error) {
	failed = []*string{}
	var effects []func(time.Time) string
	var messages []string
	for _, g := range groups {
		if k.toldToFail(g.listener.id) {
			failed, messages = append(failed, &g.listener.id), append(messages, k.Faults.FailureMessage)
			continue
		}
		ofGroup, err := g.change(change)
		switch {
		case err == nil:
			effects = append(effects, ofGroup...)
		case err.Code == codeLimit || k.cloud.cfg.Assumptions.BatchFailure == WholeRequest:
			return nil, "", err
		default:
			failed, messages = append(failed, &g.listener.id), append(messages, g.listener.id+": "+err.Message)
		}
	}
	all := func(now time.Time) string {
		for _, effect := range effects {
			if m := effect(now); m != "" {
				return m
			}
		}
		return ""
	}
	if k.cloud.cfg.Assumptions.BatchTargets == Sync {
		k.startSync(lb, all)
	} else {
		k.start([]*loadBalancer{lb}, all)
	}
	return failed, strings.Join(messages, "; "), nil
}

func (k *call) toldToFail(listener string) bool {
	return slices.Contains(k.Faults.FailListeners, "*") || slices.Contains(k.Faults.FailListeners, listener)
}

func batchRegisterTargets(k *call, in *clb.BatchRegisterTargetsRequest) (*clb.BatchRegisterTargetsResponseParams, *Error) {
	lb, groups, err := k.batch(in.LoadBalancerId, in.Targets)
	if err != nil {
		return nil, err
	}
	failed, message, err := k.runBatch(lb, groups, k.bind)
	return &clb.BatchRegisterTargetsResponseParams{FailListenerIdSet: failed, Message: &message}, err
}

func batchDeregisterTargets(k *call, in *clb.BatchDeregisterTargetsRequest) (*clb.BatchDeregisterTargetsResponseParams, *Error) {
	lb, groups, err := k.batch(in.LoadBalancerId, in.Targets)
	if err != nil {
		return nil, err
	}
	failed, message, err := k.runBatch(lb, groups, k.unbind)
	return &clb.BatchDeregisterTargetsResponseParams{FailListenerIdSet: failed, Message: &message}, err
}

// The limits of BatchModifyTargetWeight.
const (
	maxRules       = 100
	maxRuleTargets = 50
)

func batchModifyTargetWeight(k *call, in *clb.BatchModifyTargetWeightRequest) (*clb.BatchModifyTargetWeightResponseParams, *Error) {
	switch {
	case len(in.ModifyList) == 0:
		return nil, missing("ModifyList")
	case len(in.ModifyList) > maxRules:
		return nil, errorf(codeLength, "The length of ModifyList is %d, it should be at most %d.", len(in.ModifyList), maxRules)
	}
	total := 0
	refs := make([][]targetRef, len(in.ModifyList))
	for i, r := range in.ModifyList {
		path := fmt.Sprintf("ModifyList.%d", i)
		if err := checkWeight(path, r.Weight); err != nil {
			return nil, err
		}
		var err *Error
		if refs[i], err = parseTargets(path+".Targets", r.Targets, maxRuleTargets, r.Weight); err != nil {
			return nil, err
		}
		total += len(refs[i])
	}
	if total > maxBatch {
		return nil, errorf(codeLength, "ModifyList has %d targets, it should have at most %d.", total, maxBatch)
	}
	lb, err := k.locked(in.LoadBalancerId)
	if err != nil {
		return nil, err
	}
	var effects []func(time.Time) string
	for i, r := range in.ModifyList {
		l, err := k.listener(lb, fmt.Sprintf("ModifyList.%d.ListenerId", i), r.ListenerId)
		if err != nil {
			return nil, err
		}
		p, err := l.poolOf(r.LocationId, r.Domain, r.Url) //nolint:staticcheck // deprecated fields can still be sent
		if err != nil {
			return nil, err
		}
		effect, err := k.reweigh(p, refs[i])
		if err != nil {
			return nil, err
		}
		effects = append(effects, effect)
	}
	k.start([]*loadBalancer{lb}, func(now time.Time) string {
		for _, effect := range effects {
			effect(now)
		}
		return ""
	})
	return &clb.BatchModifyTargetWeightResponseParams{}, nil
}
