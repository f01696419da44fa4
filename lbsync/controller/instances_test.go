// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"errors"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/clbsync/clbsync/internal/kubetest"
)

// unnamed takes away what names the instance of a node.
func unnamed(n *corev1.Node) { n.Spec.ProviderID = "k3s://" + n.Name }

func TestANodeThatDoesNotNameItsInstanceIsLookedUp(t *testing.T) {
	inWorld(t, func(w *world) {
		var lookups atomic.Int32
		w.config.Instances = func(_ context.Context, addr netip.Addr) (string, bool, error) {
			lookups.Add(1)
			return "ins-looked4up", addr == netip.MustParseAddr("10.0.0.4"), nil
		}
		w.put(kubetest.Node(4, unnamed))
		w.run()
		w.pass(time.Minute)
		w.wantCloud("bound", `
lb-1 of web
  TCP:80 check TCP
  TCP:80 ins-00000001:30080 weight 10
  TCP:80 ins-00000002:30080 weight 10
  TCP:80 ins-00000003:30080 weight 10
  TCP:80 ins-looked4up:30080 weight 10
`)
		w.want("one lookup", int(lookups.Load()), 1)
	}, kubetest.Service("web"))
}

func TestALookupThatFailsBlocksNobodyAndCostsNoTarget(t *testing.T) {
	inWorld(t, func(w *world) {
		var refused atomic.Bool
		w.config.Instances = func(context.Context, netip.Addr) (string, bool, error) {
			if refused.Load() {
				return "", false, errors.New("connection refused")
			}
			return "ins-00000009", true, nil
		}
		w.put(kubetest.Node(9, unnamed))
		w.run()
		w.pass(time.Minute)
		w.cloud.take()
		refused.Store(true)
		w.run() // and knows nothing of n9 any more
		w.pass(time.Hour)
		w.wantCalls("the target of the node stays")
		w.put(kubetest.Node(4))
		w.remove(kubetest.Node(3))
		w.pass(5 * time.Minute)
		w.wantCalls("others come and go, but what may be the node's stays",
			"Register lb-1 TCP:80/ins-00000004:30080=10")
		refused.Store(false)
		w.pass(10 * time.Minute)
		w.wantCalls("answered at last", "Reweight lb-1 TCP:80/ins-00000003:30080=0", "Deregister lb-1 TCP:80/ins-00000003:30080=0")
	}, kubetest.Service("web"))
}

func TestANodeKeepsItsLastKnownInstance(t *testing.T) {
	inWorld(t, func(w *world) {
		var gone atomic.Bool
		w.config.Instances = func(context.Context, netip.Addr) (string, bool, error) {
			if gone.Load() {
				return "", false, nil
			}
			return "ins-00000009", true, nil
		}
		w.put(kubetest.Node(9, unnamed))
		w.run()
		w.pass(time.Minute)
		w.cloud.take()
		gone.Store(true)
		w.put(kubetest.Node(9, unnamed, func(n *corev1.Node) { n.Status.Addresses[0].Address = "10.0.0.99" }))
		w.pass(time.Hour)
		w.wantCalls("another address, of no instance")
		w.remove(kubetest.Node(9))
		w.pass(5 * time.Minute)
		w.wantCalls("the node is gone", "Reweight lb-1 TCP:80/ins-00000009:30080=0", "Deregister lb-1 TCP:80/ins-00000009:30080=0")
	}, kubetest.Service("web"))
}

func TestANodeWithoutAnInstanceIsLookedUpAgain(t *testing.T) {
	inWorld(t, func(w *world) {
		var there atomic.Bool
		w.config.Instances = func(context.Context, netip.Addr) (string, bool, error) { return "ins-00000009", there.Load(), nil }
		w.put(kubetest.Node(9, unnamed))
		w.run()
		w.pass(10 * time.Second)
		w.want("targets", w.targets("lb-1"), 3)
		there.Store(true)
		w.pass(2 * time.Minute)
		w.want("targets", w.targets("lb-1"), 4)
	}, kubetest.Service("web"))
}

func TestAnAnswerAboutAnAddressThatTheNodeHasNoMoreIsForgotten(t *testing.T) {
	inWorld(t, func(w *world) {
		w.config.Instances = func(_ context.Context, addr netip.Addr) (string, bool, error) {
			<-time.After(time.Second)
			if addr == netip.MustParseAddr("10.0.0.9") {
				return "ins-00000009", true, nil
			}
			<-time.After(time.Hour)
			return "ins-00000099", true, nil
		}
		w.put(kubetest.Node(9, unnamed))
		w.run()
		w.pass(500 * time.Millisecond)
		w.put(kubetest.Node(9, unnamed, func(n *corev1.Node) { n.Status.Addresses[0].Address = "10.0.0.99" }))
		w.pass(time.Minute)
		w.want("targets: the answer was about the old address", w.targets("lb-1"), 3)
		w.pass(2 * time.Hour)
		w.want("targets", w.targets("lb-1"), 4)
	}, kubetest.Service("web"))
}
