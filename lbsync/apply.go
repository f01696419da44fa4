// SPDX-License-Identifier: Apache-2.0

package lbsync

import (
	"context"
	"maps"
)

// API is what a Plan needs from the cloud. Each call returns when its effect is visible, or with an error.
// After Refusals everything else that the call was asked for has happened; after another error of a Kind
// other than Throttled and Busy the outcome is unknown. Calls for one CLB never overlap. Implementations split
// what is too large for one request, and what is refused until only what cannot be is left out.
type API interface {
	// CreateLoadBalancer returns the new CLB, ready for listeners. Called twice for one owner, it returns
	// the same CLB.
	CreateLoadBalancer(ctx context.Context, want Instance) (Instance, error)
	// ModifyLoadBalancer changes the attributes of a CLB that is ours.
	ModifyLoadBalancer(ctx context.Context, change InstanceChange) error
	// Tag sets a tag of a CLB; Untag removes it, and succeeds if it is gone already.
	Tag(ctx context.Context, lb, key, value string) error
	Untag(ctx context.Context, lb, key string) error
	// CreateListeners returns their IDs, in the same order; "" for those that were refused. The listeners are all rules or
	// none is; the ID of a rule is that of its parent on the way in.
	CreateListeners(ctx context.Context, lb string, listeners []Listener) (ids []string, err error)
	ModifyListener(ctx context.Context, lb string, c ListenerChange) error
	Register(ctx context.Context, lb string, changes []Change) error
	Reweight(ctx context.Context, lb string, changes []Change) error
	Deregister(ctx context.Context, lb string, changes []Change) error
	// DeleteListeners succeeds if they are gone already. Rules go with their parent.
	DeleteListeners(ctx context.Context, lb string, listeners []Listener) error
	// DeleteLoadBalancer reads the tags again and refuses unless they prove lb.Owner's ownership. It
	// succeeds if the CLB is gone already.
	DeleteLoadBalancer(ctx context.Context, lb Instance) error
}

// Apply carries out the plan. What CLB refuses for good it leaves out and goes on; the error is of type
// Refusals then, and the CLB that is returned is as it is. At any other error it stops, and the CLB has to be
// read again, since what failed may have happened all the same.
func (p Plan) Apply(ctx context.Context, api API, actual LoadBalancer) (LoadBalancer, error) {
	now := actual.Clone()
	if p.Create != nil {
		made, err := api.CreateLoadBalancer(ctx, *p.Create)
		if err != nil {
			return now, err
		}
		now.Present, now.Instance = true, made
	}
	var refused Refusals
	if err := refused.gather(p.modifyInstance(ctx, api, &now)); err != nil {
		return now, err
	}
	if refused.exposes() {
		p.CreateListeners = nil
	}
	first, last := p.deletions()
	for _, part := range []func(context.Context, API, *LoadBalancer) error{
		p.mark, deletion(first), p.creation(false), p.modification(false), p.creation(true), p.modification(true), p.applyTargets, deletion(last), p.unmark,
	} {
		if err := refused.gather(part(ctx, api, &now)); err != nil {
			return now, err
		}
	}
	if p.Delete != nil {
		if err := api.DeleteLoadBalancer(ctx, *p.Delete); err != nil {
			return now, err
		}
		now = LoadBalancer{}
	}
	if len(refused) > 0 {
		return now, refused
	}
	return now, nil
}

// gather adds err to the refusals if it is some, and returns it if not.
func (r *Refusals) gather(err error) error {
	if more, ok := OnlyRefused(err); ok {
		*r = append(*r, more...)
		return nil
	}
	return err
}

// modifyInstance comes before anybody can connect: a CLB without its security groups is open to everybody.
func (p Plan) modifyInstance(ctx context.Context, api API, now *LoadBalancer) error {
	if p.ModifyInstance == nil {
		return nil
	}
	change := p.ModifyInstance
	err := api.ModifyLoadBalancer(ctx, *change)
	refused, only := OnlyRefused(err)
	if err != nil && !only {
		return err
	}
	for _, one := range refused {
		if change = change.without(one.Attribute); change == nil {
			return err
		}
	}
	now.Instance.Attributes = change.To.Attributes
	return err
}

