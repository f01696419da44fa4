// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/klog/v2"

	"github.com/clbsync/clbsync/nodeagent"
	"github.com/clbsync/clbsync/nodeagent/iptables"
	"github.com/clbsync/clbsync/nodeagent/iptables/chains"
)

func setting(name string) string {
	text, err := os.ReadFile("/proc/sys/" + name)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(text))
}

// host looks at the settings of the kernel.
func host(services []nodeagent.Services) []Finding {
	var out []Finding
	for _, name := range []string{"net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"} {
		dotted := strings.ReplaceAll(name, "/", ".")
		switch value := setting(name); {
		case value == "" && strings.Contains(name, "ipv6"): // the kernel has no IPv6
		case value == "1":
			out = append(out, fine("%s is 1", dotted))
		case strings.Contains(name, "ipv6") && (len(services) < 2 || len(services[1].Ports) == 0):
			out = append(out, fine("%s is %s, and no Service here has IPv6", dotted, value))
		default:
			out = append(out, Finding{true, fmt.Sprintf("%s is %q", dotted, value), "no packet reaches a pod", "sysctl -w " + dotted + "=1, and a file in /etc/sysctl.d"})
		}
	}
	out = append(out, reversePath())
	out = append(out, fine("net.netfilter.nf_conntrack_tcp_be_liberal is %q (not 0: packets out of their window are let pass, and none is dropped as INVALID)", setting("net/netfilter/nf_conntrack_tcp_be_liberal")))
	var used []uint16
	for _, s := range services {
		for _, p := range s.Ports {
			used = append(used, p.NodePort)
		}
	}
	return append(out, ephemeral(setting("net/ipv4/ip_local_port_range"), setting("net/ipv4/ip_local_reserved_ports"), used))
}

// reversePath names the interfaces with strict reverse path filtering. On a node with one way out it does no harm.
func reversePath() Finding {
	all := setting("net/ipv4/conf/all/rp_filter")
	var strict []string
	files, _ := filepath.Glob("/proc/sys/net/ipv4/conf/*/rp_filter") // the pattern is good
	for _, file := range files {
		name := filepath.Base(filepath.Dir(file))
		own := setting(strings.TrimPrefix(file, "/proc/sys/"))
		if name != "all" && name != "default" && name != "lo" && max(all, own) == "1" {
			strict = append(strict, name)
		}
	}
	rules, err := netlink.RuleList(netlink.FAMILY_V4)
	bySource := err == nil && slices.ContainsFunc(rules, func(r netlink.Rule) bool { return r.Src != nil && !r.Src.IP.IsUnspecified() })
	names := strings.Join(strict[:min(len(strict), 5)], ", ")
	switch {
	case len(strict) > 0 && bySource:
		return Finding{true, fmt.Sprintf("net.ipv4.conf.*.rp_filter is 1 (strict) on %d interfaces (%s), and packets are routed by their source", len(strict), names),
			"requests to Local NodePorts are dropped on arrival where the endpoint's answer would leave by another interface", "sysctl -w net.ipv4.conf.all.rp_filter=2 (loose), and a file in /etc/sysctl.d"}
	case len(strict) > 0:
		return fine("net.ipv4.conf.*.rp_filter is 1 (strict) on %d interfaces (%s); nothing is routed by source, so it does no harm", len(strict), names)
	}
	return fine("net.ipv4.conf.*.rp_filter is strict on no interface")
}

// nodePortFirst and nodePortLast are the API server's default range.
const nodePortFirst, nodePortLast = 30000, 32767

// ephemeral tells whether connections that leave this node may take a NodePort as their source port: the answer would
// be taken for a new client, and the connection hangs. used are NodePorts that exist, in whatever range.
func ephemeral(ports, reserved string, used []uint16) Finding {
	name := "net.ipv4.ip_local_port_range"
	fields := strings.Fields(ports)
	if len(fields) != 2 {
		return Finding{true, fmt.Sprintf("%s is %q, want two numbers", name, ports), "it is not known which ports this node's own connections use", "sysctl -w " + name + `="32768 60999"`}
	}
	first, err1 := strconv.Atoi(fields[0])
	last, err2 := strconv.Atoi(fields[1])
	if err1 != nil || err2 != nil {
		first, last = 1, 65535
	}
	free := reservedPorts(reserved)
	candidates := []int{}
	for p := nodePortFirst; p <= nodePortLast; p++ {
		candidates = append(candidates, p)
	}
	for _, p := range used {
		candidates = append(candidates, int(p))
	}
	clash := slices.DeleteFunc(candidates, func(p int) bool { return p < first || p > last || free(p) })
	text := fmt.Sprintf("%s is %s-%s", name, fields[0], fields[1])
	if len(clash) == 0 {
		return fine("%s: no NodePort is in it, or those are reserved", text)
	}
	low, high := slices.Min(clash), slices.Max(clash)
	return Finding{true, fmt.Sprintf("%s, and NodePorts from %d to %d are in it", text, low, high),
		"a connection of this node that takes a NodePort as its source port hangs: the answer goes to the Service",
		fmt.Sprintf("sysctl -w net.ipv4.ip_local_reserved_ports=%d-%d, together with what is reserved already (%q), and a file in /etc/sysctl.d", low, high, reserved)}
}

// reservedPorts reads a list of ports and ranges.
func reservedPorts(list string) func(int) bool {
	var ranges [][2]int
	for part := range strings.SplitSeq(list, ",") {
		from, to, isRange := strings.Cut(strings.TrimSpace(part), "-")
		if !isRange {
			to = from
		}
		first, err1 := strconv.Atoi(from)
		last, err2 := strconv.Atoi(to)
		if err1 == nil && err2 == nil {
			ranges = append(ranges, [2]int{first, last})
		}
	}
	return func(p int) bool {
		return slices.ContainsFunc(ranges, func(r [2]int) bool { return p >= r[0] && p <= r[1] })
	}
}

var (
	markWord   = regexp.MustCompile(`(?:--mark|--set-xmark|--set-mark|--or-mark|--nfmask) (0x[0-9a-f]+)`)
	policyLine = regexp.MustCompile(`(?m)^:(INPUT|FORWARD) DROP`)
)

// dropsByPolicy names a built-in chain of the filter table that drops what no rule accepts, "" if none does.
func dropsByPolicy(save string) string {
	if m := policyLine.FindStringSubmatch(save); m != nil {
		return m[1]
	}
	return ""
}

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
	for _, table := range []string{"mangle", "nat", "filter"} {
		text, err := r.Table(ctx, table)
		if err != nil {
			return nil // a variant that does not work has no rules; that the chosen one works is said above
		}
		for line := range strings.Lines(text) {
			line = strings.TrimSpace(line)
			m := markWord.FindStringSubmatch(line)
			if m == nil || strings.HasPrefix(line, "-A "+chains.Prefix) {
				continue
			}
			if value, err := strconv.ParseUint(m[1][2:], 16, 32); err == nil && uint32(value)&mark != 0 {
				out = append(out, Finding{true, fmt.Sprintf("%s: a rule of others uses mark bit %#x: %s", r.Program(), mark, line),
					"the agent masquerades what that rule marks, or that rule takes our packets for its own", otherBit})
			}
		}
	}
	if len(out) == 0 {
		out = append(out, fine("%s: nobody else uses mark bit %#x", r.Program(), mark))
	}
	return out
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
