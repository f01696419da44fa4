// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"maps"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/clbsync/clbsync/lab/cluster"
	"github.com/clbsync/clbsync/lab/probe"
)

const targetHealth corev1.PodConditionType = "clbsync.io/target-health"

// soon is enough for a rollout that waits for nothing but containers and health checks, and far less than the
// deadline of a gate, two minutes.
const soon = 40 * time.Second

// gatedLinger has old pods serve on while endpoints leave the rules of all nodes, which the gate of the new ones does not
// wait for.
const gatedLinger = "--linger=15s"

// gated gives the pods the readiness gate.
func gated(d *appsv1.Deployment) {
	d.Spec.Template.Spec.ReadinessGates = []corev1.PodReadinessGate{{ConditionType: targetHealth}}
}

// anywhere lets the scheduler choose nodes, one pod for each as long as there are enough.
func anywhere(d *appsv1.Deployment) {
	d.Spec.Template.Spec.NodeSelector = nil
	d.Spec.Template.Spec.TopologySpreadConstraints = []corev1.TopologySpreadConstraint{{
		MaxSkew: 1, TopologyKey: hostnameNode, WhenUnsatisfiable: corev1.ScheduleAnyway, LabelSelector: d.Spec.Selector, MatchLabelKeys: []string{"pod-template-hash"},
	}}
}

// inPlace ends the old pod before the new one begins, as Deployments do whose pods must not share a node.
func inPlace(d *appsv1.Deployment) {
	none, one := intstr.FromInt32(0), intstr.FromInt32(1)
	d.Spec.Strategy = appsv1.DeploymentStrategy{Type: appsv1.RollingUpdateDeploymentStrategyType, RollingUpdate: &appsv1.RollingUpdateDeployment{MaxSurge: &none, MaxUnavailable: &one}}
}

// version makes the pods others than those of any other version, which is what a rollout is.
func version(v string) func(*appsv1.Deployment) {
	return func(d *appsv1.Deployment) { metav1.SetMetaDataAnnotation(&d.Spec.Template.ObjectMeta, "version", v) }
}

// rollout brings a version of a Deployment with the gate out and returns why the gates of its pods opened, and how long
// it took.
func (s *scene) rollout(w Workload, v string, mods ...func(*appsv1.Deployment)) (reasons map[string]int, took time.Duration) {
	s.t.Helper()
	w.Namespace, w.App, w.Mods = s.ns, "web", append(mods, gated, version(v))
	begun := time.Now()
	s.must(s.Deploy(s.ctx, w))
	took = time.Since(begun)
	pods, err := s.Client.CoreV1().Pods(s.ns).List(s.ctx, metav1.ListOptions{LabelSelector: "workload=" + w.name()})
	s.must(err)
	reasons = map[string]int{}
	for _, p := range pods.Items {
		if p.Annotations["version"] != v || p.DeletionTimestamp != nil {
			continue
		}
		for _, c := range p.Status.Conditions {
			if c.Type == targetHealth && c.Status == corev1.ConditionTrue {
				reasons[c.Reason]++
			}
		}
	}
	s.t.Logf("version %s: %s, gates: %v", v, took.Round(10*time.Millisecond), reasons)
	return reasons, took
}

func TestGatedRolloutUnderClusterLosesNothing(t *testing.T) {
	s := begin(t)
	w := Workload{Node: "all", Replicas: 3, Args: []string{gatedLinger}}
	if reasons, took := s.rollout(w, "0", anywhere); reasons["NoLoadBalancer"] != 3 || took > soon {
		t.Errorf("without a Service the gates opened for %v after %s, want 3 for NoLoadBalancer", reasons, took)
	}
	svc, address := s.create()
	s.weights(svc.UID, map[string]int{"n1": 10, "n2": 10, "n3": 10})
	target := ports(address)[0]
	load, err := s.Probe(lostAfter).Start(s.ctx, target, probe.Load{Every: 10 * time.Millisecond, Count: 10_000, For: 100 * time.Second})
	s.must(err)
	for _, v := range []string{"1", "2"} {
		if reasons, took := s.rollout(w, v, anywhere); reasons["TargetHealthy"] != 3 || took > soon {
			t.Errorf("version %s: gates opened for %v after %s, want 3 for TargetHealthy", v, reasons, took)
		}
	}
	r := load.Stop()
	t.Logf("%s: %s", target, r)
	if len(failed(r)) > 0 || len(r.ByPod) < 7 {
		t.Errorf("%s: %d of %d lost, %d pods answered; want none lost, and answers from most of 9 pods", target, len(failed(r)), r.Asked, len(r.ByPod))
	}
}

