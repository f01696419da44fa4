// SPDX-License-Identifier: Apache-2.0

package chains

import (
	"fmt"
	"maps"
	"math/bits"
	"slices"
	"strconv"
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

// Written returns the chains that the change writes, in no order; it leaves all others of those that remain as they are.
func (c Change) Written() []Chain { return slices.Collect(maps.Keys(c.write)) }

// JumpsOnly tells whether only jumps in built-in chains are missing or misplaced: somebody else moved them.
func (c Change) JumpsOnly() bool { return len(c.write) == 0 && len(c.remove) == 0 && len(c.jumps) > 0 }

// String is the change as one transaction for each table.
func (c Change) String() string { return c.Input(0) }

// Input is the input for iptables-restore --noflush. Each table is one transaction: packets see the rules before or
// after it, nothing between. Tables that do not change are not named.
//
// If most is not 0, a table's transaction that names more chains than that is cut into several. iptables-nft-restore
// keeps the names of a transaction in a list that it searches for each rule: fifty thousand took it 100 seconds. What a
// chain leads to is then written before it and removed after it, so that each step by itself is a whole rule set.
func (c Change) Input(most int) string {
	var b strings.Builder
	for _, table := range []string{"filter", "nat"} {
		var t part
		for _, chain := range sortedKeys(c.write) {
			if chain.Table == table {
				t.write = append(t.write, chain)
			}
		}
		for _, chain := range c.remove {
			if chain.Table == table {
				t.remove = append(t.remove, chain)
			}
		}
		for _, chain := range sortedKeys(c.jumps) {
			if chain.Table == table {
				t.commands = append(t.commands, c.jumps[chain]...)
			}
		}
		for _, p := range t.cut(c, most) {
			p.print(&b, table, c.write)
		}
	}
	return b.String()
}

// part is one transaction.
type part struct {
	write    []Chain
	commands []string // on built-in chains
	remove   []Chain
}

func (t part) empty() bool { return len(t.write)+len(t.commands)+len(t.remove) == 0 }

func (t part) print(b *strings.Builder, table string, rules map[Chain][]string) {
	if t.empty() {
		return
	}
	b.WriteString("*" + table + "\n")
	for _, list := range [][]Chain{t.write, t.remove} {
		for _, chain := range list {
			b.WriteString(":" + chain.Name + " - [0:0]\n")
		}
	}
	for _, chain := range t.write {
		for _, rule := range rules[chain] {
			b.WriteString("-A " + chain.Name + " " + rule + "\n")
		}
	}
	for _, command := range t.commands {
		b.WriteString(command + "\n")
	}
	for _, chain := range t.remove {
		b.WriteString("-X " + chain.Name + "\n")
	}
	b.WriteString("COMMIT\n")
}

// cut cuts the transaction into parts that name at most so many chains each, or as few as one chain needs.
func (t part) cut(c Change, most int) []part {
	names := func(chain Chain) int { return 1 + len(c.write[chain]) } // each rule may name another
	total := len(t.remove)
	for _, chain := range t.write {
		total += names(chain)
	}
	if most == 0 || total <= most {
		return []part{t}
	}
	var parts []part
	sum := 0
	add := func(n int) *part {
		if len(parts) == 0 || sum+n > most {
			parts, sum = append(parts, part{}), 0
		}
		sum += n
		return &parts[len(parts)-1]
	}
	slices.SortStableFunc(t.write, func(a, b Chain) int { return rank(a) - rank(b) })
	for _, chain := range t.write {
		p := add(names(chain))
		p.write = append(p.write, chain)
	}
	parts, sum = append(parts, part{commands: t.commands}), 0
	slices.SortStableFunc(t.remove, func(a, b Chain) int { return rank(b) - rank(a) })
	for _, chain := range t.remove {
		p := add(1)
		p.remove = append(p.remove, chain)
	}
	return parts
}

// rank orders chains so that those with a low rank lead to none with a higher one.
func rank(c Chain) int {
	kind, rest, _ := strings.Cut(strings.TrimPrefix(c.Name, Prefix), "-")
	switch {
	case kind == "EP":
		return 1
	case kind == "CLU", kind == "LOC":
		return 2
	case kind == "EXT":
		return 3
	case c == NAT, c == Post, c == Input, c == Fwd:
		return 100
	case c == NodePorts, c == NoEP, c == Health:
		return 99
	case rest != "": // of a dispatch tree: the fewer ports, the nearer to the leaves
		return 10 + bits.Len(blockSize(rest))
	}
	return 0 // DROP, REJECT, MASQ
}

// blockSize is how many ports a chain of a dispatch tree is for, as its name says; 0 if it is another agent's and says
// it in other words. Chains that are to be written always say it.
func blockSize(name string) uint {
	first, last, _ := strings.Cut(strings.TrimLeft(name, "TUS"), "-")
	from, err1 := strconv.ParseUint(first, 10, 16)
	to, err2 := strconv.ParseUint(last, 10, 16)
	if err1 != nil || err2 != nil || to < from {
		return 0
	}
	return uint(to - from + 1)
}
