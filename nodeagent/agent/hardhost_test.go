// SPDX-License-Identifier: Apache-2.0

package agent_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/clbsync/clbsync/nodeagent/internal/nettest"
	"github.com/clbsync/clbsync/nodeagent/internal/rig"
)

// A host that drops what nobody accepts must let through what NodePorts redirect, also of Local ones, which bear no mark,
// and health probes.
func TestHostThatDropsByPolicy(t *testing.T) {
	variants(t, func(t *testing.T, variant string) {
		s := newScene(t, variant, balancer)
		n1 := s.Nodes["n1"]
		for _, rule := range []string{"-A INPUT -i lo -j ACCEPT", "-P INPUT DROP", "-P FORWARD DROP"} {
			n1.Run(t, append([]string{"iptables-" + variant, "-w"}, strings.Fields(rule)...)...)
		}
		s.put(true, "p1a rs", "p2a rs")
		s.becomes(t, "tcp4", "p1a<-client")
		s.becomes(t, "udp4", "p1a<-client")
		nettest.Until(t, 10*time.Second, "health probes are let in", func() bool { return s.health() == 200 })
		s.put(false, "p2a rs")
		s.becomes(t, "tcp4", "p2a<-n1")
	})
}

// Where the rules are gone and cannot be put back, no load balancer may go on sending to this node.
func TestRulesThatCannotBeRepaired(t *testing.T) {
	s := newScene(t, "nft", balancer)
	s.agent.Kill()
	s.Agent(t, s.binary, "n1", append(s.flags, "--stuck-after=1s", "--address=127.0.0.1:10356")...)
	s.put(true, "p1a rs")
	s.becomes(t, "tcp4", "p1a<-client")
	nettest.Until(t, 10*time.Second, "the health port answers", func() bool { return s.health() == 200 })
	n1 := s.Nodes["n1"]
	// What iptables-nft cannot express it does not touch, nor the table that holds it.
	n1.Run(t, "nft", "flush ruleset; add table ip nat; add set ip nat mine { type ipv4_addr; }; "+
		"add chain ip nat PREROUTING { type nat hook prerouting priority -90; }; add rule ip nat PREROUTING ip saddr @mine accept")
	nettest.Until(t, 10*time.Second, "503 without rules", func() bool { return s.health() == 503 })
	if got := get(n1.Namespace, "http://127.0.0.1:10356/readyz"); !strings.Contains(got, "503") {
		t.Errorf("/readyz answers %q, want 503", got)
	}
	n1.Run(t, "nft", "delete", "table", "ip", "nat")
	s.becomes(t, "tcp4", "p1a<-client")
	nettest.Until(t, 10*time.Second, "200 with the rules back", func() bool { return s.health() == 200 })
}

// In mode override the load balancer hears kube-proxy, while packets meet our rules: where the two differ, somebody must
// be told.
func TestKubeProxyThatAnswersOtherwise(t *testing.T) {
	s := newScene(t, "nft", balancer)
	s.agent.Kill()
	var listener net.Listener
	var err error
	s.Nodes["n1"].Do(func() { listener, err = net.Listen("tcp4", fmt.Sprintf(":%d", healthPort)) })
	if err != nil {
		t.Fatal(err)
	}
	other := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Load-Balancing-Endpoint-Weight", "3")
		w.WriteHeader(http.StatusOK)
	})}
	go other.Serve(listener) //nolint:errcheck // it is closed
	t.Cleanup(func() { other.Close() })
	s.Agent(t, s.binary, "n1", "--iptables=nft", "--mode=override", "--compare-period=300ms", "--address=127.0.0.1:10356")
	s.put(true, "p1a rs")
	nettest.Until(t, 20*time.Second, "an Event tells both answers",
		eventSaid(s.API, "HealthCheckNodePortDiffers", "kube-proxy answers 200 with weight 3, this agent counts 1 endpoints"))
	metric := func(value string) func() bool {
		return func() bool {
			return strings.Contains(get(s.Nodes["n1"].Namespace, "http://127.0.0.1:10356/metrics"), `clb_node_agent_health_answers_differing{family="ipv4"} `+value)
		}
	}
	nettest.Until(t, 10*time.Second, "the metric tells it", metric("1"))
	s.put(true, "p1a rs", "p1b rs", "p1c rs")
	nettest.Until(t, 10*time.Second, "the metric tells that they agree", metric("0"))
	// Whatever the program is called (k3s-server, in k3s), the port is its own in this mode, and nobody is to be warned.
	if eventSaid(s.API, "FailedToStartServiceHealthcheck", "")() {
		t.Error("an Event warns that kube-proxy holds the health port, which it is to do")
	}
}

