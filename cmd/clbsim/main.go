// SPDX-License-Identifier: Apache-2.0

// Command clbsim runs a simulated Tencent Cloud CLB.
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

	"github.com/clbsync/clbsync/clbsim"
	"github.com/clbsync/clbsync/clbsim/datapath"
	"github.com/clbsync/clbsync/clbsim/probe"
	"github.com/clbsync/clbsync/internal/version"
)

const help = `clbsim is a simulated Tencent Cloud CLB. It speaks the API (clb, cvm, tag, vpc) as the
real one does and refuses what the real one refuses. It needs no cloud account
and, without --datapath, no privileges.

Usage:
  clbsim [--listen ADDR] [--admin ADDR] [--config FILE] [--datapath]

Flags:
  --listen ADDR   where the API is served (default 127.0.0.1:8090)
  --admin ADDR    where the admin port is served (default 127.0.0.1:8091)
  --config FILE   YAML; every key is optional, unknown keys are refused
                  (keys and defaults: clbsim/README.md)
  --datapath      forward real packets from the VIPs to the targets, with
                  nftables in the network namespace clbsim runs in, and probe
                  targets with real connections from the documented addresses;
                  needs NET_ADMIN, NET_RAW and the program nft
  --version       print the version

Try it:
  go run ./cmd/clbsim
  tccli clb DescribeLoadBalancers --secretId AKIDEXAMPLE --secretKey SECRETEXAMPLE \
      --region ap-guangzhou --endpoint http://127.0.0.1:8090
  curl -s 127.0.0.1:8091/state                              # what exists
  curl -s '127.0.0.1:8091/calls?since=0'                    # every call so far
  curl -s 127.0.0.1:8091/faults -d '{"action": "CreateListener", "kind": "drop-after"}'
  curl -s 127.0.0.1:8091/instances -d '{"id": "ins-aaaa0001", "privateIP": "10.0.0.11"}'
  curl -s 127.0.0.1:8091/console/DescribeQuota -d '{}'      # any action, unsigned, at once
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx, os.Args[1:], os.Stdout)
	switch {
	case errors.Is(err, flag.ErrHelp):
	case err != nil:
		fmt.Fprintln(os.Stderr, "clbsim:", err)
		os.Exit(1)
	}
}

// run serves until ctx ends.
func run(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("clbsim", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	listen := flags.String("listen", "127.0.0.1:8090", "")
	adminAddr := flags.String("admin", "127.0.0.1:8091", "")
	configFile := flags.String("config", "", "")
	forward := flags.Bool("datapath", false, "")
	showVersion := flags.Bool("version", false, "")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			fmt.Fprint(out, help)
			return err
		}
		return fmt.Errorf("%w (clbsim --help explains the flags)", err)
	}
	switch {
	case flags.NArg() > 0:
		return fmt.Errorf("unexpected argument %q (clbsim --help explains the flags)", flags.Arg(0))
	case *showVersion:
		fmt.Fprintln(out, version.Line("clbsim"))
		return nil
	}
	cfg := clbsim.Example()
	if *configFile != "" {
		var err error
		if cfg, err = clbsim.Load(*configFile); err != nil {
			return err
		}
	}
	if *forward {
		path := &datapath.Path{}
		cfg.Health.Probe = "real"
		cfg.Forwarder, cfg.Prober = path, probe.Prober{Mark: true}
		defer path.Close(context.WithoutCancel(ctx))
	}
	sim, err := clbsim.New(cfg)
	if err != nil {
		return err
	}
	defer sim.Close()
	return serve(ctx, out, sim, *listen, *adminAddr)
}

// serve answers on both ports until ctx ends.
func serve(ctx context.Context, out io.Writer, sim *clbsim.Sim, listen, adminAddr string) error {
	failed := make(chan error, 2)
	for _, port := range []struct {
		name, addr string
		handler    http.Handler
	}{{"API", listen, sim.Handler()}, {"admin", adminAddr, sim.AdminHandler()}} { //nolint:contextcheck // probes belong to the simulator, not to a request
		l, err := net.Listen("tcp", port.addr)
		if err != nil {
			return fmt.Errorf("%s port: %w", port.name, err)
		}
		server := &http.Server{Handler: port.handler, ReadHeaderTimeout: 10 * time.Second}
		defer server.Close()
		go func() { failed <- fmt.Errorf("%s port: %w", port.name, server.Serve(l)) }()
		fmt.Fprintf(out, "clbsim: %s on http://%s\n", port.name, l.Addr())
	}
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
		return nil
	}
}
