// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/klog/v2"

	"github.com/clbsync/clbsync/clbsim"
	"github.com/clbsync/clbsync/clbsim/admin"
	"github.com/clbsync/clbsync/internal/kubetest"
	"github.com/clbsync/clbsync/lbsync"
	"github.com/clbsync/clbsync/lbsync/clb"
)

// trial is one life of a Service, through the real SDK and against a simulated CLB, in a bubble whose time passes at once.
type trial struct {
	*world
	sim    *admin.Client
	theirs []admin.LoadBalancer // what others have, as it was at the start
	failed []string             // stages that did not end as they should
}

// The CLBs of others: one that a person made, and one of another cluster, for a Service of the same UID.
var others = []clbsim.ExistingLoadBalancer{
	{ID: "lb-byhand01", Name: "cls-demo_default_web"},
	{ID: "lb-theirs01", Name: "another", Tags: lbsync.Owner{ClusterID: "cls-other", ServiceUID: "web"}.Tags()},
}

// inTrial runs the test in a bubble of its own.
func inTrial(t *testing.T, test func(l *trial)) {
	t.Helper()
	inAccount(t, nil, func(l *trial) {
		stop := l.begin()
		defer stop()
		test(l)
	})
}

// inAccount runs the test in a bubble of its own, with an account that is changed before anything is asked of it and a controller
// that has not begun yet. change may be nil.
func inAccount(t *testing.T, change func(*clbsim.Config), test func(l *trial)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		cfg := clbsim.Example()
		cfg.LoadBalancers = slices.Clone(others)
		cfg.Tasks.Delay = clbsim.Duration(50 * time.Millisecond)
		for i := range 3 {
			cfg.Instances = append(cfg.Instances, clbsim.Instance{ID: fmt.Sprintf("ins-%08d", i+1), PrivateIP: fmt.Sprintf("10.0.0.%d", i+1), Type: "S5.MEDIUM4"})
		}
		if change != nil {
			change(&cfg)
		}
		sim, err := clbsim.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		defer sim.Close()
		cloud, err := clb.New(t.Context(), clb.Config{
			Region: "ap-guangzhou", VPCID: "vpc-2ab3c4d5", Transport: sim.Transport(),
			Credentials: clb.Credentials{SecretID: "AKIDEXAMPLE", SecretKey: "SECRETEXAMPLE"},
			Endpoints:   clb.Endpoints{CLB: "http://clbsim.local", CVM: "http://clbsim.local", VPC: "http://clbsim.local", Tag: "http://clbsim.local"},
		})
		if err != nil {
			t.Fatal(err)
		}
		settings := lbsync.DefaultSettings()
		settings.ClusterID, settings.VPCID = "cls-demo", "vpc-2ab3c4d5"
		l := &trial{world: &world{T: t, client: fake.NewSimpleClientset()}, sim: sim.Admin()} // the other one parses the schema of everything, a third of a life
		l.config = Config{Client: l.client, Cloud: cloud, Settings: settings, Workers: 2}
		l.record()
		for _, node := range kubetest.Nodes(3) {
			l.put(node)
		}
		l.theirs = l.clbs(false)
		test(l)
	})
}

// begin starts a controller that logs nothing: thousands of lives would fill the memory with their logs.
func (l *trial) begin() (stop func()) {
	cfg := l.config
	cfg.Informers = informers.NewSharedInformerFactory(l.client, 0)
	c, err := New(cfg)
	if err != nil {
		l.Fatal(err)
	}
	ctx, cancel := context.WithCancel(klog.NewContext(l.Context(), logr.Discard()))
	done := make(chan struct{})
	go func() { c.Run(ctx); close(done) }()
	cfg.Informers.StartWithContext(ctx)
	return func() {
		cancel()
		<-done
		cfg.Informers.Shutdown()
	}
}

// clbs returns the CLBs that are ours, or those that are others'.
func (l *trial) clbs(ours bool) []admin.LoadBalancer {
	l.Helper()
	state, err := l.sim.State(l.Context())
	if err != nil {
		l.Fatal(err)
	}
	owner := lbsync.Owner{ClusterID: "cls-demo", ServiceUID: "web"}
	return slices.DeleteFunc(state.LoadBalancers, func(lb admin.LoadBalancer) bool { return owner.Owns(lb.Tags) != ours })
}

