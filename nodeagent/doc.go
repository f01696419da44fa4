// SPDX-License-Identifier: Apache-2.0

// Package nodeagent decides what one node does with packets for NodePorts and how it answers
// healthCheckNodePort probes.
//
//	Snapshot (Services, EndpointSlices, Node) ─ Desired ─► Services (ports, endpoint sets, health counts)
//	Services + Settings ─ NewRules ─► Rules (a value without any firewall syntax)
//	Rules ─ nodeagent/iptables/chains ─► text ─ nodeagent/iptables ─► the kernel
//
// One address family at a time: a dual-stack node runs the pipeline twice, and each family counts only its
// own endpoints. The behaviour is kube-proxy's in iptables mode; where it differs, the comment says why.
//
// The package never calls anything: no API server, no kernel, no clock, no log. nodeagent/agent calls it.
package nodeagent
