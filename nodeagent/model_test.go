// SPDX-License-Identifier: Apache-2.0

package nodeagent

import (
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Whatever the model remembers, it says what a model without memory says; also of Services that no API server would take.
func TestMemoryChangesNothing(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 12))
	for _, family := range []corev1.IPFamily{corev1.IPv4Protocol, corev1.IPv6Protocol} {
		model, s := NewModel(family), snapshot()
		for round := range 400 {
			for range random.IntN(4) {
				alter(random, &s)
			}
			anew := Snapshot{NodeName: s.NodeName, Node: s.Node, Services: slices.Clone(s.Services), Slices: slices.Clone(s.Slices), Gated: s.Gated}
			random.Shuffle(len(anew.Services), func(i, j int) { anew.Services[i], anew.Services[j] = anew.Services[j], anew.Services[i] })
			random.Shuffle(len(anew.Slices), func(i, j int) { anew.Slices[i], anew.Slices[j] = anew.Slices[j], anew.Slices[i] })
			diff := cmp.Diff(Desired(anew, family), model.Desired(s), cmp.AllowUnexported(Endpoint{}), cmpAddr,
				cmp.Comparer(func(a, b netip.Addr) bool { return a == b }))
			if diff != "" {
				t.Fatalf("round %d (-without memory +with):\n%s", round, diff)
			}
		}
	}
}

// alter does one thing to a snapshot that may happen to it.
func alter(r *rand.Rand, s *Snapshot) {
	name := fmt.Sprintf("s%d", r.IntN(12))
	s.Services = slices.DeleteFunc(s.Services, func(o *corev1.Service) bool { return o.Name == name && r.IntN(2) == 0 })
	switch r.IntN(6) {
	case 0:
		node := *s.Node
		node.Labels = map[string]string{corev1.LabelTopologyZone: []string{"z1", "z2"}[r.IntN(2)]}
		s.Node = &node
	case 3:
		s.Gated = map[types.UID]bool{oneOf[types.UID](r, "p", "q"): true, oneOf[types.UID](r, "p", "q"): true}
		if r.IntN(3) == 0 {
			s.Gated = nil
		}
	case 1, 2:
		if !slices.ContainsFunc(s.Services, func(o *corev1.Service) bool { return o.Name == name }) {
			s.Services = append(s.Services, oddService(r, name))
		}
	default:
		if len(s.Slices) > 0 && r.IntN(3) == 0 {
			s.Slices = slices.Delete(s.Slices, 0, 1)
		}
		s.Slices = append(s.Slices, oddSlice(r, name))
	}
}

func oneOf[T any](r *rand.Rand, list ...T) T { return list[r.IntN(len(list))] }

// oddService has what Services have, and what they must not have.
func oddService(r *rand.Rand, name string) *corev1.Service {
	s := service(name, nodePort(int32(30000+r.IntN(20))))
	s.Spec.Type = oneOf(r, corev1.ServiceTypeNodePort, corev1.ServiceTypeLoadBalancer, corev1.ServiceTypeLoadBalancer, corev1.ServiceTypeClusterIP, corev1.ServiceTypeExternalName)
	s.Spec.ExternalTrafficPolicy = oneOf(r, corev1.ServiceExternalTrafficPolicyLocal, corev1.ServiceExternalTrafficPolicyCluster, "Nowhere", "")
	s.Spec.HealthCheckNodePort = oneOf(r, 0, 32000, int32(32000+r.IntN(3)), -1, 65536, math.MaxInt32)
	for range r.IntN(4) {
		s.Spec.Ports = append(s.Spec.Ports, corev1.ServicePort{
			Name:     oneOf(r, "", "http", "http", strings.Repeat("n", 63), "a\"b\nc", "ü"),
			NodePort: oneOf(r, 0, int32(30000+r.IntN(20)), -1, 1, 65535, 65536, math.MaxInt32, math.MinInt32),
			Protocol: oneOf(r, "", corev1.ProtocolTCP, corev1.ProtocolUDP, corev1.ProtocolSCTP, "ICMP"),
		})
	}
	if r.IntN(3) == 0 {
		seconds := oneOf[int32](r, 0, -1, 10800, math.MaxInt32)
		s.Spec.SessionAffinity = corev1.ServiceAffinityClientIP
		s.Spec.SessionAffinityConfig = &corev1.SessionAffinityConfig{ClientIP: &corev1.ClientIPConfig{TimeoutSeconds: &seconds}}
	}
	return s
}

