// SPDX-License-Identifier: Apache-2.0

package clb

import (
	"fmt"
	"maps"
	"net/http/httptest"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/clbsync/clbsync/clbsim"
	"github.com/clbsync/clbsync/clbsim/admin"
	"github.com/clbsync/clbsync/lbsync"
)

// settingsOf are the settings that lbsync can ask for, one of each kind.
func settingsOf(p lbsync.Protocol) map[string]lbsync.Listener {
	k := key(p, 80)
	if p == lbsync.UDP {
		slow := pingCheck
		slow.Interval = 20 * time.Second
		return map[string]lbsync.Listener{"no check": ours(k, lbsync.HealthCheck{}, 0), "ping": ours(k, pingCheck, 0), "slow ping": ours(k, slow, 0), "session": ours(k, pingCheck, time.Hour)}
	}
	otherPort, slow, plainHTTP := tcpCheck, tcpCheck, httpCheck
	otherPort.Port = 30999
	slow.Interval, slow.Timeout, slow.Healthy, slow.Unhealthy = 300*time.Second, 60*time.Second, 10, 2
	plainHTTP.Port, plainHTTP.Path = 0, "/"
	return map[string]lbsync.Listener{
		"no check": ours(k, lbsync.HealthCheck{}, 0), "connect": ours(k, tcpCheck, 0), "another port": ours(k, otherPort, 0), "slow": ours(k, slow, 0),
		"HTTP on another port": ours(k, httpCheck, 0), "HTTP": ours(k, plainHTTP, 0), "session": ours(k, tcpCheck, 30*time.Second),
	}
}

func TestListenersReadBackAsTheyWereAskedFor(t *testing.T) {
	for _, p := range []lbsync.Protocol{lbsync.TCP, lbsync.UDP} {
		all := settingsOf(p)
		for _, from := range slices.Sorted(maps.Keys(all)) {
			t.Run(fmt.Sprintf("%s %s, and changed to every other", p, from), func(t *testing.T) {
				simulated(t, nil, func(t *testing.T, w world) {
					for _, to := range slices.Sorted(maps.Keys(all)) {
						now := w.reach(w.current(), desired(nil))
						now = w.reach(now, desired([]lbsync.Listener{all[from]}))
						w.reach(now, desired([]lbsync.Listener{all[to]}))
					}
				})
			})
		}
	}
}

var (
	threeListeners = []lbsync.Listener{ours(key(lbsync.TCP, 80), httpCheck, 0), ours(key(lbsync.TCP, 443), tcpCheck, 30*time.Second), ours(key(lbsync.UDP, 80), pingCheck, 0)}
	twoTargets     = desired(threeListeners, onInstance("ins-00000000", 30080), onInstance("ins-00000001", 30080))
)

// live goes through a whole life and checks each step.
func live(t *testing.T, w world) {
	now := w.reach(lbsync.LoadBalancer{}, twoTargets)
	if got := now.Instance.VIPs; len(got) != 1 {
		t.Errorf("addresses are %v", got)
	}
	if !owner.Owns(now.Instance.Tags) {
		t.Errorf("tags are %v", now.Instance.Tags)
	}

	weighted := twoTargets.Clone()
	for b := range weighted.Targets {
		if b.Target.Instance == "ins-00000000" {
			weighted.Targets[b] = 0
		}
	}
	moved := desired(threeListeners[1:], onInstance("ins-00000001", 30080), onAddress("10.0.3.7", 30080))
	for _, next := range []lbsync.LoadBalancer{weighted, moved, desired(nil)} {
		now = w.reach(now, next)
	}
	before := len(w.writes())
	now = w.reach(now, desired(nil))
	if after := w.writes(); len(after) != before {
		t.Errorf("no change made writes: %v", after[before:])
	}

	if _, err := lbsync.Diff(now, lbsync.LoadBalancer{Instance: public()}).Apply(t.Context(), w.Client, now); err != nil {
		t.Fatal(err)
	}
	if left := w.state().LoadBalancers; len(left) != 0 {
		t.Errorf("left: %+v", left)
	}
	if _, err := w.Observe(t.Context(), now.Instance.ID); lbsync.KindOf(err) != lbsync.NotFound {
		t.Errorf("to observe it afterwards: %v, want NotFound", err)
	}
	for _, s := range w.writes() {
		if slices.Contains([]string{"RegisterTargets", "DeregisterTargets", "ModifyTargetWeight", "DeleteListener"}, s) {
			t.Errorf("%s is for one listener; the batches were meant", s)
		}
	}
}

