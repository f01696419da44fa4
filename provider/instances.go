// SPDX-License-Identifier: Apache-2.0

package provider

import (
	"context"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	cloudprovider "k8s.io/cloud-provider"
	cloudproviderapi "k8s.io/cloud-provider/api"
	"k8s.io/klog/v2"

	"github.com/clbsync/clbsync/lbsync"
)

// Instances finds CVM instances. found is false only if the API says that there is none; whatever else goes
// wrong is an error, since a node whose instance is not found is deleted.
type Instances interface {
	Instance(ctx context.Context, id string) (i Instance, found bool, err error)
	InstanceByAddress(ctx context.Context, private netip.Addr) (i Instance, found bool, err error) // in the VPC of the cloud config
}

// Instance is a CVM instance.
type Instance struct {
	ID              string // "ins-…"
	Name            string
	Type            string // "SA5.MEDIUM4"
	Region          string // "ap-guangzhou"
	Zone            string // "ap-guangzhou-3"
	VPCID           string
	Addresses       []netip.Addr // private, the primary one first
	PublicAddresses []netip.Addr
	State           string // CVM's word, such as "RUNNING"
}

// Stopped reports whether the instance is shut down, or on its way there.
func (i Instance) Stopped() bool {
	return slices.Contains([]string{"STOPPED", "STOPPING", "SHUTDOWN", "TERMINATING"}, i.State)
}

// instancesV2 answers the node controllers. They ask about nodes of every origin: TKE's, k3s's, nodes that
// are not CVM instances at all. Only a node that names its instance is ever declared gone.
type instancesV2 struct {
	region string
	vpc    string
	cvm    Instances
}

var _ cloudprovider.InstancesV2 = instancesV2{}

var instanceID = regexp.MustCompile(`^ins-[0-9a-z]{8,}$`)

// identity is how a node's instance can be found, one of four ways.
type identity struct {
	id      string     // an instance ID that the node names
	addr    netip.Addr // an address to look it up by
	native  bool       // a TKE native node: it has no CVM instance
	unknown bool       // nothing to find it by
}

func (v instancesV2) identify(node *corev1.Node) (identity, error) {
	id, native := lbsync.InstanceID(node)
	switch {
	case native:
		return identity{native: true}, nil
	case id != "" && !instanceID.MatchString(id):
		return identity{}, fmt.Errorf("node %s: %q, from its providerID %q or its labels, is not the ID of a CVM instance, such as ins-2ab3c4d5", node.Name, id, node.Spec.ProviderID)
	case id != "":
		return identity{id: id}, nil
	}
	if addr, ok := lookupAddress(node); ok {
		return identity{addr: addr}, nil
	}
	return identity{unknown: true}, nil
}

// lookupAddress returns the address to look a node up by: its InternalIP, else what it was started with
// (a kubelet with an external cloud provider has no other address before the first answer), else its name,
// which TKE makes of the address.
func lookupAddress(node *corev1.Node) (netip.Addr, bool) {
	if addr, ok := lbsync.LookupAddress(node); ok {
		return addr, true
	}
	for _, s := range append(strings.Split(node.Annotations[cloudproviderapi.AnnotationAlphaProvidedIPAddr], ","), node.Name) {
		if addr, err := netip.ParseAddr(s); err == nil && addr.Is4() {
			return addr, true
		}
	}
	return netip.Addr{}, false
}

// find returns the node's instance; found is false if the API says that it has none.
func (v instancesV2) find(ctx context.Context, who identity) (i Instance, found bool, err error) {
	switch {
	case who.id != "":
		return v.cvm.Instance(ctx, who.id)
	case who.addr.IsValid():
		return v.cvm.InstanceByAddress(ctx, who.addr)
	}
	return Instance{}, false, nil
}

// InstanceExists returns false only if the node names a CVM instance of this region and the API says that
// there is no such instance.
func (v instancesV2) InstanceExists(ctx context.Context, node *corev1.Node) (bool, error) {
	who, err := v.identify(node)
	if err != nil {
		return false, err
	}
	_, found, err := v.find(ctx, who)
	switch {
	case err != nil:
		return false, fmt.Errorf("node %s: %w", node.Name, err)
	case found || who.id == "":
		return true, nil
	}
	// A wrong region in the cloud config makes every instance look gone, and would cost every node that is
	// not ready at that moment.
	if region := regionOf(zoneOfProviderID(node.Spec.ProviderID)); region != "" && region != v.region {
		return false, fmt.Errorf("node %s: its providerID %s is of the region %s, but the cloud config says %s; whether the instance exists cannot be told from there", node.Name, node.Spec.ProviderID, region, v.region)
	}
	klog.FromContext(ctx).Info("The CVM instance of a node does not exist any more", "node", klog.KObj(node), "instance", who.id, "region", v.region)
	return false, nil
}

