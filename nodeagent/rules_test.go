// SPDX-License-Identifier: Apache-2.0

package nodeagent

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

var cmpAddr = cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })

var testSettings = Settings{
	Pods:      PodTraffic{CIDRs: []netip.Prefix{netip.MustParsePrefix("10.244.0.0/16"), netip.MustParsePrefix("fd00:244::/32")}},
	Localhost: true,
}

// from makes the packet that a client sends to the NodePort 30001 of node n1.
func from(client string) Packet {
	p := Packet{Protocol: corev1.ProtocolTCP, Port: 30001, Interface: "eth0", DestinationIsNode: true, Destination: netip.MustParseAddr("192.168.0.11")}
	switch client {
	case "outside":
		p.Source = netip.MustParseAddr("192.168.0.100")
	case "node":
		p.Source, p.Interface, p.SourceIsNode = netip.MustParseAddr("192.168.0.11"), "", true
	case "loopback":
		p.Source, p.Interface, p.SourceIsNode = netip.MustParseAddr("127.0.0.1"), "", true
		p.Destination = p.Source
	case "other node":
		p.Source = netip.MustParseAddr("192.168.0.12")
	case "pod itself":
		p.Source, p.Interface = netip.MustParseAddr("10.244.1.10"), "veth1"
	case "pod here":
		p.Source, p.Interface = netip.MustParseAddr("10.244.1.99"), "veth9"
	case "pod away":
		p.Source = netip.MustParseAddr("10.244.2.99")
	}
	return p
}

// describe prints a fate as an observer in the pods would: each pod with what it takes for the client.
func describe(f Fate) string {
	if f.Verdict != Forward {
		return f.Verdict.String()
	}
	var out []string
	for _, d := range f.Destinations {
		name := map[string]string{"10.244.1.10": "A", "10.244.1.11": "B", "10.244.2.10": "R"}[d.Endpoint.Addr().String()]
		if d.Masquerade {
			name += "*" // sees the node
		}
		out = append(out, name)
	}
	return strings.Join(out, " ")
}

// The fourteen situations of endpoints and seven positions of clients in which kube-proxy was watched. A and B are
// pods on this node, R is one on another; * means that the pod sees the node's address instead of the client's.
func TestTraceLikeKubeProxy(t *testing.T) {
	clients := []string{"outside", "node", "loopback", "other node", "pod itself", "pod here", "pod away"}
	all := func(want string) []string { return slices.Repeat([]string{want}, 7) }
	a, b, r := hereA, hereB, away
	for _, test := range []struct {
		name      string
		policy    func(*corev1.Service)
		endpoints []string
		want      []string
	}{
		{"Cluster, endpoints here and away", nil, []string{a, r}, all("A* R*")},
		{"Cluster, only away", nil, []string{r}, all("R*")},
		{"Cluster, none", nil, nil, all("reject")},
		{"Cluster, only a terminating one that serves", nil, []string{a + " st"}, all("A*")},
		{"Cluster, terminating here, ready away", nil, []string{a + " st", r}, all("R*")},
		{"Cluster, none ready", nil, []string{a + " -x", r + " -x"}, all("reject")},
		{"Cluster, only here", nil, []string{a, b}, all("A* B*")},
		{"Local, only here", local, []string{a, b}, []string{"A B", "A* B*", "A* B*", "A B", "A* B", "A B", "A B"}},
		{"Local, only away", local, []string{r}, []string{"drop", "R*", "R*", "drop", "R", "R", "R"}},
		{"Local, here and away", local, []string{a, r}, []string{"A", "A* R*", "A* R*", "A", "A* R", "A R", "A R"}},
		{"Local, none", local, nil, all("reject")},
		{"Local, terminating here, ready away", local, []string{a + " st", r}, []string{"A", "R*", "R*", "A", "R", "R", "R"}},
		{"Local, terminating here and not serving, ready away", local, []string{a + " t", r}, []string{"drop", "R*", "R*", "drop", "R", "R", "R"}},
		{"Local, ready and terminating here", local, []string{a, b + " st"}, []string{"A", "A*", "A*", "A", "A*", "A", "A"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := service("s")
			if test.policy != nil {
				test.policy(s)
			}
			rules := NewRules(corev1.IPv4Protocol, Desired(snapshot(s, slice("s", test.endpoints...)), corev1.IPv4Protocol), testSettings)
			var got []string
			for _, client := range clients {
				got = append(got, describe(rules.Trace(from(client))))
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("clients %q (-want +got):\n%s", clients, diff)
			}
		})
	}
}

func TestTraceWithoutKnownPods(t *testing.T) {
	settings := testSettings
	settings.Pods = PodTraffic{}
	rules := NewRules(corev1.IPv4Protocol, Desired(snapshot(service("s", local), slice("s", away)), corev1.IPv4Protocol), settings)
	if got := describe(rules.Trace(from("pod here"))); got != "drop" {
		t.Errorf("a pod that cannot be told from a client outside: got %q, want drop", got)
	}
}

func TestTracePodsByInterface(t *testing.T) {
	for _, test := range []struct {
		pods PodTraffic
		want string
	}{
		{PodTraffic{Interface: "veth9"}, "R"}, {PodTraffic{Interface: "veth"}, "drop"},
		{PodTraffic{InterfacePrefix: "veth"}, "R"}, {PodTraffic{InterfacePrefix: "cali"}, "drop"},
	} {
		settings := Settings{Pods: test.pods}
		rules := NewRules(corev1.IPv4Protocol, Desired(snapshot(service("s", local), slice("s", away)), corev1.IPv4Protocol), settings)
		if got := describe(rules.Trace(from("pod here"))); got != test.want {
			t.Errorf("pods %+v: got %q, want %q", test.pods, got, test.want)
		}
	}
}

