// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/clbsync/clbsync/internal/kubetest"
	"github.com/clbsync/clbsync/lbsync"
	"github.com/clbsync/clbsync/lbsync/annotation"
)

func annotate(name, value string) func(*corev1.Service) {
	return func(s *corev1.Service) {
		if s.Annotations == nil {
			s.Annotations = map[string]string{}
		}
		if s.Annotations[name] = value; value == "" {
			delete(s.Annotations, name)
		}
	}
}

func TestAnnotationsOfTheCLBAreSetChangedAndUndone(t *testing.T) {
	inWorld(t, func(w *world) {
		w.run()
		w.pass(soon)
		w.wantCalls("bound before anybody can connect", "CreateLoadBalancer web", "ModifyLoadBalancer lb-1 security-groups=sg-a", "CreateListeners lb-1 TCP:80",
			"Register lb-1 TCP:80/ins-00000001:30080=10 TCP:80/ins-00000002:30080=10 TCP:80/ins-00000003:30080=10")
		w.want("record", w.service("web").Annotations[annotation.Applied], annotation.SecurityGroups)
		w.edit("web", annotate(annotation.SecurityGroups, "sg-b"), annotate(annotation.PassToTarget, "true"))
		w.pass(soon)
		w.wantCalls("changed in place", "ModifyLoadBalancer lb-1 security-groups=sg-b pass-to-target=on")
		w.stop()
		w.edit("web", annotate(annotation.SecurityGroups, ""), annotate(annotation.PassToTarget, ""))
		w.run()
		w.pass(soon)
		w.wantCalls("undone, though they went while nobody looked", "ModifyLoadBalancer lb-1 security-groups=none pass-to-target=off")
		w.want("record", w.service("web").Annotations[annotation.Applied], "")
		w.cloud.edit("lb-1", func(lb *lbsync.LoadBalancer) { lb.Instance.SecurityGroups = []string{"sg-person"} })
		w.pass(time.Hour)
		w.wantCalls("what nobody declares stays as a person sets it")
		w.want("events", w.events("web"), []string{"EnsuringLoadBalancer x2", "EnsuredLoadBalancer", "EnsuredLoadBalancer", "EnsuringLoadBalancer", "EnsuredLoadBalancer"})
	}, kubetest.Service("web", kubetest.Annotation(annotation.SecurityGroups, "sg-a")), kubetest.Slice("web", at(1)...))
}

func TestTheRecordIsWrittenBeforeTheChange(t *testing.T) {
	inWorld(t, func(w *world) {
		w.cloud.fail(func(_ context.Context, text string) error {
			if strings.HasPrefix(text, "ModifyLoadBalancer") {
				w.want("record", w.service("web").Annotations[annotation.Applied], annotation.DeleteProtection)
			}
			return nil
		})
		w.run()
		w.pass(soon)
		w.cloud.fail(nil)
		w.want("set", w.cloud.attributes("lb-1").Text(lbsync.AttributeDeleteProtect), "on")
	}, kubetest.Service("web", kubetest.Annotation(annotation.DeleteProtection, "true")))
}

func TestACLBIsNotOpenedWithoutTheSecurityGroupsThatItAsksFor(t *testing.T) {
	refusal := func(text string) error {
		if strings.Contains(text, "sg-missing") {
			return lbsync.Refusals{{Attribute: lbsync.AttributeSecurityGroups, Value: "sg-missing", Err: refuse(lbsync.Invalid, "SetLoadBalancerSecurityGroups", "no such group")}}
		}
		return nil
	}
	inWorld(t, func(w *world) {
		w.cloud.fail(func(_ context.Context, text string) error { return refusal(text) })
		w.run()
		w.pass(time.Minute)
		w.wantCalls("no listener", "CreateLoadBalancer web", "ModifyLoadBalancer lb-1 security-groups=sg-missing")
		w.want("events", w.events("web"), []string{"EnsuringLoadBalancer", "EnsuredLoadBalancer", "RefusedByCLB"})
		w.edit("web", annotate(annotation.SecurityGroups, "sg-b"))
		w.pass(time.Minute)
		w.want("listeners", len(w.cloud.clbs["lb-1"].Listeners), 1)
		w.edit("web", annotate(annotation.SecurityGroups, "sg-missing"), func(s *corev1.Service) { s.Spec.Ports[0].Port = 81 })
		w.pass(time.Minute)
		w.want("what is open keeps its groups", w.cloud.attributes("lb-1").Text(lbsync.AttributeSecurityGroups), "sg-b")
	}, kubetest.Service("web", kubetest.Annotation(annotation.SecurityGroups, "sg-missing")), kubetest.Slice("web", at(1)...))
}

