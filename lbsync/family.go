// SPDX-License-Identifier: Apache-2.0

package lbsync

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/clbsync/clbsync/lbsync/annotation"
)

// The values of AddressIPVersion, in CLB's spelling.
const (
	wireIPv4  = "IPV4"
	wireNAT64 = "IPV6"
	wireIPv6  = "IPv6FullChain"
)

// version returns the address family in CLB's own word; "" if that is none.
func version(word string) (IPVersion, bool) {
	switch word {
	case wireIPv4:
		return IPv4, true
	case wireNAT64:
		return NAT64, true
	case wireIPv6:
		return IPv6, true
	}
	return IPv4, false
}

// IPVersion returns the address family of the CLB, which it has for ever; while there is none, the one that the Service
// asks for: that of AddressIPVersion, if its creation parameters name one, or of its first family. clb may be nil.
func (s Service) IPVersion(clb *Instance) IPVersion {
	if clb != nil && clb.Order != nil {
		if v, ok := version(clb.Order.AddressIPVersion); ok {
			return v
		}
	}
	if c := s.Options.Create; c != nil {
		if v, ok := version(c.AddressIPVersion); ok {
			return v
		}
	}
	if f := s.Spec.IPFamilies; len(f) > 0 && f[0] == corev1.IPv6Protocol {
		return IPv6
	}
	return IPv4
}

// ipFamily is the family of the targets of a CLB of the version.
func (v IPVersion) ipFamily() corev1.IPFamily {
	if v == IPv6 {
		return corev1.IPv6Protocol
	}
	return corev1.IPv4Protocol
}

// family is that of the slices whose endpoints serve a CLB of the version.
func (v IPVersion) family() discoveryv1.AddressType {
	return discoveryv1.AddressType(v.ipFamily())
}

// ordered adds to an order what the families of the Service ask for. It changes nothing in o, which may be nil.
func (s Service) ordered(o *annotation.CreateParameters) *annotation.CreateParameters {
	if s.IPVersion(nil) != IPv6 || o != nil && o.AddressIPVersion != "" {
		return o
	}
	out := annotation.CreateParameters{}
	if o != nil {
		out = *o
	}
	out.AddressIPVersion = wireIPv6
	return &out
}

// familySkips returns what is wrong with the families that the Service asks for. A CLB has one: of a dual-stack Service
// the other one is left out. clb is nil while there is none.
func familySkips(svc Service, clb *Instance) []Skip {
	families, v := svc.Spec.IPFamilies, svc.IPVersion(clb)
	want := v.ipFamily()
	skip := func(reason Reason, blocking bool, format string, args ...any) []Skip {
		return []Skip{{Object: "spec.ipFamilies", Reason: reason, Warning: true, Blocking: blocking, Creation: clb == nil, Message: fmt.Sprintf(format, args...)}}
	}
	o := svc.Options
	switch {
	case len(families) > 0 && !slices.Contains(families, want) && clb != nil:
		return skip(UnsupportedFamily, true, "spec.ipFamilies is %v, and CLB %s has %s targets: nothing is changed for the Service; use a CLB of its family", families, clb.ID, want)
	case len(families) > 0 && !slices.Contains(families, want):
		return skip(UnsupportedFamily, true, "spec.ipFamilies is %v, and AddressIPVersion in the annotation %s asks for a CLB with %s targets, which the Service does not have: nothing is created for it until AddressIPVersion is left out, or spec.ipFamilies has %s",
			families, annotation.CreateParams, want, want)
	case clb == nil && o.LoadBalancerID == "" && v == IPv6 && o.ExistingID == "" && o.SubnetID == "" && (o.Create == nil || o.Create.SubnetID == ""):
		return skip(UnsupportedFamily, true, "A CLB for IPv6 needs a subnet with IPv6 addresses, and none is named: nothing is created until the annotation %s has it, such as {\"SubnetId\":\"subnet-2ab3c4d5\"}", annotation.CreateParams)
	case len(families) > 1:
		other := families[0]
		if other == want {
			other = families[1]
		}
		return skip(SecondFamily, false, "spec.ipFamilies is %v, and a CLB has one family: this Service's has %s. For %s make a second Service with the same selector and spec.ipFamilies: [%s]", families, want, other, other)
	}
	return nil
}
