// SPDX-License-Identifier: Apache-2.0

package chains

import (
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"github.com/clbsync/clbsync/nodeagent"
)

const testMark = 0x2000

var options = Options{Mark: testMark}

func port(name string, protocol corev1.Protocol, nodePort uint16, mods ...func(*nodeagent.ServicePort)) nodeagent.ServicePort {
	p := nodeagent.ServicePort{NodePort: nodePort}
	p.Name.Namespace, p.Name.Name, p.Name.Protocol = "ns", name, protocol
	for _, mod := range mods {
		mod(&p)
	}
	return p
}

func endpoints(list ...string) []netip.AddrPort {
	var out []netip.AddrPort
	for _, e := range list {
		out = append(out, netip.MustParseAddrPort(e))
	}
	return out
}

func cluster(list ...string) func(*nodeagent.ServicePort) {
	return func(p *nodeagent.ServicePort) { p.ClusterEndpoints = endpoints(list...) }
}

var settings = nodeagent.Settings{
	Pods:      nodeagent.PodTraffic{CIDRs: []netip.Prefix{netip.MustParsePrefix("10.244.0.0/16"), netip.MustParsePrefix("fd00:244::/32")}},
	Localhost: true, Forward: true, DropInvalid: true,
}

func render(family corev1.IPFamily, ports ...nodeagent.ServicePort) Text {
	return Render(nodeagent.NewRules(family, nodeagent.Services{Ports: ports}, settings), options)
}

func TestNamesMatchKubeProxy(t *testing.T) {
	// The first 16 letters of base32(sha256("ns/s:webtcp")), which kube-proxy v1.37 uses, and the same of the
	// text with the endpoint behind it.
	n := port("s", corev1.ProtocolTCP, 1).Name
	n.Port = "web"
	const want, wantEP = "JQJMGS4FZPNBEQTR", "CLBN-EP-IW6KOO66USRMTJIP"
	for _, got := range []string{ExternalChain(n), poolChain(n, nodeagent.Cluster), poolChain(n, nodeagent.Local)} {
		if !strings.HasSuffix(got, want) {
			t.Errorf("got %q, want it to end in %q", got, want)
		}
	}
	e := netip.MustParseAddrPort("10.244.1.10:8080")
	if got := EndpointChain(n, e); got != wantEP {
		t.Errorf("got %q, want %q", got, wantEP)
	}
}

func TestDispatchCostIsFlat(t *testing.T) {
	depth := func(ports int) int {
		var list []nodeagent.ServicePort
		for i := range ports {
			list = append(list, port(fmt.Sprintf("s%05d", i), corev1.ProtocolTCP, uint16(20000+i), cluster("10.244.1.10:80")))
		}
		text := render(corev1.IPv4Protocol, list...)
		worst := 0
		for _, p := range list {
			worst = max(worst, rulesTested(text, NodePorts, p.NodePort))
		}
		return worst
	}
	if got := depth(1); got != 1 {
		t.Errorf("one port: %d rules are tested, want 1", got)
	}
	if got := depth(10000); got > 28 {
		t.Errorf("10,000 ports: %d rules are tested for the worst port, want at most 28", got)
	}
}

// rulesTested counts the dispatch rules that a packet for the port meets.
func rulesTested(t Text, chain Chain, port uint16) int {
	for i, rule := range t.Chains[chain] {
		words := split(rule)
		first, last, isRange := strings.Cut(words[slices.Index(words, "--dport")+1], ":")
		if !isRange {
			last = first
		}
		if number(first) <= port && port <= number(last) {
			if next := words[len(words)-1]; isRange {
				return i + 1 + rulesTested(t, Chain{chain.Table, next}, port)
			}
			return i + 1
		}
	}
	return math.MaxInt
}

