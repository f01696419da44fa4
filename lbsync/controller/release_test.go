// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/clbsync/clbsync/internal/kubetest"
	"github.com/clbsync/clbsync/lbsync"
)

func TestReleaseTakesAllCLBsOfTheClusterAndNoOthers(t *testing.T) {
	theirs := "example.com/other"
	other := kubetest.Service("theirs", func(s *corev1.Service) {
		s.Spec.LoadBalancerClass = &theirs
		s.Finalizers = []string{finalizerStock}
		s.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "203.0.113.9"}}
	})
	inWorld(t, func(w *world) {
		w.run()
		w.pass(soon)
		left, err := w.now.Remaining()
		if err != nil {
			t.Fatal(err)
		}
		w.want("with CLBs", left, []string{"default/api", "default/web"})
		w.config.Settings.Release = true
		w.run()
		w.pass(soon)
		left, err = w.now.Remaining()
		if err != nil {
			t.Fatal(err)
		}
		w.want("left", left, []string(nil))
		w.wantCloud("CLBs", "")
		for _, name := range []string{"web", "api"} {
			w.want("finalizers of "+name, len(w.service(name).Finalizers), 0)
			w.want("addresses of "+name, len(w.service(name).Status.LoadBalancer.Ingress), 0)
			w.want("type of "+name, w.service(name).Spec.Type, corev1.ServiceTypeLoadBalancer)
		}
		w.want("finalizers of theirs", w.service("theirs").Finalizers, []string{finalizerStock})
		w.want("address of theirs", w.service("theirs").Status.LoadBalancer.Ingress[0].IP, "203.0.113.9")
		w.cloud.take()
		w.pass(time.Hour)
		w.wantCloud("CLBs an hour later", "")
	}, kubetest.Service("web"), kubetest.Service("api", ofClass(lbsync.LoadBalancerClass)), other, kubetest.Slice("web", at(1)...))
}
