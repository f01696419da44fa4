// SPDX-License-Identifier: Apache-2.0

package clb

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"testing"
	"time"

	clbapi "github.com/tencentcloud/tencentcloud-sdk-go/tencentcloud/clb/v20180317"

	"github.com/google/go-cmp/cmp"

	"github.com/clbsync/clbsync/clbsim"
	"github.com/clbsync/clbsync/clbsim/admin"
	"github.com/clbsync/clbsync/lbsync"
)

func TestHealth(t *testing.T) {
	t.Run("every state of a target", func(t *testing.T) {
		simulated(t, nil, func(t *testing.T, w world) {
			probed := desired([]lbsync.Listener{ours(key(lbsync.TCP, 80), tcpCheck, 0)}, onInstance("ins-00000000", 30080), onInstance("ins-00000001", 30080), onAddress("10.0.3.7", 30080))
			unprobed := desired([]lbsync.Listener{ours(key(lbsync.TCP, 81), lbsync.HealthCheck{}, 0)}, onInstance("ins-00000002", 30081))
			maps.Copy(unprobed.Listeners, probed.Listeners)
			maps.Copy(unprobed.Targets, probed.Targets)
			now := w.reach(lbsync.LoadBalancer{}, unprobed)
			if err := w.adm.OverrideHealth(t.Context(), admin.Override{Instance: "ins-00000001", State: "down"}); err != nil {
				t.Fatal(err)
			}
			read := func() map[string]lbsync.Health {
				t.Helper()
				got, err := w.Health(t.Context(), []string{now.Instance.ID})
				if err != nil {
					t.Fatal(err)
				}
				out := map[string]lbsync.Health{}
				for b, h := range got[now.Instance.ID] {
					if _, ok := now.Targets[b]; !ok {
						t.Errorf("%s is not a target", b)
					}
					out[b.Target.Host()] = h
				}
				return out
			}
			if got := read()["ins-00000000"]; got != lbsync.HealthUnknown {
				t.Errorf("a new target is %s before its probes are done", got)
			}
			<-time.After(time.Minute)
			want := map[string]lbsync.Health{"ins-00000000": lbsync.Healthy, "ins-00000001": lbsync.Unhealthy, "10.0.3.7": lbsync.Healthy, "ins-00000002": lbsync.HealthOff}
			if diff := cmp.Diff(want, read()); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
		})
	})
	t.Run("an answer without detail is as good as its truth value", func(t *testing.T) {
		for _, test := range []struct {
			in   clbapi.TargetHealth
			want lbsync.Health
		}{
			{clbapi.TargetHealth{HealthStatus: new(true)}, lbsync.Healthy},
			{clbapi.TargetHealth{HealthStatus: new(false)}, lbsync.HealthUnknown},
			//nolint:staticcheck // that the misspelt field is ignored is what this shows
			{clbapi.TargetHealth{HealthStatus: new(true), HealthStatusDetail: new("Dead"), HealthStatusDetial: new("Alive")}, lbsync.Unhealthy},
			{clbapi.TargetHealth{}, lbsync.HealthUnknown},
		} {
			if got := health(&test.in); got != test.want {
				t.Errorf("%+v is %s, want %s", test.in, got, test.want)
			}
		}
	})
	t.Run("many CLBs share a request, and one that is gone does not take the others with it", func(t *testing.T) {
		simulated(t, nil, func(t *testing.T, w world) {
			var ids []string
			for n := range 65 {
				instance := public()
				instance.Owner.ServiceUID = fmt.Sprintf("service-%d", n)
				ids = append(ids, w.create(instance).ID)
			}
			read := func(ids []string) (found, requests int) {
				t.Helper()
				before, err := w.adm.Calls(t.Context(), 0)
				if err != nil {
					t.Fatal(err)
				}
				got, err := w.Health(t.Context(), ids)
				if err != nil {
					t.Fatal(err)
				}
				for id, healths := range got {
					if healths == nil || !slices.Contains(ids, id) {
						t.Errorf("%s has the entry %v", id, healths)
					}
				}
				after, err := w.adm.Calls(t.Context(), 0)
				if err != nil {
					t.Fatal(err)
				}
				return len(got), len(after) - len(before)
			}
			if found, requests := read(ids); found != 65 || requests != 3 {
				t.Errorf("of 65 CLBs %d are found by %d requests, want all by 3", found, requests)
			}
			gone := slices.Insert(slices.Clone(ids[:29]), 17, "lb-00000000")
			if found, requests := read(gone); found != 29 || requests > 12 {
				t.Errorf("of 29 CLBs, asked for with one that is gone, %d are found by %d requests, want all by 12 at most", found, requests)
			}
			if found, requests := read([]string{"lb-00000000"}); found != 0 || requests != 1 {
				t.Errorf("one that is gone is found %d times by %d requests, want 0 by 1", found, requests)
			}
			if found, requests := read(nil); found != 0 || requests != 0 {
				t.Errorf("none is found %d times by %d requests, want 0 by 0", found, requests)
			}
		})
	})
	t.Run("what was read before a failure is kept", func(t *testing.T) {
		c, _ := stubbed(t, inTurn(map[string]any{"LoadBalancers": []any{}}, failure{"AuthFailure.UnauthorizedOperation", "no"}))
		ids := make([]string, 31)
		for i := range ids {
			ids[i] = fmt.Sprintf("lb-%d", i)
		}
		got, err := c.Health(t.Context(), ids)
		if lbsync.KindOf(err) != lbsync.Denied || len(got) != 30 || got["lb-0"] == nil || got["lb-30"] != nil {
			t.Errorf("got %d entries and %v, want the first 30 and a denial", len(got), err)
		}
	})
}

