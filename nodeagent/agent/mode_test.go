// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"strings"
	"testing"

	"github.com/clbsync/clbsync/nodeagent/iptables"
)

func TestDecideMode(t *testing.T) {
	alone := Found{Variant: iptables.NFT}
	serving := Found{Variant: iptables.Legacy, Chosen: iptables.Evidence{KubeProxy: true, NodePorts: true}}
	restricted := Found{Variant: iptables.Legacy, Chosen: iptables.Evidence{KubeProxy: true}}
	native := Found{Variant: iptables.NFT, NFTables: true}
	for _, test := range []struct {
		name    string
		asked   Mode
		found   Found
		want    Mode
		problem string
	}{
		{"nobody else: standalone", "", alone, Standalone, ""},
		{"kube-proxy serves NodePorts: override", "", serving, Override, ""},
		{"kube-proxy restricted: companion", "", restricted, Companion, ""},
		{"kube-proxy in nftables mode cannot be overridden", "", native, Companion, RestrictFlag},
		{"companion beside a kube-proxy that serves names the flag", Companion, serving, Companion, RestrictFlag},
		{"override without anything to override", Override, alone, Override, "nobody answers on the health check ports"},
		{"standalone beside kube-proxy", Standalone, serving, Standalone, "--mode=override fits"},
		{"asked and detected agree", Override, serving, Override, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			mode, why, problem := DecideMode(test.asked, test.found)
			if mode != test.want || why == "" || (problem == "") != (test.problem == "") || !strings.Contains(problem, test.problem) {
				t.Errorf("got %s because %q, problem %q; want %s, problem with %q", mode, why, problem, test.want, test.problem)
			}
		})
	}
}

func TestRunningAgentTakesWhatIsLeftAndKeepsWhatItHas(t *testing.T) {
	for _, test := range []struct {
		running, detected Mode
		want              reaction
	}{
		{Override, Override, carryOn},
		{Override, Standalone, takeOver},
		{Override, Companion, takeOver},
		{Standalone, Override, tell},
		{Companion, Override, tell},
		{Standalone, Companion, carryOn},
	} {
		if got := reactTo(test.running, test.detected); got != test.want {
			t.Errorf("running in %s, %s detected: got reaction %d, want %d", test.running, test.detected, got, test.want)
		}
	}
}
