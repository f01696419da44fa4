// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/clbsync/clbsync/internal/kubetest"
	"github.com/clbsync/clbsync/lbsync"
)

func TestLanesLeaveWorkersForWhatIsUrgent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		urgent := map[string]bool{}
		l := newLanes(1, func(k key) lbsync.Priority {
			if urgent[k.Name] {
				return lbsync.Urgent
			}
			return lbsync.Normal
		})
		got := make(chan string, 10)
		for range 3 {
			go func() {
				for {
					k, down := l.Get()
					if down {
						return
					}
					got <- k.Name
				}
			}()
		}
		add := func(name string) { l.Add(key{Name: name}) }
		want := func(why, name string) {
			t.Helper()
			synctest.Wait()
			now := ""
			select {
			case now = <-got:
			default:
			}
			if now != name {
				t.Errorf("%s: a worker gets %q, want %q", why, now, name)
			}
		}
		add("a")
		want("the first", "a")
		add("b")
		add("a")
		want("the place for what is not urgent is taken", "")
		urgent["b"], urgent["c"] = true, true
		add("c")
		want("an urgent one", "c")
		add("b")
		want("one that becomes urgent while it waits", "b")
		l.Done(key{Name: "a"})
		want("one that was added while it was worked on", "a")
		for _, name := range []string{"a", "b", "c"} {
			l.Done(key{Name: name})
		}
		want("nothing is left", "")
		l.ShutDownWithDrain()
	})
}

// Eighty CLBs whose targets change, four at once, keep all workers busy for ten seconds. A pod that moves meanwhile does
// not wait for them.
func TestAPodThatMovesOvertakesAChangeOfAllCLBs(t *testing.T) {
	var objects []runtime.Object
	for i := range 80 {
		objects = append(objects, kubetest.Service(fmt.Sprintf("s%03d", i)))
	}
	objects = append(objects, onlyBind("web"), kubetest.Slice("web", at(1)...))
	inWorld(t, func(w *world) {
		w.config.Workers, w.config.Verify = 4, 1000*time.Hour
		w.run()
		w.pass(5 * time.Minute)
		w.cloud.took = 500 * time.Millisecond // a call: four at once are eight a second
		w.cloud.take()
		w.put(kubetest.Node(4))
		w.pass(3 * time.Second)
		moved := time.Now()
		w.put(kubetest.Slice("web", at(2)...))
		w.pass(time.Second)
		before := 0
		for _, c := range w.cloud.take() {
			if strings.Contains(c.text, "Register") && strings.Contains(c.text, "ins-00000002") {
				if waited := c.at.Sub(moved); waited > 60*time.Millisecond {
					t.Errorf("the pod's node was asked for after %s, want no more than the gathering window", waited)
				}
				moved = time.Time{}
			}
			before++
		}
		if !moved.IsZero() || before > 50 {
			t.Errorf("after %d calls the pod's node was not asked for, or nothing was in its way", before)
		}
		w.pass(time.Minute)
		w.want("all nodes are bound in the end", len(strings.Split(strings.Join(texts(w.cloud.take()), " "), "ins-00000004")) > 30, true)
	}, objects...)
}

func TestCallsCarryThePriorityOfTheirReason(t *testing.T) {
	inWorld(t, func(w *world) {
		var all sync.Map // by the call's text
		w.cloud.fail(func(ctx context.Context, text string) error {
			all.Store(text, lbsync.PriorityOf(ctx))
			return nil
		})
		seen := func(text string) any {
			p, _ := all.Load(text)
			return p
		}
		w.run()
		w.pass(soon)
		w.put(kubetest.Slice("web", at(2)...))
		w.pass(time.Minute)
		w.put(kubetest.Service("dns", func(s *corev1.Service) { s.Spec.Ports[0].NodePort = 30053 }))
		w.pass(soon)
		w.want("reading at the start", seen("CreateLoadBalancer web"), lbsync.Background)
		w.want("a pod that moves", seen("Register lb-1 TCP:80/ins-00000002:30080=10"), lbsync.Urgent)
		w.want("the end of its handover", seen("Deregister lb-1 TCP:80/ins-00000001:30080=0"), lbsync.Urgent)
		w.want("a new Service", seen("CreateLoadBalancer dns"), lbsync.Normal)
		w.pass(20 * time.Minute)
		w.want("verification", seen("Observe lb-1"), lbsync.Background)
	}, onlyBind("web"), kubetest.Slice("web", at(1)...))
}
