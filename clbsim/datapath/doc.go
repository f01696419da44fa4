// SPDX-License-Identifier: Apache-2.0

// Package datapath forwards real packets for a simulated CLB, in the network
// namespace that it runs in: from VIP:port to the targets that receive, by
// weight, with the client's address kept. Rendering rules from what the
// listeners say, and finding the smallest change between two rule sets, are
// pure; Path loads them with nft in one transaction, into the table
// "ip clbsim", and touches nothing else. The simulator calls it.
//
// How a packet goes, for a listener lbl-1 on VIP:80 with two targets:
//
//	prerouting, output   to a VIP? ─► dispatch ─ listeners[tcp . VIP . 80] ─► chain lbl-1
//	lbl-1                the next slot of the weighted sequence ─► dnat to its target
//	forward, guard       a flow to a VIP whose target is no longer bound is dropped
//	postrouting          a probe, or a connection of a proxy, gets the source that its mark names
//
// The connections of TCP_SSL, HTTP and HTTPS listeners end on this machine, at
// a port of package proxy:
//
//	lbl-2                redirect to the port; what the proxy answers passes guard
//	postrouting          its connections to targets come from health.proxy, or, of TCP_SSL, from the client
//
// Only the first packet of a flow meets the nat chains, so a change of weights
// or health never moves an established flow. Each listener has its own chain
// and its own counter: a change of one leaves the others' sequence alone.
package datapath
