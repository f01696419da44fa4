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

func TestARangeOfPortsHasThePlaceOfEachOfThem(t *testing.T) {
	games := Listener{ListenerKey: ListenerKey{Protocol: TCP, Port: 8000}, EndPort: 8100, ID: "lbl-1", Name: "games"}
	within := Listener{ListenerKey: ListenerKey{Protocol: HTTP, Port: 8010}, Name: ListenerName("web")}
	desired, actual := LoadBalancer{Present: true, Listeners: map[ListenerKey]Listener{}, Targets: map[Binding]int{}}, LoadBalancer{Present: true, Listeners: map[ListenerKey]Listener{games.ListenerKey: games, within.ListenerKey: within}}
	want := func(protocol Protocol, port uint16, taken bool) {
		l := Listener{ListenerKey: ListenerKey{Protocol: protocol, Port: port}, Name: ListenerName("web")}
		if _, got := actual.foreigners().at(l.ListenerKey); got != taken {
			t.Errorf("%s: taken is %v, want %v", l.ListenerKey, got, taken)
		}
		desired.Listeners[l.ListenerKey] = l
		desired.Targets[Binding{l.ListenerKey, Target{Instance: "ins-1", Port: 30080}}] = 10
	}
	want(TCP, 7999, false)
	want(TCP, 8000, true)
	want(HTTP, 8010, false) // it is ours
	want(TCPSSL, 8050, true)
	want(TCP, 8100, true)
	want(TCP, 8101, false)
	want(UDP, 8050, false)
	got := Diff(actual, desired).String()
	if diff := cmp.Diff("+ listener TCP:7999 check none\n+ listener UDP:8050 check none\n+ listener TCP:8101 check none\n"+
		"+ target TCP:7999 ins-1:30080 weight 10\n+ target HTTP:8010 ins-1:30080 weight 10\n+ target UDP:8050 ins-1:30080 weight 10\n+ target TCP:8101 ins-1:30080 weight 10\n", got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	said := Foreign(actual, desired)
	if len(said) != 3 || said[0].Service != "web" {
		t.Errorf("said is %v", said)
	}
	if mine := actual.Of("web", desired); len(mine.Listeners) != 2 {
		t.Errorf("what is about the Service is %v", mine.Listeners)
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
