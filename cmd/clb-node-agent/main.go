// SPDX-License-Identifier: Apache-2.0

// Command clb-node-agent keeps the NodePort chains and health check ports of one node.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
	"k8s.io/klog/v2"

	"github.com/clbsync/clbsync/internal/version"
)

const name = "clb-node-agent"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := command().ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "clb-node-agent:", err)
		klog.Flush()
		os.Exit(1)
	}
	klog.Flush()
}

func command() *cobra.Command {
	root := &cobra.Command{
		Use:   "clb-node-agent",
		Short: "Keeps the NodePort chains and health check ports of one node",
		Long: `clb-node-agent runs on every node. It installs iptables chains for the NodePorts of all Services
(policy Cluster: any endpoint, masqueraded; policy Local: endpoints on this node, client address kept) and
answers load balancers on healthCheckNodePorts. It needs the capabilities NET_ADMIN and NET_RAW.`,
		Version:       version.Version(),
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.SetVersionTemplate(version.Line(name) + "\n")
	root.AddCommand(runCommand(), cleanupCommand(), explainCommand(), checkCommand())
	return root
}
