// SPDX-License-Identifier: Apache-2.0

// Package proxy carries the connections of a simulated CLB's TCP_SSL, HTTP and
// HTTPS listeners: it ends TLS with certificates that it makes for the
// configured ids, finds the rule of a request, and connects to a target that
// receives, by weight. Which target receives is decided in package cloud, and
// how packets for a VIP come here in package datapath, which is the only
// caller. Nothing of it verifies anything: it stands in for the cloud.
package proxy
