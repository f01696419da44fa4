// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"

	"github.com/clbsync/clbsync/internal/kubetest"
	"github.com/clbsync/clbsync/internal/readinessgate"
	"github.com/clbsync/clbsync/lbsync/annotation"
)

// heldPod is a pod of a Deployment as the API server sends it, with strings of its own.
func heldPod(i int) *corev1.Pod {
	pod := kubetest.Gated(fmt.Sprintf("deployment-with-a-name-7d4b9c5f6d-%05d", i), "web", fmt.Sprintf("node-%d", i%5000), readinessgate.Condition, time.Now())
	pod.Namespace, pod.UID = fmt.Sprintf("namespace-%d", i%100), types.UID(fmt.Sprintf("0f8fad5b-d9cb-469f-a165-%012d", i))
	pod.ResourceVersion = fmt.Sprint(1_000_000 + i)
	pod.Labels = map[string]string{"app": fmt.Sprintf("app-%d", i%1000), "pod-template-hash": fmt.Sprintf("%010d", i/10), "team": fmt.Sprintf("team-%d", i%50)}
	pod.OwnerReferences = []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: fmt.Sprintf("deployment-with-a-name-%010d", i/10), UID: types.UID(fmt.Sprint(i))}}
	pod.Status.PodIPs = []corev1.PodIP{{IP: fmt.Sprintf("10.%d.%d.%d", 16+i>>16, i>>8&255, i&255)}}
	return pod
}

// BenchmarkPodCache measures what a watched pod takes in memory, store and indexes together, by what it is to the controller; and,
// for comparison, what it would take as it is.
func BenchmarkPodCache(b *testing.B) {
	const count = 100_000
	for _, c := range []struct {
		name string
		make func(i int) any
	}{
		{"whole", func(i int) any { return heldPod(i) }},
		{"other", func(i int) any { pod := heldPod(i); pod.Spec.ReadinessGates = nil; return kept(b, pod) }},
		{"weight", func(i int) any {
			pod := heldPod(i)
			pod.Spec.ReadinessGates, pod.Annotations = nil, map[string]string{annotation.CustomWeight: fmt.Sprint(i % 100)}
			return kept(b, pod)
		}},
		{"gate", func(i int) any { return kept(b, heldPod(i)) }},
	} {
		b.Run(c.name, func(b *testing.B) {
			for b.Loop() {
				before := heap()
				pods := cache.NewIndexer(cache.DeletionHandlingMetaNamespaceKeyFunc, podIndexers())
				for i := range count {
					if err := pods.Add(c.make(i)); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric((float64(heap())-float64(before))/count, "B/pod")
				if n := len(pods.ListKeys()); n != count {
					b.Fatalf("%d pods", n)
				}
			}
		})
	}
}

func kept(tb testing.TB, pod *corev1.Pod) any {
	tb.Helper()
	o, err := keepOfPod(pod)
	if err != nil {
		tb.Fatal(err)
	}
	return o
}

// TestAPodIsKeptInAFractionOfWhatItIs holds the reason for the cache: a watch of all pods, of which most are nobody's target.
func TestAPodIsKeptInAFractionOfWhatItIs(t *testing.T) {
	const count = 10_000
	size := func(make func(i int) any) float64 {
		before := heap()
		pods := cache.NewIndexer(cache.DeletionHandlingMetaNamespaceKeyFunc, podIndexers())
		for i := range count {
			if err := pods.Add(make(i)); err != nil {
				t.Fatal(err)
			}
		}
		after := heap()
		if len(pods.ListKeys()) != count {
			t.Fatal("pods are missing")
		}
		return (float64(after) - float64(before)) / count
	}
	whole := size(func(i int) any { return heldPod(i) })
	other := size(func(i int) any { pod := heldPod(i); pod.Spec.ReadinessGates = nil; return kept(t, pod) })
	gated := size(func(i int) any { return kept(t, heldPod(i)) })
	t.Logf("a pod takes %.0f B, of which are kept %.0f B, with the gate %.0f B", whole, other, gated)
	if other > whole/4 || gated > whole {
		t.Errorf("a pod takes %.0f B, of which are kept %.0f B, with the gate %.0f B: want a quarter at most, and less", whole, other, gated)
	}
}
