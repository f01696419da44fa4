// SPDX-License-Identifier: Apache-2.0

package provider

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	cloudprovider "k8s.io/cloud-provider"
	cloudproviderapi "k8s.io/cloud-provider/api"

	"github.com/clbsync/clbsync/internal/kubetest"
)

// directory is the CVM of these tests. Like the real one it refuses what is no instance ID.
type directory struct {
	instances []Instance
	err       error
}

func (d directory) Instance(_ context.Context, id string) (Instance, bool, error) {
	if !strings.HasPrefix(id, "ins-") || len(id) != 12 {
		return Instance{}, false, fmt.Errorf("InvalidInstanceId.Malformed: %q", id)
	}
	return d.first(func(i Instance) bool { return i.ID == id })
}

func (d directory) InstanceByAddress(_ context.Context, addr netip.Addr) (Instance, bool, error) {
	return d.first(func(i Instance) bool { return slices.Contains(i.Addresses, addr) })
}

func (d directory) first(match func(Instance) bool) (Instance, bool, error) {
	if d.err != nil {
		return Instance{}, false, d.err
	}
	if n := slices.IndexFunc(d.instances, match); n >= 0 {
		return d.instances[n], true, nil
	}
	return Instance{}, false, nil
}

func addrs(list ...string) []netip.Addr {
	var out []netip.Addr
	for _, s := range list {
		out = append(out, netip.MustParseAddr(s))
	}
	return out
}

// n1 runs, with a secondary and a public address; n2 is shut down; n3 and higher do not exist.
var cvm = directory{instances: []Instance{
	{ID: "ins-00000001", Type: "S5.MEDIUM4", Zone: "ap-guangzhou-3", Addresses: addrs("10.0.0.1", "10.0.0.101"), PublicAddresses: addrs("203.0.113.7"), State: "RUNNING"},
	{ID: "ins-00000002", Type: "SA5.MEDIUM4", Zone: "ap-guangzhou-6", Addresses: addrs("10.0.0.2"), State: "STOPPED"},
}}

func plugin(t *testing.T, in Instances) cloudprovider.InstancesV2 {
	t.Helper()
	cfg := CloudConfig{Region: "ap-guangzhou"}
	cfg.Settings.VPCID = "vpc-2ab3c4d5"
	v2, ok := New(cfg, Backend{Instances: in}).InstancesV2()
	if !ok {
		t.Fatal("InstancesV2 is not supported")
	}
	return v2
}

func providerID(id string) func(*corev1.Node) {
	return func(n *corev1.Node) { n.Spec.ProviderID = id }
}

func noAddress(n *corev1.Node) { n.Status.Addresses = nil }

func nodeIP(ip string) func(*corev1.Node) {
	return func(n *corev1.Node) {
		n.Annotations = map[string]string{cloudproviderapi.AnnotationAlphaProvidedIPAddr: ip}
	}
}

func tainted(n *corev1.Node) {
	n.Spec.Taints = []corev1.Taint{{Key: cloudproviderapi.TaintExternalCloudProvider, Value: "true", Effect: corev1.TaintEffectNoSchedule}}
}

func named(name string) func(*corev1.Node) { return func(n *corev1.Node) { n.Name = name } }

func instanceLabel(id string) func(*corev1.Node) {
	return func(n *corev1.Node) { n.Labels["cloud.tencent.com/node-instance-id"] = id }
}

