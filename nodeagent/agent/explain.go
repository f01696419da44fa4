// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"

	"github.com/clbsync/clbsync/nodeagent"
	"github.com/clbsync/clbsync/nodeagent/iptables"
	"github.com/clbsync/clbsync/nodeagent/iptables/chains"
)

// Explain says in words what this node does with packets for a port: what the API server wants, and what the
// kernel has and has counted.
func Explain(ctx context.Context, config Config, port uint16) (string, error) {
	s, err := listAll(ctx, config)
	if err != nil {
		return "", err
	}
	settings := nodeagent.Settings{Localhost: config.Localhost, Pods: config.Pods}
	if config.PodsFromNode {
		settings.Pods = podsOf(s.Node)
	}
	var b strings.Builder
	for _, family := range []corev1.IPFamily{corev1.IPv4Protocol, corev1.IPv6Protocol} {
		services := nodeagent.Desired(s, family)
		words := nodeagent.Explain(services, nodeagent.NewRules(family, services, settings), port)
		if words == "" {
			continue
		}
		fmt.Fprintf(&b, "%s\n%s", family, words)
		for _, line := range inKernel(ctx, family, config.Variant, port) {
			fmt.Fprintf(&b, "  in the kernel%s\n", line)
		}
	}
	if b.Len() == 0 {
		return fmt.Sprintf("%d is no NodePort and no healthCheckNodePort of any Service that this agent handles: packets for it reach the host's own processes\n", port), nil
	}
	return b.String(), nil
}

// inKernel says what the rules do with the port, in whichever variant the agent has rules: it may have been started with
// other flags than this command.
func inKernel(ctx context.Context, family corev1.IPFamily, asked iptables.Variant, port uint16) []string {
	var lines []string
	for _, variant := range []iptables.Variant{iptables.NFT, iptables.Legacy} {
		r := iptables.Runner{Family: family, Variant: variant}
		if asked != "" && asked != variant || !r.Serves(ctx) {
			continue
		}
		where := fmt.Sprintf(" (iptables-%s): ", variant)
		saved, err := r.Save(ctx, true)
		if err != nil {
			return append(lines, where+"cannot be read: "+err.Error())
		}
		for _, line := range chains.Explain(saved, port) {
			lines = append(lines, where+line)
		}
	}
	if len(lines) == 0 {
		return []string{": no rules of this agent; does it run on this node?"}
	}
	return lines
}

func listAll(ctx context.Context, config Config) (nodeagent.Snapshot, error) {
	s := nodeagent.Snapshot{NodeName: config.NodeName}
	services, err := config.Client.CoreV1().Services("").List(ctx, metav1.ListOptions{})
	if err != nil {
		return s, fmt.Errorf("list of Services: %w", err)
	}
	for i := range services.Items {
		s.Services = append(s.Services, &services.Items[i])
	}
	list, err := config.Client.DiscoveryV1().EndpointSlices("").List(ctx, metav1.ListOptions{})
	if err != nil {
		return s, fmt.Errorf("list of EndpointSlices: %w", err)
	}
	for i := range list.Items {
		s.Slices = append(s.Slices, &list.Items[i])
	}
	s.Node, err = config.Client.CoreV1().Nodes().Get(ctx, config.NodeName, metav1.GetOptions{})
	if err != nil {
		return s, fmt.Errorf("node %s (--node-name): %w", config.NodeName, err)
	}
	if config.ReadinessGate {
		pods, err := config.Client.CoreV1().Pods("").List(ctx, metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector("spec.nodeName", config.NodeName).String()})
		if err != nil {
			return s, fmt.Errorf("list of this node's pods (--readiness-gate): %w", err)
		}
		s.Gated = map[types.UID]bool{}
		for i := range pods.Items {
			if kept, _ := keepOfPod(&pods.Items[i]); kept.(*pod).gated {
				s.Gated[pods.Items[i].UID] = true
			}
		}
	}
	return s, nil
}
