// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/clbsync/clbsync/lab/cluster"
	"github.com/clbsync/clbsync/lab/probe"
)

func TestClusterPolicyAnswersThroughEveryNodeAndShowsThePodANode(t *testing.T) {
	s := begin(t)
	s.deploy("n1", 1)
	svc, address := s.create()
	s.weights(svc.UID, map[string]int{"n1": 10, "n2": 10, "n3": 10})
	for _, target := range ports(address) {
		r := s.ask(target, 60)
		through := map[string]bool{}
		for peer := range r.Peers {
			node := s.NodeOf(peer)
			if node == "" {
				t.Errorf("%s: the pod saw %s, which is no node's address", target, peer)
			}
			through[node] = true
		}
		if len(through) != 3 {
			t.Errorf("%s: traffic came through nodes %v, want all three", target, through)
		}
	}
}

func TestLocalPolicyShowsThePodTheClient(t *testing.T) {
	s := begin(t)
	s.deploy("n1", 1)
	svc, address := s.create(Local)
	// TCP has a health check that tells nodes apart. UDP has none, so there only the node with the pod may be a target.
	want := map[Listener]int{{"TCP", 80}: 3, {"TCP", 8080}: 3, {"UDP", 80}: 1}
	_, err := s.AwaitTable(s.ctx, svc.UID, "three nodes bound for TCP, one for UDP, and only n1 receiving", func(table map[Listener][]Target) bool {
		for listener, bound := range want {
			targets := table[listener]
			if len(targets) != bound || targets[0].Status != "Alive" || !slices.Equal(Receivers(targets), []string{"n1"}) {
				return false
			}
		}
		return true
	})
	s.must(err)
	for _, source := range cluster.ClientIPs[:3] {
		for _, target := range ports(address) {
			r := s.ProbeFrom(source, 2*time.Second).Share(s.ctx, target, 30)
			if r.Answered != 30 {
				t.Errorf("%s from %s: %s", target, source, r)
			}
			s.sawOnly(target, r, source)
		}
	}
	// The puzzle that every user of Local meets: the port is open on each node, and only nodes with a pod answer.
	for _, n := range s.Nodes() {
		for i, port := range svc.Spec.Ports {
			direct := ports(n.IP.String())[i]
			direct.Addr = fmt.Sprintf("%s:%d", n.IP, port.NodePort)
			r := s.Probe(500*time.Millisecond).Share(s.ctx, direct, 3)
			want := 0
			if n.Name == "n1" {
				want = 3
			}
			if r.Answered != want {
				t.Errorf("NodePort %s of %s: %s, want %d answers", direct, n.Name, r, want)
			}
		}
	}
}

func TestOnlyBindFollowsThePods(t *testing.T) {
	s := begin(t)
	s.deploy("n1", 1)
	s.deploy("n2", 2)
	svc, address := s.create(Local, Annotate(OnlyBind, "true"))
	s.weights(svc.UID, map[string]int{"n1": 10, "n2": 10})
	for _, target := range ports(address) {
		r := s.ask(target, 60)
		s.sawOnly(target, r, clientIP)
		if len(r.ByNode) != 2 || r.ByNode["n1"] == 0 || r.ByNode["n2"] == 0 {
			t.Errorf("%s: answers by node %v, want n1 and n2", target, r.ByNode)
		}
	}
	s.deploy("n3", 1)
	s.weights(svc.UID, map[string]int{"n1": 10, "n2": 10, "n3": 10})
	s.deploy("n1", 0)
	s.deploy("n2", 0)
	s.weights(svc.UID, map[string]int{"n3": 10})
	for _, target := range ports(address) {
		if r := s.ask(target, 20); r.ByNode["n3"] != 20 {
			t.Errorf("%s: answers by node %v, want all from n3", target, r.ByNode)
		}
	}
}

func TestWeightsShareConnectionsByPods(t *testing.T) {
	s := begin(t)
	s.deploy("n1", 3)
	s.deploy("n2", 1)
	svc, address := s.create(Local, Annotate(OnlyBind, "true"), Annotate(Weighted, "true"))
	s.weights(svc.UID, map[string]int{"n1": 3, "n2": 1})
	const asked = 400
	for _, target := range ports(address) {
		r := s.ask(target, asked)
		s.sawOnly(target, r, clientIP)
		if !near(r.ByNode["n1"], asked, 0.75) {
			t.Errorf("%s: %d of %d answers from n1, want about three quarters", target, r.ByNode["n1"], asked)
		}
		if len(r.ByPod) != 4 {
			t.Errorf("%s: %d pods answered, want all 4", target, len(r.ByPod))
		}
		// What weights are for: each pod has the same load, wherever it runs.
		for pod, n := range r.ByPod {
			if !near(n, asked, 0.25) {
				t.Errorf("%s: pod %s answered %d of %d, want about a quarter", target, pod, n, asked)
			}
		}
	}
	s.deploy("n2", 3)
	s.weights(svc.UID, map[string]int{"n1": 3, "n2": 3})
}

