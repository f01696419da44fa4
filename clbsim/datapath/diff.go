// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"maps"
	"slices"
	"strings"
)

// Script returns nft commands that replace our whole table.
func (r Ruleset) Script() string {
	return "add table " + table + "\ndelete table " + table + "\nadd table " + table + "\n" + Diff(Ruleset{}, r)
}

// Remove is the nft script that takes our table away.
const Remove = "add table " + table + "\ndelete table " + table + "\n"

// Diff returns nft commands that turn one rule set into another and touch only
// what differs: counters, sets that packets fill, and flows of unchanged
// listeners stay. It is empty if nothing differs. The commands are in an order
// that nft takes as one transaction: what is referred to exists first and goes
// last.
func Diff(from, to Ruleset) string {
	var b strings.Builder
	line := func(words ...string) { b.WriteString(strings.Join(words, " ") + "\n") }

	for _, name := range slices.Sorted(maps.Keys(to.sets)) {
		if _, ok := from.sets[name]; !ok {
			line("add", to.sets[name].kind, table, name, "{", to.sets[name].spec, "}")
		}
	}
	for _, name := range slices.Sorted(maps.Keys(to.chains)) {
		if _, ok := from.chains[name]; ok {
			continue
		}
		if hook := to.chains[name].hook; hook != "" {
			line("add chain", table, name, "{", hook, "}")
		} else {
			line("add chain", table, name)
		}
	}
	changed := func(name string) bool { return !slices.Equal(from.chains[name].rules, to.chains[name].rules) }
	for _, name := range slices.Sorted(maps.Keys(from.chains)) {
		if changed(name) {
			line("flush chain", table, name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(to.chains)) {
		if changed(name) {
			for _, rule := range to.chains[name].rules {
				line("add rule", table, name, rule)
			}
		}
	}
	diffElements(from, to, line)
	for _, name := range slices.Sorted(maps.Keys(from.chains)) {
		if _, ok := to.chains[name]; !ok {
			line("delete chain", table, name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(from.sets)) {
		if _, ok := to.sets[name]; !ok {
			line("delete", from.sets[name].kind, table, name)
		}
	}
	return b.String()
}

func diffElements(from, to Ruleset, line func(...string)) {
	for _, name := range slices.Sorted(maps.Keys(to.sets)) {
		before, after := from.sets[name].elements, to.sets[name].elements
		if gone := without(before, after); len(gone) > 0 {
			// The key alone names an element of a map.
			for i, e := range gone {
				gone[i], _, _ = strings.Cut(e, " : ")
			}
			line("delete element", table, name, "{", strings.Join(gone, ", "), "}")
		}
		if come := without(after, before); len(come) > 0 {
			line("add element", table, name, "{", strings.Join(come, ", "), "}")
		}
	}
}

// without returns what is in a and not in b; both are sorted.
func without(a, b []string) []string {
	var out []string
	for _, e := range a {
		if _, found := slices.BinarySearch(b, e); !found {
			out = append(out, e)
		}
	}
	return out
}
