// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/component-base/metrics/legacyregistry"

	"github.com/clbsync/clbsync/internal/kubetest"
	"github.com/clbsync/clbsync/lbsync"
	"github.com/clbsync/clbsync/lbsync/annotation"
)

// gauge returns the value of a gauge with one label.
func gauge(w *world, name, label string) float64 {
	w.Helper()
	all, err := legacyregistry.DefaultGatherer.Gather()
	if err != nil {
		w.Fatal(err)
	}
	for _, family := range all {
		for _, m := range family.Metric {
			if family.GetName() == name && m.Label[0].GetValue() == label {
				return m.GetGauge().GetValue()
			}
		}
	}
	return -1
}

func TestOrphansAreReportedAndLeftAlone(t *testing.T) {
	inWorld(t, func(w *world) {
		own := func(kind lbsync.OwnedKind, id, uid string) lbsync.Owned {
			return lbsync.Owned{Kind: kind, ID: id, Name: "cls-demo_default_" + uid, Owner: lbsync.Owner{ClusterID: "cls-demo", ServiceUID: uid}}
		}
		owned := []lbsync.Owned{own(lbsync.OwnedCLB, "lb-1", "web"), own(lbsync.OwnedCLB, "lb-9", "gone"), own(lbsync.OwnedSecurityGroup, "sg-9", "gone")}
		var fails error
		readings := 0
		var mu sync.Mutex // of the three
		locked := func(do func()) { mu.Lock(); defer mu.Unlock(); do() }
		w.config.Owned = func(context.Context, string) (found []lbsync.Owned, err error) {
			locked(func() { readings++; found, err = owned, fails })
			return found, err
		}
		w.config.About = &corev1.ObjectReference{Kind: "Lease", Namespace: "kube-system", Name: "leader"}
		w.run()
		w.pass(15 * time.Minute)
		w.want("one reading is no proof", len(w.events("leader")), 0)
		locked(func() { w.want("readings", readings, 1) })
		w.pass(15 * time.Minute)
		w.want("events", w.events("leader"), []string{"OrphansFound"})
		for _, part := range []string{"lb-9", "sg-9", "the UID gone", "kubectl clb orphans"} {
			if text := w.message("leader", "OrphansFound"); !strings.Contains(text, part) || strings.Contains(text, "lb-1") {
				w.Errorf("the Event says %q, want %q in it, and no lb-1", text, part)
			}
		}
		w.want("CLBs without a Service", gauge(w, "clbsync_orphans", "clb"), 1.0)
		w.want("groups without a Service", gauge(w, "clbsync_orphans", "security_group"), 1.0)
		w.pass(5 * time.Hour)
		w.want("it is said once", len(w.events("leader")), 1)
		locked(func() { fails = errors.New("the API is down") })
		w.pass(time.Hour)
		w.want("what cannot be read is as it was", gauge(w, "clbsync_orphans", "clb"), 1.0)
		locked(func() { fails, owned = nil, owned[:1] })
		w.pass(time.Hour)
		w.want("when they are gone", gauge(w, "clbsync_orphans", "clb"), 0.0)
		w.remove(w.service("web"))
		w.pass(2 * time.Hour)
		w.want("and another one", w.events("leader"), []string{"OrphansFound", "OrphansFound"})
	}, kubetest.Service("web"), kubetest.Service("other", clusterIP))
}

func TestOrphansAreLookedForInEveryRegionThatIsKnown(t *testing.T) {
	inWorld(t, func(w *world) {
		var bad atomic.Value // the region that cannot be asked
		w.config.Settings.OtherRegions = []string{"ap-beijing"}
		w.config.Owned = func(_ context.Context, region string) ([]lbsync.Owned, error) {
			if region == bad.Load() {
				return nil, errors.New("no such region")
			}
			return []lbsync.Owned{{Kind: lbsync.OwnedCLB, ID: "lb-" + region, Region: region, Owner: lbsync.Owner{ClusterID: "cls-demo", ServiceUID: "gone"}}}, nil
		}
		w.config.About = &corev1.ObjectReference{Kind: "Lease", Namespace: "kube-system", Name: "leader"}
		w.config.Regions = func(string) (Cloud, error) { return w.cloud, nil }
		w.run()
		w.pass(time.Hour)
		text := w.message("leader", "OrphansFound")
		for _, part := range []string{"3 left in the cloud", "CLB lb- ", "in ap-beijing", "in ap-shanghai"} {
			if !strings.Contains(text, part) {
				w.Errorf("the Event says %q, without %q", text, part)
			}
		}
		w.remove(w.service("web"))
		bad.Store("ap-shanghai")
		w.pass(time.Hour)
		w.want("what cannot be read is as it was, the Service whose region it is being gone", gauge(w, "clbsync_orphans", "clb"), 3.0)
	}, kubetest.Service("web", kubetest.Annotation(annotation.CrossRegion, "ap-shanghai")))
}

