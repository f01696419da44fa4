// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	clienttesting "k8s.io/client-go/testing"

	"github.com/clbsync/clbsync/internal/kubetest"
	"github.com/clbsync/clbsync/internal/readinessgate"
	"github.com/clbsync/clbsync/lbsync"
	"github.com/clbsync/clbsync/lbsync/annotation"
)

var direct = kubetest.Annotation(annotation.DirectAccess, "true")

// directWeb is a Service whose targets are the pods of the app "web", without node ports.
func directWeb(mods ...func(*corev1.Service)) *corev1.Service {
	return kubetest.Service("web", append([]func(*corev1.Service){direct, kubetest.Selecting("web"), func(s *corev1.Service) {
		s.Spec.AllocateLoadBalancerNodePorts, s.Spec.Ports[0].NodePort = new(false), 0
	}}, mods...)...)
}

// pods returns ready endpoints web-<n> at 10.1.0.<n>.
func podsAt(numbers ...int) []discoveryv1.Endpoint {
	var all []discoveryv1.Endpoint
	for _, n := range numbers {
		all = append(all, of(n, kubetest.Ready))
	}
	return all
}

func of(n int, state func(node, address string) discoveryv1.Endpoint) discoveryv1.Endpoint {
	return kubetest.OfPod(state(fmt.Sprintf("n%d", 1+n%3), fmt.Sprintf("10.1.0.%d", n)), fmt.Sprintf("web-%d", n))
}

// weighing returns a pod of the app "web" with a weight of its own.
func weighing(n int, weight string) *corev1.Pod {
	name := fmt.Sprintf("web-%d", n)
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID(name), Labels: map[string]string{"app": "web"}, Annotations: map[string]string{annotation.CustomWeight: weight}}}
}

func annotated(name, value string) func(*corev1.Service) {
	return func(s *corev1.Service) {
		if s.Annotations == nil {
			s.Annotations = map[string]string{}
		}
		s.Annotations[name] = value
	}
}

func without(name string) func(*corev1.Service) {
	return func(s *corev1.Service) { delete(s.Annotations, name) }
}

// warned waits for a Warning about the Service with a text in it.
func (w *wire) warned(text string) {
	w.Helper()
	w.eventually("a Warning with "+text, func() bool {
		w.world.mu.Lock()
		defer w.world.mu.Unlock()
		return slices.ContainsFunc(w.world.told, func(e *corev1.Event) bool {
			return e.Type == corev1.EventTypeWarning && strings.Contains(e.Message, text)
		})
	})
}

// refusedNothing ends a test over the wire: CLB refused no call.
func (w *wire) refusedNothing() {
	w.Helper()
	calls, err := w.sim.Calls(w.Context(), 0)
	if err != nil {
		w.Fatal(err)
	}
	for _, c := range calls {
		if c.Code != "" {
			w.Errorf("%s %s was refused: %s %s", c.Action, c.Parameters, c.Code, c.Message)
		}
	}
}

// edit changes a Service as its author does, between the writes of the controller: the fake API server makes its patches
// out of a reading and a writing, and what is written between the two is lost.
func (w *wire) edit(name string, change func(*corev1.Service)) {
	w.Helper()
	w.services.Lock()
	defer w.services.Unlock()
	w.world.edit(name, change)
}

