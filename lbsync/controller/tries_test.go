// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clienttesting "k8s.io/client-go/testing"

	"github.com/clbsync/clbsync/internal/kubetest"
	"github.com/clbsync/clbsync/lbsync"
	"github.com/clbsync/clbsync/lbsync/annotation"
)

func TestATkeServiceConfigThatIsNotTakenIsTriedAgainAndHoldsNothingBack(t *testing.T) {
	right := apierrors.NewForbidden(configResource.GroupResource(), "web-auto-service-config", errors.New("no right"))
	kind := apierrors.NewNotFound(configResource.GroupResource(), "web-auto-service-config") // somebody has deleted the CRD
	shared := func() *corev1.Service {
		return kubetest.Service("web", on("lb-theirs"), kubetest.Local(31000), kubetest.Annotation(annotation.BindNodesOfPods, "true"))
	}
	for name, c := range map[string]struct {
		service *corev1.Service
		refusal error
		says    string
	}{
		"on its own CLB":                          {onlyBind("web"), right, "no right"},
		"on a shared CLB":                         {shared(), right, "no right"},
		"of a kind that is gone":                  {onlyBind("web"), kind, "not found"},
		"of a kind that is gone, on a shared one": {shared(), kind, "not found"},
	} {
		t.Run(name, func(t *testing.T) {
			service := c.service
			inWorld(t, func(w *world) {
				w.made("lb-theirs", map[string]string{})
				configs := w.configure()
				var tries []time.Time
				var refused atomic.Bool
				refused.Store(true)
				configs.PrependReactor("create", "*", func(clienttesting.Action) (bool, runtime.Object, error) {
					if refused.Load() {
						tries = append(tries, time.Now())
						return true, nil, c.refusal
					}
					return false, nil, nil
				})
				kubetest.Annotation(annotation.ServiceConfigNew, "true")(service)
				w.put(service)
				w.run()
				w.pass(10 * time.Minute)
				if n := len(tries); n < 5 || n > 15 {
					t.Errorf("%d tries in ten minutes: want those of a backoff", n)
				}
				if m := w.message("web", eventFailed); !strings.Contains(m, "TkeServiceConfig default/web-auto-service-config: create: ") || !strings.Contains(m, c.says) {
					t.Errorf("the Event says %q", m)
				}
				w.cloud.take()
				n := len(tries)
				w.put(kubetest.Slice("web", at(2)...))
				w.pass(soon)
				w.want("meanwhile the CLB follows the pods", strings.Contains(strings.Join(texts(w.cloud.take()), "\n"), "ins-00000002"), true)
				w.want("at no other pace than that of the backoff", len(tries)-n <= 1, true)
				refused.Store(false)
				w.pass(6 * time.Minute)
				if _, err := configs.Resource(configResource).Namespace("default").Get(t.Context(), "web-auto-service-config", metav1.GetOptions{}); err != nil {
					t.Errorf("it is not made though nothing is in its way any more: %v", err)
				}
			}, kubetest.Slice("web", at(1)...))
		})
	}
}

func TestAServiceThatCannotBeWrittenCostsTheOthersOnItsCLBNothing(t *testing.T) {
	for _, others := range []int{0, 1} {
		inWorld(t, func(w *world) {
			w.made("lb-theirs", map[string]string{})
			var refused atomic.Bool
			refused.Store(true)
			tries := 0
			w.client.PrependReactor("patch", "services", func(a clienttesting.Action) (bool, runtime.Object, error) {
				if a.(clienttesting.PatchAction).GetName() != "web" || !refused.Load() {
					return false, nil, nil
				}
				tries++
				return true, nil, errors.New("a webhook says no")
			})
			if others > 0 {
				w.put(kubetest.Service("api", on("lb-theirs"), port(81), kubetest.Local(31000), kubetest.Annotation(annotation.BindNodesOfPods, "true")))
				w.put(kubetest.Slice("api", at(1)...))
			}
			w.run()
			w.pass(10 * time.Minute)
			if tries < 5 || tries > 30 { // what it has to carry, and what came of it
				t.Errorf("%d tries in ten minutes: want those of a backoff", tries)
			}
			w.want("it is told once", w.events("web"), []string{eventFailed})
			if others > 0 {
				w.want("the other is served", w.listeners("lb-theirs"), []string{"TCP:22 of ssh", "TCP:81 of api"})
				w.want("and is told nothing of it", slices.Contains(w.events("api"), eventFailed), false)
				w.put(kubetest.Slice("api", at(3)...))
				w.pass(soon)
				w.want("it follows its pods", strings.Contains(w.part("lb-theirs", "TCP:81"), "ins-00000003"), true)
			}
			refused.Store(false)
			w.pass(6 * time.Minute)
			w.want("and then the first is served", slices.Contains(w.listeners("lb-theirs"), "TCP:80 of web"), true)
			w.want("condition", conditionOf(w.service("web"), lbsync.ConditionSynced).Status, metav1.ConditionTrue)
		}, kubetest.Service("web", on("lb-theirs")), kubetest.Slice("web", at(1)...))
	}
}