func TestOnePortChangesFewChains(t *testing.T) {
	var list []nodeagent.ServicePort
	for i := range 2000 {
		list = append(list, port(fmt.Sprintf("s%05d", i), corev1.ProtocolTCP, uint16(30000+i), cluster("10.244.1.10:80", "10.244.2.10:80")))
	}
	before := Saved{Chains: render(corev1.IPv4Protocol, list...).Chains, BuiltIn: ownJumps()}
	list[1000].ClusterEndpoints = endpoints("10.244.1.10:80", "10.244.2.11:80")
	change := Diff(before, render(corev1.IPv4Protocol, list...))
	if chains, jumps := change.Size(); chains != 1 || jumps != 0 {
		t.Errorf("an endpoint moved: %d chains and %d jumps change, want 1 (the Service's) and 0:\n%s", chains, jumps, change)
	}
	before.Chains = render(corev1.IPv4Protocol, list...).Chains
	list = slices.Delete(list, 500, 501)
	change = Diff(before, render(corev1.IPv4Protocol, list...))
	if chains, _ := change.Size(); chains != 2 {
		t.Errorf("a Service went: %d chains change, want 2 (its leaf in the tree and its own):\n%s", chains, change)
	}
}

func ownJumps() map[Chain][]string {
	builtIn := map[Chain][]string{}
	for _, j := range render(corev1.IPv4Protocol).Jumps {
		builtIn[j.From] = append(builtIn[j.From], j.Rule())
	}
	return builtIn
}

func TestJumps(t *testing.T) {
	pre := Chain{"nat", "PREROUTING"}
	input := Chain{"filter", "INPUT"}
	for _, test := range []struct {
		name string
		from Chain
		have []string
		want []string
	}{
		{"missing is inserted first", pre, nil, []string{"-I PREROUTING 1 -j CLBN-NAT"}},
		{"first is left alone", pre, []string{"-j CLBN-NAT", "-j KUBE-SERVICES"}, nil},
		{"overtaken is moved", pre, []string{"-j KUBE-SERVICES", "-j CLBN-NAT"}, []string{"-D PREROUTING -j CLBN-NAT", "-I PREROUTING 1 -j CLBN-NAT"}},
		{"behind a plugin that insists is left alone", pre, []string{"-m comment --comment \"cali:1\" -j cali-PREROUTING", "-j CLBN-NAT"}, nil},
		{"behind the plugin and others goes to just behind the plugin", pre, []string{"-j cali-PREROUTING", "-j KUBE-SERVICES", "-j CLBN-NAT"},
			[]string{"-D PREROUTING -j CLBN-NAT", "-I PREROUTING 2 -j CLBN-NAT"}},
		{"twice becomes once", pre, []string{"-j CLBN-NAT", "-j CLBN-NAT"}, []string{"-D PREROUTING -j CLBN-NAT", "-D PREROUTING -j CLBN-NAT", "-I PREROUTING 1 -j CLBN-NAT"}},
		{"an unknown one of ours goes", pre, []string{"-j CLBN-NAT", "-j CLBN-OLD"}, []string{"-D PREROUTING -j CLBN-OLD"}},
		{"in the filter any place will do", input, []string{"-j KUBE-FIREWALL", "-j CLBN-INPUT"}, nil},
		{"in the filter missing is inserted", input, []string{"-j KUBE-FIREWALL"}, []string{"-I INPUT 1 -j CLBN-INPUT"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			text := render(corev1.IPv4Protocol)
			actual := Saved{Chains: text.Chains, BuiltIn: ownJumps()}
			actual.BuiltIn[test.from] = test.have
			if diff := cmp.Diff(test.want, Diff(actual, text).jumps[test.from]); diff != "" {
				t.Errorf("commands (-want +got):\n%s", diff)
			}
		})
	}
}

func TestCleanUpRemovesEverythingOfOursOnly(t *testing.T) {
	saved, err := Parse([]byte("*nat\n:PREROUTING ACCEPT [0:0]\n:CLBN-NAT - [0:0]\n:KUBE-SERVICES - [0:0]\n-A PREROUTING -j CLBN-NAT\n-A PREROUTING -j KUBE-SERVICES\n" +
		"-A CLBN-NAT -j RETURN\n-A KUBE-SERVICES -j RETURN\nCOMMIT\n"))
	if err != nil {
		t.Fatal(err)
	}
	want := "*nat\n:CLBN-NAT - [0:0]\n-D PREROUTING -j CLBN-NAT\n-X CLBN-NAT\nCOMMIT\n"
	if diff := cmp.Diff(want, Diff(saved, Text{}).String()); diff != "" {
		t.Errorf("clean-up (-want +got):\n%s", diff)
	}
}

