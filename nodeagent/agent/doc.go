// SPDX-License-Identifier: Apache-2.0

// Package agent is the loop of the node agent: it watches Services, EndpointSlices and its Node, has package nodeagent
// decide what follows, and keeps the kernel, the health ports and the UDP flows in step. One goroutine per address
// family writes rules; nothing is computed before all caches have synced. cmd/clb-node-agent calls it.
package agent
