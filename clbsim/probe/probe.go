// SPDX-License-Identifier: Apache-2.0

// Package probe makes the health checks of a simulated CLB over real sockets:
// TCP connections, HTTP requests, pings and custom exchanges. It judges one
// answer; how many make a target healthy is decided in package health. Only
// the simulator calls it.
package probe

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"syscall"
	"time"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"

	"github.com/clbsync/clbsync/clbsim/cloud"
)

// Prober makes probes from this machine. It is safe for concurrent use.
type Prober struct {
	// Mark marks the packets of a probe with the address that they should seem
	// to come from, for the data path to put in. It needs NET_ADMIN. Without it
	// probes come from this machine.
	Mark bool
}

// Probe makes one health check within ctx. Nil means that the target is well;
// otherwise the error says what was wrong.
func (b Prober) Probe(ctx context.Context, p cloud.Probe) error {
	switch p.Check.Type {
	case cloud.CheckHTTP:
		return b.http(ctx, p)
	case cloud.CheckHTTPS:
		return b.https(ctx, p)
	case cloud.CheckGRPC:
		return b.grpc(ctx, p)
	case cloud.CheckCustom:
		return b.custom(ctx, p)
	case cloud.CheckPing:
		return b.ping(ctx, p)
	default:
		c, err := b.dial(ctx, "tcp", p)
		if err == nil {
			c.Close()
		}
		return err
	}
}

// dial connects to the target. The deadline of ctx becomes the connection's.
func (b Prober) dial(ctx context.Context, network string, p cloud.Probe) (net.Conn, error) {
	var d net.Dialer
	if b.Mark {
		d.Control = func(_, _ string, raw syscall.RawConn) error { return Mark(raw, p.Source) }
	}
	c, err := d.DialContext(ctx, network, p.Target.String())
	if err != nil {
		return nil, err
	}
	if t, ok := ctx.Deadline(); ok {
		if err := c.SetDeadline(t); err != nil {
			c.Close()
			return nil, err
		}
	}
	return c, nil
}

// http makes a request by hand: the version on the request line is part of
// the check, and redirects must not be followed.
func (b Prober) http(ctx context.Context, p cloud.Probe) error {
	c, err := b.dial(ctx, "tcp", p)
	if err != nil {
		return err
	}
	defer c.Close()
	return askHTTP(c, p.Check)
}

// https is http over TLS. The certificate of a target is not looked at.
func (b Prober) https(ctx context.Context, p cloud.Probe) error {
	c, err := b.dial(ctx, "tcp", p)
	if err != nil {
		return err
	}
	defer c.Close()
	return askHTTP(tls.Client(c, &tls.Config{ServerName: p.Check.HTTPDomain, InsecureSkipVerify: true}), p.Check) //nolint:gosec // nor does CLB
}

func askHTTP(c net.Conn, h cloud.HealthCheck) error {
	version := h.HTTPVersion
	if version == "" {
		version = "HTTP/1.1"
	}
	if _, err := fmt.Fprintf(c, "%s %s %s\r\nHost: %s\r\nUser-Agent: clb-healthcheck\r\nAccept: */*\r\nConnection: close\r\n\r\n", h.HTTPMethod, h.HTTPPath, version, h.HTTPDomain); err != nil {
		return err
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), &http.Request{Method: h.HTTPMethod})
	if err != nil {
		return err
	}
	resp.Body.Close()
	if class := resp.StatusCode / 100; class < 1 || class > 5 || h.HTTPCode&(1<<(class-1)) == 0 {
		return fmt.Errorf("HTTP status %d is not among the codes of mask %d", resp.StatusCode, h.HTTPCode)
	}
	return nil
}

