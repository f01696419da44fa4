// SPDX-License-Identifier: Apache-2.0

package lbsync

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/clbsync/clbsync/internal/kubetest"
	"github.com/clbsync/clbsync/lbsync/annotation"
)

// gateCase is a pod "p" on node n1 that waits for its gate, in a cluster of three nodes, and a Service. Unless
// it says otherwise, CLB has what it should, all healthy.
type gateCase struct {
	name      string
	service   func(*corev1.Service)
	endpoints []discoveryv1.Endpoint
	nodeAgent bool
	unsure    bool
	waited    time.Duration
	deadline  time.Duration
	node      string // of the pod, if not n1
	nodes     func([]*corev1.Node)
	quota     int
	clb       func(*LoadBalancer, map[Binding]Health)

	reason Reason
	says   string
}

// gated is the endpoint of the pod that waits.
var gated = kubetest.OfPod(kubetest.Unready("n1", "10.1.1.1"), "p")

func (c gateCase) decide(now time.Time) Gate {
	settings := DefaultSettings()
	settings.ClusterID = "cls-demo"
	settings.Gate.NodeAgent, settings.Gate.Deadline = c.nodeAgent, c.deadline
	object := kubetest.Service("web")
	if c.service != nil {
		c.service(object)
	}
	options, problems := annotation.Parse(object.Annotations)
	slice := kubetest.Slice("web", c.endpoints...)
	slice.Ports[0].Protocol = &object.Spec.Ports[0].Protocol
	svc := Service{Service: object, Slices: []*discoveryv1.EndpointSlice{slice}, Options: options, Problems: problems}
	if c.nodeAgent {
		svc.Gated = map[types.UID]bool{"p": true}
	}
	s := Snapshot{Settings: settings, Services: []Service{svc}, Nodes: kubetest.Nodes(3), TargetQuota: c.quota}
	if c.nodes != nil {
		c.nodes(s.Nodes)
	}
	actual, _ := Desired(s)
	health := map[Binding]Health{}
	for b := range actual.Targets {
		health[b] = Healthy
	}
	if c.clb != nil {
		c.clb(&actual, health)
	}
	view := s.GateService(svc, actual, c.unsure)
	view.Health = health
	node := c.node
	if node == "" {
		node = "n1"
	}
	return DecideGate(GatedPod{Node: node, Since: now.Add(-c.waited)}, []GateService{view}, now, settings)
}

func localService(mods ...func(*corev1.Service)) func(*corev1.Service) {
	return func(s *corev1.Service) {
		for _, mod := range append([]func(*corev1.Service){kubetest.Local(31000)}, mods...) {
			mod(s)
		}
	}
}

var onlyBind = kubetest.Annotation(annotation.BindNodesOfPods, "true")

func udp(s *corev1.Service) { s.Spec.Ports[0].Protocol = corev1.ProtocolUDP }

// without removes the targets of a host.
func without(instance string) func(*LoadBalancer, map[Binding]Health) {
	return func(lb *LoadBalancer, _ map[Binding]Health) {
		for b := range lb.Targets {
			if b.Target.Instance == instance {
				delete(lb.Targets, b)
			}
		}
	}
}

// is sets the health of a host's targets.
func is(instance string, health Health) func(*LoadBalancer, map[Binding]Health) {
	return func(lb *LoadBalancer, healths map[Binding]Health) {
		for b := range lb.Targets {
			if b.Target.Instance == instance {
				healths[b] = health
			}
		}
	}
}

var (
	elsewhere = kubetest.Ready("n2", "10.1.2.1")
	beside    = kubetest.Ready("n1", "10.1.1.2")
	leaving   = func(nodes []*corev1.Node) {
		nodes[0].Spec.Taints = []corev1.Taint{{Key: taintAutoscaler}}
	}
)

