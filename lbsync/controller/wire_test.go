// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/clbsync/clbsync/internal/kubetest"
	"github.com/clbsync/clbsync/lbsync"
	"github.com/clbsync/clbsync/lbsync/annotation"
)

// all makes several changes.
func all(changes ...func(*corev1.Service)) func(*corev1.Service) {
	return func(s *corev1.Service) {
		for _, change := range changes {
			change(s)
		}
	}
}

// person makes a CLB in the console, with a listener on TCP:22, and returns its ID.
func (w *wire) person() string {
	w.Helper()
	var made struct{ LoadBalancerIds []string }
	w.console("CreateLoadBalancer", map[string]any{"LoadBalancerType": "OPEN", "VpcId": "vpc-2ab3c4d5", "LoadBalancerName": "by hand"}, &made)
	id := made.LoadBalancerIds[0]
	w.eventually("the CLB is there", func() bool { _, err := w.world.config.Cloud.Observe(w.Context(), id); return err == nil })
	w.eventually("it takes a listener", func() bool {
		return w.sim.Console(w.Context(), "CreateListener", map[string]any{"LoadBalancerId": id, "Ports": []int{22}, "Protocol": "TCP", "ListenerNames": []string{"ssh"}}, nil) == nil
	})
	return id
}

func (w *wire) console(action string, request, response any) {
	w.Helper()
	if err := w.sim.Console(w.Context(), action, request, response); err != nil {
		w.Fatal(err)
	}
}

// observed is the CLB as it is.
func (w *wire) observed(id string) lbsync.LoadBalancer {
	w.Helper()
	lb, err := w.world.config.Cloud.Observe(w.Context(), id)
	if err != nil {
		w.Fatal(err)
	}
	return lb
}

// names returns the places of a CLB's listeners, sorted.
func (w *wire) names(id string) string {
	var out []string
	for k := range w.observed(id).Listeners {
		out = append(out, k.String())
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

func TestOverTheWireServicesShareACLB(t *testing.T) {
	w := newWire(t, "SECRETEXAMPLE", kubetest.Slice("web", at(1)...), kubetest.Slice("api", at(2)...))
	id := w.person()
	w.put(kubetest.Service("web", on(id)))
	w.put(kubetest.Service("api", on(id), port(81)))
	w.run()
	w.eventually("both are served", func() bool { return w.names(id) == "TCP:22 TCP:80 TCP:81" })
	w.eventually("both are told their address", func() bool {
		return len(w.world.service("web").Status.LoadBalancer.Ingress)*len(w.world.service("api").Status.LoadBalancer.Ingress) == 1
	})
	if got := w.observed(id).Instance.Tags[lbsync.TagCluster]; got != "cls-demo" {
		t.Errorf("the tag is %q", got)
	}
	w.edit("api", clusterIP)
	w.eventually("one leaves", func() bool { return w.names(id) == "TCP:22 TCP:80" && len(w.world.service("api").Finalizers) == 0 })
	w.edit("web", clusterIP)
	w.eventually("the other leaves", func() bool { return w.names(id) == "TCP:22" && len(w.world.service("web").Finalizers) == 0 })
	if got := w.observed(id).Instance.Tags; len(got) != 0 {
		t.Errorf("tags are left: %v", got)
	}
}

func TestOverTheWireAnnotationsOfTheCLB(t *testing.T) {
	w := newWire(t, "SECRETEXAMPLE", kubetest.Slice("web", at(1)...), kubetest.Service("web",
		kubetest.Annotation(annotation.SecurityGroups, "sg-demo0001"), kubetest.Annotation(annotation.ChargeType, "BANDWIDTH_POSTPAID_BY_HOUR"),
		kubetest.Annotation(annotation.Bandwidth, "20"), kubetest.Annotation(annotation.CreateParams, `{"ZoneId":"ap-guangzhou-3"}`)))
	w.run()
	id := ""
	w.eventually("the CLB is made", func() bool { id = w.world.service("web").Annotations[annotation.LoadBalancerID]; return id != "" })
	has := func(want string) func() bool {
		return func() bool { return strings.HasPrefix(w.observed(id).Instance.Attributes.String(), want) }
	}
	w.eventually("set at creation", has("security groups sg-demo0001, pass to target off, delete protection off, SnatPro off, bandwidth 20 Mbps"))
	if got := w.observed(id).Instance.Order; got.InternetAccessible.InternetChargeType != "BANDWIDTH_POSTPAID_BY_HOUR" || !strings.HasPrefix(got.MasterZoneID, "ap-guangzhou-3") {
		t.Errorf("ordered was %s", got)
	}
	w.edit("web", all(annotate(annotation.PassToTarget, "true"), annotate(annotation.DeleteProtection, "true")))
	w.eventually("added later", has("security groups sg-demo0001, pass to target on, delete protection on"))
	w.edit("web", all(annotate(annotation.PassToTarget, "false")))
	w.eventually("changed", has("security groups sg-demo0001, pass to target off, delete protection on"))
	w.edit("web", all(annotate(annotation.SecurityGroups, "sg-nothere1"), annotate(annotation.DeleteProtection, "perhaps")))
	w.eventually("what is bad is told", func() bool {
		w.world.mu.Lock()
		defer w.world.mu.Unlock()
		return slices.ContainsFunc(w.world.told, func(e *corev1.Event) bool { return e.Reason == "RefusedByCLB" }) &&
			slices.ContainsFunc(w.world.told, func(e *corev1.Event) bool { return e.Reason == "BadAnnotation" })
	})
	w.eventually("what was bound stays", has("security groups sg-demo0001"))
	w.edit("web", all(annotate(annotation.SecurityGroups, ""), annotate(annotation.DeleteProtection, ""), annotate(annotation.PassToTarget, "")))
	w.eventually("removed", has("security groups none, pass to target off, delete protection off"))
	w.edit("web", all(annotate(annotation.Bandwidth, "30")))
	w.eventually("what is taken at creation only is told", func() bool {
		w.world.mu.Lock()
		defer w.world.mu.Unlock()
		return slices.ContainsFunc(w.world.told, func(e *corev1.Event) bool { return e.Reason == "CreateTimeOnly" })
	})
}
