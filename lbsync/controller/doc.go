// SPDX-License-Identifier: Apache-2.0

// Package controller keeps one CLB in step with each Service: it watches Services, Nodes and EndpointSlices,
// asks lbsync what should be and which step is safe now, has the cloud carry it out, and writes down in
// Kubernetes what came of it. It takes the place of the stock service controller.
//
// It decides only when to look and when to try again. What a CLB should look like is decided by
// lbsync, and how the cloud is spoken to, by lbsync/clb. provider and cmd/clb-cloud-controller-manager call it.
//
//	informers ─► handlers ─► queue, one key per CLB ─► sync ─► Desired ─► Next ─► Apply ─► status, Events
//	                            ▲                        │
//	                            └── waits and retries ───┘
//
// Everything that changes one CLB goes through the queue under that CLB's key, so a CLB has one writer.
package controller
