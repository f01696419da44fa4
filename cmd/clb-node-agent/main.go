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
	"github.com/clbsync/clbsync/nodeagent/agent"
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
answers load balancers on healthCheckNodePorts. It needs the capabilities NET_ADMIN and NET_RAW.

It shares the node with kube-proxy in one of three modes, found out at start and explained in the log:

  standalone  nobody else serves NodePorts
  companion   kube-proxy runs with ` + agent.RestrictFlag + `
  override    kube-proxy is as it is: the agent's rules come first, kube-proxy answers the health checks

The commands other than run look, explain or clean up, and may be used while the agent runs.`,
		Example: `  clb-node-agent check                                       # before the first run: what is in the way on this host
  clb-node-agent run                                         # in a pod with NODE_NAME set; mode and iptables are detected
  clb-node-agent explain 30080 --kubeconfig=/root/.kube/config   # why does this port not answer?
  clb-node-agent cleanup                                     # after the last run: remove every chain, jump and set`,
		Version:       version.Version(),
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.SetVersionTemplate(version.Line(name) + "\n")
	root.AddCommand(runCommand(), cleanupCommand(), explainCommand(), checkCommand())
	return root
}