// InstanceShutdown reports whether the node's instance is shut down; false if it has none.
func (v instancesV2) InstanceShutdown(ctx context.Context, node *corev1.Node) (bool, error) {
	who, err := v.identify(node)
	if err != nil {
		return false, err
	}
	i, found, err := v.find(ctx, who)
	if err != nil {
		return false, fmt.Errorf("node %s: %w", node.Name, err)
	}
	return found && i.Stopped(), nil
}

// InstanceMetadata returns what Kubernetes should know of the node. A node that is not ours to describe and
// that somebody has initialized already is returned as it is: nil would crash the node controller, and an
// error would be logged for it forever.
func (v instancesV2) InstanceMetadata(ctx context.Context, node *corev1.Node) (*cloudprovider.InstanceMetadata, error) {
	who, err := v.identify(node)
	if err != nil {
		return nil, err
	}
	i, found, err := v.find(ctx, who)
	switch {
	case err != nil:
		return nil, fmt.Errorf("node %s: %w", node.Name, err)
	case found:
		return v.metadata(node, i), nil
	case who.native || who.id == "" && !initializing(node):
		return &cloudprovider.InstanceMetadata{ProviderID: node.Spec.ProviderID}, nil
	case who.id != "":
		return nil, fmt.Errorf("node %s: instance %s is not in %s: %w", node.Name, who.id, v.region, cloudprovider.InstanceNotFound)
	case who.unknown:
		return nil, fmt.Errorf("node %s: nothing says which CVM instance it is; start its kubelet with --provider-id=qcloud:///<zone>/ins-… or --node-ip=<private IPv4>", node.Name)
	}
	return nil, fmt.Errorf("node %s: no CVM instance in %s (%s) has the private address %s: %w", node.Name, v.vpc, v.region, who.addr, cloudprovider.InstanceNotFound)
}

// initializing reports whether the node waits for a cloud provider to describe it.
func initializing(node *corev1.Node) bool {
	return slices.ContainsFunc(node.Spec.Taints, func(t corev1.Taint) bool { return t.Key == cloudproviderapi.TaintExternalCloudProvider })
}

func (v instancesV2) metadata(node *corev1.Node, i Instance) *cloudprovider.InstanceMetadata {
	m := &cloudprovider.InstanceMetadata{
		ProviderID:    node.Spec.ProviderID, // cannot be changed
		InstanceType:  i.Type,
		NodeAddresses: nodeAddresses(node, i),
		Zone:          i.Zone,
		Region:        v.region,
	}
	if m.ProviderID == "" {
		m.ProviderID = fmt.Sprintf("qcloud:///%s/%s", zoneID(i.Zone), i.ID)
	}
	return m
}

// nodeAddresses returns one address of each type: the node controller compares by type, so with two of one
// type it would find a change, and write the node, every time it looks.
func nodeAddresses(node *corev1.Node, i Instance) []corev1.NodeAddress {
	var out []corev1.NodeAddress
	add := func(t corev1.NodeAddressType, address string) {
		out = append(out, corev1.NodeAddress{Type: t, Address: address})
	}
	internal := i.Addresses
	// A kubelet that was started with --node-ip insists on that address, which may be a secondary one.
	if asked, err := netip.ParseAddr(node.Annotations[cloudproviderapi.AnnotationAlphaProvidedIPAddr]); err == nil && slices.Contains(internal, asked) {
		internal = []netip.Addr{asked}
	}
	if len(internal) > 0 {
		add(corev1.NodeInternalIP, internal[0].String())
	}
	if len(i.PublicAddresses) > 0 {
		add(corev1.NodeExternalIP, i.PublicAddresses[0].String())
	}
	hostname := node.Name
	for _, a := range node.Status.Addresses {
		if a.Type == corev1.NodeHostName {
			hostname = a.Address // the kubelet's own word
		}
	}
	add(corev1.NodeHostName, hostname)
	return out
}

// zoneOfProviderID returns the zone that a providerID names, or "".
func zoneOfProviderID(providerID string) string {
	_, rest, ok := strings.Cut(providerID, ":///")
	if !ok {
		return ""
	}
	zone, _, ok := strings.Cut(rest, "/")
	if !ok {
		return ""
	}
	return zone
}
