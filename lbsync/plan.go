// SPDX-License-Identifier: Apache-2.0

package lbsync

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Plan is a set of changes to one CLB. It is a value: it can be printed, compared and applied. Slices are
// sorted and may be nil. The zero value changes nothing.
type Plan struct {
	Create          *Instance       // nil: there is one already, or none is wanted
	ModifyInstance  *InstanceChange // nil: its attributes stay
	Tag             *TagChange      // nil: the CLB's tags stay
	CreateListeners []Listener
	ModifyListeners []ListenerChange
	Register        []Change
	Reweight        []Change
	Deregister      []Change
	DeleteListeners []Listener
	Delete          *Instance // nil: the CLB stays
}

// Change is a change of one binding. ListenerID is empty if the listener is still to be created.
type Change struct {
	Binding
	ListenerID string
	Weight     int // after the change; 0 in Deregister
	Was        int // before it; 0 in Register
}

// ListenerChange is a change of a listener's settings in place.
type ListenerChange struct{ From, To Listener }

// Empty reports whether the plan changes nothing.
func (p Plan) Empty() bool {
	return p.Create == nil && p.Delete == nil && p.ModifyInstance == nil && p.Tag == nil && len(p.CreateListeners)+len(p.ModifyListeners)+len(p.DeleteListeners)+
		len(p.Register)+len(p.Reweight)+len(p.Deregister) == 0
}

// String is the plan for people, logs and golden files: a line per change in the order of Apply, each
// ending in a newline; "" for an empty plan.
func (p Plan) String() string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	if p.Create != nil {
		line("+ clb %s", p.Create.describe())
	}
	if p.ModifyInstance != nil {
		for _, l := range p.ModifyInstance.lines() {
			line("%s", l)
		}
	}
	if p.Tag != nil && p.Tag.To != "" {
		line("%s", p.Tag)
	}
	first, last := p.deletions()
	for _, l := range first {
		line("- %s", l.what())
	}
	for _, rules := range []bool{false, true} {
		for _, l := range p.CreateListeners {
			if l.Rule() == rules {
				line("%s", strings.TrimSpace("+ "+l.what()+" "+l.describe()))
			}
		}
		for _, c := range p.ModifyListeners {
			if c.To.Rule() == rules {
				line("~ %s %s -> %s", c.To.what(), cmp.Or(c.From.describe(), "by default"), cmp.Or(c.To.describe(), "by default"))
			}
		}
	}
	for _, c := range p.Register {
		line("+ target %s weight %d", c.Binding, c.Weight)
	}
	for _, c := range p.Reweight {
		line("~ target %s weight %d -> %d", c.Binding, c.Was, c.Weight)
	}
	for _, c := range p.Deregister {
		line("- target %s weight %d", c.Binding, c.Was)
	}
	for _, l := range last {
		line("- %s", l.what())
	}
	if p.Tag != nil && p.Tag.To == "" {
		line("%s", p.Tag)
	}
	if p.Delete != nil {
		line("- clb %s", p.Delete.ID)
	}
	return b.String()
}

// Brief is String in at most so many bytes: whole lines, and the number of those that are left out.
func (p Plan) Brief(most int) string {
	text := p.String()
	if len(text) <= most {
		return text
	}
	cut := most - len("… and 1000000 more\n")
	end := strings.LastIndexByte(text[:max(cut, 0)], '\n') + 1
	return fmt.Sprintf("%s… and %d more\n", text[:end], strings.Count(text[end:], "\n"))
}

func (i Instance) describe() string {
	s := fmt.Sprintf("%q public", i.Name)
	if i.Internal {
		s = fmt.Sprintf("%q internal %s", i.Name, i.SubnetID)
	}
	if i.Region != "" {
		s += " in " + i.Region
	}
	if i.Order != nil {
		s += " with " + i.Order.String()
	}
	if len(i.Access) > 0 {
		s += " source ranges " + AccessText(i.Access)
	}
	return s
}

// Diff returns every change that turns actual into desired, whether or not it is safe now: Next says that.
// The targets of a listener that goes are not named: they go with it, and so do its rules.
// Listeners that are not ours are left out of it, and so are desired listeners whose place they take.
func Diff(actual, desired LoadBalancer) Plan {
	var p Plan
	switch {
	case !actual.Present && !desired.Present:
		return p
	case !actual.Present:
		p.Create = &desired.Instance
	case !desired.Present && desired.Instance.Owner.Owns(actual.Instance.Tags):
		p.Delete = &actual.Instance
		p.Delete.Owner = desired.Instance.Owner
	case desired.Present:
		p.ModifyInstance = diffAttributes(actual.Instance, desired.Instance)
		p.Tag = diffTag(actual.Instance, desired.Instance)
	}
	p.diffListeners(actual, desired)
	p.diffTargets(actual, desired)
	return p
}