func TestDecideGate(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	both := func(e ...discoveryv1.Endpoint) []discoveryv1.Endpoint { return append(e, gated) }
	for _, c := range []gateCase{
		{name: "under Cluster a healthy node opens it", endpoints: both(elsewhere), reason: GateHealthy, says: "default/web"},
		{name: "a target that is not probed gets traffic at once", endpoints: both(elsewhere), clb: is("ins-00000001", HealthOff), reason: GateHealthy},
		{name: "a target whose probes are not done is waited for", endpoints: both(elsewhere), clb: is("ins-00000001", HealthUnknown), reason: GateWaiting, says: "ins-00000001:30080 of TCP:80"},
		{name: "an unhealthy one is waited for", endpoints: both(elsewhere), clb: is("ins-00000001", Unhealthy), reason: GateWaiting},
		{name: "the health of other nodes does not matter", endpoints: both(elsewhere), clb: is("ins-00000002", Unhealthy), reason: GateHealthy},
		{name: "a target that is not registered is waited for", endpoints: both(elsewhere), clb: without("ins-00000001"), reason: GateWaiting, says: "is not a target"},
		{name: "one of weight 0 is", endpoints: both(elsewhere), reason: GateWaiting, says: "is not a target", clb: func(lb *LoadBalancer, _ map[Binding]Health) {
			for b := range lb.Targets {
				lb.Targets[b] = 0
			}
		}},
		{name: "a CLB that is not there yet is waited for", endpoints: both(elsewhere), reason: GateWaiting, clb: func(lb *LoadBalancer, _ map[Binding]Health) { *lb = LoadBalancer{} }},
		{name: "each listener counts", endpoints: both(elsewhere), reason: GateWaiting, says: "TCP:443",
			service: func(s *corev1.Service) {
				s.Spec.Ports = append(s.Spec.Ports, corev1.ServicePort{Name: "http", Protocol: corev1.ProtocolTCP, Port: 443, NodePort: 30443})
			},
			clb: func(_ *LoadBalancer, h map[Binding]Health) {
				h[Binding{ListenerKey{Protocol: TCP, Port: 443}, Target{Instance: "ins-00000001", Port: 30443}}] = Unhealthy
			}},
		{name: "the first pod of a Service has nobody to make a node healthy", endpoints: both(), clb: is("ins-00000001", Unhealthy), reason: GateNothing, says: "no ready pod yet"},
		{name: "node agents do not change that under Cluster", endpoints: both(), nodeAgent: true, clb: is("ins-00000001", Unhealthy), reason: GateNothing},
		{name: "a pod that is going keeps the nodes healthy", endpoints: both(kubetest.Terminating("n2", "10.1.2.1")), clb: is("ins-00000001", HealthUnknown), reason: GateWaiting},

		{name: "under Local a ready pod beside it makes the node healthy", service: localService(), endpoints: both(beside), reason: GateHealthy},
		{name: "and is waited for with it", service: localService(), endpoints: both(beside), clb: is("ins-00000001", HealthUnknown), reason: GateWaiting},
		{name: "alone on its node it would wait for itself", service: localService(), endpoints: both(elsewhere), clb: is("ins-00000001", Unhealthy), reason: GateNothing, says: "no other ready pod"},
		{name: "beside one that is going, too: the health port does not count that", service: localService(), endpoints: both(elsewhere, kubetest.Terminating("n1", "10.1.1.2")), clb: is("ins-00000001", Unhealthy), reason: GateNothing},
		{name: "alone, with only the nodes of pods bound", service: localService(onlyBind), endpoints: both(elsewhere), reason: GateNothing},
		{name: "alone, for UDP", service: localService(udp), endpoints: both(elsewhere), reason: GateNothing},
		{name: "a pod whose endpoint is ready before it waits for nobody but CLB", service: localService(func(s *corev1.Service) { s.Spec.PublishNotReadyAddresses = true }),
			endpoints: []discoveryv1.Endpoint{kubetest.OfPod(beside, "p")}, clb: is("ins-00000001", HealthUnknown), reason: GateWaiting},

		{name: "with node agents alone is enough", service: localService(), endpoints: both(elsewhere), nodeAgent: true, reason: GateHealthy},
		{name: "with node agents it is waited for alone", service: localService(), endpoints: both(elsewhere), nodeAgent: true, clb: is("ins-00000001", Unhealthy), reason: GateWaiting},
		{name: "with node agents its node is bound first", service: localService(onlyBind), endpoints: both(elsewhere), nodeAgent: true, clb: without("ins-00000001"), reason: GateWaiting, says: "is not a target"},
		{name: "with node agents UDP has its node bound early too", service: localService(udp), endpoints: both(elsewhere), nodeAgent: true, clb: is("ins-00000001", HealthOff), reason: GateHealthy},
		{name: "with node agents a pod that is no endpoint yet is waited for", service: localService(onlyBind), endpoints: []discoveryv1.Endpoint{elsewhere}, nodeAgent: true, reason: GateWaiting, says: "no endpoint"},

		{name: "a node that is to be no target is not waited for", endpoints: both(elsewhere), reason: GateNothing, says: corev1.LabelNodeExcludeBalancers,
			nodes: func(nodes []*corev1.Node) { nodes[0].Labels[corev1.LabelNodeExcludeBalancers] = "" }},
		{name: "nor one that the Service does not select", endpoints: both(elsewhere), reason: GateNothing, says: "no target of TCP:80",
			service: kubetest.Annotation(annotation.Backends, "pool=a"), nodes: func(nodes []*corev1.Node) { nodes[1].Labels["pool"] = "a" }},
		{name: "nor one that finds no room", endpoints: both(elsewhere), quota: 1, reason: GateNothing},
		{name: "nor one that drains", endpoints: both(elsewhere), nodes: leaving, reason: GateNothing, says: "about to be deleted"},
		{name: "a node whose instance is being looked up is waited for", endpoints: both(elsewhere), unsure: true, reason: GateWaiting, says: "n1",
			nodes: func(nodes []*corev1.Node) { nodes[0].Spec.ProviderID = "" }},
		{name: "one that has none is not", endpoints: both(elsewhere), reason: GateNothing, says: "no known CVM instance",
			nodes: func(nodes []*corev1.Node) { nodes[0].Spec.ProviderID = "" }},
		{name: "nor a node that nobody knows", endpoints: both(elsewhere), node: "n9", reason: GateNothing, says: "n9"},
		{name: "a Service that nobody works on is not waited for", endpoints: both(elsewhere), clb: without("ins-00000001"), reason: GateNothing, says: "10.0.0.0/33",
			service: func(s *corev1.Service) { s.Spec.LoadBalancerSourceRanges = []string{"10.0.0.0/33"} }},
		{name: "nor one without a port for CLB", endpoints: both(elsewhere), reason: GateNothing, says: "no port",
			service: func(s *corev1.Service) { s.Spec.Ports[0].Protocol = corev1.ProtocolSCTP }},

		{name: "before the deadline it is closed", endpoints: both(elsewhere), clb: is("ins-00000001", Unhealthy), waited: 2*time.Minute - time.Second, reason: GateWaiting},
		{name: "at the deadline it opens, and says what it waited for", endpoints: both(elsewhere), clb: is("ins-00000001", Unhealthy), waited: 2 * time.Minute, reason: GateDeadline, says: "ins-00000001:30080"},
		{name: "the deadline is a setting", endpoints: both(elsewhere), clb: is("ins-00000001", Unhealthy), waited: 10 * time.Second, deadline: 10 * time.Second, reason: GateDeadline, says: "10s"},
		{name: "what is healthy at the deadline is not late", endpoints: both(elsewhere), waited: time.Hour, reason: GateHealthy},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := c.decide(now)
			if got.Reason != c.reason || got.Open != (c.reason != GateWaiting) || !strings.Contains(got.Message, c.says) || got.Message == "" {
				t.Errorf("got open %v, %s: %s; want %s with %q", got.Open, got.Reason, got.Message, c.reason, c.says)
			}
			if (got.Again > 0) == got.Open || got.Again > 2*time.Second {
				t.Errorf("looks again in %s", got.Again)
			}
		})
	}
}