func TestAnAttributeThatSomebodyElseChangedIsSetRightOrLeft(t *testing.T) {
	for policy, want := range map[string]string{"repair": "sg-a", "report": "sg-person"} {
		t.Run(policy, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.run()
				w.pass(soon)
				w.cloud.edit("lb-1", func(lb *lbsync.LoadBalancer) { lb.Instance.SecurityGroups = []string{"sg-person"} })
				w.pass(time.Hour)
				w.want("groups", w.cloud.attributes("lb-1").Text(lbsync.AttributeSecurityGroups), want)
				if m := w.message("web", "DriftDetected"); !strings.Contains(m, "security groups sg-person") {
					t.Errorf("the Event says %q", m)
				}
			}, kubetest.Service("web", kubetest.Annotation(annotation.SecurityGroups, "sg-a"), kubetest.Annotation(annotation.Drift, policy)))
		})
	}
}

func TestTheIngressModeIsTheOneThatIsAskedFor(t *testing.T) {
	inWorld(t, func(w *world) {
		w.run()
		w.pass(soon)
		w.want("mode", *w.service("web").Status.LoadBalancer.Ingress[0].IPMode, corev1.LoadBalancerIPModeProxy)
		w.edit("web", annotate(annotation.IPMode, ""))
		w.pass(soon)
		w.want("default", *w.service("web").Status.LoadBalancer.Ingress[0].IPMode, corev1.LoadBalancerIPModeVIP)
	}, kubetest.Service("web", kubetest.Annotation(annotation.IPMode, "Proxy")))
}

func TestWhatCannotBeFollowedUndoesNothing(t *testing.T) {
	for name, spoil := range map[string]func(*corev1.Service){
		"a typo":                         annotate(annotation.PassToTarget, "True"),
		"another CLB is named beside it": annotate(annotation.ExistingID, "lb-theirs"),
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.made("lb-theirs", map[string]string{})
				w.run()
				w.pass(soon)
				set := func() string {
					a := w.cloud.attributes("lb-1")
					return a.Text(lbsync.AttributePassToTarget) + " " + a.Text(lbsync.AttributeDeleteProtect)
				}
				w.want("set", set(), "on on")
				w.edit("web", spoil)
				w.pass(time.Minute)
				w.want("spoilt", set(), "on on")
				w.run()
				w.pass(time.Minute)
				w.want("spoilt, after a restart", set(), "on on")
				w.edit("web", annotate(annotation.PassToTarget, ""), annotate(annotation.ExistingID, ""))
				w.pass(time.Minute)
				w.want("removed", set(), "off on")
			}, kubetest.Service("web", kubetest.Annotation(annotation.PassToTarget, "true"), kubetest.Annotation(annotation.DeleteProtection, "true")))
		})
	}
}

func TestParametersOfACreationThatAreChangedInPlaceAndRemoved(t *testing.T) {
	parameters := annotate(annotation.CreateParams, `{"LoadBalancerPassToTarget":true,"SnatPro":true}`)
	for name, first := range map[string]func(*corev1.Service){"at creation": parameters, "added": func(*corev1.Service) {}} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.run()
				w.pass(soon)
				w.edit("web", parameters)
				w.pass(soon)
				set := func() string {
					a := w.cloud.attributes("lb-1")
					return a.Text(lbsync.AttributePassToTarget) + " " + a.Text(lbsync.AttributeSnatPro)
				}
				w.want("set", set(), "on on")
				w.run()
				w.pass(soon)
				w.edit("web", annotate(annotation.ExistingID, "lb-theirs"))
				w.pass(soon)
				w.want("excluded", set(), "on on")
				w.edit("web", annotate(annotation.CreateParams, ""), annotate(annotation.ExistingID, ""))
				w.pass(soon)
				w.want("removed", set(), "off on")
				if name == "at creation" {
					w.want("told", slices.ContainsFunc(w.told, func(e *corev1.Event) bool {
						return e.Reason == string(lbsync.CreateTimeOnly) && strings.Contains(e.Message, "was ordered with SnatPro true and stays so, though the manifest says nothing of it any more")
					}), true)
				}
			}, kubetest.Service("web", first))
		})
	}
}
