// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/clbsync/clbsync/internal/kubetest"
	"github.com/clbsync/clbsync/lbsync"
	"github.com/clbsync/clbsync/lbsync/annotation"
)

// condition returns "status reason" of a condition, "" if there is none.
func (w *world) condition(name, kind string) string {
	w.Helper()
	c := meta.FindStatusCondition(w.service(name).Status.Conditions, kind)
	if c == nil {
		return ""
	}
	return string(c.Status) + " " + c.Reason
}

var theirs = metav1.Condition{Type: "Theirs", Status: metav1.ConditionTrue, Reason: "Mine", Message: "kept", LastTransitionTime: metav1.Unix(1000, 0)}

func TestConditionsFollowTheServiceFromItsCLBToItsEnd(t *testing.T) {
	inWorld(t, func(w *world) {
		w.run()
		w.pass(soon)
		svc := w.service("web")
		w.want("in step", w.condition("web", lbsync.ConditionSynced), "True InSync")
		w.want("each type, and somebody else's", len(svc.Status.Conditions), len(lbsync.ConditionTypes)+1)
		w.want("generation", svc.Status.Conditions[1].ObservedGeneration, int64(7))
		w.want("in the writes that were made anyway", w.writes(), []string{"patch services/status", "patch services/status"})
		born := meta.FindStatusCondition(svc.Status.Conditions, lbsync.ConditionQuota).LastTransitionTime

		w.put(kubetest.Slice("web", at(2)...))
		w.pass(13 * time.Second)
		w.want("handover", w.condition("web", lbsync.ConditionSynced), "False WaitingForHealth")
		w.pass(10 * time.Second)
		w.want("handed over", w.condition("web", lbsync.ConditionSynced), "True InSync")
		w.want("the old target", w.condition("web", lbsync.ConditionDraining), "True TargetsDraining")
		w.pass(time.Minute)
		w.want("gone", w.condition("web", lbsync.ConditionDraining), "False NoTargetDrains")
		conditions := w.service("web").Status.Conditions
		if got := meta.FindStatusCondition(conditions, lbsync.ConditionQuota).LastTransitionTime; !got.Equal(&born) {
			w.Errorf("a status that did not change has a new transition time: %v, was %v", got, born)
		}
		if got := meta.FindStatusCondition(conditions, lbsync.ConditionDraining).LastTransitionTime; got.Equal(&born) {
			w.Errorf("a status that changed kept its transition time %v", got)
		}

		w.edit("web", clusterIP)
		w.pass(soon)
		w.want("left when the CLB is gone", w.service("web").Status.Conditions, []metav1.Condition{theirs})
	}, kubetest.Service("web", kubetest.Local(31000), kubetest.Annotation(annotation.BindNodesOfPods, "true"), func(s *corev1.Service) {
		s.Generation, s.Status.Conditions = 7, []metav1.Condition{theirs}
	}), kubetest.Slice("web", at(1)...))
}

func TestFailuresStandInAConditionUntilTheyAreOver(t *testing.T) {
	inWorld(t, func(w *world) {
		w.failing("Register", lbsync.Denied)
		w.run()
		w.pass(soon)
		w.want("refused", w.condition("web", lbsync.ConditionSynced), "False RequestDenied")
		w.want("nothing is said of what is not known", w.condition("web", lbsync.ConditionDraining), "")
		w.pass(time.Hour)
		w.writes()
		w.pass(time.Hour)
		w.want("a failure that lasts is not written again", w.writes(), []string(nil))
		w.cloud.fail(nil)
		w.pass(10 * time.Minute)
		w.want("mended", w.condition("web", lbsync.ConditionSynced), "True InSync")

		w.edit("web", kubetest.Annotation(annotation.TKEMode, "skp"))
		w.pass(2 * turnPause)
		w.want("a manifest that stops the Service", w.condition("web", lbsync.ConditionSynced), "False BadAnnotation")
		w.want("what was known stays", w.condition("web", lbsync.ConditionDraining), "False NoTargetDrains")
	}, kubetest.Service("web"), kubetest.Slice("web", at(1)...))
}

func TestAFailureThatPassesIsNotWritten(t *testing.T) {
	inWorld(t, func(w *world) {
		w.run()
		w.pass(time.Minute)
		w.writes()
		w.failing("Register", lbsync.Busy)
		w.put(kubetest.Node(4))
		w.pass(500 * time.Millisecond)
		w.cloud.fail(nil)
		w.pass(10 * time.Second)
		w.want("writes", w.writes(), []string(nil))
		w.want("targets", len(w.cloud.clbs["lb-1"].Targets), 4)
	}, kubetest.Service("web"), kubetest.Slice("web", at(1)...))
}

func TestAServiceThatCannotBeDeletedSaysWhy(t *testing.T) {
	inWorld(t, func(w *world) {
		w.run()
		w.pass(soon)
		w.failing("DeleteLoadBalancer", lbsync.Denied)
		w.edit("web", func(s *corev1.Service) { s.DeletionTimestamp = &metav1.Time{Time: time.Now()} })
		w.pass(soon)
		w.want("condition", w.condition("web", lbsync.ConditionSynced), "False RequestDenied")
		w.cloud.fail(nil)
		w.pass(10 * time.Minute)
		w.want("CLBs", len(w.cloud.clbs), 0)
	}, kubetest.Service("web"), kubetest.Slice("web", at(1)...))
}

func TestARolloutIsNotADiary(t *testing.T) {
	inWorld(t, func(w *world) {
		w.run()
		w.pass(time.Minute)
		w.writes()
		for i := range 60 { // a pod moves each second for a minute
			w.put(kubetest.Slice("web", at(1+i%3, 1+(i+1)%3)...))
			w.pass(time.Second)
		}
		if n := len(w.writes()); n == 0 || n > 7 {
			w.Errorf("%d writes in a minute of moves, want one in 10 s at most", n)
		}
		w.pass(3 * time.Minute)
		w.want("in the end", w.condition("web", lbsync.ConditionSynced)+", "+w.condition("web", lbsync.ConditionDraining), "True InSync, False NoTargetDrains")
	}, onlyBind("web"), kubetest.Slice("web", at(1, 2)...))
}

func TestANodeThatJoinsIsNotWrittenToEachServiceAtOnce(t *testing.T) {
	inWorld(t, func(w *world) {
		w.run()
		w.pass(5 * time.Minute)
		w.writes()
		w.put(kubetest.Node(4))
		w.pass(30 * time.Second)
		w.want("at once", w.writes(), []string(nil))
		w.pass(20 * time.Minute)
		w.want("in the end", w.writes(), []string{"patch services/status"})
		w.want("count", meta.FindStatusCondition(w.service("web").Status.Conditions, lbsync.ConditionSynced).Message, "4 targets are in place, on 1 listener")
	}, kubetest.Service("web"), kubetest.Slice("web", at(1)...))
}

func TestConditionsSurviveARestartWithoutAWrite(t *testing.T) {
	inWorld(t, func(w *world) {
		w.run()
		w.pass(soon)
		w.writes()
		w.run()
		w.pass(time.Hour)
		w.want("writes", w.writes(), []string(nil))
	}, kubetest.Service("web"), kubetest.Slice("web", at(1)...))
}

func TestADryRunWritesNoCondition(t *testing.T) {
	inWorld(t, func(w *world) {
		w.config.DryRun = true
		w.run()
		w.pass(time.Hour)
		w.want("writes", w.writes(), []string(nil))
		w.want("conditions", fmt.Sprint(w.service("web").Status.Conditions), "[]")
	}, kubetest.Service("web"), kubetest.Slice("web", at(1)...))
}
