// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"errors"
	"flag"
	"io"
	"net"
	"net/http"
	"os"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/clbsync/clbsync/lab/echo"
)

func TestFlags(t *testing.T) {
	env := map[string]string{"POD_NAME": "web-0", "NODE_NAME": "n1"}
	c, err := parse([]string{"--delay=5ms", "--udp="}, func(k string) string { return env[k] }, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	want := config{
		pod: "web-0", node: "n1", tcp: ":9000", http: ":8080", admin: ":8081",
		behaviour: echo.Behaviour{Ready: true, Delay: 5 * time.Millisecond},
	}
	if c != want {
		t.Errorf("config = %+v, want %+v", c, want)
	}
	for _, bad := range [][]string{{"--slow"}, {"serve"}} {
		var out bytes.Buffer
		if _, err := parse(bad, func(string) string { return "" }, &out); err == nil || !strings.Contains(out.String(), strings.TrimLeft(bad[0], "-")) {
			t.Errorf("%v: error %v, printed %q, want a refusal that names it", bad, err, out.String())
		}
	}
	var out bytes.Buffer
	if _, err := parse([]string{"--help"}, func(string) string { return "" }, &out); !errors.Is(err, flag.ErrHelp) || !strings.Contains(out.String(), "/control?delay=") {
		t.Errorf("--help: error %v, printed %q", err, out.String())
	}
}

// program runs the program in-process and hands out its addresses, its signals and its end.
type program struct {
	addr    map[string]string
	signals chan os.Signal
	ended   chan error
	log     *io.PipeReader
}

func startProgram(t *testing.T, b echo.Behaviour) *program {
	t.Helper()
	const any = "127.0.0.1:0"
	read, write := io.Pipe()
	p := &program{addr: map[string]string{}, signals: make(chan os.Signal), ended: make(chan error, 1), log: read}
	go func() {
		err := run(config{pod: "web-0", node: "n1", tcp: any, udp: any, http: any, admin: any, behaviour: b}, p.signals, write)
		write.Close()
		p.ended <- err
	}()
	for _, m := range regexp.MustCompile(`(\w+)=(\S+)`).FindAllStringSubmatch(p.line(t), -1) {
		p.addr[m[1]] = m[2]
	}
	return p
}

// line returns the next line that the program logs.
func (p *program) line(t *testing.T) string {
	t.Helper()
	var line []byte
	for b := make([]byte, 1); ; {
		if _, err := p.log.Read(b); err != nil {
			t.Fatalf("log ended after %q: %v", line, err)
		}
		if b[0] == '\n' {
			return string(line)
		}
		line = append(line, b[0])
	}
}

func (p *program) serves(t *testing.T) {
	t.Helper()
	for _, name := range []string{"http", "admin"} {
		resp, err := (&http.Client{Timeout: 5 * time.Second}).Get("http://" + p.addr[name] + "/healthz")
		if err != nil {
			t.Fatalf("%s does not answer: %v", name, err)
		}
		resp.Body.Close()
	}
	for _, network := range []string{"tcp", "udp"} {
		conn, err := net.DialTimeout(network, p.addr[network], 5*time.Second)
		if err != nil {
			t.Fatalf("%s: %v", network, err)
		}
		defer conn.Close()
		if err := conn.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Write([]byte("x\n")); err != nil {
			t.Fatalf("%s: %v", network, err)
		}
		if _, err := conn.Read(make([]byte, 1024)); err != nil {
			t.Fatalf("%s does not answer: %v", network, err)
		}
	}
}

func TestSIGTERMEndsAtOnce(t *testing.T) {
	p := startProgram(t, echo.Behaviour{Ready: true})
	p.serves(t)
	p.signals <- syscall.SIGTERM
	p.line(t)
	if err := <-p.ended; err != nil {
		t.Errorf("ended with %v", err)
	}
	if conn, err := net.DialTimeout("tcp", p.addr["tcp"], time.Second); err == nil {
		conn.Close()
		t.Error("TCP is still served after the end")
	}
}

func TestLingerServesOnAfterSIGTERM(t *testing.T) {
	const linger = 400 * time.Millisecond
	p := startProgram(t, echo.Behaviour{Ready: true, Linger: linger})
	p.signals <- syscall.SIGTERM
	begin := time.Now()
	p.line(t)
	p.serves(t)
	if err := <-p.ended; err != nil {
		t.Errorf("ended with %v", err)
	}
	if got := time.Since(begin); got < linger {
		t.Errorf("ended %s after SIGTERM, want at least %s", got, linger)
	}
}

func TestIgnoredSIGTERMChangesNothingAndSIGINTEnds(t *testing.T) {
	p := startProgram(t, echo.Behaviour{Ready: true, IgnoreSIGTERM: true})
	p.signals <- syscall.SIGTERM
	if got := p.line(t); !strings.Contains(got, "ignored") {
		t.Errorf("logged %q", got)
	}
	p.serves(t)
	p.signals <- syscall.SIGINT
	if err := <-p.ended; err != nil {
		t.Errorf("ended with %v", err)
	}
}

func TestTakenPortIsNamed(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	err = run(config{http: l.Addr().String()}, nil, io.Discard)
	if err == nil || !strings.Contains(err.Error(), "--http") {
		t.Errorf("error = %v, want one that names --http", err)
	}
}
