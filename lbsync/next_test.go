// SPDX-License-Identifier: Apache-2.0

package lbsync

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var timing = Timing{HealthDeadline: 20 * time.Second, Drain: 5 * time.Second, Poll: time.Second, RemovalHold: 40 * time.Second, Damping: 2 * time.Second}

// random returns a CLB of up to three listeners with targets on up to five hosts, out of a small set, so
// that two of them differ in part.
func random(r *rand.Rand, desired bool) LoadBalancer {
	lb := LoadBalancer{Present: r.IntN(8) > 0, Listeners: map[ListenerKey]Listener{}, Targets: map[Binding]int{}, Idle: map[ListenerKey]bool{}}
	lb.Instance.Owner = Owner{ClusterID: "cls-demo", ServiceUID: "u"}
	if !lb.Present {
		return lb
	}
	for port := uint16(80); port < 83; port++ {
		if r.IntN(4) == 0 {
			continue
		}
		key := ListenerKey{[]Protocol{TCP, UDP}[r.IntN(2)], port}
		lb.Listeners[key] = Listener{ListenerKey: key, Name: ListenerName("u"), Check: HealthCheck{On: r.IntN(4) > 0, Type: CheckTCP, Interval: time.Second, Healthy: 2 + r.IntN(2)}}
		for range r.IntN(6) {
			lb.Targets[Binding{key, Target{Instance: fmt.Sprintf("ins-%d", r.IntN(5)), Port: 100*port + uint16(r.IntN(2))}}] = r.IntN(3) * r.IntN(40)
		}
		lb.Idle[key] = desired && r.IntN(3) == 0
	}
	if desired {
		lb.Doubtful, lb.Known = map[string]Reason{}, map[string]bool{}
		for i := range 5 {
			lb.Known[fmt.Sprintf("ins-%d", i)] = r.IntN(5) > 0
			if r.IntN(4) == 0 {
				lb.Doubtful[fmt.Sprintf("ins-%d", i)] = NodeNotReady
			}
		}
		maps.DeleteFunc(lb.Known, func(_ string, known bool) bool { return !known })
		lb.RemovalAllowed = r.IntN(4) == 0
	}
	return lb
}

// settle fills the cloud with lb as if it had always been there.
func settle(t *testing.T, lb LoadBalancer, now time.Time) (*fakeCloud, LoadBalancer) {
	t.Helper()
	cloud := &fakeCloud{now: now.Add(-time.Hour)}
	all := Diff(LoadBalancer{}, lb)
	if !lb.Present {
		return cloud, LoadBalancer{}
	}
	// Diff leaves out targets of weight 0 that are not there; here they are wanted.
	all.Register = nil
	for _, b := range sortedBindings(lb.Targets) {
		all.Register = append(all.Register, Change{Binding: b, Weight: lb.Targets[b]})
	}
	actual, err := all.Apply(t.Context(), cloud, LoadBalancer{})
	if err != nil {
		t.Fatal(err)
	}
	cloud.now = now
	return cloud, actual
}

