// SPDX-License-Identifier: Apache-2.0

// Package cloud is the state of a simulated Tencent Cloud account and every
// rule by which it changes: load balancers, listeners, targets, tasks, tags,
// quotas and instances. It decides what a request does and refuses what CLB
// refuses, with the code that CLB documents for that action.
//
// It has no clock, no goroutine, no network and no lock: each call brings the
// time along, and Advance carries out what has become due. Package clbsim is
// its only caller; it owns HTTP, signatures, rate limits, faults, probes and
// the data path, and serialises all access.
package cloud
