// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/clbsync/clbsync/nodeagent/iptables"
	"github.com/clbsync/clbsync/nodeagent/iptables/chains"
)

// Finding is one thing that Check has looked at.
type Finding struct {
	Bad  bool // needs attention
	Text string
}

func (f Finding) String() string {
	if f.Bad {
		return "!! " + f.Text
	}
	return "ok " + f.Text
}

// Check examines the host for what makes NodePorts fail in silence. It changes nothing.
func Check(ctx context.Context, asked iptables.Variant, mark uint32) []Finding {
	found := Look(ctx, asked)
	mode, why, problem := DecideMode("", found)
	out := []Finding{
		{Text: fmt.Sprintf("iptables-%s: %s", found.Variant, found.WhyChosen)},
		{Text: fmt.Sprintf("mode %s: %s", mode, why)},
	}
	if problem != "" {
		out = append(out, Finding{true, problem})
	}
	other := iptables.Legacy
	if found.Variant == iptables.Legacy {
		other = iptables.NFT
	}
	if e := iptables.Examine(ctx, other); e.KubeProxy {
		out = append(out, Finding{true, fmt.Sprintf("iptables-%s holds rules of kube-proxy too: left over, or two proxies", other)})
	}
	out = append(out, sysctls()...)
	for _, family := range []corev1.IPFamily{corev1.IPv4Protocol, corev1.IPv6Protocol} {
		out = append(out, marks(ctx, iptables.Runner{Family: family, Variant: found.Variant}, mark)...)
	}
	return out
}

func setting(name string) string {
	text, err := os.ReadFile("/proc/sys/" + name)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(text))
}

func sysctls() []Finding {
	var out []Finding
	add := func(bad bool, format string, args ...any) {
		out = append(out, Finding{bad, fmt.Sprintf(format, args...)})
	}
	forward := setting("net/ipv4/ip_forward")
	add(forward != "1", "net.ipv4.ip_forward is %q; without 1 no packet reaches a pod", forward)
	filter := setting("net/ipv4/conf/all/rp_filter")
	add(filter == "1", "net.ipv4.conf.all.rp_filter is %q; 1 (strict) drops packets of Local NodePorts where pods answer by another interface", filter)
	add(false, "net.netfilter.nf_conntrack_tcp_be_liberal is %q", setting("net/netfilter/nf_conntrack_tcp_be_liberal"))
	out = append(out, ephemeral(setting("net/ipv4/ip_local_port_range"), setting("net/ipv4/ip_local_reserved_ports")))
	return out
}

// nodePortFirst and nodePortLast are the API server's default range.
const nodePortFirst, nodePortLast = 30000, 32767

// ephemeral tells whether connections that leave this node may take a NodePort as their source port: the answer would
// be taken for a new client, and the connection hangs.
func ephemeral(ports, reserved string) Finding {
	fields := strings.Fields(ports)
	if len(fields) != 2 {
		return Finding{true, fmt.Sprintf("net.ipv4.ip_local_port_range is %q, want two numbers", ports)}
	}
	first, err1 := strconv.Atoi(fields[0])
	last, err2 := strconv.Atoi(fields[1])
	text := fmt.Sprintf("net.ipv4.ip_local_port_range is %s-%s, NodePorts are %d-%d unless the API server says otherwise", fields[0], fields[1], nodePortFirst, nodePortLast)
	overlap := err1 != nil || err2 != nil || (first <= nodePortLast && last >= nodePortFirst)
	covered := strings.Contains(reserved, fmt.Sprintf("%d-%d", nodePortFirst, nodePortLast))
	if overlap && !covered {
		text += "; they overlap: add them to net.ipv4.ip_local_reserved_ports"
	}
	return Finding{overlap && !covered, text}
}

var markWord = regexp.MustCompile(`(?:--mark|--set-xmark|--set-mark|--or-mark) (0x[0-9a-f]+)`)

// marks looks for rules of others that set or read our bit of the packet mark.
func marks(ctx context.Context, r iptables.Runner, mark uint32) []Finding {
	name := map[corev1.IPFamily]string{corev1.IPv4Protocol: "iptables-", corev1.IPv6Protocol: "ip6tables-"}[r.Family] + string(r.Variant) + "-save"
	var out []Finding
	for _, table := range []string{"mangle", "nat", "filter"} {
		text, err := exec.CommandContext(ctx, name, "-t", table).Output()
		if err != nil {
			out = append(out, Finding{true, fmt.Sprintf("%s -t %s: %v", name, table, err)})
			continue
		}
		for line := range strings.Lines(string(text)) {
			line = strings.TrimSpace(line)
			m := markWord.FindStringSubmatch(line)
			if m == nil || strings.HasPrefix(line, "-A "+chains.Prefix) {
				continue
			}
			if value, err := strconv.ParseUint(m[1][2:], 16, 32); err == nil && uint32(value)&mark != 0 {
				out = append(out, Finding{true, fmt.Sprintf("%s: a rule of others uses mark bit %#x: %s; choose another --masquerade-bit", name, mark, line)})
			}
		}
	}
	if len(out) == 0 {
		out = append(out, Finding{Text: fmt.Sprintf("%s: nobody else uses mark bit %#x", name, mark)})
	}
	return out
}