func TestOverTheWirePodsAreTargets(t *testing.T) {
	w := newWire(t, "SECRETEXAMPLE", directWeb(), kubetest.Slice("web", podsAt(1, 2)...))
	w.run()
	w.until("TCP:80 10.1.0.1:8080=10 10.1.0.2:8080=10")
	w.put(kubetest.Slice("web", podsAt(1, 2, 3)...)) // one comes
	w.until("TCP:80 10.1.0.1:8080=10 10.1.0.2:8080=10 10.1.0.3:8080=10")
	w.put(kubetest.Slice("web", append(podsAt(2, 3), of(1, kubetest.Terminating))...)) // one is going
	w.until("TCP:80 10.1.0.1:8080=0 10.1.0.2:8080=10 10.1.0.3:8080=10")
	w.put(kubetest.Slice("web", podsAt(2, 3)...)) // and gone
	w.until("TCP:80 10.1.0.2:8080=10 10.1.0.3:8080=10")
	w.put(kubetest.Slice("web", podsAt(3, 4)...)) // one moves
	w.until("TCP:80 10.1.0.3:8080=10 10.1.0.4:8080=10")
	w.put(kubetest.Slice("web"))
	w.until("TCP:80 ")
	w.refusedNothing()
}

func TestOverTheWireDirectAccessIsSwitched(t *testing.T) {
	nodePorts := func(s *corev1.Service) { s.Spec.AllocateLoadBalancerNodePorts, s.Spec.Ports[0].NodePort = nil, 30080 }
	nodes, pods := "TCP:80 ins-00000001=10 ins-00000002=10 ins-00000003=10", "TCP:80 10.1.0.1:8080=10 10.1.0.2:8080=10"
	w := newWire(t, "SECRETEXAMPLE", directWeb(nodePorts, without(annotation.DirectAccess)), kubetest.Slice("web", podsAt(1, 2)...))
	w.run()
	w.until(nodes)
	w.edit("web", annotated(annotation.DirectAccess, "true"))
	w.until(pods)
	w.edit("web", annotated(annotation.DirectAccess, "false"))
	w.until(nodes)
	w.edit("web", annotated(annotation.DirectAccess, "true"))
	w.until(pods)
	w.edit("web", without(annotation.DirectAccess))
	w.until(nodes)
	w.edit("web", annotated(annotation.DirectAccess, "yes"))
	w.warned(`has the value "yes"`)
	w.until(nodes)
	w.refusedNothing()
}

func TestOverTheWireTheCloudConfigSaysDirectAccess(t *testing.T) {
	w := newWire(t, "SECRETEXAMPLE", directWeb(without(annotation.DirectAccess)), kubetest.Slice("web", podsAt(1)...))
	w.world.config.Settings.DirectAccess = true
	w.run()
	w.until("TCP:80 10.1.0.1:8080=10")
	w.edit("web", annotated(annotation.DirectAccess, "false"))
	w.warned("has no nodePort")
}

func TestOverTheWirePodsHaveWeights(t *testing.T) {
	rs := func(text string) func(*corev1.Service) { return annotated(annotation.RSWeight, text) }
	w := newWire(t, "SECRETEXAMPLE", directWeb(rs(`{"defaultWeight":20,"groups":[{"key":{"proto":"TCP","port":80},"statefulSets":[{"name":"web","weights":[{"weight":5,"podIndexes":[1]}]}]}]}`)),
		kubetest.Slice("web", podsAt(1, 2)...), weighing(2, "50"))
	w.run()
	w.until("TCP:80 10.1.0.1:8080=5 10.1.0.2:8080=50")
	w.put(weighing(2, "51"))
	w.until("TCP:80 10.1.0.1:8080=5 10.1.0.2:8080=51")
	w.put(weighing(2, "101"))
	w.warned(`Pod web-2 has the annotation service.cloud.tencent.com/custom-weight with the value "101": want a whole number, 0 to 100`)
	w.until("TCP:80 10.1.0.1:8080=5 10.1.0.2:8080=20")
	w.edit("web", rs(`{"defaultWeight":21}`))
	w.until("TCP:80 10.1.0.1:8080=21 10.1.0.2:8080=21")
	w.put(weighing(1, "0"))
	w.until("TCP:80 10.1.0.1:8080=0 10.1.0.2:8080=21")
	plain := weighing(1, "")
	plain.Annotations = nil
	w.put(plain)
	w.until("TCP:80 10.1.0.1:8080=21 10.1.0.2:8080=21")
	w.edit("web", rs(`{"defaultWeight":101}`))
	w.warned("defaultWeight is 101, not 0 to 100")
	w.until("TCP:80 10.1.0.1:8080=10 10.1.0.2:8080=10")
	w.edit("web", without(annotation.RSWeight))
	w.put(weighing(1, "30"))
	w.until("TCP:80 10.1.0.1:8080=30 10.1.0.2:8080=10")
	w.refusedNothing()
}

