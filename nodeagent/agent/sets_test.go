// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/clbsync/clbsync/nodeagent/internal/nettest"
	"github.com/clbsync/clbsync/nodeagent/iptables"
)

// A set goes when no rule has named it for SetRest, and not before; one that a rule names again begins anew.
func TestAddressSetsRest(t *testing.T) {
	nettest.New(t, "node").Do(func() {
		runner := iptables.Runner{Family: corev1.IPv4Protocol, Variant: iptables.Legacy}
		f := &family{runner: runner, sets: map[string]time.Time{"CLBN-EP-X": {}}}
		if err := runner.CreateSet("CLBN-EP-X"); err != nil {
			t.Error(err)
		}
		wanted, start := map[string]bool{"CLBN-EP-X": true}, time.Now()
		for _, step := range []struct {
			why    string
			after  time.Duration
			wanted map[string]bool
			left   int
		}{
			{"a rule names it", 0, wanted, 1},
			{"none does any more", 0, nil, 1},
			{"it rests", iptables.SetRest - 1, nil, 1},
			{"a rule names it again", iptables.SetRest, wanted, 1},
			{"none does again", iptables.SetRest, nil, 1},
			{"it rests anew", 2*iptables.SetRest - 1, nil, 1},
			{"it has rested", 2 * iptables.SetRest, nil, 0},
		} {
			f.destroySets(step.wanted, start.Add(step.after))
			if sets, err := runner.Sets(t.Context()); err != nil || len(sets) != step.left {
				t.Errorf("%s: there are %v, %v; want %d", step.why, sets, err, step.left)
			}
		}
	})
}
