// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"cmp"
	"context"
	"crypto/tls"
	"fmt"
	"hash/fnv"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/clbsync/clbsync/clbsim/cloud"
)

// stickyCookie is what CLB calls the cookie that it inserts.
const stickyCookie = "tgw_l7_route"

// serveHTTP serves an HTTP or HTTPS listener until it ends.
func (f *front) serveHTTP() {
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true)
	protocols.SetUnencryptedHTTP2(true)
	srv := &http.Server{
		Handler: http.HandlerFunc(f.handle), ReadHeaderTimeout: patience, IdleTimeout: 75 * time.Second, Protocols: &protocols,
		BaseContext: func(net.Listener) context.Context { return f.ctx }, ErrorLog: log.New(io.Discard, "", 0),
	}
	defer context.AfterFunc(f.ctx, func() { srv.Close() })()
	l := net.Listener(&bounded{f.listener, f.slots, f.ctx})
	if f.now().Protocol == cloud.HTTPS {
		srv.TLSConfig = &tls.Config{GetConfigForClient: f.hello, NextProtos: []string{"h2", "http/1.1"}, MinVersion: tls.VersionTLS12}
		// The certificate is chosen with each handshake.
		srv.TLSConfig.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return nil, errNoCertificate }
		_ = srv.ServeTLS(l, "", "")
	} else {
		_ = srv.Serve(l)
	}
}

// hello chooses the certificate: the listener's, or with SNI the domain's.
func (f *front) hello(in *tls.ClientHelloInfo) (*tls.Config, error) {
	conf := f.now()
	s := site(conf.Sites, in.ServerName)
	t := conf.TLS
	if len(t.Certificates) == 0 && s != nil {
		t = s.TLS
	}
	return f.keys.config(t, s != nil && s.HTTP2)
}

// handle forwards one request to a target of its rule.
func (f *front) handle(w http.ResponseWriter, r *http.Request) {
	conf := f.now()
	s := site(conf.Sites, hostname(r.Host))
	if s == nil {
		http.Error(w, "404 Not Found: no rule for this domain", http.StatusNotFound)
		return
	}
	found := rule(s, r.URL.Path)
	if found == nil {
		http.Error(w, "404 Not Found: no rule for this path", http.StatusNotFound)
		return
	}
	client, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		http.Error(w, "400 Bad Request", http.StatusBadRequest)
		return
	}
	p := f.picker(found.ID)
	to, done, ok := f.choose(w, r, p, found, client.Addr().Unmap())
	if !ok {
		http.Error(w, "503 Service Unavailable: no target receives", http.StatusServiceUnavailable)
		return
	}
	defer done()
	f.forward(w, r, p, found, to)
}

// choose picks a target. A client of a sticky rule keeps its own as long as
// that receives.
func (f *front) choose(w http.ResponseWriter, r *http.Request, p *picker, found *cloud.ForwardingRule, client netip.Addr) (netip.AddrPort, func(), bool) {
	if found.Sticky == 0 {
		return p.pick(found.Scheduler, client)
	}
	name := cmp.Or(found.Cookie, stickyCookie)
	if c, err := r.Cookie(name); err == nil {
		if to, done, ok := p.keep(c.Value); ok {
			return to, done, true
		}
	}
	to, done, ok := p.pick(found.Scheduler, client)
	if ok {
		http.SetCookie(w, &http.Cookie{Name: name, Value: nameOf(to), Path: "/", MaxAge: int(found.Sticky / time.Second), HttpOnly: true})
	}
	return to, done, ok
}

// nameOf is the value of a sticky client's cookie.
func nameOf(a netip.AddrPort) string {
	h := fnv.New64a()
	_, _ = fmt.Fprint(h, a)
	return fmt.Sprintf("%016x", h.Sum64())
}

// forward sends a request to a target over a connection of its own, as CLB
// does without KeepaliveEnable.
func (f *front) forward(w http.ResponseWriter, r *http.Request, p *picker, found *cloud.ForwardingRule, to netip.AddrPort) {
	transport := &http.Transport{
		DisableKeepAlives: true, ResponseHeaderTimeout: time.Minute, TLSHandshakeTimeout: patience,
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true, ServerName: hostname(r.Host)}, //nolint:gosec // nor does CLB look at targets' certificates
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			c, err := f.dial(ctx, to, f.source)
			if err != nil {
				return nil, err
			}
			if !f.track(c, p, to) {
				c.Close()
				return nil, net.ErrClosed
			}
			return tracked{c, f}, nil
		},
	}
	scheme := "http"
	if strings.HasSuffix(found.ForwardType, "S") {
		scheme = "https"
	}
	if strings.HasPrefix(found.ForwardType, "GRPC") {
		transport.Protocols, transport.DisableKeepAlives = new(http.Protocols), false
		transport.Protocols.SetHTTP2(scheme == "https")
		transport.Protocols.SetUnencryptedHTTP2(scheme == "http")
		defer transport.CloseIdleConnections()
	}
	(&httputil.ReverseProxy{
		Transport: transport, FlushInterval: -1, ErrorLog: log.New(io.Discard, "", 0),
		Rewrite: func(pr *httputil.ProxyRequest) {
			pr.SetURL(&url.URL{Scheme: scheme, Host: to.String()})
			pr.Out.Host = pr.In.Host
			pr.Out.Header["X-Forwarded-For"] = pr.In.Header["X-Forwarded-For"]
			pr.SetXForwarded()
			pr.Out.Header.Set("X-Real-Ip", addressOfText(pr.In.RemoteAddr))
		},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
			http.Error(w, "502 Bad Gateway: "+err.Error(), http.StatusBadGateway)
		},
	}).ServeHTTP(w, r)
}

func addressOfText(hostport string) string {
	a, err := netip.ParseAddrPort(hostport)
	if err != nil {
		return ""
	}
	return a.Addr().Unmap().String()
}

// tracked is a connection to a target that ends with its registration.
type tracked struct {
	net.Conn
	front *front
}

// Close implements net.Conn.
func (t tracked) Close() error {
	t.front.untrack(t.Conn)
	return t.Conn.Close()
}

// bounded is a listener that has a bound of connections at a time.
type bounded struct {
	net.Listener
	slots chan struct{}
	ctx   context.Context
}

// Accept implements net.Listener.
func (b *bounded) Accept() (net.Conn, error) {
	select {
	case b.slots <- struct{}{}:
	case <-b.ctx.Done():
		return nil, net.ErrClosed
	}
	c, err := b.Listener.Accept()
	if err != nil {
		<-b.slots
		return nil, err
	}
	return &slot{Conn: c, free: b.slots}, nil
}
