// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/clbsync/clbsync/nodeagent/iptables"
)

func cleanupCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "cleanup",
		Short: "Remove every chain, jump and address set of the agent from this node",
		Long: `Remove every chain, jump and address set of the agent, in both variants of iptables and both families. Others' rules stay.
Stop the agent first: it would put them back.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			var errs []error
			for _, variant := range []iptables.Variant{iptables.Legacy, iptables.NFT} {
				for _, family := range iptables.Families {
					removed, err := iptables.Runner{Family: family, Variant: variant}.RemoveChains(c.Context())
					if removed > 0 {
						fmt.Fprintf(c.OutOrStdout(), "iptables-%s %s: %d chains and jumps removed\n", variant, family, removed)
					}
					errs = append(errs, err)
				}
			}
			for _, family := range iptables.Families {
				removed, err := iptables.Runner{Family: family, Variant: iptables.NFT}.RemoveSets(c.Context())
				if removed > 0 {
					fmt.Fprintf(c.OutOrStdout(), "%s: %d address sets removed\n", family, removed)
				}
				errs = append(errs, err)
			}
			if localnet, err := os.ReadFile(routeLocalnet); err == nil && strings.TrimSpace(string(localnet)) == "1" {
				fmt.Fprintln(c.OutOrStdout(), "net.ipv4.conf.all.route_localnet is 1 and is left so, since kube-proxy may need it; without a proxy: sysctl -w net.ipv4.conf.all.route_localnet=0")
			}
			return errors.Join(errs...)
		},
	}
}

const routeLocalnet = "/proc/sys/net/ipv4/conf/all/route_localnet"
