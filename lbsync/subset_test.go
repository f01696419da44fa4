// SPDX-License-Identifier: Apache-2.0

package lbsync

import (
	"fmt"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/clbsync/clbsync/internal/kubetest"
)

func TestSubset(t *testing.T) {
	const nodes, quota, zones = 300, 100, 3
	var all []bound
	for i := range nodes {
		n := kubetest.Node(i, func(n *corev1.Node) { n.Labels[corev1.LabelTopologyZone] = fmt.Sprint(i % zones) })
		all = append(all, bound{candidate: &candidate{target: Target{Instance: n.Name}, name: n.Name, zone: n.Labels[corev1.LabelTopologyZone]}, weight: 10})
	}
	first := subset(all, quota, "u")
	perZone := map[string]int{}
	for _, h := range first {
		perZone[h.zone]++
	}
	for zone, n := range perZone {
		if n < quota/zones || n > quota/zones+1 {
			t.Errorf("zone %s has %d of %d targets in %d zones", zone, n, quota, zones)
		}
	}
	if len(first) != quota {
		t.Fatalf("%d targets, want %d", len(first), quota)
	}
	for i, gone := range all {
		moved := 0
		now := subset(slices.Concat(all[:i], all[i+1:]), quota, "u")
		for _, h := range first {
			if !slices.Contains(now, h) && h != gone {
				moved++
			}
		}
		if len(now) != quota || moved > 1 {
			t.Errorf("without %s: %d targets, and %d others moved", gone.name, len(now), moved)
		}
	}
	differ := 0
	for _, h := range subset(all, quota, "another Service") {
		if !slices.Contains(first, h) {
			differ++
		}
	}
	if differ == 0 {
		t.Error("two Services chose the same nodes: the others would carry nothing")
	}
}

func TestSubsetPrefersNodesThatServe(t *testing.T) {
	var all []bound
	for i := range 50 {
		n := kubetest.Node(i)
		b := bound{candidate: &candidate{target: Target{Instance: n.Name}, name: n.Name}, weight: 10}
		if i < 5 {
			b.serving = true
		}
		if i >= 45 {
			b.weight = 0
		}
		all = append(all, b)
	}
	got := subset(all, 10, "u")
	pods := 0
	for _, h := range got {
		if h.serving {
			pods++
		}
		if h.weight == 0 {
			t.Errorf("%s, which takes no new connections, took the place of one that does", h.name)
		}
	}
	if pods != 5 {
		t.Errorf("%d of the 5 nodes with pods are bound: under Local the others answer nobody", pods)
	}
}
