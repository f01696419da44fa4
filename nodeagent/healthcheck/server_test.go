// SPDX-License-Identifier: Apache-2.0

package healthcheck

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/types"

	"github.com/clbsync/clbsync/nodeagent"
	"github.com/clbsync/clbsync/nodeagent/internal/nettest"
	"github.com/clbsync/clbsync/nodeagent/sockets"
)

func freePort(t *testing.T) uint16 {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).AddrPort().Port()
}

func health(name string, port uint16, addresses ...string) []nodeagent.HealthPort {
	h := nodeagent.HealthPort{Service: types.NamespacedName{Namespace: "ns", Name: name}, Port: port}
	for _, a := range addresses {
		h.Addresses = append(h.Addresses, netip.MustParseAddr(a))
	}
	return []nodeagent.HealthPort{h}
}

type fixture struct {
	*Server
	sick, draining atomic.Bool
	binds          chan BindChange
}

func start(t *testing.T) *fixture {
	f := &fixture{binds: make(chan BindChange, 100)}
	f.Server = New(Config{Network: "tcp4", Healthy: func() bool { return !f.sick.Load() }, Draining: f.draining.Load, OnBind: func(c BindChange) { f.binds <- c }})
	t.Cleanup(f.Close)
	return f
}

var client = &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}

// status asks the port; 0 means that nobody answers.
func status(port uint16) int {
	response, err := client.Get(fmt.Sprintf("http://127.0.0.1:%d/healthz", port))
	if err != nil {
		return 0
	}
	response.Body.Close()
	return response.StatusCode
}

func eventually(t *testing.T, port uint16, want int) {
	t.Helper()
	nettest.Until(t, 5*time.Second, fmt.Sprintf("port %d answers %d", port, want), func() bool { return status(port) == want })
}

func TestAnswerHasKubeProxysForm(t *testing.T) {
	f, port := start(t), freePort(t)
	f.Programmed(health("web", port, "10.0.0.1", "10.0.0.2"))
	eventually(t, port, 200)
	for _, method := range []string{"GET", "POST", "DELETE"} {
		request, err := http.NewRequest(method, fmt.Sprintf("http://127.0.0.1:%d/any/path?x=1", port), nil)
		if err != nil {
			t.Fatal(err)
		}
		response, err := client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(response.Body)
		response.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		want := "{\n\t\"service\": {\n\t\t\"namespace\": \"ns\",\n\t\t\"name\": \"web\"\n\t},\n\t\"localEndpoints\": 2,\n\t\"serviceProxyHealthy\": true\n}"
		if diff := cmp.Diff(want, string(body)); diff != "" {
			t.Errorf("%s: body (-want +got):\n%s", method, diff)
		}
		for header, want := range map[string]string{"Content-Type": "application/json", "X-Content-Type-Options": "nosniff", "X-Load-Balancing-Endpoint-Weight": "2"} {
			if got := response.Header.Get(header); got != want {
				t.Errorf("%s: header %s is %q, want %q", method, header, got, want)
			}
		}
	}
}

func TestAnswerFollowsTheMoreCautiousView(t *testing.T) {
	f, port := start(t), freePort(t)
	f.Programmed(health("web", port))
	eventually(t, port, 503)
	for _, step := range []struct {
		name string
		do   func()
		want int
	}{
		{"an endpoint that the kernel knows nothing of yet", func() { f.Observed(health("web", port, "10.0.0.1")) }, 503},
		{"once its rules are in the kernel", func() { f.Programmed(health("web", port, "10.0.0.1")) }, 200},
		{"another took its place and has no rules yet", func() { f.Observed(health("web", port, "10.0.0.2")) }, 503},
		{"now it has", func() { f.Programmed(health("web", port, "10.0.0.2")) }, 200},
		{"updates are stuck", func() { f.sick.Store(true) }, 503},
		{"and no longer", func() { f.sick.Store(false) }, 200},
		{"the node drains", func() { f.draining.Store(true) }, 503},
		{"and no longer drains", func() { f.draining.Store(false) }, 200},
		{"the last endpoint goes: at once, before any rule changes", func() { f.Observed(health("web", port)) }, 503},
		{"the Service goes from the API server", func() { f.Observed(health("web", port, "10.0.0.2")); f.Observed(nil) }, 503},
		{"the Service's rules go: nobody answers", func() { f.Programmed(nil) }, 0},
	} {
		step.do()
		if got := status(port); got != step.want {
			t.Fatalf("%s: got %d, want %d", step.name, got, step.want)
		}
	}
}

