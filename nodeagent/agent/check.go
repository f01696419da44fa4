// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/clbsync/clbsync/nodeagent"
	"github.com/clbsync/clbsync/nodeagent/iptables"
)

// Finding is one thing that Check has looked at.
type Finding struct {
	Bad  bool // needs attention
	Text string
	// Means and Do say what comes of it and what would help; they are set if it is bad.
	Means, Do string
}

func (f Finding) String() string {
	if !f.Bad {
		return "ok " + f.Text
	}
	return "!! " + f.Text + "\n   means: " + f.Means + "\n   do:    " + f.Do
}

func fine(format string, args ...any) Finding { return Finding{Text: fmt.Sprintf(format, args...)} }

// askPatience is how long Check waits for the API server: it is asked, too, on nodes where that is what is broken.
const askPatience = 10 * time.Second

// Check examines the host for what makes NodePorts fail in silence. It changes nothing. Of the config it needs Variant and
// Mark; with a client it knows the ports of Services and looks who holds them, and the way back from their endpoints.
func Check(ctx context.Context, config Config) []Finding {
	found := Look(ctx, config.Variant)
	mode, why, problem := DecideMode("", found)
	out := []Finding{fine("iptables-%s: %s", found.Variant, found.WhyChosen), fine("mode %s: %s", mode, why)}
	if problem != "" {
		out = append(out, Finding{true, "kube-proxy stands in the way: " + why, problem, "run kube-proxy with " + RestrictFlag + " on all nodes, and this agent with --mode=companion"})
	}
	out = append(out, otherVariant(ctx, found.Variant)...)
	var services []nodeagent.Services
	var s nodeagent.Snapshot
	var err error
	if config.Client == nil {
		out = append(out, fine("the API server is not asked: all ports from %d to %d are looked at (--kubeconfig and --node-name would tell which are in use)", nodePortFirst, nodePortLast))
	} else {
		asking, done := context.WithTimeout(ctx, askPatience)
		defer done()
		if s, err = listAll(asking, config); err != nil {
			out = append(out, Finding{true, "the API server does not answer: " + err.Error(), "the agent on this node gets no changes, and its rules grow old",
				"look at the address and the credentials (--kubeconfig), at the rights of the account, and at the way to the API server"})
		} else {
			for _, family := range iptables.Families {
				services = append(services, nodeagent.Desired(s, family))
			}
		}
	}
	out = append(out, ports(ctx, mode, services)...)
	out = append(out, host(services)...)
	out = append(out, paths(services)...)
	return append(out, markFindings(ctx, config.Mark)...)
}

// otherVariant looks at the iptables that is not used: its rules act on the same packets.
func otherVariant(ctx context.Context, used iptables.Variant) []Finding {
	other := iptables.Legacy
	if used == iptables.Legacy {
		other = iptables.NFT
	}
	var out []Finding
	if e := iptables.Examine(ctx, other); e.KubeProxy {
		out = append(out, Finding{true, fmt.Sprintf("iptables-%s holds rules of kube-proxy too", other),
			"they are left over from another kube-proxy, or two of them run; packets may meet endpoints that are long gone",
			fmt.Sprintf("see which kube-proxy runs, then remove the other's rules: kube-proxy --cleanup with iptables-%s, or a reboot", other)})
	}
	for _, family := range iptables.Families {
		r := iptables.Runner{Family: family, Variant: other}
		text, err := r.Table(ctx, "filter")
		if err != nil {
			continue // it cannot be used, so nobody uses it
		}
		if chain := dropsByPolicy(text); chain != "" {
			out = append(out, Finding{true, fmt.Sprintf("iptables-%s drops by policy in %s (%s)", other, chain, family),
				fmt.Sprintf("what iptables-%s accepts is dropped all the same: a drop in either is final", used),
				fmt.Sprintf("use one variant on this node, or: %s -P %s ACCEPT", r.Program(), chain)})
		}
	}
	if len(out) == 0 {
		out = append(out, fine("iptables-%s holds nothing that is in the way", other))
	}
	return out
}

// paths looks at the ways back of all endpoints on this node, also those that no Local NodePort uses yet.
func paths(services []nodeagent.Services) []Finding {
	var out []Finding
	checked := 0
	for i, s := range services {
		family := iptables.Families[i]
		var endpoints []string
		ways := waysBack(family, localAddresses(s, func(nodeagent.ServicePort) bool { return true }))
		checked += len(ways)
		for _, w := range ways {
			if problem := w.problem(); problem != "" {
				endpoints = append(endpoints, problem)
			}
		}
		if len(endpoints) > 0 {
			out = append(out, Finding{true, fmt.Sprintf("answers of %d endpoints on this node (%s) do not go back the way the request came: %s", len(endpoints), family, endpoints[0]),
				returnPathMeans, returnPathDo})
		}
	}
	if len(out) == 0 {
		out = append(out, fine("answers of endpoints on this node go back the way the request came (%d looked at)", checked))
	}
	return out
}

// localAddresses are the ready endpoints on this node of the ports that are wanted, each once. Of others the node may have
// no route yet, or none any more.
func localAddresses(s nodeagent.Services, wanted func(nodeagent.ServicePort) bool) []address {
	seen := map[address]bool{}
	var out []address
	for _, p := range s.Ports {
		if !wanted(p) {
			continue
		}
		for _, e := range p.Endpoints {
			if a := e.Address.Addr(); e.Local && e.Ready && !seen[a] {
				seen[a] = true
				out = append(out, a)
			}
		}
	}
	return out
}

// protocolPort is a port as a Service or a process holds it.
type protocolPort struct {
	protocol corev1.Protocol
	port     uint16
}
