// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"net/netip"

	"github.com/clbsync/clbsync/lbsync"
)

// fakeCloud is a cloud in memory that refuses what CLB refuses. A refusal that a correct caller never meets
// is also kept in wrongs, which every test looks at in the end.
type fakeCloud struct {
	took time.Duration // by each call

	before  func(ctx context.Context, call string) error // see fail
	after   func(call string) error                      // see lose
	mu      sync.Mutex
	clbs    map[string]*lbsync.LoadBalancer
	since   map[string]map[lbsync.Binding]time.Time // of registration, by CLB
	dead    map[string]bool                         // hosts that fail their probes
	refused string                                  // the host that is refused as a target; "": none is
	busy    map[string]string                       // CLB or owner → the call in flight
	calls   []call
	wrongs  []string
	created int
	ids     int
}

type call struct {
	at   time.Time
	text string
}

func newFakeCloud() *fakeCloud {
	return &fakeCloud{took: time.Millisecond, clbs: map[string]*lbsync.LoadBalancer{}, since: map[string]map[lbsync.Binding]time.Time{}, dead: map[string]bool{}, busy: map[string]string{}}
}

// fail has each call ask first: it may be held, or fail and have no effect. nil: none does.
func (f *fakeCloud) fail(before func(ctx context.Context, call string) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.before = before
}

// lose has each call ask afterwards: it may fail though it had its effect. nil: none does.
func (f *fakeCloud) lose(after func(call string) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.after = after
}

func refuse(kind lbsync.Kind, action, format string, args ...any) error {
	return &lbsync.Error{Kind: kind, Action: action, Code: "Fake." + kind.String(), Err: fmt.Errorf(format, args...)}
}

// do runs one call: it is written down, takes its time, and has its effect unless a fault is in its way.
func (f *fakeCloud) do(ctx context.Context, lane, text string, effect func() error) error {
	action, _, _ := strings.Cut(text, " ")
	f.mu.Lock()
	f.calls = append(f.calls, call{time.Now(), text})
	if other := f.busy[lane]; other != "" {
		f.wrongs = append(f.wrongs, fmt.Sprintf("%q of %s while %q is in flight", text, lane, other))
	}
	f.busy[lane] = text
	before, after := f.before, f.after
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.busy, lane)
	}()
	if before != nil {
		if err := before(ctx, text); err != nil {
			return err
		}
	}
	select {
	case <-time.After(f.took):
	case <-ctx.Done():
		return &lbsync.Error{Action: action, Err: ctx.Err()}
	}
	f.mu.Lock()
	err := effect()
	f.mu.Unlock()
	if err == nil && after != nil {
		err = after(text)
	}
	return err
}

func (f *fakeCloud) of(action, id string) (*lbsync.LoadBalancer, error) {
	lb := f.clbs[id]
	if lb == nil {
		return nil, refuse(lbsync.NotFound, action, "no CLB %q", id)
	}
	return lb, nil
}

// wrong notes a refusal that a correct caller never meets, and returns it.
func (f *fakeCloud) wrong(err error) error {
	f.wrongs = append(f.wrongs, err.Error())
	return err
}

func (f *fakeCloud) CreateLoadBalancer(ctx context.Context, want lbsync.Instance) (lbsync.Instance, error) {
	var made lbsync.Instance
	err := f.do(ctx, want.Owner.ServiceUID, "CreateLoadBalancer "+want.Owner.ServiceUID, func() error {
		if want.Owner.ClusterID == "" || want.Owner.ServiceUID == "" {
			return f.wrong(refuse(lbsync.Invalid, "CreateLoadBalancer", "no owner: %+v", want.Owner))
		}
		for _, lb := range f.ordered() {
			if want.Owner.Owns(lb.Instance.Tags) {
				made = lb.Instance
				return nil
			}
		}
		f.created++
		made = lbsync.Instance{ID: fmt.Sprintf("lb-%d", f.created), Name: want.Name, Order: want.Order,
			Attributes: lbsync.Attributes{SecurityGroups: []string{}, PassToTarget: new(false), DeleteProtect: new(false), SnatPro: new(false)},
			Internal:   want.Internal, VPCID: want.VPCID, SubnetID: want.SubnetID,
			Tags: want.Owner.Tags(), VIPs: []netip.Addr{netip.AddrFrom4([4]byte{203, 0, 113, byte(f.created)})}}
		f.clbs[made.ID] = &lbsync.LoadBalancer{Present: true, Instance: made, Listeners: map[lbsync.ListenerKey]lbsync.Listener{}, Targets: map[lbsync.Binding]int{}}
		f.since[made.ID] = map[lbsync.Binding]time.Time{}
		return nil
	})
	return made, err
}

