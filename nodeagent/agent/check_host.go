// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink"

	"github.com/clbsync/clbsync/nodeagent"
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

var policyLine = regexp.MustCompile(`(?m)^:(INPUT|FORWARD) DROP`)

// dropsByPolicy names a built-in chain of the filter table that drops what no rule accepts, "" if none does.
func dropsByPolicy(save string) string {
	if m := policyLine.FindStringSubmatch(save); m != nil {
		return m[1]
	}
	return ""
}
