// SPDX-License-Identifier: Apache-2.0

package chains

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/clbsync/clbsync/nodeagent"
)

// tracer follows the first packet of a flow through chains as the kernel would. It fails on any word that it does not
// understand, so that no rule goes untested because the tracer overlooks it.
type tracer struct {
	chains map[Chain][]string
	mark   uint32
	packet nodeagent.Packet
	err    error
	// outcomes maps what can happen to its probability: "10.0.0.1:80", "10.0.0.1:80*" masqueraded, "drop", "reject", "accept".
	outcomes map[string]float64
}

// state is one of the ways that the packet may have gone, by the dice it met.
type state struct {
	probability float64
	marked      bool
}

func trace(t Text, mark uint32, p nodeagent.Packet) (map[string]float64, error) {
	tr := &tracer{chains: t.Chains, mark: mark, packet: p, outcomes: map[string]float64{}}
	passed := []state{{probability: 1}}
	if p.DestinationIsNode {
		passed = tr.walk(NAT, passed)
		passed = tr.walk(Input, passed)
	}
	for _, s := range passed {
		tr.outcomes["pass"] += s.probability
	}
	return tr.outcomes, tr.err
}

// walk returns the states in which packets come out at the end of the chain.
func (tr *tracer) walk(c Chain, in []state) []state {
	rules, exists := tr.chains[c]
	if !exists && tr.err == nil {
		tr.err = fmt.Errorf("chain %v does not exist", c)
	}
	var out []state
	for _, rule := range rules {
		var next []state
		for _, s := range in {
			stay, leave := tr.rule(c.Table, rule, s)
			next = append(next, stay...)
			out = append(out, leave...)
		}
		in = next
	}
	return append(out, in...)
}

// rule returns the states that go on to the next rule, and those that leave the chain.
func (tr *tracer) rule(table, rule string, s state) (stay, leave []state) {
	words := split(rule)
	matches, dice := true, 1.0
	for i := 0; i < len(words); i++ {
		not := words[i] == "!"
		if not {
			i++
		}
		word := words[i]
		arg := func() string { i++; return words[i] }
		hit := true
		switch word {
		case "-s":
			hit = netip.MustParsePrefix(arg()).Contains(tr.packet.Source)
		case "-d":
			hit = netip.MustParsePrefix(arg()).Contains(tr.packet.Destination)
		case "-i":
			name, plus := strings.CutSuffix(arg(), "+")
			hit = tr.packet.Interface == name || plus && strings.HasPrefix(tr.packet.Interface, name)
		case "-p":
			hit = strings.EqualFold(arg(), string(tr.packet.Protocol))
		case "-m", "--reject-with", "--comment", "--timeout", "--add-set":
			i++
		case "src", "--exist":
		case "--dport":
			first, last, isRange := strings.Cut(arg(), ":")
			if !isRange {
				last = first
			}
			hit = number(first) <= tr.packet.Port && tr.packet.Port <= number(last)
		case "--dst-type":
			hit = arg() == "LOCAL" && tr.packet.DestinationIsNode
		case "--src-type":
			hit = arg() == "LOCAL" && tr.packet.SourceIsNode
		case "--ctstate":
			hit = slices.Contains(strings.Split(arg(), ","), "NEW")
		case "--mode":
			i++
		case "--probability":
			dice, _ = strconv.ParseFloat(arg(), 64)
		case "--match-set":
			i += 2
			hit = false // a client that was not here before
		case "-j", "-g":
			if !matches {
				return []state{s}, nil
			}
			if missed := s.probability * (1 - dice); missed > 0 {
				stay = append(stay, state{missed, s.marked})
			}
			s.probability *= dice
			on, off := tr.target(table, word, words[i+1:], s)
			return append(stay, on...), off
		default:
			tr.err = fmt.Errorf("rule %q: do not know %q", rule, word)
		}
		matches = matches && hit != not
	}
	tr.err = fmt.Errorf("rule %q has no target", rule)
	return nil, nil
}

func (tr *tracer) target(table, how string, words []string, s state) (stay, leave []state) {
	switch name := words[0]; {
	case strings.HasPrefix(name, Prefix):
		out := tr.walk(Chain{table, name}, []state{s})
		if how == "-g" {
			return nil, out
		}
		return out, nil
	case name == "MARK":
		s.marked = words[2] == fmt.Sprintf("0x%x/0x%x", tr.mark, tr.mark)
		return []state{s}, nil
	case name == "SET":
		return []state{s}, nil
	case name == "DNAT":
		to := netip.MustParseAddrPort(words[2])
		masqueraded := s.marked || tr.hairpins() && to.Addr() == tr.packet.Source
		tr.outcomes[words[2]+map[bool]string{true: "*"}[masqueraded]] += s.probability
	case name == "RETURN":
		return nil, []state{s}
	case name == "DROP", name == "REJECT", name == "ACCEPT":
		tr.outcomes[strings.ToLower(name)] += s.probability
	default:
		tr.err = fmt.Errorf("do not know the target %q", name)
	}
	return nil, nil
}

// hairpins tells whether CLBN-POST masquerades what an endpoint sends to itself. That its program compares the two
// addresses and nothing else is shown in the kernel.
func (tr *tracer) hairpins() bool {
	rules := tr.chains[Post]
	return len(rules) > 0 && strings.HasPrefix(rules[0], "-m conntrack --ctstate DNAT -m bpf --bytecode ") && strings.HasSuffix(rules[0], "-j CLBN-MASQ")
}

func number(s string) uint16 {
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil {
		panic(err)
	}
	return uint16(n)
}

// split cuts a rule into words; a quoted comment is one.
func split(rule string) []string {
	var words []string
	for rule != "" {
		if quoted, found := strings.CutPrefix(rule, `"`); found {
			word, rest, _ := strings.Cut(quoted, `"`)
			words, rule = append(words, word), strings.TrimPrefix(rest, " ")
			continue
		}
		word, rest, _ := strings.Cut(rule, " ")
		words, rule = append(words, word), rest
	}
	return words
}
