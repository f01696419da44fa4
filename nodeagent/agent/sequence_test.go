// SPDX-License-Identifier: Apache-2.0

package agent_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/clbsync/clbsync/nodeagent"
	"github.com/clbsync/clbsync/nodeagent/internal/nettest"
	"github.com/clbsync/clbsync/nodeagent/internal/rig"
	"github.com/clbsync/clbsync/nodeagent/iptables"
	"github.com/clbsync/clbsync/nodeagent/iptables/chains"
)

const patience = 1500 * time.Millisecond

// scene is a rig with the agent on n1 and one Service.
type scene struct {
	*rig.Rig
	agent  *rig.Process
	binary string
	flags  []string
	mods   []func(*corev1.Service)
}

const nodePort, healthPort = 30080, 32080

func newScene(t *testing.T, variant string, mods ...func(*corev1.Service)) *scene {
	s := &scene{Rig: rig.New(t), binary: agentBinary(t), mods: mods}
	s.flags = []string{"--iptables=" + variant, "--mode=standalone", "--check-period=500ms"}
	s.API.Put(rig.Node("n1"))
	s.agent = s.Agent(t, s.binary, "n1", s.flags...)
	return s
}

// put writes the Service with these endpoints.
func (s *scene) put(local bool, endpoints ...string) {
	s.API.Put(s.Service("web", nodePort, local, endpoints, s.mods...)...)
}

func balancer(s *corev1.Service) {
	s.Spec.Type, s.Spec.HealthCheckNodePort = corev1.ServiceTypeLoadBalancer, healthPort
}

func (s *scene) ask(network string) string {
	return rig.Ask(s.Client.Namespace, network, fmt.Sprintf("192.168.0.11:%d", nodePort), patience)
}

func (s *scene) becomes(t *testing.T, network, want string) {
	t.Helper()
	last := ""
	nettest.Until(t, 10*time.Second, network+" answers "+want, func() bool {
		last = s.ask(network)
		return last == want
	})
}

// health asks the health port; 0 means no answer.
func (s *scene) health() int { return s.healthOn(healthPort) }

func (s *scene) healthOn(port int) int {
	status := 0
	s.Client.Do(func() {
		c, err := net.DialTimeout("tcp", fmt.Sprintf("192.168.0.11:%d", port), patience)
		if err != nil {
			return
		}
		defer c.Close()
		transport := &http.Transport{DisableKeepAlives: true, DialContext: func(context.Context, string, string) (net.Conn, error) { return c, nil }}
		response, err := (&http.Client{Transport: transport, Timeout: patience}).Get("http://health/healthz")
		if err == nil {
			response.Body.Close()
			status = response.StatusCode
		}
	})
	return status
}

func variants(t *testing.T, fn func(t *testing.T, variant string)) {
	for _, variant := range []string{"legacy", "nft"} {
		t.Run(variant, func(t *testing.T) { fn(t, variant) })
	}
}

func TestEndpointsComeAndGo(t *testing.T) {
	variants(t, func(t *testing.T, variant string) {
		s := newScene(t, variant)
		s.put(false)
		s.becomes(t, "tcp4", rig.Refused)
		s.put(false, "p1a rs")
		s.becomes(t, "tcp4", "p1a<-n1")
		kept, err := rig.Dial(s.Client.Namespace, "tcp4", fmt.Sprintf("192.168.0.11:%d", nodePort), patience)
		if err != nil {
			t.Fatal(err)
		}
		defer kept.Close()
		if got := rig.AskAgain(kept, patience); got != "p1a<-n1" {
			t.Fatalf("a new connection answers %q", got)
		}
		s.put(false, "p1a st", "p2a rs")
		s.becomes(t, "tcp4", "p2a<-n1")
		s.put(true, "p1b rs", "p2a rs")
		s.becomes(t, "tcp4", "p1b<-client")
		s.API.Delete(s.Service("web", nodePort, true, nil)...)
		s.becomes(t, "tcp4", rig.Refused)
		if got := rig.AskAgain(kept, patience); got != "p1a<-n1" {
			t.Errorf("the connection from the beginning: got %q, want it alive through all changes", got)
		}
	})
}

func TestUDPFlowsMove(t *testing.T) {
	variants(t, func(t *testing.T, variant string) {
		s := newScene(t, variant)
		s.put(false, "p1a rs")
		s.becomes(t, "udp4", "p1a<-n1")
		flow, err := rig.Dial(s.Client.Namespace, "udp4", fmt.Sprintf("192.168.0.11:%d", nodePort), patience)
		if err != nil {
			t.Fatal(err)
		}
		defer flow.Close()
		becomes := func(what, want string) {
			t.Helper()
			nettest.Until(t, 5*time.Second, what+": the flow answers "+want, func() bool { return rig.AskAgain(flow, patience) == want })
		}
		becomes("at first", "p1a<-n1")
		s.put(false, "p2a rs")
		becomes("the endpoint has moved", "p2a<-n1")
		s.put(false)
		becomes("scaled to zero", rig.Refused)
		s.put(false, "p1b rs")
		becomes("scaled up again", "p1b<-n1")
		s.API.Delete(s.Service("web", nodePort, false, []string{"p1b rs"})...)
		becomes("the Service is deleted", rig.Refused)
	})
}

