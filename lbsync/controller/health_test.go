// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/apimachinery/pkg/runtime"

	"github.com/clbsync/clbsync/internal/kubetest"
	"github.com/clbsync/clbsync/lbsync"
)

// manyOnlyBind returns Services web-0, web-1 … whose pods are on node n1.
func manyOnlyBind(count int) []runtime.Object {
	var all []runtime.Object
	for i := range count {
		name := fmt.Sprintf("web-%d", i)
		svc := onlyBind(name)
		svc.Spec.Ports[0].NodePort += int32(i)
		all = append(all, svc, kubetest.Slice(name, at(1)...))
	}
	return all
}

func TestCLBsThatWaitForHealthShareRequests(t *testing.T) {
	const services = 60
	inWorld(t, func(w *world) {
		w.run()
		w.pass(time.Minute)
		w.cloud.take()
		for i := range services {
			w.put(kubetest.Slice(fmt.Sprintf("web-%d", i), at(2)...))
			w.pass(20 * time.Millisecond) // and so each begins to wait at another time
		}
		w.pass(20 * time.Second)
		requests, asked, drained := 0, map[string]bool{}, 0
		for _, text := range texts(w.cloud.take()) {
			fields := strings.Fields(text)
			switch fields[0] {
			case "Health":
				requests++
				for _, id := range fields[1:] {
					asked[id] = true
				}
			case "Reweight":
				drained++
			}
		}
		// 15 s until a target is healthy, a poll each 2 s, and 32 workers, who ask together.
		if requests > 25 || len(asked) != services || drained != services {
			t.Errorf("%d requests for %d CLBs, of which %d gave up their old target; want at most 25 for all %d", requests, len(asked), drained, services)
		}
	}, manyOnlyBind(services)...)
}

func TestACLBThatIsGoneDoesNotHoldUpTheOthersOfItsRequest(t *testing.T) {
	inWorld(t, func(w *world) {
		w.run()
		w.pass(time.Minute)
		for i := range 2 {
			w.put(kubetest.Slice(fmt.Sprintf("web-%d", i), at(2)...))
		}
		w.pass(soon)
		w.cloud.mu.Lock()
		var gone, other string
		for id, lb := range w.cloud.clbs {
			if lb.Instance.Tags[lbsync.TagService] == "web-0" {
				gone = id
			} else {
				other = id
			}
		}
		delete(w.cloud.clbs, gone)
		w.cloud.mu.Unlock()
		w.cloud.take()
		w.pass(20 * time.Second)
		drained := false
		for _, text := range texts(w.cloud.take()) {
			drained = drained || strings.HasPrefix(text, "Reweight "+other+" ")
		}
		if !drained {
			t.Errorf("%s does not give up its old target", other)
		}
		w.want("events of the other", w.events("web-1"), []string{"EnsuringLoadBalancer", "EnsuredLoadBalancer"})
		w.want("CLBs made, one anew", w.cloud.created, 3)
	}, manyOnlyBind(2)...)
}

func TestHealthsTellsEachWhatIsIts(t *testing.T) {
	refused := &lbsync.Error{Kind: lbsync.Denied, Err: errors.New("no")}
	for _, test := range []struct {
		name  string
		err   error
		wants map[string]any // nil, or the Kind of the error, by CLB
	}{
		{"one that is not in the answer is gone", nil, map[string]any{"lb-1": nil, "lb-2": lbsync.NotFound}},
		{"a failure is of those that were not read", refused, map[string]any{"lb-1": nil, "lb-2": lbsync.Denied}},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				requests := 0
				h := &healths{read: func(context.Context, []string) (map[string]map[lbsync.Binding]lbsync.Health, error) {
					requests++
					return map[string]map[lbsync.Binding]lbsync.Health{"lb-1": {}}, test.err
				}}
				for id, want := range test.wants {
					go func() {
						var got any
						if _, err := h.of(t.Context(), id); err != nil {
							got = lbsync.KindOf(err)
						}
						if got != want {
							t.Errorf("%s: got %v, want %v", id, got, want)
						}
					}()
				}
				<-time.After(time.Second)
				synctest.Wait()
				if requests != 1 {
					t.Errorf("%d requests, want 1", requests)
				}
			})
		})
	}
	t.Run("who gives up waits no longer, and leaves room for the next", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			h := &healths{read: func(ctx context.Context, _ []string) (map[string]map[lbsync.Binding]lbsync.Health, error) {
				return map[string]map[lbsync.Binding]lbsync.Health{"lb-1": {}}, ctx.Err()
			}}
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			begun := time.Now()
			if _, err := h.of(ctx, "lb-2"); !errors.Is(err, context.Canceled) || time.Since(begun) > 0 {
				t.Errorf("got %v after %s", err, time.Since(begun))
			}
			if _, err := h.of(t.Context(), "lb-1"); err != nil {
				t.Errorf("the next got %v", err)
			}
		})
	})
}

func TestPollsFallTogether(t *testing.T) {
	start := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, test := range []struct{ now, want time.Duration }{
		{0, 2 * time.Second}, {900 * time.Millisecond, 1100 * time.Millisecond}, {1100 * time.Millisecond, 2900 * time.Millisecond}, {2 * time.Second, 2 * time.Second},
	} {
		if got := untilPoll(start.Add(test.now), 2*time.Second); got != test.want {
			t.Errorf("at %s the next poll is in %s, want %s", test.now, got, test.want)
		}
	}
}
