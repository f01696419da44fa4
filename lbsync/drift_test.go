// SPDX-License-Identifier: Apache-2.0

package lbsync

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// remembered is a CLB as the controller left it: two listeners with two targets each.
func remembered() LoadBalancer {
	lb := LoadBalancer{Present: true, Instance: Instance{ID: "lb-1", Name: "web"}, Listeners: map[ListenerKey]Listener{}, Targets: map[Binding]int{}}
	for i, k := range []ListenerKey{web, mail} {
		lb.Listeners[k] = Listener{ListenerKey: k, ID: fmt.Sprintf("lbl-%d", i), Name: ListenerName("u"), Check: HealthCheck{On: true, Type: CheckTCP, Interval: 5 * time.Second, Timeout: 2 * time.Second, Healthy: 3, Unhealthy: 3}}
		for n := range 2 {
			lb.Targets[at(k, n)] = WeightDefault
		}
	}
	return lb
}

func at(k ListenerKey, n int) Binding {
	return Binding{Listener: k, Target: Target{Instance: fmt.Sprintf("ins-%d", n), Port: 30000 + k.Port}}
}

// edits are what people do to a CLB, with what Drift says of it.
var edits = map[string]struct {
	do   func(*LoadBalancer)
	want []string
	what []Deviation
}{
	"nothing": {func(*LoadBalancer) {}, nil, nil},
	"a target is taken out": {func(lb *LoadBalancer) { delete(lb.Targets, at(web, 1)) },
		[]string{"target TCP:80 ins-1:30080 is gone, had weight 10"}, []Deviation{TargetMissing}},
	"a target is put in": {func(lb *LoadBalancer) { lb.Targets[at(web, 7)] = 3 },
		[]string{"target TCP:80 ins-7:30080 is new, with weight 3"}, []Deviation{TargetAdded}},
	"a weight is changed": {func(lb *LoadBalancer) { lb.Targets[at(mail, 0)] = 0 },
		[]string{"target TCP:25 ins-0:30025 has weight 0, had 10"}, []Deviation{TargetWeight}},
	"a listener is deleted, with its targets": {func(lb *LoadBalancer) {
		delete(lb.Listeners, mail)
		delete(lb.Targets, at(mail, 0))
		delete(lb.Targets, at(mail, 1))
	}, []string{"listener TCP:25 is gone"}, []Deviation{ListenerMissing}},
	"a listener is renamed": {func(lb *LoadBalancer) {
		change(lb, mail, func(l *Listener) { l.Name = "mine" })
		delete(lb.Targets, at(mail, 0)) // which is how a listener that is not ours reads
		delete(lb.Targets, at(mail, 1))
	}, []string{`listener TCP:25 is called "mine", so it is not this controller's any more`}, []Deviation{ListenerMissing}},
	"a listener in our name appears, with a target": {func(lb *LoadBalancer) {
		k := ListenerKey{Protocol: TCP, Port: 443}
		lb.Listeners[k] = Listener{ListenerKey: k, ID: "lbl-9", Name: ListenerName("u")}
		lb.Targets[at(k, 0)] = 10
	}, []string{"listener TCP:443 is new"}, []Deviation{ListenerAdded}},
	"settings": {func(lb *LoadBalancer) {
		change(lb, web, func(l *Listener) {
			l.Check.Interval, l.Check.Unhealthy, l.SessionExpire, l.Check.Codes = 9*time.Second, 10, time.Minute, 31
		})
	}, []string{"listener TCP:80 has check interval 9s, was 5s and unhealthy threshold 10, was 3 and check details codes 31, was nothing unusual and session 1m0s, was 0s"}, []Deviation{ListenerSettings}},
	"a listener that is not ours comes": {func(lb *LoadBalancer) {
		lb.Listeners[ListenerKey{Protocol: TCP, Port: 22}] = Listener{ListenerKey: ListenerKey{Protocol: TCP, Port: 22}, Name: "theirs"}
	}, nil, nil},
	"another name":  {func(lb *LoadBalancer) { lb.Instance.Name = "prod" }, []string{`CLB lb-1 is called "prod", was "web"`}, []Deviation{InstanceName}},
	"it is deleted": {func(lb *LoadBalancer) { *lb = LoadBalancer{} }, []string{"CLB lb-1 is gone, or has lost its tags"}, []Deviation{InstanceMissing}},
	"many at once": {func(lb *LoadBalancer) {
		for n := range 12 {
			lb.Targets[at(mail, n)] = 1
		}
		change(lb, web, func(l *Listener) { l.Check = HealthCheck{} })
	}, nil, []Deviation{ListenerSettings, TargetWeight, TargetWeight, TargetAdded, TargetAdded, TargetAdded, TargetAdded, TargetAdded, TargetAdded, TargetAdded, TargetAdded, TargetAdded, TargetAdded}},
}

func change(lb *LoadBalancer, k ListenerKey, how func(*Listener)) {
	l := lb.Listeners[k]
	how(&l)
	lb.Listeners[k] = l
}

