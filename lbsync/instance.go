// SPDX-License-Identifier: Apache-2.0

package lbsync

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/clbsync/clbsync/lbsync/annotation"
)

// Instance is the CLB itself.
type Instance struct {
	ID       string            // "lb-…"; empty in desired unless the manifest names one
	Name     string            // what people see; never used to find a CLB
	Internal bool              // reachable in the VPC only; cannot be changed later
	Region   string            // "ap-…" if it is not the cluster's; cannot be changed later
	VPCID    string            // "vpc-…"; cannot be changed later. Empty in desired: the default of another region
	SubnetID string            // "subnet-…" of an internal CLB; cannot be changed later
	Owner    Owner             // desired: whose it will be. Not filled in actual: Tags say it there
	Tags     map[string]string // actual only
	VIPs     []netip.Addr      // actual only; empty for a CLB that has a domain
	Domain   string            // actual only; empty for a CLB that has VIPs
	NatIPv6  netip.Addr        // actual only: the address of a NAT64 CLB; zero: it is none

	// UsedBy (desired only) is what the tag tke-clusterId of a CLB that somebody made is to say: the cluster that uses it, "" for
	// none. nil: it stays as it is.
	UsedBy *string

	// Order is what CLB takes only when it is created: desired what is asked for, nil nothing; actual as much of it as
	// CLB tells, nil nothing. Nobody may change it.
	Order *Order
	// Ordered is what was asked for when the CLB was created, as the Service has it noted; nil: not known. Desired only.
	Ordered *Order
	Attributes
}

type (
	// Order is what CLB takes only when a CLB is created, in CLB's own words.
	Order = annotation.CreateParameters

	// InternetAccess is the part of an order that says how a public CLB is connected and billed.
	InternetAccess = annotation.InternetAccessible

	// SnatIP is an address that an order asks for.
	SnatIP = annotation.SnatIP

	// Tag is a tag that an order asks for.
	Tag = annotation.Tag
)

// Attributes are the settings of a CLB that are changed in place, and only on a CLB whose tags prove that it is ours. The
// zero value of each asks for nothing in desired: the CLB keeps what it has.
type Attributes struct {
	Access         []AccessRule // who reaches which listener, by a security group of our own; not nil and empty: everybody, and no such group
	SecurityGroups []string     // "sg-…"; not nil and empty asks for none
	PassToTarget   *bool        // the security groups of the CLB alone decide about its traffic
	DeleteProtect  *bool        // CLB's own protection against deletion
	SnatPro        *bool        // it reaches targets outside of its VPC by addresses of its own
	Bandwidth      int          // Mbps, 1 to 2048, of a public CLB
}

// Attribute names one of the Attributes, for people.
type Attribute string

// The attributes.
const (
	AttributeSourceRanges   Attribute = "source ranges"
	AttributeSecurityGroups Attribute = "security groups"
	AttributePassToTarget   Attribute = "pass to target"
	AttributeDeleteProtect  Attribute = "delete protection"
	AttributeSnatPro        Attribute = "SnatPro"
	AttributeBandwidth      Attribute = "bandwidth"

	// AttributeUsedBy is none of the Attributes: it is Instance.UsedBy in a Refusal.
	AttributeUsedBy Attribute = "tag " + TagCluster
)

// attributes is all of them, in the order in which they are changed: what restricts comes first.
var attributes = []struct {
	name Attribute
	text func(Attributes) string // the same for the same setting; "": asks for nothing
	copy func(to *Attributes, from Attributes)
}{
	{AttributeSourceRanges, func(a Attributes) string { return AccessText(a.Access) }, func(to *Attributes, from Attributes) { to.Access = from.Access }},
	{AttributeSecurityGroups, func(a Attributes) string { return groupsText(a.SecurityGroups) }, func(to *Attributes, from Attributes) { to.SecurityGroups = from.SecurityGroups }},
	{AttributePassToTarget, func(a Attributes) string { return switchText(a.PassToTarget) }, func(to *Attributes, from Attributes) { to.PassToTarget = from.PassToTarget }},
	{AttributeDeleteProtect, func(a Attributes) string { return switchText(a.DeleteProtect) }, func(to *Attributes, from Attributes) { to.DeleteProtect = from.DeleteProtect }},
	{AttributeSnatPro, func(a Attributes) string { return switchText(a.SnatPro) }, func(to *Attributes, from Attributes) { to.SnatPro = from.SnatPro }},
	{AttributeBandwidth, func(a Attributes) string { return bandwidthText(a.Bandwidth) }, func(to *Attributes, from Attributes) { to.Bandwidth = from.Bandwidth }},
}

// groupsText leaves the order out: CLB does not promise to answer in the one that it was given.
func groupsText(ids []string) string {
	switch {
	case ids == nil:
		return ""
	case len(ids) == 0:
		return "none"
	}
	return strings.Join(slices.Sorted(slices.Values(ids)), ",")
}

func switchText(on *bool) string {
	switch {
	case on == nil:
		return ""
	case *on:
		return "on"
	}
	return "off"
}

