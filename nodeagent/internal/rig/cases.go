// SPDX-License-Identifier: Apache-2.0

package rig

import (
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
)

// Situation is one state of a Service's endpoints.
type Situation struct {
	Name      string
	Local     bool
	Endpoints []string // "pod conditions": r(eady), s(erving), t(erminating)
}

// Situations are the fourteen in which proxies are compared. Situation i has the NodePort FirstPort+i.
var Situations = []Situation{
	{"Cluster here and away", false, []string{"p1a rs", "p2a rs"}},
	{"Cluster away", false, []string{"p2a rs"}},
	{"Cluster none", false, nil},
	{"Cluster terminating here", false, []string{"p1a st"}},
	{"Cluster terminating here, ready away", false, []string{"p1a st", "p2a rs"}},
	{"Cluster none ready", false, []string{"p1a -", "p2a -"}},
	{"Cluster here", false, []string{"p1a rs", "p1b rs"}},
	{"Local here", true, []string{"p1a rs", "p1b rs"}},
	{"Local away", true, []string{"p2a rs"}},
	{"Local here and away", true, []string{"p1a rs", "p2a rs"}},
	{"Local none", true, nil},
	{"Local terminating here, ready away", true, []string{"p1a st", "p2a rs"}},
	{"Local terminated here, ready away", true, []string{"p1a t", "p2a rs"}},
	{"Local ready and terminating here", true, []string{"p1a rs", "p1b st"}},
}

// FirstPort is the NodePort of the first situation.
const FirstPort = 30001

// Service makes a dual-stack NodePort Service for TCP and UDP, and its slices. Conditions as in Situation.
func (r *Rig) Service(name string, nodePort int32, local bool, endpoints []string, mods ...func(*corev1.Service)) []runtime.Object {
	policy := corev1.ServiceExternalTrafficPolicyCluster
	if local {
		policy = corev1.ServiceExternalTrafficPolicyLocal
	}
	dual := corev1.IPFamilyPolicyRequireDualStack
	s := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "rig", Name: name, UID: types.UID(name + "-uid")},
		Spec: corev1.ServiceSpec{
			Type: corev1.ServiceTypeNodePort, ExternalTrafficPolicy: policy,
			ClusterIP:      fmt.Sprintf("10.96.%d.%d", nodePort/256, nodePort%256),
			ClusterIPs:     []string{fmt.Sprintf("10.96.%d.%d", nodePort/256, nodePort%256), fmt.Sprintf("fd00:96::%x", nodePort)},
			IPFamilies:     []corev1.IPFamily{corev1.IPv4Protocol, corev1.IPv6Protocol},
			IPFamilyPolicy: &dual, SessionAffinity: corev1.ServiceAffinityNone,
			Ports: []corev1.ServicePort{
				{Name: "tcp", Protocol: corev1.ProtocolTCP, Port: 80, NodePort: nodePort},
				{Name: "udp", Protocol: corev1.ProtocolUDP, Port: 80, NodePort: nodePort},
			},
		},
	}
	for _, mod := range mods {
		mod(s)
	}
	return append([]runtime.Object{s}, r.Slices(name, endpoints)...)
}

// Slices makes the two slices of a Service.
func (r *Rig) Slices(service string, endpoints []string) []runtime.Object {
	slice := func(family discoveryv1.AddressType, address func(*Machine) string) *discoveryv1.EndpointSlice {
		s := &discoveryv1.EndpointSlice{
			ObjectMeta:  metav1.ObjectMeta{Namespace: "rig", Name: service + "-" + strings.ToLower(string(family)), Labels: map[string]string{discoveryv1.LabelServiceName: service}},
			AddressType: family,
		}
		for _, p := range []corev1.Protocol{corev1.ProtocolTCP, corev1.ProtocolUDP} {
			name, protocol, port := strings.ToLower(string(p)), p, int32(PodPort)
			s.Ports = append(s.Ports, discoveryv1.EndpointPort{Name: &name, Protocol: &protocol, Port: &port})
		}
		for _, e := range endpoints {
			pod, flags, _ := strings.Cut(e, " ")
			has := func(c string) *bool { b := strings.Contains(flags, c); return &b }
			node := "n" + pod[1:2]
			s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{Addresses: []string{address(r.Pods[pod])}, NodeName: &node,
				Conditions: discoveryv1.EndpointConditions{Ready: has("r"), Serving: has("s"), Terminating: has("t")}})
		}
		return s
	}
	return []runtime.Object{
		slice(discoveryv1.AddressTypeIPv4, func(m *Machine) string { return m.IPv4.String() }),
		slice(discoveryv1.AddressTypeIPv6, func(m *Machine) string { return m.IPv6.String() }),
	}
}