func TestAListenerThatStaysBehindIsNobodysAlsoAfterARestart(t *testing.T) {
	inWorld(t, func(w *world) {
		w.made("lb-theirs", map[string]string{})
		w.run()
		w.pass(time.Minute)
		w.edit("web", annotate(annotation.TKEMode, "skip"))
		w.delete("web")
		w.pass(soon)
		w.remove(w.service("web"))
		w.pass(soon)
		before := w.part("lb-theirs", "TCP:80")
		for _, restart := range []bool{false, true} {
			if restart {
				w.run()
			}
			again := kubetest.Service("again", on("lb-theirs"), port(80))
			again.Spec.Ports = append(again.Spec.Ports, corev1.ServicePort{Name: "more", Protocol: corev1.ProtocolTCP, Port: 81, NodePort: 30081})
			w.told = nil
			w.put(again)
			w.pass(time.Minute)
			w.want("the Service that wants its place has its other port", w.listeners("lb-theirs"), []string{"TCP:22 of ssh", "TCP:80 of web", "TCP:81 of again"})
			if m := w.message("again", "PortTaken"); !strings.Contains(m, "UID web") || !strings.Contains(m, "E4014") || !strings.Contains(m, "lbl-") {
				t.Errorf("the Event says %q", m)
			}
			w.delete("again")
			w.pass(soon)
			w.want("finalizers", len(w.service("again").Finalizers), 0)
			w.remove(w.service("again"))
			w.pass(time.Hour)
			w.want("what stays behind", w.listeners("lb-theirs"), []string{"TCP:22 of ssh", "TCP:80 of web"})
			w.want("with its targets", w.part("lb-theirs", "TCP:80"), before)
			w.want("and the tag", w.tags("lb-theirs"), tagged("cls-demo"))
		}
	}, kubetest.Service("web", on("lb-theirs")), kubetest.Slice("web", at(1)...))
}

func TestADryRunShowsTheTagOfASharedCLB(t *testing.T) {
	inWorld(t, func(w *world) {
		w.made("lb-theirs", map[string]string{})
		w.config.DryRun = true
		w.run()
		w.pass(time.Minute)
		if m := w.message("web", eventPlan); !strings.HasPrefix(m, "~ clb lb-theirs tag tke-clusterId none -> cls-demo\n+ listener TCP:80 ") {
			t.Errorf("the plan is %q", m)
		}
		w.wantCalls("nothing is written")
	}, kubetest.Service("web", on("lb-theirs")), kubetest.Slice("web", at(1)...))
}

func TestATagThatCannotBeTakenOffIsToldToTheLastThatLeaves(t *testing.T) {
	inWorld(t, func(w *world) {
		w.made("lb-theirs", map[string]string{})
		w.run()
		w.pass(soon)
		w.cloud.fail(func(_ context.Context, text string) error {
			if strings.HasPrefix(text, "Untag ") {
				return refuse(lbsync.Denied, "UnTagResources", "no right")
			}
			return nil
		})
		w.delete("web")
		w.pass(soon)
		w.want("it goes", len(w.service("web").Finalizers), 0)
		if m := w.message("web", "LoadBalancerNotTagged"); !strings.Contains(m, "take it off by hand") {
			t.Errorf("the Event says %q", m)
		}
	}, kubetest.Service("web", on("lb-theirs")), kubetest.Slice("web", at(1)...))
}
