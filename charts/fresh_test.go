// SPDX-License-Identifier: Apache-2.0

package charts

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"github.com/clbsync/clbsync/internal/helm"
)

// bears tells whether a pod is scheduled to a node with these taints, all of which keep new pods away.
func bears(p corev1.PodSpec, taints ...string) bool {
	return !slices.ContainsFunc(taints, func(taint string) bool {
		return !slices.ContainsFunc(p.Tolerations, func(t corev1.Toleration) bool {
			return t.Operator == corev1.TolerationOpExists && (t.Key == taint || t.Key == "") && (t.Effect == "" || t.Effect == corev1.TaintEffectNoSchedule)
		})
	})
}

// On a fresh cluster everything waits for the controller, the cluster's DNS and maybe its network too: the controller must wait
// for neither. Neither must the pod that tests it, and the one that deletes CLBs, when the cluster is taken down.
func TestTheControllerStartsBeforeEverythingElse(t *testing.T) {
	const uninitialized, notReady, noNetwork = "node.cloudprovider.kubernetes.io/uninitialized", "node.kubernetes.io/not-ready", "node.kubernetes.io/network-unavailable"
	for name, c := range map[string]struct {
		args   []string
		taints []string // of a fresh node
		others bool     // the node's other taints keep the controller away
	}{
		"full":                       {preset("full"), []string{uninitialized}, true},
		"in the network of the node": {with("-f", helm.Preset("full"), "--set", "controller.hostNetwork=true"), []string{uninitialized, notReady, noNetwork}, false},
		"with tolerations of its own": {with("-f", helm.Preset("full"), "--set", "controller.hostNetwork=true", "--set-json",
			`controller.tolerations=[{"key":"node.cloudprovider.kubernetes.io/uninitialized","operator":"Exists"}]`), []string{uninitialized, notReady, noNetwork}, false},
		"with none":  {with("-f", helm.Preset("full"), "--set", "controller.hostNetwork=true", "--set-json", `controller.tolerations=null`), []string{notReady, noNetwork}, false},
		"beside TKE": {preset("beside-tke"), []string{uninitialized}, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			found := pods(t, render(t, append(c.args, "--set", "uninstall.deleteLoadBalancersOf=cls-demo")...))
			for _, key := range []string{"Deployment/clbsync-controller", "Pod/clbsync-controller-test", "post-delete:Job/clbsync-controller-uninstall"} {
				pod, there := found[key]
				if !there {
					t.Fatalf("no %s", key)
				}
				if pod.DNSPolicy != corev1.DNSDefault || pod.DNSConfig != nil {
					t.Errorf("%s looks names up by %q, %v, want as its node does: the cluster's DNS may wait for it", key, pod.DNSPolicy, pod.DNSConfig)
				}
				if strings.HasPrefix(key, "post-delete:") { // it is never in the network of the node
					continue
				}
				if !bears(pod, c.taints...) {
					t.Errorf("%s does not bear all of %v: %+v", key, c.taints, pod.Tolerations)
				}
				if c.others && (bears(pod, notReady) || bears(pod, noNetwork)) {
					t.Errorf("%s goes to nodes on which no pod has a network: %+v", key, pod.Tolerations)
				}
			}
		})
	}
}

// Who needs names of the cluster, or other servers, says so.
func TestNamesAreLookedUpAsTold(t *testing.T) {
	for value, want := range map[string]corev1.PodSpec{
		`{"dnsPolicy":"ClusterFirst"}`:                                  {DNSPolicy: corev1.DNSClusterFirst},
		`{"dnsPolicy":"ClusterFirstWithHostNet","hostNetwork":true}`:    {DNSPolicy: corev1.DNSClusterFirstWithHostNet},
		`{"dnsPolicy":"None","dnsConfig":{"nameservers":["10.0.0.2"]}}`: {DNSPolicy: corev1.DNSNone, DNSConfig: &corev1.PodDNSConfig{Nameservers: []string{"10.0.0.2"}}},
		`{"dnsConfig":{"searches":["a.example"],"options":[{"name":"ndots","value":"1"}]}}`: {DNSPolicy: corev1.DNSDefault,
			DNSConfig: &corev1.PodDNSConfig{Searches: []string{"a.example"}, Options: []corev1.PodDNSConfigOption{{Name: "ndots", Value: new("1")}}}},
	} {
		t.Run(value, func(t *testing.T) {
			t.Parallel()
			got := pods(t, render(t, set("controller="+value)...))["Deployment/clbsync-controller"]
			if diff := cmp.Diff(want, corev1.PodSpec{DNSPolicy: got.DNSPolicy, DNSConfig: got.DNSConfig}); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
