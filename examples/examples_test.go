// SPDX-License-Identifier: Apache-2.0

package examples

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/yaml"

	"github.com/clbsync/clbsync/internal/golden"
	"github.com/clbsync/clbsync/internal/kubetest"
	"github.com/clbsync/clbsync/lbsync"
	"github.com/clbsync/clbsync/lbsync/annotation"
	"github.com/clbsync/clbsync/lbsync/serviceconfig"
	"github.com/clbsync/clbsync/provider"
)

// plans.txt is what each example leads to, in the words of the plan: a reader of an example finds there what it does.
//
// The cluster: two pods on n1, one on n2, none on n3; n1 and n2 are in the group access-layer; everything has IPv6 too.
func TestEveryExampleIsFollowedInFull(t *testing.T) {
	files, err := filepath.Glob("service-*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("%v: %v", files, err)
	}
	var all strings.Builder
	for _, file := range files {
		snap := snapshot(t, file)
		desired, skips := lbsync.Desired(snap)
		fmt.Fprintf(&all, "# %s\n", file)
		for _, s := range skips {
			if s.Warning && s.Reason != lbsync.HandsOff {
				t.Errorf("%s: something is left out: %s: %s", file, s.Reason, s.Message)
			}
		}
		switch {
		case lbsync.Blocked(skips):
			all.WriteString("nothing, until the annotation goes\n\n")
			continue
		case snap.Existing != "":
			all.WriteString(lbsync.Diff(snap.Actual, desired).String() + "\n")
			continue
		}
		owned := desired.Instance
		made := lbsync.LoadBalancer{Present: true, Instance: lbsync.Instance{ID: "lb-new", VPCID: owned.VPCID, Internal: owned.Internal, SubnetID: owned.SubnetID,
			Order: owned.Order, Region: owned.Region, Tags: owned.Owner.Tags()}}
		all.WriteString(lbsync.Plan{Create: &owned}.String() + lbsync.Diff(made, lbsync.Complete(made, desired)).String() + "\n")
	}
	golden.File(t, "plans.txt", all.String())
}

// snapshot reads an example into a cluster.
func snapshot(t *testing.T, file string) lbsync.Snapshot {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	s := lbsync.Snapshot{Settings: lbsync.DefaultSettings(), Nodes: nodes()}
	s.Settings.ClusterID, s.Settings.VPCID = "cls-demo", "vpc-2ab3c4d5"
	configs := map[string]lbsync.ServiceConfig{}
	for i, doc := range bytes.Split(text, []byte("\n---\n")) {
		var kind struct{ Kind string }
		if err := yaml.Unmarshal(doc, &kind); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		switch kind.Kind {
		case serviceconfig.Kind:
			var o struct {
				APIVersion, Kind string
				Metadata         struct{ Name string }
				Spec             map[string]any
			}
			if err := yaml.UnmarshalStrict(doc, &o); err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			c := lbsync.ServiceConfig{Name: o.Metadata.Name}
			if c.Config, c.Problems = serviceconfig.Parse(o.Spec); len(c.Problems) > 0 {
				t.Errorf("%s: %v", file, c.Problems)
			}
			configs[c.Name] = c
		case "Service":
			svc := &corev1.Service{}
			if err := yaml.UnmarshalStrict(doc, svc); err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			s.Services = append(s.Services, service(svc, i, configs))
		default:
			t.Fatalf("%s: kind %q", file, kind.Kind)
		}
	}
	if id := s.Services[0].Options.ExistingID; id != "" {
		s.Existing = id
		s.Actual = lbsync.LoadBalancer{Present: true, Instance: lbsync.Instance{ID: id, VPCID: s.Settings.VPCID}}
	}
	return s
}

// service is what the cluster makes of a Service, with what belongs to it.
func service(svc *corev1.Service, n int, configs map[string]lbsync.ServiceConfig) lbsync.Service {
	svc.UID, svc.Namespace = types.UID(fmt.Sprintf("uid-%d", n)), "default"
	for i := range svc.Spec.Ports {
		if svc.Spec.AllocateLoadBalancerNodePorts == nil || *svc.Spec.AllocateLoadBalancerNodePorts {
			svc.Spec.Ports[i].NodePort = int32(30080 + 10*n + i)
		}
	}
	if svc.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal {
		svc.Spec.HealthCheckNodePort = 32000
	}
	out := lbsync.Service{Service: svc, Secrets: map[string]lbsync.Secret{}}
	out.Options, out.Problems = annotation.Parse(svc.Annotations)
	out.Config = configs[out.Options.ConfigName]
	for _, name := range lbsync.SecretNames(out.Options) {
		out.Secrets[name] = lbsync.Secret{Certificate: lbsync.Certificate{IDs: "id-of-" + name}}
	}
	for _, ip := range []struct{ kind, prefix string }{{"IPv4", "10.1.0."}, {"IPv6", "fd00:1::"}} {
		slice := &discoveryv1.EndpointSlice{AddressType: discoveryv1.AddressType(ip.kind)}
		for pod, node := range []string{"n1", "n1", "n2"} {
			e := kubetest.OfPod(kubetest.Ready(node, fmt.Sprintf("%s%d", ip.prefix, pod+1)), fmt.Sprintf("web-%d", pod))
			e.TargetRef.Kind, e.TargetRef.Name = "Pod", fmt.Sprintf("web-%d", pod)
			slice.Endpoints = append(slice.Endpoints, e)
		}
		for _, p := range svc.Spec.Ports {
			slice.Ports = append(slice.Ports, discoveryv1.EndpointPort{Name: new(p.Name), Protocol: new(p.Protocol), Port: new(p.TargetPort.IntVal)})
		}
		out.Slices = append(out.Slices, slice)
	}
	return out
}

func nodes() []*corev1.Node {
	all := kubetest.Nodes(3)
	for i, n := range all {
		n.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: fmt.Sprintf("10.0.0.%d", i+11)}, {Type: corev1.NodeInternalIP, Address: fmt.Sprintf("fd00::%d", i+11)}}
		if n.Labels == nil {
			n.Labels = map[string]string{}
		}
		if n.Name != "n3" {
			n.Labels["group"] = "access-layer"
		}
	}
	return all
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
