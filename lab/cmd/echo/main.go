// SPDX-License-Identifier: Apache-2.0

// Command echo is the program in the lab's pods. It answers TCP, UDP and HTTP with its pod, its node and the peer
// address that it saw; see package echo. This file only reads flags, opens sockets and waits for signals.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/clbsync/clbsync/lab/echo"
)

const usage = `echo answers every TCP connection, UDP datagram and HTTP request with one line of JSON:

  {"pod":"web-0","node":"n1","peer":"198.51.100.2:40312","protocol":"tcp","count":1}

After its answer a TCP connection stays open and echoes the client's lines until the client closes.
How the program behaves can be changed while it runs, under the flags' names:

  curl -X POST 'http://POD:8081/control?delay=200ms&ready=false'

The admin port also serves /healthz, /readyz (503 if not ready) and /stats. SIGTERM ends the program at once,
after --linger, or with --ignore-sigterm not at all; SIGINT always ends it.

Flags (an empty address switches a protocol off):
`

type config struct {
	pod, node             string
	tcp, udp, http, admin string
	behaviour             echo.Behaviour
}

func main() {
	c, err := parse(os.Args[1:], os.Getenv, os.Stderr)
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err != nil {
		os.Exit(2)
	}
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	if err := run(c, signals, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "echo:", err)
		os.Exit(1)
	}
}

// parse reads the flags; their faults are printed to out.
func parse(args []string, getenv func(string) string, out io.Writer) (config, error) {
	c := config{pod: getenv("POD_NAME"), behaviour: echo.Behaviour{Ready: true}}
	if c.pod == "" {
		c.pod, _ = os.Hostname() // in a pod, the host name is the pod's name
	}
	fs := flag.NewFlagSet("echo", flag.ContinueOnError)
	fs.SetOutput(out)
	fs.Usage = func() { fmt.Fprint(out, usage); fs.PrintDefaults() }
	fs.StringVar(&c.pod, "pod", c.pod, "the pod's name (environment POD_NAME)")
	fs.StringVar(&c.node, "node", getenv("NODE_NAME"), "the node's name (environment NODE_NAME)")
	fs.StringVar(&c.tcp, "tcp", ":9000", "TCP address")
	fs.StringVar(&c.udp, "udp", ":9000", "UDP address")
	fs.StringVar(&c.http, "http", ":8080", "HTTP address")
	fs.StringVar(&c.admin, "admin", ":8081", "address of /healthz, /readyz, /stats and /control")
	c.behaviour.Flags(fs)
	if err := fs.Parse(args); err != nil {
		return c, err
	}
	if fs.NArg() > 0 {
		err := fmt.Errorf("unexpected argument %q: everything is a flag", fs.Arg(0))
		fmt.Fprintln(out, err)
		return c, err
	}
	return c, nil
}

// run serves until a signal ends it or a socket fails.
func run(c config, signals <-chan os.Signal, log io.Writer) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	server := echo.New(c.pod, c.node, c.behaviour)
	failed := make(chan error, 4)
	serving, err := serve(ctx, c, server, failed)
	if err != nil {
		return err
	}
	fmt.Fprintf(log, "echo: pod %s on node %s serves%s\n", c.pod, c.node, serving)

	var over <-chan time.Time
	for {
		select {
		case err := <-failed:
			return err
		case <-over:
			return nil
		case s := <-signals:
			b := server.Behaviour()
			switch {
			case s == syscall.SIGINT:
				return nil
			case b.IgnoreSIGTERM:
				fmt.Fprintln(log, "echo: SIGTERM ignored, as told")
			case over == nil:
				fmt.Fprintf(log, "echo: SIGTERM, serving %s longer\n", b.Linger)
				over = time.After(b.Linger)
			}
		}
	}
}

// serve opens the sockets and serves them until the context ends. What it returns names the addresses in use.
func serve(ctx context.Context, c config, server *echo.Server, failed chan<- error) (string, error) {
	serving := ""
	start := func(name string, addr net.Addr, serve func() error) {
		serving += fmt.Sprintf(" %s=%s", name, addr)
		go func() {
			if err := serve(); err != nil && ctx.Err() == nil {
				failed <- fmt.Errorf("%s: %w", name, err)
			}
		}()
	}
	for _, l := range []struct {
		name, addr string
		serve      func(net.Listener) error
	}{
		{"tcp", c.tcp, func(l net.Listener) error { return server.ServeTCP(ctx, l) }},
		{"http", c.http, func(l net.Listener) error { return http.Serve(l, server) }},
		{"admin", c.admin, func(l net.Listener) error { return http.Serve(l, server.Admin()) }},
	} {
		if l.addr == "" {
			continue
		}
		listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", l.addr)
		if err != nil {
			return "", fmt.Errorf("--%s: %w", l.name, err)
		}
		context.AfterFunc(ctx, func() { listener.Close() })
		start(l.name, listener.Addr(), func() error { return l.serve(listener) })
	}
	if c.udp != "" {
		conn, err := (&net.ListenConfig{}).ListenPacket(ctx, "udp", c.udp)
		if err != nil {
			return "", fmt.Errorf("--udp: %w", err)
		}
		start("udp", conn.LocalAddr(), func() error { return server.ServeUDP(ctx, conn.(*net.UDPConn)) })
	}
	return serving, nil
}
