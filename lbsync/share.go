// SPDX-License-Identifier: Apache-2.0

package lbsync

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/types"

	"github.com/clbsync/clbsync/lbsync/annotation"
)

// stays reports whether the listeners of a Service stay as they are on a CLB that others share, and why: one Service that
// is to be mended, or wants to be left alone, must not cost the others anything, nor lose what it has.
func (s Snapshot) stays(svc Service) ([]Skip, bool) {
	ranges, wrong := SourceRanges(svc)
	skips := append(manifestSkips(svc, s.served(svc)), rangeSkips(svc, ranges, wrong, s.served(svc), s.theirs(svc))...)
	skips = append(skips, s.adoption(svc)...)
	return of(svc, skips), Blocked(skips) || svc.Options.PlanOnly
}

// Stays reports whether what a Service has on a CLB that somebody made stays as it is, until the Service is mended or released.
func (s Snapshot) Stays(svc Service) bool {
	_, stays := s.stays(svc)
	return stays
}

// of notes whose the skips are.
func of(svc Service, skips []Skip) []Skip {
	for i := range skips {
		skips[i].Service = svc.UID
	}
	return skips
}

// handsOff returns a Skip if the author of a Service wants nothing to be written for it.
func handsOff(svc Service) []Skip {
	if !svc.Options.Skip {
		return nil
	}
	return []Skip{{Object: "annotation " + annotation.TKEMode, Reason: HandsOff, Warning: true, Blocking: true,
		Message: fmt.Sprintf("Annotation %s is \"skip\": nothing in the cloud is changed for the Service, and if it is deleted, its CLB and listeners stay; remove the annotation to let everything go on", annotation.TKEMode)}}
}

// adoption returns what keeps a Service from using the CLB that somebody made and that its annotation names.
func (s Snapshot) adoption(svc Service) []Skip {
	if s.Existing == "" || !s.Actual.Present {
		return nil
	}
	i := s.Actual.Instance
	var skips []Skip
	skip := func(reason Reason, blocking bool, format string, args ...any) {
		skips = append(skips, Skip{Object: "clb " + s.Existing, Reason: reason, Warning: true, Blocking: blocking, Message: fmt.Sprintf("CLB %s ", s.Existing) + fmt.Sprintf(format, args...)})
	}
	if asks := svc.Options.ExistingID; asks != s.Existing {
		skip(CreateTimeOnly, false, "serves the Service and stays so, though the manifest asks for %s: a Service that has a CLB keeps it; to change over, and get another address, set spec.type to ClusterIP and back", cmp.Or(asks, "a new one"))
	}
	switch {
	case i.Tags[TagCreatedBy] != "" || i.Tags[TagService] != "":
		skip(NotForSharing, true, "was bought for a Service (tags %s %q and %s %q) and goes with it, so no other Service may use it (E4012 in TKE); name a CLB that a person made", TagCreatedBy, i.Tags[TagCreatedBy], TagService, i.Tags[TagService])
	case i.Tags[TagCluster] != "" && i.Tags[TagCluster] != s.Settings.ClusterID:
		skip(OtherCluster, true, "is used by the cluster %s, as its tag %s says (E4013 in TKE), and this is %s; name another CLB, or take the tag off if that cluster is gone", i.Tags[TagCluster], TagCluster, s.Settings.ClusterID)
	case svc.Options.CrossVPC != "" && svc.Options.CrossVPC != i.VPCID:
		skip(OtherVPC, !s.served(svc), "is in %s, not in %s, as the annotation %s says; mend it", i.VPCID, svc.Options.CrossVPC, annotation.CrossVPC)
	case svc.Options.CrossVPC == "" && svc.Options.CrossRegion == "" && i.VPCID != s.Settings.VPCID:
		skip(OtherVPC, !s.served(svc), "is in %s, and the cluster in %s, whose nodes it does not reach; name a CLB of that VPC, or set %s to bind the nodes through CCN", i.VPCID, s.Settings.VPCID, annotation.CrossVPC)
	}
	return skips
}

