// SPDX-License-Identifier: Apache-2.0

package clb

import (
	"context"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/clbsync/clbsync/clbsim"
	"github.com/clbsync/clbsync/clbsim/admin"
	"github.com/clbsync/clbsync/lbsync"
)

// course is a row of desired states that takes every write there is.
func course() []lbsync.LoadBalancer {
	web, probed := ours(key(lbsync.TCP, 80), tcpCheck, 0), ours(key(lbsync.TCP, 80), httpCheck, 0)
	second := desired([]lbsync.Listener{probed}, onInstance("ins-00000001", 30080))
	second.Targets[lbsync.Binding{Listener: web.ListenerKey, Target: onInstance("ins-00000001", 30080)}] = 77
	return []lbsync.LoadBalancer{desired([]lbsync.Listener{web}, onInstance("ins-00000000", 30080), onInstance("ins-00000001", 30080)), second, desired([]lbsync.Listener{probed}), desired(nil), {Instance: public()}}
}

// run goes through a course as the controller does: after an error it reads and plans again. It returns the number of errors.
func (w world) run(course []lbsync.LoadBalancer) (failures int) {
	w.t.Helper()
	now := lbsync.LoadBalancer{}
	for _, want := range course {
		for tries := 0; !lbsync.Diff(now, want).Empty(); tries++ {
			if tries == 5 {
				w.t.Fatalf("no end; left to do:\n%s", lbsync.Diff(now, want))
			}
			var err error
			if now, err = lbsync.Diff(now, want).Apply(w.t.Context(), w.Client, now); err == nil {
				continue
			}
			failures++
			<-time.After(5 * time.Second)
			now = w.current()
		}
	}
	return failures
}

func TestFailures(t *testing.T) {
	for _, action := range []string{actionCreate, "CreateListener", "ModifyListener", actionRegister, actionReweight, actionDeregister, actionDeleteListeners, actionDelete} {
		for _, f := range []struct {
			name   string
			fault  admin.Fault
			errors int // that the caller sees
			sent   int // how often the request goes out until all is done
		}{
			{"a connection lost before it ran", admin.Fault{Kind: admin.KindDropBefore}, 1, 2},
			{"a connection lost after it ran", admin.Fault{Kind: admin.KindDropAfter}, 1, 1},
			{"a gateway that is overloaded", admin.Fault{Kind: admin.KindUnavailable}, 1, 2},
			{"an internal error", admin.Fault{Kind: admin.KindError, Code: "InternalError"}, 1, 2},
			{"a task that fails", admin.Fault{Kind: admin.KindTaskFail, Message: "it is broken"}, 1, 2},
			{"a CLB that is busy", admin.Fault{Kind: admin.KindError, Code: "FailedOperation.ResourceInOperating", Count: 3}, 0, 4},
			{"too many requests", admin.Fault{Kind: admin.KindError, Code: "RequestLimitExceeded.IPLimitExceeded", Count: 3}, 0, 4},
		} {
			switch {
			case f.fault.Kind == admin.KindTaskFail && !asynchronous(action):
				continue // those have no task; TestPartialFailure has what they have
			case f.fault.Kind == admin.KindTaskFail && action == actionCreate:
				f.sent++ // the dead order's token is tried before the next
			case action == actionDeregister:
				f.sent++ // the course has two of them
			}
			t.Run(action+" and "+f.name, func(t *testing.T) {
				simulated(t, nil, func(t *testing.T, w world) {
					f.fault.Action = action
					w.fault(f.fault)
					if seen := w.run(course()); seen != f.errors {
						t.Errorf("%d errors, want %d", seen, f.errors)
					}
					n := 0
					for _, s := range w.writes() {
						if name, _, _ := strings.Cut(s, " "); name == action {
							n++
						}
					}
					if n != f.sent {
						t.Errorf("%s was sent %d times, want %d: %v", action, n, f.sent, w.writes())
					}
					if lbs := w.state().LoadBalancers; len(lbs) != 0 {
						t.Errorf("left: %+v", lbs)
					}
				})
			})
		}
	}
}

