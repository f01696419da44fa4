// SPDX-License-Identifier: Apache-2.0

package lbsync

import (
	"cmp"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
)

func TestNext(t *testing.T) {
	on := func(p Protocol, host string) Binding {
		return Binding{ListenerKey{Protocol: p, Port: 80}, Target{Instance: host, Port: 30080}}
	}
	at := func(host string) Binding { return on(TCP, host) }
	udp := func(host string) Binding { return on(UDP, host) }
	now := time.Unix(1000, 0)
	long, recently := Stamp{Open: true, Since: now.Add(-time.Hour)}, Stamp{Open: true, Since: now.Add(-time.Second)}
	tests := []struct {
		name            string
		actual, desired map[Binding]int
		health          map[Binding]Health
		memory          Memory
		protocol        Protocol        // "": TCP
		answering       map[string]bool // nil: all of them
		idle            bool
		plan            string
		waits           []WaitReason
		ask             bool
		again           time.Duration
	}{
		{name: "an old target waits while the new one has not come",
			actual: map[Binding]int{at("old"): 10, at("new"): 10}, desired: map[Binding]int{at("new"): 10},
			memory: Memory{at("old"): long, at("new"): {Open: true, Since: now}},
			waits:  []WaitReason{ForHealth}, again: time.Second},
		{name: "the health of a new target is asked for, once it can have one",
			actual: map[Binding]int{at("old"): 10, at("new"): 10}, desired: map[Binding]int{at("new"): 10},
			memory: Memory{at("old"): long, at("new"): recently},
			ask:    true, waits: []WaitReason{ForHealth}, again: time.Second},
		{name: "an old target drains once the new one is healthy",
			actual: map[Binding]int{at("old"): 10, at("new"): 10}, desired: map[Binding]int{at("new"): 10},
			health: map[Binding]Health{at("new"): Healthy}, memory: Memory{at("old"): long, at("new"): recently},
			plan: "~ target TCP:80 old:30080 weight 10 -> 0\n"},
		{name: "old targets drain at the pace at which new ones become healthy",
			actual: map[Binding]int{at("old"): 10, at("old2"): 10, at("new"): 10, at("new2"): 10}, desired: map[Binding]int{at("new"): 10, at("new2"): 10},
			health: map[Binding]Health{at("old"): Healthy, at("old2"): Healthy, at("new"): Healthy}, memory: Memory{at("old"): long, at("old2"): long, at("new"): recently, at("new2"): recently},
			plan: "~ target TCP:80 old:30080 weight 10 -> 0\n", waits: []WaitReason{ForHealth}, again: time.Second},
		{name: "a target that CLB found dead goes at once while another is healthy",
			actual: map[Binding]int{at("old"): 10, at("other"): 10}, desired: map[Binding]int{at("other"): 10, at("new"): 10},
			health: map[Binding]Health{at("old"): Unhealthy, at("other"): Healthy}, memory: Memory{at("old"): long, at("other"): long},
			plan: "+ target TCP:80 new:30080 weight 10\n- target TCP:80 old:30080 weight 10\n"},
		{name: "a dead target stays if no other is healthy: CLB sends to all of them then",
			actual: map[Binding]int{at("old"): 10, at("new"): 10}, desired: map[Binding]int{at("new"): 10},
			health: map[Binding]Health{at("old"): Unhealthy}, memory: Memory{at("old"): long, at("new"): recently},
			waits: []WaitReason{ForHealth}, again: time.Second},
		{name: "a target without a pod behind it goes while its probes still succeed, if another can take over, though new ones are to come",
			actual: map[Binding]int{at("old"): 10, at("other"): 10, at("new"): 10}, desired: map[Binding]int{at("other"): 10, at("new"): 10},
			answering: map[string]bool{"other": true, "new": true}, memory: Memory{at("old"): long, at("other"): long, at("new"): {Open: true, Since: now}},
			plan: "~ target TCP:80 old:30080 weight 10 -> 0\n"},
		{name: "a target without a pod behind it stays while nobody else is usable",
			actual: map[Binding]int{at("old"): 10, at("new"): 10}, desired: map[Binding]int{at("new"): 10},
			answering: map[string]bool{"new": true}, memory: Memory{at("old"): long, at("new"): {Open: true, Since: now}},
			waits: []WaitReason{ForHealth}, again: time.Second},
		{name: "the last healthy target does not go for one that is dead, however long that had",
			actual: map[Binding]int{at("old"): 10, at("new"): 10}, desired: map[Binding]int{at("new"): 10},
			health: map[Binding]Health{at("old"): Healthy, at("new"): Unhealthy}, memory: Memory{at("old"): long, at("new"): long},
			waits: []WaitReason{ForEndpoint}, again: 20 * time.Second},
		{name: "a dead new target that had its time does not keep old ones that others cover",
			actual: map[Binding]int{at("old"): 10, at("new"): 10, at("new2"): 10}, desired: map[Binding]int{at("new"): 10, at("new2"): 10},
			health: map[Binding]Health{at("old"): Healthy, at("new"): Unhealthy, at("new2"): Healthy}, memory: Memory{at("old"): long, at("new"): long, at("new2"): long},
			plan: "~ target TCP:80 old:30080 weight 10 -> 0\n"},
		{name: "health is read before one of few goes, even if the others were there for long",
			actual: map[Binding]int{at("old"): 10, at("other"): 10}, desired: map[Binding]int{at("other"): 10}, memory: Memory{at("old"): long, at("other"): long},
			ask: true, waits: []WaitReason{ForHealth}, again: time.Second},
		{name: "one of many goes without a reading",
			actual: map[Binding]int{at("old"): 1, at("other"): 10}, desired: map[Binding]int{at("other"): 10}, memory: Memory{at("old"): long, at("other"): long},
			plan: "~ target TCP:80 old:30080 weight 1 -> 0\n"},
		{name: "a drained target goes when its time is over, to the second",
			actual: map[Binding]int{at("old"): 0, at("new"): 10}, desired: map[Binding]int{at("new"): 10},
			memory: Memory{at("old"): {Since: now.Add(-5 * time.Second)}, at("new"): long},
			plan:   "- target TCP:80 old:30080 weight 0\n"},
		{name: "a draining target keeps its connections until then",
			actual: map[Binding]int{at("old"): 0, at("new"): 10}, desired: map[Binding]int{at("new"): 10},
			memory: Memory{at("old"): {Since: now.Add(-2 * time.Second)}, at("new"): long},
			waits:  []WaitReason{ForDrain}, again: 3 * time.Second},
		{name: "a drain is cancelled when its reason goes, once the node had time for its rules",
			actual: map[Binding]int{at("old"): 0, at("new"): 10}, desired: map[Binding]int{at("old"): 10, at("new"): 10},
			memory: Memory{at("old"): {Again: true, Since: now.Add(-time.Second)}, at("new"): long},
			plan:   "~ target TCP:80 old:30080 weight 0 -> 10\n"},
		{name: "a node whose pod is back waits for its rules: CLB may not know that it was without",
			actual: map[Binding]int{at("old"): 0, at("new"): 10}, desired: map[Binding]int{at("old"): 10, at("new"): 10},
			memory: Memory{at("old"): {Again: true, Since: now}, at("new"): long},
			waits:  []WaitReason{ForRules}, again: time.Second},
		{name: "nobody waits for rules where no other target takes the traffic",
			actual: map[Binding]int{at("old"): 0}, desired: map[Binding]int{at("old"): 10},
			memory: Memory{at("old"): {Again: true, Since: now}},
			plan:   "~ target TCP:80 old:30080 weight 0 -> 10\n"},
		{name: "a target that nobody remembers counts as new",
			actual: map[Binding]int{at("old"): 10, at("new"): 10}, desired: map[Binding]int{at("new"): 10},
			waits: []WaitReason{ForHealth}, again: time.Second},
		{name: "weights that stay above 0 change at once",
			actual: map[Binding]int{at("a"): 3, at("b"): 1}, desired: map[Binding]int{at("a"): 1, at("b"): 3},
			plan: "~ target TCP:80 a:30080 weight 3 -> 1\n~ target TCP:80 b:30080 weight 1 -> 3\n"},
		{name: "without endpoints a listener becomes empty, after a drain",
			actual: map[Binding]int{at("old"): 10}, idle: true, memory: Memory{at("old"): long},
			plan: "~ target TCP:80 old:30080 weight 10 -> 0\n"},
		{name: "with endpoints that no target can reach, a listener keeps what it has",
			actual: map[Binding]int{at("old"): 10}, memory: Memory{at("old"): long},
			waits: []WaitReason{ForEndpoint}, again: 20 * time.Second},
		{name: "UDP: a node that has a pod now is given time for its rules while another answers",
			protocol: UDP, actual: map[Binding]int{udp("old"): 10}, desired: map[Binding]int{udp("old"): 10, udp("new"): 10},
			memory: Memory{udp("old"): long, udp("new"): {Absent: true, Since: now.Add(-200 * time.Millisecond)}},
			waits:  []WaitReason{ForRules}, again: 800 * time.Millisecond},
		{name: "UDP: and comes when that is over",
			protocol: UDP, actual: map[Binding]int{udp("old"): 10}, desired: map[Binding]int{udp("old"): 10, udp("new"): 10},
			memory: Memory{udp("old"): long, udp("new"): {Absent: true, Since: now.Add(-time.Second)}},
			plan:   "+ target UDP:80 new:30080 weight 10\n"},
		{name: "UDP: it comes at once if nobody else answers",
			protocol: UDP, actual: map[Binding]int{udp("old"): 10}, desired: map[Binding]int{udp("new"): 10},
			answering: map[string]bool{"new": true}, memory: Memory{udp("old"): long, udp("new"): {Absent: true, Since: now}},
			plan: "+ target UDP:80 new:30080 weight 10\n", waits: []WaitReason{ForHealth}, again: time.Second},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			key := ListenerKey{Protocol: cmp.Or(test.protocol, TCP), Port: 80}
			with := func(targets map[Binding]int) LoadBalancer {
				return LoadBalancer{Present: true, Targets: targets,
					Listeners: map[ListenerKey]Listener{key: {ListenerKey: key, ID: "lbl-1", Name: ListenerName("u"), Check: HealthCheck{On: true}}}}
			}
			desired := with(test.desired)
			desired.Idle = map[ListenerKey]bool{key: test.idle}
			desired.Answering = map[ListenerKey]Answering{key: {Port: 30080, Nodes: test.answering}}
			desired.Known = map[string]string{"old": "old", "old2": "old2", "other": "other", "new": "new", "new2": "new2"}
			for b, stamp := range test.memory {
				stamp.Check = desired.Listeners[key].Check
				test.memory[b] = stamp
			}
			step := Next(with(test.actual), desired, Observation{Now: now, Health: test.health, Memory: test.memory}, timing)
			if diff := gocmp.Diff(test.plan, step.Plan.String()); diff != "" {
				t.Errorf("plan (-want +got):\n%s", diff)
			}
			var waits []WaitReason
			for _, w := range step.Waits {
				waits = append(waits, w.Reason)
			}
			if diff := gocmp.Diff(test.waits, waits); diff != "" || step.Again != test.again || step.Ask != test.ask {
				t.Errorf("again after %s, want %s; asks %v, want %v; waits (-want +got):\n%s", step.Again, test.again, step.Ask, test.ask, diff)
			}
		})
	}
}

