// SPDX-License-Identifier: Apache-2.0

package deploy

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
)

// The node agent runs on every node: what it may do, anybody may who gets into one of them.
func TestNodeAgentMayDoLittle(t *testing.T) {
	rights := map[string]map[string][]string{}
	bound := map[string]bool{}
	for _, o := range objects(t, "node-agent.yaml") {
		switch o := o.(type) {
		case *rbacv1.ClusterRole:
			rights[o.Name] = map[string][]string{}
			for _, r := range o.Rules {
				for _, resource := range r.Resources {
					rights[o.Name][resource] = r.Verbs
				}
			}
		case *rbacv1.ClusterRoleBinding:
			bound[o.RoleRef.Name] = true
			subjects(t, "kube-system/clb-node-agent", o.Subjects)
		}
	}
	if diff := cmp.Diff(map[string]map[string][]string{
		"clb-node-agent": {
			"services": {"list", "watch"}, "endpointslices": {"list", "watch"}, "nodes": {"get", "list", "watch"}, "events": {"create", "patch"}},
		"clb-node-agent-readiness-gate": {"pods": {"list", "watch"}},
	}, rights); diff != "" {
		t.Errorf("rights (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]bool{"clb-node-agent": true}, bound); diff != "" {
		t.Errorf("what applies without a further step (-want +got):\n%s", diff)
	}
}

func TestNodeAgentRunsWithTwoCapabilities(t *testing.T) {
	i := slices.IndexFunc(objects(t, "node-agent.yaml"), isDaemonSet)
	if i < 0 {
		t.Fatal("no DaemonSet")
	}
	pod := objects(t, "node-agent.yaml")[i].(*appsv1.DaemonSet).Spec.Template.Spec
	if len(pod.Containers) != 1 || len(pod.InitContainers) != 0 || !pod.HostNetwork || pod.HostPID || pod.HostIPC {
		t.Fatalf("want one container, in the network of the host alone; got %+v", pod)
	}
	c := pod.Containers[0].SecurityContext
	if diff := cmp.Diff(&corev1.Capabilities{Drop: []corev1.Capability{"ALL"}, Add: []corev1.Capability{"NET_ADMIN", "NET_RAW"}}, c.Capabilities); diff != "" {
		t.Errorf("capabilities (-want +got):\n%s", diff)
	}
	if c.Privileged != nil || c.AllowPrivilegeEscalation == nil || *c.AllowPrivilegeEscalation || c.ReadOnlyRootFilesystem == nil || !*c.ReadOnlyRootFilesystem {
		t.Errorf("want no privileges, no way to them, and nothing to write to; got %+v", c)
	}
	if len(pod.Volumes) != 1 || pod.Volumes[0].HostPath == nil || pod.Volumes[0].HostPath.Path != "/run/xtables.lock" {
		t.Errorf("of the host's files want the lock of iptables alone, got %+v", pod.Volumes)
	}
}

func isDaemonSet[T any](o T) bool {
	_, is := any(o).(*appsv1.DaemonSet)
	return is
}
