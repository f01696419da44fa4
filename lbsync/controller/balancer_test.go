// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"strings"
	"testing"
	"time"

	"github.com/clbsync/clbsync/internal/kubetest"
	"github.com/clbsync/clbsync/lbsync"
	"github.com/clbsync/clbsync/lbsync/annotation"
)

func TestEnsureWaitsForTheOutcome(t *testing.T) {
	inWorld(t, func(w *world) {
		w.cloud.took = time.Second
		w.run()
		w.pass(soon)
		status, err := w.now.Ensure(w.Context(), w.service("web"))
		if err != nil || len(status.Ingress) != 1 || status.Ingress[0].IP != "203.0.113.1" {
			w.Errorf("got %v, %v, want 203.0.113.1", status, err)
		}
		w.want("CLBs", w.cloud.created, 1)
		_, exists, err := w.now.Get(w.Context(), w.service("web"))
		w.want("exists", exists, true)
		w.want("error", err, nil)
	}, kubetest.Service("web"))
}

func TestEnsureSaysWhyThereIsNoCLB(t *testing.T) {
	inWorld(t, func(w *world) {
		w.failing("CreateLoadBalancer denied", lbsync.Denied)
		w.cloud.lose(func(text string) error {
			if text == "Find slow" {
				<-time.After(time.Hour)
			}
			return nil
		})
		w.config.Wait, w.config.Grace = time.Minute, time.Second
		w.run()
		for name, want := range map[string]string{
			"denied": "as the test wants it",
			"bad":    annotation.InternalSubnet,
			"slow":   "no outcome within 1m0s",
			"no":     "its type is ClusterIP",
		} {
			_, err := w.now.Ensure(w.Context(), w.service(name))
			if err == nil || !strings.Contains(err.Error(), want) {
				w.Errorf("Ensure of %s: got %v, want it to say %q", name, err, want)
			}
		}
	}, kubetest.Service("denied"), kubetest.Service("slow"), kubetest.Service("bad", kubetest.Annotation(annotation.InternalSubnet, "?")), kubetest.Service("no", clusterIP))
}

func TestDeleteWaitsUntilTheCLBIsGone(t *testing.T) {
	inWorld(t, func(w *world) {
		w.run()
		w.pass(soon)
		w.failing("DeleteLoadBalancer", lbsync.Denied)
		w.delete("web")
		if err := w.now.Delete(w.Context(), w.service("web")); err == nil {
			w.Error("Delete is content with a CLB that cannot be deleted")
		}
		_, exists, _ := w.now.Get(w.Context(), w.service("web"))
		w.want("a half-deleted CLB exists", exists, true)
		w.cloud.fail(nil)
		w.want("error", w.now.Delete(w.Context(), w.service("web")), nil)
		w.wantCloud("CLBs", "")
	}, kubetest.Service("web"))
}

func TestDeleteDoesNotNeedTheServiceToBeThere(t *testing.T) {
	inWorld(t, func(w *world) {
		w.run()
		w.pass(soon)
		svc := w.service("web")
		w.stop()
		w.remove(svc)
		w.run()
		w.pass(soon)
		w.want("error", w.now.Delete(w.Context(), svc), nil)
		w.wantCloud("CLBs", "")
	}, kubetest.Service("web"))
}

func TestDeleteLeavesANewServiceOfTheSameNameAlone(t *testing.T) {
	inWorld(t, func(w *world) {
		w.run()
		w.pass(soon)
		old := w.service("web")
		old.UID = "older"
		w.want("error", w.now.Delete(w.Context(), old), nil)
		w.pass(soon)
		w.want("CLBs", len(w.cloud.clbs), 1)
		w.want("ever", w.cloud.created, 1)
	}, kubetest.Service("web"))
}

func TestADryRunWritesNothing(t *testing.T) {
	inWorld(t, func(w *world) {
		w.config.DryRun = true
		w.run()
		w.pass(time.Hour)
		w.want("calls", len(w.cloud.take("Find", "Observe")), 0)
		w.want("writes", w.writes(), []string(nil))
		w.want("plan", w.message("web", "Plan"), strings.TrimSpace(`
+ clb "cls-demo_default_web" public
+ listener TCP:80 check TCP 5s×3/3
+ target TCP:80 ins-00000001:30080 weight 10
+ target TCP:80 ins-00000002:30080 weight 10
+ target TCP:80 ins-00000003:30080 weight 10`))
	}, kubetest.Service("web"))
}

func TestADryRunShowsADeletionAndLeavesItToOthers(t *testing.T) {
	inWorld(t, func(w *world) {
		w.run()
		w.pass(soon)
		w.cloud.take()
		w.writes()
		w.config.DryRun = true
		w.run()
		w.pass(soon)
		w.want("no plan where nothing is to change", w.events("web"), []string{"EnsuringLoadBalancer", "EnsuredLoadBalancer"})
		w.delete("web")
		w.pass(time.Hour)
		w.wantCalls("calls")
		w.want("writes", w.writes(), []string(nil))
		w.want("plan", w.message("web", "Plan"), "- listener TCP:80\n- clb lb-1")
		w.want("finalizers", len(w.service("web").Finalizers), 1)
	}, kubetest.Service("web"), kubetest.Slice("web", at(1)...))
}

func TestAnIncompleteConfigurationIsRefusedAtOnce(t *testing.T) {
	_, err := New(Config{Workers: -1, Verify: -time.Second})
	if err == nil {
		t.Fatal("accepted")
	}
	for _, want := range []string{"Client", "Informers", "Cloud", "Settings.ClusterID", "Workers is -1", "Verify is -1s"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q does not name %s", err, want)
		}
	}
}
