// SPDX-License-Identifier: Apache-2.0

package echo

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const patience = 5 * time.Second // far more than any step here takes

// start serves TCP and UDP on loopback until the test ends.
func start(t *testing.T, b Behaviour) (s *Server, tcp, udp string) {
	t.Helper()
	s = New("web-0", "n1", b)
	ctx, cancel := context.WithCancel(t.Context())
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	u, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 2)
	go func() { ended <- s.ServeTCP(ctx, l) }()
	go func() { ended <- s.ServeUDP(ctx, u) }()
	t.Cleanup(func() {
		cancel()
		for range 2 {
			if err := <-ended; err != nil {
				t.Errorf("serving ended with %v, want nil at the context's end", err)
			}
		}
	})
	return s, l.Addr().String(), u.LocalAddr().String()
}

func dial(t *testing.T, network, addr string) net.Conn {
	t.Helper()
	conn, err := net.DialTimeout(network, addr, patience)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return conn
}

func decode(t *testing.T, line string) Answer {
	t.Helper()
	var a Answer
	if err := json.Unmarshal([]byte(line), &a); err != nil {
		t.Fatalf("answer %q: %v", line, err)
	}
	return a
}

func local(c net.Conn) netip.AddrPort { return netip.MustParseAddrPort(c.LocalAddr().String()) }

func TestTCPAnswersAndThenEchoesUntilTheClientCloses(t *testing.T) {
	s, addr, _ := start(t, Behaviour{})
	for count := uint64(1); count <= 2; count++ {
		conn := dial(t, "tcp", addr)
		lines := bufio.NewScanner(conn)
		if !lines.Scan() {
			t.Fatal("no answer: ", lines.Err())
		}
		want := Answer{Pod: "web-0", Node: "n1", Peer: local(conn), Protocol: "tcp", Count: count}
		if diff := cmp.Diff(want, decode(t, lines.Text()), cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); diff != "" {
			t.Errorf("answer (-want +got):\n%s", diff)
		}
		for _, said := range []string{"one", "", "three"} {
			if _, err := io.WriteString(conn, said+"\n"); err != nil {
				t.Fatal(err)
			}
			if !lines.Scan() || lines.Text() != said {
				t.Errorf("echo = %q (%v), want %q", lines.Text(), lines.Err(), said)
			}
		}
		if got := s.Stats().Open; got != 1 {
			t.Errorf("%d connections are counted as open, want 1", got)
		}
		if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if lines.Scan() {
			t.Errorf("the server said %q after the client closed", lines.Text())
		}
	}
}

func TestUDPAnswersEachDatagram(t *testing.T) {
	_, _, addr := start(t, Behaviour{})
	conn := dial(t, "udp", addr)
	buffer := make([]byte, 1024)
	for count := uint64(1); count <= 2; count++ {
		if _, err := conn.Write(nil); err != nil { // an empty datagram is a request too: CLB's UDP health check sends one
			t.Fatal(err)
		}
		n, err := conn.Read(buffer)
		if err != nil {
			t.Fatal(err)
		}
		if a := decode(t, string(buffer[:n])); a.Peer != local(conn) || a.Count != count || a.Protocol != "udp" || a.Pod != "web-0" {
			t.Errorf("answer = %+v, want pod web-0, peer %s, udp, count %d", a, local(conn), count)
		}
	}
}

