// SPDX-License-Identifier: Apache-2.0

package lbsync

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/clbsync/clbsync/lbsync/annotation"
)

// Refusal is a change that CLB refused for good, alone: asked for again it would refuse it again.
type Refusal struct {
	Binding  Binding  // a target; its Target is zero if the listener itself is meant
	Listener Listener // the settings that were refused, if the listener itself is meant

	Attribute Attribute // an attribute of the CLB; "": a target or a listener is meant
	Value     string    // of the attribute, as Attributes.Text says it
	CLB       string    // with AttributeUsedBy: whose tag it is
	Err       error
}

// Refusals is an error that says exactly what was refused. Everything else was carried out.
type Refusals []Refusal

func (r Refusals) Error() string {
	var parts []string
	for i, one := range r {
		if i == 3 {
			parts = append(parts, fmt.Sprintf("and %d more", len(r)-i))
			break
		}
		parts = append(parts, fmt.Sprintf("%s: %v", one.Object(), one.Err))
	}
	return strings.Join(parts, "; ")
}

func (r Refusals) Unwrap() []error {
	errs := make([]error, len(r))
	for i, one := range r {
		errs[i] = one.Err
	}
	return errs
}

// OnlyRefused returns the refusals that an error consists of. Refusals beside another error are not meant: what else
// was asked for need not have happened then, and taken for done it would be missing until the next verification.
func OnlyRefused(err error) (Refusals, bool) {
	r, ok := err.(Refusals) //nolint:errorlint // a tree with something else in it is something else
	return r, ok
}

// Object names what was refused.
func (r Refusal) Object() string {
	if r.Attribute != "" {
		return fmt.Sprintf("setting %s of the CLB to %s", r.Attribute, r.Value)
	}
	if r.Binding.Target == (Target{}) {
		return r.Listener.what()
	}
	return "target " + r.Binding.String()
}

// Same reports whether two refusals are of the same thing, whatever CLB said of it.
func (r Refusal) Same(o Refusal) bool {
	return r.Attribute == o.Attribute && r.Value == o.Value && r.Binding == o.Binding && sameSettings(r.Listener, o.Listener)
}

// Of reports whether it still matters: desired asks for what was refused and it is not there, or the target is there and may
// be to go, which is asked for by leaving it out. Nobody asks for a listener whose place another one has that is not ours.
func (r Refusal) Of(actual, desired LoadBalancer) bool {
	if r.Attribute == AttributeUsedBy {
		used := desired.Instance.UsedBy
		return used != nil && *used == r.Value
	}
	if r.Attribute != "" {
		return desired.Instance.Text(r.Attribute) == r.Value
	}
	if r.Binding.Target == (Target{}) {
		k := r.Listener.ListenerKey
		l, wanted := desired.Listeners[k]
		have, there := actual.Listeners[k]
		_, taken := actual.foreigners().at(k)
		return wanted && sameSettings(l, r.Listener) && !taken && (!there || !sameSettings(have, l))
	}
	weight, wanted := desired.Targets[r.Binding]
	was, there := actual.Targets[r.Binding]
	return (wanted || there) && (!wanted || !there || was != weight)
}

// restricts reports whether the attribute keeps somebody out.
func (a Attribute) restricts() bool {
	return a == AttributeSecurityGroups || a == AttributeSourceRanges
}

// exposes reports whether security groups are among what was refused: what is not open yet must not become so without them.
func (r Refusals) exposes() bool {
	return slices.ContainsFunc(r, func(one Refusal) bool { return one.Attribute.restricts() })
}

// Skip says to the Service's author what is left out.
func (r Refusal) Skip() Skip {
	if r.Attribute == AttributeUsedBy {
		return r.notTagged()
	}
	if r.Attribute == AttributeSourceRanges {
		return Skip{Object: r.Object(), Reason: Refused, Warning: true,
			Message: fmt.Sprintf("The %s was refused: what is bound stays, and no listener is opened that is not there yet: %v", r.Object(), r.Err)}
	}
	if r.Attribute == AttributeSecurityGroups {
		return Skip{Object: r.Object(), Reason: Refused, Warning: true,
			Message: fmt.Sprintf("CLB refuses the %s: what is bound stays, and no listener is opened that is not there yet; mend the annotation %s: %v", r.Object(), annotation.SecurityGroups, r.Err)}
	}
	return Skip{Object: r.Object(), Reason: Refused, Warning: true,
		Message: fmt.Sprintf("CLB refuses the %s, which stays as it is; everything else goes on: %v", r.Object(), r.Err)}
}

// Refusable reports whether an error of the cloud is about the request alone, so that a part of the request
// may succeed, and the rest will fail again. A conflict over a listener or target is: what has its place is somebody else's,
// or was not known, and no reason to leave everything else on the CLB as it is.
func Refusable(err error) bool {
	kind := KindOf(err)
	return kind == Invalid || kind == Quota || kind == Conflict
}

// Without returns desired as far as nothing in it was refused: what was refused stays as it is in actual, or
// stays away. One target that CLB does not take would otherwise keep all others from being drained: they
// would wait for it for ever.
func (r Refusals) Without(actual, desired LoadBalancer) LoadBalancer {
	if len(r) == 0 {
		return desired
	}
	out := desired.Clone()
	for _, one := range r {
		if one.Attribute == AttributeUsedBy {
			if used := out.Instance.UsedBy; used != nil && *used == one.Value {
				out.Instance.UsedBy = nil
			}
			continue
		}
		if one.Attribute != "" {
			one.withoutAttribute(actual, &out)
			continue
		}
		if one.Binding.Target == (Target{}) {
			one.withoutListener(actual, out)
			continue
		}
		if _, wanted := out.Listeners[one.Binding.Listener]; !wanted {
			continue
		}
		if weight, there := actual.Targets[one.Binding]; there {
			out.Targets[one.Binding] = weight
		} else {
			delete(out.Targets, one.Binding)
		}
	}
	return out
}

func (r Refusal) withoutAttribute(actual LoadBalancer, out *LoadBalancer) {
	if out.Instance.Text(r.Attribute) != r.Value {
		return // it is another by now: worth another try
	}
	out.Instance.Attributes = out.Instance.Attributes.Without(r.Attribute)
	if !r.Attribute.restricts() {
		return
	}
	maps.DeleteFunc(out.Listeners, func(k ListenerKey, _ Listener) bool { _, there := actual.Listeners[k]; return !there })
	maps.DeleteFunc(out.Targets, func(b Binding, _ int) bool { _, there := out.Listeners[b.Listener]; return !there })
}

func (r Refusal) withoutListener(actual, out LoadBalancer) {
	k := r.Listener.ListenerKey
	if want, ok := out.Listeners[k]; !ok || !sameSettings(want, r.Listener) {
		return // it is another by now: worth another try
	}
	if have, there := actual.Listeners[k]; there {
		out.Listeners[k] = have
		return
	}
	out.remove(k)
}
