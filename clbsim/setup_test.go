// SPDX-License-Identifier: Apache-2.0

package clbsim_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	clb "github.com/tencentcloud/tencentcloud-sdk-go/tencentcloud/clb/v20180317"
	"github.com/tencentcloud/tencentcloud-sdk-go/tencentcloud/common"
	sdkerrors "github.com/tencentcloud/tencentcloud-sdk-go/tencentcloud/common/errors"
	"github.com/tencentcloud/tencentcloud-sdk-go/tencentcloud/common/profile"
	cvm "github.com/tencentcloud/tencentcloud-sdk-go/tencentcloud/cvm/v20170312"
	tag "github.com/tencentcloud/tencentcloud-sdk-go/tencentcloud/tag/v20180813"

	"github.com/clbsync/clbsync/clbsim"
	"github.com/clbsync/clbsync/clbsim/admin"
)

// What the tests' account has: two nodes in the VPC, one in another VPC.
const (
	vpc       = "vpc-2ab3c4d5"
	subnet    = "subnet-demo0001"
	node1     = "ins-aaaa0001" // 10.0.0.11
	node2     = "ins-aaaa0002" // 10.0.0.12
	elsewhere = "ins-bbbb0001" // in vpc-other001

	certRSA = "certrsa1"
	certECC = "certecc1"
	certOld = "certold1" // has expired
	certCA  = "certca01"
)

// world is a simulator with the real SDK as its client.
type world struct {
	t   *testing.T
	ctx context.Context
	sim *clbsim.Sim
	url string
	adm *admin.Client
	clb *clb.Client
	cvm *cvm.Client
	tag *tag.Client
}

// config is Example with the tests' nodes, tasks that end at once, and no rate
// limit.
func config() clbsim.Config {
	cfg := clbsim.Example()
	cfg.Tasks.Delay = 0
	cfg.RateLimits.Default = 0
	cfg.Health.Speedup = 1000
	other := cfg.VPCs[0]
	other.ID = "vpc-other001"
	cfg.VPCs = append(cfg.VPCs, other)
	cfg.Instances = []clbsim.Instance{
		{ID: node1, PrivateIP: "10.0.0.11", Name: "n1"},
		{ID: node2, PrivateIP: "10.0.0.12", Name: "n2", Zone: "ap-guangzhou-4"},
		{ID: elsewhere, PrivateIP: "10.9.0.11", VPC: "vpc-other001", Subnet: "subnet-x"},
	}
	cfg.VPCs = append(cfg.VPCs, clbsim.VPC{ID: "vpc-shanghai", Region: "ap-shanghai", CIDRs: []netip.Prefix{netip.MustParsePrefix("172.16.0.0/16")}})
	cfg.Regions = append(cfg.Regions, "ap-shanghai")
	cfg.Subnets = append(cfg.Subnets, clbsim.Subnet{ID: "subnet-ipv4only", VPC: vpc, CIDR: netip.MustParsePrefix("10.0.201.0/24"), Zone: "ap-guangzhou-3"},
		clbsim.Subnet{ID: "subnet-shanghai", VPC: "vpc-shanghai", CIDR: netip.MustParsePrefix("172.16.1.0/24"), Zone: "ap-shanghai-2"})
	cfg.Certificates = []clbsim.Certificate{
		{ID: certRSA, Domains: []string{"a.example", "*.b.example"}}, {ID: certECC, Algorithm: "ECC"}, {ID: certOld, Expired: true}, {ID: certCA, CA: true},
	}
	return cfg
}

// start runs a simulator on a loopback port.
func start(t *testing.T, change ...func(*clbsim.Config)) *world {
	t.Helper()
	w := newWorld(t, change...)
	srv := httptest.NewServer(w.sim.Handler())
	t.Cleanup(srv.Close)
	w.url = srv.URL
	w.connect(common.NewCredential("AKIDEXAMPLE", "SECRETEXAMPLE"), "ap-guangzhou")
	return w
}

func newWorld(t *testing.T, change ...func(*clbsim.Config)) *world {
	t.Helper()
	cfg := config()
	for _, f := range change {
		f(&cfg)
	}
	sim, err := clbsim.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(sim.Close)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return &world{t: t, ctx: ctx, sim: sim, adm: sim.Admin()}
}

