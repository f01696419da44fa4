// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"sync"
	"time"

	"k8s.io/component-base/metrics"
	"k8s.io/component-base/metrics/legacyregistry"
	_ "k8s.io/component-base/metrics/prometheus/workqueue" // of the queue of lookups, as workqueue_*{name="instances"}
	"k8s.io/klog/v2"

	"github.com/clbsync/clbsync/lbsync"
)

const namespace = "clbsync"

var (
	syncSeconds = metrics.NewHistogramVec(&metrics.HistogramOpts{Namespace: namespace, Name: "sync_duration_seconds", StabilityLevel: metrics.ALPHA,
		Help:    "Time of one sync of one CLB, by result: ok, refused (the manifest has to be mended), or the kind of the error.",
		Buckets: metrics.ExponentialBuckets(0.001, 2, 16)}, []string{"result"})
	changesTotal = metrics.NewCounterVec(&metrics.CounterOpts{Namespace: namespace, Name: "plan_changes_total", StabilityLevel: metrics.ALPHA,
		Help: "Changes that were carried out, by verb."}, []string{"verb"})
	skipsNow = metrics.NewGaugeVec(&metrics.GaugeOpts{Namespace: namespace, Name: "skips", StabilityLevel: metrics.ALPHA,
		Help: "What the desired state of all Services lacks now, by reason."}, []string{"reason"})
	programmingSeconds = metrics.NewHistogram(&metrics.HistogramOpts{Namespace: namespace, Name: "endpoint_programming_duration_seconds", StabilityLevel: metrics.ALPHA,
		Help:    "Time from the oldest change of an endpoint in a batch to the end of the first request that follows it.",
		Buckets: metrics.ExponentialBuckets(0.01, 2, 16)})
	healthySeconds = metrics.NewHistogram(&metrics.HistogramOpts{Namespace: namespace, Name: "endpoint_healthy_duration_seconds", StabilityLevel: metrics.ALPHA,
		Help:    "Time from the change of an endpoint to when the health of a target that it brought was seen to be good, by polls of handover.poll; targets that are not healthy in handover.healthDeadline are not in it.",
		Buckets: metrics.ExponentialBuckets(0.1, 2, 14)})
	driftTotal = metrics.NewCounterVec(&metrics.CounterOpts{Namespace: namespace, Name: "drift_total", StabilityLevel: metrics.ALPHA,
		Help: "Differences that a verification found between a CLB and what was last read of it or written to it, by what differs."}, []string{"what"})
	driftKept = metrics.NewGauge(&metrics.GaugeOpts{Namespace: namespace, Name: "drift_unrepaired_services", StabilityLevel: metrics.ALPHA,
		Help: "Services whose CLB has drift that is left as found."})
	orphansNow = metrics.NewGaugeVec(&metrics.GaugeOpts{Namespace: namespace, Name: "orphans", StabilityLevel: metrics.ALPHA,
		Help: "What carries the tags of this cluster and belongs to no Service, in two readings 10 minutes apart or more, by kind: clb, security_group. kubectl clb orphans lists it."}, []string{"kind"})
	gatesWaiting = metrics.NewGauge(&metrics.GaugeOpts{Namespace: namespace, Name: "readiness_gates_waiting", StabilityLevel: metrics.ALPHA,
		Help: "Pods that nothing but the readiness gate keeps from being ready, when they were last looked at."})
	gateSeconds = metrics.NewHistogramVec(&metrics.HistogramOpts{Namespace: namespace, Name: "readiness_gate_duration_seconds", StabilityLevel: metrics.ALPHA,
		Help:    "Time that pods waited for their readiness gate alone, by the reason why it opened.",
		Buckets: metrics.ExponentialBuckets(0.1, 2, 14)}, []string{"reason"})

	queueDepth = metrics.NewGaugeVec(&metrics.GaugeOpts{Namespace: namespace, Name: "queue_depth", StabilityLevel: metrics.ALPHA,
		Help: "CLBs that wait for a worker now, by priority: urgent (an endpoint has moved), normal (a Service or a node has changed), background (verification)."}, []string{"priority"})
	queueWait = metrics.NewHistogramVec(&metrics.HistogramOpts{Namespace: namespace, Name: "queue_wait_seconds", StabilityLevel: metrics.ALPHA,
		Help:    "Time that CLBs which were due waited for a worker, by priority.",
		Buckets: metrics.ExponentialBuckets(0.001, 2, 18)}, []string{"priority"})

	registerMetrics = sync.OnceFunc(func() {
		legacyregistry.MustRegister(queueDepth, queueWait, syncSeconds, changesTotal, skipsNow, programmingSeconds, driftTotal, driftKept, orphansNow, gatesWaiting, gateSeconds, healthySeconds)
	})
)

