// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clienttesting "k8s.io/client-go/testing"

	"github.com/clbsync/clbsync/internal/kubetest"
	"github.com/clbsync/clbsync/internal/readinessgate"
)

// gated puts a pod of the app "web" on a node, which waits for its gate from now on.
func (w *world) gated(name, node string) *corev1.Pod {
	w.Helper()
	pod := kubetest.Gated(name, "web", node, readinessgate.Condition, time.Now())
	w.put(pod)
	return pod
}

// pod returns a pod as the API server has it.
func (w *world) pod(name string) *corev1.Pod {
	w.Helper()
	o, err := w.client.Tracker().Get(corev1.SchemeGroupVersion.WithResource("pods"), "default", name)
	if err != nil {
		w.Fatal(err)
	}
	return o.(*corev1.Pod).DeepCopy()
}

// gate returns the pod's condition as "True TargetHealthy", say; "" if it has none.
func (w *world) gate(name string) string {
	w.Helper()
	for _, c := range w.pod(name).Status.Conditions {
		if c.Type == readinessgate.Condition {
			return string(c.Status) + " " + c.Reason
		}
	}
	return ""
}

// clusterWeb is a Service under Cluster that selects the app "web", and has a ready pod on n2.
func clusterWeb() []runtime.Object {
	return []runtime.Object{kubetest.Service("web", kubetest.Selecting("web")), kubetest.Slice("web", at(2)...)}
}

// localWeb is one under Local that binds the nodes of its pods, and has a ready pod on n2.
func localWeb() []runtime.Object {
	svc := onlyBind("web")
	kubetest.Selecting("web")(svc)
	return []runtime.Object{svc, kubetest.Slice("web", at(2)...)}
}

func TestAGateOpensWhenTheNodeIsHealthy(t *testing.T) {
	inWorld(t, func(w *world) {
		w.run()
		w.pass(soon)
		w.cloud.take()
		w.writes()
		w.gated("p", "n1")
		w.pass(soon)
		w.want("while the node settles", w.gate("p"), "False WaitingForTarget")
		w.pass(20 * time.Second)
		w.want("when it is healthy", w.gate("p"), "True TargetHealthy")
		w.want("writes", w.writes(), []string{"patch pods/status", "patch pods/status"})
		polls := 0
		for _, text := range texts(w.cloud.take()) {
			if text != "Health lb-1" {
				t.Errorf("unexpected call %q", text)
			}
			polls++
		}
		if polls < 7 || polls > 9 {
			t.Errorf("%d polls in 15 s, want one each 2 s, at a rate that never slows down", polls)
		}
		w.pass(5 * time.Minute)
		w.want("calls once nobody waits", texts(w.cloud.take("Observe")), []string(nil))
		w.want("other conditions are left alone", len(w.pod("p").Status.Conditions), 3)
	}, clusterWeb()...)
}

func TestAGateThatIsOpenStaysOpen(t *testing.T) {
	inWorld(t, func(w *world) {
		w.run()
		w.pass(time.Minute)
		w.gated("p", "n1")
		w.pass(soon)
		w.want("at once, since the node is healthy", w.gate("p"), "True TargetHealthy")
		w.writes()
		w.cloud.mu.Lock()
		w.cloud.dead["ins-00000001"] = true
		w.cloud.mu.Unlock()
		w.run() // and a new controller thinks the same
		w.pass(30 * time.Minute)
		w.want("after the node has failed", w.gate("p"), "True TargetHealthy")
		w.want("writes", w.writes(), []string(nil))
	}, clusterWeb()...)
}

func TestAPodThatNoServiceSelectsIsNotHeldUp(t *testing.T) {
	inWorld(t, func(w *world) {
		w.run()
		w.pass(soon)
		w.gated("p", "n1")
		w.pass(100 * time.Millisecond)
		w.want("gate", w.gate("p"), "True NoLoadBalancer")
	}, kubetest.Service("web", kubetest.Selecting("other")), kubetest.Service("none"))
}

func TestAPodThatWaitsForItselfIsNotHeldUp(t *testing.T) {
	inWorld(t, func(w *world) {
		w.run()
		w.pass(time.Minute)
		w.cloud.take()
		w.gated("p", "n1")
		w.put(kubetest.Slice("web", append(at(2), kubetest.OfPod(kubetest.Unready("n1", "10.1.1.1"), "p"))...))
		w.pass(100 * time.Millisecond)
		w.want("gate", w.gate("p"), "True NothingToWaitFor")
		w.want("calls", texts(w.cloud.take()), []string(nil))
	}, localWeb()...)
}

func TestADeadlineOpensAGateAndIsTold(t *testing.T) {
	inWorld(t, func(w *world) {
		w.config.Settings.Gate.Deadline = 30 * time.Second
		w.cloud.dead["ins-00000001"] = true
		w.run()
		w.pass(time.Minute)
		w.gated("p", "n1")
		w.pass(29 * time.Second)
		w.want("before", w.gate("p"), "False WaitingForTarget")
		w.pass(2 * time.Second)
		w.want("after", w.gate("p"), "True DeadlineExceeded")
		w.want("events", w.events("p"), []string{"DeadlineExceeded"})
		if message := w.message("p", "DeadlineExceeded"); !strings.Contains(message, "ins-00000001:30080") {
			t.Errorf("the Event says %q, without the target", message)
		}
		w.pass(time.Minute)
		w.want("events a minute later", w.events("p"), []string{"DeadlineExceeded"})
	}, clusterWeb()...)
}

