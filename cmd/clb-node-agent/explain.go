// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/clbsync/clbsync/nodeagent/agent"
)

func explainCommand() *cobra.Command {
	o := &options{}
	c := &cobra.Command{
		Use:   "explain PORT",
		Short: "Say what happens to a packet for a NodePort or health check port of this node",
		Long: `Say in words what happens to a packet for PORT from a client outside, from a process on this node and from a pod, what the
kernel's rules have counted, and why a packet is dropped or refused.`,
		Example: "  clb-node-agent explain 30080 --node-name=n1 --kubeconfig=/root/.kube/config",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			port, err := strconv.ParseUint(args[0], 10, 16)
			if err != nil || port == 0 {
				return fmt.Errorf("PORT is %q, want a number from 1 to 65535", args[0])
			}
			o.minSync, o.check, o.verify, o.stuck, o.compare, o.modeEvery = 1, 1, 1, 1, 1, 1 // not used: nothing runs
			config, err := o.config()
			if err != nil {
				return err
			}
			text, err := agent.Explain(c.Context(), config, uint16(port))
			if err != nil {
				return err
			}
			fmt.Fprint(c.OutOrStdout(), text)
			return nil
		},
	}
	o.add(c.Flags())
	return c
}