// near reports whether got of n is the share p, but for chance: five standard deviations, once in a million.
func near(got, n int, p float64) bool {
	return math.Abs(float64(got)-p*float64(n)) <= 5*math.Sqrt(p*(1-p)*float64(n))
}

func TestInternalLoadBalancerHasAnAddressOfItsSubnet(t *testing.T) {
	s := begin(t)
	s.deploy("n1", 1)
	svc, address := s.create(Local, Annotate(OnlyBind, "true"), Annotate(InternalSubnet, SubnetID))
	if !cluster.InternalVIPs.Contains(netip.MustParseAddr(address)) {
		t.Errorf("address %s, want one of %s", address, cluster.InternalVIPs)
	}
	s.weights(svc.UID, map[string]int{"n1": 10})
	for _, target := range ports(address) {
		s.sawOnly(target, s.ask(target, 10), clientIP)
	}
	if lb := Balancers(s.state(), svc.UID)[0]; lb.Type != "INTERNAL" || lb.Subnet != SubnetID {
		t.Errorf("load balancer is %s in subnet %q, want INTERNAL in %s", lb.Type, lb.Subnet, SubnetID)
	}
}

// lostAfter is long, so that a busy machine loses nothing. A packet that a node dropped shows all the same: the kernel had
// to send it again.
const lostAfter = 10 * time.Second

// failed are the requests that were lost, or that were answered only because a packet was sent again.
func failed(r probe.Report) []probe.Event { return slices.Concat(r.Lost, r.Resent) }

func logFailed(t *testing.T, r probe.Report) {
	t.Helper()
	events := failed(r)
	for _, e := range events[:min(5, len(events))] {
		t.Logf("at %s: after %s: %v", e.At.Format(time.StampMilli), e.Took.Round(time.Millisecond), e.Err)
	}
}

func TestNoRequestIsLostWhileAPodMoves(t *testing.T) {
	s := begin(t)
	// A program that means well serves on after SIGTERM until nobody comes any more.
	const wellMeaning = "--linger=15s"
	s.deploy("n1", 2, wellMeaning)
	s.deploy("n2", 1, wellMeaning)
	svc, address := s.create(Local, Annotate(OnlyBind, "true"), Annotate(Weighted, "true"))
	s.weights(svc.UID, map[string]int{"n1": 2, "n2": 1})

	load := probe.Load{Every: 10 * time.Millisecond, Count: 10_000, For: 100 * time.Second, Slow: 200 * time.Millisecond}
	var probers []*probe.Prober
	targets := ports(address)
	for _, target := range targets {
		p, err := s.Probe(lostAfter).Start(s.ctx, target, load)
		s.must(err)
		probers = append(probers, p)
	}
	// The old pod goes first: until the new one is ready, the others must take its share.
	_, err := s.Apply(s.ctx, Workload{Namespace: s.ns, App: "web", Node: "n2"})
	s.must(err)
	s.deploy("n3", 1, wellMeaning)
	s.weights(svc.UID, map[string]int{"n1": 2, "n3": 1})
	for i, p := range probers {
		r := p.Stop()
		t.Logf("%s: %s", targets[i], r)
		// CLB cannot ask a node whether it is ready for UDP: what arrives there before it has its rules is
		// refused. TCP has no such moment, since healthCheckNodePort answers only after the rules.
		allowed := 0
		if targets[i].Protocol == probe.UDP {
			allowed = r.Asked / 100
		}
		if len(failed(r)) > allowed || r.ByNode["n2"] == 0 || r.ByNode["n3"] == 0 {
			t.Errorf("%s: %s, by node %v, want at most %d lost and answers from both n2 and n3", targets[i], r, r.ByNode, allowed)
		}
		logFailed(t, r)
	}
}

func TestLongLivedConnectionOutlivesChangesElsewhere(t *testing.T) {
	s := begin(t)
	s.deploy("n1", 1)
	svc, address := s.create(Local, Annotate(OnlyBind, "true"), Annotate(Weighted, "true"))
	s.weights(svc.UID, map[string]int{"n1": 1})
	held, err := s.Probe(2*time.Second).Hold(s.ctx, address+":80", 50*time.Millisecond)
	s.must(err)
	defer held.Close()
	s.deploy("n2", 1)
	s.weights(svc.UID, map[string]int{"n1": 1, "n2": 1})
	s.deploy("n2", 0)
	s.weights(svc.UID, map[string]int{"n1": 1})
	_, err = s.ChangeService(s.ctx, s.ns, svc.Name, func(svc *corev1.Service) { delete(svc.Annotations, Weighted) })
	s.must(err)
	s.weights(svc.UID, map[string]int{"n1": 10})
	if end := held.Close(); end.Err != nil || end.Echoes == 0 {
		t.Errorf("the connection to n1 ended with %v after %d echoes, want it untouched by what happened to n2 and to weights", end.Err, end.Echoes)
	}
}