func (f *fakeCloud) DeleteSecurityGroups(ctx context.Context, owner lbsync.Owner) error {
	return f.do(ctx, owner.ServiceUID, "DeleteSecurityGroups "+owner.ServiceUID, func() error { return nil })
}

func (f *fakeCloud) ordered() []*lbsync.LoadBalancer {
	var all []*lbsync.LoadBalancer
	for _, lb := range f.clbs {
		all = append(all, lb)
	}
	slices.SortFunc(all, func(a, b *lbsync.LoadBalancer) int { return strings.Compare(a.Instance.ID, b.Instance.ID) })
	return all
}

func (f *fakeCloud) Tag(ctx context.Context, id, key, value string) error {
	return f.do(ctx, id, fmt.Sprintf("Tag %s %s=%s", id, key, value), func() error {
		lb, err := f.of("Tag", id)
		if err == nil {
			lb.Instance.Tags = maps.Clone(lb.Instance.Tags)
			lb.Instance.Tags[key] = value
		}
		return err
	})
}

func (f *fakeCloud) Untag(ctx context.Context, id, key string) error {
	return f.do(ctx, id, fmt.Sprintf("Untag %s %s", id, key), func() error {
		if lb := f.clbs[id]; lb != nil {
			lb.Instance.Tags = maps.Clone(lb.Instance.Tags)
			delete(lb.Instance.Tags, key)
		}
		return nil
	})
}

func (f *fakeCloud) ModifyLoadBalancer(ctx context.Context, c lbsync.InstanceChange) error {
	text := "ModifyLoadBalancer " + c.From.ID
	for _, name := range c.Changes() {
		text += fmt.Sprintf(" %s=%s", strings.ReplaceAll(string(name), " ", "-"), c.To.Text(name))
	}
	return f.do(ctx, c.From.ID, text, func() error {
		lb, err := f.of("ModifyLoadBalancer", c.From.ID)
		if err != nil {
			return err
		}
		if lb.Instance.Tags[lbsync.TagCreatedBy] != "yes" || len(c.Changes()) == 0 {
			return f.wrong(refuse(lbsync.Denied, "ModifyLoadBalancer", "%s is somebody else's, or nothing changes", c.From.ID))
		}
		lb.Instance.Attributes = c.To.Attributes
		return nil
	})
}

func (f *fakeCloud) CreateListeners(ctx context.Context, id string, listeners []lbsync.Listener) ([]string, error) {
	var ids []string
	text := "CreateListeners " + id
	for _, l := range listeners {
		text += " " + l.String()
	}
	err := f.do(ctx, id, text, func() error {
		lb, err := f.of("CreateListeners", id)
		if err != nil {
			return err
		}
		for _, l := range listeners {
			for k := range lb.Listeners {
				if k == l.ListenerKey || !l.Rule() && !k.Rule() && k.Port == l.Port && k.Protocol.Transport() == l.Protocol.Transport() {
					return f.wrong(refuse(lbsync.Conflict, "CreateListeners", "%s is taken", l.ListenerKey))
				}
			}
			parent := ""
			if l.Rule() {
				parent = lb.Listeners[l.Parent()].ID
			}
			if l.Check.Type == lbsync.CheckHTTP && l.Check.Domain == "" || !l.Ours() || l.ID != parent {
				return f.wrong(refuse(lbsync.Invalid, "CreateListeners", "%+v", l))
			}
		}
		for _, l := range listeners {
			f.ids++
			if l.ID = fmt.Sprintf("lbl-%d", f.ids); l.Rule() {
				l.ID = fmt.Sprintf("%s/loc-%d", lb.Listeners[l.Parent()].ID, f.ids)
			}
			lb.Listeners[l.ListenerKey] = l
			ids = append(ids, l.ID)
		}
		return nil
	})
	return ids, err
}