// ending returns an endpoint that is going and does not serve any more.
func ending(node, address string) discoveryv1.Endpoint {
	e := kubetest.Terminating(node, address)
	e.Conditions.Serving = new(false)
	return e
}

func TestAPodThatEndsStaysUntilItIsGone(t *testing.T) {
	inWorld(t, func(w *world) {
		w.run()
		w.pass(time.Minute)
		w.put(kubetest.Slice("web", of(2, kubetest.Ready), of(1, ending)))
		w.pass(30 * time.Minute)
		w.wantCloud("half an hour later", `
lb-1 of web
  TCP:80 10.1.0.1:8080 weight 0
  TCP:80 10.1.0.2:8080 weight 10
  TCP:80 check TCP
`)
	}, directWeb(annotated(annotation.GraceShutdown, "true")), kubetest.Slice("web", podsAt(1, 2)...))
}

func TestOverTheWirePodsGoGracefully(t *testing.T) {
	ready, bound := podsAt(1, 2), "TCP:80 10.1.0.1:8080=10 10.1.0.2:8080=10"
	closed, gone := "TCP:80 10.1.0.1:8080=0 10.1.0.2:8080=10", "TCP:80 10.1.0.2:8080=10"
	w := newWire(t, "SECRETEXAMPLE", directWeb(annotated(annotation.GraceShutdown, "true")), kubetest.Slice("web", ready...))
	w.run()
	w.until(bound)
	w.put(kubetest.Slice("web", of(2, kubetest.Ready), of(1, ending)))
	w.until(closed)
	w.edit("web", without(annotation.GraceShutdown))
	w.until(gone)
	w.put(kubetest.Slice("web", ready...))
	w.until(bound)
	w.put(kubetest.Slice("web", of(2, kubetest.Ready), of(1, kubetest.Unready)))
	w.until(gone)
	w.put(kubetest.Slice("web", ready...))
	w.until(bound)
	w.edit("web", annotated(annotation.GraceShutdownAll, "true"))
	w.put(kubetest.Slice("web", of(2, kubetest.Ready), of(1, kubetest.Unready)))
	w.until(closed)
	w.edit("web", annotated(annotation.GraceShutdownAll, "perhaps"))
	w.warned(`has the value "perhaps"`)
	w.until(gone)
	w.edit("web", annotated(annotation.GraceDeletion, "true"))
	w.warned("preStop")
	w.refusedNothing()
}

// gatedPod is a pod of the app "web" at 10.1.0.<n> that waits for its gate alone.
func gatedPod(n int) *corev1.Pod {
	pod := kubetest.Gated(fmt.Sprintf("web-%d", n), "web", fmt.Sprintf("n%d", 1+n%3), readinessgate.Condition, time.Now())
	pod.Status.PodIPs = []corev1.PodIP{{IP: fmt.Sprintf("10.1.0.%d", n)}}
	return pod
}

