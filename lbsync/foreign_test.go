// SPDX-License-Identifier: Apache-2.0

package lbsync

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/clbsync/clbsync/internal/kubetest"
)

func TestForeignNamesTheListenersWhosePlaceIsTaken(t *testing.T) {
	key := func(port uint16) ListenerKey { return ListenerKey{Protocol: TCP, Port: port} }
	ours := func(port uint16) Listener { return Listener{ListenerKey: key(port), Name: ListenerName("web")} }
	desired := LoadBalancer{Present: true, Listeners: map[ListenerKey]Listener{key(80): ours(80), key(81): ours(81), key(82): ours(82)}}
	actual := LoadBalancer{Present: true, Instance: Instance{ID: "lb-1"}, Listeners: map[ListenerKey]Listener{
		key(80): ours(80), key(81): {ListenerKey: key(81), ID: "lbl-1", Name: "by hand"}, key(90): {ListenerKey: key(90), Name: "by hand"}}}
	var got []string
	for _, s := range Foreign(actual, desired) {
		if !s.Warning {
			t.Errorf("%s is not a warning", s.Object)
		}
		got = append(got, s.Object)
	}
	if diff := cmp.Diff([]string{"listener TCP:81"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestKeepHoldsWhatMayBelongToANodeThatIsNotKnownYet(t *testing.T) {
	web := ListenerKey{Protocol: TCP, Port: 80}
	old := ListenerKey{Protocol: TCP, Port: 81}
	on := func(l ListenerKey, instance string) Binding {
		return Binding{Listener: l, Target: Target{Instance: instance, Port: 30080}}
	}
	s := Snapshot{Nodes: kubetest.Nodes(2), Instances: map[string]string{"n9": "ins-00000009"}}
	s.Nodes = append(s.Nodes, kubetest.Node(9))
	s.Nodes[2].Spec.ProviderID = ""
	desired := LoadBalancer{Listeners: map[ListenerKey]Listener{web: {}}, Targets: map[Binding]int{on(web, "ins-00000001"): 10}}
	actual := LoadBalancer{Targets: map[Binding]int{
		on(web, "ins-00000001"): 20, // wanted: as wanted
		on(web, "ins-00000002"): 10, // a known node's, and not wanted
		on(web, "ins-00000009"): 10, // likewise, by lookup
		on(web, "ins-00000007"): 5,  // nobody's, as far as is known
		on(old, "ins-00000007"): 5,  // of a listener that goes
	}}
	want := map[Binding]int{on(web, "ins-00000001"): 10, on(web, "ins-00000007"): 5}
	if diff := cmp.Diff(want, s.Keep(actual, desired).Targets); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if len(desired.Targets) != 1 {
		t.Error("Keep changed what it was given")
	}
}
