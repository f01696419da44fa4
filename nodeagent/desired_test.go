// SPDX-License-Identifier: Apache-2.0

package nodeagent

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	hereA, hereB, away, awayB = "10.244.1.10@n1", "10.244.1.11@n1", "10.244.2.10@n2", "10.244.2.11@n2"
)

func TestDesiredEndpoints(t *testing.T) {
	for _, test := range []struct {
		name           string
		endpoints      []string
		cluster, local string
	}{
		{"ready endpoints serve, and those here serve Local", []string{hereA + " rs", away + " rs"}, "10.244.1.10 10.244.2.10", "10.244.1.10"},
		{"conditions that are not set count as ready", []string{hereA}, "10.244.1.10", "10.244.1.10"},
		{"an endpoint without a node is never local", []string{"10.244.1.10 rs"}, "10.244.1.10", ""},
		{"not ready endpoints serve nothing", []string{hereA + " -x", away + " -x"}, "", ""},
		{"terminating ones help out only when none is ready", []string{hereA + " st", away + " rs"}, "10.244.2.10", "10.244.1.10"},
		{"terminating ones that no longer serve do not", []string{hereA + " t", away + " rs"}, "10.244.2.10", ""},
		{"Local has its own fallback", []string{hereA + " st", hereB + " rs"}, "10.244.1.11", "10.244.1.11"},
		{"all terminating: all still serve", []string{hereA + " st", away + " st", awayB + " t"}, "10.244.1.10 10.244.2.10", "10.244.1.10"},
		{"zone hints are followed, but not by Local", []string{hereA + " rs zone=z2", away + " rs zone=z1"}, "10.244.2.10", "10.244.1.10"},
		{"an endpoint without a hint makes hints void", []string{hereA + " rs", away + " rs zone=z1"}, "10.244.1.10 10.244.2.10", "10.244.1.10"},
		{"hints that name other zones only are void", []string{hereA + " rs zone=z2", away + " rs zone=z3"}, "10.244.1.10 10.244.2.10", "10.244.1.10"},
		{"hints of endpoints that are not ready do not count", []string{hereA + " rs zone=z1", away + " -x", awayB + " rs zone=z2"}, "10.244.1.10", "10.244.1.10"},
		{"node hints go before zone hints", []string{hereA + " rs zone=z2 node=n1", away + " rs zone=z1 node=n2"}, "10.244.1.10", "10.244.1.10"},
		{"node hints for others leave the zone hints", []string{hereA + " rs zone=z2 node=n2", away + " rs zone=z1 node=n3"}, "10.244.2.10", "10.244.1.10"},
		{"a hint does not bring an endpoint back that is not ready", []string{hereA + " st zone=z1", away + " st zone=z2"}, "10.244.1.10 10.244.2.10", "10.244.1.10"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := Desired(snapshot(service("s", local), slice("s", test.endpoints...)), corev1.IPv4Protocol)
			if len(got.Ports) != 1 {
				t.Fatalf("got %d ports, want 1", len(got.Ports))
			}
			if diff := cmp.Diff([]string{test.cluster, test.local}, []string{hosts(got.Ports[0].ClusterEndpoints), hosts(got.Ports[0].LocalEndpoints)}); diff != "" {
				t.Errorf("cluster and local endpoints (-want +got):\n%s", diff)
			}
			clusterOnly := Desired(snapshot(service("s"), slice("s", test.endpoints...)), corev1.IPv4Protocol)
			if clusterOnly.Ports[0].LocalEndpoints != nil || hosts(clusterOnly.Ports[0].ClusterEndpoints) != test.cluster {
				t.Errorf("policy Cluster: got %+v, want cluster endpoints %q and no local ones", clusterOnly.Ports[0], test.cluster)
			}
		})
	}
}

func TestDesiredServices(t *testing.T) {
	for _, test := range []struct {
		name string
		mod  func(*corev1.Service)
		v4   bool
		v6   bool
	}{
		{"a dual-stack Service has its port in both families", func(*corev1.Service) {}, true, true},
		{"a Service has no port in a family without a cluster IP", func(s *corev1.Service) { s.Spec.ClusterIPs = []string{"fd00:96::1"} }, false, true},
		{"an old Service without clusterIPs counts by clusterIP", func(s *corev1.Service) { s.Spec.ClusterIPs = nil }, true, false},
		{"headless is skipped", func(s *corev1.Service) { s.Spec.ClusterIP = "None" }, false, false},
		{"no cluster IP is skipped", func(s *corev1.Service) { s.Spec.ClusterIP = "" }, false, false},
		{"ExternalName is skipped", func(s *corev1.Service) { s.Spec.Type = corev1.ServiceTypeExternalName }, false, false},
		{"another proxy's Service is skipped, whatever the label says", func(s *corev1.Service) { s.Labels = map[string]string{LabelServiceProxyName: ""} }, false, false},
		{"a port without node port is skipped", nodePort(0), false, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := snapshot(service("s", test.mod))
			v4, v6 := Desired(s, corev1.IPv4Protocol), Desired(s, corev1.IPv6Protocol)
			if (len(v4.Ports) == 1) != test.v4 || (len(v6.Ports) == 1) != test.v6 {
				t.Errorf("got %d IPv4 and %d IPv6 ports, want %v and %v", len(v4.Ports), len(v6.Ports), test.v4, test.v6)
			}
			if len(v4.Skips)+len(v6.Skips) > 0 {
				t.Errorf("nothing here is a fault, got skips %v %v", v4.Skips, v6.Skips)
			}
		})
	}
}