// state is our CLB as text: a line for each listener, "" for none.
func (l *trial) state() string {
	l.Helper()
	var out []string
	for _, lb := range l.clbs(true) {
		out = append(out, "clb")
		for _, listener := range lb.Listeners {
			var targets []string
			for _, t := range listener.Targets {
				targets = append(targets, fmt.Sprintf("%s=%d", t.Instance, t.Weight))
			}
			slices.Sort(targets)
			out = append(out, fmt.Sprintf("%s %s:%d %s", listener.Name, listener.Protocol, listener.Port, strings.Join(targets, " ")))
		}
	}
	slices.Sort(out)
	return strings.Join(out, "\n")
}

// stage is a part of a life: what a person does, and the CLB that comes of it.
type stage struct {
	name string
	act  func(l *trial)
	want string
}

// aLife is that of a Service under Local: it is made with source ranges, its pods move, its port and its ranges change, it goes.
// A person adds a listener in the meantime, which has to be there until the CLB goes.
var aLife = []stage{
	{"create", func(l *trial) {
		l.put(onlyBindNarrow("10.0.0.0/8"))
		l.put(kubetest.Slice("web", at(1, 2)...))
	}, "clb\nclbsync-web TCP:80 ins-00000001=10 ins-00000002=10"},
	{"move", func(l *trial) { l.put(kubetest.Slice("web", at(2, 3)...)) }, "clb\nclbsync-web TCP:80 ins-00000002=10 ins-00000003=10"},
	{"change", func(l *trial) {
		for _, lb := range l.clbs(true) {
			if err := l.sim.Console(l.Context(), "CreateListener", map[string]any{"LoadBalancerId": lb.ID, "Ports": []int{22}, "Protocol": "TCP", "ListenerNames": []string{"by-hand"}}, nil); err != nil {
				l.Errorf("a person's listener: %v", err)
			}
		}
		l.edit("web", func(s *corev1.Service) {
			s.Spec.Ports[0].Port, s.Spec.LoadBalancerSourceRanges = 81, []string{"10.0.0.0/8", "192.168.0.0/16"}
			s.Spec.SessionAffinity = corev1.ServiceAffinityClientIP
		})
	}, "by-hand TCP:22 \nclb\nclbsync-web TCP:81 ins-00000002=10 ins-00000003=10"},
	{"delete", func(l *trial) { l.delete("web") }, ""},
}

func onlyBindNarrow(ranges ...string) *corev1.Service {
	svc := onlyBind("web")
	svc.Spec.LoadBalancerSourceRanges = ranges
	return svc
}

// settles is long enough for whatever one failure delays: the slowest kinds are tried again at the next verification.
const settles = 35 * time.Minute

// settle lets time pass until a stage has come to its end, and for as long as one failure delays at most. Time costs: the
// simulated CLB probes its targets all the while. whole: nothing but the end is waited for.
func (l *trial) settle(s stage, whole bool) {
	l.Helper()
	for waited := time.Duration(0); waited < settles; waited += time.Minute {
		l.pass(time.Minute)
		if whole && l.state() == s.want && (s.want != "" || len(l.service("web").Finalizers) == 0) {
			return
		}
		if !whole && waited >= lastingFor {
			return
		}
	}
}

// lastingFor is for how long a code lasts that is answered again and again: long enough for those that pass by themselves
// to be told.
const lastingFor = 3 * time.Minute

// live goes through the stages. Before and after are told of the name of each, if they are not nil.
func (l *trial) live(before, after func(stage string)) {
	l.Helper()
	for _, s := range aLife {
		if before != nil {
			before(s.name)
		}
		s.act(l)
		l.settle(s, after == nil)
		if after != nil {
			after(s.name)
		}
		if got := l.state(); got != s.want {
			l.failed = append(l.failed, fmt.Sprintf("%s: there is %q, want %q", s.name, got, s.want))
		}
	}
	if left := l.service("web").Finalizers; len(left) > 0 {
		l.failed = append(l.failed, fmt.Sprintf("the finalizers %v stay", left))
	}
	state, err := l.sim.State(l.Context())
	if err != nil {
		l.Fatal(err)
	}
	for _, g := range state.Groups {
		if g.Tags[lbsync.TagService] == "web" {
			l.failed = append(l.failed, fmt.Sprintf("security group %s stays", g.ID))
		}
	}
}