// connect makes the SDK's clients.
func (w *world) connect(key common.CredentialIface, region string) {
	w.t.Helper()
	p := profile.NewClientProfile()
	p.HttpProfile.Scheme, p.HttpProfile.Endpoint = "HTTP", strings.TrimPrefix(w.url, "http://")
	var err error
	if w.clb, err = clb.NewClient(key, region, p); err != nil {
		w.t.Fatal(err)
	}
	if w.cvm, err = cvm.NewClient(key, region, p); err != nil {
		w.t.Fatal(err)
	}
	if w.tag, err = tag.NewClient(key, region, p); err != nil {
		w.t.Fatal(err)
	}
}

func tasks(d time.Duration) func(*clbsim.Config) {
	return func(c *clbsim.Config) { c.Tasks.Delay = clbsim.Duration(d) }
}

// must fails the test on an error and passes the result on.
func must[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// code returns the code of an error of the SDK, or "" without error.
func code(err error) string {
	if e, ok := errors.AsType[*sdkerrors.TencentCloudSDKError](err); ok {
		return e.Code
	}
	if err != nil {
		return "not an error of the API: " + err.Error()
	}
	return ""
}

func ptrs[T any](vs ...T) []*T {
	out := make([]*T, len(vs))
	for i := range vs {
		out[i] = &vs[i]
	}
	return out
}

// balancer creates a public CLB.
func (w *world) balancer() string {
	w.t.Helper()
	in := clb.NewCreateLoadBalancerRequest()
	in.LoadBalancerType, in.VpcId = new("OPEN"), new(vpc)
	out := must(w.clb.CreateLoadBalancerWithContext(w.ctx, in))(w.t)
	w.done(*out.Response.RequestId)
	return *out.Response.LoadBalancerIds[0]
}

// listener creates a listener without health check.
func (w *world) listener(lb, protocol string, port int64) string {
	w.t.Helper()
	in := clb.NewCreateListenerRequest()
	in.LoadBalancerId, in.Protocol, in.Ports = &lb, &protocol, ptrs(port)
	in.HealthCheck = &clb.HealthCheck{HealthSwitch: new(int64(0))}
	out := must(w.clb.CreateListenerWithContext(w.ctx, in))(w.t)
	w.done(*out.Response.RequestId)
	return *out.Response.ListenerIds[0]
}

// register binds targets with RegisterTargets.
func (w *world) register(lb, listener string, targets ...*clb.Target) {
	w.t.Helper()
	out := must(w.clb.RegisterTargetsWithContext(w.ctx, registerRequest(lb, listener, targets...)))(w.t)
	w.done(*out.Response.RequestId)
}

func registerRequest(lb, listener string, targets ...*clb.Target) *clb.RegisterTargetsRequest {
	in := clb.NewRegisterTargetsRequest()
	in.LoadBalancerId, in.ListenerId, in.Targets = &lb, &listener, targets
	return in
}

func node(id string, port, weight int64) *clb.Target {
	return &clb.Target{InstanceId: &id, Port: &port, Weight: &weight}
}

func address(ip string, port int64) *clb.Target { return &clb.Target{EniIp: &ip, Port: &port} }

// status returns the status and message of a task.
func (w *world) status(task string) (int64, string) {
	w.t.Helper()
	in := clb.NewDescribeTaskStatusRequest()
	in.TaskId = &task
	out := must(w.clb.DescribeTaskStatusWithContext(w.ctx, in))(w.t)
	return *out.Response.Status, *out.Response.Message
}

// done waits until a task has ended well.
func (w *world) done(task string) {
	w.t.Helper()
	if status, message := w.ended(task); status != 0 {
		w.t.Fatalf("task ended with status %d: %s", status, message)
	}
}

// ended waits until a task has ended.
func (w *world) ended(task string) (int64, string) {
	w.t.Helper()
	must(w.adm.WaitState(w.ctx, func(s admin.State) bool {
		for _, t := range s.Tasks {
			if t.ID == task {
				return t.Status != "running"
			}
		}
		return false
	}))(w.t)
	return w.status(task)
}

// targets returns the targets of a listener, as the state shows them.
func (w *world) targets(listener string) []admin.Target {
	w.t.Helper()
	for _, lb := range must(w.adm.State(w.ctx))(w.t).LoadBalancers {
		for _, l := range lb.Listeners {
			if l.ID == listener {
				return l.Targets
			}
		}
	}
	w.t.Fatalf("no listener %s", listener)
	return nil
}

func jsonOf(v any) string {
	b, _ := json.Marshal(v)
	return string(b)
}
