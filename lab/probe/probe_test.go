// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/clbsync/clbsync/lab/echo"
)

var (
	loopback = netip.MustParseAddr("127.0.0.1")
	client   = Client{Dial: (&net.Dialer{}).DialContext, Timeout: 2 * time.Second}
	hasty    = Client{Dial: (&net.Dialer{}).DialContext, Timeout: 50 * time.Millisecond}
)

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// serve answers HTTP until the listener is closed.
func serve(l net.Listener, h http.Handler) {
	go func() { _ = http.Serve(l, h) }()
}

// startEcho serves an echo program until the test ends or stop is called.
func startEcho(t *testing.T, b echo.Behaviour) (targets map[Protocol]Target, s *echo.Server, stop func()) {
	t.Helper()
	s = echo.New("web-0", "n1", b)
	ctx, stop := context.WithCancel(t.Context())
	t.Cleanup(stop)
	tcp, web := listen(t), listen(t)
	udp, err := net.ListenUDP("udp", &net.UDPAddr{IP: loopback.AsSlice()})
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = s.ServeTCP(ctx, tcp) }()
	go func() { _ = s.ServeUDP(ctx, udp) }()
	serve(web, s)
	return map[Protocol]Target{
		TCP:  {TCP, tcp.Addr().String()},
		UDP:  {UDP, udp.LocalAddr().String()},
		HTTP: {HTTP, web.Addr().String()},
	}, s, stop
}

func TestAskSaysWhoAnsweredAndWhichAddressWasSeen(t *testing.T) {
	targets, _, _ := startEcho(t, echo.Behaviour{})
	for protocol, target := range targets {
		t.Run(string(protocol), func(t *testing.T) {
			a, err := client.Ask(t.Context(), target)
			if err != nil {
				t.Fatal(err)
			}
			if a.Pod != "web-0" || a.Node != "n1" || a.Peer.Addr() != loopback || a.Protocol != string(protocol) {
				t.Errorf("answer = %+v, want web-0 on n1 over %s, seeing 127.0.0.1", a, protocol)
			}
		})
	}
}

// failing returns targets that fail as real ones do, by the cause that Cause should name.
func failing(t *testing.T) map[string]Target {
	t.Helper()
	slow, _, _ := startEcho(t, echo.Behaviour{Delay: time.Second})
	closed := listen(t)
	closed.Close()
	end := func(linger int) net.Listener {
		l := listen(t)
		go func() {
			for {
				conn, err := l.Accept()
				if err != nil {
					return
				}
				_ = conn.(*net.TCPConn).SetLinger(linger)
				conn.Close()
			}
		}()
		return l
	}
	return map[string]Target{
		"timeout":     {TCP, slow[TCP].Addr},
		"refused":     {HTTP, closed.Addr().String()},
		"reset":       {TCP, end(0).Addr().String()},
		"closed":      {TCP, end(-1).Addr().String()},
		"unreachable": {TCP, "127.0.0.1:1"},
	}
}

func TestCauseNamesWhyARequestWasLost(t *testing.T) {
	for want, target := range failing(t) {
		t.Run(want, func(t *testing.T) {
			c := hasty
			if want == "unreachable" { // no address of loopback is unreachable: the error alone is made up here
				c.Dial = func(context.Context, string, string) (net.Conn, error) { return nil, unreachable }
			}
			_, err := c.Ask(t.Context(), target)
			if got := Cause(err); got != want {
				t.Errorf("cause = %q of %v, want %q", got, err, want)
			}
			if !strings.Contains(err.Error(), target.String()) {
				t.Errorf("error %q does not name %s", err, target)
			}
		})
	}
	if Cause(nil) != "" || Cause(errors.New("x")) != "other" {
		t.Error("nil is no cause, and an unknown error is another")
	}
}

func TestUDPTimeoutCoversTheAnswerNotOnlyTheDial(t *testing.T) {
	slow, _, _ := startEcho(t, echo.Behaviour{Delay: time.Second})
	begin := time.Now()
	if _, err := hasty.Ask(t.Context(), slow[UDP]); Cause(err) != "timeout" {
		t.Errorf("error = %v, want a timeout", err)
	}
	if took := time.Since(begin); took > 500*time.Millisecond {
		t.Errorf("a timeout of %s took %s", hasty.Timeout, took)
	}
}

func TestAskRefusesAnswersOfOtherPrograms(t *testing.T) {
	l := listen(t)
	serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/" {
			t.Errorf("asked for %s", r.URL.Path)
		}
		_, _ = io.WriteString(w, "hello")
	}))
	if _, err := client.Ask(t.Context(), Target{HTTP, l.Addr().String()}); err == nil || !strings.Contains(err.Error(), `"hello" is not the echo program's`) {
		t.Errorf("error = %v", err)
	}
	web := listen(t)
	serve(web, http.NotFoundHandler())
	if _, err := client.Ask(t.Context(), Target{HTTP, web.Addr().String()}); err == nil || !strings.Contains(err.Error(), "404") {
		t.Errorf("error = %v, want one that says 404", err)
	}
	if _, err := client.Ask(t.Context(), Target{"sctp", l.Addr().String()}); err == nil || !strings.Contains(err.Error(), `protocol "sctp"`) {
		t.Errorf("error = %v, want one that names the protocol", err)
	}
}

func TestShareCountsEveryConnection(t *testing.T) {
	one, s1, _ := startEcho(t, echo.Behaviour{})
	// A balancer of two: every third connection goes to a second pod, every fourth request is refused.
	l := listen(t)
	second := echo.New("web-1", "n2", echo.Behaviour{})
	go func() { _ = second.ServeTCP(t.Context(), l) }()
	closed := listen(t)
	closed.Close()
	turn := make(chan int, 1)
	turn <- 0
	c := Client{Timeout: 2 * time.Second, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		n := <-turn
		turn <- n + 1
		addr := one[TCP].Addr
		if n%4 == 3 {
			addr = closed.Addr().String()
		} else if n%3 == 2 {
			addr = l.Addr().String()
		}
		return (&net.Dialer{}).DialContext(ctx, network, addr)
	}}
	r := c.Share(t.Context(), Target{TCP, "192.0.2.1:80"}, 120)
	if r.Asked != 120 || r.Answered != 90 || len(r.Lost) != 30 {
		t.Errorf("%s, want 120 asked, 90 answered, 30 lost", r)
	}
	if diff := cmp.Diff(map[string]int{"web-0": 60, "web-1": 30}, r.ByPod); diff != "" {
		t.Errorf("by pod (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]int{"n1": 60, "n2": 30}, r.ByNode); diff != "" {
		t.Errorf("by node (-want +got):\n%s", diff)
	}
	if got := r.Peers[loopback]; got != 90 {
		t.Errorf("%d answers saw 127.0.0.1, want 90", got)
	}
	if got := s1.Stats().TCP; got != 60 {
		t.Errorf("pod web-0 accepted %d connections for 60 answers: connections must be fresh", got)
	}
	if want := "120 asked, 90 answered, 30 lost (refused 30), longest"; !strings.HasPrefix(r.String(), want) {
		t.Errorf("report reads %q, want %q…", r, want)
	}
}
