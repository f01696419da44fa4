// SPDX-License-Identifier: Apache-2.0

package readinessgate

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

var noon = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

func after(d time.Duration) metav1.Time { return metav1.NewTime(noon.Add(d)) }

// pod is on a node with ready containers since a minute after noon; it was created at noon.
func pod(mods ...func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{CreationTimestamp: after(0)},
		Spec:       corev1.PodSpec{NodeName: "n1", ReadinessGates: []corev1.PodReadinessGate{{ConditionType: Condition}}},
		Status: corev1.PodStatus{Conditions: []corev1.PodCondition{
			{Type: corev1.ContainersReady, Status: corev1.ConditionTrue, LastTransitionTime: after(time.Minute)},
		}},
	}
	for _, mod := range mods {
		mod(p)
	}
	return p
}

func gate(t corev1.PodConditionType) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Spec.ReadinessGates = append(p.Spec.ReadinessGates, corev1.PodReadinessGate{ConditionType: t})
	}
}

func condition(t corev1.PodConditionType, status corev1.ConditionStatus, since metav1.Time) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Status.Conditions = append(p.Status.Conditions, corev1.PodCondition{Type: t, Status: status, LastTransitionTime: since, Reason: "Why"})
	}
}

func TestSince(t *testing.T) {
	for _, test := range []struct {
		name string
		mods []func(*corev1.Pod)
		want time.Duration // after noon; negative: never
	}{
		{"ready containers count from when they became ready", nil, time.Minute},
		{"the gate itself does not matter, closed", []func(*corev1.Pod){condition(Condition, corev1.ConditionFalse, after(time.Hour))}, time.Minute},
		{"nor open", []func(*corev1.Pod){condition(Condition, corev1.ConditionTrue, after(time.Hour))}, time.Minute},
		{"containers that are not ready wait for themselves", []func(*corev1.Pod){func(p *corev1.Pod) { p.Status.Conditions[0].Status = corev1.ConditionFalse }}, -1},
		{"a pod without conditions waits for itself", []func(*corev1.Pod){func(p *corev1.Pod) { p.Status.Conditions = nil }}, -1},
		{"another gate without a condition is closed", []func(*corev1.Pod){gate("other")}, -1},
		{"another gate that is False is closed", []func(*corev1.Pod){gate("other"), condition("other", corev1.ConditionFalse, after(0))}, -1},
		{"the last gate to open counts", []func(*corev1.Pod){gate("other"), condition("other", corev1.ConditionTrue, after(time.Hour))}, time.Hour},
		{"a gate without a time was open from the start", []func(*corev1.Pod){gate("other"), condition("other", corev1.ConditionTrue, metav1.Time{})}, time.Minute},
		{"a pod that is going waits for nothing", []func(*corev1.Pod){func(p *corev1.Pod) { now := after(time.Hour); p.DeletionTimestamp = &now }}, -1},
		{"a pod without a node waits for one", []func(*corev1.Pod){func(p *corev1.Pod) { p.Spec.NodeName = "" }}, -1},
	} {
		t.Run(test.name, func(t *testing.T) {
			want := time.Time{}
			if test.want >= 0 {
				want = noon.Add(test.want)
			}
			if got := Since(pod(test.mods...)); !got.Equal(want) {
				t.Errorf("got %s, want %s", got, want)
			}
		})
	}
}

func TestInAndOpen(t *testing.T) {
	if !In(pod()) || In(pod(func(p *corev1.Pod) { p.Spec.ReadinessGates = nil }, gate("other"))) {
		t.Error("the gate is found where it is not, or not where it is")
	}
	if open, reason := Open(pod()); open || reason != "" {
		t.Errorf("without a condition: %v %q", open, reason)
	}
	if open, reason := Open(pod(condition(Condition, corev1.ConditionFalse, after(0)))); open || reason != "Why" {
		t.Errorf("closed: %v %q", open, reason)
	}
	if open, _ := Open(pod(condition(Condition, corev1.ConditionTrue, after(0)))); !open {
		t.Error("open: it is not")
	}
}
