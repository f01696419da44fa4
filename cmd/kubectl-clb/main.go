// SPDX-License-Identifier: Apache-2.0

// Command kubectl-clb is a plugin of kubectl, `kubectl clb`: it explains, plans and lists what
// clb-cloud-controller-manager does with Tencent Cloud CLB.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/clbsync/clbsync/internal/kubectl"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the program at once
	os.Exit(kubectl.New(os.Stdin, os.Stdout, os.Stderr).Run(ctx, os.Args[1:]))
}