// oddSlice lies in all ways that a slice can.
func oddSlice(r *rand.Rand, service string) *discoveryv1.EndpointSlice {
	var endpoints []string
	for range r.IntN(5) {
		address := oneOf(r, "10.244.1.10", "10.244.1.11", "10.244.2.10", "fd00:244:1::10", "127.0.0.1", "0.0.0.0", "::", "224.0.0.1", "no-address", "10.244.1.999", "010.244.1.10")
		endpoints = append(endpoints, address+oneOf(r, "@n1", "@n2", "")+" "+oneOf(r, "rs", "st", "t", "-", "rst")+oneOf(r, "", " zone=z1", " node=n1", " zone=z2")+oneOf(r, "", " pod=p", " pod=q"))
	}
	s := slice(service, endpoints...)
	s.AddressType = oneOf(r, discoveryv1.AddressTypeIPv4, discoveryv1.AddressTypeIPv4, discoveryv1.AddressTypeIPv6, discoveryv1.AddressTypeFQDN)
	name, port, protocol := oneOf(r, "", "http", strings.Repeat("n", 63)), oneOf[int32](r, 8080, 80, 0, -1, 65536), oneOf[corev1.Protocol](r, corev1.ProtocolTCP, corev1.ProtocolUDP, "ICMP", "")
	s.Ports = append(s.Ports, discoveryv1.EndpointPort{Name: &name, Port: &port, Protocol: &protocol})
	if r.IntN(5) == 0 {
		s.Ports = append(s.Ports, discoveryv1.EndpointPort{})
		s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{})
	}
	return s
}

// Of five thousand Services one changes: the others' endpoints are not read again.
func TestModelWorksOutOnlyWhatChanged(t *testing.T) {
	var objects []any
	for i := range 500 {
		name := fmt.Sprintf("s%03d", i)
		objects = append(objects, service(name, nodePort(int32(30000+i))), slice(name, "10.244.1.10@n1 rs", "10.244.2.10@n2 rs"))
	}
	s, model := snapshot(objects...), NewModel(corev1.IPv4Protocol)
	before := model.Desired(s)
	s.Slices[7] = slice("s007", "10.244.1.11@n1 rs")
	after := model.Desired(s)
	fresh := 0
	for i := range after.Ports {
		if &after.Ports[i].Endpoints[0] != &before.Ports[i].Endpoints[0] {
			fresh++
		}
	}
	if got := hosts(after.Ports[7].ClusterEndpoints); fresh != 1 || got != "10.244.1.11" {
		t.Errorf("%d Services were worked out, and the changed one has %s; want 1 and 10.244.1.11", fresh, got)
	}
}

// No input makes the model panic, and what it returns is sound.
func FuzzModel(f *testing.F) {
	for seed := range uint64(8) {
		f.Add(seed, seed*7, "name", int32(30000), "10.0.0.1", int32(8080))
	}
	f.Fuzz(func(t *testing.T, a, b uint64, name string, port int32, address string, target int32) {
		r, s := rand.New(rand.NewPCG(a, b)), snapshot()
		for range r.IntN(30) {
			alter(r, &s)
		}
		odd, lie := oddService(r, name), oddSlice(r, name)
		odd.Spec.Ports[0].NodePort, odd.Spec.Ports[0].Name = port, name
		odd.Spec.ClusterIPs = append(odd.Spec.ClusterIPs, address)
		lie.Endpoints = append(lie.Endpoints, discoveryv1.Endpoint{Addresses: []string{address}})
		lie.Ports[0].Port = &target
		s.Services, s.Slices = append(s.Services, odd), append(s.Slices, lie)
		for _, family := range []corev1.IPFamily{corev1.IPv4Protocol, corev1.IPv6Protocol} {
			checkSound(t, Desired(s, family), family)
		}
	})
}

// checkSound holds the promises of Services and Rules that renderers build on.
func checkSound(t *testing.T, services Services, family corev1.IPFamily) {
	t.Helper()
	ports, names := map[string]bool{}, map[ServicePortName]bool{}
	for _, p := range services.Ports {
		key := fmt.Sprintf("%d/%s", p.NodePort, p.Name.Protocol)
		if p.NodePort == 0 || ports[key] || names[p.Name] || p.Affinity < 0 || p.Affinity > 24*time.Hour {
			t.Errorf("port %s of %s: 0, or taken twice, or of an affinity of %v", key, p.Name, p.Affinity)
		}
		ports[key], names[p.Name] = true, true
		for _, e := range p.Endpoints {
			if e.Address.Port() == 0 || e.Address.Addr().Is4() != (family == corev1.IPv4Protocol) || e.Address.Addr().IsLoopback() {
				t.Errorf("%s has the endpoint %s in %s", p.Name, e.Address, family)
			}
		}
	}
	for _, f := range NewRules(family, services, Settings{}).Frontends {
		for _, step := range f.Steps {
			if len(f.Pool(step.To)) == 0 {
				t.Errorf("%s sends to a pool without endpoints", f.Name)
			}
		}
	}
}
