// SPDX-License-Identifier: Apache-2.0

package agent_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/clbsync/clbsync/nodeagent/internal/nettest"
	"github.com/clbsync/clbsync/nodeagent/internal/rig"
)

// traffic opens new connections all the time and keeps one. A node without rules for the port refuses at once, so that
// the shortest gap is seen although a lost packet is forgiven for some seconds: the machine is busy.
type traffic struct {
	scene *scene
	kept  net.Conn
	stop  context.CancelFunc
	wait  sync.WaitGroup

	mu       sync.Mutex
	answered int
	lost     []string
	since    time.Time // connections that were begun earlier are forgotten, also those that are still tried
}

const forgiving = 5 * time.Second

func startTraffic(t *testing.T, s *scene) *traffic {
	t.Helper()
	address := fmt.Sprintf("192.168.0.11:%d", nodePort)
	kept, err := rig.Dial(s.Client.Namespace, "tcp4", address, forgiving)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	l := &traffic{scene: s, kept: kept, stop: cancel}
	t.Cleanup(func() { cancel(); l.wait.Wait(); kept.Close() })
	for range 3 {
		l.wait.Go(func() {
			for ctx.Err() == nil {
				begun := time.Now()
				answer := rig.Ask(s.Client.Namespace, "tcp4", address, forgiving)
				l.mu.Lock()
				switch {
				case strings.Contains(answer, "<-"):
					l.answered++
				case begun.After(l.since):
					l.lost = append(l.lost, answer+" at "+time.Now().Format("15:04:05.000"))
				}
				l.mu.Unlock()
			}
		})
	}
	return l
}

// goesOn waits for more new connections, and fails if one was lost or the kept one is cut.
func (l *traffic) goesOn(t *testing.T, after string) {
	t.Helper()
	count := func() int { l.mu.Lock(); defer l.mu.Unlock(); return l.answered }
	before := count()
	nettest.Until(t, 20*time.Second, after+": twenty more connections", func() bool { return count() >= before+20 })
	if got := rig.AskAgain(l.kept, forgiving); !strings.Contains(got, "<-") {
		t.Fatalf("%s: the connection from the beginning says %q", after, got)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.lost) > 0 {
		t.Fatalf("%s: %d new connections were lost: %v", after, len(l.lost), l.lost)
	}
}

// forget starts the count of lost connections anew.
func (l *traffic) forget() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lost, l.since = nil, time.Now()
}

// others makes Services that are not the one with the traffic. Every third has no endpoints: the filter table has rules
// for it.
func (s *scene) others(count int, local bool, endpoints ...string) []runtime.Object {
	var objects []runtime.Object
	for i := range count {
		e := endpoints
		if i%3 == 0 {
			e = nil
		}
		objects = append(objects, s.Service(fmt.Sprintf("other%03d", i), int32(31000+i), local, e)...)
	}
	return objects
}

// synced waits until a marker Service that is written now answers: what was written before is in the kernel then.
func (s *scene) synced(t *testing.T) {
	t.Helper()
	port := int32(29000)
	name := "marker"
	s.API.Delete(s.Service(name, port, false, nil)...)
	ask := func() string {
		return rig.Ask(s.Client.Namespace, "tcp4", fmt.Sprintf("192.168.0.11:%d", port), patience)
	}
	nettest.Until(t, 20*time.Second, "the marker is gone", func() bool { return ask() == rig.Refused })
	s.API.Put(s.Service(name, port, false, []string{"p1c rs"})...)
	nettest.Until(t, 20*time.Second, "the marker answers", func() bool { return ask() == "p1c<-n1" })
}

// Under Cluster no new connection is lost and no established one is cut, whatever happens to the agent, to other
// Services and to endpoints while others serve.
func TestTrafficGoesOn(t *testing.T) {
	variants(t, func(t *testing.T, variant string) {
		s := newScene(t, variant)
		path, stall, reached := rig.StallingPath(t, variant)
		s.agent.Kill()
		s.agent = s.AgentWith(t, []string{path}, s.binary, "n1", s.flags...)
		s.put(false, "p1a rs", "p2a rs")
		nettest.Until(t, 10*time.Second, "the Service answers", func() bool { return strings.Contains(s.ask("tcp4"), "<-n1") })
		l := startTraffic(t, s)
		for _, step := range []struct {
			what string
			do   func()
		}{
			{"an endpoint comes", func() { s.put(false, "p1a rs", "p1b rs", "p2a rs") }},
			{"an endpoint terminates", func() { s.put(false, "p1a rs", "p1b st", "p2a rs") }},
			{"an endpoint goes", func() { s.put(false, "p1a rs", "p2a rs") }},
			{"two hundred Services come", func() { s.API.Put(s.others(200, false, "p1a rs", "p2a rs")...) }},
			{"their policy is flipped", func() { s.API.Put(s.others(200, true, "p1a rs", "p2a rs")...) }},
			{"an address comes to the node", func() { s.Nodes["n1"].Run(t, "ip", "addr", "add", "192.168.0.78/24", "dev", "eth0") }},
			{"the agent is asked to end, and comes back", func() {
				ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
				defer cancel()
				if err := s.agent.Stop(ctx); err != nil {
					t.Fatal(err)
				}
				s.agent = s.AgentWith(t, []string{path}, s.binary, "n1", s.flags...)
			}},
			{"the agent is killed in the middle of a restore, and comes back", func() {
				if err := os.WriteFile(stall, nil, 0o600); err != nil {
					t.Fatal(err)
				}
				s.API.Put(s.others(200, false, "p1b rs")...)
				nettest.Until(t, 10*time.Second, "the filter table is loaded and the nat table is not", func() bool {
					_, err := os.Stat(reached)
					return err == nil
				})
				s.agent.Kill()
				if err := errors.Join(os.Remove(stall), os.Remove(reached)); err != nil {
					t.Fatal(err)
				}
				l.goesOn(t, "the agent is dead")
				s.agent = s.AgentWith(t, []string{path}, s.binary, "n1", s.flags...)
			}},
			{"the two hundred Services go", func() { s.API.Delete(s.others(200, false)...) }},
		} {
			step.do()
			s.synced(t)
			l.goesOn(t, step.what)
		}
		rules := s.Nodes["n1"].Run(t, "iptables-"+variant+"-save")
		if strings.Contains(rules, "other") || !strings.Contains(rules, "rig/web:tcp") {
			t.Errorf("the rules are not those for what is left:\n%s", rules)
		}
		// A flush cuts new connections until it is noticed; it must not cut established ones, nor last.
		s.Nodes["n1"].Run(t, "iptables-"+variant, "-w", "-t", "nat", "-F")
		s.synced(t)
		l.forget()
		l.goesOn(t, "the nat table was flushed")
	})
}

