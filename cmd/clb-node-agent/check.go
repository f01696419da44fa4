// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/clbsync/clbsync/nodeagent/agent"
	"github.com/clbsync/clbsync/nodeagent/iptables"
)

func checkCommand() *cobra.Command {
	o := &options{}
	c := &cobra.Command{
		Use:   "check",
		Short: "Examine this host and say what would stand in the agent's way; changes nothing",
		Long: `Examine this host: variants of iptables and whose rules they hold, the mode that fits, the mark bit, sysctls, reverse path
filtering, ephemeral ports among the NodePorts, who holds which port, and the way back from the pods. Changes nothing. With an
API server (--kubeconfig, or in a pod) it knows which ports are in use. Exits with 1 if a finding needs attention.`,
		Example: "  clb-node-agent check --node-name=n1 --kubeconfig=/root/.kube/config",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if o.bit < 0 || o.bit > 31 {
				return fmt.Errorf("--masquerade-bit is %d, want 0 to 31", o.bit)
			}
			bad := 0
			config := agent.Config{NodeName: o.nodeName(), Variant: iptables.Variant(o.variant), Mark: 1 << o.bit}
			if client, err := o.client(); err == nil {
				config.Client = client
			} else if o.kubeconfig != "" {
				return err
			}
			for _, f := range agent.Check(c.Context(), config) {
				fmt.Fprintln(c.OutOrStdout(), f)
				if f.Bad {
					bad++
				}
			}
			if bad > 0 {
				return errors.New(attention(bad))
			}
			return nil
		},
	}
	o.add(c.Flags())
	return c
}

func attention(n int) string {
	if n == 1 {
		return "1 finding needs attention"
	}
	return fmt.Sprintf("%d findings need attention", n)
}
