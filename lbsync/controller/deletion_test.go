// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/clbsync/clbsync/internal/kubetest"
	"github.com/clbsync/clbsync/lbsync"
	"github.com/clbsync/clbsync/lbsync/annotation"
)

// delete marks a Service as the API server does for somebody who deletes it.
func (w *world) delete(name string) {
	w.Helper()
	w.edit(name, func(s *corev1.Service) { now := metav1.Now(); s.DeletionTimestamp = &now })
}

func clusterIP(s *corev1.Service) {
	s.Spec.Type, s.Spec.LoadBalancerClass, s.Spec.ExternalTrafficPolicy = corev1.ServiceTypeClusterIP, nil, ""
}

func ofClass(name string) func(*corev1.Service) {
	return func(s *corev1.Service) { s.Spec.LoadBalancerClass = &name }
}

func TestADeletedServiceTakesItsCLBAlong(t *testing.T) {
	inWorld(t, func(w *world) {
		w.run()
		w.pass(soon)
		w.cloud.take()
		w.delete("web")
		w.pass(soon)
		w.want("calls", texts(w.cloud.take()), []string{"Find web", "Observe lb-1", "DeleteListeners lb-1 TCP:80", "DeleteLoadBalancer lb-1", "Find web"})
		w.want("finalizers", len(w.service("web").Finalizers), 0)
		w.remove(w.service("web"))
		w.pass(time.Hour)
		w.want("calls afterwards", texts(w.cloud.take()), []string(nil))
		w.want("events", w.events("web"), []string{"EnsuringLoadBalancer", "EnsuredLoadBalancer", "DeletingLoadBalancer", "DeletedLoadBalancer"})
		w.want("memory", w.now.memory.knows(key{Namespace: "default", Name: "web"}), false)
	}, kubetest.Service("web"), kubetest.Slice("web", at(1)...))
}

func TestTheFinalizerStaysUntilASearchFindsNone(t *testing.T) {
	inWorld(t, func(w *world) {
		w.run()
		w.pass(soon)
		w.cloud.fail(func(_ context.Context, text string) error {
			if text == "Find web" {
				return refuse(lbsync.Unknown, "Find", "connection reset")
			}
			return nil
		})
		w.delete("web")
		w.pass(time.Hour)
		w.want("finalizers", len(w.service("web").Finalizers), 1)
		w.cloud.fail(nil)
		w.pass(10 * time.Minute)
		w.want("finalizers", len(w.service("web").Finalizers), 0)
		w.wantCloud("CLBs", "")
	}, kubetest.Service("web"))
}

func TestAServiceThatIsNoLoadBalancerAnyMoreIsLeftClean(t *testing.T) {
	inWorld(t, func(w *world) {
		w.run()
		w.pass(soon)
		w.edit("web", clusterIP)
		w.pass(soon)
		svc := w.service("web")
		w.want("status", len(svc.Status.LoadBalancer.Ingress), 0)
		w.want("finalizers", len(svc.Finalizers), 0)
		w.want("annotation", svc.Annotations[annotation.LoadBalancerID], "")
		w.wantCloud("CLBs", "")
		w.edit("web", func(s *corev1.Service) { s.Spec.Type = corev1.ServiceTypeLoadBalancer })
		w.pass(soon)
		w.want("and back", w.service("web").Annotations[annotation.LoadBalancerID], "lb-2")
	}, kubetest.Service("web"))
}

func TestWhatHappensToAServiceWhileNobodyLooksIsSeenAtTheStart(t *testing.T) {
	for _, c := range []struct {
		name   string
		class  bool
		change func(w *world)
	}{
		{"it is deleted", false, func(w *world) { w.delete("web") }},
		{"its type changes", false, func(w *world) { w.edit("web", clusterIP) }},
		{"its type changes, which takes its class away", true, func(w *world) { w.edit("web", clusterIP) }},
		{"it gets another class", true, func(w *world) { w.edit("web", ofClass("other.io/lb")) }},
		{"its class is taken away", true, func(w *world) { w.edit("web", func(s *corev1.Service) { s.Spec.LoadBalancerClass = nil }) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			svc := kubetest.Service("web")
			if c.class {
				ofClass(lbsync.LoadBalancerClass)(svc)
			}
			inWorld(t, func(w *world) {
				w.config.Settings.ClassOnly = c.class
				w.run()
				w.pass(soon)
				w.want("CLBs", w.cloud.created, 1)
				w.stop()
				c.change(w)
				w.run()
				w.pass(soon)
				w.wantCloud("CLBs", "")
				w.want("finalizers", len(w.service("web").Finalizers), 0)
			}, svc)
		})
	}
}