func TestForeignListenersAreNeverTouched(t *testing.T) {
	key := ListenerKey{Protocol: TCP, Port: 80}
	theirs := LoadBalancer{Present: true, Instance: Instance{ID: "lb-1", Tags: map[string]string{TagCluster: "cls-demo"}},
		Listeners: map[ListenerKey]Listener{key: {ListenerKey: key, ID: "lbl-1", Name: "by hand"}, {Protocol: TCP, Port: 81}: {ListenerKey: ListenerKey{Protocol: TCP, Port: 81}, ID: "lbl-2", Name: "by hand"}},
		Targets:   map[Binding]int{{key, Target{Instance: "ins-1", Port: 1}}: 10}}
	wanted := LoadBalancer{Present: true, Instance: Instance{Owner: Owner{"cls-demo", "u"}},
		Listeners: map[ListenerKey]Listener{key: {ListenerKey: key, Name: ListenerName("u")}},
		Targets:   map[Binding]int{{key, Target{Instance: "ins-2", Port: 2}}: 10}}
	for name, desired := range map[string]LoadBalancer{"a Service that wants the same port": wanted, "no Service at all": {Instance: wanted.Instance}} {
		if plan := Diff(theirs, desired); !plan.Empty() {
			t.Errorf("%s: plan\n%s", name, plan)
		}
	}
}