// NotFoundSkip says to a Service that the CLB that it names is not there.
func NotFoundSkip(svc Service, id, region string) Skip {
	return of(svc, []Skip{{Object: "clb " + id, Reason: NoSuchLoadBalancer, Warning: true, Blocking: true, Message: fmt.Sprintf(
		"CLB %s, which the annotation %s names, does not exist%s (E4011 in TKE): nothing is done for the Service; mend the ID, or make the CLB", id, annotation.ExistingID, in(region))}})[0]
}

func in(region string) string {
	if region == "" {
		return " in the cluster's region"
	}
	return " in " + region
}

// share puts together what Services that share a CLB ask for. A place that several want is that of the Service that has it
// on the CLB already, else that of the first.
func (s Snapshot) share(lb *LoadBalancer, parts []part) []Skip {
	var skips []Skip
	known := map[string]bool{}
	for _, svc := range s.Services {
		known[ListenerName(string(svc.UID))] = true
	}
	there := map[ListenerKey]Listener{} // by place: a rule has that of its parent
	for k, l := range s.Actual.Listeners {
		if !k.Rule() {
			there[k.port()] = l
		}
	}
	winner := map[ListenerKey]int{} // by place
	for n, p := range parts {
		for _, k := range sortedListeners(p.lb.Listeners) {
			if _, taken := winner[k.port()]; !taken || there[k.port()].Name == p.name() {
				winner[k.port()] = n
			}
		}
	}
	for n, p := range parts {
		won := map[ListenerKey]bool{}
		for _, k := range sortedListeners(p.lb.Listeners) {
			wins := winner[k.port()]
			first := parts[wins]
			other, then := first.svc.Namespace+"/"+first.svc.Name, ""
			if have, taken := there[k.port()]; wins == n && taken && have.keeps(known) {
				wins, other = -1, fmt.Sprintf("%s, whose Service (UID %s) is gone or another cluster's,", have.ID, have.service())
				then = "delete it in the console if nobody needs it, or "
			}
			if wins == n {
				won[k] = true
				continue
			}
			if k.Rule() {
				continue // said of its parent
			}
			skips = append(skips, of(p.svc, []Skip{{Object: "listener " + k.String(), Reason: PortTaken, Warning: true,
				Message: fmt.Sprintf("Listener %s of CLB %s is left out: %s has its place (E4014 in TKE); %suse another port, or another CLB", k, s.Existing, other, then)}})...)
		}
		lb.take(p.lb, won)
	}
	left := map[ListenerKey]bool{}
	for k, l := range s.Actual.Listeners {
		if l.keeps(known) {
			left[k] = true
		}
	}
	lb.take(s.Actual, left)
	return skips
}

// keeps reports whether a listener that has our mark and no Service of the snapshot stays, as one that a person made does. It may
// be another cluster's, or that of a Service that was deleted and wanted it to stay: nothing in the cloud says which, and what
// said so in the cluster went with the Service. known are the names of the listeners of all Services.
func (l Listener) keeps(known map[string]bool) bool { return l.Ours() && !known[l.Name] }

// service is the UID of the Service that the name of a listener of ours says.
func (l Listener) service() types.UID {
	return types.UID(strings.TrimPrefix(l.Name, listenerMark))
}

// part is what one of several Services asks for.
type part struct {
	svc Service
	lb  LoadBalancer
}

func (p part) name() string { return ListenerName(string(p.svc.UID)) }

// take adds listeners of another CLB, with all that hangs on them.
func (l *LoadBalancer) take(from LoadBalancer, listeners map[ListenerKey]bool) {
	for b, weight := range from.Targets {
		if listeners[b.Listener] {
			l.Targets[b] = weight
		}
	}
	for k := range listeners {
		l.Listeners[k] = from.Listeners[k]
		if from.Idle[k] {
			l.Idle[k] = true
		}
		if a, ok := from.Answering[k]; ok {
			l.Answering[k] = a
		}
		if from.Waiting[k] {
			if l.Waiting == nil {
				l.Waiting = map[ListenerKey]bool{}
			}
			l.Waiting[k] = true
		}
		if from.RemovalAllowed {
			if l.Released == nil {
				l.Released = map[ListenerKey]bool{}
			}
			l.Released[k] = true
		}
	}
}

