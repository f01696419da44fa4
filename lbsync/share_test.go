// SPDX-License-Identifier: Apache-2.0

package lbsync

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/clbsync/clbsync/internal/kubetest"
	"github.com/clbsync/clbsync/lbsync/annotation"
)

// sharers returns up to four Services on one CLB, each whole, broken in some way, or leaving.
func sharers(r *rand.Rand) []Service {
	var out []Service
	for n := range 1 + r.IntN(4) {
		name := fmt.Sprintf("s%d", n)
		svc := Service{Service: kubetest.Service(name, func(s *corev1.Service) {
			s.CreationTimestamp = metav1.NewTime(time.Unix(r.Int64N(5), 0))
			s.Spec.Ports = nil
			for range 1 + r.IntN(3) {
				port := 80 + r.Int32N(5)
				s.Spec.Ports = append(s.Spec.Ports, corev1.ServicePort{Name: fmt.Sprintf("p%d", len(s.Spec.Ports)), Protocol: corev1.ProtocolTCP, Port: port, NodePort: 30000 + 100*int32(n) + port})
			}
		}), Options: annotation.Options{ExistingID: "lb-theirs"}}
		switch r.IntN(8) {
		case 0:
			svc.Options.Skip = true
		case 1:
			svc.Options.PlanOnly = true
		case 2:
			svc.Problems = []annotation.Problem{{Name: "x", Blocking: true}}
		case 3:
			svc.Leaving = true
		case 4:
			svc.Options.CrossVPC = "vpc-another1"
		case 5:
			svc.Options.ExistingID = "lb-other"
		}
		out = append(out, svc)
	}
	slices.SortFunc(out, ByClaim)
	return out
}

// TestWhatServicesThatShareDoToEachOther tells random stories of Services on one CLB and holds, at every step: what is not ours
// is not touched, what belongs to a Service that stays as it is is not touched, nobody takes a place from a Service that has it and
// wants it, those that leave leave nothing, and it ends.
func TestWhatServicesThatShareDoToEachOther(t *testing.T) {
	for seed := range uint64(400) {
		r := rand.New(rand.NewPCG(seed, 1))
		theirs := ListenerKey{Protocol: TCP, Port: 82}
		cloud := &fakeCloud{now: time.Unix(0, 0), born: map[Binding]time.Time{}, lb: LoadBalancer{Present: true, Instance: Instance{ID: "lb-theirs", VPCID: "vpc-2ab3c4d5", Tags: map[string]string{TagCluster: "cls-demo"}},
			Listeners: map[ListenerKey]Listener{theirs: {ListenerKey: theirs, ID: "lbl-theirs", Name: "by hand"}}, Targets: map[Binding]int{}}}
		actual := cloud.lb.Clone()
		settings := DefaultSettings()
		settings.ClusterID, settings.VPCID = "cls-demo", "vpc-2ab3c4d5"
		for range 4 {
			s := Snapshot{Settings: settings, Services: sharers(r), Nodes: kubetest.Nodes(3), Existing: "lb-theirs", Actual: actual}
			for step := 0; ; step++ {
				s.Actual = actual
				desired, _ := Desired(s)
				plan := Diff(actual, desired)
				held := map[types.UID]bool{}
				for _, svc := range s.Services {
					held[svc.UID] = svc.Options.Skip || svc.Options.PlanOnly || !svc.Leaving && s.Stays(svc)
					if own := plan.Of(svc.UID, actual, desired); held[svc.UID] && !own.Empty() {
						t.Fatalf("seed %d: %s stays as it is, and the plan has\n%s", seed, svc.Name, own)
					}
				}
				if plan.Empty() {
					for _, svc := range s.Services {
						if svc.Leaving && !held[svc.UID] && actual.Has(svc.UID) {
							t.Fatalf("seed %d: %s has left, and its listeners have not", seed, svc.Name)
						}
					}
					break
				}
				if step > 3 {
					t.Fatalf("seed %d: no end; left is\n%s", seed, plan)
				}
				if plan.ModifyInstance != nil || plan.Delete != nil || plan.Create != nil {
					t.Fatalf("seed %d: a CLB that a person made is not ours to change:\n%s", seed, plan)
				}
				before := actual
				var err error
				if actual, err = plan.Apply(t.Context(), cloud, actual); err != nil {
					t.Fatalf("seed %d: %v\nplan:\n%s", seed, err, plan)
				}
				if diff := cmp.Diff(before.Listeners[theirs], actual.Listeners[theirs]); diff != "" {
					t.Fatalf("seed %d: a person's listener was touched:\n%s", seed, diff)
				}
				for k, l := range before.Listeners {
					i := slices.IndexFunc(s.Services, func(svc Service) bool { return ListenerName(string(svc.UID)) == l.Name })
					if i < 0 || s.Services[i].Leaving || actual.Listeners[k].Name == l.Name {
						continue
					}
					if slices.ContainsFunc(s.Services[i].Spec.Ports, func(p corev1.ServicePort) bool { return uint16(p.Port) == k.Port }) {
						t.Fatalf("seed %d: %s was taken from %s, which has it and wants it:\n%s", seed, k, s.Services[i].Name, plan)
					}
				}
			}
		}
	}
}

