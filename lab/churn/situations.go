// SPDX-License-Identifier: Apache-2.0

package churn

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/clbsync/clbsync/lab/e2e"
)

const aWhile = 600 // requests of our side

const hostname = "kubernetes.io/hostname"

var (
	onlyBind = e2e.Annotate(e2e.OnlyBind, "true")
	weighted = e2e.Annotate(e2e.Weighted, "true")
	selector = &metav1.LabelSelector{MatchLabels: map[string]string{"app": app}}
)

// onePerNode lets no two pods run on one node, so that an old one has to go before a new one comes.
func onePerNode(d *appsv1.Deployment) {
	d.Spec.Template.Spec.Affinity = &corev1.Affinity{PodAntiAffinity: &corev1.PodAntiAffinity{
		RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{{LabelSelector: selector, TopologyKey: hostname}},
	}}
	none, one := intstr.FromInt32(0), intstr.FromInt32(1)
	d.Spec.Strategy = appsv1.DeploymentStrategy{
		Type:          appsv1.RollingUpdateDeploymentStrategyType,
		RollingUpdate: &appsv1.RollingUpdateDeployment{MaxSurge: &none, MaxUnavailable: &one},
	}
}

// evenly spreads the pods over the nodes.
func evenly(d *appsv1.Deployment) {
	d.Spec.Template.Spec.TopologySpreadConstraints = []corev1.TopologySpreadConstraint{{
		MaxSkew: 1, TopologyKey: hostname, WhenUnsatisfiable: corev1.DoNotSchedule, LabelSelector: selector,
	}}
}

// on runs the pods on one node; a new one comes before the old one goes.
func on(node string) func(*appsv1.Deployment) {
	return func(d *appsv1.Deployment) { d.Spec.Template.Spec.NodeSelector = map[string]string{hostname: node} }
}

// restart replaces every pod, as kubectl rollout restart does.
func restart(ctx context.Context, s *stage) error {
	s.made++
	if err := s.Deploy(ctx, s.workload(s.pods, nil)); err != nil {
		return err
	}
	return s.settled(ctx)
}

// scale goes down to one pod and up again.
func scale(ctx context.Context, s *stage) error {
	for _, pods := range []int32{1, s.pods} {
		if err := s.Deploy(ctx, s.workload(pods, nil)); err != nil {
			return err
		}
		if err := s.settled(ctx); err != nil {
			return err
		}
	}
	return nil
}

// move takes the pod from n2 to n3, or back.
func move(ctx context.Context, s *stage) error {
	to := "n3"
	if s.passed%2 == 1 {
		to = "n2"
	}
	if err := s.Deploy(ctx, s.workload(s.pods, on(to))); err != nil {
		return err
	}
	if err := s.settled(ctx); err != nil {
		return err
	}
	return s.more(ctx, aWhile/s.share)
}

// flip makes the policy the other one and back, with a while in between.
func flip(ctx context.Context, s *stage) error {
	for _, policy := range []corev1.ServiceExternalTrafficPolicy{corev1.ServiceExternalTrafficPolicyLocal, corev1.ServiceExternalTrafficPolicyCluster} {
		_, err := s.ChangeService(ctx, s.namespace(), app, func(svc *corev1.Service) { svc.Spec.ExternalTrafficPolicy = policy })
		if err != nil {
			return err
		}
		if err := s.more(ctx, aWhile/s.share); err != nil {
			return err
		}
		if err := s.settled(ctx); err != nil {
			return err
		}
	}
	return nil
}

// replaced says that in each round each of the pods was another one.
func replaced(r row) error {
	if want := int(r.pods) * (r.rounds + 1); len(r.tcp.ByPod) < want {
		return fmt.Errorf("%d pods answered, want %d: %d and their successors in %d restarts", len(r.tcp.ByPod), want, r.pods, r.rounds)
	}
	return drained("n1", "n2", "n3")(r)
}

// drained says that each of the nodes was seen without new connections while another had them. Only we do that.
func drained(nodes ...string) func(row) error {
	return func(r row) error {
		if r.side == stock {
			return nil
		}
		for _, node := range nodes {
			if !slices.ContainsFunc(r.weights, func(w string) bool { return strings.Contains(w+" ", node+":0 ") }) {
				return fmt.Errorf("%s was never seen with weight 0; seen: %s", node, strings.Join(r.weights, " → "))
			}
		}
		return nil
	}
}

// scaled says that there were times with one node and times with more.
func scaled(r row) error {
	if want := int(r.pods) + r.rounds; len(r.tcp.ByPod) < want {
		return fmt.Errorf("%d pods answered, want %d: %d, and new ones in each of %d rounds", len(r.tcp.ByPod), want, r.pods, r.rounds)
	}
	one := func(w string) bool { return strings.Count(w, ":")-strings.Count(w, ":0") == 1 }
	more := func(w string) bool { return strings.Contains(w, ":2") && !strings.Contains(w, ":0") }
	if r.side == ours && (!slices.ContainsFunc(r.weights, one) || !slices.ContainsFunc(r.weights, more)) {
		return fmt.Errorf("there was no time with one node open, or none with weights by pods: %s", strings.Join(r.weights, " → "))
	}
	return nil
}

// moved says that pods of both nodes answered.
func moved(r row) error {
	if r.tcp.ByNode["n2"] == 0 || r.tcp.ByNode["n3"] == 0 || len(r.tcp.ByPod) < r.rounds+1 {
		return fmt.Errorf("answers by node %v from %d pods, want n2 and n3, and another pod after each of %d moves", r.tcp.ByNode, len(r.tcp.ByPod), r.rounds)
	}
	return nil
}

// flipped says that the pods saw the client at times, and nodes at others.
func flipped(r row) error {
	peers := slices.Collect(maps.Keys(r.tcp.Peers))
	if r.tcp.Peers[clientIP] == 0 || len(peers) < 2 {
		return fmt.Errorf("pods saw %v, want %s under Local and nodes under Cluster", r.tcp.Peers, clientIP)
	}
	return nil
}
