// SPDX-License-Identifier: Apache-2.0

// Package readinessgate reads what a pod says about the readiness gate clbsync.io/target-health. It decides
// what counts as waiting for that gate alone, and never whether the gate opens: lbsync does that. The
// controller and the node agent both ask it, since a pod that only one of them takes for an endpoint
// deadlocks: no traffic is let to it before it is healthy, and it is not healthy before traffic is let to it.
package readinessgate

import (
	"time"

	corev1 "k8s.io/api/core/v1"
)

// Condition is the type of the pod condition, and the name in spec.readinessGates.
const Condition corev1.PodConditionType = "clbsync.io/target-health"

// In reports whether the pod has the gate.
func In(pod *corev1.Pod) bool {
	for _, g := range pod.Spec.ReadinessGates {
		if g.ConditionType == Condition {
			return true
		}
	}
	return false
}

// Since returns since when nothing, or nothing but this gate, has kept the pod from being ready: it runs on a
// node, its containers are ready and all its other gates are open. It is zero while something else does, and
// once the pod is being deleted. Whether this gate is open does not matter: between its opening and the
// endpoint that says so lie the kubelet and the endpoint controller, and the pod must not fall between them.
func Since(pod *corev1.Pod) time.Time {
	if pod.DeletionTimestamp != nil || pod.Spec.NodeName == "" {
		return time.Time{}
	}
	since, ok := trueSince(pod, corev1.ContainersReady)
	if !ok {
		return time.Time{}
	}
	for _, g := range pod.Spec.ReadinessGates {
		if g.ConditionType == Condition {
			continue
		}
		at, ok := trueSince(pod, g.ConditionType)
		if !ok {
			return time.Time{}
		}
		if at.After(since) {
			since = at
		}
	}
	return since
}

// Open returns the gate's condition, if the pod has one yet.
func Open(pod *corev1.Pod) (open bool, reason string) {
	for _, c := range pod.Status.Conditions {
		if c.Type == Condition {
			return c.Status == corev1.ConditionTrue, c.Reason
		}
	}
	return false, ""
}

func trueSince(pod *corev1.Pod, t corev1.PodConditionType) (time.Time, bool) {
	for _, c := range pod.Status.Conditions {
		if c.Type != t || c.Status != corev1.ConditionTrue {
			continue
		}
		if c.LastTransitionTime.IsZero() { // some writers of gates leave it out
			return pod.CreationTimestamp.Time, true
		}
		return c.LastTransitionTime.Time, true
	}
	return time.Time{}, false
}
