// SPDX-License-Identifier: Apache-2.0

package agent_test

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/clbsync/clbsync/nodeagent/healthcheck"
	"github.com/clbsync/clbsync/nodeagent/internal/nettest"
	"github.com/clbsync/clbsync/nodeagent/internal/rig"
)

func eventSaid(api *rig.API, reason, text string) func() bool {
	return func() bool {
		for _, e := range api.Events() {
			if e.Reason == reason && strings.Contains(e.Message, text) {
				return true
			}
		}
		return false
	}
}

// opened tells whether somebody listens on a TCP port of the machine.
func opened(on *nettest.Namespace, port int) (open bool) {
	on.Do(func() {
		c, err := net.DialTimeout("tcp4", fmt.Sprintf("127.0.0.1:%d", port), time.Second)
		if open = err == nil; open {
			c.Close()
		}
	})
	return open
}

// A network plugin that routes pods by their source sends answers out by another interface: that is told, and that it has
// passed as well.
func TestReturnPathThatLeadsElsewhereIsTold(t *testing.T) {
	s := newScene(t, "nft")
	n1 := s.Nodes["n1"]
	n1.Run(t, "ip", "link", "add", "eth1", "type", "veth", "peer", "name", "eth1-end")
	n1.Run(t, "ip", "link", "set", "eth1-end", "up")
	n1.Run(t, "ip", "link", "set", "eth1", "up")
	n1.Run(t, "ip", "addr", "add", "192.168.9.1/24", "dev", "eth1")
	n1.Run(t, "ip", "route", "add", "default", "via", "192.168.9.2", "dev", "eth1", "table", "100")
	s.put(true, "p1a rs")
	s.becomes(t, "tcp4", "p1a<-client")
	n1.Run(t, "ip", "rule", "add", "from", "10.244.1.10", "lookup", "100")
	nettest.Until(t, 20*time.Second, "an Event tells it", eventSaid(s.API, "NodePortReturnPathBroken", "requests for endpoint 10.244.1.10 come in by eth0, its answers leave by eth1"))
	if got := s.ask("tcp4"); got == "p1a<-client" {
		t.Errorf("a client gets %q all the same; the Event would be wrong", got)
	}
	out, err := n1.Try("", s.binary, "check", "--node-name=n1", "--kubeconfig="+s.Kubefile["n1"])
	if err == nil || !strings.Contains(out, "!! answers of 1 endpoints on this node (IPv4)") {
		t.Errorf("check says nothing of it: %v\n%s", err, out)
	}
	n1.Run(t, "ip", "rule", "del", "from", "10.244.1.10", "lookup", "100")
	nettest.Until(t, 20*time.Second, "an Event tells that it works", eventSaid(s.API, "NodePortReturnPathWorks", "again"))
}

// What the host does not allow is told to the operator, and what it has already needs no right.
func TestLocalhostNodePorts(t *testing.T) {
	s := newScene(t, "nft")
	s.agent.Kill()
	n1 := s.Nodes["n1"]
	const name = "net/ipv4/conf/all/route_localnet"
	n1.Sysctl(t, name, "0")
	flags := append(s.flags, "--localhost-nodeports", "--sysctls="+t.TempDir())
	first := s.Agent(t, s.binary, "n1", flags...)
	nettest.Until(t, 20*time.Second, "an Event tells that they are off", eventSaid(s.API, "LocalhostNodePortsOff", "net.ipv4.conf.all.route_localnet is not 1"))
	first.Kill()
	n1.Sysctl(t, name, "1")
	s.put(false, "p1a rs")
	s.Agent(t, s.binary, "n1", flags...)
	nettest.Until(t, 20*time.Second, "the NodePort answers at 127.0.0.1", func() bool {
		return rig.Ask(n1.Namespace, "tcp4", fmt.Sprintf("127.0.0.1:%d", nodePort), patience) == "p1a<-n1"
	})
}