func TestObserve(t *testing.T) {
	t.Run("what others made is seen and its targets are left out", func(t *testing.T) {
		simulated(t, nil, func(t *testing.T, w world) {
			web := desired([]lbsync.Listener{ours(key(lbsync.TCP, 80), tcpCheck, 0)}, onInstance("ins-00000000", 30080))
			now := w.reach(lbsync.LoadBalancer{}, web)
			w.console("CreateListener", map[string]any{"LoadBalancerId": now.Instance.ID, "Ports": []int{22}, "Protocol": "TCP", "ListenerNames": []string{"by-hand"}})
			id := w.observe(now.Instance.ID).Listeners[key(lbsync.TCP, 22)].ID
			w.console("RegisterTargets", map[string]any{"LoadBalancerId": now.Instance.ID, "ListenerId": id, "Targets": []map[string]any{{"InstanceId": "ins-00000001", "Port": 22}}})

			seen := w.observe(now.Instance.ID)
			if !lbsync.Diff(seen, web).Empty() {
				t.Errorf("a person's listeners make a plan:\n%s", lbsync.Diff(seen, web))
			}
			if diff := cmp.Diff(now.Targets, seen.Targets, sameAddr); diff != "" {
				t.Errorf("targets: -want +got\n%s", diff)
			}
			if l := seen.Listeners[key(lbsync.TCP, 22)]; l.Name != "by-hand" || l.Ours() {
				t.Errorf("the person's is %+v", l)
			}
		})
	})
	t.Run("a website's listener is one of its own protocol, and without check", func(t *testing.T) {
		got := listener(&clbapi.Listener{ListenerId: new("lbl-1"), ListenerName: new("site"), Protocol: new("HTTP"), Port: new(int64(8080)), Rules: []*clbapi.RuleOutput{{}}})
		if want := (lbsync.Listener{ListenerKey: key("HTTP", 8080), ID: "lbl-1", Name: "site"}); got != want {
			t.Errorf("got %+v", got)
		}
	})
	t.Run("a target by address is not taken for its instance", func(t *testing.T) {
		for _, test := range []struct {
			name string
			in   clbapi.Backend
			want lbsync.Target
		}{
			{"an instance", clbapi.Backend{Type: new("CVM"), InstanceId: new("ins-1"), PrivateIpAddresses: []*string{new("10.0.0.1")}, Port: new(int64(80))}, onInstance("ins-1", 80)},
			{"a network interface of it", clbapi.Backend{Type: new("ENI"), InstanceId: new("ins-1"), PrivateIpAddresses: []*string{new("10.0.0.2")}, Port: new(int64(80))}, onAddress("10.0.0.2", 80)},
			{"an address elsewhere", clbapi.Backend{Type: new("CCN"), PrivateIpAddresses: []*string{new("10.9.0.2")}, Port: new(int64(80))}, onAddress("10.9.0.2", 80)},
		} {
			if got := target(&test.in); got != test.want {
				t.Errorf("%s is %v, want %v", test.name, got, test.want)
			}
		}
	})
	t.Run("one that takes no changes is refused with what to do", func(t *testing.T) {
		for name, raw := range map[string]*clbapi.LoadBalancer{
			"isolated": {LoadBalancerId: new("lb-1"), Isolation: new(uint64(1))},
			"classic":  {LoadBalancerId: new("lb-1"), Forward: new(uint64(0))},
		} {
			if e := asError(t, manageable(raw)); e.Kind != lbsync.Denied || e.Hint == "" || !containsAll(e.Error(), "lb-1", name) {
				t.Errorf("%s: got %+v", name, e)
			}
		}
		if err := manageable(&clbapi.LoadBalancer{Isolation: new(uint64(0)), Forward: new(uint64(1))}); err != nil {
			t.Errorf("a usual one: %v", err)
		}
	})
	t.Run("no ID is no request", func(t *testing.T) {
		c, s := stubbed(t, inTurn(map[string]any{}))
		if _, err := c.Observe(t.Context(), ""); lbsync.KindOf(err) != lbsync.Invalid || len(s.actions()) != 0 {
			t.Errorf("got %v after %v", err, s.actions())
		}
	})
}