func bandwidthText(mbps int) string {
	if mbps == 0 {
		return ""
	}
	return strconv.Itoa(mbps) + " Mbps"
}

// Text returns the setting of an attribute, the same for the same setting; "" asks for nothing.
func (a Attributes) Text(name Attribute) string {
	for _, attribute := range attributes {
		if attribute.name == name {
			return attribute.text(a)
		}
	}
	return ""
}

// String is all that is set, in one line; that nobody is kept out goes without saying.
func (a Attributes) String() string {
	var parts []string
	for _, attribute := range attributes {
		if text := attribute.text(a); text != "" && (attribute.name != AttributeSourceRanges || len(a.Access) > 0) {
			parts = append(parts, string(attribute.name)+" "+text)
		}
	}
	return strings.Join(parts, ", ")
}

// Without returns the attributes with one of them asking for nothing.
func (a Attributes) Without(name Attribute) Attributes {
	for _, attribute := range attributes {
		if attribute.name == name {
			attribute.copy(&a, Attributes{})
		}
	}
	return a
}

// over returns what results where a is asked of a CLB that has have.
func (a Attributes) over(have Attributes) Attributes {
	for _, attribute := range attributes {
		if attribute.text(a) != "" {
			attribute.copy(&have, a)
		}
	}
	return have
}

// Among returns seen with those attributes that a asks for as they are in have: what nobody asked for may be changed by
// anybody, and is no drift.
func (a Attributes) Among(have, seen Attributes) Attributes {
	for _, attribute := range attributes {
		if attribute.text(a) != "" {
			attribute.copy(&seen, have)
		}
	}
	return seen
}

func (i Instance) clone() Instance {
	i.Tags = maps.Clone(i.Tags)
	i.VIPs = slices.Clone(i.VIPs)
	i.SecurityGroups = slices.Clone(i.SecurityGroups)
	i.Access = slices.Clone(i.Access)
	return i
}

// InstanceChange is a change of a CLB's attributes in place. To is From but for them.
type InstanceChange struct{ From, To Instance }

// Changes returns the names of the attributes that differ, in the order in which they are to be changed.
func (c InstanceChange) Changes() []Attribute {
	var names []Attribute
	for _, attribute := range attributes {
		if attribute.text(c.From.Attributes) != attribute.text(c.To.Attributes) {
			names = append(names, attribute.name)
		}
	}
	return names
}

// lines is the change for people, a line for each attribute.
func (c InstanceChange) lines() []string {
	var out []string
	for _, name := range c.Changes() {
		out = append(out, fmt.Sprintf("~ clb %s %s %s -> %s", c.From.ID, name, cmp.Or(c.From.Text(name), "unknown"), cmp.Or(c.To.Text(name), "unknown")))
	}
	return out
}

// without returns the change without one attribute; nil if nothing is left.
func (c InstanceChange) without(name Attribute) *InstanceChange {
	for _, attribute := range attributes {
		if attribute.name == name {
			attribute.copy(&c.To.Attributes, c.From.Attributes)
		}
	}
	if len(c.Changes()) == 0 {
		return nil
	}
	return &c
}

// diffAttributes returns the change of attributes that desired asks for, nil for none. A CLB that is not proved to be ours
// has none: what somebody else made keeps its settings.
func diffAttributes(actual, desired Instance) *InstanceChange {
	if !desired.Owner.Owns(actual.Tags) {
		return nil
	}
	if actual.Access == nil {
		actual.Access = []AccessRule{} // Of a CLB that was made just now nobody has read any.
	}
	change := InstanceChange{From: actual, To: actual.clone()}
	change.To.Attributes = desired.Attributes.over(actual.Attributes)
	if len(change.Changes()) == 0 {
		return nil
	}
	return &change
}

// instance returns the CLB that is to be created for a Service, or what it is to become.
func (s Snapshot) instance(svc Service) (Instance, []Skip) {
	o := s.asMade(svc)
	i := Instance{
		Name:     instanceName(s.Settings.ClusterID, svc.Service),
		Internal: o.SubnetID != "",
		Region:   o.CrossRegion,
		VPCID:    cmp.Or(o.CrossVPC, s.Settings.VPCID),
		SubnetID: o.SubnetID,
		Owner:    Owner{ClusterID: s.Settings.ClusterID, ServiceUID: string(svc.UID)},
	}
	if o.CrossRegion != "" && o.CrossVPC == "" {
		i.VPCID = "" // The cluster's is in another region.
	}
	i = s.placed(svc, i)
	var skips []Skip
	i.Order, skips = order(o)
	i.Order, i.Ordered = svc.ordered(i.Order), o.Ordered
	if i.Order != nil {
		i.Name = cmp.Or(i.Order.LoadBalancerName, i.Name)
	}
	i.Attributes = asked(o, i.Order, svc.Problems)
	if mbps := svc.Config.Config.Bandwidth; mbps != 0 && !s.internal(svc) {
		i.Bandwidth = mbps
	}
	return i, skips
}