func TestPartialFailure(t *testing.T) {
	simulated(t, nil, func(t *testing.T, w world) {
		listeners := []lbsync.Listener{ours(key(lbsync.TCP, 80), tcpCheck, 0), ours(key(lbsync.TCP, 81), tcpCheck, 0)}
		now := w.reach(lbsync.LoadBalancer{}, desired(listeners))
		bad := now.Listeners[key(lbsync.TCP, 81)]
		want := desired(listeners)
		want.Targets[lbsync.Binding{Listener: listeners[0].ListenerKey, Target: onInstance("ins-00000000", 30080)}] = 10
		want.Targets[lbsync.Binding{Listener: listeners[1].ListenerKey, Target: onInstance("ins-00000000", 30081)}] = 10
		for _, step := range []struct {
			action string
			want   lbsync.LoadBalancer
			left   int
		}{{actionRegister, want, 1}, {actionDeregister, desired(listeners), 1}} {
			w.fault(admin.Fault{Action: step.action, Kind: admin.KindPartial, Listeners: []string{bad.ID}, Message: "it does not like it"})
			_, err := lbsync.Diff(now, step.want).Apply(t.Context(), w.Client, now)
			if r, ok := lbsync.OnlyRefused(err); !ok || len(r) != 1 || !containsAll(err.Error(), step.action, "TCP:81", bad.ID, "it does not like it") {
				t.Errorf("got %v", err)
			}
			if now = w.observe(now.Instance.ID); len(now.Targets) != step.left {
				t.Errorf("targets after it: %v, want the good listener's done", now.Targets)
			}
			now = w.reach(now, step.want)
		}
	})
}

func TestWritesToOneLoadBalancerDoNotOverlap(t *testing.T) {
	// listen creates a listener on port 8000+n with each client at once.
	listen := func(t *testing.T, lb string, clients ...*Client) {
		t.Helper()
		errs := make(chan error)
		for n, c := range clients {
			go func() {
				_, err := c.CreateListeners(t.Context(), lb, []lbsync.Listener{ours(key(lbsync.TCP, uint16(8000+n)), tcpCheck, 0)})
				errs <- err
			}()
		}
		for range clients {
			if err := <-errs; err != nil {
				t.Error(err)
			}
		}
	}
	const met = "CreateListener FailedOperation.ResourceInOperating"
	t.Run("those of one process wait here", func(t *testing.T) {
		simulated(t, nil, func(t *testing.T, w world) {
			listen(t, w.create(public()).ID, slices.Repeat([]*Client{w.Client}, 10)...)
			if slices.Contains(w.writes(), met) {
				t.Errorf("two met: %v", w.writes())
			}
		})
	})
	t.Run("those of another process are waited for", func(t *testing.T) {
		simulated(t, func(c *clbsim.Config) { c.Tasks.Delay = clbsim.Duration(3 * time.Second) }, func(t *testing.T, w world) {
			listen(t, w.create(public()).ID, w.Client, w.client(Config{}))
			if !slices.Contains(w.writes(), met) {
				t.Errorf("they did not meet, so this shows nothing: %v", w.writes())
			}
		})
	})
	t.Run("those of two CLBs do not wait for each other", func(t *testing.T) {
		simulated(t, func(c *clbsim.Config) { c.Tasks.Delay = clbsim.Duration(20 * time.Second) }, func(t *testing.T, w world) {
			other := public()
			other.Owner.ServiceUID = "other"
			lbs := []string{w.create(public()).ID, w.create(other).ID}
			start, errs := time.Now(), make(chan error)
			for _, lb := range lbs {
				go func() {
					_, err := w.CreateListeners(t.Context(), lb, []lbsync.Listener{ours(key(lbsync.TCP, 80), tcpCheck, 0)})
					errs <- err
				}()
			}
			for range lbs {
				if err := <-errs; err != nil {
					t.Error(err)
				}
			}
			if took := time.Since(start); took > 30*time.Second {
				t.Errorf("it took %s, want 20 s", took)
			}
		})
	})
}

