// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"fmt"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/clbsync/clbsync/clbsim"
	"github.com/clbsync/clbsync/internal/kubetest"
	"github.com/clbsync/clbsync/lbsync"
)

// The price of a change, counted at the API: what design.md calls the floor. The same with 1,000 nodes is BenchmarkCost.
func TestWhatAChangeCosts(t *testing.T) {
	taint := func(n *corev1.Node) { n.Spec.Taints = []corev1.Taint{{Key: "ToBeDeletedByClusterAutoscaler"}} }
	for _, size := range []size{
		{nodes: 50, services: 100, pods: 3, policy: "Cluster", quota: 60},
		{nodes: 50, services: 100, pods: 3, policy: "Cluster", quota: 5}, // where a node is in the subset of one Service in ten
		{nodes: 120, services: 100, pods: 1, policy: "Local", quota: 100},
	} {
		inTown(t, size, func(w *town) {
			each := size.services // a node change may cost a write for each CLB
			if size.policy == "Local" {
				each = 0
			}
			handover := 3 // register, weight 0, deregister
			if size.policy == "Cluster" {
				handover = 0
			}
			newcomer := place(size.nodes + 1)
			leaving := newcomer.DeepCopy()
			taint(leaving)
			for _, c := range []struct {
				name                   string
				change                 func()
				minimum, writes, reads int
			}{
				{"a node joins", func() { w.put(newcomer) }, 0, each, 0},
				{"the autoscaler is about to delete it", func() { w.put(leaving) }, 0, each, 0},
				{"it is gone", func() { w.remove(leaving) }, 0, each, 0},
				{"a pod moves", func() { w.put(kubetest.Slice("s7", w.pods(7, 1)...)) }, min(handover, 1), handover, -1},
				{"a restart", w.run, 0, 0, 3 * size.services},
			} {
				cost, took := w.took(c.change)
				t.Logf("%s, quota %d: %s: %d writes, %d reads, the last after %s", size.policy, size.quota, c.name, cost.writes, cost.reads, took)
				if cost.writes < c.minimum || cost.writes > c.writes {
					t.Errorf("%s, quota %d: %s: %d writes, want %d to %d", size.policy, size.quota, c.name, cost.writes, c.minimum, c.writes)
				}
				if c.reads >= 0 && cost.reads > c.reads {
					t.Errorf("%s, quota %d: %s: %d reads, want at most %d", size.policy, size.quota, c.name, cost.reads, c.reads)
				}
			}
		})
	}
}

// BenchmarkCost counts what a change costs in a cluster of 1,000 nodes with 100 Services of one port: requests, and the
// time that 20 of them per second, which CLB takes of each action, make of it. The controller, the SDK and the simulated
// CLB are real; the rate limits are off, so that it ends soon.
func BenchmarkCost(b *testing.B) {
	for _, size := range []size{
		{nodes: 1000, services: 100, pods: 3, policy: "Cluster", quota: 1100},
		{nodes: 1000, services: 100, pods: 3, policy: "Cluster", quota: 100},
		{nodes: 1000, services: 100, pods: 3, policy: "Local", quota: 100},
	} {
		b.Run(fmt.Sprintf("%s/quota=%d", size.policy, size.quota), func(b *testing.B) {
			w := newTown(b, size, func(c *clbsim.Config) {
				c.RateLimits.Default = 0
				c.Tasks.Delay, c.Tasks.Actions = clbsim.Duration(5*time.Millisecond), nil
				if size.policy == "Local" {
					c.Health.Speedup = 100
				}
			})
			w.limit = 10000
			w.settle = w.quiet
			w.settings.Timing = lbsync.Timing{HealthDeadline: 5 * time.Second, Drain: 200 * time.Millisecond, Poll: 200 * time.Millisecond}
			if size.policy == "Cluster" {
				w.settings.Check.Interval = 300 * time.Second
				w.settings.Timing.HealthDeadline = time.Second
			}
			w.run()
			w.settle()
			w.network.take()
			moved := 0
			for _, c := range []struct {
				name   string
				change func()
			}{
				{"a node joins", func() { w.put(place(size.nodes + 1)) }},
				{"it leaves", func() { w.remove(place(size.nodes + 1)) }},
				{"a pod moves", func() { moved++; w.put(kubetest.Slice("s7", w.pods(7, moved)...)) }},
				{"a restart", w.run},
			} {
				once := sync.OnceValue(func() cost { // It cannot be made twice.
					cost, _ := w.took(c.change)
					return cost
				})
				b.Run(c.name, func(b *testing.B) {
					cost := once()
					b.ReportMetric(0, "ns/op")
					b.ReportMetric(float64(cost.writes), "writes/op")
					b.ReportMetric(float64(cost.reads), "reads/op")
					b.ReportMetric(float64(cost.busiest)/20, "s-at-20/s")
				})
			}
			w.stop()
		})
	}
}
