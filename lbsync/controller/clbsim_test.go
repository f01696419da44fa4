// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"cmp"
	"context"
	"fmt"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/klog/v2"
	"k8s.io/klog/v2/ktesting"

	"github.com/clbsync/clbsync/clbsim"
	"github.com/clbsync/clbsync/clbsim/admin"
	"github.com/clbsync/clbsync/internal/kubetest"
	"github.com/clbsync/clbsync/lbsync"
	"github.com/clbsync/clbsync/lbsync/clb"
)

const patience = 20 * time.Second // for anything that should take a fraction of it

// wire is a controller that speaks through the real SDK, over loopback, to a simulated CLB.
type wire struct {
	testing.TB
	world *world // for what it does to the cluster; not in a bubble
	sim   *admin.Client
	api   *httptest.Server

	services sync.Mutex // held by whoever writes one
}

func newWire(tb testing.TB, key string, objects ...runtime.Object) *wire {
	tb.Helper()
	cfg := clbsim.Example()
	cfg.Tasks.Delay = clbsim.Duration(5 * time.Millisecond)
	cfg.Tasks.Actions = nil
	cfg.Health.Speedup = 100
	cfg.Certificates = []clbsim.Certificate{{ID: "certRSA1"}, {ID: "certRSA2"}, {ID: "certOld1", Expired: true}}
	cfg.RateLimits.Default, cfg.RateLimits.Actions = 0, nil
	for i := range 4 {
		cfg.Instances = append(cfg.Instances, clbsim.Instance{ID: fmt.Sprintf("ins-%08d", i+1), PrivateIP: fmt.Sprintf("10.0.0.%d", i+1), Type: "S5.MEDIUM4"})
	}
	sim, err := clbsim.New(cfg)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(sim.Close)
	server := httptest.NewServer(sim.Handler())
	tb.Cleanup(server.Close)
	cloud, err := clb.New(tb.Context(), clb.Config{
		Region: "ap-guangzhou", VPCID: "vpc-2ab3c4d5",
		Credentials: clb.Credentials{SecretID: "AKIDEXAMPLE", SecretKey: key},
		Endpoints:   clb.Endpoints{CLB: server.URL, CVM: server.URL, VPC: server.URL, Tag: server.URL},
		RateLimits:  clb.RateLimits{Default: 10000},
	})
	if err != nil {
		tb.Fatal(err)
	}
	w := &wire{TB: tb, world: &world{client: fake.NewClientset()}, sim: sim.Admin(), api: server}
	w.world.T, _ = tb.(*testing.T)
	w.world.record()
	w.world.client.PrependReactor("patch", "services", func(action clienttesting.Action) (bool, runtime.Object, error) {
		w.services.Lock()
		defer w.services.Unlock()
		return clienttesting.ObjectReaction(w.world.client.Tracker())(action)
	})
	settings := lbsync.DefaultSettings()
	settings.ClusterID, settings.VPCID = "cls-demo", "vpc-2ab3c4d5"
	settings.Timing = lbsync.Timing{HealthDeadline: 10 * time.Second, Drain: 100 * time.Millisecond, Poll: 100 * time.Millisecond}
	w.world.config = Config{Client: w.world.client, Cloud: cloud, Settings: settings,
		Informers: informers.NewSharedInformerFactory(w.world.client, 0)}
	for _, node := range kubetest.Nodes(3) {
		w.put(node)
	}
	for _, o := range objects {
		w.put(o)
	}
	return w
}

func (w *wire) run() {
	w.Helper()
	cfg := w.world.config
	c, err := New(cfg)
	if err != nil {
		w.Fatal(err)
	}
	ctx, cancel := context.WithCancel(klog.NewContext(w.Context(), ktesting.NewLogger(w.TB, ktesting.NewConfig(ktesting.Verbosity(2)))))
	done := make(chan struct{})
	go func() { c.Run(ctx); close(done) }()
	cfg.Informers.StartWithContext(ctx)
	cfg.Informers.WaitForCacheSyncWithContext(ctx)
	w.Cleanup(func() {
		cancel()
		<-done
		cfg.Informers.Shutdown()
	})
}

func (w *wire) put(o runtime.Object) {
	w.Helper()
	if err := put(w.world.client, o); err != nil {
		w.Fatal(err)
	}
}

// until waits for a state of all CLBs, written as "lb-… TCP:80 ins-00000001=10 …", a line for each listener,
// with the ID of the CLB left out.
func (w *wire) until(want ...string) {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.Context(), patience)
	defer cancel()
	var got []string
	_, err := w.sim.WaitState(ctx, func(s admin.State) bool {
		got = nil
		for _, lb := range s.LoadBalancers {
			for _, l := range lb.Listeners {
				var targets []string
				for _, t := range l.Targets {
					targets = append(targets, fmt.Sprintf("%s=%d", cmp.Or(t.Instance, fmt.Sprintf("%s:%d", t.Address, t.Port)), t.Weight))
				}
				slices.Sort(targets)
				got = append(got, fmt.Sprintf("%s:%d %s", l.Protocol, l.Port, strings.Join(targets, " ")))
			}
			if len(lb.Listeners) == 0 {
				got = append(got, lb.ID)
			}
		}
		return slices.Equal(got, want)
	})
	if err != nil {
		w.Fatalf("%v: the CLBs have %q, want %q", err, got, want)
	}
}

