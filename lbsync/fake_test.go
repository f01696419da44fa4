// SPDX-License-Identifier: Apache-2.0

package lbsync

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/clbsync/clbsync/lbsync/annotation"
)

// fakeCloud is one CLB in memory that refuses what CLB refuses.
type fakeCloud struct {
	lb   LoadBalancer
	next int
	now  time.Time
	born map[Binding]time.Time
}

func (f *fakeCloud) CreateLoadBalancer(_ context.Context, want Instance) (Instance, error) {
	if f.lb.Present {
		return Instance{}, fmt.Errorf("there is a CLB already")
	}
	want.ID, want.Tags, want.Owner = "lb-00000001", want.Owner.Tags(), Owner{}
	want.Attributes = Attributes{PassToTarget: new(false), DeleteProtect: new(false), SnatPro: new(false), SecurityGroups: []string{}, Bandwidth: want.orderedBandwidth()}
	if want.Order != nil {
		want.Attributes = Attributes{PassToTarget: want.Order.LoadBalancerPassToTarget, SnatPro: want.Order.SnatPro}.over(want.Attributes)
	}
	if want.Order == nil { // CLB always tells the family.
		want.Order = &annotation.CreateParameters{AddressIPVersion: "IPV4"}
	}
	f.lb = LoadBalancer{Present: true, Instance: want, Listeners: map[ListenerKey]Listener{}, Targets: map[Binding]int{}}
	f.born = map[Binding]time.Time{}
	return want, nil
}

func (f *fakeCloud) ModifyLoadBalancer(_ context.Context, c InstanceChange) error {
	if !f.lb.Present || c.From.ID != f.lb.Instance.ID || len(c.Changes()) == 0 || !(Owner{f.lb.Instance.Tags[TagCluster], f.lb.Instance.Tags[TagService]}).Owns(f.lb.Instance.Tags) {
		return fmt.Errorf("CLB %s is not there, is not ours, or nothing changes", c.From.ID)
	}
	f.lb.Instance.Attributes = c.To.Attributes
	return nil
}

func (f *fakeCloud) Tag(_ context.Context, lb, key, value string) error {
	if lb != f.lb.Instance.ID || f.lb.Instance.Tags[TagCreatedBy] != "" {
		return fmt.Errorf("CLB %s is not there, or was made for a Service", lb)
	}
	tags := map[string]string{key: value}
	for k, v := range f.lb.Instance.Tags {
		if k != key {
			tags[k] = v
		}
	}
	f.lb.Instance.Tags = tags
	return nil
}

func (f *fakeCloud) Untag(ctx context.Context, lb, key string) error {
	err := f.Tag(ctx, lb, key, "")
	delete(f.lb.Instance.Tags, key)
	return err
}

func (f *fakeCloud) CreateListeners(_ context.Context, lb string, listeners []Listener) ([]string, error) {
	var ids []string
	for _, l := range listeners {
		if _, taken := f.lb.Listeners[l.ListenerKey]; taken || lb != f.lb.Instance.ID {
			return nil, fmt.Errorf("listener %s of %s: taken, or no such CLB", l.ListenerKey, lb)
		}
		f.next++
		if l.Rule() {
			parent := f.lb.Listeners[l.Parent()]
			if parent.ID == "" || parent.ID != l.ID {
				return nil, fmt.Errorf("rule %s: its parent is %q, not %q", l.ListenerKey, parent.ID, l.ID)
			}
			if (l.Certificate != Certificate{}) != (parent.SNI && l.Protocol == HTTPS) {
				return nil, fmt.Errorf("rule %s: certificate %q, SNI %v", l.ListenerKey, l.Certificate, parent.SNI)
			}
			l.ID = fmt.Sprintf("%s/loc-%08d", parent.ID, f.next)
		} else if l.ID = fmt.Sprintf("lbl-%08d", f.next); f.placed(l.ListenerKey) {
			return nil, fmt.Errorf("listener %s: its port is taken", l.ListenerKey)
		}
		f.lb.Listeners[l.ListenerKey] = l
		f.lb.share(l)
		ids = append(ids, l.ID)
	}
	return ids, nil
}