// Node makes a Node object.
func Node(name string) *corev1.Node {
	number := name[1:]
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       corev1.NodeSpec{PodCIDR: "10.244." + number + ".0/24", PodCIDRs: []string{"10.244." + number + ".0/24", "fd00:244:" + number + "::/64"}},
		Status: corev1.NodeStatus{Addresses: []corev1.NodeAddress{
			{Type: corev1.NodeInternalIP, Address: "192.168.0.1" + number}, {Type: corev1.NodeInternalIP, Address: "fd00::1" + number}}},
	}
}

// PutSituations fills the API server for Compare.
func (r *Rig) PutSituations() {
	objects := []runtime.Object{Node("n1"), Node("n2")}
	for i, s := range Situations {
		objects = append(objects, r.Service(fmt.Sprintf("s%02d", i), int32(FirstPort+i), s.Local, s.Endpoints)...)
	}
	r.API.Put(objects...)
}

// clients are the seven positions, each with the address that it asks, by family.
var clients = []struct {
	name   string
	from   func(*Rig) *Machine
	v4, v6 string
}{
	{"outside", func(r *Rig) *Machine { return r.Client }, "192.168.0.11", "fd00::11"},
	{"node by its address", func(r *Rig) *Machine { return r.Nodes["n1"] }, "192.168.0.11", "fd00::11"},
	{"node by loopback", func(r *Rig) *Machine { return r.Nodes["n1"] }, "127.0.0.1", "::1"},
	{"node by the other node's address", func(r *Rig) *Machine { return r.Nodes["n1"] }, "192.168.0.12", "fd00::12"},
	{"the endpoint itself", func(r *Rig) *Machine { return r.Pods["p1a"] }, "192.168.0.11", "fd00::11"},
	{"another pod here", func(r *Rig) *Machine { return r.Pods["p1c"] }, "192.168.0.11", "fd00::11"},
	{"a pod away", func(r *Rig) *Machine { return r.Pods["p2c"] }, "192.168.0.11", "fd00::11"},
}

// tries is how often a case is asked that gets answers: of two endpoints, one stays unseen in 1 of 8 million cases.
// silent is after how many tries of which none was answered a case is taken to be refused or to time out: where one of
// two endpoints answers by a way that loses the packet, both answers belong to the set.
const tries, silent = 24, 12

// Matrix asks all 14 × 7 cases and returns a line per case: "network | situation | client: answers". Networks are
// tcp4, udp4, tcp6, udp6. The answers are a set, sorted.
func (r *Rig) Matrix(networks ...string) []string {
	// Longer than a second: the kernel sends a lost SYN again after that time, and on a busy machine some get lost.
	const patience = 1500 * time.Millisecond
	lines := make([]string, len(networks)*len(Situations)*len(clients))
	limit := make(chan struct{}, 64)
	var wait sync.WaitGroup
	for n, network := range networks {
		for i, s := range Situations {
			for j, c := range clients {
				host := c.v4
				if strings.HasSuffix(network, "6") {
					host = c.v6
				}
				limit <- struct{}{}
				wait.Go(func() {
					defer func() { <-limit }()
					address := net.JoinHostPort(host, fmt.Sprint(FirstPort+i))
					answers := map[string]bool{}
					for try := range tries {
						answers[Ask(c.from(r).Namespace, network, address, patience)] = true
						if len(answers) == 1 && (answers[Refused] || answers[Timeout] && try+1 >= silent) {
							break
						}
					}
					lines[(n*len(Situations)+i)*len(clients)+j] = fmt.Sprintf("%s | %s | %s: %s", network, s.Name, c.name,
						strings.Join(slices.Sorted(maps.Keys(answers)), " "))
				})
			}
		}
	}
	wait.Wait()
	return lines
}
