// SPDX-License-Identifier: Apache-2.0

package lbsync

import (
	"cmp"
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

// Removal returns the plan that deletes the CLB of an owner, with first those of its listeners that are ours, and so their targets:
// CLB guards one that has many. Its Delete is nil if the tags of the CLB do not prove whose it is.
func Removal(actual LoadBalancer, owner Owner) Plan {
	all := Diff(actual, LoadBalancer{Instance: Instance{Owner: owner}})
	return Plan{DeleteListeners: all.DeleteListeners, Delete: all.Delete}
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

// usurped reports whether a listener that is ours is to become another Service's. Renamed, it would send what comes for the
// one to the targets of the other until those are drained, so it is made anew.
func (l LoadBalancer) usurped(desired LoadBalancer, k ListenerKey) bool {
	have, there := l.Listeners[k]
	want, wanted := desired.Listeners[k]
	return there && wanted && have.Ours() && want.Ours() && have.Name != want.Name
}

func (p *Plan) diffListeners(actual, desired LoadBalancer) {
	theirs := actual.foreigners()
	foreign := func(k ListenerKey) bool { _, taken := theirs.at(k); return taken }
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
	foreign := func(k ListenerKey) bool { _, taken := theirs.at(k); return taken }
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