func (f *fakeCloud) ModifyListener(ctx context.Context, id string, c lbsync.ListenerChange) error {
	to := c.To
	return f.do(ctx, id, fmt.Sprintf("ModifyListener %s %s check %s", id, to.ListenerKey, to.Check), func() error {
		lb, err := f.of("ModifyListener", id)
		if err != nil {
			return err
		}
		if lb.Listeners[to.ListenerKey].ID != to.ID || to.ID == "" {
			return f.wrong(refuse(lbsync.NotFound, "ModifyListener", "no listener %s %q", to.ListenerKey, to.ID))
		}
		lb.Listeners[to.ListenerKey] = to
		return nil
	})
}

// targets runs one of the calls about targets; there says whether each has to be registered before.
func (f *fakeCloud) targets(ctx context.Context, action, id string, changes []lbsync.Change, there bool, effect func(*lbsync.LoadBalancer, lbsync.Change)) error {
	text := action + " " + id
	for _, c := range changes {
		text += fmt.Sprintf(" %s=%d", strings.ReplaceAll(c.String(), " ", "/"), c.Weight)
	}
	return f.do(ctx, id, text, func() error {
		lb, err := f.of(action, id)
		if err != nil {
			return err
		}
		for _, c := range changes {
			if l := lb.Listeners[c.Listener]; l.ID == "" || l.ID != c.ListenerID {
				return f.wrong(refuse(lbsync.NotFound, action, "no listener %s %q", c.Listener, c.ListenerID))
			}
			if _, ok := lb.Targets[c.Binding]; ok != there {
				return f.wrong(refuse(lbsync.Conflict, action, "%s: registered is %v, want %v", c.Binding, ok, there))
			}
			for b := range lb.Targets {
				if b.Target == c.Target && b.Listener != c.Listener && b.Listener.Protocol == c.Listener.Protocol && !b.Listener.Rule() {
					return f.wrong(refuse(lbsync.Conflict, action, "%s: %s has the target", c.Binding, b.Listener))
				}
			}
			if c.Weight < 0 || c.Weight > lbsync.WeightMax {
				return f.wrong(refuse(lbsync.Invalid, action, "%s: weight %d", c.Binding, c.Weight))
			}
		}
		for _, c := range changes {
			effect(lb, c)
		}
		return nil
	})
}

// Register leaves out the targets on the host that is refused.
func (f *fakeCloud) Register(ctx context.Context, id string, changes []lbsync.Change) error {
	var refused lbsync.Refusals
	changes = slices.DeleteFunc(slices.Clone(changes), func(c lbsync.Change) bool {
		no := c.Target.Host() == f.refusing()
		if no {
			refused = append(refused, lbsync.Refusal{Binding: c.Binding, Err: refuse(lbsync.Invalid, "Register", "no instance %s", c.Target.Host())})
		}
		return no
	})
	err := error(nil)
	if len(changes) > 0 {
		err = f.register(ctx, id, changes)
	}
	if err != nil || len(refused) == 0 {
		return err
	}
	return refused
}

func (f *fakeCloud) refusing() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.refused
}

// refuse changes which host is refused.
func (f *fakeCloud) refuse(host string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.refused = host
}

func (f *fakeCloud) register(ctx context.Context, id string, changes []lbsync.Change) error {
	return f.targets(ctx, "Register", id, changes, false, func(lb *lbsync.LoadBalancer, c lbsync.Change) {
		lb.Targets[c.Binding], f.since[id][c.Binding] = c.Weight, time.Now()
	})
}

func (f *fakeCloud) Reweight(ctx context.Context, id string, changes []lbsync.Change) error {
	return f.targets(ctx, "Reweight", id, changes, true, func(lb *lbsync.LoadBalancer, c lbsync.Change) { lb.Targets[c.Binding] = c.Weight })
}

func (f *fakeCloud) Deregister(ctx context.Context, id string, changes []lbsync.Change) error {
	return f.targets(ctx, "Deregister", id, changes, true, func(lb *lbsync.LoadBalancer, c lbsync.Change) { delete(lb.Targets, c.Binding) })
}

func (f *fakeCloud) DeleteListeners(ctx context.Context, id string, listeners []lbsync.Listener) error {
	text := "DeleteListeners " + id
	for _, l := range listeners {
		text += " " + l.String()
	}
	return f.do(ctx, id, text, func() error {
		lb, err := f.of("DeleteListeners", id)
		if err != nil {
			return err
		}
		for _, l := range listeners {
			if have, ok := lb.Listeners[l.ListenerKey]; ok && !have.Ours() {
				return f.wrong(refuse(lbsync.Denied, "DeleteListeners", "%s %q is somebody else's", l.ListenerKey, have.Name))
			}
			gone := func(k lbsync.ListenerKey) bool { return k == l.ListenerKey || k.Parent() == l.ListenerKey }
			maps.DeleteFunc(lb.Listeners, func(k lbsync.ListenerKey, _ lbsync.Listener) bool { return gone(k) })
			maps.DeleteFunc(lb.Targets, func(b lbsync.Binding, _ int) bool { return gone(b.Listener) })
		}
		return nil
	})
}