// Beside kube-proxy, in override mode, each may go and come back in either order.
func TestEitherProxyRestarts(t *testing.T) {
	if *kubeProxy == "" {
		return // TestTrafficGoesOn restarts the agent; the other half needs the other proxy
	}
	variants(t, func(t *testing.T, variant string) {
		s := &scene{Rig: rig.New(t), binary: agentBinary(t), flags: []string{"--iptables=" + variant, "--mode=override", "--check-period=500ms"}}
		s.API.Put(rig.Node("n1"))
		other := s.KubeProxy(t, *kubeProxy, "n1", variant, "")
		s.put(false, "p1a rs", "p2a rs")
		nettest.Until(t, 20*time.Second, "kube-proxy answers", func() bool { return strings.Contains(s.ask("tcp4"), "<-n1") })
		s.agent = s.Agent(t, s.binary, "n1", s.flags...)
		s.synced(t)
		l := startTraffic(t, s)
		startOther := func() { other = s.KubeProxy(t, *kubeProxy, "n1", variant, "") }
		startAgent := func() { s.agent = s.Agent(t, s.binary, "n1", s.flags...) }
		for _, step := range []struct {
			what string
			do   []func()
		}{
			{"the agent is killed and comes back", []func(){s.agent.Kill, startAgent}},
			{"kube-proxy is killed and comes back", []func(){func() { other.Kill() }, startOther}},
			{"both are killed, the agent comes back first", []func(){func() { other.Kill() }, func() { s.agent.Kill() }, startAgent, startOther}},
			{"both are killed, kube-proxy comes back first", []func(){func() { s.agent.Kill() }, func() { other.Kill() }, startOther, startAgent}},
		} {
			for _, do := range step.do {
				do()
				l.goesOn(t, step.what)
			}
			s.synced(t)
			l.goesOn(t, step.what)
			nettest.Until(t, 10*time.Second, step.what+": our jump is first", func() bool {
				lines := strings.Split(s.Nodes["n1"].Run(t, "iptables-"+variant, "-w", "-t", "nat", "-S", "PREROUTING"), "\n")
				return len(lines) > 1 && lines[1] == "-A PREROUTING -j CLBN-NAT"
			})
		}
	})
}

// The health port moves, and the agent dies and comes back: an answer of 200 always means that a connection works.
func TestHealthPortMovesAndAgentRestarts(t *testing.T) {
	variants(t, func(t *testing.T, variant string) {
		port := int32(healthPort)
		s := newScene(t, variant, func(svc *corev1.Service) { balancer(svc); svc.Spec.HealthCheckNodePort = port })
		s.put(true, "p1a rs", "p2a rs")
		answers := func(port int32, want int) {
			t.Helper()
			nettest.Until(t, 15*time.Second, fmt.Sprintf("port %d answers %d", port, want), func() bool { return s.healthOn(int(port)) == want })
		}
		answers(healthPort, 200)
		ctx, cancel := context.WithCancel(context.Background())
		var watch sync.WaitGroup
		var checked atomic.Int32
		watch.Go(func() {
			for ctx.Err() == nil {
				for _, p := range []int{healthPort, healthPort + 1} {
					if s.healthOn(p) != 200 {
						continue
					}
					if got := rig.Ask(s.Client.Namespace, "tcp4", fmt.Sprintf("192.168.0.11:%d", nodePort), forgiving); !strings.HasSuffix(got, "<-client") {
						t.Errorf("port %d said 200, but a connection got %q", p, got)
					}
					checked.Add(1)
				}
			}
		})
		nettest.Until(t, 10*time.Second, "answers of 200 are put to the test", func() bool { return checked.Load() > 2 })
		port = healthPort + 1
		s.put(true, "p1a rs", "p2a rs")
		answers(healthPort+1, 200)
		answers(healthPort, 0) // closed
		s.agent.Kill()
		answers(healthPort+1, 0)
		s.put(true, "p2a rs") // while nobody looks
		s.agent = s.Agent(t, s.binary, "n1", s.flags...)
		answers(healthPort+1, 503)
		s.put(true, "p1b rs")
		answers(healthPort+1, 200)
		before := checked.Load()
		nettest.Until(t, 10*time.Second, "answers of the new agent are put to the test", func() bool { return checked.Load() > before+2 })
		cancel()
		watch.Wait()
	})
}
