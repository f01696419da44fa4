// SPDX-License-Identifier: Apache-2.0

// Package lbsync holds the words and every decision about load balancers: which CLB, listeners and targets
// a Service should have (Desired), what differs from what is there (Diff), and which change is safe to make
// now (Next). It is called by lbsync/controller and, for the words alone, by lbsync/clb and provider.
//
// It never calls anybody: no API, no Kubernetes client, no clock, no logger, no environment. The same input
// gives the same output, and the text of a Plan is the same text, so that one text serves as log line,
// golden file and answer of a dry run.
//
//	objects ──► Snapshot ──► Desired ──┐
//	                                   ├──► Next ──► Step ──► Apply ──► actual ──► Next …
//	CLB ─────────────────► actual ─────┘
//
// The words, one for each thing:
//
//	LoadBalancer  a CLB with its listeners and targets: as it is (actual) or as it should be (desired)
//	Instance      the CLB itself, without what hangs on it
//	Listener      a protocol and a port of a CLB, and its settings
//	Target        a CVM instance (or an address) and a port; CLB also says real server, backend
//	Binding       a target of a listener
//	Weight        the share of a binding: 0 (no new connections) to 100
//	Plan          changes, sorted; Step: the part of a plan that is safe now, and when to look again
//	Gate          what becomes of a pod's readiness gate, which waits for the pod's node to be a healthy target
//	Skip          something that was left out of the desired state, and why
package lbsync
