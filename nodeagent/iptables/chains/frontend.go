// SPDX-License-Identifier: Apache-2.0

package chains

import (
	"crypto/sha256"
	"encoding/base32"
	"fmt"
	"math"
	"net/netip"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/clbsync/clbsync/nodeagent"
)

// fragment is all that one frontend adds to the text.
type fragment struct {
	frontend nodeagent.Frontend
	chains   map[Chain][]string
	sets     []string
	dispatch string // the end of the rule that leads its port to it; "" if none does
	refuse   string // the end of the rule that drops or rejects what came through; "" if there is none
	seen     uint64 // the last update that had it
}

func newFragment(f nodeagent.Frontend, pods nodeagent.PodTraffic, options Options, bare bool) *fragment {
	n := &fragment{frontend: f, chains: map[Chain][]string{}}
	comment := comment
	if bare {
		comment = func(string) string { return "" }
	}
	if len(f.Steps) > 0 {
		n.dispatch = comment(f.Name.String()) + " -g " + ExternalChain(f.Name)
		n.addExternal(pods, options)
		n.addEndpoints(options)
	}
	switch f.Otherwise {
	case nodeagent.Drop:
		n.refuse = comment(f.Name.String()+" has no local endpoints") + " -g " + DropAll.Name
	case nodeagent.Reject:
		n.refuse = comment(f.Name.String()+" has no endpoints") + " -g " + RejectAll.Name
	}
	return n
}

// addExternal writes the chain in which packets arrive. The endpoints for everybody stand in it; those that only some
// sources get are a chain beside it.
func (n *fragment) addExternal(pods nodeagent.PodTraffic, options Options) {
	external := Chain{"nat", ExternalChain(n.frontend.Name)}
	if rules := n.inOneChain(pods, options); rules != nil {
		n.chains[external] = rules
		return
	}
	var rules []string
	for _, step := range n.frontend.Steps {
		for _, from := range sources(step.From, pods) {
			if step.Masquerade {
				rules = append(rules, from+"-j "+Masq.Name)
			}
			endpoints := n.balance(n.frontend.Pool(step.To), options)
			if from == "" {
				rules = append(rules, endpoints...)
				continue
			}
			pool := poolChain(n.frontend.Name, step.To)
			n.chains[Chain{"nat", pool}] = endpoints
			rules = append(rules, from+"-j "+pool)
		}
	}
	n.chains[external] = rules
}

// inOneChain returns the rules of a Local frontend whose clients outside get the same endpoints as those inside, or none: a Service
// with one pod is the one or the other on every node. Then nobody needs a chain beside it, and what is left to tell is who
// is masqueraded. nil: the frontend is another, or pods cannot be told in one condition.
func (n *fragment) inOneChain(pods nodeagent.PodTraffic, options Options) []string {
	f := n.frontend
	none := f.Otherwise == nodeagent.Drop
	if len(f.Steps) == 1 && !none || !none && !equal(f.Local, f.Cluster) {
		return nil
	}
	notPods := ""
	if f.Steps[0].From == nodeagent.Pods {
		conditions := sources(nodeagent.Pods, pods)
		if len(conditions) != 1 || conditions[0] == "" {
			return nil
		}
		notPods = "! " + conditions[0]
	}
	var rules []string
	if none {
		rules = append(rules, notPods+"-m addrtype ! --src-type LOCAL -j RETURN")
	}
	if pods.Interface != "" || pods.InterfacePrefix != "" {
		// What a process of this node sends has no input interface, of which iptables-nft before Linux 5.4 says that it is no other
		// than the pods' either. And no packet of a pod bears an address of this node.
		notPods = ""
	}
	rules = append(rules, notPods+"-m addrtype --src-type LOCAL -j "+Masq.Name)
	return append(rules, n.balance(f.Cluster, options)...)
}

// addEndpoints writes the chains of endpoints that need one.
func (n *fragment) addEndpoints(options Options) {
	f := n.frontend
	if f.Affinity == 0 && !options.EndpointChains {
		return
	}
	for _, e := range f.Endpoints() {
		name := EndpointChain(f.Name, e)
		var rules []string
		if options.EndpointChains {
			rules = append(rules, "-s "+netip.PrefixFrom(e.Addr(), e.Addr().BitLen()).String()+" -j "+Masq.Name)
		}
		switch {
		case f.Affinity > 0 && options.Recent:
			rules = append(rules, "-m recent --set --name "+name+" --mask "+recentMask(e.Addr())+" --rsource")
		case f.Affinity > 0:
			n.sets = append(n.sets, name)
			rules = append(rules, "-j SET --add-set "+name+" src --exist --timeout "+seconds(f.Affinity))
		}
		n.chains[Chain{"nat", name}] = append(rules, "-p "+protocolWord(f.Name.Protocol)+" -j DNAT --to-destination "+e.String())
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
func (n *fragment) balance(endpoints []netip.AddrPort, options Options) []string {
	f := n.frontend
	rules := make([]string, 0, len(endpoints))
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
		if f.Affinity > 0 || options.EndpointChains {
			rules = append(rules, condition+"-j "+EndpointChain(f.Name, e))
		} else {
			rules = append(rules, "-p "+protocolWord(f.Name.Protocol)+" "+condition+"-j DNAT --to-destination "+e.String())
		}
	}
	return rules
}

func protocolWord(p corev1.Protocol) string { return strings.ToLower(string(p)) }

// HairpinRule marks what an endpoint sends to itself to be masqueraded: it would drop an answer from its own address.
func HairpinRule(family corev1.IPFamily) string {
	return "-m conntrack --ctstate DNAT -m bpf --bytecode \"" + sameAddresses(family) + "\"" + comment("an endpoint that reaches itself") +
		" -j " + Masq.Name
}

// sameAddresses is a program for the bpf match that takes packets whose source is their destination: load a word of
// the one, compare it with that of the other, for all words.
func sameAddresses(family corev1.IPFamily) string {
	source, words := 12, 1
	if family == corev1.IPv6Protocol {
		source, words = 8, 4
	}
	program := []string{fmt.Sprint(4*words + 2)}
	for i := range words {
		last := 4 * (words - i - 1) // instructions of the words that are left, to be jumped over
		program = append(program, fmt.Sprintf("32 0 0 %d", source+4*i), "7 0 0 0",
			fmt.Sprintf("32 0 0 %d", source+4*(words+i)), fmt.Sprintf("29 0 %d 0", last+1))
	}
	return strings.Join(append(program, "6 0 0 65535", "6 0 0 0"), ",")
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
	return n.String() + protocolWord(n.Protocol)
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
	// iptables-save quotes only what needs it.
	if strings.Trim(safe, "_-0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") == "" {
		return " -m comment --comment " + safe
	}
	return ` -m comment --comment "` + safe + `"`
}