func TestDecideGateOverServices(t *testing.T) {
	now, settings := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), DefaultSettings()
	pod := GatedPod{Node: "n1", Since: now}
	service := func(name string, healthy bool, endpoints ...discoveryv1.Endpoint) GateService {
		svc := Service{Service: kubetest.Service(name), Slices: []*discoveryv1.EndpointSlice{kubetest.Slice(name, endpoints...)}}
		s := Snapshot{Settings: settings, Services: []Service{svc}, Nodes: kubetest.Nodes(3)}
		actual, _ := Desired(s)
		view := s.GateService(svc, actual, false)
		view.Health = map[Binding]Health{}
		for b := range actual.Targets {
			if healthy {
				view.Health[b] = Healthy
			}
		}
		return view
	}
	for name, test := range map[string]struct {
		services []GateService
		want     Reason
	}{
		"no Service is no load balancer":                        {nil, GateNoLoadBalancer},
		"all of them have to be healthy":                        {[]GateService{service("a", true, elsewhere), service("b", false, elsewhere)}, GateWaiting},
		"healthy everywhere":                                    {[]GateService{service("a", true, elsewhere), service("b", true, elsewhere)}, GateHealthy},
		"one without ready pods does not hold up the other":     {[]GateService{service("a", true, elsewhere), service("b", false)}, GateHealthy},
		"nothing to wait for in one, and waiting for the other": {[]GateService{service("a", false, elsewhere), service("b", false)}, GateWaiting},
	} {
		if got := DecideGate(pod, test.services, now, settings); got.Reason != test.want {
			t.Errorf("%s: got %s (%s), want %s", name, got.Reason, got.Message, test.want)
		}
	}
	if got := DecideGate(GatedPod{Node: "n1", Since: now.Add(500*time.Millisecond - 2*time.Minute)}, []GateService{service("a", false, elsewhere)}, now, settings); got.Again != 500*time.Millisecond {
		t.Errorf("half a second before the deadline it looks again in %s", got.Again)
	}
}