func TestDesiredMatchesPortsByNameAndProtocol(t *testing.T) {
	s := service("s", func(s *corev1.Service) {
		s.Spec.Ports = []corev1.ServicePort{
			{Name: "dns", Port: 53, NodePort: 30053, Protocol: corev1.ProtocolUDP},
			{Name: "web", Port: 80, NodePort: 30080, Protocol: corev1.ProtocolTCP},
			{Name: "web", Port: 80, NodePort: 30080, Protocol: corev1.ProtocolUDP},
		}
	})
	sl := slice("s", hereA)
	web := "web"
	sl.Ports[0].Name = &web
	got := Desired(snapshot(s, sl), corev1.IPv4Protocol)
	var lines []string
	for _, p := range got.Ports {
		lines = append(lines, p.Name.String()+"/"+string(p.Name.Protocol)+" "+hosts(p.ClusterEndpoints))
	}
	want := []string{"ns/s:web/TCP 10.244.1.10", "ns/s:dns/UDP ", "ns/s:web/UDP "}
	if diff := cmp.Diff(want, lines); diff != "" {
		t.Errorf("ports (-want +got):\n%s", diff)
	}
}

func TestDesiredContradictingSlices(t *testing.T) {
	for _, order := range [][]string{{hereA + " st", hereA + " rs"}, {hereA + " rs", hereA + " st"}} {
		got := Desired(snapshot(service("s", local), slice("s", order[0]), slice("s", order[1])), corev1.IPv4Protocol)
		if e := got.Ports[0].Endpoints; len(e) != 1 || !e[0].Ready || e[0].Terminating {
			t.Errorf("slices %q: got %+v, want the endpoint that does not terminate", order, e)
		}
	}
}

func TestDesiredSkips(t *testing.T) {
	badPort := func(s *corev1.Service) { s.Spec.Ports[0].NodePort = 70000 }
	badProtocol := func(s *corev1.Service) { s.Spec.Ports[0].Protocol = "QUIC" }
	lying := slice("liar", "127.0.0.1@n1", "fd00:1::1@n1", "224.0.0.1", "nonsense", hereA)
	lying.AddressType = discoveryv1.AddressTypeIPv4
	port := int32(99999)
	name := "big"
	lying.Ports = append(lying.Ports, discoveryv1.EndpointPort{Name: &name, Port: &port}, discoveryv1.EndpointPort{})
	got := Desired(snapshot(
		service("badport", badPort), service("badprotocol", badProtocol),
		service("first", nodePort(30010), local, healthPort(31000)), service("second", nodePort(30010), local, healthPort(31000)),
		service("liar", nodePort(30020), local, healthPort(-1)), lying,
	), corev1.IPv4Protocol)
	var ports []string
	for _, p := range got.Ports {
		ports = append(ports, p.Name.Name+" "+hosts(p.ClusterEndpoints))
	}
	if diff := cmp.Diff([]string{"first ", "liar 10.244.1.10"}, ports); diff != "" {
		t.Errorf("what is sound must stay (-want +got):\n%s", diff)
	}
	want := []Skip{
		{"EndpointSlice ns/" + lying.Name, `address "127.0.0.1" is no usable IPv4 address`},
		{"EndpointSlice ns/" + lying.Name, `address "224.0.0.1" is no usable IPv4 address`},
		{"EndpointSlice ns/" + lying.Name, `address "fd00:1::1" is no usable IPv4 address`},
		{"EndpointSlice ns/" + lying.Name, `address "nonsense" is no usable IPv4 address`},
		{"EndpointSlice ns/" + lying.Name, `port "big" is 99999/TCP, not within 1-65535 or none of TCP, UDP, SCTP`},
		{"Service ns/badport", `nodePort 70000 of port "" is not within 1-65535`},
		{"Service ns/badprotocol", `protocol "QUIC" of port "" is none of TCP, UDP, SCTP`},
		{"Service ns/liar", `healthCheckNodePort -1 is not within 1-65535`},
		{"Service ns/second", `healthCheckNodePort 31000 belongs to ns/first`},
		{"Service ns/second", `nodePort 30010/TCP of port "" belongs to ns/first`},
	}
	if diff := cmp.Diff(want, got.Skips); diff != "" {
		t.Errorf("skips (-want +got):\n%s", diff)
	}
}

