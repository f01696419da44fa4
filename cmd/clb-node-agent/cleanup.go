// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/klog/v2"

	"github.com/clbsync/clbsync/nodeagent/agent"
	"github.com/clbsync/clbsync/nodeagent/iptables"
	"github.com/clbsync/clbsync/nodeagent/owner"
)

func cleanupCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "cleanup",
		Short: "Remove every chain, jump and address set of the agent from this node",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return cleanUp(c.Context(), c.OutOrStdout())
		},
	}
}

// cleanUp removes what any agent has made on this node.
func cleanUp(ctx context.Context, out io.Writer) error {
	var errs []error
	for _, variant := range []iptables.Variant{iptables.Legacy, iptables.NFT} {
		for _, family := range []corev1.IPFamily{corev1.IPv4Protocol, corev1.IPv6Protocol} {
			r := iptables.Runner{Family: family, Variant: variant}
			removed, err := r.CleanUp(ctx)
			if errors.Is(err, exec.ErrNotFound) {
				continue // what cannot be run cannot have made rules
			}
			if removed > 0 {
				fmt.Fprintf(out, "iptables-%s %s: %d chains, jumps and address sets removed\n", variant, family, removed)
			}
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

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