func TestAListenerOfNobodyStays(t *testing.T) {
	settings := DefaultSettings()
	settings.ClusterID, settings.VPCID = "cls-demo", "vpc-2ab3c4d5"
	key := ListenerKey{Protocol: TCP, Port: 90}
	for name, tags := range map[string]map[string]string{"tagged": {TagCluster: "cls-demo"}, "not tagged": {}, "another's": {TagCluster: "cls-other"}} {
		svc := Service{Service: kubetest.Service("web"), Options: annotation.Options{ExistingID: "lb-theirs"}}
		actual := LoadBalancer{Present: true, Instance: Instance{ID: "lb-theirs", VPCID: "vpc-2ab3c4d5", Tags: tags},
			Listeners: map[ListenerKey]Listener{key: {ListenerKey: key, ID: "lbl-1", Name: ListenerName("gone")}}}
		for _, services := range [][]Service{{svc}, nil} {
			desired, _ := Desired(Snapshot{Settings: settings, Services: services, Nodes: kubetest.Nodes(1), Existing: "lb-theirs", Actual: actual})
			if plan := Diff(actual, desired); len(plan.DeleteListeners) > 0 || services == nil && !plan.Empty() {
				t.Errorf("%s, with %d Services: the plan is\n%s", name, len(services), plan)
			}
		}
	}
}

