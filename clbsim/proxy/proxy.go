// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/clbsync/clbsync/clbsim/cloud"
	"github.com/clbsync/clbsync/clbsim/probe"
)

// The bounds of one listener.
const (
	maxConnections = 4096
	patience       = 10 * time.Second // for a handshake, a header, or a target to answer
)

// Proxy carries the listeners that Forward names. Forward and Close must not be
// called at the same time. The zero value carries none.
type Proxy struct {
	// Mark marks connections to targets with the address that they should seem
	// to come from. It needs NET_ADMIN.
	Mark bool
	// Borrow lets connections be marked with the address of a client of a
	// TCP_SSL listener, so that targets see it. It may be called from many
	// goroutines. Nil, or an error: targets see the proxy's own source.
	Borrow func(ctx context.Context, client netip.Addr) error

	keys   keys
	fronts map[string]*front
}

// Forward makes the given listeners the ones that are carried, and returns the
// port of this machine on which each waits for connections.
func (p *Proxy) Forward(ctx context.Context, f cloud.Forwarding) (map[string]uint16, error) {
	if p.fronts == nil {
		p.fronts = map[string]*front{}
	}
	ports := map[string]uint16{}
	for _, conf := range f.Proxies {
		at := p.fronts[conf.ID]
		if at == nil {
			l, err := (&net.ListenConfig{}).Listen(ctx, "tcp4", ":0")
			if err != nil {
				return nil, fmt.Errorf("listener %s: %w", conf.ID, err)
			}
			at = newFront(l, p.dial, &p.keys)
			at.source, at.borrow = f.Source, p.Borrow
			at.set(conf)
			at.start(conf.Protocol)
			p.fronts[conf.ID] = at
		} else {
			at.set(conf)
		}
		ports[conf.ID] = at.port
	}
	for id, at := range p.fronts {
		if !slices.ContainsFunc(f.Proxies, func(c cloud.ForwardingProxy) bool { return c.ID == id }) {
			at.close()
			delete(p.fronts, id)
		}
	}
	return ports, nil
}

// Close ends all listeners and their connections.
func (p *Proxy) Close() {
	for _, at := range p.fronts {
		at.close()
	}
	p.fronts = nil
}

type dialFunc func(ctx context.Context, to netip.AddrPort, source netip.Addr) (net.Conn, error)

// dial connects to a target, from a source that the data path puts in.
func (p *Proxy) dial(ctx context.Context, to netip.AddrPort, source netip.Addr) (net.Conn, error) {
	d := net.Dialer{Timeout: patience}
	if p.Mark {
		d.Control = func(_, _ string, raw syscall.RawConn) error { return probe.Mark(raw, source) }
	}
	return d.DialContext(ctx, "tcp", to.String())
}

// front is one listener.
type front struct {
	listener net.Listener
	port     uint16
	dial     dialFunc
	source   netip.Addr // of connections to targets
	borrow   func(ctx context.Context, client netip.Addr) error
	keys     *keys
	done     sync.WaitGroup
	ctx      context.Context // ends with the listener
	cancel   context.CancelFunc
	slots    chan struct{} // one token for each connection

	mu      sync.Mutex
	conf    cloud.ForwardingProxy
	pickers map[string]*picker // by rule, "" for layer 4
	conns   map[net.Conn]link
}

// link is a connection that ends when its target leaves its picker.
type link struct {
	picker *picker
	to     netip.AddrPort
}

func newFront(l net.Listener, dial dialFunc, k *keys) *front {
	ctx, cancel := context.WithCancel(context.Background())
	return &front{
		listener: l, port: netip.MustParseAddrPort(l.Addr().String()).Port(), dial: dial, keys: k, ctx: ctx, cancel: cancel,
		slots: make(chan struct{}, maxConnections), pickers: map[string]*picker{}, conns: map[net.Conn]link{},
	}
}

// set changes what the listener says. Connections to targets that are no
// longer registered end.
func (f *front) set(conf cloud.ForwardingProxy) {
	pools := map[string][]cloud.ForwardingTarget{"": conf.Targets}
	for _, s := range conf.Sites {
		for _, r := range s.Rules {
			pools[r.ID] = r.Targets
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.conf = conf
	for id, targets := range pools {
		if f.pickers[id] == nil {
			f.pickers[id] = newPicker()
		}
		f.pickers[id].set(targets)
	}
	for id, p := range f.pickers {
		if _, ok := pools[id]; !ok {
			p.set(nil)
			delete(f.pickers, id)
		}
	}
	for c, l := range f.conns {
		if !l.picker.bound(l.to) {
			c.Close()
		}
	}
}

func (f *front) now() cloud.ForwardingProxy {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.conf
}

func (f *front) picker(id string) *picker {
	f.mu.Lock()
	defer f.mu.Unlock()
	if p := f.pickers[id]; p != nil {
		return p
	}
	return newPicker()
}

// track remembers a connection to a target until it is let go. False means
// that the listener has ended, or the target has left.
func (f *front) track(c net.Conn, p *picker, to netip.AddrPort) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ctx.Err() != nil || !p.bound(to) {
		return false
	}
	f.conns[c] = link{p, to}
	return true
}

func (f *front) untrack(c net.Conn) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.conns, c)
}

func (f *front) start(protocol string) {
	if protocol == cloud.TCPSSL {
		f.done.Go(f.accept)
	} else {
		f.done.Go(f.serveHTTP)
	}
}

// close ends the listener, its connections, and waits for all of it.
func (f *front) close() {
	f.cancel()
	f.listener.Close()
	f.mu.Lock()
	for c := range f.conns {
		c.Close()
	}
	f.mu.Unlock()
	f.done.Wait()
}