func TestPortMoves(t *testing.T) {
	f, first, second := start(t), freePort(t), freePort(t)
	f.Programmed(health("web", first, "10.0.0.1"))
	eventually(t, first, 200)
	f.Observed(health("web", second, "10.0.0.1"))
	if got := status(first); got != 503 {
		t.Errorf("the old port answers %d before the rules are there, want 503", got)
	}
	f.Programmed(health("web", second, "10.0.0.1"))
	eventually(t, second, 200)
	if got := status(first); got != 0 {
		t.Errorf("the old port answers %d, want nobody there", got)
	}
	f.Programmed(health("heir", second, "10.0.0.1"))
	eventually(t, second, 503) // rules from a view that the API server does not share
	f.Observed(health("heir", second, "10.0.0.1"))
	eventually(t, second, 200)
}

func TestMuteServerOpensOnlyWhatItIsTold(t *testing.T) {
	s := New(Config{Network: "tcp4", Healthy: func() bool { return true }, OnBind: func(BindChange) {}, Mute: true})
	t.Cleanup(s.Close)
	silent, told := freePort(t), freePort(t)
	s.Programmed(append(health("silent", silent, "10.0.0.1"), health("told", told, "10.0.0.1")...))
	for range 2 { // the second time changes nothing
		s.Open(types.NamespacedName{Namespace: "ns", Name: "told"})
	}
	eventually(t, told, 200)
	if got := status(silent); got != 0 {
		t.Errorf("the port of another Service answers %d, want nobody there", got)
	}
	s.Programmed(health("silent", silent, "10.0.0.1"))
	eventually(t, told, 0)
}

func TestBindingIsRetriedAndToldOnce(t *testing.T) {
	f := start(t)
	squatter, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := squatter.Addr().(*net.TCPAddr).AddrPort().Port()
	if holder := sockets.Holder(port); !strings.Contains(holder, fmt.Sprintf("(pid %d)", os.Getpid())) {
		t.Errorf("got holder %q, want this very process", holder)
	}
	f.Programmed(health("web", port, "10.0.0.1"))
	if c := <-f.binds; c.Err == nil || c.Port != port || c.Service.Name != "web" {
		t.Errorf("got %+v, want that the port could not be opened", c)
	}
	f.Programmed(health("web", port, "10.0.0.1", "10.0.0.2"))
	squatter.Close()
	if c := <-f.binds; c.Err != nil {
		t.Errorf("got %+v, want that the port is open now, and nothing between", c)
	}
	eventually(t, port, 200)
	if holder := sockets.Holder(freePort(t)); holder != "" {
		t.Errorf("a free port: got holder %q, want none", holder)
	}
}

// A load balancer waits two seconds for its answer, by default: silent clients that hold all places, or as many that have
// asked once and wait, must not make it wait for their time-out.
func TestSlowClientsDoNotStopProbes(t *testing.T) {
	f, port := start(t), freePort(t)
	f.Programmed(health("web", port, "10.0.0.1"))
	eventually(t, port, 200)
	var crowd []net.Conn
	for i := range 2 * connectionCap {
		c, err := net.Dial("tcp4", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if i%2 == 0 {
			fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		}
		crowd = append(crowd, c)
	}
	for range 3 {
		probe := &http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
		response, err := probe.Get(fmt.Sprintf("http://127.0.0.1:%d/", port))
		if err != nil {
			t.Fatalf("a probe behind %d silent clients: %v", len(crowd), err)
		}
		response.Body.Close()
	}
	// No more than the cap are held open: the first one's connection has ended. It may have been answered before.
	if err := crowd[0].SetReadDeadline(time.Now().Add(2 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, crowd[0]); err != nil && os.IsTimeout(err) {
		t.Errorf("the first of %d connections is still open; want at most %d at a time", len(crowd), connectionCap)
	}
}

func TestClosingCutsIdleConnections(t *testing.T) {
	f, port := start(t), freePort(t)
	f.Programmed(health("web", port, "10.0.0.1"))
	eventually(t, port, 200)
	c, err := net.Dial("tcp4", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	reader := bufio.NewReader(c)
	response, err := http.ReadResponse(reader, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		t.Fatal(err)
	}
	f.Programmed(nil)
	if err := c.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := reader.ReadByte(); err == nil || os.IsTimeout(err) {
		t.Errorf("got %v, want the connection cut", err)
	}
}
