// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/clbsync/clbsync/lab/cluster"
)

// initializedAs fails the test unless the Node object says what the simulated cloud knows of the instance.
func (s *scene) initializedAs(n cluster.Node) {
	s.t.Helper()
	node, err := s.AwaitNode(s.ctx, n.Name, "a providerID and no taint "+uninitialized, Initialized)
	s.must(err)
	if want := n.ProviderID(); node.Spec.ProviderID != want {
		s.t.Errorf("%s has providerID %q, want %q", n.Name, node.Spec.ProviderID, want)
	}
	for label, want := range map[string]string{
		corev1.LabelTopologyZone:       zoneNames[n.Zone],
		corev1.LabelTopologyRegion:     region,
		corev1.LabelInstanceTypeStable: instanceType,
	} {
		if got := node.Labels[label]; got != want {
			s.t.Errorf("%s has %s=%q, want %q", n.Name, label, got, want)
		}
	}
	var internal string
	for _, a := range node.Status.Addresses {
		if a.Type == corev1.NodeInternalIP {
			internal = a.Address
		}
	}
	if internal != n.IP.String() {
		s.t.Errorf("%s has InternalIP %q, want %s", n.Name, internal, n.IP)
	}
}

func TestNodesGetTheirIdentityFromTheCloud(t *testing.T) {
	s := begin(t)
	for _, n := range s.Nodes() {
		s.initializedAs(n)
	}
}

func TestTargetsFollowNodes(t *testing.T) {
	s := begin(t)
	s.deploy("n1", 1)
	svc, address := s.create()
	s.weights(svc.UID, map[string]int{"n1": 10, "n2": 10, "n3": 10})
	added, err := s.AddNode(s.ctx)
	s.must(err)
	s.initializedAs(added)
	s.weights(svc.UID, map[string]int{"n1": 10, "n2": 10, "n3": 10, added.Name: 10})
	s.must(s.RemoveNode(s.ctx, added.Name))
	s.weights(svc.UID, map[string]int{"n1": 10, "n2": 10, "n3": 10})
	for _, target := range ports(address) {
		s.ask(target, 30)
	}
}
