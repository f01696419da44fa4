// SPDX-License-Identifier: Apache-2.0

package chains

import (
	"crypto/sha256"
	"encoding/base32"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/clbsync/clbsync/nodeagent"
)

// Options are what concerns iptables alone.
type Options struct {
	// Mark is the one bit of the packet mark that tells CLBN-POST to masquerade.
	Mark uint32
	// Recent keeps client affinity in the kernel's "recent" lists instead of address sets. A list forgets all
	// but its last 100 clients: for kernels without ipset only.
	Recent bool
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
	t := Text{Chains: map[Chain][]string{}}
	t.addHost(rules, options)
	var dispatch, refuse, health []leaf
	for _, f := range rules.Frontends {
		l := leaf{protocol: f.Name.Protocol, port: f.Port}
		if len(f.Steps) > 0 {
			dispatch = append(dispatch, leaf{l.protocol, l.port, comment(f.Name.String()) + " -g " + ExternalChain(f.Name)})
			t.addFrontend(f, rules.Settings.Pods, options)
		}
		switch f.Otherwise {
		case nodeagent.Drop:
			refuse = append(refuse, leaf{l.protocol, l.port, comment(f.Name.String()+" has no local endpoints") + " -g " + DropAll.Name})
		case nodeagent.Reject:
			refuse = append(refuse, leaf{l.protocol, l.port, comment(f.Name.String()+" has no endpoints") + " -g " + RejectAll.Name})
		}
	}
	for _, port := range rules.Health {
		health = append(health, leaf{corev1.ProtocolTCP, port, " -j ACCEPT"})
	}
	for root, leaves := range map[Chain][]leaf{NodePorts: dispatch, NoEP: refuse, Health: health} {
		sortLeaves(leaves)
		t.addTree(root, leaves)
	}
	slices.Sort(t.Sets)
	t.Sets = slices.Compact(t.Sets)
	return t
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
	t.Chains[Post] = []string{
		"-m mark ! --mark " + mark + " -j RETURN",
		// The mark goes, or a packet that passes the stack once more, into a tunnel say, would be
		// masqueraded once more.
		fmt.Sprintf("-j MARK --set-xmark 0x%x/0x0", options.Mark),
		"-j MASQUERADE --random-fully",
	}
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

func (t *Text) addFrontend(f nodeagent.Frontend, pods nodeagent.PodTraffic, options Options) {
	external := Chain{"nat", ExternalChain(f.Name)}
	var rules []string
	for _, step := range f.Steps {
		for _, from := range sources(step.From, pods) {
			if step.Masquerade {
				rules = append(rules, from+"-j "+Masq.Name)
			}
			rules = append(rules, from+"-j "+poolChain(f.Name, step.To))
		}
	}
	t.Chains[external] = rules
	for _, pool := range []nodeagent.Pool{nodeagent.Cluster, nodeagent.Local} {
		if endpoints := f.Pool(pool); len(endpoints) > 0 {
			t.Chains[Chain{"nat", poolChain(f.Name, pool)}] = balance(f, endpoints, options)
		}
	}
	protocol := strings.ToLower(string(f.Name.Protocol))
	for _, e := range f.Endpoints() {
		name := EndpointChain(f.Name, e)
		rules := []string{"-s " + netip.PrefixFrom(e.Addr(), e.Addr().BitLen()).String() + " -j " + Masq.Name}
		switch {
		case f.Affinity > 0 && options.Recent:
			rules = append(rules, "-m recent --set --name "+name+" --mask "+recentMask(e.Addr())+" --rsource")
		case f.Affinity > 0:
			t.Sets = append(t.Sets, name)
			rules = append(rules, "-j SET --add-set "+name+" src --exist --timeout "+seconds(f.Affinity))
		}
		rules = append(rules, "-p "+protocol+" -j DNAT --to-destination "+e.String())
		t.Chains[Chain{"nat", name}] = rules
	}
}

// sources returns the conditions, each with a blank behind, for packets of a source.
func sources(from nodeagent.Source, pods nodeagent.PodTraffic) []string {
	switch {
	case from == nodeagent.Anyone:
		return []string{""}
	case from == nodeagent.ThisNode:
		return []string{"-m addrtype --src-type LOCAL "}
	case pods.Interface != "":
		return []string{"-i " + pods.Interface + " "}
	case pods.InterfacePrefix != "":
		return []string{"-i " + pods.InterfacePrefix + "+ "}
	}
	var out []string
	for _, c := range pods.CIDRs {
		if c.Bits() == 0 {
			out = append(out, "") // iptables prints no condition for everything
			continue
		}
		out = append(out, "-s "+c.String()+" ")
	}
	return out
}

// balance sends known clients to their endpoint and all others to a random one: of n endpoints that are left, the
// first takes one in n.
func balance(f nodeagent.Frontend, endpoints []netip.AddrPort, options Options) []string {
	var rules []string
	for _, e := range endpoints {
		name := EndpointChain(f.Name, e)
		switch {
		case f.Affinity > 0 && options.Recent:
			rules = append(rules, "-m recent --rcheck --seconds "+seconds(f.Affinity)+" --reap --name "+name+
				" --mask "+recentMask(e.Addr())+" --rsource -j "+name)
		case f.Affinity > 0:
			rules = append(rules, "-m set --match-set "+name+" src -j "+name)
		}
	}
	for i, e := range endpoints {
		condition := ""
		if left := len(endpoints) - i; left > 1 {
			condition = "-m statistic --mode random --probability " + probability(left) + " "
		}
		rules = append(rules, condition+"-j "+EndpointChain(f.Name, e))
	}
	return rules
}

// probability is 1/n as iptables prints it: it keeps 31 bits.
func probability(n int) string {
	const one = 1 << 31
	return strconv.FormatFloat(math.Round(one/float64(n))/one, 'f', 11, 64)
}

func seconds(d time.Duration) string { return strconv.Itoa(int(d / time.Second)) }

func recentMask(a netip.Addr) string {
	if a.Is4() {
		return "255.255.255.255"
	}
	return "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"
}

// hash is kube-proxy's: the same 16 letters stand in KUBE-EXT-, KUBE-SVC- and KUBE-SEP-.
func hash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return base32.StdEncoding.EncodeToString(sum[:])[:16]
}

func hashInput(n nodeagent.ServicePortName) string {
	return n.String() + strings.ToLower(string(n.Protocol))
}

// ExternalChain is where the packets for the NodePort of the service port enter: CLBN-EXT- and kube-proxy's hash.
func ExternalChain(n nodeagent.ServicePortName) string { return Prefix + "EXT-" + hash(hashInput(n)) }

// EndpointChain is the chain of one endpoint of the service port; its address set has the same name.
func EndpointChain(n nodeagent.ServicePortName, e netip.AddrPort) string {
	return Prefix + "EP-" + hash(hashInput(n)+e.String())
}

func poolChain(n nodeagent.ServicePortName, p nodeagent.Pool) string {
	if p == nodeagent.Local {
		return Prefix + "LOC-" + hash(hashInput(n))
	}
	return Prefix + "CLU-" + hash(hashInput(n))
}

// comment is a match that only says something to the reader. Names come from the API, where others write: what
// could end the quotation is replaced.
func comment(text string) string {
	safe := strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' || strings.ContainsRune("\"\\'`$", r) {
			return '_'
		}
		return r
	}, text)
	if len(safe) > 255 {
		safe = safe[:255]
	}
	return ` -m comment --comment "` + safe + `"`
}