func TestRestartsAndFlushes(t *testing.T) {
	variants(t, func(t *testing.T, variant string) {
		s := newScene(t, variant)
		s.put(false, "p1a rs")
		s.becomes(t, "tcp4", "p1a<-n1")
		n1 := s.Nodes["n1"]
		rules := func() string {
			var lines []string
			for line := range strings.Lines(n1.Run(t, "iptables-"+variant+"-save")) {
				if !strings.HasPrefix(line, "#") && !strings.HasPrefix(line, ":") {
					lines = append(lines, line)
				}
			}
			return strings.Join(lines, "")
		}
		before := rules()
		s.agent.Kill()
		if got := s.ask("tcp4"); got != "p1a<-n1" {
			t.Errorf("the agent was killed: got %q, want the rules to stay", got)
		}
		s.agent = s.Agent(t, s.binary, "n1", s.flags...)
		s.put(false, "p1b rs")
		s.becomes(t, "tcp4", "p1b<-n1")
		s.put(false, "p1a rs")
		s.becomes(t, "tcp4", "p1a<-n1")
		if after := rules(); after != before {
			t.Errorf("a restart changed the rules from\n%s\nto\n%s", before, after)
		}
		web := chains.ExternalChain(nodeagent.ServicePortName{NamespacedName: types.NamespacedName{Namespace: "rig", Name: "web"}, Port: "tcp", Protocol: corev1.ProtocolTCP})
		for _, harm := range []string{
			"-t nat -F", "-t nat -F PREROUTING", "-t filter -F", "-t nat -F CLBN-NP",
			"-t nat -I PREROUTING 1 -j RETURN",                                               // as if kube-proxy had come later and stood first
			"-t nat -F " + web, "-t nat -I " + web + " 1 -j RETURN", "-t nat -D CLBN-POST 2", // no jump shows these
		} {
			n1.Run(t, append([]string{"iptables-" + variant, "-w"}, strings.Fields(harm)...)...)
			s.becomes(t, "tcp4", "p1a<-n1")
			nettest.Until(t, 5*time.Second, "our jump is first after "+harm, func() bool {
				lines := strings.Split(n1.Run(t, "iptables-"+variant, "-w", "-t", "nat", "-S", "PREROUTING"), "\n")
				return len(lines) > 1 && lines[1] == "-A PREROUTING -j CLBN-NAT"
			})
		}
		// A change of ours that comes after the harm must not be taken for all that happened.
		n1.Run(t, "iptables-"+variant, "-w", "-t", "nat", "-F", web)
		s.API.Put(s.Service("other", nodePort+1, false, []string{"p1b rs"})...)
		s.becomes(t, "tcp4", "p1a<-n1")
		s.API.Delete(s.Service("other", nodePort+1, false, nil)...)
		nettest.Until(t, 10*time.Second, "all rules are as they were", func() bool { return strings.Replace(rules(), "-A PREROUTING -j RETURN\n", "", 1) == before })
		n1.Run(t, "ip", "addr", "add", "192.168.0.77/24", "dev", "eth0")
		if got := rig.Ask(s.Client.Namespace, "tcp4", fmt.Sprintf("192.168.0.77:%d", nodePort), patience); got != "p1a<-n1" {
			t.Errorf("an address that the node got later: got %q, want an answer", got)
		}
		s.agent.Kill()
		n1.Run(t, s.binary, "cleanup")
		if left := rules(); strings.Contains(left, "CLBN-") {
			t.Errorf("after cleanup:\n%s", left)
		}
		if got := s.ask("tcp4"); got != rig.Refused {
			t.Errorf("after cleanup: got %q, want nobody there", got)
		}
	})
}