// custom sends a text and wants the answer to begin with another.
func (b Prober) custom(ctx context.Context, p cloud.Probe) error {
	send, err := content(p.Check.Context, p.Check.Send)
	if err != nil {
		return err
	}
	want, err := content(p.Check.Context, p.Check.Receive)
	if err != nil {
		return err
	}
	network := "tcp"
	if p.UDP {
		network = "udp"
	}
	c, err := b.dial(ctx, network, p)
	if err != nil {
		return err
	}
	defer c.Close()
	if _, err := c.Write(send); err != nil {
		return err
	}
	got := make([]byte, 1500)
	n := 0
	for n < len(want) {
		m, err := c.Read(got[n:])
		n += m
		if err != nil || p.UDP {
			break
		}
	}
	if !bytes.HasPrefix(got[:n], want) {
		return fmt.Errorf("the answer %q does not begin with %q", got[:n], want)
	}
	return nil
}

func content(kind, text string) ([]byte, error) {
	if kind == "HEX" {
		return hex.DecodeString(text)
	}
	return []byte(text), nil
}

// ping is the check of UDP listeners: the machine answers an echo request, and
// does not answer a datagram to the port with "port unreachable". A service
// that says nothing is well, so a UDP port that is dropped looks well, too.
func (b Prober) ping(ctx context.Context, p cloud.Probe) error {
	if err := b.echo(ctx, p); err != nil {
		return err
	}
	c, err := b.dial(ctx, "udp", p)
	if err != nil {
		return err
	}
	defer c.Close()
	if _, err := c.Write(nil); err != nil {
		return err
	}
	// A refusal comes within a round trip. What has not come in half of the
	// time is taken not to come, so that the probe itself stays in time.
	if t, ok := ctx.Deadline(); ok {
		if err := c.SetReadDeadline(time.Now().Add(time.Until(t) / 2)); err != nil {
			return err
		}
	}
	_, err = c.Read(make([]byte, 1))
	if errors.Is(err, syscall.ECONNREFUSED) {
		return err
	}
	return nil
}

// echo pings the target's machine. Where this process may not send pings, it
// is taken to answer.
func (b Prober) echo(ctx context.Context, p cloud.Probe) error {
	network, to := "ip4:icmp", net.Addr(&net.IPAddr{IP: p.Target.Addr().AsSlice()})
	c, err := icmp.ListenPacket(network, "0.0.0.0")
	if errors.Is(err, os.ErrPermission) {
		network, to = "udp4", &net.UDPAddr{IP: p.Target.Addr().AsSlice()}
		c, err = icmp.ListenPacket(network, "0.0.0.0")
	}
	if errors.Is(err, os.ErrPermission) {
		return nil
	}
	if err != nil {
		return err
	}
	defer c.Close()
	if raw, ok := c.IPv4PacketConn().PacketConn.(syscall.Conn); b.Mark && ok {
		conn, err := raw.SyscallConn()
		if err != nil {
			return err
		}
		if err := Mark(conn, p.Source); err != nil {
			return err
		}
	}
	if t, ok := ctx.Deadline(); ok {
		if err := c.SetDeadline(t); err != nil {
			return err
		}
	}
	id := int(time.Now().UnixNano() & 0xffff)
	payload := []byte(p.Target.String())
	request, err := (&icmp.Message{Type: ipv4.ICMPTypeEcho, Body: &icmp.Echo{ID: id, Seq: 1, Data: payload}}).Marshal(nil)
	if err != nil {
		return err
	}
	if _, err := c.WriteTo(request, to); err != nil {
		return err
	}
	return awaitEcho(c, payload)
}

// awaitEcho reads until the reply comes. A raw socket sees the answers to all
// pings of this machine, and a datagram socket has an id of its own: the
// payload, which names the target, is what tells them apart.
func awaitEcho(c *icmp.PacketConn, payload []byte) error {
	const protocolICMP = 1
	buf := make([]byte, 1500)
	for {
		n, _, err := c.ReadFrom(buf)
		if err != nil {
			return fmt.Errorf("no answer to a ping: %w", err)
		}
		m, err := icmp.ParseMessage(protocolICMP, buf[:n])
		if err != nil || m.Type != ipv4.ICMPTypeEchoReply {
			continue
		}
		if e, ok := m.Body.(*icmp.Echo); ok && bytes.Equal(e.Data, payload) {
			return nil
		}
	}
}
