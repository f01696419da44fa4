// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	clienttesting "k8s.io/client-go/testing"

	"github.com/clbsync/clbsync/internal/kubetest"
	"github.com/clbsync/clbsync/lbsync"
	"github.com/clbsync/clbsync/lbsync/annotation"
)

// failing makes every call that begins so fail, without effect, with the kind.
func (w *world) failing(call string, kind lbsync.Kind) {
	w.cloud.fail(func(_ context.Context, text string) error {
		if strings.HasPrefix(text, call) {
			return refuse(kind, strings.Fields(call)[0], "as the test wants it")
		}
		return nil
	})
}

// gaps returns the times between the calls that begin so.
func gaps(calls []call, prefix string) []time.Duration {
	var all []time.Duration
	var last time.Time
	for _, c := range calls {
		if !strings.HasPrefix(c.text, prefix) {
			continue
		}
		if !last.IsZero() {
			all = append(all, c.at.Sub(last))
		}
		last = c.at
	}
	return all
}

func TestEachKindOfFailureHasItsOwnPace(t *testing.T) {
	s := time.Second
	backoff := []time.Duration{s, 2 * s, 4 * s, 8 * s, 16 * s, 32 * s, 64 * s, 128 * s, 256 * s, 300 * s, 300 * s}
	for _, c := range []struct {
		kind  lbsync.Kind
		gaps  []time.Duration // between the tries; each with up to a fifth of itself added
		event bool
	}{
		{lbsync.Unknown, backoff, true},
		{lbsync.Throttled, backoff, true},
		{lbsync.Busy, backoff, true},
		{lbsync.NotFound, append([]time.Duration{0}, backoff[1:]...), true},
		{lbsync.Conflict, append([]time.Duration{0}, backoff[1:]...), true},
		{lbsync.Invalid, []time.Duration{600 * s, 600 * s}, true},
		{lbsync.Quota, []time.Duration{300 * s, 300 * s}, true},
		{lbsync.Denied, []time.Duration{300 * s, 300 * s}, true},
	} {
		t.Run(c.kind.String(), func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.failing("CreateLoadBalancer bad", c.kind)
				w.run()
				w.pass(time.Hour)
				got := gaps(w.cloud.take(), "CreateLoadBalancer bad")
				if len(got) < len(c.gaps) {
					w.Fatalf("%d tries in an hour, want more than %d: %v", len(got)+1, len(c.gaps), got)
				}
				for i, want := range c.gaps {
					// A try takes a few calls itself.
					if got[i] < want || got[i] > want+want/5+20*time.Millisecond {
						w.Errorf("try %d came %s after the last, want %s to %s: all %v", i+2, got[i], want, want+want/5, got)
					}
				}
				w.want("told on the first day, and again after half an hour", w.events("bad"), []string{"EnsuringLoadBalancer", "SyncLoadBalancerFailed x2"})
				w.want("the other Service", len(w.service("web").Status.LoadBalancer.Ingress), 1)
			}, kubetest.Service("bad"), kubetest.Service("web"))
		})
	}
}

func TestOnlyAChangeOfTheServiceEndsABackoff(t *testing.T) {
	inWorld(t, func(w *world) {
		w.failing("CreateLoadBalancer", lbsync.Denied)
		w.run()
		w.pass(time.Minute)
		w.wantCalls("first", "CreateLoadBalancer web")
		for i := range 20 {
			w.put(kubetest.Slice("web", at(1+i%3)...))
			w.pass(time.Second)
		}
		w.put(kubetest.Node(4))
		w.pass(time.Second)
		w.wantCalls("pods and nodes come and go")
		w.edit("web", func(s *corev1.Service) { s.Spec.Ports[0].Port = 81 })
		w.pass(time.Second)
		w.wantCalls("the Service changes", "CreateLoadBalancer web")
		w.want("who changed it is told how that went", w.events("web"), []string{"EnsuringLoadBalancer", "SyncLoadBalancerFailed x2"})
	}, onlyBind("web"), kubetest.Slice("web", at(1)...))
}

