// SPDX-License-Identifier: Apache-2.0

package clb

import (
	"fmt"
	"slices"
	"testing"

	"github.com/clbsync/clbsync/clbsim/admin"
	"github.com/clbsync/clbsync/lbsync"
)

func TestDeletionOfALoadBalancer(t *testing.T) {
	t.Run("one whose tags do not prove ownership is left alone", func(t *testing.T) {
		simulated(t, nil, func(t *testing.T, w world) {
			lb := w.create(public())
			for _, o := range []lbsync.Owner{{}, {ClusterID: "cls-demo", ServiceUID: "other"}, {ClusterID: "cls-other", ServiceUID: owner.ServiceUID}} {
				before := len(w.writes())
				// What the caller believes of the tags does not count.
				err := w.DeleteLoadBalancer(t.Context(), lbsync.Instance{ID: lb.ID, Owner: o, Tags: o.Tags()})
				if lbsync.KindOf(err) != lbsync.Denied || len(w.writes()) != before {
					t.Errorf("%+v: %v after %v", o, err, w.writes()[before:])
				}
			}
		})
	})
	t.Run("protection is turned off on ours", func(t *testing.T) {
		simulated(t, nil, func(t *testing.T, w world) {
			lb := w.create(public())
			w.console("ModifyLoadBalancerAttributes", map[string]any{"LoadBalancerId": lb.ID, "DeleteProtect": true})
			if err := w.DeleteLoadBalancer(t.Context(), lb); err != nil || len(w.state().LoadBalancers) != 0 {
				t.Errorf("%v; left: %+v", err, w.state().LoadBalancers)
			}
		})
	})
	t.Run("protection stays on somebody else's", func(t *testing.T) {
		simulated(t, nil, func(t *testing.T, w world) {
			lb := w.create(public())
			w.console("ModifyLoadBalancerAttributes", map[string]any{"LoadBalancerId": lb.ID, "DeleteProtect": true})
			lb.Owner.ServiceUID = "other"
			if err := w.DeleteLoadBalancer(t.Context(), lb); err == nil || !w.state().LoadBalancers[0].DeleteProtect {
				t.Errorf("%v; left: %+v", err, w.state().LoadBalancers)
			}
		})
	})
	t.Run("one that is gone is success", func(t *testing.T) {
		simulated(t, nil, func(t *testing.T, w world) {
			lb := w.create(public())
			w.deleteByHand(lb.ID)
			if err := w.DeleteLoadBalancer(t.Context(), lb); err != nil {
				t.Error(err)
			}
		})
	})
	t.Run("one that goes while it is looked at is success", func(t *testing.T) {
		simulated(t, nil, func(t *testing.T, w world) {
			lb := w.create(public())
			w.fault(admin.Fault{Action: "DeleteLoadBalancer", Kind: admin.KindError, Code: "InvalidParameter.LBIdNotFound"})
			if err := w.DeleteLoadBalancer(t.Context(), lb); err != nil {
				t.Error(err)
			}
		})
	})
	t.Run("CLB's guard for one with many targets is explained, not forced", func(t *testing.T) {
		simulated(t, nil, func(t *testing.T, w world) {
			want := desired([]lbsync.Listener{ours(key(lbsync.TCP, 80), tcpCheck, 0)})
			for n := range 20 {
				want.Targets[lbsync.Binding{Listener: key(lbsync.TCP, 80), Target: onInstance(fmt.Sprintf("ins-%08d", n), 30080)}] = 10
			}
			now := w.reach(lbsync.LoadBalancer{}, want)
			now.Instance.Owner = owner
			err := w.DeleteLoadBalancer(t.Context(), now.Instance)
			if e := asError(t, err); e.Kind != lbsync.Denied || e.Hint == "" {
				t.Errorf("got %+v", e)
			}
			if slices.Contains(w.writes(), "DeleteLoadBalancer") {
				t.Error("it was forced")
			}
		})
	})
}

func TestDeletionOfListeners(t *testing.T) {
	setup := func(t *testing.T, w world, n int) (string, []lbsync.Listener) {
		t.Helper()
		var listeners []lbsync.Listener
		for i := range n {
			listeners = append(listeners, ours(key(lbsync.TCP, uint16(8000+i)), tcpCheck, 0))
		}
		now := w.reach(lbsync.LoadBalancer{}, desired(listeners))
		for i, l := range listeners {
			listeners[i] = now.Listeners[l.ListenerKey]
		}
		return now.Instance.ID, listeners
	}
	left := func(t *testing.T, w world, id string, want int) {
		t.Helper()
		if now := w.observe(id); len(now.Listeners) != want {
			t.Errorf("left: %v, want %d", now.Listeners, want)
		}
	}
	t.Run("45 go in three requests, and a person's stays", func(t *testing.T) {
		simulated(t, nil, func(t *testing.T, w world) {
			id, listeners := setup(t, w, 45)
			w.console("CreateListener", map[string]any{"LoadBalancerId": id, "Ports": []int{22}, "Protocol": "TCP", "ListenerNames": []string{"by-hand"}})
			before := len(w.writes())
			if err := w.DeleteListeners(t.Context(), id, listeners); err != nil {
				t.Fatal(err)
			}
			if n := len(w.writes()) - before; n != 3 {
				t.Errorf("%d requests", n)
			}
			seen := w.observe(id)
			if l := seen.Listeners[key(lbsync.TCP, 22)]; len(seen.Listeners) != 1 || l.Name != "by-hand" || l.Ours() {
				t.Errorf("left: %+v", seen.Listeners)
			}
		})
	})
	t.Run("some that are gone do not keep the others", func(t *testing.T) {
		simulated(t, nil, func(t *testing.T, w world) {
			id, listeners := setup(t, w, 30)
			for _, n := range []int{0, 7, 25} {
				w.console("DeleteListener", map[string]any{"LoadBalancerId": id, "ListenerId": listeners[n].ID})
			}
			if err := w.DeleteListeners(t.Context(), id, listeners); err != nil {
				t.Fatal(err)
			}
			left(t, w, id, 0)
		})
	})
	t.Run("if all are gone, the one that is still needed stays", func(t *testing.T) {
		simulated(t, nil, func(t *testing.T, w world) {
			id, listeners := setup(t, w, 3)
			for _, l := range listeners[:2] {
				w.console("DeleteListener", map[string]any{"LoadBalancerId": id, "ListenerId": l.ID})
			}
			if err := w.DeleteListeners(t.Context(), id, listeners[:2]); err != nil {
				t.Fatal(err)
			}
			left(t, w, id, 1)
		})
	})
	t.Run("with the CLB gone there is nothing to do", func(t *testing.T) {
		simulated(t, nil, func(t *testing.T, w world) {
			id, listeners := setup(t, w, 2)
			w.deleteByHand(id)
			if err := w.DeleteListeners(t.Context(), id, listeners); err != nil {
				t.Error(err)
			}
		})
	})
	t.Run("what is wrong for another reason is told, once", func(t *testing.T) {
		simulated(t, nil, func(t *testing.T, w world) {
			id, listeners := setup(t, w, 2)
			w.fault(admin.Fault{Action: "DeleteLoadBalancerListeners", Kind: admin.KindError, Code: "InvalidParameter", Message: "no"})
			if err := w.DeleteListeners(t.Context(), id, listeners); lbsync.KindOf(err) != lbsync.Invalid {
				t.Errorf("got %v", err)
			}
			left(t, w, id, 2)
		})
	})
}
