// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"bufio"
	"cmp"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/clbsync/clbsync/clbsim/cloud"
)

// backend answers HTTP with its name and what it was asked.
func backend(t *testing.T, name string) netip.AddrPort {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s %s %s for %s", name, r.Host, r.URL.Path, r.Header.Get("X-Forwarded-For"))
	}))
	t.Cleanup(srv.Close)
	return netip.MustParseAddrPort(srv.Listener.Addr().String())
}

// lines answers each line of a TCP connection with its name.
func lines(t *testing.T, name string) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				in := bufio.NewReader(c)
				for {
					line, err := in.ReadString('\n')
					if err != nil {
						return
					}
					fmt.Fprintf(c, "%s %q\n", name, strings.TrimSpace(line))
				}
			}()
		}
	}()
	return netip.MustParseAddrPort(l.Addr().String())
}

func target(a netip.AddrPort, weight int) cloud.ForwardingTarget {
	return cloud.ForwardingTarget{Addr: a, Weight: weight, Drained: weight == 0}
}

// carry runs one listener and returns its address, and how to change it.
func carry(t *testing.T, conf cloud.ForwardingProxy) (addr string, set func(...cloud.ForwardingProxy)) {
	t.Helper()
	p := &Proxy{}
	t.Cleanup(p.Close)
	set = func(confs ...cloud.ForwardingProxy) {
		t.Helper()
		ports, err := p.Forward(t.Context(), cloud.Forwarding{Proxies: confs})
		if err != nil {
			t.Fatal(err)
		}
		addr = fmt.Sprint("127.0.0.1:", ports[conf.ID])
	}
	set(conf)
	return addr, set
}

// ask makes one request and returns status and body.
func ask(t *testing.T, c *http.Client, url, host string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = host
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	text, _, _ := strings.Cut(string(body), ":")
	if resp.StatusCode == http.StatusOK {
		return string(body)
	}
	return strings.TrimSpace(text)
}

func client() *http.Client {
	return &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // certificates of the simulator
	}}
}

func TestRequestsGoByDomainAndPath(t *testing.T) {
	rule := func(id, url string, targets ...cloud.ForwardingTarget) cloud.ForwardingRule {
		return cloud.ForwardingRule{ID: id, URL: url, Targets: targets}
	}
	a, b, c, d := backend(t, "a"), backend(t, "b"), backend(t, "c"), backend(t, "d")
	addr, _ := carry(t, cloud.ForwardingProxy{ID: "lbl-1", Protocol: cloud.HTTP, Sites: []cloud.ForwardingSite{
		{Domains: []string{"a.example", "alias.example"}, Rules: []cloud.ForwardingRule{rule("1", "/", target(a, 1)), rule("2", "/img/", target(b, 1)), rule("3", "/dead", target(b, 0))}},
		{Domains: []string{"*.example"}, Rules: []cloud.ForwardingRule{rule("4", "/", target(c, 1))}},
		{Domains: []string{"b.example"}, Default: true, Rules: []cloud.ForwardingRule{rule("5", "/d", target(d, 1))}},
	}})
	for _, tc := range []struct{ host, path, want string }{
		{"a.example", "/", "a a.example / for 127.0.0.1"},
		{"A.example", "/x", "a A.example /x for 127.0.0.1"},
		{"alias.example:8080", "/img/1", "b alias.example:8080 /img/1 for 127.0.0.1"},
		{"a.example", "/img", "a a.example /img for 127.0.0.1"},
		{"x.example", "/img/1", "c x.example /img/1 for 127.0.0.1"},
		{"b.example", "/d/1", "d b.example /d/1 for 127.0.0.1"},
		{"192.0.2.1", "/d", "d 192.0.2.1 /d for 127.0.0.1"},
		{"b.example", "/e", "404 Not Found"},
		{"a.example", "/dead/1", "503 Service Unavailable"},
	} {
		if got := ask(t, client(), "http://"+addr+tc.path, tc.host); got != tc.want {
			t.Errorf("%s%s: answered by %q, want %q", tc.host, tc.path, got, tc.want)
		}
	}
}

func TestRequestsAreSharedByWeight(t *testing.T) {
	a, b := backend(t, "a"), backend(t, "b")
	conf := cloud.ForwardingProxy{ID: "lbl-1", Protocol: cloud.HTTP, Sites: []cloud.ForwardingSite{{
		Default: true, Rules: []cloud.ForwardingRule{{ID: "1", URL: "/", Targets: []cloud.ForwardingTarget{target(a, 30), target(b, 10)}}},
	}}}
	addr, set := carry(t, conf)
	count := func(n int) map[string]int {
		out := map[string]int{}
		for range n {
			who, _, _ := strings.Cut(ask(t, client(), "http://"+addr+"/", "x"), " ")
			out[who]++
		}
		return out
	}
	if diff := gocmp.Diff(map[string]int{"a": 30, "b": 10}, count(40)); diff != "" {
		t.Errorf("shares (-want +got):\n%s", diff)
	}
	conf.Sites = []cloud.ForwardingSite{{Default: true, Rules: []cloud.ForwardingRule{{ID: "1", URL: "/", Targets: []cloud.ForwardingTarget{target(a, 0), target(b, 10)}}}}}
	set(conf)
	if diff := gocmp.Diff(map[string]int{"b": 5}, count(5)); diff != "" {
		t.Errorf("with a at weight 0 (-want +got):\n%s", diff)
	}
	set()
	if c, err := net.DialTimeout("tcp", addr, time.Second); err == nil {
		c.Close()
		t.Error("a listener that is gone accepts")
	}
}

