// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"maps"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/clbsync/clbsync/internal/kubetest"
	"github.com/clbsync/clbsync/internal/readinessgate"
)

func gatedPod(name string) *corev1.Pod {
	return kubetest.Gated(name, "web", "n1", readinessgate.Condition, time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))
}

// watched runs the caches of node n1 in a bubble, and counts how often they say that something has changed.
func watched(t *testing.T, gates bool, client *fake.Clientset, test func(t *testing.T, c *caches, changes func() int)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		var count atomic.Int64
		c := newCaches(client, "n1", gates, func() { count.Add(1) })
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		if err := c.start(ctx); err != nil {
			t.Fatal(err)
		}
		test(t, c, func() int {
			synctest.Wait()
			return int(count.Swap(0))
		})
		cancel()
		<-time.After(time.Minute) // for what is between two tries
		synctest.Wait()
	})
}

func uids(set map[types.UID]bool) []types.UID { return slices.Sorted(maps.Keys(set)) }

func TestGatedPodsAreFollowed(t *testing.T) {
	plain := gatedPod("plain")
	plain.Spec.ReadinessGates = nil
	client := fake.NewClientset(plain, gatedPod("a"))
	watched(t, true, client, func(t *testing.T, c *caches, changes func() int) {
		pods := client.CoreV1().Pods("default")
		expect := func(why string, changed bool, want ...types.UID) {
			t.Helper()
			if got := changes() > 0; got != changed {
				t.Errorf("%s: told of a change is %v, want %v", why, got, changed)
			}
			if diff := cmp.Diff(want, uids(c.gated())); diff != "" {
				t.Errorf("%s (-want +got):\n%s", why, diff)
			}
		}
		write := func(_ *corev1.Pod, err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		expect("at the start", true, "a")
		b := gatedPod("b")
		b.Status.Conditions = nil
		write(pods.Create(t.Context(), b, metav1.CreateOptions{}))
		expect("one whose containers start", false, "a")
		write(pods.Update(t.Context(), gatedPod("b"), metav1.UpdateOptions{}))
		expect("one whose containers are ready", true, "a", "b")
		b = gatedPod("b")
		b.Status.Conditions = append(b.Status.Conditions, corev1.PodCondition{Type: readinessgate.Condition, Status: corev1.ConditionTrue})
		write(pods.Update(t.Context(), b, metav1.UpdateOptions{}))
		expect("one whose gate opens serves until its endpoint says so", false, "a", "b")
		plain.Labels["other"] = "label"
		write(pods.Update(t.Context(), plain, metav1.UpdateOptions{}))
		expect("one without a gate", false, "a", "b")
		if err := pods.Delete(t.Context(), "b", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		expect("one that is gone", true, "a")
	})
	for _, a := range client.Actions() {
		if list, ok := a.(clienttesting.ListAction); ok && a.GetResource().Resource == "pods" && list.GetListRestrictions().Fields.String() != "spec.nodeName=n1" {
			t.Errorf("pods are listed by %q, want those of the node alone", list.GetListRestrictions().Fields)
		}
	}
}

func TestPodsAreNotAskedForWithoutGates(t *testing.T) {
	client := fake.NewClientset(gatedPod("a"))
	watched(t, false, client, func(t *testing.T, c *caches, _ func() int) {
		if c.gated() != nil {
			t.Error("there are gated pods")
		}
	})
	for _, a := range client.Actions() {
		if a.GetResource().Resource == "pods" {
			t.Errorf("pods are asked for: %s", a.GetVerb())
		}
	}
}

func TestPodsThatCannotBeListedDoNotStopTheNode(t *testing.T) {
	client := fake.NewClientset(gatedPod("a"))
	client.PrependReactor("list", "pods", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, apierrors.NewResourceExpired("whatever the list fails with, told without a pause of its own")
	})
	watched(t, true, client, func(t *testing.T, c *caches, _ func() int) {
		if c.gated() != nil {
			t.Error("there are gated pods")
		}
	})
}

func TestEndpointsKeepTheirPodsWhereGatesNeedThem(t *testing.T) {
	for _, test := range []struct {
		node string
		want []types.UID
	}{{"n1", []types.UID{"here", ""}}, {"", []types.UID{"", ""}}} {
		s := kubetest.Slice("web", kubetest.OfPod(kubetest.Ready("n1", "10.244.1.10"), "here"), kubetest.OfPod(kubetest.Ready("n2", "10.244.2.10"), "away"))
		kept, err := trimmer(test.node)(s)
		if err != nil {
			t.Fatal(err)
		}
		var got []types.UID
		for _, e := range kept.(*discoveryv1.EndpointSlice).Endpoints {
			if e.TargetRef == nil {
				got = append(got, "")
			} else if got = append(got, e.TargetRef.UID); e.TargetRef.Name != "" {
				t.Errorf("the name %s is kept, which nobody reads", e.TargetRef.Name)
			}
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("pods kept on node %q (-want +got):\n%s", test.node, diff)
		}
	}
}