// deletion takes listeners away, with their rules and targets.
func deletion(listeners []Listener) func(context.Context, API, *LoadBalancer) error {
	return func(ctx context.Context, api API, now *LoadBalancer) error {
		if len(listeners) == 0 {
			return nil
		}
		if err := api.DeleteListeners(ctx, now.Instance.ID, listeners); err != nil {
			return err
		}
		gone := map[ListenerKey]bool{}
		for _, l := range listeners {
			gone[l.ListenerKey] = true
		}
		goes := func(k ListenerKey) bool { return gone[k] || gone[k.Parent()] }
		maps.DeleteFunc(now.Listeners, func(k ListenerKey, _ Listener) bool { return goes(k) })
		maps.DeleteFunc(now.Targets, func(b Binding, _ int) bool { return goes(b.Listener) })
		return nil
	}
}

// creation makes the rules, or all listeners that are none. A rule whose parent was refused is not asked for.
func (p Plan) creation(rules bool) func(context.Context, API, *LoadBalancer) error {
	return func(ctx context.Context, api API, now *LoadBalancer) error {
		var wanted []Listener
		for _, l := range p.CreateListeners {
			if parent := now.Listeners[l.Parent()].ID; l.Rule() == rules && (!rules || parent != "") {
				if rules {
					l.ID = parent
				}
				wanted = append(wanted, l)
			}
		}
		if len(wanted) == 0 {
			return nil
		}
		var refused Refusals
		ids, err := api.CreateListeners(ctx, now.Instance.ID, wanted)
		if err := refused.gather(err); err != nil {
			return err
		}
		if now.Listeners == nil {
			now.Listeners = map[ListenerKey]Listener{}
		}
		for i, l := range wanted {
			if l.ID = ids[i]; l.ID != "" {
				now.Listeners[l.ListenerKey] = l
				now.share(l)
			}
		}
		if len(refused) > 0 {
			return refused
		}
		return nil
	}
}

// modification changes the rules, or all listeners that are none.
func (p Plan) modification(rules bool) func(context.Context, API, *LoadBalancer) error {
	return func(ctx context.Context, api API, now *LoadBalancer) error {
		var refused Refusals
		for _, c := range p.ModifyListeners {
			if c.To.Rule() != rules {
				continue
			}
			// What its domain has may be there by now, through another rule of it.
			if c.From = now.Listeners[c.To.ListenerKey]; sameSettings(c.From, c.To) {
				continue
			}
			switch err := api.ModifyListener(ctx, now.Instance.ID, c); {
			case err == nil:
				c.To.Default = c.To.Default || c.From.Default
				now.Listeners[c.To.ListenerKey] = c.To
				now.share(c.To)
			case Refusable(err):
				refused = append(refused, Refusal{Listener: c.To, Err: err})
			default:
				return err
			}
		}
		if len(refused) > 0 {
			return refused
		}
		return nil
	}
}

// share notes what a rule has in common with others: its domain's certificate, and that one domain is the default.
func (l *LoadBalancer) share(rule Listener) {
	if !rule.Rule() {
		return
	}
	for k, o := range l.Listeners {
		if !k.Rule() || k.Parent() != rule.Parent() || k == rule.ListenerKey {
			continue
		}
		switch {
		case k.Domain == rule.Domain:
			o.Certificate, o.Default = rule.Certificate, o.Default || rule.Default
		case rule.Default:
			o.Default = false
		}
		l.Listeners[k] = o
	}
}

func (p Plan) applyTargets(ctx context.Context, api API, now *LoadBalancer) error {
	if now.Targets == nil {
		now.Targets = map[Binding]int{}
	}
	var refused Refusals
	for _, part := range []struct {
		changes []Change
		call    func(context.Context, string, []Change) error
		gone    bool
	}{{p.Register, api.Register, false}, {p.Reweight, api.Reweight, false}, {p.Deregister, api.Deregister, true}} {
		var changes []Change
		for _, c := range part.changes {
			if c.ListenerID = now.Listeners[c.Listener].ID; c.ListenerID != "" { // else it was refused
				changes = append(changes, c)
			}
		}
		if len(changes) == 0 {
			continue
		}
		before := len(refused)
		if err := refused.gather(part.call(ctx, now.Instance.ID, changes)); err != nil {
			return err
		}
		left := map[Binding]bool{}
		for _, r := range refused[before:] {
			left[r.Binding] = true
		}
		for _, c := range changes {
			switch {
			case left[c.Binding]:
			case part.gone:
				delete(now.Targets, c.Binding)
			default:
				now.Targets[c.Binding] = c.Weight
			}
		}
	}
	if len(refused) > 0 {
		return refused
	}
	return nil
}
