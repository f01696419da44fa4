// SPDX-License-Identifier: Apache-2.0

package chains

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// tolerated begin the chains of network plugins that check that their own jump is first. Two programs that both
// insist would move each other for ever; theirs carry no NodePort traffic away from us.
var tolerated = []string{"cali-", "ANTREA-", "CILIUM_"}

// Change is the work that turns what is in the kernel into what should be there.
type Change struct {
	write  map[Chain][]string // chains to replace, with their rules
	remove []Chain            // chains to empty and delete, sorted
	jumps  map[Chain][]string // commands on built-in chains, in order
}

// Diff returns the change from actual to desired. Chains of ours that desired does not know are removed, jumps
// too, so that Diff(saved, Text{}) is the complete clean-up.
func Diff(actual Saved, desired Text) Change {
	c := Change{write: map[Chain][]string{}, jumps: map[Chain][]string{}}
	for chain, rules := range desired.Chains {
		if have, exists := actual.Chains[chain]; !exists || !slices.Equal(have, rules) {
			c.write[chain] = rules
		}
	}
	for chain := range actual.Chains {
		if _, wanted := desired.Chains[chain]; !wanted {
			c.remove = append(c.remove, chain)
		}
	}
	slices.SortFunc(c.remove, Chain.compare)
	c.fixJumps(actual.BuiltIn, desired.Jumps)
	return c
}

func (c *Change) fixJumps(builtIn map[Chain][]string, want []Jump) {
	for _, from := range sortedKeys(builtIn) {
		rules := builtIn[from]
		for _, rule := range rules {
			_, to, isJump := strings.Cut(rule, "-j "+Prefix)
			stale := isJump && !slices.ContainsFunc(want, func(j Jump) bool { return j.From == from && j.Rule() == rule })
			if stale && !strings.Contains(to, " ") {
				c.jumps[from] = append(c.jumps[from], "-D "+from.Name+" "+rule)
			}
		}
	}
	for _, j := range want {
		rules := builtIn[j.From]
		first := slices.Index(rules, j.Rule())
		count := 0
		for _, rule := range rules {
			if rule == j.Rule() {
				count++
			}
		}
		ahead := 0
		for ahead < len(rules) && ahead != first && isTolerated(rules[ahead]) {
			ahead++
		}
		if count == 1 && (!j.First || first <= ahead) {
			continue
		}
		for range count {
			c.jumps[j.From] = append(c.jumps[j.From], "-D "+j.From.Name+" "+j.Rule())
		}
		position := 1
		if j.First {
			position += ahead
		}
		c.jumps[j.From] = append(c.jumps[j.From], fmt.Sprintf("-I %s %d %s", j.From.Name, position, j.Rule()))
	}
}

func isTolerated(rule string) bool {
	_, target, found := strings.Cut(rule, "-j ")
	return found && slices.ContainsFunc(tolerated, func(prefix string) bool { return strings.HasPrefix(target, prefix) })
}

// Empty tells whether there is nothing to do.
func (c Change) Empty() bool { return len(c.write) == 0 && len(c.remove) == 0 && len(c.jumps) == 0 }

// Size counts the chains and jumps that the change touches.
func (c Change) Size() (chains, jumps int) { return len(c.write) + len(c.remove), len(c.jumps) }

// JumpsOnly tells whether only jumps in built-in chains are missing or misplaced: somebody else moved them.
func (c Change) JumpsOnly() bool { return len(c.write) == 0 && len(c.remove) == 0 && len(c.jumps) > 0 }

// String is the input for iptables-restore --noflush. Each table is one transaction: packets see the rules before
// or after it, nothing between. Tables that do not change are not named.
func (c Change) String() string {
	var b strings.Builder
	writes := sortedKeys(c.write)
	jumps := sortedKeys(c.jumps)
	for _, table := range []string{"filter", "nat"} {
		inTable := func(c Chain) bool { return c.Table == table }
		if !slices.ContainsFunc(writes, inTable) && !slices.ContainsFunc(c.remove, inTable) && !slices.ContainsFunc(jumps, inTable) {
			continue
		}
		b.WriteString("*" + table + "\n")
		for _, list := range [][]Chain{writes, c.remove} {
			for _, chain := range list {
				if inTable(chain) {
					b.WriteString(":" + chain.Name + " - [0:0]\n")
				}
			}
		}
		for _, chain := range writes {
			if inTable(chain) {
				for _, rule := range c.write[chain] {
					b.WriteString("-A " + chain.Name + " " + rule + "\n")
				}
			}
		}
		for _, chain := range jumps {
			if inTable(chain) {
				for _, command := range c.jumps[chain] {
					b.WriteString(command + "\n")
				}
			}
		}
		for _, chain := range c.remove {
			if inTable(chain) {
				b.WriteString("-X " + chain.Name + "\n")
			}
		}
		b.WriteString("COMMIT\n")
	}
	return b.String()
}

// After returns what iptables-save would print once the change has been made to actual, as far as it concerns
// our chains; the jumps are taken to be right.
func (c Change) After(actual map[Chain][]string) map[Chain][]string {
	after := make(map[Chain][]string, len(actual)+len(c.write))
	maps.Copy(after, actual)
	maps.Copy(after, c.write)
	for _, chain := range c.remove {
		delete(after, chain)
	}
	return after
}
