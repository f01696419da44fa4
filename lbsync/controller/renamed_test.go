// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/clbsync/clbsync/internal/kubetest"
)

// renamed is web's slice as its controller writes it for a port of the name.
func renamed(name string, endpoints ...discoveryv1.Endpoint) *discoveryv1.EndpointSlice {
	slice := kubetest.Slice("web", endpoints...)
	slice.Labels[discoveryv1.LabelManagedBy] = "endpointslice-controller.k8s.io"
	slice.Ports[0].Name = &name
	return slice
}

// A port of a Service is renamed, and its EndpointSlices follow later: whoever writes them may be busy, or elect its leader.
func TestARenamedPortDrainsNobody(t *testing.T) {
	targets := func(check string, targets ...string) string {
		lines := []string{"  TCP:80 check " + check}
		for _, t := range targets {
			lines = append(lines, "  TCP:80 "+t+" weight 10")
		}
		slices.Sort(lines)
		return "lb-1 of web\n" + strings.Join(lines, "\n") + "\n"
	}
	nodes, pods := "HTTP:31000/healthz", "TCP"
	for name, test := range map[string]struct {
		svc                *corev1.Service
		before, after, end string
	}{
		"nodes": {onlyBind("web"), targets(nodes, "ins-00000001:30080", "ins-00000002:30080"), targets(nodes, "ins-00000002:30080", "ins-00000003:30080"), targets(nodes)},
		"pods":  {directWeb(), targets(pods, "10.1.1.1:8080", "10.1.2.1:8080"), targets(pods, "10.1.2.1:8080", "10.1.3.1:8080"), targets(pods)},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.run()
				w.pass(time.Minute)
				w.wantCloud("bound", test.before)
				w.cloud.take()
				w.edit("web", func(s *corev1.Service) { s.Spec.Ports[0].Name = "web" })
				w.pass(time.Hour)
				w.wantCalls("renamed, and the slices are as they were")
				w.run()
				w.pass(time.Hour)
				w.wantCalls("nor does a new leader drain anybody")
				w.put(renamed("web", at(2, 3)...))
				w.pass(3 * time.Minute)
				w.wantCloud("the slices have followed, and pods have moved", test.after)
				w.put(renamed("web"))
				w.pass(3 * time.Minute)
				w.wantCloud("the last pod is gone", test.end)
			}, test.svc, renamed("http", at(1, 2)...))
		})
	}
}

func TestOverTheWireARenamedPortDrainsNobody(t *testing.T) {
	for name, test := range map[string]struct {
		svc           *corev1.Service
		before, after string
	}{
		"nodes": {onlyBind("web"), "TCP:80 ins-00000001=10 ins-00000002=10", "TCP:80 ins-00000002=10 ins-00000003=10"},
		"pods":  {directWeb(), "TCP:80 10.1.1.1:8080=10 10.1.2.1:8080=10", "TCP:80 10.1.2.1:8080=10 10.1.3.1:8080=10"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWire(t, "SECRETEXAMPLE", test.svc, renamed("http", at(1, 2)...))
			w.run()
			w.until(test.before)
			// What else is edited shows that the rename has been dealt with.
			w.edit("web", func(s *corev1.Service) {
				s.Spec.Ports[0].Name, s.Spec.SessionAffinity = "web", corev1.ServiceAffinityClientIP
			})
			w.eventually("the edit arrives", func() bool { return strings.Contains(strings.Join(w.listeners(), "\n"), "session 1h0m0s") })
			w.until(test.before)
			w.put(renamed("web", at(2, 3)...))
			w.until(test.after)
			calls, err := w.sim.Calls(t.Context(), 0)
			if err != nil {
				t.Fatal(err)
			}
			drained := 0
			for _, c := range calls {
				if c.Action == "BatchModifyTargetWeight" || c.Action == "BatchDeregisterTargets" {
					drained++
				}
			}
			if drained != 2 { // one target that moved: closed, and taken away
				t.Errorf("%d calls took traffic or targets away, want 2", drained)
			}
			w.refusedNothing()
		})
	}
}