// Of returns the part of a CLB that is a Service's: the listeners of its name, or in its places where others have none. As
// actual, the places come from desired.
func (l LoadBalancer) Of(svc types.UID, desired LoadBalancer) LoadBalancer {
	out, name := l, ListenerName(string(svc))
	var wanted []ListenerKey
	for k, listener := range desired.Listeners {
		if listener.Name == name && !k.Rule() {
			wanted = append(wanted, k)
		}
	}
	mine := func(k ListenerKey) bool {
		have := l.Listeners[k]
		return have.Name == name || desired.Listeners[k].Name == name && !have.Ours() || have.EndPort != 0 && slices.ContainsFunc(wanted, have.covers)
	}
	out.Listeners, out.Targets, out.Idle = map[ListenerKey]Listener{}, map[Binding]int{}, map[ListenerKey]bool{}
	for k, listener := range l.Listeners {
		if mine(k) {
			out.Listeners[k] = listener
		}
	}
	for b, weight := range l.Targets {
		if mine(b.Listener) {
			out.Targets[b] = weight
		}
	}
	for k := range l.Idle {
		if mine(k) {
			out.Idle[k] = l.Idle[k]
		}
	}
	return out
}

// Whose returns the UID of the Service that a listener belongs to, or is to belong to; "" if it is nobody's of ours.
func Whose(k ListenerKey, actual, desired LoadBalancer) types.UID {
	for _, lb := range []LoadBalancer{desired, actual} {
		if l, there := lb.Listeners[k]; there && l.Ours() {
			return l.service()
		}
	}
	return ""
}

// Whose returns the UID of the Service that a refusal is about; "" if it is about the CLB.
func (r Refusal) Whose(actual, desired LoadBalancer) types.UID {
	k := r.Binding.Listener
	if r.Binding.Target == (Target{}) {
		k = r.Listener.ListenerKey
	}
	return Whose(k, actual, desired)
}

// Of returns the part of the plan that is about a Service's listeners and their targets.
func (p Plan) Of(svc types.UID, actual, desired LoadBalancer) Plan {
	not := func(k ListenerKey, l Listener) bool {
		return cmp.Or(l.Name, ListenerName(string(Whose(k, actual, desired)))) != ListenerName(string(svc))
	}
	change := func(c Change) bool { return Whose(c.Listener, actual, desired) != svc }
	listener := func(l Listener) bool { return not(l.ListenerKey, l) }
	tag := p.Tag
	if tag != nil && tag.To != "" && !desired.Has(svc) {
		tag = nil // It is for others that it is set.
	}
	return Plan{
		Tag:             tag,
		CreateListeners: slices.DeleteFunc(slices.Clone(p.CreateListeners), listener),
		ModifyListeners: slices.DeleteFunc(slices.Clone(p.ModifyListeners), func(c ListenerChange) bool { return listener(c.To) }),
		DeleteListeners: slices.DeleteFunc(slices.Clone(p.DeleteListeners), listener),
		Register:        slices.DeleteFunc(slices.Clone(p.Register), change),
		Reweight:        slices.DeleteFunc(slices.Clone(p.Reweight), change),
		Deregister:      slices.DeleteFunc(slices.Clone(p.Deregister), change),
	}
}

// PlanOf returns what would be changed for a Service on the CLB that it shares if it did not ask for the plan only. unsure: see
// Keep.
func (s Snapshot) PlanOf(svc types.UID, unsure bool) Plan {
	s.Services = slices.Clone(s.Services)
	for i := range s.Services {
		if s.Services[i].UID == svc {
			s.Services[i].Options.PlanOnly = false
		}
	}
	desired, _ := Desired(s)
	desired = s.KeepPods(s.Actual, Complete(s.Actual, desired))
	if unsure {
		desired = s.Keep(s.Actual, desired)
	}
	return Diff(s.Actual, desired).Of(svc, s.Actual, desired)
}

// Has reports whether a Service has a listener on the CLB: the proof that it is served there.
func (l LoadBalancer) Has(svc types.UID) bool {
	name := ListenerName(string(svc))
	return slices.ContainsFunc(slices.Collect(maps.Values(l.Listeners)), func(one Listener) bool { return one.Name == name })
}

// ByClaim orders Services as they lay claim to places on a CLB: the older first.
func ByClaim(a, b Service) int {
	return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
}