// promises checks what holds whatever fails: no second CLB was bought, nothing of others was touched.
func (l *trial) promises(label string) {
	l.Helper()
	for _, f := range l.failed {
		l.Errorf("%s: %s; events %v", label, f, l.events("web"))
	}
	bought := 0
	for _, c := range l.calls() {
		if c.Action == "CreateLoadBalancer" && c.Code == "" {
			bought++
		}
		if c.Write && (strings.Contains(string(c.Parameters), "lb-byhand01") || strings.Contains(string(c.Parameters), "lb-theirs01")) {
			l.Errorf("%s: %s of what is others': %s", label, c.Action, c.Parameters)
		}
	}
	if bought != 1 {
		l.Errorf("%s: %d CLBs were bought, want 1", label, bought)
	}
	if now := l.clbs(false); fmt.Sprint(now) != fmt.Sprint(l.theirs) {
		l.Errorf("%s: what others have was %+v and is %+v", label, l.theirs, now)
	}
}

func (l *trial) calls() []admin.Call {
	l.Helper()
	calls, err := l.sim.Calls(l.Context(), 0)
	if err != nil {
		l.Fatal(err)
	}
	return calls
}

// injected are the codes of the table, each in the form in which CLB answers it, and what it is told with.
func injected() map[string]string {
	out := map[string]string{}
	for _, c := range clb.Codes() {
		if c.Code != "" && !strings.HasPrefix(c.Code, "ClientError") { // those are the SDK's own, see TestTransport…
			out[c.Code] = ""
		}
	}
	for _, dotted := range []string{"RequestLimitExceeded.UinLimitExceeded", "AuthFailure.SignatureFailure", "UnauthorizedOperation.CamNoAuth", "LimitExceeded.SecurityGroupPolicySet"} {
		out[dotted] = ""
	}
	// What the message alone tells.
	out["FailedOperation#busy"] = "Loadbalancer(lb-x) is not in normal desState, maybe some tasks are being processed, please try later."
	out["InvalidParameter#gone"] = "LB not exist"
	out["FailedOperation#taken"] = "The port 80/TCP is in use by the listener lbl-1"
	out["FailedOperation#arrears"] = "Insufficient balance"
	out["FailedOperation#quota"] = "The quota is used up"
	return out
}

// Every error code is answered once, at every call of a life: the life ends as it should all the same.
func TestEveryCodeAtEveryCallOfALifeDoesNoHarm(t *testing.T) {
	begun := time.Now()
	var life []admin.Call
	inTrial(t, func(l *trial) {
		l.live(nil, nil)
		l.promises("nothing fails")
		life = l.calls()
	})
	// Of calls of one action in a row, in which health or a task is looked at again and again, the first two and the last count.
	type place struct {
		action string
		nth    int
	}
	var places []place
	nth := map[string]int{}
	for i, c := range life {
		again := i > 1 && i+1 < len(life) && life[i-1].Action == c.Action && life[i-2].Action == c.Action && life[i+1].Action == c.Action
		if !again {
			places = append(places, place{c.Action, nth[c.Action]})
		}
		nth[c.Action]++
	}
	codes := injected()
	lives := 0
	t.Run("", func(t *testing.T) {
		for i, code := range slices.Sorted(maps.Keys(codes)) {
			chosen := slices.DeleteFunc(slices.Clone(places), func(p place) bool {
				return !*full && !stands(code, codes) && p.nth != i%nth[p.action]
			})
			lives += len(chosen)
			t.Run(code, func(t *testing.T) {
				t.Parallel()
				for _, p := range chosen {
					inTrial(t, func(l *trial) {
						name, _, _ := strings.Cut(code, "#")
						id, err := l.sim.AddFault(l.Context(), admin.Fault{Action: p.action, Skip: p.nth, Kind: admin.KindError, Code: name, Message: codes[code]})
						if err != nil {
							l.Fatal(err)
						}
						l.live(nil, nil)
						label := fmt.Sprintf("%s at call %d of %s", code, p.nth+1, p.action)
						l.promises(label)
						if !slices.ContainsFunc(l.calls(), func(c admin.Call) bool { return c.Fault == id }) {
							l.Errorf("%s: there was no such call", label)
						}
					})
				}
			})
		}
	})
	t.Logf("%d codes, %d calls of %d actions in a life: %d lives in %s", len(codes), len(life), len(nth), lives, time.Since(begun).Round(time.Millisecond))
}

// full has every code answered at every call. Without it each code is answered once at each action, at another call of it for
// each code, and of each class one code at every call: what tells codes of one class apart is in words alone.
var full = flag.Bool("full", false, "every error code at every call of a life, which takes minutes")

// stands reports whether a code is the first of those that are treated alike.
func stands(code string, all map[string]string) bool {
	class := func(code string) clb.Class {
		name, _, _ := strings.Cut(code, "#")
		return clb.Meaning("", name, all[code]).Class
	}
	for _, other := range slices.Sorted(maps.Keys(all)) {
		if class(other) == class(code) {
			return other == code
		}
	}
	return false
}
