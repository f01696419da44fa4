// SPDX-License-Identifier: Apache-2.0

package datapath_test

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	clb "github.com/tencentcloud/tencentcloud-sdk-go/tencentcloud/clb/v20180317"
)

// web answers HTTP on a port of a machine with its name, who connected, and for
// whom.
func (m *machine) web(addr string) {
	m.t.Helper()
	var l net.Listener
	m.do(func() {
		var err error
		l, err = net.Listen("tcp4", addr)
		check(m.t, err)
	})
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s %s for %s", m.name, netip.MustParseAddrPort(r.RemoteAddr).Addr(), r.Header.Get("X-Forwarded-For"))
	})}
	go func() { _ = srv.Serve(l) }()
	m.t.Cleanup(func() { srv.Close() })
}

// secure connects from the client to a port of the VIP with TLS.
func (l *lab) secure(port int, domain string, wait time.Duration) (*tls.Conn, error) {
	l.t.Helper()
	c, err := l.client.dial("tcp", clientAddr, port, wait)
	if err != nil {
		return nil, err
	}
	_ = c.SetDeadline(time.Now().Add(wait))
	out := tls.Client(c.Conn, &tls.Config{InsecureSkipVerify: true, ServerName: domain}) //nolint:gosec // of the simulator
	if err := out.Handshake(); err != nil {
		c.Close()
		return nil, err
	}
	return out, nil
}

// fetch makes an HTTPS request and returns the body and the certificate's
// name.
func (l *lab) fetch(port int, domain, path string) (body, certificate string, err error) {
	l.t.Helper()
	c, err := l.secure(port, domain, patience)
	if err != nil {
		return "", "", err
	}
	defer c.Close()
	fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", path, domain)
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return "", "", err
	}
	defer resp.Body.Close()
	var text strings.Builder
	_, err = bufio.NewReader(resp.Body).WriteTo(&text)
	return text.String(), c.ConnectionState().PeerCertificates[0].Subject.CommonName, err
}

func (r *rig) make(in map[string]any) string {
	r.t.Helper()
	in["LoadBalancerId"] = r.lb
	var made clb.CreateListenerResponseParams
	r.console("CreateListener", in, &made)
	return *made.ListenerIds[0]
}

// An HTTPS listener ends TLS with the domain's certificate and asks a healthy
// target of the rule, from 100.127.0.0/16, in the client's name.
func TestHTTPSListenersCarryRequests(t *testing.T) {
	if !gateway(t) {
		return
	}
	r := newRig(t, 2)
	for _, n := range r.nodes {
		n.web(fmt.Sprint(":", nodePort))
	}
	l := r.make(map[string]any{"Protocol": "HTTPS", "Ports": []int{443}, "SniSwitch": 1})
	var made clb.CreateRuleResponseParams
	r.console("CreateRule", map[string]any{"LoadBalancerId": r.lb, "ListenerId": l, "Rules": []any{
		map[string]any{"Domain": "a.example", "Url": "/", "Certificate": map[string]any{"CertId": "certtest"}},
		map[string]any{"Domain": "a.example", "Url": "/two"},
	}}, &made)
	for i, rule := range made.LocationIds {
		r.console("RegisterTargets", map[string]any{"LoadBalancerId": r.lb, "ListenerId": l, "LocationId": *rule, "Targets": []any{r.target(i + 1)}}, nil)
	}
	for path, want := range map[string]string{"/": "n1", "/two/x": "n2"} {
		body, cert, err := r.fetch(443, "a.example", path)
		if want += " 100.127.0.1 for 198.51.100.2"; err != nil || body != want || cert != "certtest" {
			t.Errorf("%s: answered %q with the certificate %q (%v), want %q", path, body, cert, err, want)
		}
	}
	// A security group decides here, too: before the proxy.
	r.console("SetLoadBalancerSecurityGroups", map[string]any{"LoadBalancerId": r.lb, "SecurityGroups": []string{"sg-other001"}}, nil)
	if _, err := r.secure(443, "a.example", impatience); err == nil {
		t.Error("the client gets past a group that does not allow it")
	}
	r.console("SetLoadBalancerSecurityGroups", map[string]any{"LoadBalancerId": r.lb, "SecurityGroups": []string{}}, nil)
	if _, _, err := r.fetch(443, "a.example", "/"); err != nil {
		t.Errorf("without group: %v", err)
	}
	r.console("DeleteListener", map[string]any{"LoadBalancerId": r.lb, "ListenerId": l}, nil)
	if _, err := r.secure(443, "a.example", impatience); err == nil {
		t.Error("the port of a deleted listener answers")
	}
}

