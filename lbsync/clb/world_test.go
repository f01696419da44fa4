// SPDX-License-Identifier: Apache-2.0

package clb

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/clbsync/clbsync/clbsim"
	"github.com/clbsync/clbsync/clbsim/admin"
	"github.com/clbsync/clbsync/lbsync"
)

// world is a client, and a simulated cloud that it talks to through the real SDK.
type world struct {
	*Client
	t   *testing.T
	cfg clbsim.Config
	sim *clbsim.Sim
	adm *admin.Client
}

// simulated runs test with a cloud of its own, in time of its own.
func simulated(t *testing.T, change func(*clbsim.Config), test func(*testing.T, world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		cfg := example(60)
		if change != nil {
			change(&cfg)
		}
		sim, err := clbsim.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(sim.Close)
		w := world{t: t, cfg: cfg, sim: sim, adm: sim.Admin()}
		w.Client = w.client(Config{})
		test(t, w)
	})
}

// example is a cloud with instances ins-00000000 at 10.0.0.1, and so on.
func example(instances int) clbsim.Config {
	cfg := clbsim.Example()
	for n := range instances {
		cfg.Instances = append(cfg.Instances, clbsim.Instance{ID: fmt.Sprintf("ins-%08d", n), PrivateIP: fmt.Sprintf("10.0.0.%d", n+1), Zone: "ap-guangzhou-3", Type: "S5.MEDIUM4"})
	}
	return cfg
}

// client returns another client, as a second process would be.
func (w world) client(cfg Config) *Client {
	w.t.Helper()
	cfg.Region, cfg.VPCID, cfg.Transport = "ap-guangzhou", "vpc-2ab3c4d5", w.sim.Transport()
	cfg.Endpoints = Endpoints{CLB: "http://clbsim.local", CVM: "http://clbsim.local", VPC: "http://clbsim.local"}
	if cfg.Credentials == (Credentials{}) {
		cfg.Credentials = Credentials{SecretID: "AKIDEXAMPLE", SecretKey: "SECRETEXAMPLE"}
	}
	c, err := New(w.t.Context(), cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}

func (w world) fault(f admin.Fault) {
	w.t.Helper()
	if _, err := w.adm.AddFault(w.t.Context(), f); err != nil {
		w.t.Fatal(err)
	}
}

// console does what a person does in the console.
func (w world) console(action string, request any) {
	w.t.Helper()
	if err := w.adm.Console(w.t.Context(), action, request, nil); err != nil {
		w.t.Fatal(err)
	}
}

func (w world) state() admin.State {
	w.t.Helper()
	s, err := w.adm.State(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	return s
}

// writes returns the actions that changed something, or tried to, with the codes of those that failed.
func (w world) writes() []string {
	w.t.Helper()
	calls, err := w.adm.Calls(w.t.Context(), 0)
	if err != nil {
		w.t.Fatal(err)
	}
	var out []string
	for _, c := range calls {
		if c.Write {
			out = append(out, strings.TrimSpace(c.Action+" "+c.Code))
		}
	}
	return out
}

var owner = lbsync.Owner{ClusterID: "cls-demo", ServiceUID: "6c1b2d4e-0000-4000-8000-000000000001"}

func public() lbsync.Instance {
	return lbsync.Instance{Name: "cls-demo_default_web", VPCID: "vpc-2ab3c4d5", Owner: owner}
}

func (w world) create(want lbsync.Instance) lbsync.Instance {
	w.t.Helper()
	made, err := w.CreateLoadBalancer(w.t.Context(), want)
	if err != nil {
		w.t.Fatal(err)
	}
	return made
}

func (w world) observe(id string) lbsync.LoadBalancer {
	w.t.Helper()
	lb, err := w.Observe(w.t.Context(), id)
	if err != nil {
		w.t.Fatal(err)
	}
	return lb
}

// current is the owner's CLB as it is.
func (w world) current() lbsync.LoadBalancer {
	w.t.Helper()
	found, err := w.Find(w.t.Context(), owner)
	if err != nil {
		w.t.Fatal(err)
	}
	if len(found) == 0 {
		return lbsync.LoadBalancer{}
	}
	return w.observe(found[0].ID)
}

// reach applies what makes actual desired, and checks that this is what there is then.
func (w world) reach(actual, desired lbsync.LoadBalancer) lbsync.LoadBalancer {
	w.t.Helper()
	plan := lbsync.Diff(actual, desired)
	applied, err := plan.Apply(w.t.Context(), w.Client, actual)
	if err != nil {
		w.t.Fatalf("%v\nplan:\n%s", err, plan)
	}
	seen := w.observe(applied.Instance.ID)
	if diff := cmp.Diff(applied, seen, cmpopts.EquateEmpty(), sameAddr, cmpopts.IgnoreFields(lbsync.Instance{}, "Owner")); diff != "" {
		w.t.Fatalf("what was applied reads back differently; -applied +seen\n%s\nplan:\n%s", diff, plan)
	}
	if again := lbsync.Diff(seen, desired); !again.Empty() {
		w.t.Fatalf("the plan is not empty after it was applied:\n%s", again)
	}
	return seen
}

var sameAddr = cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})

func ours(k lbsync.ListenerKey, check lbsync.HealthCheck, session time.Duration) lbsync.Listener {
	return lbsync.Listener{ListenerKey: k, Name: lbsync.ListenerName(owner.ServiceUID), Check: check, SessionExpire: session}
}

// desired returns a CLB that should be, with every target on every listener at weight 10.
func desired(listeners []lbsync.Listener, targets ...lbsync.Target) lbsync.LoadBalancer {
	lb := lbsync.LoadBalancer{Present: true, Instance: public(), Listeners: map[lbsync.ListenerKey]lbsync.Listener{}, Targets: map[lbsync.Binding]int{}}
	for _, l := range listeners {
		lb.Listeners[l.ListenerKey] = l
		for _, to := range targets {
			lb.Targets[lbsync.Binding{Listener: l.ListenerKey, Target: to}] = lbsync.WeightDefault
		}
	}
	return lb
}

func containsAll(s string, parts ...string) bool {
	return !slices.ContainsFunc(parts, func(p string) bool { return !strings.Contains(s, p) })
}