// Whether a node exists decides whether it is deleted, so false is for what the API denies, and for nothing else.
func TestANodeIsGoneOnlyIfTheAPISaysSo(t *testing.T) {
	down := directory{err: errors.New("the API is down")}
	for name, c := range map[string]struct {
		cvm    Instances
		node   *corev1.Node
		exists bool
		stop   bool
		fails  string // part of the error; both answers are false then
	}{
		"an instance that runs":                          {cvm: cvm, node: kubetest.Node(1), exists: true},
		"an instance that is shut down exists":           {cvm: cvm, node: kubetest.Node(2), exists: true, stop: true},
		"an instance that the API does not know is gone": {cvm: cvm, node: kubetest.Node(3)},
		"an API that is down says nothing":               {cvm: down, node: kubetest.Node(1), fails: "node n1: the API is down"},
		"nor does it about an address":                   {cvm: down, node: kubetest.Node(1, providerID("")), fails: "node n1: the API is down"},
		"a zone by its name":                             {cvm: cvm, node: kubetest.Node(1, providerID("tencentcloud:///ap-guangzhou-3/ins-00000001")), exists: true},
		"a native node that is a CVM instance":           {cvm: cvm, node: kubetest.Node(1, providerID("tencentcloud://ins-00000001")), exists: true},
		"a native node is not ours to judge":             {cvm: cvm, node: kubetest.Node(9, providerID("tencentcloud://kn-1234")), exists: true},
		"a node without providerID, by its address":      {cvm: cvm, node: kubetest.Node(2, providerID("")), exists: true, stop: true},
		"a node whose address nobody has":                {cvm: cvm, node: kubetest.Node(9, providerID("")), exists: true},
		"a node without anything to find it by":          {cvm: cvm, node: kubetest.Node(9, providerID(""), noAddress), exists: true},
		"k3s's node that is an instance":                 {cvm: cvm, node: kubetest.Node(2, providerID("k3s://n2")), exists: true, stop: true},
		"k3s's node that is none":                        {cvm: cvm, node: kubetest.Node(9, providerID("k3s://n9")), exists: true},
		"another cloud's node":                           {cvm: cvm, node: kubetest.Node(9, providerID("aws:///eu-central-1a/i-0123456789")), exists: true},
		"a node known by its label is gone":              {cvm: cvm, node: kubetest.Node(9, providerID("k3s://n9"), instanceLabel("ins-00000009"))},
		"an ID that is none is a mistake, not an answer": {cvm: cvm, node: kubetest.Node(1, providerID("qcloud:///100003/ins-1")), fails: `"ins-1", from its providerID "qcloud:///100003/ins-1" or its labels, is not the ID of a CVM instance`},
		"a cloud config with another region":             {cvm: directory{}, node: kubetest.Node(1, providerID("qcloud:///800003/ins-00000001")), fails: "is of the region ap-beijing, but the cloud config says ap-guangzhou"},
		"another region by its zone's name":              {cvm: directory{}, node: kubetest.Node(1, providerID("qcloud:///eu-nowhere-2/ins-00000001")), fails: "is of the region eu-nowhere, but"},
		"a zone that nobody knows the region of":         {cvm: directory{}, node: kubetest.Node(1, providerID("qcloud:///990001/ins-00000001"))},
	} {
		t.Run(name, func(t *testing.T) {
			v2 := plugin(t, c.cvm)
			exists, err := v2.InstanceExists(t.Context(), c.node)
			if c.fails != "" {
				if err == nil || !strings.Contains(err.Error(), c.fails) {
					t.Fatalf("got %v, %v; want an error with %q", exists, err, c.fails)
				}
				return
			}
			if err != nil || exists != c.exists {
				t.Fatalf("exists: got %v, %v; want %v", exists, err, c.exists)
			}
			if stop, err := v2.InstanceShutdown(t.Context(), c.node); err != nil || stop != c.stop {
				t.Errorf("shut down: got %v, %v; want %v", stop, err, c.stop)
			}
		})
	}
}

