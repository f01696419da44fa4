// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/klog/v2"

	"github.com/clbsync/clbsync/nodeagent/iptables"
	"github.com/clbsync/clbsync/nodeagent/iptables/chains"
)

const otherBit = "give the agent another bit with --masquerade-bit; this command says, with the same flag, whether it is free"

// markFindings looks for all that uses our bit of the packet mark, in both variants.
func markFindings(ctx context.Context, mark uint32) []Finding {
	var out []Finding
	for _, variant := range []iptables.Variant{iptables.Legacy, iptables.NFT} {
		for _, family := range iptables.Families {
			out = append(out, marks(ctx, iptables.Runner{Family: family, Variant: variant}, mark)...)
		}
	}
	return append(out, routingMarks(mark)...)
}

// checkMark tells once, at start, if the mark bit is not ours alone. The agent serves meanwhile: it is for the operator to
// judge what the other use means.
func (a *Agent) checkMark(ctx context.Context) {
	var bad []Finding
	for _, f := range markFindings(ctx, a.config.Mark) {
		if f.Bad {
			bad = append(bad, f)
			klog.FromContext(ctx).Info("The mark bit is not ours alone", "finding", f.Text, "means", f.Means, "do", f.Do)
		}
	}
	if len(bad) > 0 && ctx.Err() == nil {
		a.nodeEvent(corev1.EventTypeWarning, "MarkBitInUse", fmt.Sprintf("%s (%d such findings): %s; %s", bad[0].Text, len(bad), bad[0].Means, bad[0].Do))
	}
}

// marks looks for rules of others that set or read our bit of the packet mark.
func marks(ctx context.Context, r iptables.Runner, mark uint32) []Finding {
	var out []Finding
	hostPorts := false
	for _, table := range []string{"mangle", "nat", "filter"} {
		text, err := r.Table(ctx, table)
		if err != nil {
			return nil // a variant that does not work has no rules; that the chosen one works is said above
		}
		for line := range strings.Lines(text) {
			line = strings.TrimSpace(line)
			if strings.HasPrefix(line, "-A "+chains.Prefix) || !usesMark(line, mark) {
				continue
			}
			if harmless.MatchString(line) {
				hostPorts = true
			} else {
				out = append(out, Finding{true, fmt.Sprintf("%s: a rule of others uses mark bit %#x: %s", r.Program(), mark, line),
					"the agent masquerades what that rule marks, or that rule takes our packets for its own", otherBit})
			}
		}
	}
	switch {
	case len(out) > 0:
	case hostPorts:
		out = append(out, fine("%s: the CNI plugin portmap uses mark bit %#x too, for packets to host ports and for the same end: to masquerade them", r.Program(), mark))
	default:
		out = append(out, fine("%s: nobody else uses mark bit %#x", r.Program(), mark))
	}
	return out
}

// harmless are the rules of the CNI plugin portmap, whose bit is ours by default: whom it marks we masquerade, and the other way
// round, which is what either wants.
var harmless = regexp.MustCompile(`^-A CNI-HOSTPORT-(SETMARK|MASQ) `)

// usesMark tells whether a rule, as iptables-save prints it, asks for a bit of the packet mark, sets it or clears it. To set a
// whole mark clears the bit, and so does to restore a whole one from the connection: what we have marked would not be
// masqueraded, in silence. A whole mark that is asked for counts by its value: nobody who asks for 0x80 means our bit. Marks of
// connections are not marks of packets.
func usesMark(rule string, mark uint32) bool {
	words := append(strings.Fields(rule), "")
	in := "" // the match or target whose options come
	for i, word := range words[:len(words)-1] {
		value, mask, masked := markOf(words[i+1])
		used := uint32(0)
		switch word {
		case "-m", "-j", "-g":
			in = words[i+1]
		case "--mark":
			if used = value; masked {
				used = mask
			}
			if in != "mark" {
				used = 0
			}
		case "--set-xmark", "--set-mark", "--tproxy-mark":
			if used = value | mask; in == "CONNMARK" {
				used = 0
			}
		case "--restore-mark":
			used = ^uint32(0)
			if i+2 < len(words) && (words[i+1] == "--nfmask" || words[i+1] == "--mask") {
				used, _, _ = markOf(words[i+2])
			}
		}
		if used&mark != 0 {
			return true
		}
	}
	return false
}

// markOf reads VALUE or VALUE/MASK; without a mask all bits count.
func markOf(word string) (value, mask uint32, masked bool) {
	first, second, masked := strings.Cut(word, "/")
	v, _ := strconv.ParseUint(first, 0, 32) // what is no number is no mark
	m := uint64(0xffffffff)
	if masked {
		m, _ = strconv.ParseUint(second, 0, 32)
	}
	return uint32(v), uint32(m), masked
}

// routingMarks looks for policy routing that reads our bit.
func routingMarks(mark uint32) []Finding {
	var out []Finding
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		rules, err := netlink.RuleList(family)
		if err != nil {
			continue // no policy routing in the kernel
		}
		for _, r := range rules {
			mask := uint32(0xffffffff)
			if r.Mask != nil {
				mask = *r.Mask
			}
			if (r.Mark != 0 || r.Mask != nil) && mask&mark != 0 {
				version := map[int]string{unix.AF_INET: "ip rule", unix.AF_INET6: "ip -6 rule"}[family]
				out = append(out, Finding{true, fmt.Sprintf("%s: priority %d matches fwmark %#x/%#x, which has mark bit %#x", version, r.Priority, r.Mark, mask, mark),
					"packets to NodePorts, which bear our mark while they are routed, take another way than they should", otherBit})
			}
		}
	}
	if len(out) == 0 {
		out = append(out, fine("ip rule: no routing depends on mark bit %#x", mark))
	}
	return out
}
