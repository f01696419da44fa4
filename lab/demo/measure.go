// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/clbsync/clbsync/lab/e2e"
	"github.com/clbsync/clbsync/lab/probe"
)

func (s *story) workload(node string, pods int32) e2e.Workload {
	return e2e.Workload{Namespace: namespace, App: app, Node: node, Replicas: pods, Args: []string{wellMeaning}}
}

func (s *story) deploy(ctx context.Context, node string, pods int32) error {
	return s.lab.Deploy(ctx, s.workload(node, pods))
}

// targets are the Service's ports at its load balancer's address.
func (s *story) targets() []probe.Target {
	return []probe.Target{
		{Protocol: probe.TCP, Addr: s.address + ":80"},
		{Protocol: probe.UDP, Addr: s.address + ":80"},
		{Protocol: probe.HTTP, Addr: s.address + ":8080"},
	}
}

// ask makes n requests to each port, from the client.
func (s *story) ask(ctx context.Context, n int) map[string]probe.Report {
	reports := map[string]probe.Report{}
	for _, target := range s.targets() {
		reports[string(target.Protocol)] = s.lab.Probe(2*time.Second).Share(ctx, target, n)
	}
	return reports
}

// balancer prints the load balancer's table, with the pods that each node has.
func (s *story) balancer(ctx context.Context) error {
	state, err := s.lab.CLB.State(ctx)
	if err != nil {
		return err
	}
	list, err := s.lab.Client.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: "app=" + app})
	if err != nil {
		return err
	}
	pods := map[string]int{}
	for _, p := range list.Items {
		if p.DeletionTimestamp == nil {
			pods[p.Spec.NodeName]++
		}
	}
	table := s.lab.Table(state, s.service.UID)
	listeners := slices.SortedFunc(maps.Keys(table), func(a, b e2e.Listener) int {
		return cmp.Or(a.Port-b.Port, cmp.Compare(a.Protocol, b.Protocol))
	})
	var rows [][]any
	for _, l := range listeners {
		for _, t := range table[l] {
			receives := "no"
			if t.Receives {
				receives = "yes"
			}
			rows = append(rows, []any{l, t.Node, t.Port, t.Weight, t.Status, receives, pods[t.Node]})
		}
	}
	s.table("LISTENER|TARGET|NODEPORT|WEIGHT|HEALTH|RECEIVES|PODS", rows)
	s.say("")
	return nil
}

// seen prints which addresses the pods saw.
func (s *story) seen(reports map[string]probe.Report) {
	var rows [][]any
	for _, protocol := range slices.Sorted(maps.Keys(reports)) {
		peers := reports[protocol].Peers
		for _, peer := range slices.SortedFunc(maps.Keys(peers), netip.Addr.Compare) {
			whose := "?"
			if node := s.lab.NodeOf(peer); node != "" {
				whose = "node " + node
			} else if peer == client {
				whose = "the client"
			}
			rows = append(rows, []any{protocol, peer, whose, peers[peer]})
		}
	}
	s.table("PROTOCOL|THE POD SAW|WHICH IS|TIMES", rows)
}

// nodePorts asks every node's NodePort past the load balancer, and checks that exactly the nodes in want answer.
func (s *story) nodePorts(ctx context.Context, want map[string]bool) error {
	const tries = 3
	var rows [][]any
	answering := map[string]bool{}
	for _, n := range s.lab.Nodes() {
		target := probe.Target{Protocol: probe.TCP, Addr: fmt.Sprintf("%s:%d", n.IP, s.service.Spec.Ports[0].NodePort)}
		r := s.lab.Probe(300*time.Millisecond).Share(ctx, target, tries)
		said := fmt.Sprintf("%d of %d answered", r.Answered, tries)
		if r.Answered == 0 {
			said = "no answer: " + probe.Cause(r.Lost[0].Err)
		} else {
			answering[n.Name] = true
		}
		rows = append(rows, []any{n.Name, target.Addr, said})
	}
	s.table("NODE|NODEPORT|DIRECTLY", rows)
	names := slices.Sorted(maps.Keys(answering))
	s.check(maps.Equal(answering, want), "these nodes answer on their NodePort: %v", names)
	return nil
}

// shares prints who answered.
func (s *story) shares(protocol string, r probe.Report) {
	var rows [][]any
	for _, node := range slices.Sorted(maps.Keys(r.ByNode)) {
		n := r.ByNode[node]
		rows = append(rows, []any{protocol, node, n, fmt.Sprintf("%.0f %%", 100*float64(n)/float64(max(1, r.Asked)))})
	}
	s.table("PROTOCOL|NODE|ANSWERS|SHARE", rows)
}

// lost prints the requests that got no answer, or one only because a packet was sent again; the first few of them.
func (s *story) lost(begin time.Time, failed []probe.Event) {
	if len(failed) == 0 {
		return
	}
	var rows [][]any
	for _, e := range failed[:min(10, len(failed))] {
		why := fmt.Sprintf("answered after %s, and a packet was sent again", e.Took.Round(time.Millisecond))
		if e.Err != nil {
			why = e.Err.Error()
		}
		rows = append(rows, []any{"+" + seconds(e.At.Sub(begin)), why})
	}
	s.table("ASKED AT|LOST", rows)
}

func total(reports map[string]probe.Report) (asked, answered int) {
	for _, r := range reports {
		asked += r.Asked
		answered += r.Answered
	}
	return asked, answered
}

// seenAs counts the answers of pods that saw the client's address.
func seenAs(reports map[string]probe.Report) int {
	n := 0
	for _, r := range reports {
		n += r.Peers[client]
	}
	return n
}

// seenAsNodes counts the answers of pods that saw a node's address.
func seenAsNodes(lab *e2e.Lab, reports map[string]probe.Report) int {
	n := 0
	for _, r := range reports {
		for peer, times := range r.Peers {
			if lab.NodeOf(peer) != "" {
				n += times
			}
		}
	}
	return n
}