func TestACLBWhoseTagsAPersonTookOffIsLeftAlone(t *testing.T) {
	inWorld(t, func(w *world) {
		w.run()
		w.pass(soon)
		w.cloud.edit("lb-1", func(lb *lbsync.LoadBalancer) { delete(lb.Instance.Tags, lbsync.TagService) })
		before := w.cloud.text()
		w.cloud.take()
		w.delete("web")
		w.pass(time.Minute)
		w.want("finalizers", len(w.service("web").Finalizers), 0)
		w.wantCloud("what is not ours", before)
		w.wantCalls("no call that changes anything")
		for _, part := range []string{"lb-1", lbsync.TagService + "=web", "1 listeners"} {
			if text := w.message("web", eventLeft); !strings.Contains(text, part) {
				w.Errorf("the Event says %q, without %q", text, part)
			}
		}
	}, kubetest.Service("web"), kubetest.Slice("web", at(1)...))
}

func TestACLBThatSomebodyDeletedInTheConsoleIsGone(t *testing.T) {
	inWorld(t, func(w *world) {
		w.run()
		w.pass(soon)
		w.cloud.mu.Lock()
		delete(w.cloud.clbs, "lb-1")
		w.cloud.mu.Unlock()
		w.delete("web")
		w.pass(time.Minute)
		w.want("finalizers", len(w.service("web").Finalizers), 0)
		w.want("events", w.events("web"), []string{"EnsuringLoadBalancer", "EnsuredLoadBalancer"})
	}, kubetest.Service("web"))
}

func TestAServiceThatIsDeletedInTheMiddleOfACreationLeavesNothing(t *testing.T) {
	t.Run("by the same program", func(t *testing.T) {
		inWorld(t, func(w *world) {
			w.cloud.took = 30 * time.Second
			w.run()
			w.pass(40 * time.Second) // CreateLoadBalancer is under way
			w.delete("web")
			w.pass(5 * time.Minute)
			w.want("finalizers", len(w.service("web").Finalizers), 0)
			w.wantCloud("CLBs", "")
			w.want("made", w.cloud.created, 1)
		}, kubetest.Service("web"))
	})
	t.Run("by the next one, before the CLB is listed", func(t *testing.T) {
		inWorld(t, func(w *world) {
			svc := w.service("web")
			svc.Finalizers = []string{finalizerStock}
			now := metav1.Now()
			svc.DeletionTimestamp = &now
			w.put(svc)
			w.run()
			w.pass(soon)
			w.want("it stays for a moment", len(w.service("web").Finalizers), 1)
			owner := lbsync.Owner{ClusterID: "cls-demo", ServiceUID: "web"}
			if _, err := w.cloud.CreateLoadBalancer(w.Context(), lbsync.Instance{Owner: owner}); err != nil {
				w.Fatal(err)
			}
			w.pass(time.Minute)
			w.wantCloud("CLBs", "")
			w.want("finalizers", len(w.service("web").Finalizers), 0)
		}, kubetest.Service("web"))
	})
}

func TestADeletionThatIsHeldUpSaysWhyOnTheObject(t *testing.T) {
	for _, kind := range []lbsync.Kind{lbsync.Unknown, lbsync.Throttled, lbsync.Busy, lbsync.Conflict, lbsync.Invalid, lbsync.Quota, lbsync.Denied} {
		for _, call := range []string{"Find web", "Observe", "DeleteListeners", "DeleteLoadBalancer"} {
			t.Run(call+" "+kind.String(), func(t *testing.T) {
				inWorld(t, func(w *world) {
					w.run()
					w.pass(soon)
					w.failing(call, kind)
					w.delete("web")
					w.pass(20 * time.Minute)
					w.want("finalizers", len(w.service("web").Finalizers), 1)
					if text := w.message("web", eventFailed); !strings.Contains(text, "as the test wants it") {
						w.Errorf("the Event says %q", text)
					}
					if got := w.condition("web", lbsync.ConditionSynced); !strings.HasPrefix(got, "False ") {
						w.Errorf("the condition is %q", got)
					}
					w.cloud.fail(nil)
					w.pass(20 * time.Minute)
					w.want("finalizers in the end", len(w.service("web").Finalizers), 0)
					w.wantCloud("CLBs", "")
				}, kubetest.Service("web"))
			})
		}
	}
}
