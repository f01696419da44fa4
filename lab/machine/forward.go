// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// Forward makes to, an address that the machine can reach, reachable from the host as a port of 127.0.0.1, which it
// returns. A process of its own does it, so that it outlives the caller with the lab.
func (m *Machine) Forward(to netip.AddrPort) (netip.AddrPort, error) {
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return netip.AddrPort{}, err
	}
	defer listener.Close()
	file, err := listener.(*net.TCPListener).File()
	if err != nil {
		return netip.AddrPort{}, err
	}
	defer file.Close()
	cmd := exec.Command(m.lab.owner.Helper, "forward", m.lab.Name, m.Name, to.String())
	cmd.ExtraFiles = []*os.File{file}
	if _, err := m.start("forward", filepath.Join(m.Dir(), "forward.log"), cmd, nil); err != nil {
		return netip.AddrPort{}, fmt.Errorf("forward to %s: %w", to, err)
	}
	return netip.ParseAddrPort(listener.Addr().String())
}

// RunForwarder is the life of the process that Forward starts: it accepts on the socket that is its descriptor 3.
func RunForwarder(lab, name, to string) error {
	l, err := Open(lab)
	if err != nil {
		return err
	}
	m, err := l.Machine(name)
	if err != nil {
		return err
	}
	listener, err := net.FileListener(os.NewFile(3, "listener"))
	if err != nil {
		return fmt.Errorf("descriptor 3: %w", err)
	}
	for {
		conn, err := listener.Accept()
		if err != nil {
			return err
		}
		go func() {
			if err := m.relay(conn, to); err != nil {
				fmt.Fprintf(os.Stderr, "connection of %s: %v\n", conn.RemoteAddr(), err)
			}
		}()
	}
}

// relay passes bytes both ways and each side's end on to the other: kubectl exec ends its input long before the
// output ends.
func (m *Machine) relay(client net.Conn, to string) error {
	defer client.Close()
	server, err := m.Dial(context.Background(), net.Dialer{Timeout: 10 * time.Second}, "tcp", to)
	if err != nil {
		return err
	}
	defer server.Close()
	sent := make(chan error, 1)
	go func() { sent <- pass(server, client) }()
	return errors.Join(pass(client, server), <-sent)
}

func pass(to, from net.Conn) error {
	_, err := io.Copy(to, from)
	return errors.Join(err, to.(*net.TCPConn).CloseWrite())
}