func TestGatedEndpointsAreDesired(t *testing.T) {
	gone := kubetest.OfPod(kubetest.Unready("n3", "10.1.3.1"), "p")
	for _, test := range []struct {
		name      string
		service   func(*corev1.Service)
		gated     bool
		endpoints []discoveryv1.Endpoint
		want      map[string]int // weights by instance
	}{
		{"its node is bound early", localService(onlyBind), true, []discoveryv1.Endpoint{elsewhere, gated}, map[string]int{"ins-00000001": 10, "ins-00000002": 10}},
		{"not unless node agents serve it", localService(onlyBind), false, []discoveryv1.Endpoint{elsewhere, gated}, map[string]int{"ins-00000002": 10}},
		{"it counts in weights", localService(onlyBind, kubetest.Annotation(annotation.WeightByPods, "true")), true, []discoveryv1.Endpoint{elsewhere, beside, gated}, map[string]int{"ins-00000001": 2, "ins-00000002": 1}},
		{"an unready pod without a gate does not", localService(onlyBind), true, []discoveryv1.Endpoint{elsewhere, kubetest.OfPod(kubetest.Unready("n1", "10.1.1.1"), "other")}, map[string]int{"ins-00000002": 10}},
		{"nor one that is going", localService(onlyBind), true, []discoveryv1.Endpoint{elsewhere, func() discoveryv1.Endpoint {
			e := gone
			e.Conditions.Terminating = new(true)
			return e
		}()}, map[string]int{"ins-00000002": 10}},
	} {
		t.Run(test.name, func(t *testing.T) {
			svc := kubetest.Service("web", test.service)
			options, _ := annotation.Parse(svc.Annotations)
			s := Service{Service: svc, Slices: []*discoveryv1.EndpointSlice{kubetest.Slice("web", test.endpoints...)}, Options: options}
			if test.gated {
				s.Gated = map[types.UID]bool{"p": true}
			}
			lb, _ := Desired(Snapshot{Settings: DefaultSettings(), Services: []Service{s}, Nodes: kubetest.Nodes(3)})
			got := map[string]int{}
			for b, weight := range lb.Targets {
				got[b.Target.Instance] = weight
			}
			if len(got) != len(test.want) {
				t.Fatalf("got %v, want %v", got, test.want)
			}
			for instance, weight := range test.want {
				if got[instance] != weight {
					t.Errorf("got %v, want %v", got, test.want)
				}
			}
		})
	}
}
