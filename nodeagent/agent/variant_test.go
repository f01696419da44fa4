// SPDX-License-Identifier: Apache-2.0

package agent_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/clbsync/clbsync/nodeagent/internal/nettest"
)

// An agent that comes back with the other variant, since kubelet has left its hint by then, say, must not leave its old
// rules behind: they would send packets to endpoints that are long gone. explain and cleanup find the rules wherever
// they are.
func TestVariantChanges(t *testing.T) {
	s := newScene(t, "nft", clientIP)
	n1 := s.Nodes["n1"]
	ours := func(variant string) bool { return strings.Contains(n1.Run(t, "iptables-"+variant+"-save"), "CLBN-") }
	s.put(false, "p1a rs")
	s.becomes(t, "tcp4", "p1a<-n1")
	s.agent.Kill()
	s.agent = s.Agent(t, s.binary, "n1", "--iptables=legacy", "--mode=standalone", "--check-period=500ms")
	s.put(false, "p1b rs")
	nettest.Until(t, 30*time.Second, "the rules are in legacy", func() bool { return ours("legacy") })
	nettest.Until(t, 10*time.Second, "none are left in nft", func() bool { return !ours("nft") })
	s.becomes(t, "tcp4", "p1b<-n1")
	out := n1.Run(t, s.binary, "explain", fmt.Sprint(nodePort), "--node-name=n1", "--kubeconfig="+s.Kubefile["n1"])
	if !strings.Contains(out, "in the kernel (iptables-legacy): 30080/tcp goes to CLBN-EXT-") || strings.Contains(out, "(iptables-nft)") {
		t.Errorf("explain does not find the rules in legacy:\n%s", out)
	}
	s.agent.Kill()
	// As if there were rules in both: the address sets can go only after those of nft too.
	s.agent = s.Agent(t, s.binary, "n1", s.flags...)
	nettest.Until(t, 30*time.Second, "the rules are in nft again", func() bool { return ours("nft") && !ours("legacy") })
	s.agent.Kill()
	if out := n1.Run(t, s.binary, "cleanup"); !strings.Contains(out, "address sets removed") {
		t.Errorf("cleanup tells of no address sets:\n%s", out)
	}
	if sets := addressSets(t, n1); ours("nft") || ours("legacy") || len(sets) > 0 {
		t.Errorf("cleanup has left rules in nft (%v), in legacy (%v), or address sets %v", ours("nft"), ours("legacy"), sets)
	}
}
