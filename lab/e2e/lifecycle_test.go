// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"maps"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/clbsync/clbsync/clbsim/admin"
)

func listeners(table map[Listener][]Target) []string {
	var names []string
	for l := range maps.Keys(table) {
		names = append(names, l.String())
	}
	slices.Sort(names)
	return names
}

func TestCreatedServiceSaysWhatItGot(t *testing.T) {
	s := begin(t)
	s.deploy("n1", 1)
	svc, address := s.create()
	balancers := Balancers(s.state(), svc.UID)
	if len(balancers) != 1 || balancers[0].VIP != address || balancers[0].Tags["tke-clusterId"] != ClusterID {
		t.Fatalf("load balancers of the Service: %+v, want one with address %s of cluster %s", balancers, address, ClusterID)
	}
	svc, err := s.AwaitService(s.ctx, s.ns, svc.Name, "the load balancer's ID in an annotation", func(svc *corev1.Service) bool {
		return svc.Annotations[LoadBalancerID] == balancers[0].ID
	})
	s.must(err)
	if !slices.Contains(svc.Finalizers, Finalizer) {
		t.Errorf("finalizers %v, want %s: deleting the Service would leak its load balancer", svc.Finalizers, Finalizer)
	}
	_, err = s.AwaitEvent(s.ctx, s.ns, svc.Name, corev1.EventTypeNormal, "nsured") // EnsuredLoadBalancer: "Ensured load balancer"
	s.must(err)
}

func TestPortsFollowTheService(t *testing.T) {
	s := begin(t)
	s.deploy("n1", 1)
	svc, address := s.create(Local, Annotate(OnlyBind, "true"))
	s.weights(svc.UID, map[string]int{"n1": 10})
	_, err := s.ChangeService(s.ctx, s.ns, svc.Name, func(svc *corev1.Service) {
		svc.Spec.Ports = append(slices.DeleteFunc(svc.Spec.Ports, func(p corev1.ServicePort) bool { return p.Name == "udp" }),
			corev1.ServicePort{Name: "more", Protocol: corev1.ProtocolTCP, Port: 9090, TargetPort: intstr.FromInt32(echoStream)})
	})
	s.must(err)
	want := []string{"TCP:80", "TCP:8080", "TCP:9090"}
	_, err = s.AwaitTable(s.ctx, svc.UID, "listeners "+want[2]+" instead of UDP:80", func(table map[Listener][]Target) bool {
		return slices.Equal(listeners(table), want)
	})
	s.must(err)
	s.weights(svc.UID, map[string]int{"n1": 10})
	targets := ports(address)
	s.ask(targets[0], 10)
	targets[0].Addr = address + ":9090"
	s.ask(targets[0], 10)
}

func TestPolicyFollowsTheService(t *testing.T) {
	s := begin(t)
	s.deploy("n1", 1)
	svc, address := s.create()
	s.weights(svc.UID, map[string]int{"n1": 10, "n2": 10, "n3": 10})
	_, err := s.ChangeService(s.ctx, s.ns, svc.Name, func(svc *corev1.Service) { Local(svc); Annotate(OnlyBind, "true")(svc) })
	s.must(err)
	s.weights(svc.UID, map[string]int{"n1": 10})
	for _, target := range ports(address) {
		s.sawOnly(target, s.ask(target, 10), clientIP)
	}
	_, err = s.ChangeService(s.ctx, s.ns, svc.Name, func(svc *corev1.Service) {
		svc.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyCluster
	})
	s.must(err)
	s.weights(svc.UID, map[string]int{"n1": 10, "n2": 10, "n3": 10})
	for _, target := range ports(address) {
		if r := s.ask(target, 10); r.Peers[clientIP] > 0 {
			t.Errorf("%s: under Cluster the pod still saw the client", target)
		}
	}
}

func TestDeletionLeavesNothing(t *testing.T) {
	s := begin(t)
	s.deploy("n1", 1)
	svc, address := s.create()
	s.weights(svc.UID, map[string]int{"n1": 10, "n2": 10, "n3": 10})
	// While CLB has not deleted the load balancer, the Service must stay: it is the only thing that knows of it.
	held, err := s.CLB.AddFault(s.ctx, admin.Fault{Action: "DeleteLoadBalancer", Kind: admin.KindHoldBefore})
	s.must(err)
	since := s.mark()
	s.delete(svc.Name)
	_, err = s.CLB.WaitCall(s.ctx, since, func(c admin.Call) bool { return c.Action == "DeleteLoadBalancer" })
	s.must(err)
	now, err := s.Client.CoreV1().Services(s.ns).Get(s.ctx, svc.Name, metav1.GetOptions{})
	s.must(err)
	if now.DeletionTimestamp == nil || !slices.Contains(now.Finalizers, Finalizer) {
		t.Errorf("while the load balancer is being deleted, the Service has finalizers %v, want %s", now.Finalizers, Finalizer)
	}
	s.must(s.CLB.ClearFaults(s.ctx, held))
	s.gone(svc)
	for _, target := range ports(address) {
		if r := s.Probe(shortWait).Share(s.ctx, target, 2); r.Answered > 0 {
			t.Errorf("%s still answers: %s", target, r)
		}
	}
}

func TestAnotherTypeTakesTheLoadBalancerAway(t *testing.T) {
	s := begin(t)
	s.deploy("n1", 1)
	svc, _ := s.create()
	_, err := s.ChangeService(s.ctx, s.ns, svc.Name, func(svc *corev1.Service) {
		svc.Spec.Type = corev1.ServiceTypeClusterIP
		svc.Spec.ExternalTrafficPolicy = ""
	})
	s.must(err)
	s.must(s.AwaitGone(s.ctx, svc.UID))
	_, err = s.AwaitService(s.ctx, s.ns, svc.Name, "neither finalizer, nor address, nor load balancer ID", func(svc *corev1.Service) bool {
		return !slices.Contains(svc.Finalizers, Finalizer) && len(svc.Status.LoadBalancer.Ingress) == 0 && svc.Annotations[LoadBalancerID] == ""
	})
	s.must(err)
}
