// SPDX-License-Identifier: Apache-2.0

package churn

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/clbsync/clbsync/lab/cluster"
	"github.com/clbsync/clbsync/lab/e2e"
)

// dialer opens sockets on the client's machine, all of them by one thread that stays there: hundreds of connections per
// second of which each takes a thread into another network namespace, and holds it until the answer, are more than a small
// machine can do beside a cluster.
type dialer struct {
	orders chan order
	flows  atomic.Uint32 // UDP requests so far
}

type order struct {
	kind   int // SOCK_STREAM or SOCK_DGRAM
	to     netip.AddrPort
	source uint16 // port; 0: any
	done   chan<- opened
}

type opened struct {
	fd  int
	err error
}

// startDialer starts the thread. stop ends it.
func startDialer(lab *e2e.Lab) (d *dialer, stop func() error) {
	d = &dialer{orders: make(chan order)}
	ended := make(chan error, 1)
	go func() {
		ended <- lab.InNetNS(cluster.Client, func() error {
			for o := range d.orders {
				fd, err := connect(o)
				o.done <- opened{fd, err}
			}
			return nil
		})
	}()
	return d, func() error { close(d.orders); return <-ended }
}

// connect begins a connection without waiting for its end.
func connect(o order) (int, error) {
	fd, err := unix.Socket(unix.AF_INET, o.kind|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	if o.source != 0 {
		err = unix.Bind(fd, &unix.SockaddrInet4{Addr: clientIP.As4(), Port: int(o.source)})
	}
	if err == nil {
		err = unix.Connect(fd, &unix.SockaddrInet4{Addr: o.to.Addr().As4(), Port: int(o.to.Port())})
	}
	if err != nil && !errors.Is(err, unix.EINPROGRESS) {
		return 0, errors.Join(err, unix.Close(fd))
	}
	return fd, nil
}

// dial is a probe.Dial. A TCP connection may still be under way when it returns; what becomes of it is seen by the first
// read.
func (d *dialer) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	to, err := netip.ParseAddrPort(addr)
	if err != nil {
		return nil, err
	}
	done := make(chan opened, 1)
	o := order{kind: unix.SOCK_STREAM, to: to, done: done}
	if network == "udp" {
		// A load balancer keeps a UDP flow on its target, by the source port, so each request has another one.
		const first, last = 10_000, 32_000
		o.kind, o.source = unix.SOCK_DGRAM, uint16(first+(d.flows.Add(1)-1)%(last-first))
	}
	select {
	case d.orders <- o:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	made := <-done
	if made.err != nil {
		return nil, fmt.Errorf("dial %s: %w", addr, made.err)
	}
	file := os.NewFile(uintptr(made.fd), addr)
	defer file.Close()
	return net.FileConn(file)
}
