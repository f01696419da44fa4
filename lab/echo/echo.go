// SPDX-License-Identifier: Apache-2.0

// Package echo is the program in the lab's pods: over TCP, UDP and HTTP it answers who it is and which peer address it
// saw. That answer is how every test learns where a packet went and whether the client's address survived the way.
//
// It can be told to misbehave as real programs do (slow, not ready, deaf to SIGTERM, serving on after it). It never
// logs requests and never dials out. cmd/echo runs it in a pod; tests run it in-process on loopback; package probe
// reads its answers.
package echo

import (
	"net/netip"
	"sync"
)

// Answer is what the program says to each request: one JSON object, over TCP and UDP followed by a newline.
type Answer struct {
	Pod      string         `json:"pod"`
	Node     string         `json:"node"`
	Peer     netip.AddrPort `json:"peer"`     // the source address and port that arrived at the pod
	Protocol string         `json:"protocol"` // "tcp", "udp" or "http"
	Count    uint64         `json:"count"`    // requests of this protocol since the start, this one included
}

// Stats counts what has arrived since the start.
type Stats struct {
	TCP  uint64 `json:"tcp"`  // connections accepted
	Open int64  `json:"open"` // TCP connections that are open now
	Line uint64 `json:"line"` // lines echoed on TCP connections
	UDP  uint64 `json:"udp"`  // datagrams
	HTTP uint64 `json:"http"` // requests
}

// Server answers requests. Its methods may be called concurrently.
type Server struct {
	pod, node string

	mu        sync.Mutex
	behaviour Behaviour
	stats     Stats
}

// New returns a server that answers in the name of this pod and node.
func New(pod, node string, b Behaviour) *Server {
	return &Server{pod: pod, node: node, behaviour: b}
}

// Behaviour returns how the server behaves now.
func (s *Server) Behaviour() Behaviour {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.behaviour
}

// Stats returns what has arrived so far.
func (s *Server) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stats
}

// count changes the statistics under the lock and returns them.
func (s *Server) count(change func(*Stats)) Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&s.stats)
	return s.stats
}

func (s *Server) answer(protocol string, peer netip.AddrPort, count uint64) Answer {
	// A dual-stack socket reports IPv4 peers as ::ffff:a.b.c.d, which no test would compare equal to a.b.c.d.
	peer = netip.AddrPortFrom(peer.Addr().Unmap(), peer.Port())
	return Answer{Pod: s.pod, Node: s.node, Peer: peer, Protocol: protocol, Count: count}
}
