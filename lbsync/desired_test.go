// SPDX-License-Identifier: Apache-2.0

package lbsync

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"github.com/clbsync/clbsync/internal/kubetest"
)

func TestScale(t *testing.T) {
	for name, test := range map[string]struct {
		pods, want []int
		weighted   bool
	}{
		"equal weights, whatever the pods":                 {[]int{1, 7}, []int{10, 10}, false},
		"the number of pods, while all fit":                {[]int{1, 3, 100}, []int{1, 3, 100}, true},
		"above 100 the share, rounded":                     {[]int{200, 101, 50}, []int{100, 51, 25}, true},
		"never 0: that would cut the node off":             {[]int{1000, 1}, []int{100, 1}, true},
		"a node that serves by terminating pods only: 1":   {[]int{0}, []int{1}, true},
		"largest cluster that Kubernetes supports, by far": {[]int{150000, 75000}, []int{100, 50}, true},
	} {
		var pods []bound
		for _, n := range test.pods {
			pods = append(pods, bound{candidate: &candidate{}, weight: n})
		}
		scale(pods, test.weighted)
		var got []int
		for _, b := range pods {
			got = append(got, b.weight)
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestInstanceID(t *testing.T) {
	for providerID, want := range map[string]string{
		"qcloud:///100003/ins-abcd1234":           "ins-abcd1234",
		"tencentcloud:///ap-guangzhou-3/ins-abcd": "ins-abcd",
		"tencentcloud://ins-abcd1234":             "ins-abcd1234",
		"tencentcloud://kn-abcd1234":              "native",
		"k3s://n1":                                "label",
		"aws:///zone/ins-abcd1234":                "label",
		"qcloud:///100003/":                       "label",
		"ins-abcd1234":                            "label",
		"":                                        "label",
		"qcloud:///100003/lhins-abcd1234":         "label",
	} {
		node := kubetest.Node(1, func(n *corev1.Node) { n.Spec.ProviderID = providerID })
		node.Labels[labelInstanceID] = "ins-label000"
		got, native := InstanceID(node)
		switch {
		case native:
			got = "native"
		case got == "ins-label000":
			got = "label"
		}
		if got != want {
			t.Errorf("providerID %q: %q, want %q", providerID, got, want)
		}
	}
}

func TestLookupAddress(t *testing.T) {
	if ip, ok := LookupAddress(kubetest.Node(1)); ok {
		t.Errorf("a node that names its instance is looked up by %s", ip)
	}
	unnamed := kubetest.Node(1, func(n *corev1.Node) {
		n.Spec.ProviderID = ""
		n.Status.Addresses = append([]corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "fd00::1"}, {Type: corev1.NodeHostName, Address: "n1"}}, n.Status.Addresses...)
	})
	if ip, ok := LookupAddress(unnamed); !ok || ip.String() != "10.0.0.1" {
		t.Errorf("address %v, %v; want the IPv4 InternalIP 10.0.0.1", ip, ok)
	}
}

func TestWants(t *testing.T) {
	class := func(c string) func(*corev1.Service) {
		return func(s *corev1.Service) { s.Spec.LoadBalancerClass = &c }
	}
	nothing := func(*corev1.Service) {}
	for name, test := range map[string]struct {
		mod             func(*corev1.Service)
		want, classOnly bool
	}{
		"no class":                 {nothing, true, false},
		"our class":                {class(LoadBalancerClass), true, false},
		"another class":            {class("example.com/lb"), false, false},
		"a type that has no CLB":   {func(s *corev1.Service) { s.Spec.Type = corev1.ServiceTypeNodePort }, false, false},
		"no class, by class only":  {nothing, false, true},
		"our class, by class only": {class(LoadBalancerClass), true, true},
	} {
		svc := kubetest.Service("web", test.mod)
		if got := (Settings{ClassOnly: test.classOnly}).Wants(svc); got != test.want {
			t.Errorf("%s: wants is %v, want %v", name, got, test.want)
		}
	}
}

func TestSettings(t *testing.T) {
	if err := DefaultSettings().Validate(); err != nil {
		t.Errorf("the defaults are refused: %v", err)
	}
	bad := DefaultSettings()
	bad.Check.Interval, bad.Check.Timeout, bad.Check.Healthy = 1500*time.Millisecond, 61*time.Second, 11
	bad.Timing.Poll = 0
	err := bad.Validate()
	if err == nil {
		t.Fatal("no error")
	}
	for _, field := range []string{"healthCheck.interval is 1.5s", "whole seconds", "healthCheck.timeout is 1m1s", "healthCheck.healthy is 11, want 2 to 10", "handover.poll is 0s"} {
		if !strings.Contains(err.Error(), field) {
			t.Errorf("%q does not say %q", err, field)
		}
	}
}

func TestIngress(t *testing.T) {
	mode := corev1.LoadBalancerIPModeVIP
	i := Instance{Domain: "lb-1.clb.tencentclb.com"}
	if diff := cmp.Diff([]corev1.LoadBalancerIngress{{Hostname: "lb-1.clb.tencentclb.com"}}, Ingress(i, "")); diff != "" {
		t.Errorf("a CLB with a domain (-want +got):\n%s", diff)
	}
	i.VIPs = append(i.VIPs, netip.MustParseAddr("203.0.113.1"))
	if diff := cmp.Diff([]corev1.LoadBalancerIngress{{IP: "203.0.113.1", IPMode: &mode}}, Ingress(i, "")); diff != "" {
		t.Errorf("a CLB with an address (-want +got):\n%s", diff)
	}
	proxy := corev1.LoadBalancerIPModeProxy
	if diff := cmp.Diff([]corev1.LoadBalancerIngress{{IP: "203.0.113.1", IPMode: &proxy}}, Ingress(i, "Proxy")); diff != "" {
		t.Errorf("a chosen mode (-want +got):\n%s", diff)
	}
	if got := Ingress(Instance{}, ""); got != nil {
		t.Errorf("no CLB: %v", got)
	}
}

func TestInstanceNameFits(t *testing.T) {
	svc := kubetest.Service(strings.Repeat("a", 63), func(s *corev1.Service) { s.Namespace = strings.Repeat("b", 63) })
	lb, _ := Desired(Snapshot{Settings: Settings{ClusterID: "cls-demo"}, Services: []Service{{Service: svc}}})
	if len(lb.Instance.Name) != 80 {
		t.Errorf("name of %d characters: CLB takes 1 to 80: %s", len(lb.Instance.Name), lb.Instance.Name)
	}
}

// A Service in a cluster of 1,000 nodes: what one decision costs.
func BenchmarkDesiredAndNext(b *testing.B) {
	nodes := kubetest.Nodes(1000)
	svc := Service{Service: kubetest.Service("web")}
	snapshot := Snapshot{Settings: DefaultSettings(), Services: []Service{svc}, Nodes: nodes}
	actual, _ := Desired(snapshot)
	snapshot.Nodes = nodes[1:]
	for b.Loop() {
		desired, _ := Desired(snapshot)
		if step := Next(actual, desired, Observation{}, snapshot.Settings.Timing); len(step.Waits) != 1 {
			b.Fatal(step)
		}
	}
}