// The agent opens the health ports that a kube-proxy leaves, and keeps its own when one comes.
func TestModeFollowsKubeProxy(t *testing.T) {
	s := &scene{Rig: exampleNode(t, "n1"), binary: agentBinary(t)}
	n1 := s.Nodes["n1"]
	kubeProxyRules := func(action string) {
		n1.Run(t, "iptables-legacy", "-w", "-t", "nat", action, "KUBE-SERVICES", "-m", "addrtype", "--dst-type", "LOCAL", "-j", "KUBE-NODEPORTS")
	}
	for _, chain := range []string{"KUBE-SERVICES", "KUBE-NODEPORTS"} {
		n1.Run(t, "iptables-legacy", "-w", "-t", "nat", "-N", chain)
	}
	kubeProxyRules("-A")
	var kubeProxy net.Listener
	var err error
	n1.Do(func() { kubeProxy, err = net.Listen("tcp", fmt.Sprintf(":%d", apiHealthPort)) })
	if err != nil {
		t.Fatal(err)
	}
	defer kubeProxy.Close()
	go http.Serve(kubeProxy, http.NotFoundHandler()) //nolint:errcheck // it is closed
	a := s.Agent(t, s.binary, "n1", "--mode-period=300ms", "--check-period=500ms")
	nettest.Until(t, 30*time.Second, "the agent leaves the health ports to kube-proxy", func() bool { return strings.Contains(a.Log(), `mode="override"`) })
	answers := func() bool {
		return strings.Contains(get(n1.Namespace, fmt.Sprintf("http://127.0.0.1:%d/healthz", apiHealthPort)), "Server: "+healthcheck.Name)
	}
	nettest.Until(t, 30*time.Second, "the agent has its rules", func() bool {
		return strings.Contains(n1.Run(t, "iptables-legacy-save", "-t", "nat"), "--dport 30090")
	})
	if answers() {
		t.Error("the agent has opened a health port that is kube-proxy's")
	}
	kubeProxyRules("-D")
	nettest.Until(t, 30*time.Second, "an Event tells that the mode changes", eventSaid(s.API, "NodePortModeChanged", "mode companion from now on"))
	kubeProxy.Close()
	nettest.Until(t, 30*time.Second, "the agent takes the health port over", answers)
	kubeProxyRules("-A")
	nettest.Until(t, 30*time.Second, "an Event tells what to do", eventSaid(s.API, "NodePortModeMismatch", "still in mode companion; kube-proxy serves NodePorts too"))
	if !answers() {
		t.Error("the agent has closed a health port that nobody else holds")
	}
}

// On a node that starts, the API server answers only once kube-proxy has written its rules: the agent must not run as if there
// were none.
func TestModeOfANodeThatStarts(t *testing.T) {
	s := &scene{Rig: exampleNode(t, "n1"), binary: agentBinary(t)}
	n1 := s.Nodes["n1"]
	iptables := func(rule string) { n1.Run(t, append([]string{"iptables-legacy", "-w"}, strings.Fields(rule)...)...) }
	iptables("-I INPUT -i lo -p tcp -j REJECT --reject-with tcp-reset")
	a := s.Agent(t, s.binary, "n1")
	nettest.Until(t, 30*time.Second, "the agent has found nobody", func() bool { return strings.Contains(a.Log(), `mode="standalone"`) })
	for _, rule := range []string{"-N KUBE-SERVICES", "-N KUBE-NODEPORTS", "-A KUBE-SERVICES -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS"} {
		iptables("-t nat " + rule)
	}
	iptables("-D INPUT -i lo -p tcp -j REJECT --reject-with tcp-reset")
	nettest.Until(t, 30*time.Second, "the agent has looked again", func() bool { return strings.Contains(a.Log(), `mode="override"`) })
	nettest.Until(t, 30*time.Second, "the agent has its rules before kube-proxy's", func() bool {
		return strings.Contains(n1.Run(t, "iptables-legacy-save", "-t", "nat"), "--dport 30090")
	})
	if strings.Contains(n1.Run(t, "iptables-nft-save"), chainsPrefix) {
		t.Error("rules are in both variants of iptables")
	}
}

