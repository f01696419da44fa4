// SPDX-License-Identifier: Apache-2.0

// Package clbsim is a simulated Tencent Cloud CLB: the API as the real one
// speaks it over HTTP (signatures, error envelopes, asynchronous tasks, one
// write at a time per CLB, rate limits, quotas), the few CVM and tag actions
// that go with it, health checks, and an admin port for tests and people.
//
//	API  ─ auth ─ rate limit ─ fault ─┐
//	                                  ├─ cloud (every rule, pure) ─ forwarding ─ datapath (nftables)
//	admin ─ state, calls, edits ──────┘        └ probes ─ probe (real connections)
//
// This package is the edge: it owns the clock, the lock around the state, the
// sockets and the goroutines, and decides nothing about load balancers;
// package cloud does. cmd/clbsim runs it as a program, Go tests embed it:
//
//	cfg := clbsim.Example()
//	cfg.Tasks.Delay = clbsim.Duration(5 * time.Millisecond)
//	sim, err := clbsim.New(cfg)
//	defer sim.Close()
//	srv := httptest.NewServer(sim.Handler())
//
// What is documented of the real CLB, what is assumed and what is left out is
// in README.md.
package clbsim
