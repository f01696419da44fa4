// SPDX-License-Identifier: Apache-2.0

package lbsync

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// DriftPolicy is what becomes of what somebody else changed on a CLB.
type DriftPolicy string

// The policies. The zero value is RepairDrift.
const (
	RepairDrift DriftPolicy = "repair" // set right, and told
	ReportDrift DriftPolicy = "report" // told, and left as found until something else is desired there
)

// Deviation is a kind of difference, and a metric's label.
type Deviation string

// The deviations.
const (
	InstanceMissing  Deviation = "instance_missing"
	InstanceName     Deviation = "instance_name"
	InstanceSettings Deviation = "instance_settings"
	ListenerMissing  Deviation = "listener_missing"
	ListenerAdded    Deviation = "listener_added"
	ListenerSettings Deviation = "listener_settings"
	TargetMissing    Deviation = "target_missing"
	TargetAdded      Deviation = "target_added"
	TargetWeight     Deviation = "target_weight"
)

// Difference is one thing of a CLB that is not as it was left. It is comparable.
type Difference struct {
	What    Deviation
	Binding // the target; without Target it is the listener, without Listener the CLB
	Was, Is Item
}

// Item is a listener, a target or a CLB at some time. The zero value is that there was none.
type Item struct {
	Present  bool
	Name     string   // of a CLB
	ID       string   // of a CLB
	Settings string   // of a CLB: its Attributes
	Listener Listener // of a listener
	Weight   int      // of a target
}

// String says what differs, as a phrase: the same for the same difference.
func (d Difference) String() string {
	switch d.What {
	case InstanceMissing:
		return fmt.Sprintf("CLB %s is gone, or has lost its tags", d.Was.ID)
	case InstanceName:
		return fmt.Sprintf("CLB %s is called %q, was %q", d.Is.ID, d.Is.Name, d.Was.Name)
	case InstanceSettings:
		return fmt.Sprintf("CLB %s has %s, had %s", d.Is.ID, d.Is.Settings, d.Was.Settings)
	case ListenerMissing:
		if d.Is.Present {
			return fmt.Sprintf("listener %s is called %q, so it is not this controller's any more", d.Listener, d.Is.Listener.Name)
		}
		return fmt.Sprintf("listener %s is gone", d.Listener)
	case ListenerAdded:
		return fmt.Sprintf("listener %s is new", d.Listener)
	case ListenerSettings:
		return fmt.Sprintf("listener %s has %s", d.Listener, otherwise(d.Was.Listener, d.Is.Listener))
	case TargetMissing:
		return fmt.Sprintf("target %s is gone, had weight %d", d.Binding, d.Was.Weight)
	case TargetAdded:
		return fmt.Sprintf("target %s is new, with weight %d", d.Binding, d.Is.Weight)
	}
	return fmt.Sprintf("target %s has weight %d, had %d", d.Binding, d.Is.Weight, d.Was.Weight)
}

// otherwise names the settings that differ.
func otherwise(was, is Listener) string {
	var parts []string
	for _, s := range []struct {
		name    string
		was, is any
	}{
		{"ID", was.ID, is.ID}, {"name", was.Name, is.Name},
		{"check", was.Check.String(), is.Check.String()}, {"check domain", was.Check.Domain, is.Check.Domain},
		{"check interval", was.Check.Interval, is.Check.Interval}, {"check timeout", was.Check.Timeout, is.Check.Timeout},
		{"healthy threshold", was.Check.Healthy, is.Check.Healthy}, {"unhealthy threshold", was.Check.Unhealthy, is.Check.Unhealthy},
		{"check details", was.Check.unusual(), is.Check.unusual()}, {"session", was.SessionExpire, is.SessionExpire},
		{"scheduler", was.Scheduler.String(), is.Scheduler.String()}, {"idle timeout", was.IdleTimeout, is.IdleTimeout},
		{"certificate", was.Certificate.String(), is.Certificate.String()}, {"SNI", was.SNI, is.SNI}, {"keep-alive", was.KeepAlive, is.KeepAlive},
		{"forward type", cmp.Or(was.ForwardType, "HTTP"), cmp.Or(is.ForwardType, "HTTP")}, {"default domain", was.Default, is.Default},
	} {
		if s.was != s.is {
			parts = append(parts, fmt.Sprintf("%s %v, was %v", s.name, s.is, s.was))
		}
	}
	return strings.Join(parts, " and ")
}

// Drift returns how a CLB differs from what was last read of it or written to it, sorted; nil if it does not.
// Both are what was actual at their time. Listeners that are not ours count on neither side; the targets of
// a listener that came or went are not named.
func Drift(remembered, observed LoadBalancer) []Difference {
	if !remembered.Present {
		return nil
	}
	was, is := remembered.Instance, observed.Instance
	if !observed.Present || was.ID != is.ID {
		return []Difference{{What: InstanceMissing, Was: Item{Present: true, ID: was.ID, Name: was.Name}, Is: Item{Present: observed.Present, ID: is.ID, Name: is.Name}}}
	}
	var out []Difference
	if was.Name != is.Name {
		out = append(out, Difference{What: InstanceName, Was: Item{Present: true, ID: was.ID, Name: was.Name}, Is: Item{Present: true, ID: is.ID, Name: is.Name}})
	}
	if a, z := was.Attributes.String(), is.Attributes.String(); a != z {
		out = append(out, Difference{What: InstanceSettings, Was: Item{Present: true, ID: was.ID, Settings: a}, Is: Item{Present: true, ID: is.ID, Settings: z}})
	}
	out = append(out, driftOfListeners(remembered, observed)...)
	for _, b := range sortedBindings(both(remembered.Targets, observed.Targets)) {
		if !ours(remembered, b.Listener) || !ours(observed, b.Listener) {
			continue
		}
		a, before := remembered.Targets[b]
		z, now := observed.Targets[b]
		d := Difference{What: TargetWeight, Binding: b, Was: Item{Present: before, Weight: a}, Is: Item{Present: now, Weight: z}}
		switch {
		case !now:
			d.What = TargetMissing
		case !before:
			d.What = TargetAdded
		case a == z:
			continue
		}
		out = append(out, d)
	}
	return out
}

