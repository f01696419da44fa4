// SPDX-License-Identifier: Apache-2.0

package iptables

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/clbsync/clbsync/nodeagent/iptables/chains"
)

// Variant is one of the two sets of iptables programs. Each sees only its own rules, and both act on packets.
type Variant string

// The variants.
const (
	Legacy Variant = "legacy"
	NFT    Variant = "nft"
)

// Evidence is what one variant's tables show about the other users of this node.
type Evidence struct {
	Hint      bool // kubelet's hint or canary
	KubeProxy bool // kube-proxy's chain for Services
	NodePorts bool // kube-proxy sends packets for NodePorts to its own chains
	Broken    string
}

// Examine looks at one variant's tables, in both families: a node may have kubelet's hint in one of them only.
func Examine(ctx context.Context, v Variant) Evidence {
	var e Evidence
	for _, family := range []corev1.IPFamily{corev1.IPv4Protocol, corev1.IPv6Protocol} {
		r := Runner{Family: family, Variant: v}
		if _, err := exec.LookPath(r.program("-save")); err != nil {
			e.Broken = err.Error()
			continue
		}
		made := strings.Fields(legacyTables(family)) // to ask for another would make it
		if v == NFT || slices.Contains(made, "mangle") {
			out, err := r.run(ctx, "", r.program("-save"), "-t", "mangle")
			if err != nil {
				e.Broken = err.Error()
				continue
			}
			e.Hint = e.Hint || strings.Contains(string(out), ":KUBE-IPTABLES-HINT ") || strings.Contains(string(out), ":KUBE-KUBELET-CANARY ")
		}
		if v == NFT || slices.Contains(made, "nat") {
			// This chain alone: to print the whole table of a large kube-proxy takes iptables-nft-save half a minute.
			rules, err := r.Chain(ctx, chains.Chain{Table: "nat", Name: "KUBE-SERVICES"})
			var exit *exec.ExitError
			switch {
			case err == nil:
				e.KubeProxy = true
			case !errors.As(err, &exit) || exit.ExitCode() != exitNone:
				e.Broken = err.Error()
			}
			e.NodePorts = e.NodePorts || slices.ContainsFunc(rules, func(rule string) bool {
				return strings.HasSuffix(rule, "-j KUBE-NODEPORTS") || strings.HasSuffix(rule, "-j KUBE-NODE-PORT") // the latter in IPVS mode
			})
		}
	}
	return e
}

// exitNone is what iptables exits with when there is no such chain.
const exitNone = 1

// Choose returns the variant to use, and why. kube-proxy's rules decide, because ours must stand before them;
// where there are none, kubelet's hints, in the order in which kube-proxy's own image asks for them.
func Choose(legacy, nft Evidence) (Variant, string) {
	switch {
	case nft.Broken != "" && legacy.Broken != "":
		return NFT, fmt.Sprintf("neither variant works: nft: %s; legacy: %s", nft.Broken, legacy.Broken)
	case nft.Broken != "":
		return Legacy, "iptables-nft does not work: " + nft.Broken
	case legacy.Broken != "":
		return NFT, "iptables-legacy does not work: " + legacy.Broken
	case legacy.KubeProxy && nft.KubeProxy && legacy.NodePorts != nft.NodePorts:
		if legacy.NodePorts {
			return Legacy, "both variants hold rules of kube-proxy, but only legacy's serve NodePorts; those of nft are left over"
		}
		return NFT, "both variants hold rules of kube-proxy, but only nft's serve NodePorts; those of legacy are left over"
	case nft.KubeProxy:
		return NFT, "kube-proxy's rules are there"
	case legacy.KubeProxy:
		return Legacy, "kube-proxy's rules are there"
	case nft.Hint:
		return NFT, "kubelet's hint is there"
	case legacy.Hint:
		return Legacy, "kubelet's hint is there"
	}
	return NFT, "nothing on this node speaks for either"
}
