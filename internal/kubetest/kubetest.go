// SPDX-License-Identifier: Apache-2.0

// Package kubetest builds Kubernetes objects for tests. It decides nothing and is imported by tests only.
package kubetest

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Service returns a Service of type LoadBalancer in the namespace default with one TCP port 80, named http,
// on node port 30080, its name as UID.
func Service(name string, mods ...func(*corev1.Service)) *corev1.Service {
	svc := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID(name), Annotations: map[string]string{}},
		Spec: corev1.ServiceSpec{
			Type:                  corev1.ServiceTypeLoadBalancer,
			ExternalTrafficPolicy: corev1.ServiceExternalTrafficPolicyCluster,
			Ports:                 []corev1.ServicePort{{Name: "http", Protocol: corev1.ProtocolTCP, Port: 80, NodePort: 30080}},
		},
	}
	for _, mod := range mods {
		mod(svc)
	}
	return svc
}

// Local sets the policy to Local with a health check on the node port.
func Local(healthCheckNodePort int32) func(*corev1.Service) {
	return func(s *corev1.Service) {
		s.Spec.ExternalTrafficPolicy, s.Spec.HealthCheckNodePort = corev1.ServiceExternalTrafficPolicyLocal, healthCheckNodePort
	}
}

// Annotation sets an annotation.
func Annotation(name, value string) func(*corev1.Service) {
	return func(s *corev1.Service) { s.Annotations[name] = value }
}

// Node returns a ready node n<i> as TKE writes it, with the instance ins-0000000<i> and the address 10.0.0.<i>.
func Node(i int, mods ...func(*corev1.Node)) *corev1.Node {
	n := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("n%d", i), Labels: map[string]string{corev1.LabelTopologyZone: "ap-guangzhou-3"}},
		Spec:       corev1.NodeSpec{ProviderID: fmt.Sprintf("qcloud:///100003/ins-%08d", i)},
		Status: corev1.NodeStatus{
			Addresses:  []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: fmt.Sprintf("10.0.0.%d", i)}},
			Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}},
		},
	}
	for _, mod := range mods {
		mod(n)
	}
	return n
}

// Nodes returns the nodes n1 to n<count>.
func Nodes(count int) []*corev1.Node {
	nodes := make([]*corev1.Node, count)
	for i := range nodes {
		nodes[i] = Node(i + 1)
	}
	return nodes
}

// Slice returns an EndpointSlice of the Service, for the TCP port named http, with the endpoints.
func Slice(service string, endpoints ...discoveryv1.Endpoint) *discoveryv1.EndpointSlice {
	name, port, protocol := "http", int32(8080), corev1.ProtocolTCP
	return &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Namespace: "default", Name: service + "-1", Labels: map[string]string{discoveryv1.LabelServiceName: service}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports:       []discoveryv1.EndpointPort{{Name: &name, Port: &port, Protocol: &protocol}},
		Endpoints:   endpoints,
	}
}

// Ready returns an endpoint on a node that takes connections.
func Ready(node, address string) discoveryv1.Endpoint {
	return endpoint(node, address, true, true, false)
}

// Unready returns an endpoint that fails its readiness probe.
func Unready(node, address string) discoveryv1.Endpoint {
	return endpoint(node, address, false, false, false)
}

// Terminating returns an endpoint that is going and still serves.
func Terminating(node, address string) discoveryv1.Endpoint {
	return endpoint(node, address, false, true, true)
}

func endpoint(node, address string, ready, serving, terminating bool) discoveryv1.Endpoint {
	return discoveryv1.Endpoint{
		Addresses: []string{address}, NodeName: &node,
		Conditions: discoveryv1.EndpointConditions{Ready: &ready, Serving: &serving, Terminating: &terminating},
	}
}

// OfPod returns the endpoint with the pod, by its UID, that it stands for.
func OfPod(e discoveryv1.Endpoint, uid string) discoveryv1.Endpoint {
	e.TargetRef = &corev1.ObjectReference{Kind: "Pod", Namespace: "default", Name: uid, UID: types.UID(uid)}
	return e
}

// Gated returns a pod app=<app> on a node, its name as UID, that nothing but the gate keeps from being ready since
// then.
func Gated(name, app, node string, gate corev1.PodConditionType, since time.Time) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID(name), Labels: map[string]string{"app": app}},
		Spec:       corev1.PodSpec{NodeName: node, ReadinessGates: []corev1.PodReadinessGate{{ConditionType: gate}}},
		Status: corev1.PodStatus{Conditions: []corev1.PodCondition{
			{Type: corev1.PodReady, Status: corev1.ConditionFalse, LastTransitionTime: metav1.NewTime(since)},
			{Type: corev1.ContainersReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(since)},
		}},
	}
}

// Selecting sets the selector to app=<app>.
func Selecting(app string) func(*corev1.Service) {
	return func(s *corev1.Service) { s.Spec.Selector = map[string]string{"app": app} }
}