func driftOfListeners(remembered, observed LoadBalancer) []Difference {
	var out []Difference
	for _, k := range sortedListeners(both(remembered.Listeners, observed.Listeners)) {
		a, z := remembered.Listeners[k], observed.Listeners[k]
		_, still := observed.Listeners[k]
		d := Difference{What: ListenerSettings, Binding: Binding{Listener: k}, Was: Item{Present: true, Listener: a}, Is: Item{Present: still, Listener: z}}
		switch {
		case !a.Ours() && !z.Ours(), a == z:
			continue
		case !z.Ours():
			d.What = ListenerMissing
		case !a.Ours():
			d.What, d.Was = ListenerAdded, Item{}
		}
		out = append(out, d)
	}
	return out
}

func both[K comparable, V any](a, b map[K]V) map[K]V {
	out := maps.Clone(a)
	if out == nil {
		return b
	}
	maps.Copy(out, b)
	return out
}

func ours(lb LoadBalancer, k ListenerKey) bool { return lb.Listeners[k].Ours() }

// DriftText is a drift in one line, the same for the same drift, with ten differences at most and the number
// of the others.
func DriftText(drift []Difference) string {
	const most = 10
	var parts []string
	for _, d := range drift[:min(len(drift), most)] {
		parts = append(parts, d.String())
	}
	if more := len(drift) - most; more > 0 {
		parts = append(parts, fmt.Sprintf("and %d more", more))
	}
	return strings.Join(parts, "; ")
}

// Tolerance holds the differences that stay as they were found. nil is none.
type Tolerance map[Binding]Difference

// Add returns the tolerance with a drift in it. What is found a second time at one place replaces what was
// found there first, but what was there before it stays known. A CLB that is gone, or has another name, is
// not tolerated: the first is made anew, the second nobody minds.
func (t Tolerance) Add(drift []Difference) Tolerance {
	out := maps.Clone(t)
	for _, d := range drift {
		if d.What == InstanceMissing || d.What == InstanceName {
			continue
		}
		if first, again := t[d.Binding]; again {
			d.Was = first.Was
		}
		if out == nil {
			out = Tolerance{}
		}
		out[d.Binding] = d
	}
	return out
}

// Tolerate returns desired with what was found in the place of what drifted, and the tolerance that is left:
// a difference is tolerated as long as just what was there before is desired there, and what was found is
// there. Neither argument is changed.
func Tolerate(actual, desired LoadBalancer, t Tolerance) (LoadBalancer, Tolerance) {
	if len(t) == 0 || !desired.Present {
		return desired, nil
	}
	out, left := desired.Clone(), Tolerance{}
	for b, d := range t {
		if d.What == InstanceSettings {
			if actual.Instance.Attributes.String() == d.Is.Settings && desired.Instance.over(actual.Instance.Attributes).String() == d.Was.Settings {
				left[b] = d
				out.Instance.Attributes = Attributes{}
			}
			continue
		}
		if !same(item(desired, b), d.Was) || !same(item(actual, b), d.Is) {
			continue
		}
		left[b] = d
		if b.Target != (Target{}) {
			set(out.Targets, b, d.Is.Weight, d.Is.Present)
			continue
		}
		maps.DeleteFunc(out.Targets, func(o Binding, _ int) bool { return o.Listener == b.Listener && d.What != ListenerSettings })
		if d.Is.Present && !d.Is.Listener.Ours() {
			continue // somebody else's: never touched anyway, and said to be in the way
		}
		set(out.Listeners, b.Listener, d.Is.Listener, d.Is.Present)
		for o, weight := range actual.Targets {
			if d.What == ListenerAdded && o.Listener == b.Listener {
				out.Targets[o] = weight
			}
		}
	}
	maps.DeleteFunc(out.Targets, func(b Binding, _ int) bool { _, there := out.Listeners[b.Listener]; return !there })
	maps.DeleteFunc(out.Idle, func(k ListenerKey, _ bool) bool { _, there := out.Listeners[k]; return !there })
	if len(left) == 0 {
		return out, nil
	}
	return out, left
}

func set[K comparable, V any](m map[K]V, k K, v V, present bool) {
	if present {
		m[k] = v
	} else {
		delete(m, k)
	}
}

// item returns what a CLB has at a place.
func item(lb LoadBalancer, b Binding) Item {
	if b.Target == (Target{}) {
		l, there := lb.Listeners[b.Listener]
		return Item{Present: there, Listener: l}
	}
	weight, there := lb.Targets[b]
	return Item{Present: there, Weight: weight}
}

// same reports whether two items are alike but for the IDs that CLB gave them.
func same(a, b Item) bool {
	a.Listener.ID = b.Listener.ID
	return a == b
}

// Differences returns what is tolerated, sorted.
func (t Tolerance) Differences() []Difference {
	return slices.SortedFunc(maps.Values(t), func(a, b Difference) int {
		return cmp.Or(a.Listener.compare(b.Listener), a.compare(b.Binding))
	})
}