// measure notes how a sync went.
func (c *Controller) measure(ctx context.Context, begun time.Time, again time.Duration, out outcome) {
	result := "ok"
	switch {
	case out.err != nil:
		result = lbsync.KindOf(out.err).String()
	case out.trouble != nil:
		result = lbsync.KindOf(out.trouble).String()
	case out.refused != "":
		result = "refused"
	}
	took := time.Since(begun)
	syncSeconds.WithLabelValues(result).Observe(took.Seconds())
	klog.FromContext(ctx).V(2).Info("Synced", "result", result, "took", took, "again", again)
}

// verbs are the kinds of change that a plan has, in the order of Apply.
var verbs = []struct {
	name, words string
	count       func(lbsync.Plan) int
}{
	{"create_clb", "CLB created", func(p lbsync.Plan) int { return one(p.Create) }},
	{"modify_clb", "CLB settings changed", func(p lbsync.Plan) int {
		if p.ModifyInstance == nil {
			return 0
		}
		return len(p.ModifyInstance.Changes())
	}},
	{"tag_clb", "CLB tags changed", func(p lbsync.Plan) int {
		if p.Tag == nil {
			return 0
		}
		return 1
	}},
	{"create_listener", "listeners created", func(p lbsync.Plan) int { return len(p.CreateListeners) }},
	{"modify_listener", "listeners modified", func(p lbsync.Plan) int { return len(p.ModifyListeners) }},
	{"register", "targets registered", func(p lbsync.Plan) int { return len(p.Register) }},
	{"reweight", "weights changed", func(p lbsync.Plan) int { return len(p.Reweight) }},
	{"deregister", "targets deregistered", func(p lbsync.Plan) int { return len(p.Deregister) }},
	{"delete_listener", "listeners deleted", func(p lbsync.Plan) int { return len(p.DeleteListeners) }},
	{"delete_clb", "CLB deleted", func(p lbsync.Plan) int { return one(p.Delete) }},
}

func one(i *lbsync.Instance) int {
	if i == nil {
		return 0
	}
	return 1
}

// countChanges adds the changes of a plan that was carried out, to the metric and to the CLB's own sum.
func countChanges(s *seat, p lbsync.Plan) {
	for _, v := range verbs {
		if n := v.count(p); n > 0 {
			changesTotal.WithLabelValues(v.name).Add(float64(n))
			s.done[v.name] += n
		}
	}
}

// countSkips moves the metric from what was left out before to what is now; countNodes, for nodes.
func countSkips(before, now map[lbsync.Skip]bool) {
	for s := range before {
		skipsNow.WithLabelValues(string(s.Reason)).Dec()
	}
	for s := range now {
		skipsNow.WithLabelValues(string(s.Reason)).Inc()
	}
}

func countNodes(before, now map[lbsync.Reason]int) {
	for reason, n := range before {
		skipsNow.WithLabelValues(string(reason)).Add(-float64(n))
	}
	for reason, n := range now {
		skipsNow.WithLabelValues(string(reason)).Add(float64(n))
	}
}

// programmed notes that the change of an endpoint has reached the CLB; zero: there was none.
func programmed(trigger time.Time) {
	if !trigger.IsZero() {
		programmingSeconds.Observe(time.Since(trigger).Seconds())
	}
}
