// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"time"
)

// InNetNS calls fn on an OS thread of its own in the machine's network namespace. Only what that very thread does is
// there: sockets opened by a goroutine that fn starts are the host's.
func (m *Machine) InNetNS(fn func() error) error {
	namespaces, err := openNamespaces(m.pid, "net")
	if err != nil {
		return fmt.Errorf("enter the network of %s: %w", m.Name, err)
	}
	defer closeNamespaces(namespaces)
	return onThread(func() error {
		if err := enter(namespaces); err != nil {
			return err
		}
		return fn()
	})
}

// Dial connects from the machine's network namespace. addr is IP:port: a name would be looked up elsewhere. d may
// bring a local address and timeouts.
func (m *Machine) Dial(ctx context.Context, d net.Dialer, network, addr string) (net.Conn, error) {
	if _, err := netip.ParseAddrPort(addr); err != nil {
		return nil, fmt.Errorf("dial from %s: %w: want IP:port", m.Name, err)
	}
	var conn net.Conn
	err := m.InNetNS(func() (err error) {
		conn, err = d.DialContext(ctx, network, addr)
		return err
	})
	return conn, err
}

// Listen listens for TCP connections in the machine's network namespace.
func (m *Machine) Listen(ctx context.Context, network, addr string) (net.Listener, error) {
	var l net.Listener
	err := m.InNetNS(func() (err error) {
		l, err = new(net.ListenConfig).Listen(ctx, network, addr)
		return err
	})
	return l, err
}

// ListenPacket listens for datagrams in the machine's network namespace.
func (m *Machine) ListenPacket(ctx context.Context, network, addr string) (net.PacketConn, error) {
	var c net.PacketConn
	err := m.InNetNS(func() (err error) {
		c, err = new(net.ListenConfig).ListenPacket(ctx, network, addr)
		return err
	})
	return c, err
}

// HTTPClient returns a client that connects from the machine. URLs name hosts by IP address.
func (m *Machine) HTTPClient() *http.Client {
	return &http.Client{
		Timeout: 30 * time.Second,
		Transport: &http.Transport{
			DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
				return m.Dial(ctx, net.Dialer{Timeout: 5 * time.Second}, network, addr)
			},
			IdleConnTimeout: 30 * time.Second,
		},
	}
}
