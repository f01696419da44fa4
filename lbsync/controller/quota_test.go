// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/clbsync/clbsync/internal/kubetest"
	"github.com/clbsync/clbsync/lbsync"
	"github.com/clbsync/clbsync/lbsync/annotation"
)

func (w *world) targets(id string) int {
	w.cloud.mu.Lock()
	defer w.cloud.mu.Unlock()
	return len(w.cloud.clbs[id].Targets)
}

func TestTheTargetQuotaIsKeptFromTheFirstPlanOn(t *testing.T) {
	inWorld(t, func(w *world) {
		var quota atomic.Int64
		quota.Store(2)
		w.config.TargetQuota = func(context.Context) (int, error) {
			<-time.After(time.Second)
			return int(quota.Load()), nil
		}
		w.run()
		w.pass(time.Minute)
		w.want("targets", w.targets("lb-1"), 2)
		quota.Store(100)
		w.pass(20 * time.Minute)
		w.want("targets, once there may be more", w.targets("lb-1"), 3)
	}, kubetest.Service("web"), kubetest.Slice("web", at(1)...))
}

func TestAQuotaThatCannotBeReadStopsNobody(t *testing.T) {
	inWorld(t, func(w *world) {
		var allowed atomic.Bool
		w.config.TargetQuota = func(ctx context.Context) (int, error) {
			if allowed.Load() {
				return 2, nil
			}
			<-ctx.Done()
			return 0, errors.New("not allowed")
		}
		w.config.Verify = 24 * time.Hour
		w.run()
		w.pass(30 * time.Second)
		w.want("targets", w.targets("lb-1"), 3)
		allowed.Store(true)
		w.pass(10 * time.Minute)
		w.want("targets, once it can be read", w.targets("lb-1"), 2)
	}, kubetest.Service("web"), kubetest.Slice("web", at(1)...))
}

func TestAHeldRemovalIsToldAndReleased(t *testing.T) {
	lost := func(n *corev1.Node) { n.Status.Conditions[0].Status = corev1.ConditionUnknown }
	inWorld(t, func(w *world) {
		w.config.Settings.NotReady = lbsync.RemoveNotReady
		w.run()
		w.pass(time.Minute)
		w.cloud.take()
		w.put(kubetest.Node(1, lost))
		w.put(kubetest.Node(2, lost))
		w.pass(5 * time.Minute)
		w.wantCalls("while it is held")
		w.want("events", w.events("web"), []string{"EnsuringLoadBalancer", "EnsuredLoadBalancer", "RemovalHeld"})
		w.edit("web", kubetest.Annotation(annotation.AllowRemoval, "true"))
		w.pass(time.Minute)
		w.wantCalls("released by a person", "Reweight lb-1 TCP:80/ins-00000001:30080=0 TCP:80/ins-00000002:30080=0", "Deregister lb-1 TCP:80/ins-00000001:30080=0 TCP:80/ins-00000002:30080=0")
	}, kubetest.Service("web"), kubetest.Slice("web", at(3)...))
}

func TestAHeldRemovalIsReleasedByTime(t *testing.T) {
	lost := func(n *corev1.Node) { n.Status.Conditions[0].Status = corev1.ConditionUnknown }
	inWorld(t, func(w *world) {
		w.config.Settings.NotReady = lbsync.RemoveNotReady
		w.run()
		w.pass(time.Minute)
		w.put(kubetest.Node(1, lost))
		w.put(kubetest.Node(2, lost))
		w.pass(9 * time.Minute)
		w.want("targets", w.targets("lb-1"), 3)
		w.pass(5 * time.Minute)
		w.want("targets", w.targets("lb-1"), 1)
	}, kubetest.Service("web"), kubetest.Slice("web", at(3)...))
}

func TestAListenerOfSomebodyElseIsLeftAloneAndNamed(t *testing.T) {
	inWorld(t, func(w *world) {
		w.run()
		w.pass(time.Minute)
		by := lbsync.ListenerKey{Protocol: lbsync.TCP, Port: 443}
		w.cloud.edit("lb-1", func(lb *lbsync.LoadBalancer) {
			lb.Listeners[by] = lbsync.Listener{ListenerKey: by, ID: "lbl-hand", Name: "by hand"}
		})
		w.pass(20 * time.Minute) // and verification sees it
		w.cloud.take()
		w.edit("web", func(s *corev1.Service) {
			s.Spec.Ports = append(s.Spec.Ports, corev1.ServicePort{Name: "https", Protocol: corev1.ProtocolTCP, Port: 443, NodePort: 30443})
		})
		w.pass(time.Minute)
		w.wantCalls("nothing can be done")
		w.want("events", w.events("web"), []string{"EnsuringLoadBalancer", "EnsuredLoadBalancer", "PortTaken"})
	}, kubetest.Service("web"), kubetest.Slice("web", at(1)...))
}
