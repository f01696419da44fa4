// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"time"
)

// accept takes the connections of a TCP_SSL listener. Beyond the bound a
// client waits to be accepted.
func (f *front) accept() {
	for {
		select {
		case f.slots <- struct{}{}:
		case <-f.ctx.Done():
			return
		}
		c, err := f.listener.Accept()
		if err != nil {
			return
		}
		f.done.Go(func() {
			defer func() { <-f.slots }()
			f.stream(c)
		})
	}
}

// stream ends TLS and copies both ways.
func (f *front) stream(raw net.Conn) {
	defer raw.Close()
	defer context.AfterFunc(f.ctx, func() { raw.Close() })()
	conf := f.now()
	config, err := f.keys.config(conf.TLS, false)
	if err != nil {
		return
	}
	config.NextProtos = nil // what is inside is not ours to choose
	client := tls.Server(raw, config)
	ctx, cancel := context.WithTimeout(f.ctx, patience)
	defer cancel()
	if err := client.HandshakeContext(ctx); err != nil {
		return
	}
	from := addressOf(raw.RemoteAddr())
	p := f.picker("")
	to, done, ok := p.pick("", from.Addr())
	if !ok {
		return
	}
	defer done()
	source := f.source
	if f.borrow != nil && f.borrow(ctx, from.Addr()) == nil {
		source = from.Addr() // layer 4 keeps the client's address
	}
	server, err := f.dial(ctx, to, source)
	if err != nil {
		return
	}
	defer server.Close()
	if !f.track(server, p, to) {
		return
	}
	defer f.untrack(server)
	if conf.ProxyProtocol {
		if _, err := server.Write(proxyHeader(from, netip.AddrPortFrom(conf.VIP, conf.Port))); err != nil {
			return
		}
	}
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		_, _ = io.Copy(server, client)
		halfClose(server)
	}()
	_, _ = io.Copy(client, server)
	// The target has said all: the client may finish, for a while.
	_ = client.CloseWrite()
	_ = client.SetReadDeadline(time.Now().Add(patience))
	<-sent
}

func halfClose(c net.Conn) {
	if t, ok := c.(*net.TCPConn); ok {
		_ = t.CloseWrite()
	}
}

func addressOf(a net.Addr) netip.AddrPort {
	p, err := netip.ParseAddrPort(a.String())
	if err != nil {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(p.Addr().Unmap(), p.Port())
}

// proxyHeader is version 2 of the PROXY protocol, over IPv4.
func proxyHeader(from, to netip.AddrPort) []byte {
	out := []byte("\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c")
	src, dst := from.Addr().As4(), to.Addr().As4()
	out = append(append(out, src[:]...), dst[:]...)
	out = binary.BigEndian.AppendUint16(out, from.Port())
	return binary.BigEndian.AppendUint16(out, to.Port())
}