func TestTracePassesWhatIsNotOurs(t *testing.T) {
	settings := testSettings
	settings.Localhost = false
	rules := NewRules(corev1.IPv4Protocol, Desired(snapshot(
		service("s", local, healthPort(31000)), slice("s", hereA), service("empty", nodePort(30002))), corev1.IPv4Protocol), settings)
	probe := func(mod func(*Packet)) Verdict {
		p := from("outside")
		mod(&p)
		return rules.Trace(p).Verdict
	}
	for _, test := range []struct {
		name string
		mod  func(*Packet)
		want Verdict
	}{
		{"the NodePort itself is forwarded", func(*Packet) {}, Forward},
		{"another port", func(p *Packet) { p.Port = 30003 }, Pass},
		{"another protocol", func(p *Packet) { p.Protocol = corev1.ProtocolUDP }, Pass},
		{"an address that is not the node's", func(p *Packet) { p.DestinationIsNode = false }, Pass},
		{"the health port is let in", func(p *Packet) { p.Port = 31000 }, Accept},
		{"the health port on UDP is not", func(p *Packet) { p.Port, p.Protocol = 31000, corev1.ProtocolUDP }, Pass},
		{"loopback when localhost NodePorts are off", func(p *Packet) { *p = from("loopback") }, Pass},
		{"loopback without endpoints is refused all the same", func(p *Packet) { *p = from("loopback"); p.Port = 30002 }, Reject},
	} {
		if got := probe(test.mod); got != test.want {
			t.Errorf("%s: got %v, want %v", test.name, got, test.want)
		}
	}
}

// oracle says what kube-proxy was seen to do, straight from the conditions, without rules, steps or pools.
func oracle(s Snapshot, p Packet) string {
	svc := s.Services[0]
	isLocal := svc.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal
	pick := func(onlyHere bool) []string {
		for _, usable := range []func(c discoveryv1.EndpointConditions) bool{
			func(c discoveryv1.EndpointConditions) bool { return *c.Ready },
			func(c discoveryv1.EndpointConditions) bool { return *c.Serving && *c.Terminating },
		} {
			var found []string
			for _, sl := range s.Slices {
				for _, e := range sl.Endpoints {
					if usable(e.Conditions) && (!onlyHere || *e.NodeName == s.NodeName) {
						found = append(found, e.Addresses[0])
					}
				}
			}
			if len(found) > 0 {
				return found
			}
		}
		return nil
	}
	inside := p.SourceIsNode || strings.HasPrefix(p.Source.String(), "10.244.")
	anywhere := pick(false)
	if len(anywhere) == 0 {
		return "reject"
	}
	chosen := anywhere
	if isLocal && !inside {
		chosen = pick(true)
	}
	if len(chosen) == 0 {
		return "drop"
	}
	var out []string
	for _, e := range chosen {
		if !isLocal || p.SourceIsNode || e == p.Source.String() {
			e += "*"
		}
		out = append(out, e)
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

func TestTraceEqualsOracleOnRandomInput(t *testing.T) {
	random := rand.New(rand.NewPCG(4, 2))
	clients := []string{"outside", "node", "loopback", "other node", "pod itself", "pod here", "pod away"}
	for range 3000 {
		s := service("s")
		if random.IntN(2) == 0 {
			local(s)
		}
		var endpoints []string
		for i := range random.IntN(6) {
			node := 1 + random.IntN(2)
			endpoints = append(endpoints, fmt.Sprintf("10.244.%d.%d@n%d %s", node, 10+i, node, []string{"rs", "st", "t", "-x", "s"}[random.IntN(5)]))
		}
		snap := snapshot(s, slice("s", endpoints...))
		rules := NewRules(corev1.IPv4Protocol, Desired(snap, corev1.IPv4Protocol), testSettings)
		for _, client := range clients {
			fate := rules.Trace(from(client))
			got := fate.Verdict.String()
			if fate.Verdict == Forward {
				var out []string
				for _, d := range fate.Destinations {
					out = append(out, d.Endpoint.Addr().String()+map[bool]string{true: "*"}[d.Masquerade])
				}
				slices.Sort(out)
				got = strings.Join(out, " ")
			}
			if want := oracle(snap, from(client)); got != want {
				t.Fatalf("%s, policy %s, endpoints %q: got %q, want %q", client, s.Spec.ExternalTrafficPolicy, endpoints, got, want)
			}
		}
	}
}

func TestRulesOfFamily(t *testing.T) {
	rules := NewRules(corev1.IPv6Protocol, Services{}, testSettings)
	if rules.Settings.Localhost {
		t.Error("NodePorts on ::1 cannot work: the kernel routes nothing from ::1 to elsewhere")
	}
	if diff := cmp.Diff([]string{"fd00:244::/32"}, prefixes(rules.Settings.Pods.CIDRs)); diff != "" {
		t.Errorf("pod CIDRs of IPv6 (-want +got):\n%s", diff)
	}
}

func prefixes(list []netip.Prefix) []string {
	var out []string
	for _, p := range list {
		out = append(out, p.String())
	}
	return out
}
