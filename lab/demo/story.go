// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/clbsync/clbsync/clbsim/admin"
	"github.com/clbsync/clbsync/lab/cluster"
	"github.com/clbsync/clbsync/lab/e2e"
	"github.com/clbsync/clbsync/lab/probe"
)

const (
	namespace = "demo"
	app       = "web" // of the pods, and the Service's name
	few       = 60    // connections where every one must go one way
	many      = 400   // connections where their share counts

	// A request without an answer in this time is lost. It is long, so that a busy machine loses nothing: a TCP packet
	// that a node dropped shows by its being sent again. Answers that take longer than slow are counted too.
	lost = 10 * time.Second
	slow = 200 * time.Millisecond

	// Programs that mean well serve on after SIGTERM until the load balancer has let go of them.
	wellMeaning = "--linger=10s"
)

var client = cluster.ClientIPs[0]

// story is the demo's state from one step to the next.
type story struct {
	*printer
	lab     *e2e.Lab
	service *corev1.Service
	address string // of its load balancer
}

// tell runs the steps in order. A check that does not hold is counted and the story goes on; an error ends it.
func (s *story) tell(ctx context.Context) error {
	for _, step := range []struct {
		title string
		run   func(context.Context) error
	}{
		{"Three nodes", s.nodes},
		{"A Service, externalTrafficPolicy: Cluster", s.clusterPolicy},
		{"The same Service, externalTrafficPolicy: Local", s.localPolicy},
		{"Bind only nodes with pods", s.onlyBind},
		{"Three pods here, one there: weights 3:1", s.weights},
		{"A pod moves, and the table follows", s.move},
		{"The Service is deleted, and CLB is empty", s.remove},
	} {
		s.step(step.title)
		if err := step.run(ctx); err != nil {
			s.check(false, "%s", step.title)
			return err
		}
	}
	return nil
}