// Whatever is there and whatever is wanted: the steps end, in what is wanted; on the way nothing is refused,
// no listener that stays and has a working target loses its last one, and new targets come before old ones
// go.
func checkHandover(t *testing.T, seed uint64) {
	r := rand.New(rand.NewPCG(seed, 1))
	now := time.Unix(1000, 0)
	desired := random(r, true)
	cloud, actual := settle(t, random(r, false), now)
	if r.IntN(2) == 0 {
		// What is there and what is wanted each fit; both together need not.
		desired.TargetQuota = max(most(actual), most(desired), 2)
	}
	dead := map[string]bool{fmt.Sprintf("ins-%d", r.IntN(5)): r.IntN(2) == 0}
	health := func() map[Binding]Health {
		out := map[Binding]Health{}
		for b := range actual.Targets {
			switch check := actual.Listeners[b.Listener].Check; {
			case !check.On:
				out[b] = HealthOff
			case dead[b.Target.Instance]:
				out[b] = Unhealthy
			case now.Sub(cloud.born[b]) >= check.Settle():
				out[b] = Healthy
			}
		}
		return out
	}
	working := func() map[Binding]bool {
		h, out := health(), map[Binding]bool{}
		for b, weight := range actual.Targets {
			if weight > 0 && (h[b] == Healthy || h[b] == HealthOff) {
				out[b] = true
			}
		}
		return out
	}
	// A handover that gave a new target its whole deadline goes on whatever its health: then a working old
	// target may go, and only then.
	overdue := func(l ListenerKey, memory Memory) bool {
		for b, weight := range desired.Targets {
			if b.Listener == l && weight > 0 && now.Sub(memory[b].Since) >= timing.HealthDeadline {
				return true
			}
		}
		return false
	}
	var memory Memory
	var held, tuned time.Time
	for i := 0; ; i++ {
		if i > 500 {
			t.Fatalf("seed %d: no end", seed)
		}
		memory = memory.Update(actual, now)
		seen := Observation{Now: now, Health: health(), Memory: memory, HeldSince: held, Reweighted: tuned}
		step := Next(actual, desired, seen, timing)
		if again := Next(actual, desired, seen, timing); !cmp.Equal(step, again, equal) {
			t.Fatalf("seed %d: the same input gave two steps:\n%s", seed, cmp.Diff(step, again, equal))
		}
		if !step.Held {
			held = time.Time{}
		} else if held.IsZero() {
			held = now
		}
		if step.Tune {
			tuned = now
		}
		if step.Plan.Empty() {
			if onlyTheClusterCanHelp(step) {
				break
			}
			if step.Again <= 0 {
				t.Fatalf("seed %d: waits %v without a time", seed, step.Waits)
			}
			now = now.Add(step.Again)
			cloud.now = now
			continue
		}
		before := working()
		next, err := step.Plan.Apply(t.Context(), cloud, actual)
		if err != nil {
			t.Fatalf("seed %d: refused: %v\n%s", seed, err, step.Plan)
		}
		if actual = next; !cmp.Equal(cloud.lb, actual, equal) {
			t.Fatalf("seed %d: Apply returns what is not there:\n%s", seed, cmp.Diff(cloud.lb, actual, equal))
		}
		if quota := desired.TargetQuota; quota > 0 && most(actual) > quota {
			t.Fatalf("seed %d: a listener has %d targets, more than %d, after\n%s", seed, most(actual), quota, step.Plan)
		}
		after := working()
		for b := range before {
			if l := b.Listener; actual.Targets[b] == 0 && desired.Listeners[l].Port != 0 && !desired.Idle[l] && !overdue(l, memory) && !serves(after, l) {
				t.Fatalf("seed %d: %s lost its last working target by\n%s", seed, l, step.Plan)
			}
		}
	}
	checkEnd(t, seed, actual, desired)
}

func serves(working map[Binding]bool, l ListenerKey) bool {
	for b := range working {
		if b.Listener == l {
			return true
		}
	}
	return false
}

// most returns the number of targets of the listener that has most.
func most(lb LoadBalancer) (most int) {
	count := map[ListenerKey]int{}
	for b := range lb.Targets {
		count[b.Listener]++
		most = max(most, count[b.Listener])
	}
	return most
}

func onlyTheClusterCanHelp(s Step) bool {
	for _, w := range s.Waits {
		if w.Reason != ForEndpoint {
			return false
		}
	}
	return true
}

// checkEnd compares what is there in the end with what was wanted, but for the targets that nothing could
// replace.
func checkEnd(t *testing.T, seed uint64, actual, desired LoadBalancer) {
	left := Diff(actual, desired)
	held := func(c Change) bool {
		for b, weight := range desired.Targets {
			if b.Listener == c.Listener && weight > 0 {
				return false
			}
		}
		return !desired.Idle[c.Listener]
	}
	var wrong []Change
	for _, c := range append(left.Deregister, left.Reweight...) {
		if !held(c) {
			wrong = append(wrong, c)
		}
	}
	left.Deregister, left.Reweight = wrong, nil
	if left.Create != nil && len(desired.Listeners) == 0 {
		left.Create = nil
	}
	if !left.Empty() {
		t.Fatalf("seed %d: left undone:\n%s", seed, left)
	}
}

func TestHandoverEndsInDesired(t *testing.T) {
	for seed := range uint64(3000) {
		checkHandover(t, seed)
	}
}

func FuzzHandover(f *testing.F) {
	f.Add(uint64(1))
	f.Fuzz(checkHandover)
}

