// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/clbsync/clbsync/internal/kubetest"
	"github.com/clbsync/clbsync/lbsync"
	"github.com/clbsync/clbsync/lbsync/annotation"
)

func TestATargetThatIsRefusedKeepsNobodyElseBack(t *testing.T) {
	inWorld(t, func(w *world) {
		w.cloud.refuse("ins-00000002")
		w.run()
		w.pass(soon)
		w.wantCloud("the others are bound", `
lb-1 of web
  TCP:80 check HTTP:31000/healthz
  TCP:80 ins-00000001:30080 weight 10
`)
		w.want("events", w.events("web"), []string{"EnsuringLoadBalancer", "EnsuredLoadBalancer", "RefusedByCLB"})
		if text := w.message("web", "RefusedByCLB"); !strings.Contains(text, "target TCP:80 ins-00000002:30080") || !strings.Contains(text, "no instance ins-00000002") {
			w.Errorf("the Event says %q, want the target and the reason", text)
		}
		// A pod moves: what is refused neither stops the handover nor is waited for.
		w.put(kubetest.Slice("web", at(2, 3)...))
		w.pass(time.Minute)
		w.wantCloud("and follow the pods", `
lb-1 of web
  TCP:80 check HTTP:31000/healthz
  TCP:80 ins-00000003:30080 weight 10
`)
		w.cloud.refuse("")
		w.pass(30 * time.Minute)
		w.wantCloud("in the end it is tried again", `
lb-1 of web
  TCP:80 check HTTP:31000/healthz
  TCP:80 ins-00000002:30080 weight 10
  TCP:80 ins-00000003:30080 weight 10
`)
		w.want("refusals remembered", len(w.now.memory.of(keyOf(w.service("web"))).refused), 0)
	}, kubetest.Service("web", kubetest.Local(31000), kubetest.Annotation(annotation.BindNodesOfPods, "true")), kubetest.Slice("web", at(1, 2)...))
}

func TestWhatIsRefusedIsAskedForLessAndLess(t *testing.T) {
	inWorld(t, func(w *world) {
		w.cloud.refuse("ins-00000001")
		w.run()
		w.pass(2 * time.Hour)
		w.want("events", w.events("web"), []string{"EnsuringLoadBalancer", "EnsuredLoadBalancer", "RefusedByCLB"})
		w.cloud.take()
		w.edit("web", kubetest.Annotation(annotation.AllowRemoval, "true"))
		w.cloud.refuse("")
		w.pass(soon)
		w.want("asked for at once when the manifest changes", slices.ContainsFunc(w.cloud.take("Find", "Observe"), func(c call) bool {
			return c.text == "Register lb-1 TCP:80/ins-00000001:30080=10"
		}), true)
	}, kubetest.Service("web"), kubetest.Slice("web", at(1)...))
}

func TestRefusalsAreForgottenWithWhatAskedForThem(t *testing.T) {
	key := lbsync.ListenerKey{Protocol: lbsync.TCP, Port: 80}
	one := lbsync.Refusal{Binding: lbsync.Binding{Listener: key, Target: lbsync.Target{Instance: "ins-1", Port: 1}}, Err: refuse(lbsync.Invalid, "Register", "no")}
	r := newState()
	now := time.Unix(0, 0)
	r.refuse(lbsync.Refusals{one}, now, time.Hour)
	listeners := map[lbsync.ListenerKey]lbsync.Listener{key: {}}
	wanted := lbsync.LoadBalancer{Listeners: listeners, Targets: map[lbsync.Binding]int{one.Binding: 10}}
	none := lbsync.LoadBalancer{Listeners: listeners}
	for _, ask := range []struct{ actual, desired lbsync.LoadBalancer }{{none, wanted}, {wanted, none}} {
		if got, skips := r.leftOut(ask.actual, ask.desired, now); len(got) != 1 || len(skips) != 1 {
			t.Errorf("left out: %v, told: %v, want the one refused, be it to come or to go", got, skips)
		}
	}
	if got, skips := r.leftOut(none, none, now); len(got)+len(skips)+len(r.refused) != 0 {
		t.Errorf("left out of nothing: %v, told: %v, remembered: %v, want none", got, skips, r.refused)
	}
}