// placed reports whether a listener has the port, in its transport.
func (f *fakeCloud) placed(k ListenerKey) bool {
	for o := range f.lb.Listeners {
		if o.port() == k.port() {
			return true
		}
	}
	return false
}

func (f *fakeCloud) ModifyListener(_ context.Context, _ string, c ListenerChange) error {
	to := c.To
	if was := f.lb.Listeners[to.ListenerKey]; was != c.From || was.SNI && !to.SNI {
		return fmt.Errorf("listener %s is %+v, not %+v; wanted %+v", to.ListenerKey, was, c.From, to)
	}
	if f.lb.Listeners[to.ListenerKey].ID != to.ID || to.ID == "" {
		return fmt.Errorf("no listener %s with the ID %q", to.ListenerKey, to.ID)
	}
	f.lb.Listeners[to.ListenerKey] = to
	f.lb.share(to)
	return nil
}

func (f *fakeCloud) check(c Change, there bool) error {
	if c.Listener.Protocol.layer7() && !c.Listener.Rule() {
		return fmt.Errorf("target %s: it belongs to a rule", c.Binding)
	}
	if l := f.lb.Listeners[c.Listener]; l.ID == "" || l.ID != c.ListenerID {
		return fmt.Errorf("target %s: no listener with the ID %q", c.Binding, c.ListenerID)
	}
	if _, ok := f.lb.Targets[c.Binding]; ok != there {
		return fmt.Errorf("target %s: registered is %v, want %v", c.Binding, ok, there)
	}
	if c.Weight < 0 || c.Weight > WeightMax {
		return fmt.Errorf("target %s: weight %d", c.Binding, c.Weight)
	}
	return nil
}

func (f *fakeCloud) Register(_ context.Context, _ string, changes []Change) error {
	for _, c := range changes {
		if err := f.check(c, false); err != nil {
			return err
		}
		for b := range f.lb.Targets {
			if b.Target == c.Target && b.Listener.Protocol == c.Listener.Protocol && !c.Listener.Rule() {
				return fmt.Errorf("target %s: listener %s has it", c.Binding, b.Listener)
			}
		}
		f.lb.Targets[c.Binding], f.born[c.Binding] = c.Weight, f.now
	}
	return nil
}

func (f *fakeCloud) Reweight(_ context.Context, _ string, changes []Change) error {
	for _, c := range changes {
		if err := f.check(c, true); err != nil {
			return err
		}
		f.lb.Targets[c.Binding] = c.Weight
	}
	return nil
}

func (f *fakeCloud) Deregister(_ context.Context, _ string, changes []Change) error {
	for _, c := range changes {
		if err := f.check(c, true); err != nil {
			return err
		}
		delete(f.lb.Targets, c.Binding)
	}
	return nil
}

func (f *fakeCloud) DeleteListeners(_ context.Context, _ string, listeners []Listener) error {
	for _, l := range listeners {
		if f.lb.Listeners[l.ListenerKey].ID != l.ID || l.ID == "" {
			return fmt.Errorf("no listener %s with the ID %q", l.ListenerKey, l.ID)
		}
		if !l.Ours() {
			return fmt.Errorf("listener %s is not ours", l.ListenerKey)
		}
		if l.Rule() && f.lb.Listeners[l.ListenerKey].Default {
			for k := range f.lb.Listeners {
				stays := !slices.ContainsFunc(listeners, func(o Listener) bool { return o.ListenerKey == k })
				if stays && k.Rule() && k.Parent() == l.Parent() && k.Domain != l.Domain {
					return fmt.Errorf("rule %s is the default one", l.ListenerKey)
				}
			}
		}
		f.lb.remove(l.ListenerKey)
	}
	return nil
}

func (f *fakeCloud) DeleteLoadBalancer(_ context.Context, lb Instance) error {
	if !lb.Owner.Owns(f.lb.Instance.Tags) || lb.ID != f.lb.Instance.ID {
		return fmt.Errorf("CLB %s is not %v's", lb.ID, lb.Owner)
	}
	f.lb, f.born = LoadBalancer{}, nil
	return nil
}