func TestWhereOnlyTheClassIsOursNothingElseIsTouched(t *testing.T) {
	// As TKE's or k3s's controller leaves them: with the stock finalizer, and a CLB with the same tags.
	theirs := kubetest.Service("theirs", func(s *corev1.Service) { s.Finalizers = []string{finalizerStock} })
	former := kubetest.Service("former", clusterIP, func(s *corev1.Service) { s.Finalizers = []string{finalizerStock} })
	gone := kubetest.Service("gone", func(s *corev1.Service) {
		now := metav1.Now()
		s.Finalizers, s.DeletionTimestamp = []string{finalizerStock}, &now
	})
	inWorld(t, func(w *world) {
		w.config.Settings.ClassOnly = true
		w.run()
		w.pass(time.Minute)
		w.want("calls", texts(w.cloud.take("CreateLoadBalancer", "CreateListeners", "Register")), []string{"Find ours"})
		for _, name := range []string{"theirs", "former", "gone"} {
			w.want("finalizers of "+name, w.service(name).Finalizers, []string{finalizerStock})
		}
		w.want("ours has a finalizer that the stock controller does not take off", w.service("ours").Finalizers, []string{finalizerOfClass})
	}, theirs, former, gone, kubetest.Service("ours", ofClass(lbsync.LoadBalancerClass)))
}

func TestWhereOnlyTheClassIsOursTheStockFinalizerIsNot(t *testing.T) {
	inWorld(t, func(w *world) {
		w.config.Settings.ClassOnly = true
		w.run()
		w.pass(soon)
		w.edit("web", func(s *corev1.Service) { s.Finalizers = append(s.Finalizers, finalizerStock) })
		w.delete("web")
		w.pass(soon)
		w.wantCloud("CLBs", "")
		w.want("finalizers", w.service("web").Finalizers, []string{finalizerStock})
	}, kubetest.Service("web", ofClass(lbsync.LoadBalancerClass)))
}

// undead is a cloud in which a deletion succeeds and has no effect.
type undead struct{ *fakeCloud }

func (u undead) DeleteLoadBalancer(ctx context.Context, want lbsync.Instance) error {
	return u.do(ctx, want.ID, "DeleteLoadBalancer "+want.ID, func() error { return nil })
}

func TestACLBThatOutlivesItsDeletionIsNotDeletedForEver(t *testing.T) {
	inWorld(t, func(w *world) {
		w.config.Cloud = undead{w.cloud}
		w.run()
		w.pass(soon)
		w.cloud.take()
		w.delete("web")
		w.pass(500 * time.Millisecond)
		w.wantCalls("one try", "DeleteListeners lb-1 TCP:80", "DeleteLoadBalancer lb-1")
		w.pass(10 * time.Second)
		w.want("finalizers", len(w.service("web").Finalizers), 1)
	}, kubetest.Service("web"))
}

func TestAServiceThatWentWithoutItsFinalizerTakesItsCLBAlong(t *testing.T) {
	inWorld(t, func(w *world) {
		w.run()
		w.pass(soon)
		w.remove(w.service("web"))
		w.pass(soon)
		w.wantCloud("CLBs", "")
	}, kubetest.Service("web"))
}

func TestANewServiceOfTheSameNameGetsACLBOfItsOwn(t *testing.T) {
	inWorld(t, func(w *world) {
		w.run()
		w.pass(soon)
		w.remove(w.service("web"))
		w.put(kubetest.Service("web", func(s *corev1.Service) { s.UID = "web-again" }))
		w.pass(soon)
		w.wantCloud("CLBs", `
lb-2 of web-again
  TCP:80 check TCP
  TCP:80 ins-00000001:30080 weight 10
  TCP:80 ins-00000002:30080 weight 10
  TCP:80 ins-00000003:30080 weight 10
`)
	}, kubetest.Service("web"))
}
