// SPDX-License-Identifier: Apache-2.0

package lbsync

import (
	"cmp"
	"maps"
	"slices"

	"github.com/clbsync/clbsync/lbsync/annotation"
)

// asked returns the attributes that a Service asks for: what its annotations say, and the undoing of what annotations that
// are gone have said before. Without either, an attribute stays as it is; so it does while its annotation is there and cannot be
// followed: a typo must not open or close anything.
func asked(o annotation.Options, order *Order, problems []annotation.Problem) Attributes {
	a := Attributes{SecurityGroups: o.SecurityGroups, PassToTarget: o.PassToTarget, DeleteProtect: o.DeleteProtect}
	if order != nil {
		a.PassToTarget = cmp.Or(order.LoadBalancerPassToTarget, a.PassToTarget)
		a.SnatPro = order.SnatPro
	}
	for _, u := range undoable {
		unclear := annotation.Unfollowed(problems, u.annotation) || u.parameter && annotation.Unfollowed(problems, annotation.CreateParams)
		if a.Text(u.attribute) == "" && slices.Contains(o.Applied, u.annotation) && !unclear {
			a = u.none.over(a)
		}
	}
	return a
}

// undoable is what is undone when its annotation goes, and how a CLB is that never had it.
var undoable = []struct {
	annotation string
	attribute  Attribute
	none       Attributes
	parameter  bool // annotation.CreateParams may ask for it too, and what that asked for is undone as well
}{
	{annotation.SecurityGroups, AttributeSecurityGroups, Attributes{SecurityGroups: []string{}}, false},
	{annotation.PassToTarget, AttributePassToTarget, Attributes{PassToTarget: new(false)}, true},
	{annotation.DeleteProtection, AttributeDeleteProtect, Attributes{DeleteProtect: new(false)}, false},
}

// Applied returns the names of the annotations whose effect on a CLB has to be undone when they go, sorted: those that are
// there, and those that are gone and not undone yet. Of before, which goes to the Service before the CLB is changed, none is
// taken to be undone: the program may end in between.
func Applied(o annotation.Options, actual Instance, before bool) []string {
	names := map[string]bool{}
	if o.ExistingID != "" && actual.Tags[TagCreatedBy] == "" || slices.Contains(o.Applied, annotation.ExistingID) {
		names[annotation.ExistingID] = true
	}
	now := asked(annotation.Options{SecurityGroups: o.SecurityGroups, PassToTarget: o.PassToTarget, DeleteProtect: o.DeleteProtect}, o.Create, nil)
	for _, u := range undoable {
		pending := slices.Contains(o.Applied, u.annotation) && (before || actual.Text(u.attribute) != u.none.Text(u.attribute))
		if now.Text(u.attribute) != "" || pending {
			names[u.annotation] = true
		}
	}
	return slices.Sorted(maps.Keys(names))
}