func TestAGateOpensWhenThePodItselfIsHealthy(t *testing.T) {
	inWorld(t, func(w *world) {
		w.run()
		w.put(gatedPod(1))
		w.put(kubetest.Slice("web", of(1, kubetest.Unready)))
		w.pass(soon)
		w.want("before it is healthy", w.gate("web-1"), "False WaitingForTarget")
		w.wantCloud("it is bound before it is ready", `
lb-1 of web
  TCP:80 10.1.0.1:8080 weight 10
  TCP:80 check TCP
`)
		w.pass(20 * time.Second)
		w.want("when it is healthy", w.gate("web-1"), "True TargetHealthy")
		w.put(kubetest.Slice("web", of(1, kubetest.Ready)))
		w.put(gatedPod(2))
		w.pass(soon)
		w.want("a pod that is no endpoint yet", w.gate("web-2"), "False WaitingForTarget")
		w.put(kubetest.Slice("web", of(1, kubetest.Ready), of(2, kubetest.Unready)))
		w.pass(10 * time.Second)
		w.want("a pod beside healthy ones", w.gate("web-2"), "False WaitingForTarget")
		w.pass(10 * time.Second)
		w.want("when it is healthy itself", w.gate("web-2"), "True TargetHealthy")
	}, directWeb())
}

func TestARestartChangesNothingAboutPods(t *testing.T) {
	inWorld(t, func(w *world) {
		w.put(gatedPod(3))
		w.put(weighing(1, "50"))
		w.put(weighing(4, "0"))
		w.put(kubetest.Slice("web", append(podsAt(1, 2, 4), of(3, kubetest.Unready))...))
		w.run()
		w.pass(time.Minute)
		w.cloud.take()
		w.run()
		w.pass(time.Minute)
		w.wantCalls("of a new controller")
	}, directWeb())
}

func TestPodsThatCannotBeSeenKeepWhatTheyHave(t *testing.T) {
	inWorld(t, func(w *world) {
		w.put(weighing(1, "50"))
		w.put(kubetest.Slice("web", podsAt(1, 2)...))
		w.config.Settings.Gate.Enabled = false // the watch begins with the first Service that needs it
		w.run()
		w.pass(time.Minute)
		want := `
lb-1 of web
  TCP:80 10.1.0.1:8080 weight 50
  TCP:80 10.1.0.2:8080 weight 10
  TCP:80 check TCP
`
		w.wantCloud("with the pods", want)
		w.client.PrependReactor("list", "pods", func(clienttesting.Action) (bool, runtime.Object, error) {
			return true, nil, apierrors.NewForbidden(corev1.Resource("pods"), "", errors.New("no right to list"))
		})
		w.run()
		w.pass(time.Minute)
		w.wantCloud("without them", want)
		w.put(kubetest.Slice("web", podsAt(1, 2, 3)...))
		w.pass(time.Minute)
		w.wantCloud("what is new comes with the default", strings.Replace(want, "  TCP:80 check", "  TCP:80 10.1.0.3:8080 weight 10\n  TCP:80 check", 1))
	}, directWeb())
}

func TestWithoutDirectAccessAndGatesPodsAreNotWatched(t *testing.T) {
	inWorld(t, func(w *world) {
		w.config.Settings.Gate.Enabled = false
		w.run()
		w.pass(time.Minute)
		watched := func() bool {
			return slices.ContainsFunc(w.client.Actions(), func(a clienttesting.Action) bool { return a.GetResource().Resource == "pods" })
		}
		w.want("pods are watched", watched(), false)
		w.edit("web", annotated(annotation.DirectAccess, "true"))
		w.pass(soon)
		w.want("pods are watched for direct access", watched(), true)
	}, kubetest.Service("web"), kubetest.Slice("web", podsAt(1)...))
}

func TestPodsOnTheHostAreTold(t *testing.T) {
	inWorld(t, func(w *world) {
		w.run()
		w.pass(soon)
		if m := w.message("web", string(lbsync.PodOnHost)); !strings.Contains(m, "hostNetwork") {
			t.Errorf("the Event says %q", m)
		}
		w.put(kubetest.Slice("web", podsAt(1)...))
		w.pass(soon)
		w.wantCloud("pods of their own address", `
lb-1 of web
  TCP:80 10.1.0.1:8080 weight 10
  TCP:80 check TCP
`)
	}, directWeb(), kubetest.Slice("web", kubetest.Ready("n1", "10.0.0.1")))
}