func TestOwns(t *testing.T) {
	owner := Owner{"cls-demo", "u"}
	for name, test := range map[string]struct {
		owner Owner
		tags  map[string]string
		want  bool
	}{
		"its own tags":               {owner, owner.Tags(), true},
		"more tags beside":           {owner, map[string]string{TagCreatedBy: "yes", TagCluster: "cls-demo", TagService: "u", "team": "a"}, true},
		"bought by a person":         {owner, map[string]string{TagCluster: "cls-demo", TagService: "u"}, false},
		"another cluster's":          {owner, Owner{"cls-other", "u"}.Tags(), false},
		"another Service's":          {owner, Owner{"cls-demo", "v"}.Tags(), false},
		"no tags":                    {owner, nil, false},
		"an owner that nobody is":    {Owner{}, map[string]string{TagCreatedBy: "yes"}, false},
		"an owner without a cluster": {Owner{ServiceUID: "u"}, Owner{ServiceUID: "u"}.Tags(), false},
		"an owner without a Service": {Owner{ClusterID: "cls-demo"}, Owner{ClusterID: "cls-demo"}.Tags(), false},
	} {
		if got := test.owner.Owns(test.tags); got != test.want {
			t.Errorf("%s: owns is %v, want %v", name, got, test.want)
		}
	}
}
