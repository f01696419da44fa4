// SPDX-License-Identifier: Apache-2.0

package chains

import (
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/clbsync/clbsync/nodeagent"
)

// Health ports that lie far apart stand in chains of their own, and are health ports there too.
func TestExplainKnowsHealthPortsInEveryBlock(t *testing.T) {
	services := nodeagent.Services{Health: []nodeagent.HealthPort{{Port: 30101}, {Port: 32100}, {Port: 60000}}}
	for port := range uint16(60) {
		services.Health = append(services.Health, nodeagent.HealthPort{Port: 31000 + 17*port})
	}
	text := Render(nodeagent.NewRules(corev1.IPv4Protocol, services, nodeagent.Settings{}), Options{Mark: 0x2000})
	if len(text.Chains[Health]) >= len(services.Health) {
		t.Fatalf("all health ports are in %s, and the test is of no use", Health.Name)
	}
	if got, want := Explain(Saved{Chains: text.Chains}, 30101), []string{"30101/tcp is let in as a health check port (0 packets)"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