func TestHTTPAnswersEveryPath(t *testing.T) {
	server := httptest.NewServer(New("web-0", "n1", Behaviour{}))
	defer server.Close()
	for i, path := range []string{"/", "/any/thing?x=1"} {
		resp, err := http.Get(server.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		if a := decode(t, string(body)); a.Protocol != "http" || a.Count != uint64(i+1) || a.Peer.Addr() != netip.MustParseAddr("127.0.0.1") {
			t.Errorf("answer = %+v, want http, count %d, peer 127.0.0.1", a, i+1)
		}
	}
}

func TestPeerOfADualStackSocketIsPlainIPv4(t *testing.T) {
	a := New("p", "n", Behaviour{}).answer("tcp", netip.MustParseAddrPort("[::ffff:192.0.2.1]:7"), 1)
	if want := netip.MustParseAddrPort("192.0.2.1:7"); a.Peer != want {
		t.Errorf("peer = %s, want %s", a.Peer, want)
	}
}

func TestDelayComesBeforeEveryAnswer(t *testing.T) {
	const delay = 150 * time.Millisecond
	_, tcp, udp := start(t, Behaviour{Delay: delay})
	begin := time.Now()
	conn := dial(t, "tcp", tcp)
	lines := bufio.NewScanner(conn)
	if !lines.Scan() {
		t.Fatal(lines.Err())
	}
	if got := time.Since(begin); got < delay {
		t.Errorf("TCP answered after %s, want at least %s", got, delay)
	}
	// Slow must not mean serial: two datagrams at once take one delay, not two.
	begin = time.Now()
	one, two := dial(t, "udp", udp), dial(t, "udp", udp)
	for _, c := range []net.Conn{one, two} {
		if _, err := c.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []net.Conn{one, two} {
		if _, err := c.Read(make([]byte, 1024)); err != nil {
			t.Fatal(err)
		}
	}
	if got := time.Since(begin); got < delay || got >= 2*delay {
		t.Errorf("two UDP answers took %s, want from %s to under %s", got, delay, 2*delay)
	}
}

func TestControl(t *testing.T) {
	s := New("web-0", "n1", Behaviour{Ready: true})
	ask := func(method, path string) (int, string) {
		w := httptest.NewRecorder()
		s.Admin().ServeHTTP(w, httptest.NewRequest(method, path, nil))
		return w.Code, w.Body.String()
	}
	if code, _ := ask("GET", "/readyz"); code != http.StatusOK {
		t.Errorf("/readyz = %d, want 200", code)
	}
	if code, body := ask("POST", "/control?delay=20ms&ready=false&ignore-sigterm=true&linger=3s"); code != http.StatusOK {
		t.Fatalf("/control = %d %s", code, body)
	}
	want := Behaviour{Delay: 20 * time.Millisecond, IgnoreSIGTERM: true, Linger: 3 * time.Second}
	if diff := cmp.Diff(want, s.Behaviour()); diff != "" {
		t.Errorf("behaviour (-want +got):\n%s", diff)
	}
	if code, _ := ask("GET", "/readyz"); code != http.StatusServiceUnavailable {
		t.Errorf("/readyz = %d after ready=false, want 503", code)
	}
	if code, _ := ask("GET", "/healthz"); code != http.StatusOK {
		t.Errorf("/healthz = %d, want 200: unready is not dead", code)
	}
	for _, bad := range []string{"?delay=soon", "?slow=1s", "?linger=1s&ready=perhaps"} {
		if code, body := ask("POST", "/control"+bad); code != http.StatusBadRequest || !strings.Contains(body, "known are") {
			t.Errorf("/control%s = %d %q, want 400 and what is known", bad, code, body)
		}
	}
	if code, _ := ask("GET", "/control?ready=true"); code != http.StatusMethodNotAllowed {
		t.Errorf("GET /control = %d, want 405: reading must not change anything", code)
	}
	if diff := cmp.Diff(want, s.Behaviour()); diff != "" {
		t.Errorf("a refused request changed the behaviour (-want +got):\n%s", diff)
	}
	code, body := ask("GET", "/stats")
	var got report
	if err := json.Unmarshal([]byte(body), &got); err != nil || code != http.StatusOK {
		t.Fatalf("/stats = %d %s: %v", code, body, err)
	}
	if got.Delay != "20ms" || got.Pod != "web-0" || !got.IgnoreSIGTERM {
		t.Errorf("/stats = %+v", got)
	}
}
