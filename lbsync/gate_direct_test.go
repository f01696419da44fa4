// SPDX-License-Identifier: Apache-2.0

package lbsync

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/clbsync/clbsync/internal/kubetest"
	"github.com/clbsync/clbsync/lbsync/annotation"
)

// TestDecideGateWherePodsAreTargets is about a pod "p" with the address 10.1.1.1 that waits for its gate, where pods are the
// targets. Unless a case says otherwise, CLB has what it should, all healthy.
func TestDecideGateWherePodsAreTargets(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	own := netip.MustParseAddr("10.1.1.1")
	address := func(a string, change func(*LoadBalancer, map[Binding]Health, Binding)) func(*LoadBalancer, map[Binding]Health) {
		return func(lb *LoadBalancer, health map[Binding]Health) {
			for b := range lb.Targets {
				if b.Target.IP == netip.MustParseAddr(a) {
					change(lb, health, b)
				}
			}
		}
	}
	health := func(a string, h Health) func(*LoadBalancer, map[Binding]Health) {
		return address(a, func(_ *LoadBalancer, all map[Binding]Health, b Binding) { all[b] = h })
	}
	gone := func(lb *LoadBalancer, _ map[Binding]Health, b Binding) { delete(lb.Targets, b) }
	second := func(s *corev1.Service) {
		s.Spec.Ports = append(s.Spec.Ports, corev1.ServicePort{Name: "https", Protocol: corev1.ProtocolTCP, Port: 443})
	}
	for _, c := range []struct {
		name      string
		mods      []func(*corev1.Service)
		endpoints []discoveryv1.Endpoint // beside the pod's own
		absent    bool                   // the pod is no endpoint yet
		weight    string                 // of its annotation
		addresses []netip.Addr           // nil: its own
		nodes     func([]*corev1.Node)
		quota     int
		waited    time.Duration
		clb       func(*LoadBalancer, map[Binding]Health)

		reason Reason
		says   string
	}{
		{name: "a healthy pod opens it", endpoints: []discoveryv1.Endpoint{elsewhere}, reason: GateHealthy, says: "The pod is a healthy target of default/web"},
		{name: "the first pod of a Service waits for nobody but CLB", reason: GateHealthy},
		{name: "and is waited for", clb: health("10.1.1.1", HealthUnknown), reason: GateWaiting, says: "10.1.1.1:8080 of TCP:80"},
		{name: "under Local it needs neither node agent nor another pod", mods: []func(*corev1.Service){kubetest.Local(31000)}, clb: health("10.1.1.1", HealthUnknown), reason: GateWaiting},
		{name: "an unhealthy one is waited for", endpoints: []discoveryv1.Endpoint{elsewhere}, clb: health("10.1.1.1", Unhealthy), reason: GateWaiting},
		{name: "one that is not probed gets traffic at once", clb: health("10.1.1.1", HealthOff), reason: GateHealthy},
		{name: "the health of other pods does not matter", endpoints: []discoveryv1.Endpoint{elsewhere}, clb: health("10.1.2.1", Unhealthy), reason: GateHealthy},
		{name: "one that is not registered yet is waited for", endpoints: []discoveryv1.Endpoint{elsewhere}, clb: address("10.1.1.1", gone), reason: GateWaiting, says: "is not a target"},
		{name: "one of weight 0 at CLB is", clb: address("10.1.1.1", func(lb *LoadBalancer, _ map[Binding]Health, b Binding) { lb.Targets[b] = 0 }), reason: GateWaiting, says: "is not a target"},
		{name: "one that is no endpoint yet is", absent: true, endpoints: []discoveryv1.Endpoint{elsewhere}, reason: GateWaiting, says: "no endpoint"},
		{name: "one without an address yet is", addresses: []netip.Addr{}, reason: GateWaiting, says: "no endpoint"},
		{name: "of two addresses the one of the Service's family counts", addresses: []netip.Addr{netip.MustParseAddr("fd00::1"), own}, reason: GateHealthy},
		{name: "each listener counts", mods: []func(*corev1.Service){second}, reason: GateWaiting, says: "TCP:443", clb: func(_ *LoadBalancer, all map[Binding]Health) {
			all[Binding{ListenerKey{Protocol: TCP, Port: 443}, Target{IP: own, Port: 8443}}] = Unhealthy
		}},
		{name: "one that somebody gave weight 0 is not waited for", weight: "0", endpoints: []discoveryv1.Endpoint{elsewhere}, reason: GateNothing, says: "no new connections"},
		{name: "nor one whose node is about to be deleted, while others can serve", endpoints: []discoveryv1.Endpoint{elsewhere}, nodes: leaving, reason: GateNothing, says: "no new connections"},
		{name: "nor one in the network of its node", addresses: []netip.Addr{netip.MustParseAddr("10.0.0.2")},
			endpoints: []discoveryv1.Endpoint{kubetest.OfPod(kubetest.Ready("n2", "10.0.0.2"), "p")}, absent: true, reason: GateNothing, says: "is to be no target"},
		{name: "nor one that finds no room", endpoints: []discoveryv1.Endpoint{elsewhere, kubetest.Ready("n3", "10.1.3.1"), kubetest.Ready("n3", "10.1.3.2")}, quota: 1, reason: GateNothing, says: "is to be no target"},
		{name: "at the deadline it opens, and says what it waited for", clb: health("10.1.1.1", Unhealthy), waited: 2 * time.Minute, reason: GateDeadline, says: "10.1.1.1:8080"},
	} {
		t.Run(c.name, func(t *testing.T) {
			settings := DefaultSettings()
			settings.ClusterID = "cls-demo"
			object := kubetest.Service("web", append(c.mods, kubetest.Annotation(annotation.DirectAccess, "true"))...)
			options, _ := annotation.Parse(object.Annotations)
			endpoints := c.endpoints
			if !c.absent {
				endpoints = append([]discoveryv1.Endpoint{gated}, endpoints...)
			}
			slice := kubetest.Slice("web", endpoints...)
			slice.Ports = append(slice.Ports, discoveryv1.EndpointPort{Name: new("https"), Port: new(int32(8443)), Protocol: new(corev1.ProtocolTCP)})
			svc := Service{Service: object, Slices: []*discoveryv1.EndpointSlice{slice}, Options: options, Gated: map[types.UID]bool{"p": true}, PodWeights: map[types.UID]string{}}
			if c.weight != "" {
				svc.PodWeights["p"] = c.weight
			}
			s := Snapshot{Settings: settings, Services: []Service{svc}, Nodes: kubetest.Nodes(3), TargetQuota: c.quota}
			if c.nodes != nil {
				c.nodes(s.Nodes)
			}
			actual, _ := Desired(s)
			healths := map[Binding]Health{}
			for b := range actual.Targets {
				healths[b] = Healthy
			}
			if c.clb != nil {
				c.clb(&actual, healths)
			}
			view := s.GateService(svc, actual, false)
			view.Health = healths
			pod := GatedPod{Node: "n1", Addresses: []netip.Addr{own}, Since: now.Add(-c.waited)}
			if c.addresses != nil {
				pod.Addresses = c.addresses
			}
			got := DecideGate(pod, []GateService{view}, now, settings)
			if got.Reason != c.reason || got.Open != (c.reason != GateWaiting) || !strings.Contains(got.Message, c.says) || got.Message == "" {
				t.Errorf("got open %v, %s: %s; want %s with %q", got.Open, got.Reason, got.Message, c.reason, c.says)
			}
		})
	}
}
