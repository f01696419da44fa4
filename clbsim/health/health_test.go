// SPDX-License-Identifier: Apache-2.0

package health

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestProbed(t *testing.T) {
	c := Check{Rise: 3, Fall: 2}
	for _, tc := range []struct {
		name   string
		check  Check
		from   Target
		probes string // + success, - failure
		want   Target
	}{
		{"a new target is unknown", c, New(c), "", Target{Status: Unknown}},
		{"one success short of the threshold is still unknown", c, New(c), "++", Target{Status: Unknown, Run: 2}},
		{"the threshold makes it alive", c, New(c), "+++", Target{Status: Alive}},
		{"a failure starts the count again", c, New(c), "++-++", Target{Status: Unknown, Run: 2}},
		{"failures make a new target dead", c, New(c), "--", Target{Status: Dead}},
		{"an alive target survives one failure", c, Target{Status: Alive}, "-", Target{Status: Alive, Run: -1}},
		{"a success forgives it", c, Target{Status: Alive}, "-+-", Target{Status: Alive, Run: -1}},
		{"failures in a row kill it", c, Target{Status: Alive}, "--", Target{Status: Dead}},
		{"a dead target needs the whole run again", c, Target{Status: Dead}, "++-+++", Target{Status: Alive}},
		{"a dead target stays dead on failures", c, Target{Status: Dead}, "+--", Target{Status: Dead}},
		{"thresholds of one act at once", Check{Rise: 1, Fall: 1}, New(c), "+-+", Target{Status: Alive}},
		{"a check that is off closes the target", Check{Off: true}, Target{Status: Dead}, "-", Target{Status: Closed}},
		{"a check that comes back on starts anew", c, Target{Status: Closed}, "-", Target{Status: Unknown}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := tc.from
			for _, p := range tc.probes {
				got = got.Probed(tc.check, p == '+')
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("after %q (-want +got):\n%s", tc.probes, diff)
			}
		})
	}
}

// A settled state is one that further probes of the same result leave as it
// is; the simulation stops probing on that promise.
func TestSettledStatesDoNotChange(t *testing.T) {
	c := Check{Rise: 3, Fall: 2}
	for _, status := range []Status{Unknown, Alive, Dead, Closed} {
		for run := -3; run <= 3; run++ {
			for _, ok := range []bool{true, false} {
				check := c
				check.Off = status == Closed
				from := Target{Status: status, Run: run}
				if got := from.Probed(check, ok); from.Settled(ok) && run == 0 && got != from {
					t.Errorf("%+v is settled for %v but becomes %+v", from, ok, got)
				}
			}
		}
	}
	if (Target{Status: Unknown}).Settled(true) || (Target{Status: Alive}).Settled(false) || (Target{Status: Alive, Run: -1}).Settled(true) {
		t.Error("a state that can still change counts as settled")
	}
}

func TestReceiving(t *testing.T) {
	doc := FailOpen{Unprobed: true}
	for _, tc := range []struct {
		name    string
		targets []Candidate
		open    FailOpen
		want    []bool
	}{
		{"no targets, no receivers", nil, doc, []bool{}},
		{"the healthy receive, the others do not", []Candidate{{10, Alive}, {10, Dead}, {10, Unknown}}, doc, []bool{true, false, false}},
		{"weight 0 receives nothing, however healthy", []Candidate{{0, Alive}, {10, Alive}}, doc, []bool{false, true}},
		{"all dead means all with weight", []Candidate{{10, Dead}, {0, Dead}, {5, Dead}}, doc, []bool{true, false, true}},
		{"targets not probed yet count as unhealthy", []Candidate{{10, Unknown}, {10, Dead}}, doc, []bool{true, true}},
		{"unless set otherwise", []Candidate{{10, Unknown}, {10, Dead}}, FailOpen{}, []bool{false, false}},
		{"a healthy target of weight 0 keeps the listener closed", []Candidate{{0, Alive}, {10, Dead}}, doc, []bool{false, false}},
		{"unless set otherwise", []Candidate{{0, Alive}, {10, Dead}}, FailOpen{Drained: true}, []bool{false, true}},
		{"with the check off all with weight receive", []Candidate{{10, Closed}, {0, Closed}, {1, Closed}}, doc, []bool{true, false, true}},
		{"all of weight 0 receive nothing, even when dead", []Candidate{{0, Dead}, {0, Dead}}, FailOpen{Unprobed: true, Drained: true}, []bool{false, false}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, Receiving(tc.targets, tc.open)); diff != "" {
				t.Errorf("receivers (-want +got):\n%s", diff)
			}
		})
	}
}
