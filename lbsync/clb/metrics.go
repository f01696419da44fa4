// SPDX-License-Identifier: Apache-2.0

package clb

import (
	"sync"
	"sync/atomic"

	"k8s.io/component-base/metrics"
	"k8s.io/component-base/metrics/legacyregistry"
)

// What the API costs, seen where requests leave. The label code is "" for success, else the API's code.
var (
	apiDuration = metrics.NewHistogramVec(&metrics.HistogramOpts{
		Namespace:      "clbsync",
		Subsystem:      "api",
		Name:           "request_duration_seconds",
		Help:           "Duration of requests to the cloud's API, by action and code (empty: success).",
		Buckets:        metrics.ExponentialBuckets(0.01, 2, 12),
		StabilityLevel: metrics.ALPHA,
	}, []string{"action", "code"})
	apiRequests = metrics.NewCounterVec(&metrics.CounterOpts{
		Namespace:      "clbsync",
		Subsystem:      "api",
		Name:           "requests_total",
		Help:           "Requests to the cloud's API, by action and code (empty: success).",
		StabilityLevel: metrics.ALPHA,
	}, []string{"action", "code"})
	apiWait = metrics.NewCounterVec(&metrics.CounterOpts{
		Namespace:      "clbsync",
		Subsystem:      "api",
		Name:           "throttle_wait_seconds_total",
		Help:           "Time that requests waited for this program's own rate limit, by action.",
		StabilityLevel: metrics.ALPHA,
	}, []string{"action"})
	apiRetries = metrics.NewCounterVec(&metrics.CounterOpts{
		Namespace:      "clbsync",
		Subsystem:      "api",
		Name:           "retries_total",
		Help:           "Requests that were replayed, by action and the kind of error that they were refused with.",
		StabilityLevel: metrics.ALPHA,
	}, []string{"action", "kind"})
	apiTask = metrics.NewHistogramVec(&metrics.HistogramOpts{
		Namespace:      "clbsync",
		Subsystem:      "api",
		Name:           "task_duration_seconds",
		Help:           "Time from the acceptance of an asynchronous change to its end, by action.",
		Buckets:        metrics.ExponentialBuckets(0.1, 2, 12),
		StabilityLevel: metrics.ALPHA,
	}, []string{"action"})
)

// apiTokens is read when somebody asks for metrics: buckets fill up while nobody calls.
var apiTokens tokensLeft

var tokensDesc = metrics.NewDesc("clbsync_api_tokens",
	"Requests that may be made at once without waiting, by action: 0 is at the limit.", []string{"action"}, nil, metrics.ALPHA, "")

// tokensLeft is the state of the buckets of the latest Client, of which a program has one.
type tokensLeft struct {
	metrics.BaseStableCollector
	latest atomic.Pointer[limits]
}

func (t *tokensLeft) watch(l *limits) { t.latest.Store(l) }

func (t *tokensLeft) DescribeWithStability(ch chan<- *metrics.Desc) { ch <- tokensDesc }

func (t *tokensLeft) CollectWithStability(ch chan<- metrics.Metric) {
	if l := t.latest.Load(); l != nil {
		for action, left := range l.left() {
			ch <- metrics.NewLazyConstMetric(tokensDesc, metrics.GaugeValue, left, action)
		}
	}
}

var registerMetrics = sync.OnceFunc(func() {
	legacyregistry.MustRegister(apiRequests, apiDuration, apiWait, apiRetries, apiTask)
	legacyregistry.CustomMustRegister(&apiTokens)
})
