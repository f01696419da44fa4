// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"context"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/clbsync/clbsync/clbsim/cloud"
)

// listen answers every connection and datagram on a loopback port: reply gets
// what was sent first.
func listen(t *testing.T, reply func(in string) string) netip.AddrPort {
	t.Helper()
	tcp, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	udp, err := net.ListenPacket("udp4", tcp.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tcp.Close(); udp.Close() })
	go func() {
		buf := make([]byte, 1500)
		for {
			c, err := tcp.Accept()
			if err != nil {
				return
			}
			if n, err := c.Read(buf); err == nil {
				_, _ = io.WriteString(c, reply(string(buf[:n])))
			}
			c.Close()
		}
	}()
	go func() {
		buf := make([]byte, 1500)
		for {
			n, from, err := udp.ReadFrom(buf)
			if err != nil {
				return
			}
			_, _ = udp.WriteTo([]byte(reply(string(buf[:n]))), from)
		}
	}()
	return netip.MustParseAddrPort(tcp.Addr().String())
}

// closed is a loopback port that nobody listens on.
func closed(t *testing.T) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return netip.MustParseAddrPort(l.Addr().String())
}

func web(t *testing.T, status int) netip.AddrPort {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/healthz" || r.Host != "node" {
			w.WriteHeader(http.StatusTeapot)
			return
		}
		w.Header().Set("Location", "/elsewhere")
		w.WriteHeader(status)
	}))
	t.Cleanup(srv.Close)
	return netip.MustParseAddrPort(strings.TrimPrefix(srv.URL, "http://"))
}

func secureWeb(t *testing.T, status int) netip.AddrPort {
	t.Helper()
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }))
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	srv.StartTLS()
	t.Cleanup(srv.Close)
	return netip.MustParseAddrPort(srv.Listener.Addr().String())
}

// grpcServer answers every call with a status, as a trailer after an empty
// message.
func grpcServer(t *testing.T, status string) netip.AddrPort {
	t.Helper()
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor != 2 || r.Header.Get("Content-Type") != "application/grpc" {
			w.WriteHeader(http.StatusUnsupportedMediaType)
			return
		}
		w.Header().Set("Content-Type", "application/grpc")
		w.Header().Set(http.TrailerPrefix+"Grpc-Status", status)
		_, _ = w.Write(make([]byte, 5))
	}))
	srv.Config.Protocols = new(http.Protocols)
	srv.Config.Protocols.SetUnencryptedHTTP2(true)
	srv.Start()
	t.Cleanup(srv.Close)
	return netip.MustParseAddrPort(srv.Listener.Addr().String())
}

func overTLS(mask int64) cloud.HealthCheck {
	h := httpCheck(mask)
	h.Type = cloud.CheckHTTPS
	return h
}

func grpcCheck(codes string) cloud.HealthCheck {
	return cloud.HealthCheck{Type: cloud.CheckGRPC, HTTPPath: "/", GRPCCode: codes}
}

func httpCheck(mask int64) cloud.HealthCheck {
	return cloud.HealthCheck{Type: cloud.CheckHTTP, HTTPPath: "/healthz", HTTPDomain: "node", HTTPMethod: "HEAD", HTTPVersion: "HTTP/1.1", HTTPCode: mask}
}

func custom(kind, send, receive string) cloud.HealthCheck {
	return cloud.HealthCheck{Type: cloud.CheckCustom, Context: kind, Send: send, Receive: receive}
}

func TestProbe(t *testing.T) {
	echo := listen(t, func(in string) string { return "you said " + in })
	old := httpCheck(2)
	old.HTTPVersion, old.HTTPMethod = "HTTP/1.0", "GET"
	for _, tc := range []struct {
		name  string
		check cloud.HealthCheck
		udp   bool
		at    netip.AddrPort
		well  bool
	}{
		{"a TCP port that accepts", cloud.HealthCheck{Type: cloud.CheckTCP}, false, echo, true},
		{"a TCP port that refuses", cloud.HealthCheck{Type: cloud.CheckTCP}, false, closed(t), false},
		{"HTTP 200 with a mask for 2xx", httpCheck(2), false, web(t, 200), true},
		{"HTTP 503 with a mask for 2xx", httpCheck(2), false, web(t, 503), false},
		{"HTTP 503 with the mask of the default", httpCheck(31), false, web(t, 503), true},
		{"a redirect is not followed", httpCheck(2), false, web(t, 302), false},
		{"a redirect with a mask for 3xx", httpCheck(4), false, web(t, 302), true},
		{"HTTP 404 with a mask for all but 4xx", httpCheck(31 - 8), false, web(t, 404), false},
		{"HTTP/1.0", old, false, web(t, 204), true},
		{"something that is not HTTP", httpCheck(31), false, echo, false},
		{"HTTPS 200", overTLS(2), false, secureWeb(t, 200), true},
		{"HTTPS 503 with a mask for 2xx", overTLS(2), false, secureWeb(t, 503), false},
		{"HTTPS at a port without TLS", overTLS(31), false, web(t, 200), false},
		{"gRPC with the status of the default", grpcCheck(""), false, grpcServer(t, "12"), true},
		{"gRPC with another status", grpcCheck("0-11,13"), false, grpcServer(t, "12"), false},
		{"gRPC with a status of a range", grpcCheck("0-11"), false, grpcServer(t, "5"), true},
		{"gRPC with a status of a list", grpcCheck("1,5"), false, grpcServer(t, "5"), true},
		{"gRPC at a port of HTTP/1", grpcCheck("0-99"), false, web(t, 200), false},
		{"a custom answer over TCP", custom("TEXT", "hi", "you said hi"), false, echo, true},
		{"another answer over TCP", custom("TEXT", "hi", "you said ho"), false, echo, false},
		{"a custom answer over UDP", custom("TEXT", "hi", "you"), true, echo, true},
		{"bytes in hexadecimal", custom("HEX", "6869", "796F75"), true, echo, true},
		{"a UDP port that does not answer", custom("TEXT", "hi", "you"), true, closed(t), false},
		{"a ping to an open port", cloud.HealthCheck{Type: cloud.CheckPing}, true, echo, true},
		{"a ping to a closed port", cloud.HealthCheck{Type: cloud.CheckPing}, true, closed(t), false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			defer cancel()
			err := Prober{}.Probe(ctx, cloud.Probe{Check: tc.check, UDP: tc.udp, Target: tc.at})
			if (err == nil) != tc.well {
				t.Errorf("the probe says %v, want well: %v", err, tc.well)
			}
		})
	}
}

func TestASilentTargetFailsInTime(t *testing.T) {
	silent, err := net.Listen("tcp4", "127.0.0.1:0") // accepts in its backlog and says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	began := time.Now()
	err = Prober{}.Probe(ctx, cloud.Probe{Check: httpCheck(31), Target: netip.MustParseAddrPort(silent.Addr().String())})
	if took := time.Since(began); err == nil || took > 2*time.Second {
		t.Errorf("%v after %v", err, took)
	}
}
