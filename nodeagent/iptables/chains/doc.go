// SPDX-License-Identifier: Apache-2.0

// Package chains turns the rules of a node into iptables chains, reads back what iptables-save prints, and finds
// the smallest iptables-restore input between the two. It is text in, text out: nodeagent/iptables runs the
// programs.
//
// Every chain begins with CLBN-; chains of other owners are never written, and of the built-in chains only our own
// jumps are touched. The way of a packet:
//
//	nat PREROUTING, OUTPUT ─► CLBN-NAT ─ to this node? ─► CLBN-NP ─► CLBN-NP-T7 ─► CLBN-NP-T75 ─ port ─► CLBN-EXT-H
//	   CLBN-EXT-H ─ random ─► DNAT to an endpoint; under policy Local to one here, and
//	      from pods and from this node ─► CLBN-CLU-H ─ random ─► DNAT to any, where those are others
//	      with client affinity ─ known or random ─► CLBN-EP-E (remember the client) ─► DNAT
//	nat POSTROUTING ─► CLBN-POST ─ marked by CLBN-MASQ, or from an endpoint to itself ─► MASQUERADE
//	filter INPUT ─► CLBN-INPUT ─► CLBN-HC (health ports: ACCEPT), CLBN-NOEP (no endpoints: CLBN-DROP, CLBN-REJECT)
//	filter FORWARD ─► CLBN-FORWARD (accept what was redirected)
//
// As few chains as can be: iptables-legacy copies the whole table for each change, and iptables-nft takes time with the
// square of the chains it names.
//
// H is the hash that kube-proxy puts into KUBE-EXT-H, E the one in KUBE-SEP-E. Rules are written in the very form
// in which iptables-save prints them, so that what is in the kernel can be compared with what should be there
// as text, and a restarted agent finds that nothing is to be done.
package chains
