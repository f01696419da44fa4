// SPDX-License-Identifier: Apache-2.0

package chains

import (
	"bufio"
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// Prefix begins the name of every chain and address set that is ours.
const Prefix = "CLBN-"

// Chain names a chain within its table.
type Chain struct{ Table, Name string }

func (c Chain) compare(d Chain) int {
	if n := strings.Compare(c.Table, d.Table); n != 0 {
		return n
	}
	return strings.Compare(c.Name, d.Name)
}

// Jump is a rule in a built-in chain that leads to one of ours.
type Jump struct {
	From Chain
	To   string
	// First: nothing may stand before it but the jumps of network plugins that insist on the first place
	// themselves. Otherwise it is enough that the jump exists.
	First bool
}

// Rule is the jump as iptables-save prints it, without "-A CHAIN ".
func (j Jump) Rule() string { return "-j " + j.To }

// Text is a set of chains as iptables prints them.
type Text struct {
	// Chains holds our chains: rules without the leading "-A CHAIN ". An empty chain has an entry.
	Chains map[Chain][]string
	Jumps  []Jump
	// Sets are the address sets that rules refer to. They must exist before the rules are loaded.
	Sets map[string]bool
}

// Saved is what iptables-save printed.
type Saved struct {
	Chains  map[Chain][]string // ours
	BuiltIn map[Chain][]string // the built-in chains, complete, in order
	Others  map[Chain]bool     // chains of other owners
	// Packets counts per rule of our chains; nil if the counters were not printed.
	Packets map[Chain][]uint64
}

// Parse reads the output of iptables-save, with or without counters. It fails on a line that it does not
// understand: a half-understood rule set would be "repaired" for ever.
func Parse(output []byte) (Saved, error) {
	s := Saved{Chains: map[Chain][]string{}, BuiltIn: map[Chain][]string{}, Others: map[Chain]bool{}}
	table := ""
	lines := bufio.NewScanner(bytes.NewReader(output))
	lines.Buffer(nil, 1<<20)
	for n := 1; lines.Scan(); n++ {
		line := lines.Text()
		switch {
		case line == "" || line[0] == '#':
		case line[0] == '*':
			table = line[1:]
		case line == "COMMIT":
			table = ""
		case table != "" && line[0] == ':':
			s.addChain(table, line[1:])
		case table != "" && (line[0] == '-' || line[0] == '['):
			if err := s.addRule(table, line); err != nil {
				return Saved{}, fmt.Errorf("line %d: %w", n, err)
			}
		default:
			return Saved{}, fmt.Errorf("line %d: want a table, chain or rule, got %q", n, line)
		}
	}
	return s, lines.Err()
}

func (s *Saved) addChain(table, line string) {
	name, rest, _ := strings.Cut(line, " ")
	c := Chain{table, name}
	switch {
	case strings.HasPrefix(name, Prefix):
		s.Chains[c] = []string{}
	case strings.HasPrefix(rest, "-"):
		s.Others[c] = true
	default:
		s.BuiltIn[c] = []string{}
	}
}

func (s *Saved) addRule(table, line string) error {
	var packets uint64
	counted := line[0] == '['
	if counted {
		counters, rest, found := strings.Cut(line[1:], "] ")
		number, _, _ := strings.Cut(counters, ":")
		p, err := strconv.ParseUint(number, 10, 64)
		if !found || err != nil {
			return fmt.Errorf("want [packets:bytes] before the rule, got %q", line)
		}
		packets, line = p, rest
	}
	rest, found := strings.CutPrefix(line, "-A ")
	if !found {
		return fmt.Errorf("want -A CHAIN, got %q", line)
	}
	name, rule, _ := strings.Cut(rest, " ")
	c := Chain{table, name}
	if strings.HasPrefix(name, Prefix) {
		s.Chains[c] = append(s.Chains[c], rule)
		if counted {
			if s.Packets == nil {
				s.Packets = map[Chain][]uint64{}
			}
			s.Packets[c] = append(s.Packets[c], packets)
		}
	} else if _, builtIn := s.BuiltIn[c]; builtIn {
		s.BuiltIn[c] = append(s.BuiltIn[c], rule)
	}
	return nil
}

// String is the whole text as iptables-restore input, chains in the order of their names.
func (t Text) String() string {
	return Diff(Saved{}, t).String()
}

// sortedKeys returns the chains of a map in order of table and name.
func sortedKeys[V any](m map[Chain]V) []Chain {
	keys := make([]Chain, 0, len(m))
	for c := range m {
		keys = append(keys, c)
	}
	slices.SortFunc(keys, Chain.compare)
	return keys
}

// NodePorts returns the ports of one protocol that the saved dispatch tree leads somewhere, sorted.
func (s Saved) NodePorts(protocol corev1.Protocol) []uint16 {
	var ports []uint16
	for chain, rules := range s.Chains {
		if chain != NodePorts && !strings.HasPrefix(chain.Name, NodePorts.Name+"-") {
			continue
		}
		for _, rule := range rules {
			rest, found := strings.CutPrefix(rule, "-p "+strings.ToLower(string(protocol))+" ")
			_, rest, hasPort := strings.Cut(rest, "--dport ")
			number, _, _ := strings.Cut(rest, " ")
			if port, err := strconv.ParseUint(number, 10, 16); found && hasPort && err == nil { // a range is no number
				ports = append(ports, uint16(port))
			}
		}
	}
	slices.Sort(ports)
	return ports
}
