// SPDX-License-Identifier: Apache-2.0

package clb

import (
	"fmt"
	"testing"

	"github.com/clbsync/clbsync/lbsync"
)

func TestWhatIsRefusedIsNamedAndTheRestIsDone(t *testing.T) {
	for _, test := range []struct {
		name   string
		absent int // instances that do not exist, the last ones
		calls  int // at most, for the registration
	}{
		{"one target of sixty", 1, 13},
		{"every target", 60, 2*refusalsMax + 12},
	} {
		t.Run(test.name, func(t *testing.T) {
			simulated(t, nil, func(t *testing.T, w world) {
				var targets []lbsync.Target
				for n := range 60 - test.absent {
					targets = append(targets, onInstance(fmt.Sprintf("ins-%08d", n), 30080))
				}
				for n := range test.absent {
					targets = append(targets, onInstance(fmt.Sprintf("ins-9%07d", n), 30080))
				}
				want := desired(threeListeners[:1], targets...)
				before := w.reach(w.current(), desired(threeListeners[:1]))
				writes := len(w.writes())
				now, err := lbsync.Diff(before, want).Apply(t.Context(), w.Client, before)
				refused, ok := lbsync.OnlyRefused(err)
				if !ok || len(refused) != test.absent {
					t.Fatalf("got %v, want %d refusals", err, test.absent)
				}
				for _, one := range refused {
					if one.Binding.Target.Instance < "ins-9" {
						t.Errorf("%s is said to be refused", one.Object())
					}
				}
				if n := len(w.writes()) - writes; n > test.calls {
					t.Errorf("%d requests, want at most %d", n, test.calls)
				}
				if got := len(w.current().Targets); got != 60-test.absent || len(now.Targets) != got {
					t.Errorf("%d targets registered, %d said to be, want %d", got, len(now.Targets), 60-test.absent)
				}
				if left := lbsync.Diff(w.current(), refused.Without(now, want)); !left.Empty() {
					t.Errorf("left undone:\n%s", left)
				}
			})
		})
	}
}

func TestAListenerThatIsRefusedKeepsNobodyElseBack(t *testing.T) {
	simulated(t, nil, func(t *testing.T, w world) {
		bad := tcpCheck
		bad.Healthy = 11
		same := ours(key(lbsync.TCP, 81), tcpCheck, 0)
		want := desired([]lbsync.Listener{ours(key(lbsync.TCP, 80), tcpCheck, 0), ours(key(lbsync.TCP, 82), bad, 0), same}, onInstance("ins-00000000", 30080))
		for b := range want.Targets {
			if b.Listener != key(lbsync.TCP, 80) && b.Listener != key(lbsync.TCP, 82) {
				delete(want.Targets, b)
			}
		}
		before := w.reach(w.current(), desired(nil))
		now, err := lbsync.Diff(before, want).Apply(t.Context(), w.Client, before)
		refused, ok := lbsync.OnlyRefused(err)
		if !ok || len(refused) != 1 || refused[0].Object() != "listener TCP:82" {
			t.Fatalf("got %v, want the one listener to be refused", err)
		}
		if left := lbsync.Diff(w.current(), refused.Without(now, want)); !left.Empty() {
			t.Errorf("left undone:\n%s", left)
		}
	})
}
