// SPDX-License-Identifier: Apache-2.0

package nodeagent

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// In these tests the pods p and q wait for their readiness gates, and nothing else.
func gating(s Snapshot) Snapshot {
	s.Gated = map[types.UID]bool{"p": true, "q": true}
	return s
}

func TestGatedEndpointsServeLocalOnTheirNode(t *testing.T) {
	for _, test := range []struct {
		name                   string
		endpoints              []string
		cluster, local, health string
	}{
		{"one beside a ready one shares its work", []string{hereA + " rs", hereB + " -x pod=p"}, "10.244.1.10", "10.244.1.10 10.244.1.11", "10.244.1.10 10.244.1.11"},
		{"one that is alone here makes the node serve, and elsewhere it does not", []string{hereA + " -x pod=p", away + " rs"}, "10.244.2.10", "10.244.1.10", "10.244.1.10"},
		{"the first one anywhere serves those inside, too", []string{hereA + " -x pod=p"}, "10.244.1.10", "10.244.1.10", "10.244.1.10"},
		{"it goes before one that is going", []string{hereA + " -x pod=p", hereB + " st"}, "10.244.1.11", "10.244.1.10", "10.244.1.10"},
		{"one that is going itself is not gated", []string{hereA + " st pod=p", hereB + " rs"}, "10.244.1.11", "10.244.1.11", "10.244.1.11"},
		{"one on another node is not ours", []string{away + " -x pod=p"}, "", "", ""},
		{"a pod that waits for more than its gate is not ready", []string{hereA + " -x pod=other"}, "", "", ""},
		{"an endpoint without a pod is not", []string{hereA + " -x"}, "", "", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := gating(snapshot(service("s", local, healthPort(31000)), slice("s", test.endpoints...)))
			got := Desired(s, corev1.IPv4Protocol)
			var health []string
			for _, a := range got.Health[0].Addresses {
				health = append(health, a.String())
			}
			if diff := cmp.Diff([]string{test.cluster, test.local, test.health},
				[]string{hosts(got.Ports[0].ClusterEndpoints), hosts(got.Ports[0].LocalEndpoints), strings.Join(health, " ")}); diff != "" {
				t.Errorf("cluster, local and health (-want +got):\n%s", diff)
			}
			checkSound(t, got, corev1.IPv4Protocol)
		})
	}
	t.Run("under Cluster they serve nobody: other nodes do not know them", func(t *testing.T) {
		got := Desired(gating(snapshot(service("s"), slice("s", hereA+" -x pod=p"))), corev1.IPv4Protocol)
		if len(got.Ports[0].ClusterEndpoints) > 0 {
			t.Errorf("got %v", got.Ports[0].ClusterEndpoints)
		}
	})
}

func TestAClientReachesAGatedPod(t *testing.T) {
	s := gating(snapshot(service("s", local, healthPort(31000)), slice("s", hereA+" -x pod=p")))
	rules := NewRules(corev1.IPv4Protocol, Desired(s, corev1.IPv4Protocol), testSettings)
	for client, want := range map[string]string{"outside": "A", "pod here": "A", "node": "A*"} {
		if got := describe(rules.Trace(from(client))); got != want {
			t.Errorf("from %s: %s, want %s", client, got, want)
		}
	}
	s.Gated = nil
	rules = NewRules(corev1.IPv4Protocol, Desired(s, corev1.IPv4Protocol), testSettings)
	if got := describe(rules.Trace(from("outside"))); got != "reject" {
		t.Errorf("without the gate: %s, want reject", got)
	}
}

func TestModelFollowsGatesOfItsNodeAlone(t *testing.T) {
	s := gating(snapshot(service("a", local), slice("a", hereA+" -x pod=p"), service("b", local, nodePort(30002)), slice("b", hereB+" -x pod=q")))
	model := NewModel(corev1.IPv4Protocol)
	before := model.Desired(s)
	s.Gated = map[types.UID]bool{"q": true}
	after := model.Desired(s)
	if got := hosts(after.Ports[0].LocalEndpoints); got != "" {
		t.Errorf("a pod that is gated no longer still serves: %s", got)
	}
	if &after.Ports[1].Endpoints[0] != &before.Ports[1].Endpoints[0] || hosts(after.Ports[1].LocalEndpoints) != "10.244.1.11" {
		t.Error("the other Service was worked out again, or lost its endpoint")
	}
}