func TestLostLoadBalancer(t *testing.T) {
	simulated(t, nil, func(t *testing.T, w world) {
		web := ours(key(lbsync.TCP, 80), tcpCheck, 0)
		now := w.reach(lbsync.LoadBalancer{}, desired([]lbsync.Listener{web}, onInstance("ins-00000000", 30080)))
		id, have := now.Instance.ID, now.Listeners[web.ListenerKey]
		change := []lbsync.Change{{Binding: lbsync.Binding{Listener: web.ListenerKey, Target: onInstance("ins-00000000", 30080)}, ListenerID: have.ID, Weight: 5}}
		each := func(what string) {
			ctx := t.Context()
			for name, err := range map[string]error{
				"ModifyListener": w.ModifyListener(ctx, id, lbsync.ListenerChange{From: have, To: have}), "Register": w.Register(ctx, id, change),
				"Reweight": w.Reweight(ctx, id, change), "Deregister": w.Deregister(ctx, id, change),
			} {
				if lbsync.KindOf(err) != lbsync.NotFound {
					t.Errorf("%s with the %s gone: %v, want NotFound", name, what, err)
				}
			}
		}
		w.console("DeleteListener", map[string]any{"LoadBalancerId": id, "ListenerId": have.ID})
		each("listener")
		w.deleteByHand(id)
		each("load balancer")
		if _, err := w.CreateListeners(t.Context(), id, []lbsync.Listener{web}); lbsync.KindOf(err) != lbsync.NotFound {
			t.Errorf("CreateListeners: %v, want NotFound", err)
		}
	})
}

func TestPortConflict(t *testing.T) {
	simulated(t, nil, func(t *testing.T, w world) {
		lb := w.create(public())
		w.console("CreateListener", map[string]any{"LoadBalancerId": lb.ID, "Ports": []int{80}, "Protocol": "TCP", "ListenerNames": []string{"by-hand"}})
		if _, err := w.CreateListeners(t.Context(), lb.ID, []lbsync.Listener{ours(key(lbsync.TCP, 80), tcpCheck, 0)}); lbsync.KindOf(err) != lbsync.Conflict {
			t.Errorf("got %v", err)
		}
	})
}

func TestWrongSettings(t *testing.T) {
	for _, test := range []struct {
		name string
		cfg  Config
		sim  func(*clbsim.Config)
	}{
		{"a wrong key", Config{Credentials: Credentials{SecretID: "AKIDEXAMPLE", SecretKey: "wrong"}}, nil},
		{"an unknown ID", Config{Credentials: Credentials{SecretID: "AKIDOTHER", SecretKey: "SECRETEXAMPLE"}}, nil},
		{"an unknown region", Config{}, func(c *clbsim.Config) { c.Regions, c.Instances = []string{"ap-shanghai"}, nil }},
		{"a missing right", Config{}, func(c *clbsim.Config) { c.Credentials[0].Deny = []string{"clb:DescribeLoadBalancers"} }},
	} {
		t.Run(test.name+" is told with what to do, and not repeated", func(t *testing.T) {
			simulated(t, test.sim, func(t *testing.T, w world) {
				start := time.Now()
				_, err := w.client(test.cfg).Find(t.Context(), owner)
				if e := asError(t, err); e.Kind != lbsync.Denied || e.Hint == "" || e.RequestID == "" {
					t.Errorf("got %+v, want Denied with a hint", e)
				}
				if took := time.Since(start); took > time.Second {
					t.Errorf("it took %s", took)
				}
			})
		})
	}
	t.Run("an endpoint where nobody listens is told with what to do", func(t *testing.T) {
		server := httptest.NewServer(nil)
		server.Close()
		c, err := New(t.Context(), Config{Region: "ap-guangzhou", VPCID: "vpc-1", Credentials: Credentials{SecretID: "a", SecretKey: "b"}, Endpoints: Endpoints{CLB: server.URL}})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		_, err = c.Find(ctx, owner)
		if e := asError(t, err); e.Kind != lbsync.Unknown || e.Hint == "" || !containsAll(e.Error(), server.Listener.Addr().String(), "refused") {
			t.Errorf("got %+v", e)
		}
	})
}