// Beside a kube-proxy that answers on no health port, the agent does, and soon after its start whatever the period.
func TestHealthPortThatKubeProxyLeavesClosed(t *testing.T) {
	s := newScene(t, "legacy", balancer)
	s.agent.Kill()
	s.put(true, "p1a rs")
	s.Agent(t, s.binary, "n1", "--iptables=legacy", "--mode=override", "--compare-period=10m")
	nettest.Until(t, 20*time.Second, "the health port answers", func() bool { return s.health() == 200 })
	nettest.Until(t, 10*time.Second, "an Event tells it, on the Service", func() bool {
		return slices.ContainsFunc(s.API.Events(), func(e corev1.Event) bool {
			return e.Reason == "HealthCheckNodePortDiffers" && strings.Contains(e.Message, "this agent answers in its place") && e.InvolvedObject.UID == "web-uid"
		})
	})
	s.put(true, "p2a rs")
	nettest.Until(t, 10*time.Second, "503 without an endpoint here", func() bool { return s.health() == 503 })
}

var (
	somePid  = regexp.MustCompile(`\(pid \d+\)`)
	textTime = regexp.MustCompile(`(?m)^# .*\n`)
)

// What the programs print for the example is what the page shows: explain after three clients, check on a node with a few
// faults, cleanup.
func TestPageOfPrograms(t *testing.T) {
	r := exampleNode(t, "n1")
	n1, client, binary := r.Nodes["n1"], nettest.New(t, "client"), agentBinary(t)
	nettest.Connect(t, client, "eth0", n1.Namespace, "eth0")
	client.Run(t, "ip", "addr", "add", "192.168.0.100/24", "dev", "eth0")
	n1.Run(t, "ip", "addr", "add", "192.168.0.11/24", "dev", "eth0")
	n1.Run(t, "ip", "route", "add", "default", "via", "192.168.0.100")
	n1.Run(t, "ip", "link", "add", "pods", "type", "veth", "peer", "name", "pods-end")
	n1.Run(t, "ip", "link", "set", "pods-end", "up")
	n1.Run(t, "ip", "link", "set", "pods", "up")
	n1.Run(t, "ip", "route", "add", "10.244.0.0/16", "dev", "pods")
	n1.Sysctl(t, "net/ipv4/ip_forward", "1")
	n1.Sysctl(t, "net/ipv4/conf/all/rp_filter", "0")
	n1.Sysctl(t, "net/ipv4/conf/default/rp_filter", "0")
	n1.Sysctl(t, "net/ipv6/conf/all/forwarding", "1")
	a := r.Agent(t, binary, "n1", "--iptables=nft", "--mode=standalone")
	nettest.Until(t, 30*time.Second, "the agent has its rules", func() bool {
		return strings.Contains(n1.Run(t, "iptables-nft", "-t", "nat", "-S"), "-A PREROUTING -j CLBN-NAT") &&
			strings.Contains(n1.Run(t, "ip6tables-nft", "-t", "nat", "-S"), "-A PREROUTING -j CLBN-NAT")
	})
	nettest.Until(t, 10*time.Second, "the health port is open", func() bool { return opened(n1.Namespace, apiHealthPort) })
	for range 3 {
		client.Do(func() {
			if c, err := net.DialTimeout("tcp4", fmt.Sprintf("192.168.0.11:%d", apiPort), 100*time.Millisecond); err == nil {
				c.Close()
				t.Error("somebody answers at an address where nobody is")
			}
		})
	}
	asked := func(args ...string) string {
		out, _ := n1.Try("", append([]string{binary}, args...)...) // check fails, since it finds something
		shown := args[:0:0]
		for _, a := range args {
			if !strings.HasPrefix(a, "--kubeconfig") && !strings.HasPrefix(a, "--node-name") && !strings.HasPrefix(a, "--pods") {
				shown = append(shown, a)
			}
		}
		return console("$ clb-node-agent " + strings.Join(shown, " ") + "\n" + somePid.ReplaceAllString(out, "(pid 817)"))
	}
	api := []string{"--node-name=n1", "--kubeconfig=" + r.Kubefile["n1"], "--pods=cidr:10.244.0.0/16"}
	explain := asked(append([]string{"explain", fmt.Sprint(apiPort)}, api...)...)
	n1.Sysctl(t, "net/ipv4/ip_local_port_range", "32000 60999")
	n1.Run(t, "iptables-nft", "-t", "mangle", "-A", "PREROUTING", "-i", "tun0", "-j", "MARK", "--set-xmark", "0x2000/0x2000")
	var squatter net.Listener
	var err error
	n1.Do(func() { squatter, err = net.Listen("tcp4", fmt.Sprintf(":%d", webPort)) })
	if err != nil {
		t.Fatal(err)
	}
	defer squatter.Close()
	comm, err := os.ReadFile("/proc/self/comm")
	if err != nil {
		t.Fatal(err)
	}
	check := strings.ReplaceAll(asked(append([]string{"check"}, api...)...), strings.TrimSpace(string(comm))+" (pid", "prometheus (pid")
	nettest.Until(t, 20*time.Second, "the address sets of the agent's first probes are gone", func() bool { return len(addressSets(t, n1)) == 0 })
	a.Kill()
	cleanup := asked("cleanup")
	if left := textTime.ReplaceAllString(n1.Run(t, "iptables-nft-save"), ""); strings.Contains(left, chainsPrefix) {
		t.Errorf("cleanup has left\n%s", left)
	}
	pages(t, "nodeports", func(text string, _ bool) string {
		for name, out := range map[string]string{"explain": explain, "check": check, "cleanup": cleanup} {
			text = fill(t, text, name, out)
		}
		return text
	})
}

