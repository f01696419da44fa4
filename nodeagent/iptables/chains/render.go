// SPDX-License-Identifier: Apache-2.0

package chains

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"

	"github.com/clbsync/clbsync/nodeagent"
)

// Options are what concerns iptables alone.
type Options struct {
	// Mark is the one bit of the packet mark that tells CLBN-POST to masquerade.
	Mark uint32
	// EndpointChains gives every endpoint a chain of its own that masquerades what the endpoint sends to itself.
	// Otherwise one rule for all of them does, with a match (bpf) that compares a packet's two addresses: a third of
	// the chains, on which all costs of an update depend. For kernels without that match only.
	EndpointChains bool
	// Recent keeps client affinity in the kernel's "recent" lists instead of address sets. A list forgets all
	// but its last 100 clients: for kernels without ipset only.
	Recent bool
	// CommentsMost is up to how many NodePorts the rules name the Service in a comment; 0 sets no bound. With iptables-legacy each
	// comment is 288 bytes that every update copies out of the kernel and back, a seventh of the table. kube-proxy leaves its
	// comments out above a thousand endpoints.
	CommentsMost int
}

// The chains with fixed names.
var (
	NAT       = Chain{"nat", Prefix + "NAT"}
	NodePorts = Chain{"nat", Prefix + "NP"}
	Masq      = Chain{"nat", Prefix + "MASQ"}
	Post      = Chain{"nat", Prefix + "POST"}
	Input     = Chain{"filter", Prefix + "INPUT"}
	Health    = Chain{"filter", Prefix + "HC"}
	NoEP      = Chain{"filter", Prefix + "NOEP"}
	DropAll   = Chain{"filter", Prefix + "DROP"}
	RejectAll = Chain{"filter", Prefix + "REJECT"}
	Fwd       = Chain{"filter", Prefix + "FORWARD"}
)

// Render returns the chains for the rules.
func Render(rules nodeagent.Rules, options Options) Text {
	r := NewRenderer(options)
	r.Update(rules)
	return r.Text()
}

// addHost writes what does not depend on Services.
func (t *Text) addHost(rules nodeagent.Rules, options Options) {
	settings := rules.Settings
	mark := fmt.Sprintf("0x%x/0x%x", options.Mark, options.Mark)
	t.Jumps = []Jump{
		{From: Chain{"nat", "PREROUTING"}, To: NAT.Name, First: true},
		{From: Chain{"nat", "OUTPUT"}, To: NAT.Name, First: true},
		{From: Chain{"nat", "POSTROUTING"}, To: Post.Name, First: true},
		{From: Chain{"filter", "INPUT"}, To: Input.Name},
	}
	toNode := "-m addrtype --dst-type LOCAL -j " + NodePorts.Name
	switch {
	case rules.Family == corev1.IPv6Protocol:
		toNode = "! -d ::1/128 " + toNode // the kernel routes nothing from ::1 to elsewhere
	case !settings.Localhost:
		toNode = "! -d 127.0.0.0/8 " + toNode
	}
	t.Chains[NAT] = []string{toNode}
	t.Chains[Masq] = []string{"-j MARK --set-xmark " + mark}
	t.Chains[Post] = nil
	if !options.EndpointChains {
		t.Chains[Post] = []string{HairpinRule(rules.Family)}
	}
	t.Chains[Post] = append(t.Chains[Post],
		"-m mark ! --mark "+mark+" -j RETURN",
		// The mark goes, or a packet that passes the stack once more, into a tunnel say, would be
		// masqueraded once more.
		fmt.Sprintf("-j MARK --set-xmark 0x%x/0x0", options.Mark),
		"-j MASQUERADE --random-fully")
	input := []string{}
	if settings.Localhost {
		input = append(input, "! -s 127.0.0.0/8 -d 127.0.0.0/8"+comment("block incoming localnet connections")+
			" -m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP")
	}
	t.Chains[Input] = append(input,
		"-p tcp -j "+Health.Name,
		"-m conntrack --ctstate NEW -m addrtype --dst-type LOCAL -j "+NoEP.Name)
	t.Chains[DropAll] = []string{"-j DROP"}
	unreachable := "icmp-port-unreachable"
	if rules.Family == corev1.IPv6Protocol {
		unreachable = "icmp6-port-unreachable"
	}
	// The kernel limits the rate of ICMP errors: with them alone, "refused" turns into a time-out under load.
	t.Chains[RejectAll] = []string{"-p tcp -j REJECT --reject-with tcp-reset", "-j REJECT --reject-with " + unreachable}
	t.addForward(settings, mark)
}

func (t *Text) addForward(settings nodeagent.Settings, mark string) {
	var rules []string
	if settings.DropInvalid {
		rules = append(rules, "-m conntrack --ctstate INVALID -j DROP")
	}
	if settings.Forward {
		// The first packet of a masqueraded flow bears the mark; one of a Local NodePort bears none and is
		// known by its translation. The rest of both is ESTABLISHED.
		rules = append(rules, "-m mark --mark "+mark+" -j ACCEPT", "-m conntrack --ctstate DNAT -j ACCEPT",
			"-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT")
	}
	if len(rules) > 0 {
		t.Chains[Fwd] = rules
		t.Jumps = append(t.Jumps, Jump{From: Chain{"filter", "FORWARD"}, To: Fwd.Name})
	}
}
