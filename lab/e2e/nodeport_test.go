// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/clbsync/clbsync/lab/cluster"
	"github.com/clbsync/clbsync/lab/probe"
)

// served is who a node's packet filter says it is.
type served struct {
	agent, kubeProxy int  // new connections to the port that came to a rule of theirs
	kubeProxyEntered bool // packets for node ports are shown to kube-proxy's rules at all
}

// portRule is a rule with a counter for one destination port: chain, port and target.
var portRule = regexp.MustCompile(`^\[(\d+):\d+\] -A (\S+) -p tcp .*--dport (\d+) .*-[jg] (CLBN-EXT-|KUBE-EXT-)`)

// servedBy reads the node's packet filter.
func (s *scene) servedBy(node string, port int32) served {
	s.t.Helper()
	out, err := s.Output(s.ctx, node, "iptables-save", "-c", "-t", "nat")
	s.must(err)
	var now served
	for line := range strings.Lines(string(out)) {
		now.kubeProxyEntered = now.kubeProxyEntered || strings.Contains(line, "-A KUBE-SERVICES ") && strings.Contains(line, "-j KUBE-NODEPORTS")
		m := portRule.FindStringSubmatch(line)
		if m == nil || m[3] != strconv.Itoa(int(port)) {
			continue
		}
		packets, err := strconv.Atoi(m[1])
		s.must(err)
		if strings.HasPrefix(m[2], "CLBN-") {
			now.agent += packets
		} else {
			now.kubeProxy += packets
		}
	}
	return now
}

func TestNodePortsAreServedByWhomTheLabIsToRunOn(t *testing.T) {
	const requests = 20
	s := begin(t)
	s.deploy("n1", 1)
	svc, _ := s.create(Local, Annotate(OnlyBind, "true"))
	s.weights(svc.UID, map[string]int{"n1": 10})
	port := svc.Spec.Ports[0].NodePort
	n1, _ := s.Node("n1")

	before := s.servedBy("n1", port)
	target := probe.Target{Protocol: probe.TCP, Addr: fmt.Sprintf("%s:%d", n1.IP, port)}
	s.sawOnly(target, s.ask(target, requests), clientIP)
	after := s.servedBy("n1", port)
	agent, kubeProxy := after.agent-before.agent, after.kubeProxy-before.kubeProxy
	t.Logf("of %d requests rules of the agent took %d, of kube-proxy %d", requests, agent, kubeProxy)
	switch proxy {
	case cluster.NodeAgent:
		if agent < requests || kubeProxy != 0 || after.kubeProxyEntered {
			t.Errorf("of %d requests rules of the agent took %d, of kube-proxy %d (asked at all: %t), want all and none", requests, agent, kubeProxy, after.kubeProxyEntered)
		}
	default:
		if agent != 0 || kubeProxy < requests {
			t.Errorf("of %d requests rules of the agent took %d, of kube-proxy %d, want none and all", requests, agent, kubeProxy)
		}
	}

	holder := map[cluster.ProxyKind]string{cluster.NodeAgent: `"clb-node-agent"`, cluster.KubeProxy: `"kube-proxy"`}[proxy]
	for _, n := range s.Nodes() {
		out, err := s.Output(s.ctx, n.Name, "ss", "-Hltnp", "sport", "=", fmt.Sprintf(":%d", svc.Spec.HealthCheckNodePort))
		s.must(err)
		if listeners := strings.TrimSpace(string(out)); strings.Count(listeners, "\n") != 0 || !strings.Contains(listeners, holder) {
			t.Errorf("%s: on healthCheckNodePort listen %q, want only %s", n.Name, listeners, holder)
		}
	}
}

// more waits until so many more requests were started.
func (s *scene) more(p *probe.Prober, n int) {
	s.t.Helper()
	goal := p.Asked() + n
	err := wait.PollUntilContextCancel(s.ctx, 20*time.Millisecond, true, func(context.Context) (bool, error) { return p.Asked() >= goal, nil })
	if err != nil {
		s.t.Fatalf("%d requests, want %d: %v", p.Asked(), goal, err)
	}
}

func TestNothingIsLostWhenWhatServesNodePortsIsKilled(t *testing.T) {
	s := begin(t)
	s.recoverNodePorts("n1")
	const wellMeaning = "--linger=15s"
	s.deploy("n1", 1, wellMeaning)
	s.deploy("n2", 1, wellMeaning)
	svc, address := s.create(Local, Annotate(OnlyBind, "true"))
	s.weights(svc.UID, map[string]int{"n1": 10, "n2": 10})
	n1, _ := s.Node("n1")
	through := ports(address)[0]
	past := probe.Target{Protocol: probe.TCP, Addr: fmt.Sprintf("%s:%d", n1.IP, svc.Spec.Ports[0].NodePort)}

	held, err := s.Probe(2*time.Second).Hold(s.ctx, past.Addr, 50*time.Millisecond)
	s.must(err)
	load := map[probe.Target]*probe.Prober{}
	for _, target := range []probe.Target{through, past} {
		load[target], err = s.Probe(lostAfter).Start(s.ctx, target, probe.Load{Every: 10 * time.Millisecond, Count: 10_000, For: 100 * time.Second})
		s.must(err)
	}
	for round := range 3 {
		s.more(load[through], 100)
		s.must(s.KillNodePorts("n1"))
		// Meanwhile the world goes on: what comes back must find its way from old rules to new ones.
		s.deploy("n1", int32(2+round), wellMeaning)
		s.more(load[through], 200)
		s.must(s.StartNodePorts(s.ctx, "n1"))
		s.weights(svc.UID, map[string]int{"n1": 10, "n2": 10})
	}
	s.more(load[through], 100)
	for target, p := range load {
		r := p.Stop()
		t.Logf("%s: %s, by node %v", target, r, r.ByNode)
		if len(failed(r)) > 0 || r.Asked < 1000 || r.ByNode["n1"] == 0 {
			t.Errorf("%s: %s, by node %v; want none lost of 1000 or more, and answers from n1", target, r, r.ByNode)
		}
		logFailed(t, r)
	}
	if end := held.Close(); end.Err != nil || end.Echoes == 0 {
		t.Errorf("the connection that was there before: %d echoes, %v; want it to last", end.Echoes, end.Err)
	}
}

// recoverNodePorts gives the next test a node with NodePorts, if this test ends halfway.
func (s *scene) recoverNodePorts(node string) {
	s.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := s.StartNodePorts(ctx, node); err != nil {
			s.t.Error(err)
		}
	})
}
