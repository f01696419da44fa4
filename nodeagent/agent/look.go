// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"os/exec"

	"github.com/clbsync/clbsync/nodeagent/iptables"
)

// Look finds out who else has rules on this node. It changes nothing. A variant that is asked for is taken.
func Look(ctx context.Context, asked iptables.Variant) Found {
	evidence := map[iptables.Variant]iptables.Evidence{
		iptables.Legacy: iptables.Examine(ctx, iptables.Legacy),
		iptables.NFT:    iptables.Examine(ctx, iptables.NFT),
	}
	f := Found{Variant: asked, WhyChosen: "asked for with --iptables"}
	if asked == "" {
		f.Variant, f.WhyChosen = iptables.Choose(evidence[iptables.Legacy], evidence[iptables.NFT])
	}
	f.Chosen = evidence[f.Variant]
	for _, family := range []string{"ip", "ip6"} {
		f.NFTables = f.NFTables || exec.CommandContext(ctx, "nft", "list", "chain", family, "kube-proxy", "nat-prerouting").Run() == nil
	}
	return f
}
