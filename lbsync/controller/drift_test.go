// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"strings"
	"testing"
	"time"

	"k8s.io/component-base/metrics/testutil"

	"github.com/clbsync/clbsync/internal/kubetest"
	"github.com/clbsync/clbsync/lbsync"
	"github.com/clbsync/clbsync/lbsync/annotation"
)

var (
	web   = lbsync.ListenerKey{Protocol: lbsync.TCP, Port: 80}
	first = lbsync.Binding{Listener: web, Target: lbsync.Target{Instance: "ins-00000001", Port: 30080}}
)

// verified is enough for a verification, and too short for three.
const verified = 16 * time.Minute

func (w *world) drifts(what lbsync.Deviation) float64 {
	w.Helper()
	n, err := testutil.GetCounterMetricValue(driftTotal.WithLabelValues(string(what)))
	if err != nil {
		w.Fatal(err)
	}
	return n
}

func (w *world) kept() float64 {
	w.Helper()
	n, err := testutil.GetGaugeMetricValue(driftKept)
	if err != nil {
		w.Fatal(err)
	}
	return n
}

func TestDriftIsToldAndRepaired(t *testing.T) {
	inWorld(t, func(w *world) {
		before := w.drifts(lbsync.TargetWeight)
		w.run()
		w.pass(soon)
		left := time.Now()
		w.cloud.take()
		w.cloud.edit("lb-1", func(lb *lbsync.LoadBalancer) { lb.Targets[first] = 3 })
		w.pass(verified)
		w.wantCalls("repair", "Reweight lb-1 TCP:80/ins-00000001:30080=10")
		text := w.message("web", "DriftDetected")
		want := "CLB lb-1 was changed by somebody else between " + left.UTC().Format("2006-01-02T15:04")
		if !strings.HasPrefix(text, want) || !strings.HasSuffix(text, ": target TCP:80 ins-00000001:30080 has weight 3, had 10. It is set right") {
			w.Errorf("message %q, want %q…", text, want)
		}
		w.want("counted", w.drifts(lbsync.TargetWeight)-before, 1.0)
		w.pass(3 * time.Hour)
		w.message("web", "DriftDetected") // once
		w.want("condition", w.condition("web", lbsync.ConditionSynced), "True InSync")
	}, kubetest.Service("web"), kubetest.Slice("web", at(1)...))
}

func TestDriftIsReportedOnlyAndStays(t *testing.T) {
	inWorld(t, func(w *world) {
		kept := w.kept()
		w.config.Settings.Drift = lbsync.ReportDrift
		w.run()
		w.pass(soon)
		w.cloud.take()
		w.cloud.edit("lb-1", func(lb *lbsync.LoadBalancer) { lb.Targets[first] = 3 })
		w.pass(3 * time.Hour)
		w.wantCalls("left as found")
		if text := w.message("web", "DriftDetected"); !strings.Contains(text, "drift is only reported") {
			w.Errorf("message %q does not say that it stays", text)
		}
		w.want("condition", w.condition("web", lbsync.ConditionSynced), "False DriftReported")
		w.want("gauge", w.kept()-kept, 1.0)

		w.put(kubetest.Node(4))
		w.pass(soon)
		w.wantCalls("the rest goes on", "Register lb-1 TCP:80/ins-00000004:30080=10")

		w.edit("web", kubetest.Annotation(annotation.Drift, "repair"))
		w.pass(soon)
		w.wantCalls("the annotation has the last word", "Reweight lb-1 TCP:80/ins-00000001:30080=10")
		w.want("gauge", w.kept()-kept, 0.0)
		w.pass(time.Minute)
		w.want("condition", w.condition("web", lbsync.ConditionSynced), "True InSync")
	}, kubetest.Service("web"), kubetest.Slice("web", at(1)...))
}

func TestAServiceThatGoesTakesItsDriftAlong(t *testing.T) {
	inWorld(t, func(w *world) {
		kept := w.kept()
		w.run()
		w.pass(soon)
		w.cloud.edit("lb-1", func(lb *lbsync.LoadBalancer) { delete(lb.Targets, first) })
		w.pass(verified)
		w.want("gauge", w.kept()-kept, 1.0)
		w.edit("web", clusterIP)
		w.pass(soon)
		w.want("gauge", w.kept()-kept, 0.0)
		w.want("CLBs", len(w.cloud.clbs), 0)
	}, kubetest.Service("web", kubetest.Annotation(annotation.Drift, "report")), kubetest.Slice("web", at(1)...))
}

func TestARestartForgetsWhatWasReported(t *testing.T) {
	inWorld(t, func(w *world) {
		w.run()
		w.pass(soon)
		w.cloud.edit("lb-1", func(lb *lbsync.LoadBalancer) { lb.Targets[first] = 3 })
		w.pass(verified)
		w.cloud.take()
		w.run()
		w.pass(soon)
		w.wantCalls("after a restart", "Reweight lb-1 TCP:80/ins-00000001:30080=10")
	}, kubetest.Service("web", kubetest.Annotation(annotation.Drift, "report")), kubetest.Slice("web", at(1)...))
}

func TestASettingThatCLBDoesNotTakeIsNotWrittenForEver(t *testing.T) {
	inWorld(t, func(w *world) {
		w.run()
		w.pass(soon)
		w.cloud.take()
		ignore := func() {
			w.cloud.edit("lb-1", func(lb *lbsync.LoadBalancer) {
				l := lb.Listeners[web]
				l.Check.FromVIP = true
				lb.Listeners[web] = l
			})
		}
		for range 100 { // whatever is written, it reads back like this
			ignore()
			w.pass(time.Minute)
		}
		modify := "ModifyListener lb-1 TCP:80 check TCP"
		w.wantCalls("writes", modify, modify)
		w.want("condition", w.condition("web", lbsync.ConditionSynced), "False DriftReported")
	}, kubetest.Service("web"), kubetest.Slice("web", at(1)...))
}

func TestADryRunKnowsNoDrift(t *testing.T) {
	inWorld(t, func(w *world) {
		w.run()
		w.pass(soon)
		w.config.DryRun = true
		w.run()
		w.pass(soon)
		w.cloud.edit("lb-1", func(lb *lbsync.LoadBalancer) { lb.Targets[first] = 3 })
		w.pass(verified)
		w.want("what is seen is a plan, and no drift", w.events("web"), []string{"EnsuringLoadBalancer", "EnsuredLoadBalancer", "Plan"})
	}, kubetest.Service("web"), kubetest.Slice("web", at(1)...))
}
