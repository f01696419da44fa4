// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/clbsync/clbsync/nodeagent/iptables"
	"github.com/clbsync/clbsync/nodeagent/iptables/chains"
)

// verdicts tells how many packets met each fate, from the counters of a handful of rules. They are read when somebody asks,
// at most once in verdictsAge and for no longer than verdictsPatience: however large the tables, and however often
// /metrics is asked.
type verdicts struct {
	mu      sync.Mutex
	runners []iptables.Runner
	read    time.Time
	last    []prometheus.Metric
}

const verdictsAge, verdictsPatience = 10 * time.Second, 3 * time.Second

// verdictChains are where the packets of a verdict are counted, all of them first packets of flows but those of accept. forward
// and accept count what is for blocks of ports in which there are some of ours.
var verdictChains = []struct {
	verdict string
	chain   chains.Chain
}{{"forward", chains.NodePorts}, {"masquerade", chains.Masq}, {"drop", chains.DropAll}, {"reject", chains.RejectAll}, {"accept", chains.Health}}

var verdictDesc = prometheus.NewDesc("clb_node_agent_verdict_packets_total",
	"First packets of flows by what became of them: forward (to a NodePort), masquerade (of those, with this node's address), drop (no endpoint here), reject (none anywhere), accept (health probes, all their packets and those to ports beside them). Begins anew when its rules are written anew.",
	[]string{"family", "verdict"}, nil)

// watch has the verdicts of these families counted from now on.
func (m *metrics) watch(families []*family) {
	m.unbound.Reset() // what another run has counted
	m.verdicts.mu.Lock()
	defer m.verdicts.mu.Unlock()
	m.verdicts.runners, m.verdicts.read = nil, time.Time{}
	for _, f := range families {
		m.verdicts.runners = append(m.verdicts.runners, f.runner)
	}
}

// Describe implements prometheus.Collector.
func (v *verdicts) Describe(out chan<- *prometheus.Desc) { out <- verdictDesc }

// Collect implements prometheus.Collector. What cannot be read is left out.
func (v *verdicts) Collect(out chan<- prometheus.Metric) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if time.Since(v.read) > verdictsAge {
		v.last = v.count()
		v.read = time.Now()
	}
	for _, m := range v.last {
		out <- m
	}
}

func (v *verdicts) count() []prometheus.Metric {
	ctx, done := context.WithTimeout(context.Background(), verdictsPatience)
	defer done()
	var all []prometheus.Metric
	for _, r := range v.runners {
		for _, c := range verdictChains {
			if n, err := r.Packets(ctx, c.chain); err == nil {
				all = append(all, prometheus.MustNewConstMetric(verdictDesc, prometheus.CounterValue, float64(n), strings.ToLower(string(r.Family)), c.verdict))
			}
		}
	}
	return all
}
