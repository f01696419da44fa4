// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"cmp"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/clbsync/clbsync/nodeagent/sockets"
)

func TestEphemeralPorts(t *testing.T) {
	for _, test := range []struct {
		name, ports, reserved string
		used                  []uint16
		want                  string // "" is fine
	}{
		{"the kernel's default is above NodePorts", "32768 60999", "", nil, ""},
		{"an overlap names the ports", "32000 60999", "", nil, "from 32000 to 32767"},
		{"reserved ports do not count", "32000 60999", "8080,30000-32767", nil, ""},
		{"reserved in two parts", "32000 60999", "32000-32500,32501-32767", nil, ""},
		{"a part that is reserved leaves the rest", "32000 60999", "32000-32500", nil, "from 32501 to 32767"},
		{"a NodePort out of the default range counts", "32768 60999", "", []uint16{40000}, "from 40000 to 40000"},
		{"that one is reserved", "32768 60999", "40000", []uint16{40000}, ""},
		{"nonsense is named", "many", "", nil, "want two numbers"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := ephemeral(test.ports, test.reserved, test.used)
			if got.Bad != (test.want != "") || !strings.Contains(got.Text, test.want) || got.Bad && (got.Means == "" || got.Do == "") {
				t.Errorf("got %v, want %q", got, test.want)
			}
		})
	}
}

func TestWhoHoldsAPort(t *testing.T) {
	node, health := protocolPort{corev1.ProtocolTCP, 30080}, protocolPort{corev1.ProtocolTCP, 32080}
	owned := map[protocolPort]owner{node: {service: "shop/web:http"}, health: {service: "shop/web", health: true}}
	held := func(p protocolPort, who string) []listener { return []listener{{p, func() string { return who }}} }
	for _, test := range []struct {
		name    string
		mode    Mode
		known   bool
		held    []listener
		bad     bool
		mention string
	}{
		{"nobody", Standalone, true, nil, false, "no other program"},
		{"a NodePort in other hands", Standalone, true, held(node, "nginx (pid 7)"), true, "30080/TCP, a NodePort of Service shop/web:http, is held by nginx (pid 7)"},
		{"the agent's health port", Standalone, true, held(health, "clb-node-agent (pid 7)"), false, "answered by clb-node-agent"},
		{"a health port in other hands", Standalone, true, held(health, "nginx (pid 7)"), true, "the healthCheckNodePort of Service shop/web, is held by nginx"},
		{"kube-proxy holds it beside a companion", Companion, true, held(health, "kube-proxy (pid 7)"), true, "is held by kube-proxy"},
		{"kube-proxy holds it in override", Override, true, held(health, "kube-proxy (pid 7)"), false, "answered by kube-proxy"},
		{"a UDP socket does not hold a TCP port", Standalone, true, held(protocolPort{corev1.ProtocolUDP, 30080}, "x (pid 7)"), false, "no other program"},
		{"a port that no Service has", Standalone, true, held(protocolPort{corev1.ProtocolTCP, 30081}, "x (pid 7)"), false, "no other program"},
		{"without the Services, the whole range counts", Standalone, false, held(protocolPort{corev1.ProtocolTCP, 30081}, "x (pid 7)"), true, "30081/TCP, in the range of NodePorts, is held by x"},
	} {
		t.Run(test.name, func(t *testing.T) {
			owners := owned
			if !test.known {
				owners = nil
			}
			got := portFindings(test.mode, owners, test.known, test.held)
			if len(got) != 1 || got[0].Bad != test.bad || !strings.Contains(got[0].Text, test.mention) {
				t.Errorf("got %v, want one finding with %q", got, test.mention)
			}
		})
	}
}

// A check that may not look into processes asks the health port itself who holds it.
func TestWhoAnswersOnAHealthPort(t *testing.T) {
	for who, headers := range map[string]map[string]string{
		"clb-node-agent (by its answer)": {"Server": "clb-node-agent", "X-Load-Balancing-Endpoint-Weight": "1"},
		"kube-proxy (by its answer)":     {"X-Load-Balancing-Endpoint-Weight": "1"},
		"":                               {"Server": "nginx"},
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			for key, value := range headers {
				w.Header().Set(key, value)
			}
			w.WriteHeader(http.StatusServiceUnavailable)
		}))
		at := netip.MustParseAddrPort(server.Listener.Addr().String())
		if got := speaker(t.Context(), "127.0.0.1", at.Port()); got != who {
			t.Errorf("with the headers %v the port belongs to %q, want %q", headers, got, who)
		}
		for process, want := range map[string]string{
			"kube-proxy (pid 8)":  "kube-proxy (pid 8)",
			"k3s-server (pid 8)":  map[bool]string{true: proxyByAnswer + " in k3s-server (pid 8)", false: "k3s-server (pid 8)"}[who == proxyByAnswer],
			sockets.Unnamed + "0": cmp.Or(who, sockets.Unnamed+"0"),
		} {
			if got := holder(t.Context(), "127.0.0.1", at.Port(), process); got != want {
				t.Errorf("with the headers %v a port of %q is held by %q, want %q", headers, process, got, want)
			}
		}
		server.Close()
		if got := speaker(t.Context(), "127.0.0.1", at.Port()); got != "" {
			t.Errorf("a closed port belongs to %q", got)
		}
	}
}

func TestWayBack(t *testing.T) {
	e := netip.MustParseAddr("10.0.1.7")
	for _, test := range []struct {
		name string
		way  wayBack
		want string
	}{
		{"in and out by the same interface", wayBack{e, "eth0", "veth1", "eth0"}, ""},
		{"out by another", wayBack{e, "eth0", "veth1", "eth1"}, "come in by eth0, its answers leave by eth1"},
		{"a pod with an interface of its own", wayBack{e, "eth0", "eth0", ""}, "do not pass this node"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := test.way.problem(); (got == "") != (test.want == "") || !strings.Contains(got, test.want) {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func TestDropsByPolicy(t *testing.T) {
	if got := dropsByPolicy("*filter\n:INPUT ACCEPT [0:0]\n:FORWARD DROP [0:0]\n"); got != "FORWARD" {
		t.Errorf("got %q, want FORWARD", got)
	}
	if got := dropsByPolicy("*filter\n:INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n"); got != "" {
		t.Errorf("got %q, want none", got)
	}
}
