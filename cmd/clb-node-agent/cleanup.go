// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/klog/v2"

	"github.com/clbsync/clbsync/nodeagent/agent"
	"github.com/clbsync/clbsync/nodeagent/iptables"
	"github.com/clbsync/clbsync/nodeagent/owner"
)

func cleanupCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "cleanup",
		Short: "Remove every chain, jump and address set of the agent from this node",
		Long: `Remove every chain, jump and address set of the agent, in both variants of iptables and both families. Others' rules stay.
Stop the agent first: it would put them back.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return cleanUp(c.Context(), c.OutOrStdout())
		},
	}
}

// cleanUp removes what any agent has made on this node.
func cleanUp(ctx context.Context, out io.Writer) error {
	var errs []error
	for _, variant := range []iptables.Variant{iptables.Legacy, iptables.NFT} {
		for _, family := range iptables.Families {
			removed, err := iptables.Runner{Family: family, Variant: variant}.RemoveChains(ctx)
			if errors.Is(err, exec.ErrNotFound) {
				continue // what cannot be run cannot have made rules
			}
			if removed > 0 {
				fmt.Fprintf(out, "iptables-%s %s: %d chains and jumps removed\n", variant, family, removed)
			}
			errs = append(errs, err)
		}
	}
	for _, family := range iptables.Families {
		removed, err := iptables.Runner{Family: family, Variant: iptables.NFT}.RemoveSets(ctx)
		if errors.Is(err, exec.ErrNotFound) {
			continue
		}
		if removed > 0 {
			fmt.Fprintf(out, "%s: %d address sets removed\n", family, removed)
		}
		errs = append(errs, err)
	}
	if localnet, err := os.ReadFile(routeLocalnet); err == nil && strings.TrimSpace(string(localnet)) == "1" {
		fmt.Fprintln(out, "net.ipv4.conf.all.route_localnet is 1 and is left so, since kube-proxy may need it; without a proxy: sysctl -w net.ipv4.conf.all.route_localnet=0")
	}
	return errors.Join(errs...)
}

const routeLocalnet = "/proc/sys/net/ipv4/conf/all/route_localnet"

// cleanupTime bounds the removal of the rules at the end of the agent; the kubelet allows a minute in all.
const cleanupTime = 40 * time.Second

// runWithOwner runs the agent, and removes its rules at the end if its DaemonSet has been deleted.
func runWithOwner(ctx context.Context, config agent.Config, daemonSet string, out io.Writer) error {
	if daemonSet == "" {
		return agent.Run(ctx, config)
	}
	// The watch outlasts the agent: that the DaemonSet has been deleted may be told while the agent ends.
	last, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	o, err := owner.Follow(last, config.Client, daemonSet)
	if err != nil {
		return fmt.Errorf("--cleanup-with-daemonset: %w", err)
	}
	err = agent.Run(ctx, config)
	if ctx.Err() == nil { // it failed: the next one goes on with its rules
		return err
	}
	ctx, cancel := context.WithTimeout(last, cleanupTime)
	defer cancel()
	if !o.Gone(ctx) {
		klog.FromContext(ctx).Info("The rules stay: the DaemonSet is still wanted", "daemonSet", daemonSet)
		return err
	}
	klog.FromContext(ctx).Info("Removing the rules: the DaemonSet has been deleted", "daemonSet", daemonSet)
	return cleanUp(ctx, out)
}
