// SPDX-License-Identifier: Apache-2.0

package lbsync

import (
	"fmt"
	"math/rand/v2"
	"slices"
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

func TestAListenerOfNobodyGoesOnlyWhereTheTagSaysThatItIsOurs(t *testing.T) {
	settings := DefaultSettings()
	settings.ClusterID, settings.VPCID = "cls-demo", "vpc-2ab3c4d5"
	key := ListenerKey{Protocol: TCP, Port: 90}
	for name, test := range map[string]struct {
		tags map[string]string
		left map[types.UID]bool
		goes bool
	}{
		"tagged":          {tags: map[string]string{TagCluster: "cls-demo"}, goes: true},
		"not tagged":      {},
		"another's":       {tags: map[string]string{TagCluster: "cls-other"}},
		"left on purpose": {tags: map[string]string{TagCluster: "cls-demo"}, left: map[types.UID]bool{"gone": true}},
	} {
		svc := Service{Service: kubetest.Service("web"), Options: annotation.Options{ExistingID: "lb-theirs"}}
		actual := LoadBalancer{Present: true, Instance: Instance{ID: "lb-theirs", VPCID: "vpc-2ab3c4d5", Tags: test.tags},
			Listeners: map[ListenerKey]Listener{key: {ListenerKey: key, ID: "lbl-1", Name: ListenerName("gone")}}}
		desired, _ := Desired(Snapshot{Settings: settings, Services: []Service{svc}, Nodes: kubetest.Nodes(1), Existing: "lb-theirs", Actual: actual, Left: test.left})
		if plan := Diff(actual, desired); (len(plan.DeleteListeners) == 1) != test.goes {
			t.Errorf("%s: the plan is\n%s", name, plan)
		}
	}
}