func TestLifeOfALoadBalancer(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(*clbsim.Config)
	}{
		{"is as planned", nil},
		{"is as planned where busy is told by the message alone", func(c *clbsim.Config) { c.Assumptions.LockCode = "documented" }},
		{"is as planned while the API throttles", func(c *clbsim.Config) {
			c.RateLimits.Default, c.RateLimits.Code = 2, "RequestLimitExceeded.UinLimitExceeded"
		}},
		{"is as planned where tasks take their time", func(c *clbsim.Config) { c.Tasks.Delay = clbsim.Duration(17 * time.Second) }},
		{"is as planned where tasks take none", func(c *clbsim.Config) { c.Tasks.Delay = 0 }},
	} {
		t.Run(test.name, func(t *testing.T) { simulated(t, test.change, live) })
	}
	t.Run("is as planned where answers are busy, or lost when a task is looked at", func(t *testing.T) {
		simulated(t, nil, func(t *testing.T, w world) {
			for n := range 5 {
				w.fault(admin.Fault{Action: "*", Skip: 5 * n, Kind: admin.KindError, Code: "FailedOperation.ResourceInOperating"})
			}
			w.fault(admin.Fault{Action: "DescribeTaskStatus", Count: 3, Kind: admin.KindDropBefore})
			live(t, w)
		})
	})
	t.Run("comes to the same end where batches go on after their answer", func(t *testing.T) {
		simulated(t, func(c *clbsim.Config) { c.Assumptions.BatchTargets = "async" }, func(t *testing.T, w world) {
			now := lbsync.LoadBalancer{}
			for _, next := range []lbsync.LoadBalancer{twoTargets, desired(threeListeners[1:], onInstance("ins-00000001", 30080)), desired(nil)} {
				if _, err := lbsync.Diff(now, next).Apply(t.Context(), w.Client, now); err != nil {
					t.Fatal(err)
				}
				<-time.After(time.Second)
				if now = w.current(); !lbsync.Diff(now, next).Empty() {
					t.Errorf("left to do:\n%s", lbsync.Diff(now, next))
				}
			}
		})
	})
	t.Run("is as planned over a socket", func(t *testing.T) {
		cfg := example(2)
		cfg.Tasks.Delay = clbsim.Duration(time.Millisecond)
		sim, err := clbsim.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(sim.Close)
		server := httptest.NewServer(sim.Handler())
		t.Cleanup(server.Close)
		c, err := New(t.Context(), Config{Region: "ap-guangzhou", VPCID: "vpc-2ab3c4d5", Credentials: Credentials{SecretID: "AKIDEXAMPLE", SecretKey: "SECRETEXAMPLE"}, Endpoints: Endpoints{CLB: server.URL, CVM: server.URL, VPC: server.URL}})
		if err != nil {
			t.Fatal(err)
		}
		live(t, world{Client: c, t: t, cfg: cfg, sim: sim, adm: sim.Admin()})
		if i, ok, err := c.InstanceByAddress(t.Context(), netip.MustParseAddr("10.0.0.2")); err != nil || !ok || i.ID != "ins-00000001" {
			t.Errorf("got %+v, %v, %v", i, ok, err)
		}
	})
}

func TestManyListenersAndTargets(t *testing.T) {
	more := func(c *clbsim.Config) {
		c.Quotas["TOTAL_LISTENER_QUOTA"], c.Quotas["TOTAL_TARGET_BIND_QUOTA"] = 200, 200
	}
	simulated(t, more, func(t *testing.T, w world) {
		var listeners []lbsync.Listener
		for n := range 60 {
			listeners = append(listeners, ours(key(lbsync.TCP, uint16(8000+n)), tcpCheck, 0))
			if n%10 == 0 {
				listeners = append(listeners, ours(key(lbsync.UDP, uint16(8000+n)), pingCheck, 0))
			}
		}
		want := desired(listeners)
		for i, l := range listeners { // a backend and port may stand once for each protocol of a CLB
			for n := range 20 {
				want.Targets[lbsync.Binding{Listener: l.ListenerKey, Target: onInstance(fmt.Sprintf("ins-%08d", n), uint16(30000+i))}] = n
			}
		}
		now, err := lbsync.Diff(lbsync.LoadBalancer{}, want).Apply(t.Context(), w.Client, lbsync.LoadBalancer{})
		if err != nil {
			t.Fatal(err)
		}
		seen := w.observe(now.Instance.ID)
		if diff := cmp.Diff(now.Listeners, seen.Listeners); diff != "" {
			t.Errorf("IDs or settings are mixed up; -applied +seen\n%s", diff)
		}
		if again := lbsync.Diff(seen, want); !again.Empty() {
			t.Errorf("left to do:\n%s", again)
		}
		count := map[string]int{}
		for _, s := range w.writes() {
			count[s]++
		}
		// 60 TCP listeners are two requests of up to 49 ports, 6 UDP listeners one; 66 × 19 targets three of up to 500 (those of weight 0 do not come).
		if diff := cmp.Diff(map[string]int{"CreateLoadBalancer": 1, "CreateListener": 3, "BatchRegisterTargets": 3}, count); diff != "" {
			t.Errorf("writes: -want +got\n%s", diff)
		}
		w.reach(seen, desired(listeners[:3]))
	})
}