func TestStickyClientsKeepTheirTarget(t *testing.T) {
	a, b := backend(t, "a"), backend(t, "b")
	addr, _ := carry(t, cloud.ForwardingProxy{ID: "lbl-1", Protocol: cloud.HTTP, Sites: []cloud.ForwardingSite{{
		Default: true, Rules: []cloud.ForwardingRule{{ID: "1", URL: "/", Sticky: time.Minute, Targets: []cloud.ForwardingTarget{target(a, 1), target(b, 1)}}},
	}}})
	c := client()
	c.Jar, _ = cookiejar.New(nil)
	first := ask(t, c, "http://"+addr+"/", "")
	for range 4 {
		if got := ask(t, c, "http://"+addr+"/", ""); got != first {
			t.Errorf("the client moved from %q to %q", first, got)
		}
	}
}

func TestAClientAddressKeepsItsTargetWithIPHash(t *testing.T) {
	p := newPicker()
	p.set([]cloud.ForwardingTarget{target(netip.MustParseAddrPort("10.0.0.1:1"), 1), target(netip.MustParseAddrPort("10.0.0.2:1"), 1)})
	seen := map[netip.AddrPort]bool{}
	for i := range 32 {
		from := netip.AddrFrom4([4]byte{198, 51, 100, byte(i)})
		at, _, _ := p.pick("IP_HASH", from)
		if again, _, _ := p.pick("IP_HASH", from); again != at {
			t.Errorf("%s moved from %s to %s", from, at, again)
		}
		seen[at] = true
	}
	if len(seen) != 2 {
		t.Errorf("32 clients use %d of 2 targets", len(seen))
	}
}

func TestLeastConnectionsGoesWhereIsLeast(t *testing.T) {
	a, b := netip.MustParseAddrPort("10.0.0.1:1"), netip.MustParseAddrPort("10.0.0.2:1")
	p := newPicker()
	p.set([]cloud.ForwardingTarget{target(a, 20), target(b, 10)})
	var done []func()
	got := map[netip.AddrPort]int{}
	for range 9 {
		at, end, _ := p.pick("LEAST_CONN", netip.Addr{})
		got[at]++
		done = append(done, end)
	}
	if got[a] != 6 || got[b] != 3 {
		t.Errorf("9 connections by weights 20 and 10: %v", got)
	}
	for _, end := range done {
		end()
	}
	if len(p.active) != 0 {
		t.Errorf("after all have ended %v are under way", p.active)
	}
}

// The listener's certificate, or with SNI the domain's; its name is the id.
func TestTheCertificateIsTheDomains(t *testing.T) {
	cert := func(id string) cloud.ForwardingTLS {
		return cloud.ForwardingTLS{Certificates: []cloud.Certificate{{ID: id, Algorithm: "ECC"}}}
	}
	a := backend(t, "a")
	rules := []cloud.ForwardingRule{{ID: "1", URL: "/", Targets: []cloud.ForwardingTarget{target(a, 1)}}}
	sni, _ := carry(t, cloud.ForwardingProxy{ID: "lbl-1", Protocol: cloud.HTTPS, Sites: []cloud.ForwardingSite{
		{Domains: []string{"a.example"}, TLS: cert("cert-a"), HTTP2: true, Rules: rules}, {Domains: []string{"*.b.example"}, Default: true, TLS: cert("cert-b"), Rules: rules},
	}})
	plain, _ := carry(t, cloud.ForwardingProxy{ID: "lbl-2", Protocol: cloud.HTTPS, TLS: cert("cert-l"), Sites: []cloud.ForwardingSite{{Domains: []string{"a.example"}, Default: true, Rules: rules}}})
	stream, _ := carry(t, cloud.ForwardingProxy{ID: "lbl-3", Protocol: cloud.TCPSSL, TLS: cert("cert-s"), Targets: []cloud.ForwardingTarget{target(lines(t, "s"), 1)}})
	for _, tc := range []struct{ addr, name, cn, protocol string }{
		{sni, "a.example", "cert-a", "h2"},
		{sni, "x.b.example", "cert-b", "http/1.1"},
		{sni, "other.example", "cert-b", "http/1.1"},
		{plain, "a.example", "cert-l", "http/1.1"},
		{stream, "a.example", "cert-s", ""},
	} {
		c, err := tls.Dial("tcp", tc.addr, &tls.Config{InsecureSkipVerify: true, ServerName: tc.name, NextProtos: []string{"h2", "http/1.1"}}) //nolint:gosec // of the simulator
		if err != nil {
			t.Fatal(err)
		}
		s := c.ConnectionState()
		c.Close()
		if got := s.PeerCertificates[0].Subject.CommonName; got != tc.cn || s.NegotiatedProtocol != tc.protocol {
			t.Errorf("%s of %s: certificate %s, protocol %q, want %s and %q", tc.name, tc.addr, got, s.NegotiatedProtocol, tc.cn, tc.protocol)
		}
	}
	if got := ask(t, client(), "https://"+sni+"/x", "a.example"); got != "a a.example /x for 127.0.0.1" {
		t.Errorf("over TLS: %q", got)
	}
}