func TestAnUnknownOutcomeIsReadAndNotRepeated(t *testing.T) {
	inWorld(t, func(w *world) {
		w.run()
		w.pass(soon)
		w.cloud.take()
		lost := 1
		w.cloud.lose(func(text string) error {
			if strings.HasPrefix(text, "Register") && lost > 0 {
				lost--
				return refuse(lbsync.Unknown, "Register", "no answer")
			}
			return nil
		})
		w.put(kubetest.Node(4))
		w.pass(10 * time.Second)
		w.want("calls", texts(w.cloud.take()), []string{"Register lb-1 TCP:80/ins-00000004:30080=10", "Observe lb-1"})
		w.want("events", w.events("web"), []string{"EnsuringLoadBalancer", "EnsuredLoadBalancer", "SyncLoadBalancerFailed", "EnsuredLoadBalancer"})
	}, kubetest.Service("web"), kubetest.Slice("web", at(1)...))
}

func TestWhatIsKnownStaysKnownWhenCLBIsBusy(t *testing.T) {
	inWorld(t, func(w *world) {
		w.run()
		w.pass(soon)
		w.cloud.take()
		w.failing("Register", lbsync.Busy)
		w.put(kubetest.Node(4))
		w.pass(2 * time.Second)
		w.cloud.fail(nil)
		w.pass(10 * time.Second)
		register := "Register lb-1 TCP:80/ins-00000004:30080=10"
		w.want("no read between the tries", texts(w.cloud.take()), []string{register, register, register})
		w.want("events: it passed by itself", w.events("web"), []string{"EnsuringLoadBalancer", "EnsuredLoadBalancer", "UpdatedLoadBalancer"})
	}, kubetest.Service("web"), kubetest.Slice("web", at(1)...))
}

func TestAFailedPatchIsTriedAgain(t *testing.T) {
	inWorld(t, func(w *world) {
		left := 3
		w.client.PrependReactor("patch", "services", func(clienttesting.Action) (bool, runtime.Object, error) {
			if left--; left >= 0 {
				return true, nil, apierrors.NewConflict(resourceOf(&corev1.Service{}).GroupResource(), "web", fmt.Errorf("another version"))
			}
			return false, nil, nil
		})
		w.run()
		w.pass(time.Minute)
		w.want("status", len(w.service("web").Status.LoadBalancer.Ingress), 1)
		w.want("CLBs", w.cloud.created, 1)
	}, kubetest.Service("web"))
}

func TestAServiceThatIsGoneAlreadyGetsNoCLB(t *testing.T) {
	inWorld(t, func(w *world) {
		w.client.PrependReactor("patch", "services", func(clienttesting.Action) (bool, runtime.Object, error) {
			return true, nil, apierrors.NewNotFound(resourceOf(&corev1.Service{}).GroupResource(), "web")
		})
		w.run()
		w.pass(time.Minute)
		w.want("CLBs", w.cloud.created, 0)
		w.want("events", w.events("web"), []string(nil))
	}, kubetest.Service("web"))
}

func TestAnAddressIsMadeKnownThoughSomethingElseFails(t *testing.T) {
	inWorld(t, func(w *world) {
		w.failing("Register", lbsync.Quota)
		w.run()
		w.pass(time.Minute)
		w.want("status", len(w.service("web").Status.LoadBalancer.Ingress), 1)
		if got := w.message("web", "SyncLoadBalancerFailed"); !strings.Contains(got, "as the test wants it") {
			w.Errorf("the Event says %q, not what failed", got)
		}
	}, kubetest.Service("web"))
}

