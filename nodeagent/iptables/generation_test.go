// SPDX-License-Identifier: Apache-2.0

package iptables

import (
	"context"
	"strings"
	"testing"

	"github.com/clbsync/clbsync/nodeagent/iptables/chains"
)

func TestGenerationChangesWithTheRules(t *testing.T) {
	runners(t, func(t *testing.T, r Runner) {
		text := chains.Render(goldenRules(r.Family), options)
		load(t, r, chains.Diff(save(t, r), text), text.Sets)
		generation := func() Generation {
			t.Helper()
			g, err := r.Generation()
			if err != nil {
				t.Fatal(err)
			}
			return g
		}
		last := generation()
		if save(t, r); generation() != last || last == (Generation{}) {
			t.Errorf("nobody wrote rules: the generation went from %v to %v", last, generation())
		}
		for _, harm := range []string{"-t nat -F CLBN-NP", "-t nat -I PREROUTING 1 -j RETURN", "-t filter -F CLBN-INPUT", "-t nat -F"} {
			if _, err := r.run(context.Background(), "", r.program(""), append([]string{"-w"}, strings.Fields(harm)...)...); err != nil {
				t.Fatal(err)
			}
			if now := generation(); now == last {
				t.Errorf("after %q the generation is still %v", harm, now)
			} else {
				last = now
			}
		}
	})
}