func TestMutualTLSAsksForACertificate(t *testing.T) {
	conf := cloud.ForwardingProxy{ID: "lbl-1", Protocol: cloud.TCPSSL, Targets: []cloud.ForwardingTarget{target(lines(t, "s"), 1)},
		TLS: cloud.ForwardingTLS{Certificates: []cloud.Certificate{{ID: "cert-s"}}, Clients: "ON"}}
	addr, _ := carry(t, conf)
	if _, err := say(t, addr, &tls.Config{InsecureSkipVerify: true}); err == nil { //nolint:gosec // of the simulator
		t.Error("a client without certificate was let in")
	}
	own, err := selfSigned(cloud.Certificate{ID: "client"})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := say(t, addr, &tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{*own}}); err != nil || got != `s "hello"` { //nolint:gosec // of the simulator
		t.Errorf("a client with certificate: %q, %v", got, err)
	}
}

// say sends one line over TLS and returns the next.
func say(t *testing.T, addr string, conf *tls.Config) (string, error) {
	t.Helper()
	c, err := tls.Dial("tcp", addr, conf)
	if err != nil {
		return "", err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	fmt.Fprintln(c, "hello")
	line, err := bufio.NewReader(c).ReadString('\n')
	return strings.TrimSpace(line), err
}

// A stream ends when its target is deregistered, and not before: at weight 0
// it goes on.
func TestAStreamEndsWithTheRegistration(t *testing.T) {
	a, b := lines(t, "a"), lines(t, "b")
	conf := cloud.ForwardingProxy{ID: "lbl-1", Protocol: cloud.TCPSSL, TLS: cloud.ForwardingTLS{Certificates: []cloud.Certificate{{ID: "cert-s"}}}}
	conf.Targets = []cloud.ForwardingTarget{target(a, 1)}
	addr, set := carry(t, conf)
	c, err := tls.Dial("tcp", addr, &tls.Config{InsecureSkipVerify: true}) //nolint:gosec // of the simulator
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	in := bufio.NewReader(c)
	exchange := func() string {
		fmt.Fprintln(c, "hello")
		line, err := in.ReadString('\n')
		return cmp.Or(strings.TrimSpace(line), fmt.Sprint(err))
	}
	if got := exchange(); got != `a "hello"` {
		t.Fatalf("answered by %q", got)
	}
	conf.Targets = []cloud.ForwardingTarget{target(a, 0), target(b, 1)}
	set(conf)
	if got := exchange(); got != `a "hello"` {
		t.Errorf("at weight 0 answered by %q", got)
	}
	conf.Targets = conf.Targets[1:]
	set(conf)
	if got := exchange(); got == `a "hello"` {
		t.Error("the stream goes on after its target was deregistered")
	}
	if got, err := say(t, addr, &tls.Config{InsecureSkipVerify: true}); err != nil || got != `b "hello"` { //nolint:gosec // of the simulator
		t.Errorf("a new stream: %q, %v", got, err)
	}
}

func TestTargetsLearnTheClientByPROXYProtocol(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	vip := netip.MustParseAddr("203.0.113.1")
	addr, _ := carry(t, cloud.ForwardingProxy{
		ID: "lbl-1", Protocol: cloud.TCPSSL, VIP: vip, Port: 443, ProxyProtocol: true, TLS: cloud.ForwardingTLS{Certificates: []cloud.Certificate{{ID: "cert-s"}}},
		Targets: []cloud.ForwardingTarget{target(netip.MustParseAddrPort(l.Addr().String()), 1)},
	})
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	d := tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true}} //nolint:gosec // of the simulator
	c, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	at, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer at.Close()
	got := make([]byte, 28)
	if _, err := io.ReadFull(at, got); err != nil {
		t.Fatal(err)
	}
	if want := string(proxyHeader(netip.MustParseAddrPort(c.LocalAddr().String()), netip.AddrPortFrom(vip, 443))); string(got) != want {
		t.Errorf("the header is %q, want %q", got, want)
	}
}
