// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"github.com/prometheus/client_golang/prometheus"
)

// metrics are all that the agent counts. Every vector but build has the label family: ipv4 or ipv6.
type metrics struct {
	registry *prometheus.Registry
	sync     *prometheus.HistogramVec // kind: full (the kernel was read) or delta
	written  *prometheus.CounterVec
	rules    *prometheus.GaugeVec
	failures *prometheus.CounterVec
	repairs  *prometheus.CounterVec
	answers  *prometheus.CounterVec
	flows    *prometheus.CounterVec
	skips    *prometheus.GaugeVec
	unbound  *prometheus.GaugeVec
	differ   *prometheus.GaugeVec
	noReturn *prometheus.GaugeVec
	verdicts *verdicts
	build    *prometheus.GaugeVec
}

func newMetrics() *metrics {
	name := func(n string) string { return "clb_node_agent_" + n }
	m := &metrics{
		registry: prometheus.NewRegistry(),
		sync: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name("sync_duration_seconds"),
			Help: "Time from the start of a sync to its rules being in the kernel.", Buckets: prometheus.ExponentialBuckets(0.002, 2, 15)}, []string{"family", "kind"}),
		written:  prometheus.NewCounterVec(prometheus.CounterOpts{Name: name("chains_written_total"), Help: "Chains replaced or removed in the kernel."}, []string{"family"}),
		rules:    prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name("rules"), Help: "Rules in our chains."}, []string{"family", "table"}),
		failures: prometheus.NewCounterVec(prometheus.CounterOpts{Name: name("sync_failures_total"), Help: "Syncs, and checks of the rules, that failed; each is tried again."}, []string{"family"}),
		repairs:  prometheus.NewCounterVec(prometheus.CounterOpts{Name: name("repairs_total"), Help: "Times that others had changed our rules and they were put back."}, []string{"family"}),
		answers:  prometheus.NewCounterVec(prometheus.CounterOpts{Name: name("health_answers_total"), Help: "Answers on health check node ports."}, []string{"family", "code"}),
		flows:    prometheus.NewCounterVec(prometheus.CounterOpts{Name: name("udp_flows_deleted_total"), Help: "UDP flows forgotten because their endpoint no longer serves."}, []string{"family"}),
		skips:    prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name("skipped_objects"), Help: "Parts of Services and EndpointSlices that cannot be used."}, []string{"family"}),
		unbound:  prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name("health_ports_unbound"), Help: "Health check node ports that another program holds."}, []string{"family"}),
		differ:   prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name("health_answers_differing"), Help: "Health check node ports on which kube-proxy answers otherwise than this agent would."}, []string{"family"}),
		noReturn: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name("endpoints_without_return_path"), Help: "Endpoints on this node of Local NodePorts whose answers would leave by another interface than the request came in by."}, []string{"family"}),
		verdicts: &verdicts{},
		build:    prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "clbsync_build_info", Help: "Which build runs; always 1."}, []string{"version", "commit", "go_version"}),
	}
	m.registry.MustRegister(m.sync, m.written, m.rules, m.failures, m.repairs, m.answers, m.flows, m.skips, m.unbound, m.differ, m.noReturn, m.verdicts, m.build)
	return m
}
