// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"os/exec"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"

	"github.com/clbsync/clbsync/nodeagent/iptables"
)

func cleanupCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "cleanup",
		Short: "Remove every chain, jump and address set of the agent from this node",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			var errs []error
			for _, variant := range []iptables.Variant{iptables.Legacy, iptables.NFT} {
				for _, family := range []corev1.IPFamily{corev1.IPv4Protocol, corev1.IPv6Protocol} {
					r := iptables.Runner{Family: family, Variant: variant}
					removed, err := r.CleanUp(c.Context())
					if errors.Is(err, exec.ErrNotFound) {
						continue // what cannot be run cannot have made rules
					}
					if removed > 0 {
						fmt.Fprintf(c.OutOrStdout(), "iptables-%s %s: %d chains, jumps and address sets removed\n", variant, family, removed)
					}
					errs = append(errs, err)
				}
			}
			return errors.Join(errs...)
		},
	}
}