func TestAnAddressWhereNobodyListensIsNotMadeKnown(t *testing.T) {
	inWorld(t, func(w *world) {
		w.failing("CreateListeners", lbsync.Invalid)
		w.run()
		w.pass(time.Minute)
		w.want("status", len(w.service("web").Status.LoadBalancer.Ingress), 0)
		w.want("annotation", w.service("web").Annotations[annotation.LoadBalancerID], "lb-1")
	}, kubetest.Service("web"))
}

// life is a Service's: it is created, its pod moves, it is no load balancer any more. settle lets the world
// come to rest after each change.
func life(w *world, settle func()) {
	w.Helper()
	w.put(onlyBind("web"))
	w.put(kubetest.Slice("web", at(1)...))
	settle()
	w.wantCloud("created", "lb-1 of web\n  TCP:80 check HTTP:31000/healthz\n  TCP:80 ins-00000001:30080 weight 10\n")
	w.want("address", len(w.service("web").Status.LoadBalancer.Ingress), 1)
	w.put(kubetest.Slice("web", at(2)...))
	settle()
	w.wantCloud("moved", "lb-1 of web\n  TCP:80 check HTTP:31000/healthz\n  TCP:80 ins-00000002:30080 weight 10\n")
	w.edit("web", clusterIP)
	settle()
	w.wantCloud("deleted", "")
	w.want("finalizers", len(w.service("web").Finalizers), 0)
	w.want("CLBs ever created", w.cloud.created, 1)
}

func TestAControllerKilledAtAnyPointIsContinuedByTheNext(t *testing.T) {
	for point, reached := 1, true; reached; point++ {
		t.Run(fmt.Sprintf("before call %d", point), func(t *testing.T) {
			inWorld(t, func(w *world) {
				dead := false
				count := 0
				next := func() error {
					if count++; count == point {
						dead = true
					}
					if dead {
						return errCrash
					}
					return nil
				}
				w.cloud.fail(func(context.Context, string) error { return next() })
				w.client.PrependReactor("patch", "services", func(clienttesting.Action) (bool, runtime.Object, error) {
					err := next()
					return err != nil, nil, err
				})
				w.run()
				life(w, func() {
					w.pass(3 * time.Minute)
					if dead {
						w.stop()
						dead = false
						w.run()
						w.pass(3 * time.Minute)
					}
				})
				reached = count >= point
			})
		})
		if point > 100 {
			t.Fatal("a life takes more than 100 calls")
		}
	}
}

func TestAnAnswerThatIsLostAnywhereDoesNoHarm(t *testing.T) {
	for point, reached := 1, true; reached; point++ {
		t.Run(fmt.Sprintf("of call %d", point), func(t *testing.T) {
			inWorld(t, func(w *world) {
				count := 0
				w.cloud.lose(func(text string) error {
					if count++; count == point {
						return refuse(lbsync.Unknown, strings.Fields(text)[0], "no answer")
					}
					return nil
				})
				w.run()
				life(w, func() { w.pass(5 * time.Minute) })
				reached = count >= point
			})
		})
		if point > 100 {
			t.Fatal("a life takes more than 100 calls")
		}
	}
}

func TestWhatIsInFlightEndsBeforeTheController(t *testing.T) {
	inWorld(t, func(w *world) {
		w.cloud.took = 10 * time.Second
		w.run()
		w.pass(15 * time.Second) // in the middle of CreateLoadBalancer
		w.stop()
		w.wantCalls("the step that was begun is the last", "CreateLoadBalancer web")
		w.want("CLBs", len(w.cloud.clbs), 1)
		w.want("the ID is written down all the same", w.service("web").Annotations["service.kubernetes.io/loadbalance-id"], "lb-1")
	}, kubetest.Service("web"))
}

func TestTheControllerEndsThoughACallHangs(t *testing.T) {
	inWorld(t, func(w *world) {
		w.config.Grace = 5 * time.Second
		w.cloud.took = time.Hour
		w.run()
		w.pass(soon)
		begun := time.Now()
		w.stop()
		w.want("took", time.Since(begun), 5*time.Second)
	}, kubetest.Service("web"))
}
