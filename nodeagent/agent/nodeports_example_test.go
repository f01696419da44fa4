// SPDX-License-Identifier: Apache-2.0

package agent_test

import (
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/clbsync/clbsync/nodeagent"
	"github.com/clbsync/clbsync/nodeagent/internal/nettest"
	"github.com/clbsync/clbsync/nodeagent/internal/rig"
	"github.com/clbsync/clbsync/nodeagent/iptables/chains"
)

// The example of docs/nodeports.md: shop/web under Cluster with a pod on each of two nodes, shop/api under Local with one
// pod, on n1.
const (
	webPort, apiPort, apiHealthPort = 30080, 30090, 32090
	web1, web2, api1                = "10.244.1.10:8080", "10.244.2.10:8080", "10.244.1.20:8080"
)

func exampleService(name string, nodePort int32, clusterIP string, endpoints map[string]string) (*corev1.Service, *discoveryv1.EndpointSlice) {
	http, tcp, yes, port := "http", corev1.ProtocolTCP, true, int32(8080)
	service := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name},
		Spec: corev1.ServiceSpec{
			Type: corev1.ServiceTypeNodePort, ClusterIP: clusterIP, ClusterIPs: []string{clusterIP}, IPFamilies: []corev1.IPFamily{corev1.IPv4Protocol},
			Ports: []corev1.ServicePort{{Name: http, Protocol: tcp, Port: 80, NodePort: nodePort}}, ExternalTrafficPolicy: corev1.ServiceExternalTrafficPolicyCluster,
		},
	}
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Namespace: "shop", Name: name + "-1", Labels: map[string]string{discoveryv1.LabelServiceName: name}},
		AddressType: discoveryv1.AddressTypeIPv4, Ports: []discoveryv1.EndpointPort{{Name: &http, Protocol: &tcp, Port: &port}},
	}
	for _, node := range []string{"n1", "n2"} {
		if e := endpoints[node]; e != "" {
			slice.Endpoints = append(slice.Endpoints, discoveryv1.Endpoint{
				Addresses: []string{netip.MustParseAddrPort(e).Addr().String()}, NodeName: &node, Conditions: discoveryv1.EndpointConditions{Ready: &yes, Serving: &yes}})
		}
	}
	return service, slice
}

func exampleObjects() ([]*corev1.Service, []*discoveryv1.EndpointSlice) {
	web, webSlice := exampleService("web", webPort, "10.96.0.80", map[string]string{"n1": web1, "n2": web2})
	api, apiSlice := exampleService("api", apiPort, "10.96.0.90", map[string]string{"n1": api1})
	api.Spec.Type, api.Spec.ExternalTrafficPolicy, api.Spec.HealthCheckNodePort = corev1.ServiceTypeLoadBalancer, corev1.ServiceExternalTrafficPolicyLocal, apiHealthPort
	return []*corev1.Service{web, api}, []*discoveryv1.EndpointSlice{webSlice, apiSlice}
}

// exampleNode makes a node that sees the example.
func exampleNode(t *testing.T, name string) *rig.Rig {
	t.Helper()
	n := &rig.Machine{Namespace: nettest.New(t, name), IPv4: netip.MustParseAddr("192.168.0.1" + name[1:])}
	r := &rig.Rig{API: rig.NewAPI(t), Nodes: map[string]*rig.Machine{name: n}, Kubefile: map[string]string{}}
	services, slices := exampleObjects()
	objects := []runtime.Object{rig.Node(name)}
	for i := range services {
		objects = append(objects, services[i], slices[i])
	}
	r.API.Put(objects...)
	r.Kubefile[name] = t.TempDir() + "/kubeconfig"
	if err := os.WriteFile(r.Kubefile[name], []byte(r.API.Serve(t, n.Namespace, 6443)), 0o600); err != nil {
		t.Fatal(err)
	}
	return r
}

var (
	commentWords = regexp.MustCompile(` -m comment --comment ("[^"]*"|\S+)`)
	hashedName   = regexp.MustCompile(`((?:KUBE|CLBN)-(?:EXT|SVC|SVL|SEP|XLB|CLU)-[A-Z2-7]{4})[A-Z2-7]{12}`)
	zeros        = regexp.MustCompile(`(--probability 0\.[0-9]*?[1-9])0+ `)
)

