// SPDX-License-Identifier: Apache-2.0

package lbsync

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// Labels and taints of nodes that decide whether, and how, they are targets.
const (
	labelInstanceID      = "cloud.tencent.com/node-instance-id" // set by TKE
	labelControlPlane    = "node-role.kubernetes.io/control-plane"
	labelMaster          = "node-role.kubernetes.io/master"
	taintAutoscaler      = "ToBeDeletedByClusterAutoscaler"
	taintKarpenter       = "karpenter.sh/disrupted"
	virtualInstanceType  = "eklet"           // a TKE super node: a pod host without a CVM
	labelVirtualKubelet  = "type"            // of a virtual kubelet
	valueVirtualKubelet  = "virtual-kubelet" //
	nativeInstancePrefix = "kn-"             // a TKE native node: known by its address only
	instancePrefix       = "ins-"
)

// host is a node that is, or could be, a target.
type host struct {
	node     *corev1.Node
	at       [namings]candidate
	draining Reason // "": takes new connections
	zone     string
}

// naming is how a target names its node.
type naming int

const (
	byInstance naming = iota // as CLB likes it best; a native node has no instance and is named by its IPv4 address
	byHybrid                 // the same, and a node outside of the cloud by its IPv4 address
	byIPv4                   // a CLB in another network does not know the instances of this one
	byIPv6                   // an instance stands for its IPv4 address alone
	namings
)

// candidate is who may become a target.
type candidate struct {
	target Target // of a node without a port; the zero value: it cannot be named so
	name   string // of the node, or the pod
	zone   string
}

// name works out how targets may name the node. missing says that a lookup found no instance.
func (h *host) name(v view, missing bool) {
	at := func(n naming, t Target) {
		if t.Instance != "" || t.IP.IsValid() {
			h.at[n] = candidate{target: t, name: h.node.Name, zone: h.zone}
		}
	}
	switch {
	case v.instance != "":
		at(byInstance, Target{Instance: v.instance})
	case v.native:
		at(byInstance, Target{IP: v.ip})
	case missing && v.foreign:
		at(byHybrid, Target{IP: v.ip})
	}
	if c := h.at[byInstance]; c.target != (Target{}) {
		h.at[byHybrid] = c
	}
	at(byIPv4, Target{IP: v.ip})
	at(byIPv6, Target{IP: v.ip6})
}

// foreign reports whether the node's object names neither Tencent Cloud nor an instance of it: with none found at its
// address either, it is outside of the cloud.
func foreign(node *corev1.Node) bool {
	scheme, _, _ := strings.Cut(node.Spec.ProviderID, "://")
	return scheme != "qcloud" && scheme != "tencentcloud" && !strings.HasPrefix(node.Labels[labelInstanceID], instancePrefix)
}

// ineligible returns why a node can be no target at all, or "".
func (s Settings) ineligible(node *corev1.Node) (Reason, string) {
	if node.DeletionTimestamp != nil {
		return NodeDeleted, "is being deleted"
	}
	// cloud-provider v0.34 and later read the value: "false" keeps the node, anything else excludes it.
	if v, ok := node.Labels[corev1.LabelNodeExcludeBalancers]; ok {
		if exclude, err := strconv.ParseBool(v); err != nil || exclude {
			return NodeExcluded, "carries the label " + corev1.LabelNodeExcludeBalancers
		}
	}
	if node.Labels[corev1.LabelInstanceTypeStable] == virtualInstanceType || node.Labels[labelVirtualKubelet] == valueVirtualKubelet {
		return NodeVirtual, "is virtual: it has no CVM instance that could be bound"
	}
	if !s.ControlPlaneNodes {
		for _, label := range []string{labelControlPlane, labelMaster} {
			if _, ok := node.Labels[label]; ok {
				return NodeControlPlane, "carries the label " + label
			}
		}
	}
	return "", ""
}

// going reports whether the node is about to be deleted, and how that is known. A cordoned node is not
// going: cordon says nothing about the pods that run there.
func going(node *corev1.Node) (why string, going bool) {
	for _, taint := range node.Spec.Taints {
		if taint.Key == taintAutoscaler || taint.Key == taintKarpenter {
			return "is about to be deleted (taint " + taint.Key + ")", true
		}
	}
	return "", false
}

func notReady(node *corev1.Node) (why string, notReady bool) {
	for _, c := range node.Status.Conditions {
		if c.Type == corev1.NodeReady && c.Status != corev1.ConditionTrue {
			return fmt.Sprintf("is not ready (%s)", c.Reason), true
		}
	}
	return "", false
}

// InstanceID returns the CVM instance that the node's own object names, or "" if it names none; native is
// true for a TKE native node, which has no CVM instance and is bound by its address.
func InstanceID(node *corev1.Node) (id string, native bool) {
	if scheme, rest, ok := strings.Cut(node.Spec.ProviderID, "://"); ok && (scheme == "qcloud" || scheme == "tencentcloud") {
		last := rest[strings.LastIndexByte(rest, '/')+1:]
		switch {
		case strings.HasPrefix(last, instancePrefix):
			return last, false
		case strings.HasPrefix(last, nativeInstancePrefix):
			return "", true
		}
	}
	if id := node.Labels[labelInstanceID]; strings.HasPrefix(id, instancePrefix) {
		return id, false
	}
	return "", false
}

// internalIPs returns the node's first InternalIP of each family, the zero value where it has none.
func internalIPs(node *corev1.Node) (ip4, ip6 netip.Addr) {
	for _, a := range node.Status.Addresses {
		if a.Type != corev1.NodeInternalIP {
			continue
		}
		switch ip, err := netip.ParseAddr(a.Address); {
		case err != nil:
		case ip.Is4() && !ip4.IsValid():
			ip4 = ip
		case ip.Is6() && !ip.Is4In6() && !ip6.IsValid():
			ip6 = ip
		}
	}
	return ip4, ip6
}

// LookupAddress returns the address to look the node's instance up by: its IPv4 InternalIP, if its object
// names no instance and it can have one.
func LookupAddress(node *corev1.Node) (netip.Addr, bool) {
	if id, native := InstanceID(node); id != "" || native {
		return netip.Addr{}, false
	}
	ip, _ := internalIPs(node)
	return ip, ip.IsValid()
}
