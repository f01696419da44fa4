// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/clbsync/clbsync/internal/kubetest"
	"github.com/clbsync/clbsync/lbsync"
	"github.com/clbsync/clbsync/lbsync/annotation"
)

func planOnly(s *corev1.Service) { kubetest.Annotation(annotation.Mode, "plan")(s) }

func normal(s *corev1.Service) { delete(s.Annotations, annotation.Mode) }

// cloudWrites returns the calls since the last time that change something.
func (w *world) cloudWrites() []string { return texts(w.cloud.take("Find", "Observe", "Health")) }

func TestAServiceInPlanModeIsShownItsPlanAndNothingIsWritten(t *testing.T) {
	inWorld(t, func(w *world) {
		w.run()
		w.pass(soon)
		plan := "+ clb \"cls-demo_default_web\" public\n+ listener TCP:80 check TCP 5s×3/3\n+ target TCP:80 ins-00000001:30080 weight 10\n" +
			"+ target TCP:80 ins-00000002:30080 weight 10\n+ target TCP:80 ins-00000003:30080 weight 10\n"
		w.want("annotation", w.service("web").Annotations[annotation.Plan], plan)
		w.want("event", w.message("web", "Plan"), strings.TrimSuffix(plan, "\n"))
		w.want("finalizers", w.service("web").Finalizers, []string(nil))
		w.want("condition", w.condition("web", lbsync.ConditionSynced), "False PlanOnly")
		w.want("writes", w.writes(), []string{"patch services/status"})
		w.pass(3 * time.Hour)
		w.want("its own annotation is no reason to look again, and neither is time", w.writes(), []string(nil))
		w.want("calls", w.cloudWrites(), []string(nil))

		w.edit("web", normal)
		w.pass(soon)
		w.want("CLBs", len(w.cloud.clbs), 1)
		_, left := w.service("web").Annotations[annotation.Plan]
		w.want("the plan is left", left, false)
		w.want("condition", w.condition("web", lbsync.ConditionSynced), "True InSync")
		w.cloud.take()

		w.edit("web", planOnly)
		w.pass(2 * turnPause)
		w.want("annotation", w.service("web").Annotations[annotation.Plan], "Nothing to change")
		w.want("condition", w.condition("web", lbsync.ConditionSynced), "True InSync")
		w.put(kubetest.Node(4))
		w.pass(2 * turnPause)
		w.want("annotation", w.service("web").Annotations[annotation.Plan], "+ target TCP:80 ins-00000004:30080 weight 10\n")
		w.want("events", w.events("web"), []string{"Plan", "EnsuringLoadBalancer", "EnsuredLoadBalancer", "Plan", "Plan"})
		w.cloud.edit("lb-1", func(lb *lbsync.LoadBalancer) { delete(lb.Targets, first) })
		w.pass(verified)
		w.want("a hand edit is in the plan", w.service("web").Annotations[annotation.Plan], "+ target TCP:80 ins-00000001:30080 weight 10\n+ target TCP:80 ins-00000004:30080 weight 10\n")
		w.want("calls", w.cloudWrites(), []string(nil))
	}, kubetest.Service("web", planOnly), kubetest.Slice("web", at(1)...))
}

func TestADeletedServiceInPlanModeStaysAndSaysWhy(t *testing.T) {
	inWorld(t, func(w *world) {
		w.run()
		w.pass(soon)
		w.edit("web", planOnly)
		w.pass(soon)
		w.cloud.take()
		w.edit("web", func(s *corev1.Service) { s.DeletionTimestamp = &metav1.Time{Time: time.Now()} })
		w.pass(soon)
		w.want("calls", w.cloudWrites(), []string(nil))
		svc := w.service("web")
		w.want("finalizers", svc.Finalizers, []string{"service.kubernetes.io/load-balancer-cleanup"})
		w.want("annotation", svc.Annotations[annotation.Plan], "- listener TCP:80\n- clb lb-1\n")
		w.want("condition", w.condition("web", lbsync.ConditionSynced), "False PlanOnly")
		if text := fmt.Sprint(svc.Status.Conditions); !strings.Contains(text, "CLB lb-1 and the Service stay until the annotation is removed") {
			w.Errorf("no condition says why the Service stays: %s", text)
		}
		events := w.events("web")
		w.want("the last event", events[len(events)-1], "Plan")

		w.edit("web", normal)
		w.pass(soon)
		w.want("CLBs", len(w.cloud.clbs), 0)
		w.want("finalizers", w.service("web").Finalizers, []string(nil))
		w.want("annotations", len(w.service("web").Annotations), 0)
	}, kubetest.Service("web"), kubetest.Slice("web", at(1)...))
}

func TestADeletedServiceInPlanModeThatHasNoCLBGoes(t *testing.T) {
	inWorld(t, func(w *world) {
		w.run()
		w.pass(soon)
		w.edit("web", func(s *corev1.Service) {
			s.DeletionTimestamp, s.Finalizers = &metav1.Time{Time: time.Now()}, []string{finalizerStock}
		})
		w.pass(2 * appears) // for a CLB that the program before this one may have ordered
		w.want("finalizers", w.service("web").Finalizers, []string(nil))
	}, kubetest.Service("web", planOnly), kubetest.Slice("web", at(1)...))
}

func TestAServiceThatIsTornOutOfPlanModeBlocksNoNewOne(t *testing.T) {
	inWorld(t, func(w *world) {
		w.run()
		w.pass(soon)
		w.edit("web", planOnly)
		w.pass(soon)
		w.remove(w.service("web")) // somebody took the finalizer off
		w.pass(soon)
		w.want("nothing is deleted", len(w.cloud.clbs), 1)
		w.put(kubetest.Service("web", func(s *corev1.Service) { s.UID = "another" }))
		w.pass(soon)
		w.want("the next one gets its own", len(w.cloud.clbs), 2)
	}, kubetest.Service("web"), kubetest.Slice("web", at(1)...))
}

func TestAPlanThatCannotBeMadeSaysWhy(t *testing.T) {
	inWorld(t, func(w *world) {
		w.run()
		w.pass(soon)
		if got := w.service("web").Annotations[annotation.Plan]; !strings.HasPrefix(got, "Nothing is planned: Annotation service.kubernetes.io/qcloud-loadbalancer-internal-subnetid") {
			w.Errorf("annotation %q", got)
		}
		w.want("condition", w.condition("web", lbsync.ConditionSynced), "False BadAnnotation")
	}, kubetest.Service("web", planOnly, kubetest.Annotation(annotation.InternalSubnet, "none")), kubetest.Slice("web", at(1)...))
}

func TestALongPlanIsCutAtALineAndSaysSo(t *testing.T) {
	inWorld(t, func(w *world) {
		for i := range 200 {
			w.put(kubetest.Node(i + 1))
		}
		w.run()
		w.pass(soon)
		text := w.service("web").Annotations[annotation.Plan]
		lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
		want := fmt.Sprintf("… and %d more", 202-(len(lines)-1))
		if len(text) > planMax || lines[len(lines)-1] != want {
			w.Errorf("%d bytes that end in %q, want at most %d and %q", len(text), lines[len(lines)-1], planMax, want)
		}
	}, kubetest.Service("web", planOnly), kubetest.Slice("web", at(1)...))
}
