// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"fmt"

	"github.com/clbsync/clbsync/nodeagent/iptables"
)

// Mode is how the agent shares the node with kube-proxy.
type Mode string

// The modes.
const (
	// Standalone: nobody else serves NodePorts. The agent also does for the host what kube-proxy would.
	Standalone Mode = "standalone"
	// Companion: kube-proxy runs with --nodeport-addresses set so that it serves no NodePort here.
	Companion Mode = "companion"
	// Override: kube-proxy is as it is; ours come first and what we do not take falls to it.
	Override Mode = "override"
)

// RestrictFlag is what keeps kube-proxy off all NodePorts and health ports. 127.0.0.0/8 would not do: kube-proxy
// would hold 127.0.0.1:healthCheckNodePort, and nobody else could open the port.
const RestrictFlag = "--nodeport-addresses=192.0.2.0/24,100::/64"

// Found is what the agent saw of kube-proxy on this node.
type Found struct {
	Variant   iptables.Variant // the chosen one
	Chosen    iptables.Evidence
	NFTables  bool // kube-proxy's native nftables table exists
	WhyChosen string
}

// DecideMode returns the mode to run in, and why; problem says what is wrong with it on this node, "" if
// nothing is. An asked mode is always granted: the operator may know what comes next on this node.
func DecideMode(asked Mode, f Found) (mode Mode, why, problem string) {
	detected := Standalone
	why = "no kube-proxy has rules on this node"
	switch {
	case f.Chosen.KubeProxy && f.Chosen.NodePorts:
		detected, why = Override, fmt.Sprintf("kube-proxy serves NodePorts in iptables-%s", f.Variant)
	case f.Chosen.KubeProxy:
		detected, why = Companion, fmt.Sprintf("kube-proxy has rules in iptables-%s and none for NodePorts", f.Variant)
	case f.NFTables:
		detected, why = Companion, "kube-proxy runs in nftables mode"
		problem = "an iptables chain cannot be kept before kube-proxy's nftables chains; run kube-proxy with " + RestrictFlag
	}
	if asked == "" || asked == detected {
		return detected, why, problem
	}
	switch {
	case asked == Companion && detected == Override:
		problem = "kube-proxy serves NodePorts too, and holds the health check ports; run it with " + RestrictFlag + ", or this agent with --mode=override"
	case asked == Override && detected != Override:
		problem = "no kube-proxy serves NodePorts in iptables-" + string(f.Variant) + ": nobody answers on the health check ports"
	case asked == Standalone:
		problem = why + ": two proxies answer for the same ports; --mode=" + string(detected) + " fits"
	}
	return asked, "asked for with --mode", problem
}
