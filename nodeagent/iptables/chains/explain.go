// SPDX-License-Identifier: Apache-2.0

package chains

import (
	"fmt"
	"strings"
)

// Explain says what the saved chains do with a port, with the packets counted since each chain was written: first packets
// of flows only, the rest follow the flow.
func Explain(s Saved, port uint16) []string {
	var lines []string
	match := fmt.Sprintf("--dport %d ", port)
	for _, c := range sortedKeys(s.Chains) {
		for i, rule := range s.Chains[c] {
			if !strings.Contains(rule+" ", match) {
				continue
			}
			target := rule[strings.LastIndex(rule, " ")+1:]
			protocol, _, _ := strings.Cut(strings.TrimPrefix(rule, "-p "), " ")
			switch {
			case c.Table == Health.Table && (c == Health || strings.HasPrefix(c.Name, Health.Name+"-")):
				lines = append(lines, fmt.Sprintf("%d/tcp is let in as a health check port (%d packets)", port, s.packets(c, i)))
			case strings.HasPrefix(target, Prefix+"EXT-"):
				lines = append(lines, fmt.Sprintf("%d/%s goes to %s (%d flows)", port, protocol, target, s.packets(c, i)))
				lines = append(lines, s.endpoints(Chain{c.Table, target}, map[string]bool{})...)
			default:
				lines = append(lines, fmt.Sprintf("%d/%s that nothing has redirected goes to %s (%d packets)", port, protocol, target, s.packets(c, i)))
			}
		}
	}
	if len(lines) == 0 {
		return []string{"no rule of ours names this port"}
	}
	return lines
}

// endpoints follows a chain to its translations.
func (s Saved) endpoints(c Chain, seen map[string]bool) []string {
	if seen[c.Name] {
		return nil
	}
	seen[c.Name] = true
	var lines []string
	for i, rule := range s.Chains[c] {
		if _, to, found := strings.Cut(rule, "-j DNAT --to-destination "); found {
			lines = append(lines, fmt.Sprintf("  in %s: endpoint %s (%d flows)", c.Name, to, s.packets(c, i)))
		}
		target := rule[strings.LastIndex(rule, " ")+1:]
		if strings.HasPrefix(target, Prefix) && target != Masq.Name {
			lines = append(lines, s.endpoints(Chain{c.Table, target}, seen)...)
		}
	}
	return lines
}

func (s Saved) packets(c Chain, rule int) uint64 {
	if rule >= len(s.Packets[c]) {
		return 0
	}
	return s.Packets[c][rule]
}