// ruleLines returns the rules of an iptables-save or iptables-restore text as the page shows them, each with its table
// before it.
func ruleLines(text string) []string {
	var out []string
	table := ""
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(line, "*"):
			table = line[1:]
		case strings.HasPrefix(line, "-A "), strings.HasPrefix(line, "-I "):
			line = commentWords.ReplaceAllString(line, "")
			line = strings.ReplaceAll(zeros.ReplaceAllString(line, "$1 "), "  ", " ")
			out = append(out, table+" "+hashedName.ReplaceAllString(line, "$1…"))
		}
	}
	return out
}

// exampleRules are ours on a node, as a standalone agent writes them.
func exampleRules(node string) chains.Text {
	services, slices := exampleObjects()
	desired := nodeagent.Desired(nodeagent.Snapshot{NodeName: node, Services: services, Slices: slices}, corev1.IPv4Protocol)
	settings := nodeagent.Settings{Pods: nodeagent.PodTraffic{CIDRs: []netip.Prefix{netip.MustParsePrefix("10.244.0.0/16")}}, Forward: true, DropInvalid: true}
	return chains.Render(nodeagent.NewRules(corev1.IPv4Protocol, desired, settings), chains.Options{Mark: 1 << 13})
}

// exampleKubeProxy are the recorded rules of kube-proxy v1.37.2 on a node.
func exampleKubeProxy(t *testing.T, node string) string {
	t.Helper()
	text, err := os.ReadFile("testdata/kube-proxy-" + node + ".rules")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

var counters = regexp.MustCompile(`\[\d+:\d+\]`)

// ofService are the rules for one Service in a chain that has rules for all.
var ofService = regexp.MustCompile(`^-A (KUBE-NODEPORTS|KUBE-SERVICES|KUBE-EXTERNAL-SERVICES) .*--comment "(shop/\w+)`)

// byService puts the Services of each chain in order: kube-proxy writes them as they come out of a map.
func byService(rules string) []string {
	lines := strings.Split(rules, "\n")
	for first := 0; first < len(lines); first++ {
		chain, last := ofService.FindStringSubmatch(lines[first]), first
		for chain != nil && last+1 < len(lines) && strings.HasPrefix(lines[last+1], "-A "+chain[1]+" ") && ofService.MatchString(lines[last+1]) {
			last++
		}
		slices.SortStableFunc(lines[first:last+1], func(a, b string) int {
			return strings.Compare(ofService.FindStringSubmatch(a)[2], ofService.FindStringSubmatch(b)[2])
		})
		first = last
	}
	return lines
}

// The record of kube-proxy's rules for the example is what the real one writes.
func TestKubeProxyWritesWhatThePageShows(t *testing.T) {
	for _, node := range []string{"n1", "n2"} {
		if *kubeProxy == "" {
			if text := exampleKubeProxy(t, node); !strings.Contains(text, "-j KUBE-EXT-") {
				t.Errorf("the record of %s has no NodePort:\n%s", node, text)
			}
			continue // the page is compared with the record; the record with nothing
		}
		r := exampleNode(t, node)
		r.KubeProxy(t, *kubeProxy, node, "legacy", "")
		var got string
		nettest.Until(t, time.Minute, "kube-proxy has its rules", func() bool {
			got = ""
			for _, table := range []string{"filter", "nat"} {
				text := r.Nodes[node].Run(t, "iptables-legacy-save", "-t", table)
				for line := range strings.Lines(text) {
					if !strings.HasPrefix(line, "#") {
						got += counters.ReplaceAllString(line, "[0:0]")
					}
				}
			}
			// Its tables come one after the other, and may come between our two looks.
			return strings.Contains(got, "-A KUBE-FORWARD") && strings.Contains(got, "-j DNAT") && strings.Contains(got, "-j KUBE-POSTROUTING")
		})
		if *update {
			if err := os.WriteFile("testdata/kube-proxy-"+node+".rules", []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if diff := cmp.Diff(byService(exampleKubeProxy(t, node)), byService(got)); diff != "" {
			t.Errorf("rules on %s (-recorded +kube-proxy):\n%s", node, diff)
		}
	}
}
