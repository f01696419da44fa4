// SPDX-License-Identifier: Apache-2.0

package lbsync

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/clbsync/clbsync/internal/kubetest"
)

func TestSubset(t *testing.T) {
	const nodes, quota, zones = 300, 100, 3
	all := map[host]int{}
	var hosts []host
	for i := range nodes {
		n := kubetest.Node(i, func(n *corev1.Node) { n.Labels[corev1.LabelTopologyZone] = fmt.Sprint(i % zones) })
		h := host{node: n, instance: n.Name}
		hosts = append(hosts, h)
		all[h] = 10
	}
	first := subset(all, nil, quota, "u")
	perZone := map[string]int{}
	for h := range first {
		perZone[h.node.Labels[corev1.LabelTopologyZone]]++
	}
	for zone, n := range perZone {
		if n < quota/zones || n > quota/zones+1 {
			t.Errorf("zone %s has %d of %d targets in %d zones", zone, n, quota, zones)
		}
	}
	if len(first) != quota {
		t.Fatalf("%d targets, want %d", len(first), quota)
	}
	for _, gone := range hosts {
		delete(all, gone)
		moved := 0
		now := subset(all, nil, quota, "u")
		for h := range first {
			if _, kept := now[h]; !kept && h != gone {
				moved++
			}
		}
		if len(now) != quota || moved > 1 {
			t.Errorf("without %s: %d targets, and %d others moved", gone.instance, len(now), moved)
		}
		all[gone] = 10
	}
	differ := 0
	for h := range subset(all, nil, quota, "another Service") {
		if _, same := first[h]; !same {
			differ++
		}
	}
	if differ == 0 {
		t.Error("two Services chose the same nodes: the others would carry nothing")
	}
}

func TestSubsetPrefersNodesThatServe(t *testing.T) {
	all, ready := map[host]int{}, map[string]int{}
	for i := range 50 {
		n := kubetest.Node(i)
		all[host{node: n, instance: n.Name}] = 10
		if i < 5 {
			ready[n.Name] = 1
		}
		if i >= 45 {
			all[host{node: n, instance: n.Name}] = 0
		}
	}
	got := subset(all, ready, 10, "u")
	pods := 0
	for h, weight := range got {
		if ready[h.node.Name] > 0 {
			pods++
		}
		if weight == 0 {
			t.Errorf("%s, which takes no new connections, took the place of one that does", h.instance)
		}
	}
	if pods != 5 {
		t.Errorf("%d of the 5 nodes with pods are bound: under Local the others answer nobody", pods)
	}
}