func (s *story) nodes(ctx context.Context) error {
	var rows [][]any
	named := 0
	for _, n := range s.lab.Nodes() {
		node, err := s.lab.Client.CoreV1().Nodes().Get(ctx, n.Name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if node.Spec.ProviderID == n.ProviderID() && node.Labels[corev1.LabelTopologyZone] != "" {
			named++
		}
		rows = append(rows, []any{node.Name, n.IP, node.Spec.ProviderID, node.Labels[corev1.LabelTopologyZone], node.Labels[corev1.LabelInstanceTypeStable]})
	}
	s.table("NODE|ADDRESS|PROVIDER ID|ZONE|TYPE", rows)
	s.check(named == 3, "the controller gave %d of 3 nodes the identity that CVM has for them", named)
	s.say("    The client is outside the cluster, at %s; CLB is the nodes' gateway.", client)
	return s.lab.Namespace(ctx, namespace)
}

func (s *story) clusterPolicy(ctx context.Context) error {
	if err := s.deploy(ctx, "n1", 1); err != nil {
		return err
	}
	s.say("One pod, on n1. The Service has TCP and UDP on port 80 and HTTP on 8080.\n")
	begin := time.Now()
	var err error
	s.service, err = s.lab.Client.CoreV1().Services(namespace).Create(ctx, e2e.Service(namespace, app), metav1.CreateOptions{})
	if err != nil {
		return err
	}
	if s.address, err = s.lab.AwaitAddress(ctx, namespace, app); err != nil {
		return err
	}
	addressed := time.Since(begin)
	if err := s.lab.AwaitWeights(ctx, s.service.UID, map[string]int{"n1": 10, "n2": 10, "n3": 10}); err != nil {
		return err
	}
	s.say("Address %s after %s; all targets healthy after %s (health checks run %d times as fast as on CLB).",
		s.address, seconds(addressed), seconds(time.Since(begin)), e2e.Speedup)
	if err := s.balancer(ctx); err != nil {
		return err
	}
	reports := s.ask(ctx, few)
	s.seen(reports)
	asked, answered := total(reports)
	s.check(answered == asked, "%d of %d requests were answered, over TCP, UDP and HTTP", answered, asked)
	s.check(seenAsNodes(s.lab, reports) == asked, "the pod saw a node's address %d times, the client's %d times", seenAsNodes(s.lab, reports), seenAs(reports))
	return s.nodePorts(ctx, map[string]bool{"n1": true, "n2": true, "n3": true})
}

func (s *story) localPolicy(ctx context.Context) error {
	if _, err := s.lab.ChangeService(ctx, namespace, app, e2e.Local); err != nil {
		return err
	}
	_, err := s.lab.AwaitTable(ctx, s.service.UID, "only n1 receiving, and for UDP no other target", func(table map[e2e.Listener][]e2e.Target) bool {
		for listener, targets := range table {
			if !slices.Equal(e2e.Receivers(targets), []string{"n1"}) || listener.Protocol == "UDP" && len(targets) > 1 {
				return false
			}
		}
		return len(table) > 0
	})
	if err != nil {
		return err
	}
	s.say("For TCP, CLB still has all three nodes: its health checks, on healthCheckNodePort, keep requests away from n2 and n3.")
	s.say("For UDP it has no check that could tell them apart: there the controller binds only nodes with pods, annotated or not.\n")
	if err := s.balancer(ctx); err != nil {
		return err
	}
	reports := s.ask(ctx, few)
	s.seen(reports)
	asked, answered := total(reports)
	s.check(answered == asked && seenAs(reports) == asked, "%d of %d requests were answered, and the pod saw the client's address %d times", answered, asked, seenAs(reports))
	s.say("    Now the client asks each node's NodePort itself, past CLB. Each has the port open, and without a pod it drops what comes:\n")
	return s.nodePorts(ctx, map[string]bool{"n1": true})
}

func (s *story) onlyBind(ctx context.Context) error {
	if _, err := s.lab.ChangeService(ctx, namespace, app, e2e.Annotate(e2e.OnlyBind, "true")); err != nil {
		return err
	}
	if err := s.lab.AwaitWeights(ctx, s.service.UID, map[string]int{"n1": 10}); err != nil {
		return err
	}
	s.say("Annotation %s: \"true\"", e2e.OnlyBind)
	if err := s.balancer(ctx); err != nil {
		return err
	}
	reports := s.ask(ctx, few)
	s.seen(reports)
	asked, answered := total(reports)
	s.check(answered == asked && seenAs(reports) == asked, "%d of %d requests were answered, UDP too, and the pod saw the client's address %d times", answered, asked, seenAs(reports))
	return nil
}

func (s *story) weights(ctx context.Context) error {
	for node, pods := range map[string]int32{"n1": 3, "n2": 1} {
		if err := s.deploy(ctx, node, pods); err != nil {
			return err
		}
	}
	if err := s.lab.AwaitWeights(ctx, s.service.UID, map[string]int{"n1": 10, "n2": 10}); err != nil {
		return err
	}
	s.say("n1 has three pods and n2 has one. First with equal weights, as without any annotation:\n")
	equal := s.lab.Probe(2*time.Second).Share(ctx, s.targets()[0], many)
	s.shares("tcp", equal)
	if _, err := s.lab.ChangeService(ctx, namespace, app, e2e.Annotate(e2e.Weighted, "true")); err != nil {
		return err
	}
	if err := s.lab.AwaitWeights(ctx, s.service.UID, map[string]int{"n1": 3, "n2": 1}); err != nil {
		return err
	}
	s.say("\nAnnotation %s: \"true\"", e2e.Weighted)
	if err := s.balancer(ctx); err != nil {
		return err
	}
	for _, target := range s.targets()[:2] {
		r := s.lab.Probe(2*time.Second).Share(ctx, target, many)
		s.shares(string(target.Protocol), r)
		share := 100 * float64(r.ByNode["n1"]) / many
		s.check(r.Answered == many && share > 65 && share < 85, "%s: %.0f %% of %d connections went to n1, where 75 %% of the pods are; %d lost", target.Protocol, share, many, len(r.Lost))
	}
	return nil
}

func (s *story) move(ctx context.Context) error {
	s.say("The pod on n2 goes and one on n3 comes, at once, while the client asks TCP and UDP a hundred times a second. The pod")
	s.say("serves on for 10 s after SIGTERM, as programs should: its node has weight 0 meanwhile, and leaves when it has ended.\n")
	var probers []*probe.Prober
	for _, target := range s.targets()[:2] {
		p, err := s.lab.Probe(lost).Start(ctx, target, probe.Load{Every: 10 * time.Millisecond, Count: 12_000, For: 2 * time.Minute, Slow: slow})
		if err != nil {
			return err
		}
		probers = append(probers, p)
	}
	since, err := s.lab.LastCall(ctx)
	if err != nil {
		return err
	}
	begin := time.Now()
	if _, err := s.lab.Apply(ctx, s.workload("n2", 0)); err != nil {
		return err
	}
	if err := s.deploy(ctx, "n3", 1); err != nil {
		return err
	}
	ready := time.Since(begin)
	if err := s.lab.AwaitWeights(ctx, s.service.UID, map[string]int{"n1": 3, "n3": 1}); err != nil {
		return err
	}
	s.say("Pod on n3 ready after %s; table settled after %s. What CLB was told:", seconds(ready), seconds(time.Since(begin)))
	if err := s.writes(ctx, since, begin); err != nil {
		return err
	}
	if err := s.balancer(ctx); err != nil {
		return err
	}
	for i, p := range probers {
		r := p.Stop()
		protocol := s.targets()[i].Protocol
		s.shares(string(protocol), r)
		failed := slices.Concat(r.Lost, r.Resent)
		s.lost(begin, failed)
		allowed := 0
		if protocol == probe.UDP {
			// CLB can ask a node for its pods over TCP only. With checks this much faster than on CLB, a node is healthy for
			// UDP before it has the rules for its new pod: kube-proxy, for one, gathers changes for a second.
			allowed = r.Asked / 100
		}
		s.check(len(failed) <= allowed && r.ByNode["n3"] > 0, "%s: %s", protocol, r)
		if protocol == probe.UDP && len(failed) > 0 {
			s.say("    UDP has no check that asks a node whether it is ready for the pod; up to 1 %% may meet a node that is not.")
		}
	}
	return nil
}

func (s *story) remove(ctx context.Context) error {
	begin := time.Now()
	if err := s.lab.Client.CoreV1().Services(namespace).Delete(ctx, app, metav1.DeleteOptions{}); err != nil {
		return err
	}
	_, err := s.lab.AwaitService(ctx, namespace, app, "that it is gone", func(svc *corev1.Service) bool { return svc == nil })
	if err != nil {
		return err
	}
	s.say("The Service is gone after %s.", seconds(time.Since(begin)))
	state, err := s.lab.CLB.State(ctx)
	if err != nil {
		return err
	}
	s.check(len(state.LoadBalancers) == 0, "CLB has %d load balancers", len(state.LoadBalancers))
	calls, err := s.lab.CLB.Calls(ctx, 0)
	if err != nil {
		return err
	}
	byAction, failed := map[string]int{}, 0
	for _, c := range calls {
		byAction[c.Action]++
		if c.Code != "" {
			failed++
		}
	}
	var rows [][]any
	for _, action := range slices.Sorted(maps.Keys(byAction)) {
		rows = append(rows, []any{action, byAction[action]})
	}
	s.say("\nAll requests of the story:")
	s.table("ACTION|REQUESTS", rows)
	s.check(failed == 0, "%d of %d requests were refused", failed, len(calls))
	return nil
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.2f s", d.Seconds()) }

// writes prints the calls since then that changed something.
func (s *story) writes(ctx context.Context, since int, begin time.Time) error {
	calls, err := s.lab.CLB.Calls(ctx, since)
	if err != nil {
		return err
	}
	var rows [][]any
	for _, c := range calls {
		if c.Write {
			rows = append(rows, []any{"+" + seconds(c.Time.Sub(begin)), c.Action, outcome(c)})
		}
	}
	s.table("AT|REQUEST|ANSWER", rows)
	s.say("")
	return nil
}

func outcome(c admin.Call) string {
	if c.Code == "" {
		return "ok"
	}
	return c.Code
}