// Without returns the plan without what was refused of it.
func (p Plan) Without(r Refusals) Plan {
	if len(r) == 0 {
		return p
	}
	targets, listeners := map[Binding]bool{}, map[ListenerKey]bool{}
	for _, one := range r {
		switch {
		case one.Attribute == AttributeUsedBy:
			if p.Tag != nil && p.Tag.To == one.Value {
				p.Tag = nil
			}
		case one.Attribute != "":
			if c := p.ModifyInstance; c != nil && c.To.Text(one.Attribute) == one.Value {
				p.ModifyInstance = c.without(one.Attribute)
			}
		case one.Binding.Target == (Target{}):
			listeners[one.Listener.ListenerKey] = true
		default:
			targets[one.Binding] = true
		}
	}
	if r.exposes() {
		for _, l := range p.CreateListeners {
			listeners[l.ListenerKey] = true
		}
	}
	refused := func(k ListenerKey) bool { return listeners[k] || listeners[k.Parent()] }
	change := func(c Change) bool { return targets[c.Binding] || c.ListenerID == "" && refused(c.Listener) }
	p.Register = slices.DeleteFunc(slices.Clone(p.Register), change)
	p.Reweight = slices.DeleteFunc(slices.Clone(p.Reweight), change)
	p.Deregister = slices.DeleteFunc(slices.Clone(p.Deregister), change)
	p.CreateListeners = slices.DeleteFunc(slices.Clone(p.CreateListeners), func(l Listener) bool { return refused(l.ListenerKey) })
	p.ModifyListeners = slices.DeleteFunc(slices.Clone(p.ModifyListeners), func(c ListenerChange) bool { return listeners[c.To.ListenerKey] })
	return p
}

// foreigners returns the listeners that are not ours, by their place among CLB's ports; nil if there are none.
func (l LoadBalancer) foreigners() map[ListenerKey]Listener {
	var out map[ListenerKey]Listener
	for k, one := range l.Listeners {
		if one.Ours() || k.Rule() {
			continue
		}
		if out == nil {
			out = map[ListenerKey]Listener{}
		}
		out[k.port()] = one
	}
	return out
}

// usurped reports whether a listener that is ours is to become another Service's. Renamed, it would send what comes for the
// one to the targets of the other until those are drained, so it is made anew.
func (l LoadBalancer) usurped(desired LoadBalancer, k ListenerKey) bool {
	have, there := l.Listeners[k]
	want, wanted := desired.Listeners[k]
	return there && wanted && have.Ours() && want.Ours() && have.Name != want.Name
}

func (p *Plan) diffListeners(actual, desired LoadBalancer) {
	theirs := actual.foreigners()
	foreign := func(k ListenerKey) bool { _, taken := theirs[k.port()]; return taken }
	for _, k := range sortedListeners(desired.Listeners) {
		want := desired.Listeners[k]
		have, ok := actual.Listeners[k]
		switch {
		case foreign(k):
		case actual.usurped(desired, k):
			if !k.Rule() { // A rule goes with its listener.
				p.DeleteListeners = append(p.DeleteListeners, have)
			} // What follows comes when it is gone
		case !ok:
			p.CreateListeners = append(p.CreateListeners, want)
		case !sameSettings(have, want):
			want.ID = have.ID
			p.ModifyListeners = append(p.ModifyListeners, ListenerChange{From: have, To: want})
		}
	}
	for _, k := range sortedListeners(actual.Listeners) {
		_, wanted := desired.Listeners[k]
		_, parent := desired.Listeners[k.Parent()]
		if !wanted && (parent || !k.Rule()) && !foreign(k) {
			p.DeleteListeners = append(p.DeleteListeners, actual.Listeners[k])
		}
	}
	slices.SortFunc(p.DeleteListeners, func(a, b Listener) int { return a.compare(b.ListenerKey) })
}

func (p *Plan) diffTargets(actual, desired LoadBalancer) {
	theirs := actual.foreigners()
	foreign := func(k ListenerKey) bool { _, taken := theirs[k.port()]; return taken }
	for b, weight := range desired.Targets {
		if foreign(b.Listener) || actual.usurped(desired, b.Listener) {
			continue
		}
		c := Change{Binding: b, Weight: weight}
		was, ok := actual.Targets[b]
		switch c.Was = was; {
		case !ok && c.Weight == 0: // A target that is to get nothing has no reason to come.
		case !ok:
			p.Register = append(p.Register, c)
		case was != c.Weight:
			p.Reweight = append(p.Reweight, c)
		}
	}
	for b, was := range actual.Targets {
		if _, ok := desired.Targets[b]; ok {
			continue
		}
		_, stays := desired.Listeners[b.Listener] // Else its targets go with it.
		if stays && !foreign(b.Listener) && !actual.usurped(desired, b.Listener) {
			p.Deregister = append(p.Deregister, Change{Binding: b, Was: was})
		}
	}
	for _, changes := range [][]Change{p.Register, p.Reweight, p.Deregister} {
		for i := range changes {
			changes[i].ListenerID = actual.Listeners[changes[i].Listener].ID
		}
		slices.SortFunc(changes, func(a, b Change) int { return a.compare(b.Binding) })
	}
}

// deletions returns the listeners that go first, and those that go last, when the new ones are there. First goes what a new
// listener of its transport may need: the port number, or targets, which CLB gives to one listener of a protocol only.
// A listener of the other transport, and a rule, is in nobody's way.
func (p Plan) deletions() (first, last []Listener) {
	coming := map[Protocol]bool{}
	for _, l := range p.CreateListeners {
		coming[l.Protocol.Transport()] = true
	}
	for _, l := range p.DeleteListeners {
		if l.Rule() || len(coming) > 0 && !coming[l.Protocol.Transport()] {
			last = append(last, l)
		} else {
			first = append(first, l)
		}
	}
	return first, last
}

// sameSettings reports whether nothing has to be changed to make have want. Being the default domain is given, not taken.
func sameSettings(have, want Listener) bool {
	want.ID = have.ID
	want.Default = want.Default || have.Default
	return have == want
}

func sortedListeners(m map[ListenerKey]Listener) []ListenerKey {
	return slices.SortedFunc(maps.Keys(m), ListenerKey.compare)
}

func sortedBindings(m map[Binding]int) []Binding {
	return slices.SortedFunc(maps.Keys(m), Binding.compare)
}

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