func TestQuotas(t *testing.T) {
	simulated(t, func(c *clbsim.Config) { c.Quotas["TOTAL_TARGET_BIND_QUOTA"] = 200 }, func(t *testing.T, w world) {
		got, err := w.Quotas(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if want := (Quotas{Public: 100, Internal: 100, Listeners: 50, Targets: 200}); got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
	})
}

func TestInstancesOfTheSimulator(t *testing.T) {
	simulated(t, nil, func(t *testing.T, w world) {
		addr := netip.MustParseAddr("10.0.0.1") // a part of 10.0.0.10 to 10.0.0.19 too
		byAddr, ok, err := w.InstanceByAddress(t.Context(), addr)
		if err != nil || !ok || byAddr.ID != "ins-00000000" {
			t.Fatalf("got %+v, %v, %v", byAddr, ok, err)
		}
		byID, ok, err := w.Instance(t.Context(), "ins-00000000")
		if err != nil || !ok {
			t.Fatal(ok, err)
		}
		if diff := cmp.Diff(byAddr, byID, sameAddr); diff != "" {
			t.Errorf("by address and by ID it differs:\n%s", diff)
		}
		if byID.Zone != "ap-guangzhou-3" || byID.Type != "S5.MEDIUM4" || byID.VPCID != "vpc-2ab3c4d5" || byID.State != "RUNNING" || byID.Stopped() || !slices.Equal(byID.Addresses, []netip.Addr{addr}) {
			t.Errorf("got %+v", byID)
		}
		if _, ok, err := w.Instance(t.Context(), "ins-99999999"); ok || err != nil {
			t.Errorf("one that does not exist: %v, %v", ok, err)
		}
	})
}

// What a person turns at a listener is seen, makes a plan, and is gone after it.
func TestSettingsThatWereTurnedAreSeenAndSetRight(t *testing.T) {
	for name, test := range map[string]struct {
		check map[string]any
		more  map[string]any
		want  func(*lbsync.Listener)
	}{
		"503 counts as healthy":       {map[string]any{"HttpCode": 31}, nil, func(l *lbsync.Listener) { l.Check.Codes = 31 }},
		"another version of HTTP":     {map[string]any{"HttpVersion": "HTTP/1.0"}, nil, func(l *lbsync.Listener) { l.Check.HTTP10 = true }},
		"a method nobody answers":     {map[string]any{"HttpCheckMethod": "HEAD"}, nil, func(l *lbsync.Listener) { l.Check.Head = true }},
		"probes from the VIP":         {map[string]any{"SourceIpType": 0}, nil, func(l *lbsync.Listener) { l.Check.FromVIP = true }},
		"weights that count for less": {nil, map[string]any{"Scheduler": "LEAST_CONN"}, func(l *lbsync.Listener) { l.Scheduler = lbsync.LeastConn }},
		"connections forgotten early": {nil, map[string]any{"IdleConnectTimeout": 60}, func(l *lbsync.Listener) { l.IdleTimeout = time.Minute }},
		"two at once":                 {map[string]any{"HttpCode": 6}, map[string]any{"Scheduler": "LEAST_CONN"}, func(l *lbsync.Listener) { l.Check.Codes, l.Scheduler = 6, lbsync.LeastConn }},
	} {
		t.Run(name, func(t *testing.T) {
			simulated(t, nil, func(t *testing.T, w world) {
				web := desired([]lbsync.Listener{ours(key(lbsync.TCP, 80), httpCheck, 0)}, onInstance("ins-00000000", 30080))
				now := w.reach(lbsync.LoadBalancer{}, web)
				edit := map[string]any{"LoadBalancerId": now.Instance.ID, "ListenerId": now.Listeners[key(lbsync.TCP, 80)].ID}
				if test.check != nil {
					edit["HealthCheck"] = test.check
				}
				maps.Copy(edit, test.more)
				w.console("ModifyListener", edit)
				<-time.After(time.Minute)
				seen := w.observe(now.Instance.ID)
				want := now.Listeners[key(lbsync.TCP, 80)]
				test.want(&want)
				if got := seen.Listeners[key(lbsync.TCP, 80)]; got != want {
					t.Errorf("got %+v, want %+v", got, want)
				}
				if drift := lbsync.Drift(now, seen); len(drift) != 1 || drift[0].What != lbsync.ListenerSettings {
					t.Errorf("drift %v", drift)
				}
				if plan := lbsync.Diff(seen, web); len(plan.ModifyListeners) != 1 {
					t.Errorf("plan:\n%s", plan)
				}
				w.reach(seen, web) // and the second plan is empty
			})
		})
	}
}