func TestNext(t *testing.T) {
	key := ListenerKey{TCP, 80}
	listener := map[ListenerKey]Listener{key: {ListenerKey: key, ID: "lbl-1", Name: ListenerName("u"), Check: HealthCheck{On: true}}}
	at := func(host string) Binding { return Binding{key, Target{Instance: host, Port: 30080}} }
	with := func(targets map[Binding]int) LoadBalancer {
		return LoadBalancer{Present: true, Listeners: listener, Targets: targets}
	}
	now := time.Unix(1000, 0)
	long := Stamp{Open: true, Since: now.Add(-time.Hour)}
	tests := []struct {
		name            string
		actual, desired map[Binding]int
		health          map[Binding]Health
		memory          Memory
		idle            bool
		plan            string
		waits           []WaitReason
		again           time.Duration
	}{
		{name: "an old target waits while the new one is not healthy",
			actual: map[Binding]int{at("old"): 10, at("new"): 10}, desired: map[Binding]int{at("new"): 10},
			memory: Memory{at("old"): long, at("new"): {Open: true, Since: now}},
			waits:  []WaitReason{ForHealth}, again: time.Second},
		{name: "an old target drains once the new one is healthy",
			actual: map[Binding]int{at("old"): 10, at("new"): 10}, desired: map[Binding]int{at("new"): 10},
			health: map[Binding]Health{at("new"): Healthy}, memory: Memory{at("old"): long, at("new"): {Open: true, Since: now}},
			plan: "~ target TCP:80 old:30080 weight 10 -> 0\n"},
		{name: "one of two new targets that is not healthy yet is enough to wait for",
			actual: map[Binding]int{at("old"): 10, at("new"): 10, at("new2"): 10}, desired: map[Binding]int{at("new"): 10, at("new2"): 10},
			health: map[Binding]Health{at("new"): Healthy}, memory: Memory{at("old"): long, at("new"): {Open: true, Since: now}, at("new2"): {Open: true, Since: now}},
			waits: []WaitReason{ForHealth}, again: time.Second},
		{name: "a target that CLB found dead goes at once while another is healthy",
			actual: map[Binding]int{at("old"): 10, at("other"): 10}, desired: map[Binding]int{at("other"): 10, at("new"): 10},
			health: map[Binding]Health{at("old"): Unhealthy, at("other"): Healthy}, memory: Memory{at("old"): long, at("other"): long},
			plan: "+ target TCP:80 new:30080 weight 10\n- target TCP:80 old:30080 weight 10\n"},
		{name: "a dead target stays if no other is healthy: CLB sends to all of them then",
			actual: map[Binding]int{at("old"): 10, at("new"): 10}, desired: map[Binding]int{at("new"): 10},
			health: map[Binding]Health{at("old"): Unhealthy}, memory: Memory{at("old"): long, at("new"): {Open: true, Since: now}},
			waits: []WaitReason{ForHealth}, again: time.Second},
		{name: "a drained target goes when its time is over, to the second",
			actual: map[Binding]int{at("old"): 0, at("new"): 10}, desired: map[Binding]int{at("new"): 10},
			memory: Memory{at("old"): {Since: now.Add(-5 * time.Second)}, at("new"): long},
			plan:   "- target TCP:80 old:30080 weight 0\n"},
		{name: "a draining target keeps its connections until then",
			actual: map[Binding]int{at("old"): 0, at("new"): 10}, desired: map[Binding]int{at("new"): 10},
			memory: Memory{at("old"): {Since: now.Add(-2 * time.Second)}, at("new"): long},
			waits:  []WaitReason{ForDrain}, again: 3 * time.Second},
		{name: "a drain is cancelled when its reason goes",
			actual: map[Binding]int{at("old"): 0, at("new"): 10}, desired: map[Binding]int{at("old"): 10, at("new"): 10},
			memory: Memory{at("old"): {Since: now}, at("new"): long},
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
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			desired := with(test.desired)
			desired.Idle = map[ListenerKey]bool{key: test.idle}
			desired.Known = map[string]bool{"old": true, "new": true, "new2": true}
			step := Next(with(test.actual), desired, Observation{Now: now, Health: test.health, Memory: test.memory}, timing)
			if diff := cmp.Diff(test.plan, step.Plan.String()); diff != "" {
				t.Errorf("plan (-want +got):\n%s", diff)
			}
			var waits []WaitReason
			for _, w := range step.Waits {
				waits = append(waits, w.Reason)
			}
			if diff := cmp.Diff(test.waits, waits); diff != "" || step.Again != test.again {
				t.Errorf("again after %s, want %s; waits (-want +got):\n%s", step.Again, test.again, diff)
			}
		})
	}
}

func TestForeignListenersAreNeverTouched(t *testing.T) {
	key := ListenerKey{TCP, 80}
	theirs := LoadBalancer{Present: true, Instance: Instance{ID: "lb-1", Tags: map[string]string{TagCluster: "cls-demo"}},
		Listeners: map[ListenerKey]Listener{key: {ListenerKey: key, ID: "lbl-1", Name: "by hand"}, {TCP, 81}: {ListenerKey: ListenerKey{TCP, 81}, ID: "lbl-2", Name: "by hand"}},
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
