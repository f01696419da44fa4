// SPDX-License-Identifier: Apache-2.0

package examples

import (
	"bytes"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"sigs.k8s.io/yaml"

	"github.com/clbsync/clbsync/internal/kubetest"
	"github.com/clbsync/clbsync/lbsync"
	"github.com/clbsync/clbsync/lbsync/annotation"
	"github.com/clbsync/clbsync/provider"
)

// Three nodes: two pods on n1, one on n2, none on n3.
func desired(t *testing.T, file string) lbsync.LoadBalancer {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	svc := &corev1.Service{}
	if err := yaml.UnmarshalStrict(text, svc); err != nil {
		t.Fatal(err)
	}
	// What the API server fills in.
	svc.UID, svc.Namespace = "uid", "default"
	for i := range svc.Spec.Ports {
		svc.Spec.Ports[i].NodePort = int32(30080 + i)
	}
	if svc.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal {
		svc.Spec.HealthCheckNodePort = 32000
	}
	settings := lbsync.DefaultSettings()
	settings.ClusterID, settings.VPCID = "cls-demo", "vpc-2ab3c4d5"
	options, problems := annotation.Parse(svc.Annotations)
	slice := kubetest.Slice(svc.Name, kubetest.Ready("n1", "10.1.0.1"), kubetest.Ready("n1", "10.1.0.2"), kubetest.Ready("n2", "10.1.0.3"))
	lb, skips := lbsync.Desired(lbsync.Snapshot{
		Settings: settings,
		Nodes:    kubetest.Nodes(3),
		Services: []lbsync.Service{{Service: svc, Slices: []*discoveryv1.EndpointSlice{slice}, Options: options, Problems: problems}},
	})
	if len(skips) > 0 {
		t.Fatalf("something is left out: %v", skips)
	}
	if !lb.Present {
		t.Fatal("the manifest asks for no CLB")
	}
	return lb
}

func TestEveryExampleIsFollowedInFull(t *testing.T) {
	for name, check := range map[string]func(*testing.T, lbsync.LoadBalancer){
		"service-cluster.yaml": func(t *testing.T, lb lbsync.LoadBalancer) {
			expect(t, lb, lbsync.ListenerKey{Protocol: lbsync.TCP, Port: 80}, 10, 10, 10)
			expect(t, lb, lbsync.ListenerKey{Protocol: lbsync.UDP, Port: 53}, 10, 10, 10)
		},
		"service-local.yaml": func(t *testing.T, lb lbsync.LoadBalancer) {
			key := lbsync.ListenerKey{Protocol: lbsync.TCP, Port: 80}
			expect(t, lb, key, 10, 10, 10)
			if c := lb.Listeners[key].Check; c.Type != lbsync.CheckHTTP || c.Port != 32000 {
				t.Errorf("nodes are asked by %s, want HTTP on the health check node port", c)
			}
		},
		"service-local-weighted.yaml": func(t *testing.T, lb lbsync.LoadBalancer) {
			expect(t, lb, lbsync.ListenerKey{Protocol: lbsync.TCP, Port: 80}, 2, 1)
		},
		"service-internal.yaml": func(t *testing.T, lb lbsync.LoadBalancer) {
			if !lb.Instance.Internal || lb.Instance.SubnetID != "subnet-2ab3c4d5" {
				t.Errorf("got %+v, want an internal CLB in the subnet", lb.Instance)
			}
		},
	} {
		t.Run(name, func(t *testing.T) { check(t, desired(t, name)) })
	}
	files, err := filepath.Glob("service-*.yaml")
	if err != nil || len(files) != 4 {
		t.Errorf("%v: %v; each example has a check here", files, err)
	}
}

// expect fails unless the listener's targets have these weights, those of n1 first.
func expect(t *testing.T, lb lbsync.LoadBalancer, key lbsync.ListenerKey, weights ...int) {
	t.Helper()
	byHost := map[string]int{}
	for b, w := range lb.Targets {
		if b.Listener == key {
			byHost[b.Target.Host()] = w
		}
	}
	var got []int
	for _, host := range slices.Sorted(maps.Keys(byHost)) {
		got = append(got, byHost[host])
	}
	if !slices.Equal(got, weights) {
		t.Errorf("%s has targets of weight %v, want %v", key, got, weights)
	}
}

func TestTheCloudConfigIsAccepted(t *testing.T) {
	text, err := os.ReadFile("cloud-config.yaml")
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := provider.ReadConfig(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Region == "" || cfg.RateLimits.Default != 15 {
		t.Errorf("got %+v", cfg)
	}
}