func TestWhatTheTagOfASharedCLBIsToSay(t *testing.T) {
	settings := DefaultSettings()
	settings.ClusterID, settings.VPCID = "cls-demo", "vpc-2ab3c4d5"
	ours := map[string]string{"team": "a", TagCluster: "cls-demo"}
	leaves := func(s *Service) { s.Leaving = true }
	for name, c := range map[string]struct {
		tags  map[string]string
		there string // the UID of the Service that has TCP:80; "": none has
		named string // a listener on TCP:90 that others made; "": there is none
		mods  []func(*Service)
		plan  string // of the tag
	}{
		"it is used":                   {tags: map[string]string{"team": "a"}, plan: "none -> cls-demo"},
		"it says so already":           {tags: ours, there: "web"},
		"it is used by another":        {tags: map[string]string{TagCluster: "cls-other"}},
		"it is to be planned for only": {mods: []func(*Service){func(s *Service) { s.Options.PlanOnly = true }}},
		"nothing is to be written":     {mods: []func(*Service){func(s *Service) { s.Options.Skip = true }}},
		"the last leaves":              {tags: ours, there: "web", mods: []func(*Service){leaves}, plan: "cls-demo -> none"},
		"it leaves nothing behind":     {tags: ours, mods: []func(*Service){leaves}, plan: "cls-demo -> none"},
		"something stays behind":       {tags: ours, there: "gone", mods: []func(*Service){leaves}},
		"it leaves its own behind":     {tags: ours, there: "web", mods: []func(*Service){leaves, func(s *Service) { s.Options.Skip = true }}},
		"a person's listener stays":    {tags: ours, there: "web", named: "ssh", mods: []func(*Service){leaves}, plan: "cls-demo -> none"},
		"TKE's controller uses it too": {tags: ours, there: "web", named: "TKE-LISTENER", mods: []func(*Service){leaves}},
		"it leaves another's CLB":      {tags: map[string]string{TagCluster: "cls-other"}, mods: []func(*Service){leaves}},
	} {
		svc := Service{Service: kubetest.Service("web"), Options: annotation.Options{ExistingID: "lb-theirs"}}
		for _, mod := range c.mods {
			mod(&svc)
		}
		actual := LoadBalancer{Present: true, Instance: Instance{ID: "lb-theirs", VPCID: "vpc-2ab3c4d5", Tags: c.tags}, Listeners: map[ListenerKey]Listener{}}
		if key := (ListenerKey{Protocol: TCP, Port: 80}); c.there != "" {
			actual.Listeners[key] = Listener{ListenerKey: key, ID: "lbl-1", Name: ListenerName(c.there)}
		}
		if key := (ListenerKey{Protocol: TCP, Port: 90}); c.named != "" {
			actual.Listeners[key] = Listener{ListenerKey: key, ID: "lbl-2", Name: c.named}
		}
		desired, _ := Desired(Snapshot{Settings: settings, Services: []Service{svc}, Nodes: kubetest.Nodes(1), Existing: "lb-theirs", Actual: actual})
		got := ""
		for line := range strings.Lines(Diff(actual, desired).String()) {
			if text, is := strings.CutPrefix(line, "~ clb lb-theirs tag tke-clusterId "); is {
				got = strings.TrimSpace(text)
			}
		}
		if got != c.plan {
			t.Errorf("%s: the tag is planned to change %q, want %q", name, got, c.plan)
		}
	}
}

// refusing refuses everything about tags.
type refusing struct {
	*fakeCloud
	kind Kind
}

func (r refusing) Tag(context.Context, string, string, string) error {
	return &Error{Kind: r.kind, Action: "TagResources", Err: errors.New("no")}
}

func (r refusing) Untag(context.Context, string, string) error {
	return &Error{Kind: r.kind, Action: "UnTagResources", Err: errors.New("no")}
}

func TestATagThatCannotBeSetOrTakenOffKeepsNothingElse(t *testing.T) {
	for _, c := range []struct {
		to     string
		kind   Kind
		passes bool // it fails, and is to be tried again
	}{{"cls-demo", Denied, false}, {"cls-demo", Unknown, false}, {"", Denied, false}, {"", Quota, false}, {"", NotFound, false}, {"", Unknown, true}, {"", Throttled, true}} {
		w := newWorld()
		w.make("lb-theirs")
		key := ListenerKey{Protocol: TCP, Port: 80}
		p := Plan{Tag: &TagChange{CLB: "lb-theirs", Key: TagCluster, To: c.to}, CreateListeners: []Listener{{ListenerKey: key, Name: ListenerName("web")}}}
		now, err := p.Apply(t.Context(), refusing{w.cloud, c.kind}, w.actual)
		refusals, only := OnlyRefused(err)
		if now.Listeners[key].ID == "" {
			t.Errorf("%q, %s: the listener is not made", c.to, c.kind)
		}
		switch {
		case c.passes && only, !c.passes && !only && err != nil, c.kind != NotFound && err == nil:
			t.Errorf("%q, %s: %v", c.to, c.kind, err)
		case only:
			desired := LoadBalancer{Present: true, Instance: Instance{UsedBy: &c.to}}
			if !refusals[0].Of(w.actual, desired) || refusals.Without(w.actual, desired).Instance.UsedBy != nil || p.Without(refusals).Tag != nil {
				t.Errorf("%q: what was refused is not left out", c.to)
			}
			if s := refusals[0].Skip(); s.Reason != NotTagged || !s.Warning || !strings.Contains(s.Message, "CLB lb-theirs ") {
				t.Errorf("%q: %+v", c.to, s)
			}
		}
	}
}
