// SPDX-License-Identifier: Apache-2.0

package nodeagent

import (
	"cmp"
	"net/netip"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Snapshot is all that Desired looks at. The objects are read only and may be shared with informers.
type Snapshot struct {
	NodeName string
	Node     *corev1.Node // nil when unknown: the node is then in no zone
	Services []*corev1.Service
	Slices   []*discoveryv1.EndpointSlice
	// Gated holds the pods of this node, by UID, that nothing but the readiness gate clbsync.io/target-health keeps from
	// being ready. nil: there is none, or gates are not looked at.
	Gated map[types.UID]bool
}

// ServicePortName identifies one port of one Service.
type ServicePortName struct {
	types.NamespacedName
	Port     string // the port's name, "" if it has none
	Protocol corev1.Protocol
}

// String is "namespace/name:port", or "namespace/name" for a port without a name. Chain names are hashes of
// this text, and kube-proxy hashes the same, so that an operator can match the two by eye.
func (n ServicePortName) String() string {
	if n.Port == "" {
		return n.NamespacedName.String()
	}
	return n.NamespacedName.String() + ":" + n.Port
}

// Endpoint is one address that backs a service port, with the conditions that decide whether it is used.
type Endpoint struct {
	Address     netip.AddrPort
	Local       bool // on this node
	Ready       bool
	Serving     bool
	Terminating bool
	// Gated is set for an endpoint on this node that is not ready because its pod waits for a load balancer to find this
	// very node healthy. It serves Local and counts for health ports as if it were ready: else each would wait for the
	// other.
	Gated bool

	nodeHints, zoneHints []string
}

// ServicePort is a NodePort of one Service, in one family, with the endpoints that it may use.
type ServicePort struct {
	Name     ServicePortName
	NodePort uint16 // never 0
	Local    bool   // externalTrafficPolicy is Local
	Affinity time.Duration
	// Endpoints are all that the slices name, usable or not, sorted by address, each address once.
	Endpoints []Endpoint
	// ClusterEndpoints may take traffic that came to any node: the ready ones, within the topology hints if
	// those can be used; if there is none, those that terminate and still serve. Empty means that the
	// Service has no usable endpoint anywhere. With Local set and no other endpoint, gated ones stand in.
	ClusterEndpoints []netip.AddrPort
	// LocalEndpoints are chosen in the same way among the endpoints on this node; hints play no part.
	// It is nil unless Local is set.
	LocalEndpoints []netip.AddrPort
}

// HealthPort is what the node answers on one healthCheckNodePort.
type HealthPort struct {
	Service types.NamespacedName
	Port    uint16 // never 0
	// Addresses are those of ready, or gated, endpoints on this node, over all ports, each once, sorted. An endpoint that
	// terminates is not among them although it may still get traffic: the load balancer is to stop sending before
	// the endpoint stops serving.
	Addresses []netip.Addr
}

// Services is the service model of one node and family.
type Services struct {
	Ports  []ServicePort // sorted by protocol and node port, each pair once
	Health []HealthPort  // sorted by port, each port once
	Skips  []Skip        // sorted
}

// Skip is a part of the input that could not be used, and why. Everything else is unaffected by it.
type Skip struct {
	Object string // "Service namespace/name" or "EndpointSlice namespace/name"
	Reason string
}

// Compare orders skips by object, then reason.
func (s Skip) Compare(other Skip) int {
	return cmp.Or(cmp.Compare(s.Object, other.Object), cmp.Compare(s.Reason, other.Reason))
}