func TestGatedRolloutUnderLocalWaitsForNobodyWhereNodesDoNotServeGatedPods(t *testing.T) {
	s := begin(t)
	// The settings say so of the nodes, whatever they do.
	svc, address := s.create(Local, Annotate(OnlyBind, "true"))
	alone := Workload{Node: "n1", Replicas: 1, Args: []string{gatedLinger}}
	for _, v := range []string{"1", "2"} {
		if reasons, took := s.rollout(alone, v, inPlace); reasons["NothingToWaitFor"] != 1 || took > soon {
			t.Errorf("the only pod of a node, version %s: gates opened for %v after %s, want 1 for NothingToWaitFor, and far sooner than the deadline", v, reasons, took)
		}
	}
	s.weights(svc.UID, map[string]int{"n1": 10})
	// Beside a ready pod a new one waits until the node is healthy, which it is.
	if reasons, took := s.rollout(alone, "3"); reasons["TargetHealthy"] != 1 || took > soon {
		t.Errorf("beside the old pod: gates opened for %v after %s, want 1 for TargetHealthy", reasons, took)
	}
	s.weights(svc.UID, map[string]int{"n1": 10})
	s.ask(ports(address)[0], 20)
}

// The pod of a node that has no other is a chicken and an egg: CLB finds the node healthy only when the pod gets traffic,
// and the pod is ready only when CLB finds the node healthy. Only a node that serves gated pods can break it.
func TestGatedRolloutUnderLocalWaitsForCLBWhereNodesServeGatedPods(t *testing.T) {
	want := map[string]int{"TargetHealthy": 1}
	settings := CloudConfig().With("readinessGate", map[string]any{"nodeAgent": true})
	if proxy != cluster.NodeAgent {
		want, settings = map[string]int{"NothingToWaitFor": 1}, CloudConfig() // kube-proxy serves no pod before it is ready
	}
	s := begin(t)
	s.t.Cleanup(func() { s.restart(CloudConfig()) })
	s.restart(settings)
	svc, address := s.create(Local, Annotate(OnlyBind, "true"))
	target := ports(address)[0]
	for _, node := range []string{"n1", "n2"} {
		if reasons, took := s.rollout(Workload{Node: node, Replicas: 1, Args: []string{gatedLinger}}, "1"); !maps.Equal(reasons, want) || took > soon {
			t.Errorf("the first pod of %s: gates opened for %v after %s, want %v", node, reasons, took, want)
		}
	}
	s.weights(svc.UID, map[string]int{"n1": 10, "n2": 10})
	load, err := s.Probe(lostAfter).Start(s.ctx, target, probe.Load{Every: 10 * time.Millisecond, Count: 10_000, For: 100 * time.Second})
	s.must(err)
	for _, node := range []string{"n1", "n2"} {
		if reasons, took := s.rollout(Workload{Node: node, Replicas: 1, Args: []string{gatedLinger}}, "2", inPlace); !maps.Equal(reasons, want) || took > soon {
			t.Errorf("the only pod of %s, replaced: gates opened for %v after %s, want %v", node, reasons, took, want)
		}
	}
	s.weights(svc.UID, map[string]int{"n1": 10, "n2": 10})
	s.more(load, 100)
	r := load.Stop()
	t.Logf("%s: %s", target, r)
	if len(failed(r)) > 0 || len(r.ByPod) != 4 {
		t.Errorf("%s: %d of %d lost, pods that answered: %v; want none lost, and answers of all four", target, len(failed(r)), r.Asked, r.ByPod)
	}
}

// restart gives the controller other settings.
func (s *scene) restart(settings Settings) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if s.ControllerRuns() {
		s.must(s.StopController(ctx))
	}
	s.must(s.StartController(ctx, settings))
}