func TestMetadata(t *testing.T) {
	address := func(kind corev1.NodeAddressType, a string) corev1.NodeAddress {
		return corev1.NodeAddress{Type: kind, Address: a}
	}
	first := cloudprovider.InstanceMetadata{ProviderID: "qcloud:///100003/ins-00000001", InstanceType: "S5.MEDIUM4", Zone: "ap-guangzhou-3", Region: "ap-guangzhou",
		NodeAddresses: []corev1.NodeAddress{address(corev1.NodeInternalIP, "10.0.0.1"), address(corev1.NodeExternalIP, "203.0.113.7"), address(corev1.NodeHostName, "n1")}}
	with := func(change func(*cloudprovider.InstanceMetadata)) cloudprovider.InstanceMetadata {
		m := first
		m.NodeAddresses = slices.Clone(m.NodeAddresses)
		change(&m)
		return m
	}
	hostname := func(m *cloudprovider.InstanceMetadata, s string) { m.NodeAddresses[2].Address = s }
	for name, c := range map[string]struct {
		node  *corev1.Node
		want  cloudprovider.InstanceMetadata
		fails string
	}{
		"a node that names its instance":                                {node: kubetest.Node(1), want: first},
		"a new node, by its address, gets TKE's providerID":             {node: kubetest.Node(1, providerID(""), tainted), want: first},
		"a new kubelet that has no address yet, by the one it is given": {node: kubetest.Node(1, providerID(""), noAddress, nodeIP("10.0.0.1"), tainted), want: first},
		"a new node whose name is its address":                          {node: kubetest.Node(1, providerID(""), noAddress, named("10.0.0.1"), tainted), want: with(func(m *cloudprovider.InstanceMetadata) { hostname(m, "10.0.0.1") })},
		"a kubelet that insists on a secondary address": {node: kubetest.Node(1, nodeIP("10.0.0.101")),
			want: with(func(m *cloudprovider.InstanceMetadata) { m.NodeAddresses[0].Address = "10.0.0.101" })},
		"the kubelet's own hostname": {node: kubetest.Node(1, func(n *corev1.Node) {
			n.Status.Addresses = append(n.Status.Addresses, address(corev1.NodeHostName, "vm-1"))
		}), want: with(func(m *cloudprovider.InstanceMetadata) { hostname(m, "vm-1") })},
		"k3s's providerID stays":                                        {node: kubetest.Node(1, providerID("k3s://n1"), tainted), want: with(func(m *cloudprovider.InstanceMetadata) { m.ProviderID = "k3s://n1" })},
		"a native node is left as it is":                                {node: kubetest.Node(9, providerID("tencentcloud://kn-1234"), tainted), want: cloudprovider.InstanceMetadata{ProviderID: "tencentcloud://kn-1234"}},
		"a node of others is left as it is":                             {node: kubetest.Node(9, providerID("k3s://n9")), want: cloudprovider.InstanceMetadata{ProviderID: "k3s://n9"}},
		"a new node whose address nobody has is not initialized":        {node: kubetest.Node(9, providerID(""), tainted), fails: "no CVM instance in vpc-2ab3c4d5 (ap-guangzhou) has the private address 10.0.0.9"},
		"a new node without anything to find it by is told what to do":  {node: kubetest.Node(9, providerID(""), noAddress, tainted), fails: "--provider-id=qcloud:///<zone>/ins-… or --node-ip=<private IPv4>"},
		"a node that names an instance that is gone is not initialized": {node: kubetest.Node(9, tainted), fails: "instance ins-00000009 is not in ap-guangzhou"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := plugin(t, cvm).InstanceMetadata(t.Context(), c.node)
			if c.fails != "" {
				if err == nil || !strings.Contains(err.Error(), c.fails) {
					t.Errorf("got %v, %v; want an error with %q", got, err, c.fails)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(&c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestZonesAreWrittenAsTKEDoes(t *testing.T) {
	for zone, want := range map[string]string{
		"ap-guangzhou-3": "100003", "ap-shanghai-2": "200002", "ap-beijing-5": "800005", "ap-shenzhen-fsi-1": "110001", "ap-nanjing-1": "330001",
		"eu-nowhere-1": "eu-nowhere-1", "ap-guangzhou-x": "ap-guangzhou-x", "ap-guangzhou": "ap-guangzhou", "": "",
	} {
		got := zoneID(zone)
		if got != want {
			t.Errorf("%s: got %s, want %s", zone, got, want)
		}
		if region, _, ok := cut(zone); ok && got != zone && regionOf(got) != region {
			t.Errorf("%s is %s, whose region is %q", zone, got, regionOf(got))
		}
	}
}

// cut is a zone's region and number.
func cut(zone string) (region, number string, ok bool) {
	i := strings.LastIndexByte(zone, '-')
	if i < 0 {
		return "", "", false
	}
	return zone[:i], zone[i+1:], true
}