func TestParseRefusesWhatItDoesNotUnderstand(t *testing.T) {
	for _, bad := range []string{"*nat\nnonsense\n", "-A X -j Y\n", "*nat\n-D X -j Y\n", "*nat\n[x:0] -A X -j Y\n", "iptables: memory\n"} {
		if _, err := Parse([]byte(bad)); err == nil {
			t.Errorf("%q: want an error", bad)
		}
	}
}

func TestParseCounters(t *testing.T) {
	saved, err := Parse([]byte("*nat\n:CLBN-NP - [0:0]\n[7:420] -A CLBN-NP -j A\n[0:0] -A CLBN-NP -j B\nCOMMIT\n"))
	if err != nil {
		t.Fatal(err)
	}
	c := Chain{"nat", "CLBN-NP"}
	if diff := cmp.Diff([]uint64{7, 0}, saved.Packets[c]); diff != "" {
		t.Errorf("packets (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"-j A", "-j B"}, saved.Chains[c]); diff != "" {
		t.Errorf("rules (-want +got):\n%s", diff)
	}
}

func TestCommentCannotEndItself(t *testing.T) {
	got := comment("a\" -j ACCEPT\n\\'ü" + strings.Repeat("x", 300))
	if strings.Count(got, `"`) != 2 || strings.ContainsAny(got, "\n\\'") || len(got) > len(` -m comment --comment ""`)+255 {
		t.Errorf("got %q, want one quoted comment of at most 255 letters", got)
	}
}

// randomServices makes Services as they might be, dull and odd ones.
func randomServices(r *rand.Rand, family corev1.IPFamily) []nodeagent.ServicePort {
	var ports []nodeagent.ServicePort
	base := uint16(r.IntN(65000))
	for i := range r.IntN(60) {
		p := port(fmt.Sprintf("s%d", i), []corev1.Protocol{corev1.ProtocolTCP, corev1.ProtocolUDP, corev1.ProtocolSCTP}[r.IntN(3)], base+uint16(r.IntN(500)))
		if r.IntN(5) == 0 {
			p.NodePort = uint16(1 + r.IntN(65535))
		}
		if slices.ContainsFunc(ports, func(q nodeagent.ServicePort) bool {
			return q.NodePort == p.NodePort && q.Name.Protocol == p.Name.Protocol
		}) || p.NodePort == 0 {
			continue
		}
		p.Local = r.IntN(2) == 0
		for e := range r.IntN(5) {
			address := fmt.Sprintf("10.244.%d.%d:8080", 1+e%2, 10+e)
			if family == corev1.IPv6Protocol {
				address = fmt.Sprintf("[fd00:244:%d::%d]:8080", 1+e%2, 10+e)
			}
			p.ClusterEndpoints = append(p.ClusterEndpoints, netip.MustParseAddrPort(address))
			if p.Local && r.IntN(2) == 0 {
				p.LocalEndpoints = append(p.LocalEndpoints, netip.MustParseAddrPort(address))
			}
		}
		if r.IntN(3) == 0 {
			p.Affinity = time.Duration(1+r.IntN(86400)) * time.Second
		}
		ports = append(ports, p)
	}
	slices.SortFunc(ports, func(a, b nodeagent.ServicePort) int {
		return strings.Compare(fmt.Sprintf("%s%05d", a.Name.Protocol, a.NodePort), fmt.Sprintf("%s%05d", b.Name.Protocol, b.NodePort))
	})
	return ports
}

var twoCIDRs = nodeagent.PodTraffic{CIDRs: []netip.Prefix{
	netip.MustParsePrefix("10.244.1.0/24"), netip.MustParsePrefix("fd00:244:1::/48"), netip.MustParsePrefix("10.244.2.0/24"), netip.MustParsePrefix("fd00:244:2::/48"),
}}

func randomSettings(r *rand.Rand) nodeagent.Settings {
	s := settings
	s.Localhost, s.Forward, s.DropInvalid = r.IntN(2) == 0, r.IntN(2) == 0, r.IntN(2) == 0
	s.Pods = []nodeagent.PodTraffic{s.Pods, {}, {Interface: "cbr0"}, {InterfacePrefix: "veth"}, twoCIDRs}[r.IntN(5)]
	return s
}

func packets(family corev1.IPFamily) []nodeagent.Packet {
	v := func(v4, v6 string) netip.Addr {
		if family == corev1.IPv6Protocol {
			return netip.MustParseAddr(v6)
		}
		return netip.MustParseAddr(v4)
	}
	node, loopback := v("192.168.0.11", "fd00::11"), v("127.0.0.1", "::1")
	return []nodeagent.Packet{
		{Source: v("192.168.0.100", "fd00::100"), Destination: node, Interface: "eth0", DestinationIsNode: true},
		{Source: node, Destination: node, SourceIsNode: true, DestinationIsNode: true},
		{Source: loopback, Destination: loopback, SourceIsNode: true, DestinationIsNode: true},
		{Source: v("10.244.1.10", "fd00:244:1::10"), Destination: node, Interface: "veth1", DestinationIsNode: true},
		{Source: v("10.244.1.1", "fd00:244:1::1"), Destination: node, SourceIsNode: true, DestinationIsNode: true}, // the bridge of this node's pods
		{Source: v("10.244.2.99", "fd00:244:2::99"), Destination: node, Interface: "cbr0", DestinationIsNode: true},
		{Source: v("192.168.0.100", "fd00::100"), Destination: v("192.168.0.12", "fd00::12"), Interface: "eth0"},
	}
}

// The text must do what the rules say: for random Services, each packet ends in the same place, with equal shares.
func TestTextDoesWhatTheRulesSay(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 4))
	for round := range 200 {
		family := []corev1.IPFamily{corev1.IPv4Protocol, corev1.IPv6Protocol}[round%2]
		services := nodeagent.Services{Ports: randomServices(r, family), Health: []nodeagent.HealthPort{{Port: 32100}, {Port: 32101}, {Port: 60000}}}
		rules := nodeagent.NewRules(family, services, randomSettings(r))
		text := Render(rules, []Options{options, {Mark: testMark, EndpointChains: true}}[round/2%2])
		for _, p := range packets(family) {
			for _, target := range append(slices.Clone(rules.Frontends), nodeagent.Frontend{Port: 32101}, nodeagent.Frontend{Port: 7}) {
				p.Port, p.Protocol = target.Port, target.Name.Protocol
				if p.Protocol == "" {
					p.Protocol = corev1.ProtocolTCP
				}
				compareTrace(t, rules, text, p)
			}
		}
	}
}

func compareTrace(t *testing.T, rules nodeagent.Rules, text Text, p nodeagent.Packet) {
	t.Helper()
	want := map[string]float64{}
	fate := rules.Trace(p)
	// ::1 and, where localhost is off, 127.0.0.0/8 are never redirected.
	for _, d := range fate.Destinations {
		want[d.Endpoint.String()+map[bool]string{true: "*"}[d.Masquerade]] = 1 / float64(len(fate.Destinations))
	}
	if fate.Verdict != nodeagent.Forward {
		want[fate.Verdict.String()] = 1
	}
	got, err := trace(text, testMark, p)
	if err != nil {
		t.Fatal(err)
	}
	near := cmp.Comparer(func(a, b float64) bool { return math.Abs(a-b) < 1e-6 })
	if diff := cmp.Diff(want, got, near); diff != "" {
		t.Fatalf("packet %+v (-rules +text):\n%s\n%s", p, diff, text)
	}
}