func TestWithNodeAgentsAPodBringsItsNodeAndKeepsItUntilItIsReady(t *testing.T) {
	inWorld(t, func(w *world) {
		w.config.Settings.Gate.NodeAgent = true
		w.run()
		w.pass(time.Minute)
		w.cloud.take()
		w.put(kubetest.Slice("web", append(at(2), kubetest.OfPod(kubetest.Unready("n1", "10.1.1.1"), "p"))...))
		w.pass(soon)
		w.wantCalls("while its containers start")
		pod := w.gated("p", "n1")
		w.pass(soon)
		w.wantCalls("when nothing but the gate is missing", "Register lb-1 TCP:80/ins-00000001:30080=10")
		w.want("gate", w.gate("p"), "False WaitingForTarget")
		w.pass(20 * time.Second)
		w.want("gate", w.gate("p"), "True TargetHealthy")
		pod = w.pod(pod.Name)
		pod.Status.Conditions[0].Status = corev1.ConditionTrue
		w.put(pod)
		w.pass(time.Minute)
		w.wantCalls("while the endpoint does not say yet that the pod is ready")
		w.put(kubetest.Slice("web", append(at(2), kubetest.OfPod(kubetest.Ready("n1", "10.1.1.1"), "p"))...))
		w.pass(time.Minute)
		w.wantCalls("when it does")

		w.run() // A controller that starts in such a moment keeps the node.
		w.put(kubetest.Slice("web", append(at(2), kubetest.OfPod(kubetest.Unready("n1", "10.1.1.1"), "p"))...))
		w.pass(time.Minute)
		w.wantCalls("after a restart")

		now := metav1.Now()
		pod.DeletionTimestamp = &now
		w.put(pod)
		w.pass(2 * time.Minute)
		w.wantCalls("when it goes", "Reweight lb-1 TCP:80/ins-00000001:30080=0", "Deregister lb-1 TCP:80/ins-00000001:30080=0")
	}, localWeb()...)
}

func TestPodsThatComeWhileOthersWaitAreLookedAtWithThem(t *testing.T) {
	inWorld(t, func(w *world) {
		w.cloud.dead["ins-00000001"] = true
		w.run()
		w.pass(time.Minute)
		w.cloud.take()
		for i := range 30 {
			w.gated(fmt.Sprintf("p%d", i), "n1")
			w.pass(300 * time.Millisecond)
		}
		w.gated("lonely", "n3")
		pod := w.pod("lonely")
		pod.Labels["app"] = "other"
		w.put(pod)
		w.pass(100 * time.Millisecond)
		w.want("who has nothing to wait for", w.gate("lonely"), "True NoLoadBalancer")
		polls := len(w.cloud.take())
		if polls > 6 {
			t.Errorf("%d requests in 9 s for 30 pods of one Service, want one each 2 s", polls)
		}
	}, clusterWeb()...)
}

func TestAFailedWriteOfAGateIsRepeated(t *testing.T) {
	inWorld(t, func(w *world) {
		failures := 3
		w.client.PrependReactor("patch", "pods", func(clienttesting.Action) (bool, runtime.Object, error) {
			if failures--; failures >= 0 {
				return true, nil, errors.New("no connection")
			}
			return false, nil, nil
		})
		w.run()
		w.pass(time.Minute)
		w.gated("p", "n1")
		w.pass(soon)
		w.want("after a failure", w.gate("p"), "")
		w.pass(10 * time.Second)
		w.want("after three", w.gate("p"), "True TargetHealthy")
	}, clusterWeb()...)
}

func TestHealthThatCannotBeReadHoldsAPodUpToItsDeadline(t *testing.T) {
	inWorld(t, func(w *world) {
		w.run()
		w.pass(time.Minute)
		w.cloud.mu.Lock()
		delete(w.cloud.clbs, "lb-1")
		w.cloud.mu.Unlock()
		w.gated("p", "n1")
		w.pass(time.Minute)
		w.want("before", w.gate("p"), "False WaitingForTarget")
		w.pass(time.Minute + 2*time.Second)
		w.want("after", w.gate("p"), "True DeadlineExceeded")
	}, clusterWeb()...)
}

func TestGatesStayAsTheyAreWhereNobodyWorksOnThem(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"switched off": func(c *Config) { c.Settings.Gate.Enabled = false },
		"dry run":      func(c *Config) { c.DryRun = true },
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				change(&w.config)
				w.run()
				w.gated("p", "n1")
				w.pass(5 * time.Minute)
				w.want("gate", w.gate("p"), "")
				for _, a := range w.client.Actions() {
					if a.GetResource().Resource == "pods" {
						t.Errorf("pods are asked for: %s", a.GetVerb())
					}
				}
			}, clusterWeb()...)
		})
	}
}

func TestPodsThatCannotBeListedStopNoCLB(t *testing.T) {
	inWorld(t, func(w *world) {
		w.config.Settings.Gate.NodeAgent = true
		w.client.PrependReactor("list", "pods", func(clienttesting.Action) (bool, runtime.Object, error) {
			return true, nil, apierrors.NewResourceExpired("whatever the list fails with, told without a pause of its own")
		})
		w.run()
		w.pass(30 * time.Second)
		w.wantCalls("creation", "CreateLoadBalancer web", "CreateListeners lb-1 TCP:80", "Register lb-1 TCP:80/ins-00000002:30080=10")
	}, localWeb()...)
}