const chainsPrefix = "CLBN-"

// With exactly the rights and mounts that the DaemonSet asks for, and a file system that cannot be written, everything works.
func TestAgentWorksWithTwoCapabilities(t *testing.T) {
	const inside = `
mount --make-rprivate /
mount -t tmpfs tmpfs /run && mkdir -p /run/sys/net && mount --bind /proc/sys/net /run/sys/net
mount -o remount,ro,bind / && mount --bind /proc/sys /proc/sys && mount -o remount,ro,bind /proc/sys
exec setpriv --bounding-set=-all,+net_admin,+net_raw --inh-caps=-all,+net_admin,+net_raw --ambient-caps=-all --no-new-privs "$@"`
	variants(t, func(t *testing.T, variant string) {
		r := rig.New(t)
		r.Nodes["n1"].Sysctl(t, "net/ipv4/conf/all/route_localnet", "0")
		s := &scene{Rig: r, mods: []func(*corev1.Service){clientIP, balancer}}
		r.API.Put(rig.Node("n1"))
		a := rig.Start(t, r.Nodes["n1"].Namespace, []string{"XTABLES_LOCKFILE=/run/xtables.lock"}, "unshare", "-m", "sh", "-ec", inside, "sh",
			agentBinary(t), "run", "--node-name=n1", "--kubeconfig="+r.Kubefile["n1"], "--iptables="+variant, "--mode=standalone",
			"--localhost-nodeports", "--sysctls=/run/sys")
		s.put(true, "p1a rs")
		s.becomes(t, "tcp4", "p1a<-client")
		s.becomes(t, "udp4", "p1a<-client")
		nettest.Until(t, 10*time.Second, "the health port answers", func() bool { return s.health() == 200 })
		if got := rig.Ask(r.Nodes["n1"].Namespace, "tcp4", fmt.Sprintf("127.0.0.1:%d", nodePort), patience); got != "p1a<-n1" {
			t.Errorf("the NodePort at 127.0.0.1 answers %q, want an endpoint", got)
		}
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", a.Pid()))
		if err != nil {
			t.Fatal(err)
		}
		const adminAndRaw = "CapBnd:\t0000000000003000"
		if !strings.Contains(string(status), adminAndRaw) || !strings.Contains(string(status), strings.Replace(adminAndRaw, "Bnd", "Eff", 1)) {
			t.Errorf("the agent has other rights than NET_ADMIN and NET_RAW:\n%s", status)
		}
		for _, lack := range []string{"affinity is limited", "Updates are slower", "Sync failed", "Not all stale UDP flows"} {
			if strings.Contains(a.Log(), lack) {
				t.Errorf("it works less well than with all rights (%q):\n%s", lack, a.Log())
			}
		}
		metrics := r.Nodes["n1"].Run(t, "curl", "-s", "http://127.0.0.1:10356/metrics")
		for _, want := range []string{`clb_node_agent_verdict_packets_total{family="ipv4",verdict="forward"} `, `clb_node_agent_health_answers_total{code="200",family="ipv4"} `} {
			if _, value, found := strings.Cut(metrics, want); !found || strings.HasPrefix(value, "0\n") {
				t.Errorf("/metrics has no %s, or 0:\n%s", want, metrics)
			}
		}
	})
}
