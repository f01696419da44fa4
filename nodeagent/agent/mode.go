// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/klog/v2"

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

// errModeChanged ends a run that is to begin anew.
var errModeChanged = errors.New("kube-proxy is other than it was found")

// reaction is what a running agent does about a mode that would be detected now.
type reaction int

const (
	carryOn reaction = iota
	takeOver
	tell
)

// reactTo is careful in one direction: the agent takes what kube-proxy leaves, but does not let go of what it has. A
// kube-proxy that could not open a health port tries again only when some Service changes: if the agent closed its own,
// nobody might answer for an hour, and the load balancer would take the node out.
func reactTo(running, detected Mode) reaction {
	switch {
	case running == detected:
		return carryOn
	case running == Override:
		return takeOver
	case detected == Override:
		return tell
	}
	return carryOn // standalone and companion differ by a rule that does no harm
}

const modePatience = 10

// watchMode notices a kube-proxy that comes, goes or is restricted. Where nobody has written rules it costs nothing, and
// elsewhere no more than one part in checkShare of the time, as long as that leaves it modePatience times its period.
func (a *Agent) watchMode(ctx context.Context) {
	logger := klog.FromContext(ctx)
	last, _, _ := DecideMode("", a.found)
	wait, told := a.config.ModeEvery, last
	seen, _ := a.families[0].runner.Generation()
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		start := time.Now()
		now, err := a.families[0].runner.Generation()
		if err == nil && now == seen && last == told {
			continue
		}
		seen = now
		found := Look(ctx, a.found.Variant)
		detected, why, _ := DecideMode("", found)
		wait = min(max(a.config.ModeEvery, checkShare*time.Since(start)), modePatience*a.config.ModeEvery)
		settled := detected == last // twice in a row: a proxy that restarts may have no rules for a moment
		last = detected
		if !settled || ctx.Err() != nil || detected == told {
			continue
		}
		told = detected
		switch reactTo(a.mode, detected) {
		case takeOver:
			if a.config.Mode == "" {
				logger.Info("Beginning anew, since kube-proxy serves no NodePorts any more", "mode", detected, "because", why)
				a.nodeEvent(corev1.EventTypeNormal, "NodePortModeChanged", fmt.Sprintf("mode %s from now on: %s", detected, why))
				a.again()
				return
			}
			_, _, problem := DecideMode(a.mode, found)
			a.tellMode(ctx, problem)
		case tell:
			_, _, problem := DecideMode(a.mode, found)
			a.tellMode(ctx, problem)
		case carryOn:
			logger.Info("Another mode would be detected now", "running", a.mode, "detected", detected, "because", why)
		}
	}
}

func (a *Agent) tellMode(ctx context.Context, problem string) {
	klog.FromContext(ctx).Info("This mode does not fit the node any more", "mode", a.mode, "problem", problem)
	a.nodeEvent(corev1.EventTypeWarning, "NodePortModeMismatch", "still in mode "+string(a.mode)+"; "+problem+"; a change of this agent's mode takes a restart of it")
}
