// SPDX-License-Identifier: Apache-2.0

package charts

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/clbsync/clbsync/internal/helm"
)

// What examines a node, by the notes' command or by helm test, examines it for the agent as it is set: another mark bit, or
// another variant of iptables, has other findings.
func TestANodeIsExaminedAsItsAgentIsSet(t *testing.T) {
	for values, want := range map[string][]string{
		`{}`: {"--pods=node-cidr", "--masquerade-bit=13"},
		`{"pods":"cidr:10.0.0.0/14,fd00::/8","masqueradeBit":12,"iptables":"nft","localhostNodePorts":true,"readinessGate":true}`: {
			"--pods=cidr:10.0.0.0/14,fd00::/8", "--masquerade-bit=12", "--iptables=nft", "--localhost-nodeports", "--readiness-gate"},
	} {
		t.Run(values, func(t *testing.T) {
			t.Parallel()
			args := set("agent=" + values)
			h := helm.Helm{Binary: binary, Home: t.TempDir()}
			text, err := h.Run(t.Context(), append([]string{"install", "clbsync", helm.Chart(), "--namespace=kube-system", "--dry-run=client"}, args...)...)
			if err != nil {
				t.Fatal(err)
			}
			_, command, _ := strings.Cut(text, "exec ds/clbsync-agent -- clb-node-agent check \\\n")
			command, _, _ = strings.Cut(command, "\n")
			if diff := cmp.Diff(want, strings.Fields(command)); diff != "" {
				t.Errorf("the command in the notes (-want +got):\n%s", diff)
			}
			all := render(t, args...)
			if diff := cmp.Diff(append([]string{"check"}, want...), as[corev1.Pod](t, all, "Pod/clbsync-agent-test").Spec.Containers[0].Args); diff != "" {
				t.Errorf("the pod of helm test (-want +got):\n%s", diff)
			}
			run := as[appsv1.DaemonSet](t, all, "DaemonSet/clbsync-agent").Spec.Template.Spec.Containers[0].Args
			if diff := cmp.Diff(append([]string{"run"}, want...), run[:len(want)+1]); diff != "" {
				t.Errorf("the agent (-want +got):\n%s", diff)
			}
		})
	}
}
