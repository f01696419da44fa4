// SPDX-License-Identifier: Apache-2.0

package nodeagent

import (
	"net/netip"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// PodTraffic tells which packets come from pods of this cluster. At most one field is set; all empty means that it
// is not known, and then pods are treated like clients from outside.
type PodTraffic struct {
	CIDRs           []netip.Prefix // of both families: each uses its own
	Interface       string         // the bridge that all pods hang on
	InterfacePrefix string         // what the names of all pods' interfaces begin with
}

// Known tells whether there is a way to recognise pods in the family.
func (p PodTraffic) Known(family corev1.IPFamily) bool {
	return p.Interface != "" || p.InterfacePrefix != "" || len(p.ofFamily(family).CIDRs) > 0
}

func (p PodTraffic) ofFamily(family corev1.IPFamily) PodTraffic {
	var cidrs []netip.Prefix
	for _, c := range p.CIDRs {
		if c.Addr().Is4() == (family == corev1.IPv4Protocol) {
			cidrs = append(cidrs, c.Masked())
		}
	}
	p.CIDRs = cidrs
	return p
}

// Settings are what an operator decides about a node.
type Settings struct {
	Pods PodTraffic
	// Localhost serves NodePorts on 127.0.0.0/8 too, and then guards the node's loopback services against
	// neighbours: net.ipv4.conf.*.route_localnet, which this needs, opens them. IPv4 only.
	Localhost bool
	// Forward accepts what the rules have redirected, also where the host's policy is to drop.
	Forward bool
	// DropInvalid drops packets that connection tracking calls INVALID. They would reach the client with the
	// endpoint's address, and the client would answer by resetting the connection.
	DropInvalid bool
}

// Source is where a packet comes from.
type Source int

// The sources, from the widest to the narrowest.
const (
	Anyone   Source = iota
	Pods            // what Settings.Pods describes
	ThisNode        // any address of this node, loopback included
)

// Pool is a set of endpoints of a frontend.
type Pool int

// The pools.
const (
	Cluster Pool = iota
	Local
)

// Verdict is what becomes of a packet.
type Verdict int

// The verdicts.
const (
	Pass    Verdict = iota // not ours: whatever comes next decides
	Forward                // sent on to an endpoint
	Drop                   // silence, so that a client tries again while the load balancer finds out
	Reject                 // refused: there is no endpoint anywhere
	Accept                 // taken in by this node: a health probe
)

func (v Verdict) String() string {
	return [...]string{"pass", "forward", "drop", "reject", "accept"}[v]
}

// Step sends packets of one source to one pool.
type Step struct {
	From       Source
	Masquerade bool // the endpoint sees this node's address instead of the client's
	To         Pool
}

// Frontend is a NodePort: what happens to the first packet of a flow that is addressed to it.
type Frontend struct {
	Name ServicePortName
	Port uint16
	// Steps are tried in order; the first whose source matches takes the packet.
	Steps []Step
	// Otherwise is the fate of a packet that no step takes: Drop or Reject, or Pass if the last step takes all.
	Otherwise Verdict
	// Cluster and Local hold the endpoints; a pool that a step names is never empty, and one that no step names
	// is nil. An endpoint that gets its own packet back sees the node's address: without that it would answer
	// itself directly and its connection would never open.
	Cluster, Local []netip.AddrPort
	// Affinity keeps a client address at its endpoint until it has opened no connection for that long; 0 is off.
	Affinity time.Duration
}

// Endpoints returns the frontend's endpoints of both pools, each once, sorted.
func (f Frontend) Endpoints() []netip.AddrPort {
	if len(f.Local) == 0 {
		return f.Cluster
	}
	all := slices.Concat(f.Cluster, f.Local)
	slices.SortFunc(all, netip.AddrPort.Compare)
	return slices.Compact(all)
}

// Pool returns one of the frontend's pools.
func (f Frontend) Pool(p Pool) []netip.AddrPort {
	if p == Local {
		return f.Local
	}
	return f.Cluster
}

// Rules is what the kernel must do on this node for one family, in no firewall's language. Equal input gives
// equal Rules.
type Rules struct {
	Family    corev1.IPFamily
	Settings  Settings   // those of the family: no CIDR of the other, Localhost only for IPv4
	Frontends []Frontend // sorted by protocol and port, each pair once
	Health    []uint16   // TCP ports that load balancers probe: let in, whatever the host's policy. Sorted
}

// NewRules returns the rules for the services.
func NewRules(family corev1.IPFamily, services Services, settings Settings) Rules {
	settings.Pods = settings.Pods.ofFamily(family)
	settings.Localhost = settings.Localhost && family == corev1.IPv4Protocol
	rules := Rules{Family: family, Settings: settings, Frontends: make([]Frontend, 0, len(services.Ports))}
	for _, p := range services.Ports {
		rules.Frontends = append(rules.Frontends, frontend(p, settings.Pods.Known(family)))
	}
	for _, h := range services.Health {
		rules.Health = append(rules.Health, h.Port)
	}
	return rules
}

func frontend(p ServicePort, podsKnown bool) Frontend {
	f := Frontend{Name: p.Name, Port: p.NodePort, Affinity: p.Affinity}
	if len(p.ClusterEndpoints) == 0 && len(p.LocalEndpoints) == 0 {
		f.Otherwise = Reject
		f.Affinity = 0
		return f
	}
	f.Cluster = p.ClusterEndpoints
	if !p.Local {
		f.Steps = clusterSteps
		return f
	}
	f.Steps = localSteps
	if len(p.LocalEndpoints) == 0 {
		f.Steps, f.Otherwise = f.Steps[:len(f.Steps)-1], Drop
	}
	if !podsKnown {
		f.Steps = f.Steps[1:]
	}
	f.Local = p.LocalEndpoints
	return f
}

// The steps of all frontends, which share them. Whoever is inside the cluster would reach a Service through its cluster
// IP; that the way led over a NodePort must not make it depend on where the endpoints are.
var (
	clusterSteps = []Step{{From: Anyone, Masquerade: true, To: Cluster}}
	localSteps   = []Step{{From: Pods, To: Cluster}, {From: ThisNode, Masquerade: true, To: Cluster}, {From: Anyone, To: Local}}
)
