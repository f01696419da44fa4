// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/clbsync/clbsync/internal/kubetest"
	"github.com/clbsync/clbsync/lbsync"
	"github.com/clbsync/clbsync/lbsync/annotation"
)

func TestWhichChangesOfAServiceMatter(t *testing.T) {
	for _, c := range []struct {
		name    string
		change  func(*corev1.Service)
		matters bool
	}{
		{"a label", func(s *corev1.Service) { s.Labels = map[string]string{"a": "b"} }, false},
		{"the status", func(s *corev1.Service) { s.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "1.2.3.4"}} }, false},
		{"the annotation that the controller writes", kubetest.Annotation(annotation.LoadBalancerID, "lb-1"), false},
		{"a finalizer that comes", func(s *corev1.Service) { s.Finalizers = append(s.Finalizers, "other") }, false},
		{"a finalizer of ours that goes", func(s *corev1.Service) { s.Finalizers = nil }, true},
		{"another annotation", kubetest.Annotation(annotation.WeightByPods, "true"), true},
		{"a port", func(s *corev1.Service) { s.Spec.Ports[0].Port = 81 }, true},
		{"the policy", kubetest.Local(31000), true},
		{"the type", clusterIP, true},
		{"the deletion", func(s *corev1.Service) { now := metav1.Now(); s.DeletionTimestamp = &now }, true},
		{"another Service of the same name", func(s *corev1.Service) { s.UID = "other" }, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := kubetest.Service("web", func(s *corev1.Service) { s.Finalizers = []string{finalizerStock} })
			after := before.DeepCopy()
			c.change(after)
			if got := !sameService(before, after); got != c.matters {
				t.Errorf("matters: got %v, want %v", got, c.matters)
			}
		})
	}
}

func TestWhichChangesOfASliceMatter(t *testing.T) {
	for _, c := range []struct {
		name    string
		change  func(*discoveryv1.EndpointSlice)
		matters bool
	}{
		{"an annotation", func(s *discoveryv1.EndpointSlice) { s.Annotations = map[string]string{"a": "b"} }, false},
		{"a zone", func(s *discoveryv1.EndpointSlice) { zone := "z"; s.Endpoints[0].Zone = &zone }, false},
		{"the pod's name", func(s *discoveryv1.EndpointSlice) { s.Endpoints[0].TargetRef = &corev1.ObjectReference{Name: "p"} }, false},
		{"readiness", func(s *discoveryv1.EndpointSlice) { *s.Endpoints[0].Conditions.Ready = false }, true},
		{"the node", func(s *discoveryv1.EndpointSlice) { n := "n2"; s.Endpoints[0].NodeName = &n }, true},
		{"the address", func(s *discoveryv1.EndpointSlice) { s.Endpoints[0].Addresses = []string{"10.1.1.9"} }, true},
		{"an endpoint more", func(s *discoveryv1.EndpointSlice) { s.Endpoints = append(s.Endpoints, at(2)...) }, true},
		{"a port", func(s *discoveryv1.EndpointSlice) { p := int32(9); s.Ports[0].Port = &p }, true},
		{"the Service", func(s *discoveryv1.EndpointSlice) { s.Labels[discoveryv1.LabelServiceName] = "other" }, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := kubetest.Slice("web", at(1)...)
			after := before.DeepCopy()
			c.change(after)
			if got := !sameSlice(before, after); got != c.matters {
				t.Errorf("matters: got %v, want %v", got, c.matters)
			}
		})
	}
}

func TestWhichChangesOfANodeMatter(t *testing.T) {
	for _, c := range []struct {
		name    string
		change  func(*corev1.Node)
		matters bool
	}{
		{"a heartbeat", func(n *corev1.Node) { n.Status.Conditions[0].LastHeartbeatTime = metav1.Now() }, false},
		{"an image", func(n *corev1.Node) { n.Status.Images = []corev1.ContainerImage{{}} }, false},
		{"pressure", func(n *corev1.Node) {
			n.Status.Conditions = append(n.Status.Conditions, corev1.NodeCondition{Type: corev1.NodeMemoryPressure, Status: corev1.ConditionTrue})
		}, false},
		{"cordon", func(n *corev1.Node) { n.Spec.Unschedulable = true }, false},
		{"readiness", func(n *corev1.Node) { n.Status.Conditions[0].Status = corev1.ConditionUnknown }, true},
		{"a label", func(n *corev1.Node) { n.Labels["a"] = "b" }, true},
		{"a taint", func(n *corev1.Node) { n.Spec.Taints = []corev1.Taint{{Key: "a"}} }, true},
		{"the provider ID", func(n *corev1.Node) { n.Spec.ProviderID = "other" }, true},
		{"an address", func(n *corev1.Node) { n.Status.Addresses[0].Address = "10.0.0.9" }, true},
		{"the deletion", func(n *corev1.Node) { now := metav1.Now(); n.DeletionTimestamp = &now }, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := kubetest.Node(1)
			after := before.DeepCopy()
			c.change(after)
			if got := !sameNode(before, after); got != c.matters {
				t.Errorf("matters: got %v, want %v", got, c.matters)
			}
		})
	}
}

func TestWhichServicesAreOurs(t *testing.T) {
	finalizer := func(name string) func(*corev1.Service) {
		return func(s *corev1.Service) { s.Finalizers = []string{name} }
	}
	type mods = []func(*corev1.Service)
	for _, c := range []struct {
		name             string
		mods             mods
		all, onlyOfClass bool
	}{
		{"a load balancer without a class", nil, true, false},
		{"one of our class", mods{ofClass(lbsync.LoadBalancerClass)}, true, true},
		{"one of another class", mods{ofClass("other")}, false, false},
		{"one of another class that has the stock finalizer", mods{ofClass("other"), finalizer(finalizerStock)}, false, false},
		{"one of another class that was of ours", mods{ofClass("other"), finalizer(finalizerOfClass)}, true, true},
		{"a ClusterIP", mods{clusterIP}, false, false},
		{"a ClusterIP that was a load balancer without a class", mods{clusterIP, finalizer(finalizerStock)}, true, false},
		{"a ClusterIP that was of our class", mods{clusterIP, finalizer(finalizerOfClass)}, true, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, only := range []bool{false, true} {
				want := c.all
				if only {
					want = c.onlyOfClass
				}
				controller := &Controller{settings: lbsync.Settings{ClassOnly: only}}
				if got := controller.concerns(kubetest.Service("web", c.mods...)); got != want {
					t.Errorf("with ClassOnly %v: got %v, want %v", only, got, want)
				}
			}
		})
	}
}
