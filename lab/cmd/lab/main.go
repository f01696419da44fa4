// SPDX-License-Identifier: Apache-2.0

// Command lab starts, uses and removes Kubernetes clusters on this machine. It decides what a person may ask and how
// the answer reads; lab/build builds, lab/cluster runs clusters, lab/machine finds what is left of them.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
)

const usage = `lab runs real Kubernetes clusters on this machine, in network namespaces. It needs root.

  lab build [--e2e] [--product]     build what a cluster runs, install Debian packages that lack
  lab packages                      install those Debian packages alone
  lab up [--name N] [--nodes 3]     start a cluster and leave it running
  lab down [NAME | --all]           remove a cluster and every trace; NAME may be left out if there is one
  lab list                          the clusters that there are
  lab kubectl [NAME] -- ARGS        kubectl as administrator: lab kubectl -- get pods -A
  lab exec [NAME] MACHINE -- ARGS   run a program on a machine (cp, clb, client, n1, …): lab exec client -- curl …
  lab add-node [NAME]               add a node
  lab remove-node [NAME] NODE       remove a node
  lab check-clean [NAME]            list every trace of a cluster (of all, without NAME); exit 1 if there is one

'lab COMMAND --help' lists the flags of a command.
`

// commands write what a person asked for to the writer.
var commands = map[string]func(context.Context, io.Writer, []string) error{
	"build":       runBuild,
	"packages":    runPackages,
	"up":          runUp,
	"down":        runDown,
	"list":        runList,
	"kubectl":     runKubectl,
	"exec":        runExec,
	"add-node":    runAddNode,
	"remove-node": runRemoveNode,
	"check-clean": runCheckClean,
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Stdout, os.Args[1:])
	stop()
	var exit *exec.ExitError
	switch {
	case err == nil || errors.Is(err, flag.ErrHelp):
	case errors.As(err, &exit):
		os.Exit(exit.ExitCode()) // the program has said itself what is wrong
	default:
		fmt.Fprintln(os.Stderr, "lab:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out io.Writer, args []string) error {
	if len(args) == 0 || args[0] == "help" || args[0] == "-h" || args[0] == "--help" || args[0] == "-help" {
		_, err := io.WriteString(out, usage)
		return err
	}
	command := commands[args[0]]
	if command == nil {
		return fmt.Errorf("unknown command %q; 'lab help' lists them", args[0])
	}
	return command(ctx, out, args[1:])
}