// eventually waits for something in the cluster.
func (w *wire) eventually(what string, is func() bool) {
	w.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); !is(); <-tick.C {
		if time.Now().After(deadline) {
			w.Fatalf("not within %s: %s", patience, what)
		}
	}
}

func TestOverTheWireAServiceLivesAndGoes(t *testing.T) {
	w := newWire(t, "SECRETEXAMPLE", onlyBind("web"), kubetest.Slice("web", at(1)...), kubetest.Service("dns", func(s *corev1.Service) {
		s.Spec.Ports = []corev1.ServicePort{{Name: "dns", Protocol: corev1.ProtocolUDP, Port: 53, NodePort: 30053}}
	}))
	w.world.config.Settings.Check.Interval, w.world.config.Settings.Check.Healthy = 3*time.Second, 2
	w.run()
	w.eventually("both Services have an address", func() bool {
		return len(w.world.service("web").Status.LoadBalancer.Ingress)*len(w.world.service("dns").Status.LoadBalancer.Ingress) == 1
	})
	w.world.edit("dns", clusterIP)
	w.until("TCP:80 ins-00000001=10")
	w.put(kubetest.Slice("web", at(2, 3)...))
	w.until("TCP:80 ins-00000002=10 ins-00000003=10")
	w.world.edit("web", func(s *corev1.Service) { s.Spec.Ports[0].Port = 81 })
	w.until("TCP:81 ins-00000002=10 ins-00000003=10")
	w.world.edit("web", clusterIP)
	w.until()
	w.eventually("the Services are left clean", func() bool {
		return len(w.world.service("web").Finalizers)+len(w.world.service("dns").Finalizers) == 0
	})
	calls, err := w.sim.Calls(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range calls {
		if c.Code != "" {
			t.Errorf("%s %s was refused: %s %s", c.Action, c.Parameters, c.Code, c.Message)
		}
	}
}

// failure waits for the Event that says that the sync of a Service failed, and returns what it says.
func (w *wire) failure() string {
	w.Helper()
	var message string
	w.eventually("an Event says that it failed", func() bool {
		w.world.mu.Lock()
		defer w.world.mu.Unlock()
		for _, e := range w.world.told {
			if e.Reason == eventFailed {
				message = e.Message
			}
		}
		return message != ""
	})
	return message
}

func TestOverTheWireAWrongKeyIsToldWithWhatToDo(t *testing.T) {
	w := newWire(t, "WRONG", kubetest.Service("web"))
	w.run()
	message := w.failure()
	for _, want := range []string{"AuthFailure", "credentials"} {
		if !strings.Contains(message, want) {
			t.Errorf("the Event says %q, without %q", message, want)
		}
	}
}

func TestOverTheWireAnAPIThatIsNotThereIsTold(t *testing.T) {
	w := newWire(t, "SECRETEXAMPLE", kubetest.Service("web"))
	address := strings.TrimPrefix(w.api.URL, "http://")
	w.api.Close()
	w.run()
	if message := w.failure(); !strings.Contains(message, address) {
		t.Errorf("the Event says %q, without the address %s", message, address)
	}
}

// BenchmarkEndpointToRequest measures the time from the write of an EndpointSlice to the arrival of the
// request that it causes, with the default gathering window.
func BenchmarkEndpointToRequest(b *testing.B) {
	w := newWire(b, "SECRETEXAMPLE", onlyBind("web"), kubetest.Slice("web", at(1)...))
	w.world.config.Settings.Check.Interval, w.world.config.Settings.Check.Healthy = 3*time.Second, 2
	w.run()
	w.until("TCP:80 ins-00000001=10")
	var took []time.Duration
	for i := 1; b.Loop(); i++ {
		calls, err := w.sim.Calls(b.Context(), 0)
		if err != nil {
			b.Fatal(err)
		}
		written := time.Now()
		w.put(kubetest.Slice("web", at(1+i%2)...))
		call, err := w.sim.WaitCall(b.Context(), len(calls), func(c admin.Call) bool { return c.Action == "BatchRegisterTargets" || c.Action == "RegisterTargets" })
		if err != nil {
			b.Fatal(err)
		}
		took = append(took, call.Time.Sub(written))
		w.until(fmt.Sprintf("TCP:80 ins-%08d=10", 1+i%2))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "ms/median")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "ms/p99")
}
