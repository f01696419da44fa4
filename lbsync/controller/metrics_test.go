// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/component-base/metrics/legacyregistry"
	"k8s.io/component-base/metrics/testutil"

	"github.com/clbsync/clbsync/internal/kubetest"
	"github.com/clbsync/clbsync/lbsync"
	"github.com/clbsync/clbsync/lbsync/annotation"
)

func triggered(s *discoveryv1.EndpointSlice, at time.Time) *discoveryv1.EndpointSlice {
	s.Annotations = map[string]string{corev1.EndpointsLastChangeTriggerTime: at.Format(time.RFC3339Nano)}
	return s
}

func TestTheTimeFromAnEndpointsChangeToItsTargetIsMeasured(t *testing.T) {
	inWorld(t, func(w *world) {
		const name = "clbsync_endpoint_programming_duration_seconds"
		others, spent := histogram(w, name)
		measured := func() (int, float64) {
			count, sum := histogram(w, name)
			return count - others, sum - spent
		}
		w.run()
		w.pass(soon)
		count, _ := measured()
		w.want("what happened before the controller began is no measure of it", count, 0)

		w.put(triggered(kubetest.Slice("web", at(1, 2)...), time.Now().Add(-40*time.Millisecond)))
		w.pass(10 * time.Millisecond)
		w.put(triggered(kubetest.Slice("web", at(1, 2, 3)...), time.Now()))
		w.pass(soon)
		count, sum := measured()
		w.want("measurements", count, 1)
		if sum < 0.090 || sum > 0.1 {
			w.Errorf("the oldest change took %v s, want 40 ms before it was seen and 50 ms of gathering and the call", sum)
		}

		before := time.Now()
		w.pass(time.Minute)
		w.put(triggered(kubetest.Slice("web", at(1, 2)...), before))
		w.pass(3 * time.Minute)
		w.put(triggered(kubetest.Slice("web", at(1, 2, 3)...), before))
		w.pass(time.Minute)
		count, sum = measured()
		w.want("the second change does not say when it began", count, 2)

		w.put(triggered(kubetest.Slice("web", append(at(1, 2, 3), kubetest.Ready("n1", "10.1.1.2"))...), time.Now()))
		w.pass(soon)
		count, _ = measured()
		w.want("a change that needs no request is not measured", count, 2)

		w.failing("Register", lbsync.Unknown)
		w.put(kubetest.Node(4))
		w.put(triggered(kubetest.Slice("web", at(1, 2, 3, 4)...), time.Now()))
		w.pass(500 * time.Millisecond)
		w.cloud.fail(nil)
		w.pass(5 * time.Second)
		count, after := measured()
		w.want("measurements", count, 3)
		if took := after - sum; took < 1 {
			w.Errorf("a change whose first request failed took %v s, want the time of the retry in it", took)
		}
	}, onlyBind("web"), triggered(kubetest.Slice("web", at(1)...), time.Unix(0, 0)))
}

// histogram reads how often the time was measured, and the sum.
func histogram(w *world, name string) (count int, sum float64) {
	w.Helper()
	registerMetrics()
	families, err := legacyregistry.DefaultGatherer.Gather()
	if err != nil {
		w.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			h := f.GetMetric()[0].GetHistogram()
			return int(h.GetSampleCount()), h.GetSampleSum()
		}
	}
	w.Fatal("there is no such metric")
	return 0, 0
}

func TestSkipsAndChangesAreCounted(t *testing.T) {
	gauge := func(reason lbsync.Reason) float64 {
		v, err := testutil.GetGaugeMetricValue(skipsNow.WithLabelValues(string(reason)))
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	inWorld(t, func(w *world) {
		exclude := func(n *corev1.Node) { n.Labels[corev1.LabelNodeExcludeBalancers] = "" }
		bad, excluded := gauge(lbsync.BadAnnotation), gauge(lbsync.NodeExcluded)
		registered, err := testutil.GetCounterMetricValue(changesTotal.WithLabelValues("register"))
		if err != nil {
			w.Fatal(err)
		}
		w.put(kubetest.Node(3, exclude))
		w.run()
		w.pass(soon)
		w.want("annotations", gauge(lbsync.BadAnnotation)-bad, 1.0)
		w.want("nodes, for each Service", gauge(lbsync.NodeExcluded)-excluded, 2.0)
		now, _ := testutil.GetCounterMetricValue(changesTotal.WithLabelValues("register"))
		w.want("targets", now-registered, 4.0)
		w.edit("web", kubetest.Annotation(annotation.WeightByPods, "false"))
		w.edit("other", clusterIP)
		w.pass(soon)
		w.want("annotations", gauge(lbsync.BadAnnotation)-bad, 0.0)
		w.want("nodes", gauge(lbsync.NodeExcluded)-excluded, 1.0)
	}, kubetest.Service("web", kubetest.Annotation(annotation.WeightByPods, "yes")), kubetest.Service("other"))
}

func TestTheTimeFromAnEndpointsChangeToAHealthyTargetIsMeasured(t *testing.T) {
	inWorld(t, func(w *world) {
		const name = "clbsync_endpoint_healthy_duration_seconds"
		others, spent := histogram(w, name)
		reads := func() int { return len(texts(w.cloud.take())) }
		w.config.Verify = 1000 * time.Hour
		w.run()
		w.pass(time.Minute)
		w.cloud.take()

		w.put(triggered(kubetest.Slice("web", at(1, 2)...), time.Now()))
		w.pass(time.Minute)
		count, sum := histogram(w, name)
		w.want("measurements", count-others, 1)
		if took := sum - spent; took < 15 || took > 15+2*2 {
			w.Errorf("the target was healthy after %v s, want 15 s and up to two polls of 2 s", took)
		}
		if n := reads(); n < 7 || n > 10 {
			w.Errorf("%d calls, want one to register and a poll each 2 s for 15 s", n)
		}
		w.pass(3 * time.Minute)
		w.want("reads when all are healthy", reads(), 0)

		w.put(kubetest.Slice("web", at(1, 2, 3)...))
		w.pass(3 * time.Minute)
		w.want("calls for a target whose beginning is not known", reads(), 1)

		w.put(triggered(kubetest.Slice("web", at(1, 2)...), time.Now()))
		w.pass(3 * time.Minute)
		w.cloud.take()
		w.cloud.dead["ins-00000003"] = true
		w.put(triggered(kubetest.Slice("web", at(1, 2, 3)...), time.Now()))
		w.pass(5 * time.Minute)
		count, _ = histogram(w, name)
		w.want("one that never gets healthy is no measure", count-others, 1)
		w.cloud.take()
		w.pass(3 * time.Minute)
		w.want("and is not polled after the deadline", reads(), 0)
	}, onlyBind("web"), kubetest.Slice("web", at(1)...))
}

func TestANodeThatJoinsCostsNoReadOfHealth(t *testing.T) {
	inWorld(t, func(w *world) {
		w.run()
		w.pass(time.Minute)
		w.cloud.take()
		w.put(triggered(kubetest.Slice("web", at(1, 2)...), time.Now())) // at the same time
		w.put(kubetest.Node(4))
		w.pass(time.Minute)
		w.want("calls", texts(w.cloud.take()), []string{"Register lb-1 TCP:80/ins-00000004:30080=10"})
	}, kubetest.Service("web"), kubetest.Slice("web", at(1)...))
}