// While endpoints change, every answer of 200 must be followed by a connection that works.
func TestHealthyMeansThatAConnectionWorks(t *testing.T) {
	variants(t, func(t *testing.T, variant string) {
		s := newScene(t, variant, balancer)
		s.put(true, "p2a rs")
		nettest.Until(t, 10*time.Second, "the health port answers 503", func() bool { return s.health() == 503 })
		ctx, cancel := context.WithCancel(context.Background())
		var watch sync.WaitGroup
		checked := 0
		watch.Go(func() {
			for ctx.Err() == nil {
				if s.health() != 200 {
					continue
				}
				if got := s.ask("tcp4"); !strings.HasSuffix(got, "<-client") {
					t.Errorf("the health port said 200, but a connection got %q", got)
				}
				checked++
			}
		})
		states := [][]string{{"p1a rs", "p2a rs"}, {"p1a st", "p2a rs"}, {"p1b rs"}, {"p1b st", "p2a rs"}, {"p1a rs", "p1b rs"}}
		for round := range 10 {
			endpoints := states[round%len(states)]
			s.put(true, endpoints...)
			want := 503
			if strings.Contains(strings.Join(endpoints, ","), "p1a rs") || strings.Contains(strings.Join(endpoints, ","), "p1b rs") {
				want = 200
			}
			nettest.Until(t, 10*time.Second, fmt.Sprintf("endpoints %v: the health port answers %d", endpoints, want), func() bool { return s.health() == want })
		}
		cancel()
		watch.Wait()
		if checked < 5 {
			t.Errorf("only %d answers of 200 were put to the test", checked)
		}
		s.put(true, "p2a rs")
		nettest.Until(t, 10*time.Second, "503 once the last local endpoint has gone", func() bool { return s.health() == 503 })
	})
}

func TestHealthPortHeldByAnother(t *testing.T) {
	s := newScene(t, "nft", balancer)
	var squatter net.Listener
	var err error
	s.Nodes["n1"].Do(func() { squatter, err = net.Listen("tcp4", fmt.Sprintf(":%d", healthPort)) })
	if err != nil {
		t.Fatal(err)
	}
	s.put(true, "p1a rs")
	event := func(reason, text string) func() bool {
		return func() bool {
			for _, e := range s.API.Events() {
				if e.Reason == reason && e.InvolvedObject.Name == "web" && strings.Contains(e.Message, text) {
					return true
				}
			}
			return false
		}
	}
	nettest.Until(t, 10*time.Second, "an Event names who holds the port", event("FailedToStartServiceHealthcheck", fmt.Sprintf("(pid %d)", os.Getpid())))
	squatter.Close()
	nettest.Until(t, 15*time.Second, "the port is opened when it is free", func() bool { return s.health() == 200 })
	nettest.Until(t, 5*time.Second, "an Event tells that it works", event("StartedServiceHealthcheck", "again"))
}

func TestExplainAndCheckOnANode(t *testing.T) {
	s := newScene(t, "nft")
	s.put(true, "p1a rs", "p2a rs")
	s.becomes(t, "tcp4", "p1a<-client")
	n1 := s.Nodes["n1"]
	out := n1.Run(t, s.binary, "explain", fmt.Sprint(nodePort), "--node-name=n1", "--kubeconfig="+s.Kubefile["n1"])
	for _, want := range []string{
		"30080/TCP is a NodePort of Service rig/web:tcp, externalTrafficPolicy Local",
		"from a client outside: forwarded to the endpoints on this node (10.244.1.10:8080); the endpoint sees the client's address",
		"in the kernel (iptables-nft): 30080/tcp goes to CLBN-EXT-",
		"endpoint 10.244.1.10:8080 (1 flows)",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("explain says nothing like %q:\n%s", want, out)
		}
	}
	n1.Run(t, "iptables-nft", "-t", "mangle", "-A", "PREROUTING", "-s", "1.2.3.4", "-j", "MARK", "--set-mark", "0x2000")
	out, err := n1.Try("", s.binary, "check")
	if err == nil || !strings.Contains(out, "a rule of others uses mark bit 0x2000") || !strings.Contains(out, "mode standalone") {
		t.Errorf("check says nothing of the mark that another rule uses: %v\n%s", err, out)
	}
}

// The address set of an endpoint goes with the Service, and nobody who reads the rules meanwhile is told that it does not exist.
func TestAddressSetsGoUnnoticed(t *testing.T) {
	for _, variant := range []string{"legacy", "nft"} {
		t.Run(variant, func(t *testing.T) {
			s := newScene(t, variant, func(svc *corev1.Service) { svc.Spec.SessionAffinity = corev1.ServiceAffinityClientIP })
			n1 := s.Nodes["n1"]
			s.put(false, "p1a rs")
			s.becomes(t, "tcp4", "p1a<-n1")
			if len(addressSets(t, n1)) == 0 {
				t.Fatal("affinity without an address set")
			}
			s.API.Delete(s.Service("web", nodePort, false, nil, s.mods...)...)
			nettest.Until(t, 20*time.Second, "no address set is left", func() bool {
				n1.Run(t, "iptables-"+variant+"-save", "-t", "nat")
				return len(addressSets(t, n1)) == 0
			})
		})
	}
}

// addressSets returns the names of the agent's address sets of both families.
func addressSets(t *testing.T, n *rig.Machine) (names []string) {
	t.Helper()
	n.Do(func() {
		for _, family := range iptables.Families {
			sets, err := iptables.Runner{Family: family}.Sets(t.Context())
			if err != nil {
				t.Error(err)
			}
			names = append(names, sets...)
		}
	})
	return names
}