// A TCP_SSL listener ends TLS, and its targets still see the client's address,
// also after the rules have changed.
func TestTCPSSLListenersCarryStreams(t *testing.T) {
	if !gateway(t) {
		return
	}
	r := newRig(t, 1)
	r.nodes[0].serve(nodePort)
	l := r.make(map[string]any{"Protocol": "TCP_SSL", "Ports": []int{8443}, "Certificate": map[string]any{"CertId": "certtest"}})
	r.console("RegisterTargets", map[string]any{"LoadBalancerId": r.lb, "ListenerId": l, "Targets": []any{r.target(1)}}, nil)
	r.await(l, "Alive")
	for range 2 {
		r.stream()
		r.make(map[string]any{"Protocol": "HTTP", "Ports": []int{80}})
		r.stream()
		r.console("DeleteLoadBalancerListeners", map[string]any{"LoadBalancerId": r.lb, "ListenerIds": []string{r.listenerOn(80)}}, nil)
	}
}

func (r *rig) listenerOn(port int64) string {
	r.t.Helper()
	var out clb.DescribeListenersResponseParams
	r.console("DescribeListeners", map[string]any{"LoadBalancerId": r.lb, "Port": port}, &out)
	return *out.Listeners[0].ListenerId
}

// stream has one conversation with n1.
func (r *rig) stream() {
	t := r.t
	t.Helper()
	c, err := r.secure(8443, "", patience)
	check(t, err)
	defer c.Close()
	lines := bufio.NewScanner(c)
	for range 2 {
		if !lines.Scan() || lines.Text() != "n1 198.51.100.2" {
			t.Errorf("answered %q (%v)", lines.Text(), lines.Err())
		}
		fmt.Fprintln(c, "again")
	}
}

// Pods are bound by address: they get traffic by weight and have their own
// health.
func TestPodsAreTargetsByAddress(t *testing.T) {
	if !gateway(t) {
		return
	}
	r := newRig(t, 1)
	pods := []string{"10.0.1.51", "10.0.1.52"}
	r.nodes[0].do(func() {
		eth0, err := netlink.LinkByName("eth0")
		check(t, err)
		for _, p := range pods {
			addr, err := netlink.ParseAddr(p + "/32")
			check(t, err)
			check(t, netlink.AddrAdd(eth0, addr))
		}
	})
	stop := r.nodes[0].pod(pods[0], 8080)
	r.nodes[0].pod(pods[1], 8080)
	l := r.listen("TCP", 80, 0, map[string]any{})
	var targets []any
	for i, p := range pods {
		targets = append(targets, map[string]any{"EniIp": p, "Port": 8080, "Weight": 10 + 20*i})
	}
	r.console("RegisterTargets", map[string]any{"LoadBalancerId": r.lb, "ListenerId": l, "Targets": targets}, nil)
	r.await(l, "Alive", "Alive")
	got := r.count(40, 80)
	if got["10.0.1.51"] != 10 || got["10.0.1.52"] != 30 {
		t.Errorf("by weights 10 and 30: %v", got)
	}
	stop()
	r.await(l, "Dead", "Alive")
	if got := r.count(5, 80); got["10.0.1.52"] != 5 {
		t.Errorf("with one pod gone: %v", got)
	}
}

// pod answers every connection to an address of the machine with that address.
func (m *machine) pod(addr string, port int) (stop func()) {
	m.t.Helper()
	var l net.Listener
	m.do(func() {
		var err error
		l, err = net.Listen("tcp4", fmt.Sprintf("%s:%d", addr, port))
		check(m.t, err)
	})
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			fmt.Fprintln(c, addr)
			c.Close()
		}
	}()
	m.t.Cleanup(func() { l.Close() })
	return func() { l.Close() }
}