func (f *fakeCloud) DeleteLoadBalancer(ctx context.Context, want lbsync.Instance) error {
	return f.do(ctx, want.ID, "DeleteLoadBalancer "+want.ID, func() error {
		lb := f.clbs[want.ID]
		if lb == nil {
			return nil
		}
		if !want.Owner.Owns(lb.Instance.Tags) {
			return f.wrong(refuse(lbsync.Denied, "DeleteLoadBalancer", "%s is not owned by %+v", want.ID, want.Owner))
		}
		delete(f.clbs, want.ID)
		delete(f.since, want.ID)
		return nil
	})
}

func (f *fakeCloud) Find(ctx context.Context, owner lbsync.Owner) (found []lbsync.Instance, err error) {
	err = f.do(ctx, "find "+owner.ServiceUID, "Find "+owner.ServiceUID, func() error {
		for _, lb := range f.ordered() {
			if owner.Owns(lb.Instance.Tags) {
				found = append(found, lb.Clone().Instance)
			}
		}
		return nil
	})
	return found, err
}

func (f *fakeCloud) Observe(ctx context.Context, id string) (now lbsync.LoadBalancer, err error) {
	err = f.do(ctx, id, "Observe "+id, func() error {
		lb, err := f.of("Observe", id)
		if err == nil {
			now = lb.Clone()
		}
		return err
	})
	return now, err
}

func (f *fakeCloud) Health(ctx context.Context, ids []string) (map[string]map[lbsync.Binding]lbsync.Health, error) {
	healths := map[string]map[lbsync.Binding]lbsync.Health{}
	text := strings.Join(append([]string{"Health"}, ids...), " ")
	err := f.do(ctx, text, text, func() error {
		for _, id := range ids {
			if lb := f.clbs[id]; lb != nil {
				healths[id] = f.health(lb)
			}
		}
		return nil
	})
	return healths, err
}

func (f *fakeCloud) health(lb *lbsync.LoadBalancer) map[lbsync.Binding]lbsync.Health {
	health := map[lbsync.Binding]lbsync.Health{}
	for b := range lb.Targets {
		check := lb.Listeners[b.Listener].Check
		switch {
		case !check.On:
			health[b] = lbsync.HealthOff
		case time.Since(f.since[lb.Instance.ID][b]) < check.Settle():
		case f.dead[b.Target.Host()]:
			health[b] = lbsync.Unhealthy
		default:
			health[b] = lbsync.Healthy
		}
	}
	return health
}

// edit changes a CLB as a person at the console does.
func (f *fakeCloud) edit(id string, change func(*lbsync.LoadBalancer)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(f.clbs[id])
}

// take returns the calls since the last time, without those that match a word in but.
func (f *fakeCloud) take(but ...string) []call {
	f.mu.Lock()
	defer f.mu.Unlock()
	all := f.calls
	f.calls = nil
	return slices.DeleteFunc(all, func(c call) bool {
		action, _, _ := strings.Cut(c.text, " ")
		return slices.Contains(but, action)
	})
}

// text is the state of all CLBs.
func (f *fakeCloud) text() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var b strings.Builder
	for _, lb := range f.ordered() {
		fmt.Fprintf(&b, "%s of %s\n", lb.Instance.ID, lb.Instance.Tags[lbsync.TagService])
		var lines []string
		for k, l := range lb.Listeners {
			lines = append(lines, fmt.Sprintf("  %s check %s\n", k, l.Check))
		}
		for t, weight := range lb.Targets {
			lines = append(lines, fmt.Sprintf("  %s weight %d\n", t, weight))
		}
		slices.Sort(lines)
		b.WriteString(strings.Join(lines, ""))
	}
	return b.String()
}

var (
	_        Cloud = (*fakeCloud)(nil)
	errCrash       = errors.New("killed")
)

func (f *fakeCloud) attributes(id string) lbsync.Attributes {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.clbs[id].Instance.Attributes
}
