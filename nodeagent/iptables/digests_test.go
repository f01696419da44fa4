// SPDX-License-Identifier: Apache-2.0

package iptables

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/clbsync/clbsync/nodeagent/iptables/chains"
)

// differing names the chains whose digests are not the same.
func differing(a, b Digests) []string {
	var names []string
	for _, m := range []Digests{a, b} {
		for c := range m {
			if a[c] != b[c] && !slices.Contains(names, c.Name) {
				names = append(names, c.Name)
			}
		}
	}
	slices.Sort(names)
	return names
}

func TestDigestsNameTheChainsThatOthersChanged(t *testing.T) {
	runners(t, func(t *testing.T, r Runner) {
		text := chains.Render(goldenRules(r.Family), options)
		load(t, r, chains.Diff(save(t, r), text), text.Sets)
		if r.Variant == Legacy {
			if h, err := r.Digests(); err == nil {
				t.Errorf("got %v, want an error", h)
			}
			return
		}
		digests := func(of ...chains.Chain) Digests {
			t.Helper()
			h, err := r.Digests(of...)
			if err != nil {
				t.Fatal(err)
			}
			return h
		}
		last := digests()
		for c, rules := range text.Chains {
			if _, found := last[c]; found != (len(rules) > 0) {
				t.Errorf("chain %s of %d rules: digest found: %v", c.Name, len(rules), found)
			}
			if one := digests(c); one[c] != last[c] || len(one) > 1 {
				t.Errorf("chain %s by itself: got %v, want %d as among all", c.Name, one, last[c])
			}
		}
		for harm, want := range map[string][]string{
			"-t filter -Z":                                  nil, // the counters
			"-t nat -N KUBE-SERVICES":                       nil,
			"-t nat -I PREROUTING 1 -j RETURN":              nil,
			"-t nat -F CLBN-EXT-" + hashOf(text, "faraway"): {"CLBN-EXT-" + hashOf(text, "faraway")},
			"-t filter -I CLBN-INPUT 2 -j ACCEPT":           {"CLBN-INPUT"},
			"-t filter -R CLBN-DROP 1 -j RETURN":            {"CLBN-DROP"},
		} {
			if _, err := r.run(context.Background(), "", r.program(""), append([]string{"-w"}, strings.Fields(harm)...)...); err != nil {
				t.Fatal(err)
			}
			now := digests()
			if got := differing(last, now); !slices.Equal(got, want) {
				t.Errorf("after %q: got %v, want %v", harm, got, want)
			}
			last = now
		}
		if gone := digests(chains.Chain{Table: "nat", Name: chains.Prefix + "NONE"}); len(gone) > 0 {
			t.Errorf("a chain that does not exist: got %v, want nothing", gone)
		}
	})
}

// hashOf returns the letters that stand for the Service of this name.
func hashOf(text chains.Text, service string) string {
	for c, rules := range text.Chains {
		if !strings.HasPrefix(c.Name, chains.NodePorts.Name) {
			continue
		}
		for _, rule := range rules {
			if _, hash, found := strings.Cut(rule, "-g CLBN-EXT-"); found && strings.Contains(rule, "shop/"+service+":") {
				return hash
			}
		}
	}
	return "none"
}

// Apply must know when somebody else has written at the same time: what it wrote may have been changed again.
func TestApplyTellsWhetherOthersWrote(t *testing.T) {
	t.Setenv("XTABLES_LOCKFILE", filepath.Join(t.TempDir(), "lock"))
	dir := t.TempDir()
	runners(t, func(t *testing.T, r Runner) {
		empty := save(t, r)
		text := chains.Render(goldenRules(r.Family), options)
		for set := range text.Sets {
			if err := r.CreateSet(set); err != nil {
				t.Fatal(err)
			}
		}
		start, _ := r.Generation()
		before, generation, err := r.Apply(context.Background(), chains.Diff(empty, text))
		if now, _ := r.Generation(); err != nil || before != start || (r.Variant == NFT) != (generation == now) || (r.Variant == Legacy) != (generation == Generation{}) {
			t.Errorf("alone: got %v, %v; want the generation that the tables have, %v, and with legacy none", generation, err, now)
		}
		if r.Variant == Legacy || r.Family == corev1.IPv6Protocol {
			return
		}
		restore, err := exec.LookPath(r.program("-restore"))
		if err != nil {
			t.Fatal(err)
		}
		script := fmt.Sprintf("#!/bin/sh\n%s -t nat -N OTHER\nexec %s \"$@\"\n", strings.TrimSuffix(restore, "-restore"), restore)
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(restore)), []byte(script), 0o700); err != nil {
			t.Fatal(err)
		}
		t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
		_, generation, err = r.Apply(context.Background(), chains.Diff(save(t, r), chains.Text{}))
		if err != nil || generation != (Generation{}) {
			t.Errorf("while somebody else wrote: got %v, %v; want the zero Generation", generation, err)
		}
	})
}