func TestDriftNamesWhatDiffers(t *testing.T) {
	for name, test := range edits {
		t.Run(name, func(t *testing.T) {
			observed := remembered()
			test.do(&observed)
			drift := Drift(remembered(), observed)
			var what []Deviation
			for _, d := range drift {
				what = append(what, d.What)
			}
			if diff := cmp.Diff(test.what, what); diff != "" {
				t.Errorf("what (-want +got):\n%s", diff)
			}
			if text := DriftText(drift); test.want != nil && text != strings.Join(test.want, "; ") || text != DriftText(Drift(remembered(), observed)) {
				t.Errorf("text %q, want %q, twice the same", text, test.want)
			}
		})
	}
	if drift := Drift(LoadBalancer{}, remembered()); drift != nil {
		t.Errorf("a CLB that nothing was known of has drifted: %v", drift)
	}
	many := remembered()
	edits["many at once"].do(&many)
	if text := DriftText(Drift(remembered(), many)); strings.Count(text, "; ") != 10 || !strings.HasSuffix(text, "; and 3 more") {
		t.Errorf("a long text is not cut: %q", text)
	}
}

// Whatever somebody changed on the listeners and targets: tolerated, it makes no plan; not tolerated, it makes one.
func TestWhatIsToleratedMakesNoPlan(t *testing.T) {
	for name, test := range edits {
		t.Run(name, func(t *testing.T) {
			actual, desired := remembered(), asDesired(remembered())
			test.do(&actual)
			drift := Drift(remembered(), actual)
			out, left := Tolerate(actual, desired, Tolerance(nil).Add(drift))
			plan := Diff(actual, out)
			if len(test.what) > 0 && (test.what[0] == InstanceMissing || test.what[0] == InstanceName) {
				if left != nil {
					t.Errorf("tolerated: %v", left)
				}
				return
			}
			if !plan.Empty() {
				t.Errorf("a plan though all is tolerated:\n%s", plan)
			}
			if len(left) != len(drift) {
				t.Errorf("%d of %d differences are left", len(left), len(drift))
			}
			if renamed := name == "a listener is renamed"; len(drift) > 0 && !renamed && Diff(actual, desired).Empty() {
				t.Error("no plan where nothing is tolerated: the edit is none")
			}
			if diff := cmp.Diff(asDesired(remembered()), desired, equal); diff != "" {
				t.Errorf("the argument was changed:\n%s", diff)
			}
		})
	}
}

// asDesired is the CLB that the Service asks for: IDs are CLB's.
func asDesired(lb LoadBalancer) LoadBalancer {
	for k := range lb.Listeners {
		change(&lb, k, func(l *Listener) { l.ID = "" })
	}
	lb.Idle = map[ListenerKey]bool{}
	return lb
}

func TestToleranceEnds(t *testing.T) {
	weights := func(actual LoadBalancer) Tolerance { return Tolerance(nil).Add(Drift(remembered(), actual)) }
	for name, test := range map[string]struct {
		later func(actual, desired *LoadBalancer)
		plan  string
		left  int
	}{
		"not as long as nothing changes": {func(_, _ *LoadBalancer) {}, "", 2},
		"for the very target that is to have another weight": {func(_, d *LoadBalancer) { d.Targets[at(web, 0)] = 20 },
			"~ target TCP:80 ins-0:30080 weight 5 -> 20\n", 1},
		"for none if another target comes": {func(_, d *LoadBalancer) { d.Targets[at(web, 4)] = 10 },
			"+ target TCP:80 ins-4:30080 weight 10\n", 2},
		"for the target whose node goes": {func(_, d *LoadBalancer) { delete(d.Targets, at(web, 0)) },
			"- target TCP:80 ins-0:30080 weight 5\n", 1},
		"for what somebody set right": {func(a, _ *LoadBalancer) { a.Targets[at(web, 0)] = 10 }, "", 1},
		"for all when the Service goes": {func(_, d *LoadBalancer) { *d = LoadBalancer{} },
			"- listener TCP:25\n- listener TCP:80\n", 0},
	} {
		t.Run(name, func(t *testing.T) {
			actual, desired := remembered(), asDesired(remembered())
			actual.Targets[at(web, 0)] = 5
			change(&actual, mail, func(l *Listener) { l.Check = HealthCheck{} })
			tolerance := weights(actual)
			test.later(&actual, &desired)
			out, left := Tolerate(actual, desired, tolerance)
			if got := Diff(actual, out).String(); got != test.plan {
				t.Errorf("plan\n%swant\n%s", got, test.plan)
			}
			if len(left) != test.left {
				t.Errorf("%d tolerated, want %d: %v", len(left), test.left, left.Differences())
			}
		})
	}
	t.Run("a second change of one place is measured against what was there before the first", func(t *testing.T) {
		once, twice := remembered(), remembered()
		once.Targets[at(web, 0)], twice.Targets[at(web, 0)] = 5, 6
		tolerance := weights(once).Add(Drift(once, twice))
		if out, left := Tolerate(twice, asDesired(remembered()), tolerance); out.Targets[at(web, 0)] != 6 || len(left) != 1 {
			t.Errorf("weight %d, tolerated %v", out.Targets[at(web, 0)], left)
		}
	})
}
