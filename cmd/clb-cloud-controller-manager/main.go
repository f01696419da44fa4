// SPDX-License-Identifier: Apache-2.0

// Command clb-cloud-controller-manager is the cloud-controller-manager of k8s.io/cloud-provider with the
// provider "tencentcloud", and with lbsync/controller in the place, and under the name, of the stock service
// controller.
//
// It decides nothing but defaults, order and exit codes: it reads flags and the cloud config, makes the
// clients, and puts them behind the interfaces that provider and lbsync/controller declare.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register"          // --logging-format=json
	_ "k8s.io/component-base/metrics/prometheus/clientgo" // metrics of the Kubernetes client
	"k8s.io/klog/v2"
)

// Exit codes.
const (
	exitFailure = 1
	exitUsage   = 2
)

func main() {
	// Upstream ends with klog.Fatal here and there, which is 255: no exit code that anybody documents.
	klog.OsExit = func(code int) {
		if code > exitUsage {
			code = exitFailure
		}
		os.Exit(code)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the program at once
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// run is the program; it returns the exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	complain := func(format string, args ...any) { _, _ = fmt.Fprintf(stderr, "Error: "+format+"\n", args...) }
	p, err := newProgram(ctx, stderr)
	if err != nil {
		complain("%v", err)
		return exitFailure
	}
	defer p.finish()
	cmd := p.command(stdout)
	cmd.SetArgs(args)
	err = cli.RunNoErrOutput(cmd)
	// Calls in flight; the controller bounds it.
	p.running.Wait()
	if err := p.release(); err != nil { //nolint:contextcheck // given back after ctx has ended
		klog.ErrorS(err, "The next leader has to wait until the lease runs out")
	}
	switch {
	case err == nil, errors.Is(err, context.Canceled) && p.stop.Err() != nil:
		return 0
	case errors.As(err, new(usageError)):
		complain("%v\nSee '%s --help'.", err, name)
		return exitUsage
	case !errors.As(err, new(printedError)):
		complain("%v", err)
	}
	return exitFailure
}

// usageError is a mistake on the command line.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// printedError is an error that upstream's command has printed itself.
type printedError struct{ error }

func (e printedError) Unwrap() error { return e.error }