// internal reports whether the CLB of a Service is internal, or will be.
func (s Snapshot) internal(svc Service) bool {
	if s.CLB != nil {
		return s.CLB.Internal
	}
	return svc.Options.SubnetID != ""
}

// asMade returns the options of a Service in which parameters that cannot be read are those that its CLB was ordered with.
func (s Snapshot) asMade(svc Service) annotation.Options {
	o := svc.Options
	if s.CLB != nil && o.Ordered != nil && annotation.Unfollowed(svc.Problems, annotation.CreateParams) {
		ordered := *o.Ordered
		ordered.LoadBalancerPassToTarget, ordered.SnatPro = nil, nil // These are changed in place, and stay as they are.
		o.Create = &ordered
	}
	return o
}

// placed returns the CLB where the one is that there is, as far as the annotations that say so cannot be followed. To say that the
// manifest asks for another place would be wrong.
func (s Snapshot) placed(svc Service, i Instance) Instance {
	if s.CLB == nil {
		return i
	}
	if annotation.Unfollowed(svc.Problems, annotation.InternalSubnet) {
		i.Internal, i.SubnetID = s.CLB.Internal, s.CLB.SubnetID
	}
	if annotation.Unfollowed(svc.Problems, annotation.CrossRegion) {
		i.Region, i.VPCID = s.CLB.Region, s.CLB.VPCID
	}
	if annotation.Unfollowed(svc.Problems, annotation.CrossVPC) {
		i.VPCID = s.CLB.VPCID
	}
	return i
}

// Kept returns a Skip if a Service that has a CLB of its own names one that somebody made.
func Kept(actual LoadBalancer, o annotation.Options) []Skip {
	if !actual.Present || o.ExistingID == "" {
		return nil
	}
	return []Skip{{Object: "annotation " + annotation.ExistingID, Reason: CreateTimeOnly, Warning: true,
		Message: fmt.Sprintf("CLB %s was made for the Service and stays so, though the manifest asks for %s: a Service that has a CLB keeps it; to change over, and get another address, set spec.type to ClusterIP and back", actual.Instance.ID, o.ExistingID)}}
}

// order returns what the annotations say that is taken at creation only, nil for nothing. The parameters count over the
// annotations of their own.
func order(o annotation.Options) (*Order, []Skip) {
	var p Order
	if o.Create != nil {
		p = *o.Create
	}
	var skips []Skip
	if net := (InternetAccess{InternetChargeType: o.ChargeType}); o.ChargeType != "" || o.Bandwidth != 0 {
		if o.Bandwidth != 0 {
			net.InternetMaxBandwidthOut = &o.Bandwidth
		}
		if given := p.InternetAccessible; given != nil {
			net.InternetChargeType = cmp.Or(given.InternetChargeType, net.InternetChargeType)
			net.InternetMaxBandwidthOut = cmp.Or(given.InternetMaxBandwidthOut, net.InternetMaxBandwidthOut)
			net.BandwidthpkgSubType = given.BandwidthpkgSubType
		}
		if o.SubnetID == "" {
			p.InternetAccessible = &net
		} else {
			skips = append(skips, Skip{Object: "annotation " + annotation.Bandwidth, Reason: BadAnnotation, Warning: true,
				Message: fmt.Sprintf("Annotations %s and %s have no effect: the CLB is internal, and traffic in the VPC is neither billed nor bounded; remove them, or %s",
					annotation.ChargeType, annotation.Bandwidth, annotation.InternalSubnet)})
		}
	}
	if len(p.SnatIPs) == 0 {
		p.SnatIPs = o.SnatSubnets
	}
	if p.SnatPro == nil && (remote(o) || len(p.SnatIPs) > 0) { // CLB takes no order of addresses without.
		p.SnatPro = new(true)
	}
	if p.String() == "" {
		return nil, skips
	}
	return &p, skips
}

// remote reports whether targets are outside of the VPC of the CLB, so that it needs addresses of its own there.
func remote(o annotation.Options) bool {
	return o.Hybrid || o.CrossRegion != "" || o.CrossVPC != ""
}

// Ingress is what status.loadBalancer says of a CLB: its addresses, or its domain if it has none. mode is what becomes of
// connections to an address from within the cluster; "" is VIP: they are served by their own node, since CLB would drop
// one that it sends back to the node where it came from. A domain is never served so.
func Ingress(i Instance, mode string) []corev1.LoadBalancerIngress {
	var in []corev1.LoadBalancerIngress
	ipMode := corev1.LoadBalancerIPMode(cmp.Or(mode, string(corev1.LoadBalancerIPModeVIP)))
	for _, vip := range i.VIPs {
		in = append(in, corev1.LoadBalancerIngress{IP: vip.String(), IPMode: &ipMode})
	}
	if len(in) == 0 && i.Domain != "" {
		in = append(in, corev1.LoadBalancerIngress{Hostname: i.Domain})
	}
	return in
}
