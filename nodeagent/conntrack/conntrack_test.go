// SPDX-License-Identifier: Apache-2.0

package conntrack

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/clbsync/clbsync/nodeagent"
	"github.com/clbsync/clbsync/nodeagent/internal/nettest"
)

func TestStale(t *testing.T) {
	node := []netip.Addr{netip.MustParseAddr("192.168.0.11"), netip.MustParseAddr("127.0.0.1")}
	serving, empty := netip.MustParseAddrPort("10.244.1.10:53"), Ports{30053: {}}
	ports := Ports{30053: {serving}}
	for _, test := range []struct {
		name                 string
		destination, answers string
		ports                Ports
		want                 bool
	}{
		{"a serving endpoint keeps its flows", "192.168.0.11:30053", "10.244.1.10:53", ports, false},
		{"an endpoint that is gone loses them", "192.168.0.11:30053", "10.244.1.11:53", ports, true},
		{"the same pod on another port too", "192.168.0.11:30053", "10.244.1.10:5353", ports, true},
		{"also by way of loopback", "127.0.0.1:30053", "10.244.1.11:53", ports, true},
		{"no endpoints left: all redirected flows go", "192.168.0.11:30053", "10.244.1.10:53", empty, true},
		{"never redirected, now there is an endpoint", "192.168.0.11:30053", "192.168.0.11:30053", ports, true},
		{"never redirected, and nowhere to go: a process on the host may answer", "192.168.0.11:30053", "192.168.0.11:30053", empty, false},
		{"the same port of another machine is nobody's NodePort", "203.0.113.9:30053", "10.9.9.9:53", ports, false},
		{"another port", "192.168.0.11:30054", "10.244.1.11:53", ports, false},
	} {
		f := Flow{netip.MustParseAddrPort(test.destination), netip.MustParseAddrPort(test.answers)}
		if got := Stale(f, test.ports, node); got != test.want {
			t.Errorf("%s: got %v, want %v", test.name, got, test.want)
		}
	}
}

func TestOf(t *testing.T) {
	p := nodeagent.ServicePort{NodePort: 30053, Endpoints: []nodeagent.Endpoint{
		{Address: netip.MustParseAddrPort("10.0.0.1:53"), Serving: true, Ready: true},
		{Address: netip.MustParseAddrPort("10.0.0.2:53"), Serving: true, Terminating: true},
		{Address: netip.MustParseAddrPort("10.0.0.3:53")},
		{Address: netip.MustParseAddrPort("10.0.0.4:53"), Gated: true}, // Local sends to it
	}}
	p.Name.Protocol = corev1.ProtocolUDP
	tcp := p
	tcp.NodePort, tcp.Name.Protocol = 30080, corev1.ProtocolTCP
	got := Of(nodeagent.Services{Ports: []nodeagent.ServicePort{p, tcp}})
	if len(got) != 1 || fmt.Sprint(got[30053]) != "[10.0.0.1:53 10.0.0.2:53 10.0.0.4:53]" {
		t.Errorf("got %v, want the UDP port with the three that serve", got)
	}
}

// Real flows of a real kernel: what is stale goes, and nothing else.
func TestCleanUpDeletesExactlyTheStaleFlows(t *testing.T) {
	n := nettest.New(t, "node")
	nettest.Connect(t, n, "d0", nettest.New(t, "neighbour"), "d0")
	n.Run(t, "ip", "addr", "add", "192.168.0.11/24", "dev", "d0")
	n.Run(t, "ip", "addr", "add", "fd00::11/64", "dev", "d0", "nodad")
	rules := "*nat\n-A OUTPUT -p udp -d %[1]s --dport 30053 -j DNAT --to-destination %[2]s\n-A OUTPUT -p udp -d %[1]s --dport 30054 -j DNAT --to-destination %[2]s\n-A OUTPUT -p udp --dport 30055 -j DNAT --to-destination %[2]s\nCOMMIT\n"
	for family, a := range map[string][2]string{"ip": {"192.168.0.11", "192.168.0.11:53"}, "ip6": {"fd00::11", "[fd00::11]:53"}} {
		if _, err := n.Try(fmt.Sprintf(rules, a[0], a[1]), family+"tables-nft-restore", "--noflush"); err != nil {
			t.Fatal(err)
		}
	}
	n.Do(func() {
		for _, test := range []struct {
			family   corev1.IPFamily
			node     string
			foreign  string
			endpoint string
		}{{corev1.IPv4Protocol, "192.168.0.11", "192.168.0.99", "192.168.0.11:53"}, {corev1.IPv6Protocol, "fd00::11", "fd00::99", "[fd00::11]:53"}} {
			for _, to := range []string{net.JoinHostPort(test.node, "30053"), net.JoinHostPort(test.node, "30054"), net.JoinHostPort(test.foreign, "30055")} {
				c, err := net.Dial("udp", to)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := c.Write([]byte("x")); err != nil {
					t.Fatal(err)
				}
				c.Close()
			}
			if got := tracked(t, n, test.family); !slices.Equal(got, []string{"30053", "30054", "30055"}) {
				t.Fatalf("flows before: %v", got)
			}
			ports := Ports{30053: {}, 30054: {netip.MustParseAddrPort(test.endpoint)}, 30055: {}}
			deleted, err := CleanUp(test.family, ports)
			if err != nil || deleted != 1 {
				t.Errorf("%s: deleted %d (%v), want 1", test.family, deleted, err)
			}
			if got := tracked(t, n, test.family); !slices.Equal(got, []string{"30054", "30055"}) {
				t.Errorf("%s: flows after: %v, want those of the serving endpoint and of the other machine", test.family, got)
			}
		}
	})
}

// tracked returns the original destination ports of the namespace's UDP flows.
func tracked(t *testing.T, n *nettest.Namespace, family corev1.IPFamily) []string {
	var ports []string
	for line := range strings.Lines(n.Run(t, "conntrack", "-L", "-p", "udp", "-f", strings.ToLower(string(family)))) {
		for word := range strings.FieldsSeq(line) {
			if port, found := strings.CutPrefix(word, "dport="); found {
				ports = append(ports, port)
				break
			}
		}
	}
	slices.Sort(ports)
	return ports
}