func TestDesiredHealth(t *testing.T) {
	twoPorts := func(s *corev1.Service) {
		s.Spec.Ports = append(s.Spec.Ports, corev1.ServicePort{Name: "b", Port: 81, NodePort: 30002, Protocol: corev1.ProtocolUDP})
	}
	both := slice("s", hereA+" rs", hereB+" st", away+" rs")
	name, udp, port := "b", corev1.ProtocolUDP, int32(9090)
	both.Ports = append(both.Ports, discoveryv1.EndpointPort{Name: &name, Protocol: &udp, Port: &port})
	for _, test := range []struct {
		name    string
		service *corev1.Service
		slice   *discoveryv1.EndpointSlice
		want    []int
	}{
		{"an address counts once over all ports; terminating and remote ones do not", service("s", local, healthPort(31000), twoPorts), both, []int{1}},
		{"no local endpoint is a count of 0, not no answer", service("s", local, healthPort(31000)), slice("s", away), []int{0}},
		{"a NodePort Service has no health port", service("s", local, healthPort(31000), func(s *corev1.Service) { s.Spec.Type = corev1.ServiceTypeNodePort }), both, nil},
		{"policy Cluster has no health port", service("s", healthPort(31000)), both, nil},
		{"port 0 is none", service("s", local, healthPort(0)), both, nil},
		{"each family counts its own endpoints", service("s", local, healthPort(31000)), slice("s", "fd00:244:1::10@n1"), []int{0}},
	} {
		t.Run(test.name, func(t *testing.T) {
			var got []int
			for _, h := range Desired(snapshot(test.service, test.slice), corev1.IPv4Protocol).Health {
				if h.Port != 31000 || h.Service.Name != "s" {
					t.Errorf("got %+v, want port 31000 of ns/s", h)
				}
				got = append(got, len(h.Addresses))
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("counts (-want +got):\n%s", diff)
			}
		})
	}
}

func TestDesiredAffinity(t *testing.T) {
	seconds := int32(90)
	clientIP := func(c *corev1.SessionAffinityConfig) func(*corev1.Service) {
		return func(s *corev1.Service) {
			s.Spec.SessionAffinity, s.Spec.SessionAffinityConfig = corev1.ServiceAffinityClientIP, c
		}
	}
	for _, test := range []struct {
		name string
		mod  func(*corev1.Service)
		want time.Duration
	}{
		{"none by default", func(*corev1.Service) {}, 0},
		{"the time-out of the Service", clientIP(&corev1.SessionAffinityConfig{ClientIP: &corev1.ClientIPConfig{TimeoutSeconds: &seconds}}), 90 * time.Second},
		{"the API's default where the Service says nothing", clientIP(nil), 3 * time.Hour},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := Desired(snapshot(service("s", test.mod)), corev1.IPv4Protocol).Ports[0].Affinity; got != test.want {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
}

func TestDesiredIgnoresForeignSlices(t *testing.T) {
	other := slice("s", awayB)
	other.Namespace = "elsewhere"
	headless := slice("s", hereB)
	headless.Labels[corev1.IsHeadlessService] = ""
	orphan := slice("s", awayB)
	orphan.Labels = nil
	got := Desired(snapshot(service("s"), other, headless, orphan, slice("s", hereA)), corev1.IPv4Protocol)
	if h := hosts(got.Ports[0].ClusterEndpoints); h != "10.244.1.10" {
		t.Errorf("got endpoints %q, want only the Service's own", h)
	}
}

func TestDesiredDoesNotDependOnOrder(t *testing.T) {
	objects := []any{
		service("a", nodePort(30001), local, healthPort(31001)), service("b", nodePort(30001)), service("c", nodePort(30002), local, healthPort(31001)),
		slice("a", hereA+" rs", away), slice("a", hereA+" st"), slice("b", hereB), slice("c", away, awayB),
	}
	want := Desired(snapshot(objects...), corev1.IPv4Protocol)
	slices.Reverse(objects)
	if diff := cmp.Diff(want, Desired(snapshot(objects...), corev1.IPv4Protocol), cmp.AllowUnexported(Endpoint{}), cmpAddr, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Errorf("reversed input changes the result (-forward +reversed):\n%s", diff)
	}
}

func TestServicePortNameString(t *testing.T) {
	long := strings.Repeat("x", 63)
	for _, test := range []struct{ name, port, want string }{{"s", "", "ns/s"}, {"s", "web", "ns/s:web"}, {long, long, "ns/" + long + ":" + long}} {
		n := ServicePortName{Port: test.port}
		n.Namespace, n.Name = "ns", test.name
		if n.String() != test.want {
			t.Errorf("got %q, want %q", n, test.want)
		}
	}
}

func TestDesiredZoneFromNode(t *testing.T) {
	s := snapshot(service("s"), slice("s", hereA+" rs zone=z1", away+" rs zone=z2"))
	s.Node = nil
	if got := hosts(Desired(s, corev1.IPv4Protocol).Ports[0].ClusterEndpoints); got != "10.244.1.10 10.244.2.10" {
		t.Errorf("without a Node object: got %q, want all endpoints", got)
	}
	s.Node = &corev1.Node{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{corev1.LabelTopologyZone: "z2"}}}
	if got := hosts(Desired(s, corev1.IPv4Protocol).Ports[0].ClusterEndpoints); got != "10.244.2.10" {
		t.Errorf("in zone z2: got %q, want the endpoint of z2", got)
	}
}