// get asks a URL on a machine, "" if nobody answers.
func get(from *nettest.Namespace, url string) string {
	body := ""
	from.Do(func() {
		host := strings.TrimPrefix(url, "http://")
		c, err := net.DialTimeout("tcp", host[:strings.Index(host, "/")], patience)
		if err != nil {
			return
		}
		defer c.Close()
		transport := &http.Transport{DisableKeepAlives: true, DialContext: func(context.Context, string, string) (net.Conn, error) { return c, nil }}
		response, err := (&http.Client{Transport: transport, Timeout: patience}).Get(url)
		if err != nil {
			return
		}
		defer response.Body.Close()
		var b strings.Builder
		if err := response.Write(&b); err == nil {
			body = b.String()
		}
	})
	return body
}

// With --drain, a node that the autoscaler is about to remove tells load balancers so; without, it does as kube-proxy does.
func TestNodeThatIsToGo(t *testing.T) {
	for _, drain := range []bool{false, true} {
		t.Run(fmt.Sprintf("drain %v", drain), func(t *testing.T) {
			s := newScene(t, "nft", balancer)
			s.agent.Kill()
			s.Agent(t, s.binary, "n1", append(s.flags, fmt.Sprintf("--drain=%v", drain), "--address=127.0.0.1:10356", "--profiling")...)
			s.put(true, "p1a rs")
			answers := func(what string, want int) {
				t.Helper()
				nettest.Until(t, 20*time.Second, what, func() bool { return s.health() == want })
			}
			own := func(path string) string { return get(s.Nodes["n1"].Namespace, "http://127.0.0.1:10356"+path) }
			answers("200 at first", 200)
			if got := own("/debug/pprof/cmdline"); !strings.Contains(got, "--profiling") {
				t.Errorf("/debug/pprof/cmdline answers %q, want the command line", got)
			}
			node := rig.Node("n1")
			node.Spec.Taints = []corev1.Taint{{Key: "ToBeDeletedByClusterAutoscaler", Effect: corev1.TaintEffectNoSchedule}}
			s.API.Put(node)
			nettest.Until(t, 10*time.Second, "/healthz says why", func() bool { return strings.Contains(own("/healthz"), "ToBeDeletedByClusterAutoscaler") })
			if got := own("/livez"); !strings.Contains(got, "200 OK") {
				t.Errorf("/livez answers %q: the agent would be restarted although nothing is wrong with it", got)
			}
			if drain {
				answers("503 with the taint", 503)
				s.becomes(t, "tcp4", "p1a<-client") // it still serves
				s.API.Put(rig.Node("n1"))
			}
			answers("200 again, or still", 200)
		})
	}
}

// The mark bit is looked at when the agent starts: what another program marks would be masqueraded in silence. That the CNI plugin
// portmap has the same default, on every node with a host port, is no reason to warn.
func TestMarkBitThatIsNotFree(t *testing.T) {
	s := newScene(t, "nft")
	s.agent.Kill()
	for _, rule := range []string{
		"-N CNI-HOSTPORT-SETMARK", "-A CNI-HOSTPORT-SETMARK -m comment --comment portmap -j MARK --set-xmark 0x2000/0x2000",
		"-N CNI-HOSTPORT-MASQ", "-A CNI-HOSTPORT-MASQ -m mark --mark 0x2000/0x2000 -j MASQUERADE",
	} {
		s.Nodes["n1"].Run(t, append([]string{"iptables-nft", "-w", "-t", "nat"}, strings.Fields(rule)...)...)
	}
	out, err := s.Nodes["n1"].Try("", s.binary, "check", "--node-name=n1", "--kubeconfig="+s.Kubefile["n1"])
	if strings.Contains(out, "a rule of others uses mark bit") || !strings.Contains(out, "the CNI plugin portmap uses mark bit 0x2000 too") {
		t.Errorf("check warns of portmap, or does not name it: %v\n%s", err, out)
	}
	s.Nodes["n1"].Run(t, "iptables-legacy", "-w", "-t", "mangle", "-A", "PREROUTING", "-i", "tun0", "-j", "MARK", "--set-mark", "0x2000")
	s.Agent(t, s.binary, "n1", s.flags...)
	nettest.Until(t, 20*time.Second, "an Event names the rule", eventSaid(s.API, "MarkBitInUse", "-A PREROUTING -i tun0"))
}
