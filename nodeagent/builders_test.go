// SPDX-License-Identifier: Apache-2.0

package nodeagent

// The address plan of these tests:
//
//	nodes       192.168.0.11 (n1, where the rules are), .12 (n2)     fd00::11, fd00::12
//	pods        10.244.1.10, .11 on n1; 10.244.2.10 on n2             fd00:244:1::10 …
//	clients     192.168.0.100 and others outside                      fd00::100
//	services    10.96.0.1                                             fd00:96::1

import (
	"fmt"
	"net/netip"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

func service(name string, mods ...func(*corev1.Service)) *corev1.Service {
	s := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name},
		Spec: corev1.ServiceSpec{
			Type:                  corev1.ServiceTypeNodePort,
			ClusterIP:             "10.96.0.1",
			ClusterIPs:            []string{"10.96.0.1", "fd00:96::1"},
			ExternalTrafficPolicy: corev1.ServiceExternalTrafficPolicyCluster,
			Ports:                 []corev1.ServicePort{{Port: 80, NodePort: 30001, Protocol: corev1.ProtocolTCP}},
		},
	}
	for _, mod := range mods {
		mod(s)
	}
	return s
}

func local(s *corev1.Service) {
	s.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal
}

func healthPort(port int32) func(*corev1.Service) {
	return func(s *corev1.Service) {
		s.Spec.Type = corev1.ServiceTypeLoadBalancer
		s.Spec.HealthCheckNodePort = port
	}
}

func nodePort(port int32) func(*corev1.Service) {
	return func(s *corev1.Service) { s.Spec.Ports[0].NodePort = port }
}

// endpoint reads "address@node flags": flags are r(eady), s(erving), t(erminating), zone=z, node=n, pod=uid.
func endpoint(text string) discoveryv1.Endpoint {
	fields := strings.Fields(text)
	address, node, _ := strings.Cut(fields[0], "@")
	e := discoveryv1.Endpoint{Addresses: []string{address}}
	if node != "" {
		e.NodeName = &node
	}
	for _, flag := range fields[1:] {
		switch key, value, _ := strings.Cut(flag, "="); key {
		case "zone":
			e.Hints = hints(e.Hints)
			e.Hints.ForZones = append(e.Hints.ForZones, discoveryv1.ForZone{Name: value})
		case "node":
			e.Hints = hints(e.Hints)
			e.Hints.ForNodes = append(e.Hints.ForNodes, discoveryv1.ForNode{Name: value})
		case "pod":
			e.TargetRef = &corev1.ObjectReference{UID: types.UID(value)}
		case "-":
		default:
			has := func(c string) *bool { b := strings.Contains(flag, c); return &b }
			e.Conditions = discoveryv1.EndpointConditions{Ready: has("r"), Serving: has("s"), Terminating: has("t")}
		}
	}
	return e
}

func hints(h *discoveryv1.EndpointHints) *discoveryv1.EndpointHints {
	if h == nil {
		return &discoveryv1.EndpointHints{}
	}
	return h
}

var sliceCount int

func slice(service string, endpoints ...string) *discoveryv1.EndpointSlice {
	sliceCount++
	name, protocol, port := "", corev1.ProtocolTCP, int32(8080)
	s := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "ns", Name: fmt.Sprintf("%s-%04d", service, sliceCount),
			Labels: map[string]string{discoveryv1.LabelServiceName: service},
		},
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports:       []discoveryv1.EndpointPort{{Name: &name, Protocol: &protocol, Port: &port}},
	}
	for _, e := range endpoints {
		s.Endpoints = append(s.Endpoints, endpoint(e))
		if strings.Contains(strings.Fields(e)[0], "::") {
			s.AddressType = discoveryv1.AddressTypeIPv6
		}
	}
	return s
}

func snapshot(objects ...any) Snapshot {
	s := Snapshot{NodeName: "n1", Node: &corev1.Node{ObjectMeta: metav1.ObjectMeta{
		Name: "n1", Labels: map[string]string{corev1.LabelTopologyZone: "z1"},
	}}}
	for _, object := range objects {
		switch o := object.(type) {
		case *corev1.Service:
			s.Services = append(s.Services, o)
		case *discoveryv1.EndpointSlice:
			s.Slices = append(s.Slices, o)
		}
	}
	return s
}

// hosts prints addresses without the port that all endpoints here share, separated by blanks.
func hosts(list []netip.AddrPort) string {
	var out []string
	for _, a := range list {
		out = append(out, a.Addr().String())
	}
	return strings.Join(out, " ")
}
