// SPDX-License-Identifier: Apache-2.0

package echo

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"time"
)

const (
	longestLine      = 64 << 10 // of a TCP client; a longer one ends its connection
	delayedDatagrams = 1024     // answered at once under a delay; further ones are dropped, as a full socket buffer would
)

// ServeTCP answers each connection with one line and then echoes the client's lines until the client closes. It
// returns when the context ends (nil) or the listener fails; the listener and all connections are closed then.
func (s *Server) ServeTCP(ctx context.Context, l net.Listener) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(ctx, func() { l.Close() })()
	for {
		conn, err := l.Accept()
		if err != nil {
			l.Close()
			return unlessDone(ctx, err)
		}
		go s.serveConn(ctx, conn)
	}
}

func (s *Server) serveConn(ctx context.Context, conn net.Conn) {
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	defer conn.Close()
	stats := s.count(func(st *Stats) { st.TCP++; st.Open++ })
	defer s.count(func(st *Stats) { st.Open-- })

	peer, err := netip.ParseAddrPort(conn.RemoteAddr().String())
	if err != nil || !s.pause(ctx) {
		return
	}
	if err := json.NewEncoder(conn).Encode(s.answer("tcp", peer, stats.TCP)); err != nil {
		return
	}
	lines := bufio.NewScanner(conn)
	lines.Buffer(nil, longestLine)
	for lines.Scan() {
		if !s.pause(ctx) {
			return
		}
		if _, err := fmt.Fprintf(conn, "%s\n", lines.Bytes()); err != nil {
			return
		}
		s.count(func(st *Stats) { st.Line++ })
	}
}

// ServeUDP answers each datagram with one. It returns when the context ends (nil) or the socket fails, with the
// socket closed.
func (s *Server) ServeUDP(ctx context.Context, conn *net.UDPConn) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	delayed := make(chan struct{}, delayedDatagrams)
	buffer := make([]byte, 64<<10)
	for {
		_, peer, err := conn.ReadFromUDPAddrPort(buffer)
		if err != nil {
			conn.Close()
			return unlessDone(ctx, err)
		}
		stats := s.count(func(st *Stats) { st.UDP++ })
		answer, err := json.Marshal(s.answer("udp", peer, stats.UDP))
		if err != nil {
			return err
		}
		answer = append(answer, '\n')
		reply := func() { _, _ = conn.WriteToUDPAddrPort(answer, peer) } // a lost reply is UDP's right
		if s.Behaviour().Delay == 0 {
			reply()
			continue
		}
		select {
		case delayed <- struct{}{}:
			go func() {
				defer func() { <-delayed }()
				if s.pause(ctx) {
					reply()
				}
			}()
		default:
		}
	}
}

// ServeHTTP answers every path and method.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	stats := s.count(func(st *Stats) { st.HTTP++ })
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		http.Error(w, fmt.Sprintf("peer address %q: %v", r.RemoteAddr, err), http.StatusInternalServerError)
		return
	}
	if s.pause(r.Context()) {
		respond(w, s.answer("http", peer, stats.HTTP))
	}
}

// pause waits as long as the server is told to be slow and reports whether to go on.
func (s *Server) pause(ctx context.Context) bool {
	delay := s.Behaviour().Delay
	if delay <= 0 {
		return ctx.Err() == nil
	}
	select {
	case <-ctx.Done():
		return false
	case <-time.After(delay):
		return true
	}
}

// unlessDone hides the error that closing a socket at the context's end makes.
func unlessDone(ctx context.Context, err error) error {
	if ctx.Err() != nil && errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

func respond(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // the client may have gone
}
