// SPDX-License-Identifier: Apache-2.0

package clbsim_test

import (
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	clb "github.com/tencentcloud/tencentcloud-sdk-go/tencentcloud/clb/v20180317"
	"github.com/tencentcloud/tencentcloud-sdk-go/tencentcloud/common"
	tchttp "github.com/tencentcloud/tencentcloud-sdk-go/tencentcloud/common/http"
	cvm "github.com/tencentcloud/tencentcloud-sdk-go/tencentcloud/cvm/v20170312"
	tag "github.com/tencentcloud/tencentcloud-sdk-go/tencentcloud/tag/v20180813"

	"github.com/clbsync/clbsync/clbsim"
	"github.com/clbsync/clbsync/clbsim/admin"
	"github.com/clbsync/clbsync/clbsim/cloud"
)

// The life of a CLB, with the SDK's own structs both ways: every action that
// clbsim has is called and its answer is read.
func TestEveryActionSpeaksToTheSDK(t *testing.T) {
	w := start(t, tasks(5*time.Millisecond))
	create := clb.NewCreateLoadBalancerRequest()
	create.LoadBalancerType, create.VpcId, create.SubnetId = new("INTERNAL"), new(vpc), new(subnet)
	create.LoadBalancerName, create.ClientToken = new("web"), new("token-1")
	create.Tags = []*clb.TagInfo{{TagKey: new("owner"), TagValue: new("test")}}
	created := must(w.clb.CreateLoadBalancer(create))(t).Response
	w.done(*created.RequestId)
	lb := *created.LoadBalancerIds[0]

	list := clb.NewDescribeLoadBalancersRequest()
	list.Filters = []*clb.Filter{{Name: new("tag:owner"), Values: ptrs("test")}}
	list.AdditionalFields = ptrs("TargetCount")
	found := must(w.clb.DescribeLoadBalancers(list))(t).Response
	if *found.TotalCount != 1 || *found.LoadBalancerSet[0].LoadBalancerId != lb || *found.LoadBalancerSet[0].LoadBalancerVips[0] != "10.0.200.1" || *found.LoadBalancerSet[0].Status != 1 {
		t.Errorf("found %d load balancers, the first with %+v", *found.TotalCount, found.LoadBalancerSet[0])
	}

	attributes := clb.NewModifyLoadBalancerAttributesRequest()
	attributes.LoadBalancerId, attributes.LoadBalancerPassToTarget, attributes.DeleteProtect = &lb, new(true), new(true)
	w.done(*must(w.clb.ModifyLoadBalancerAttributes(attributes))(t).Response.RequestId)
	attributes.DeleteProtect = new(false)
	w.done(*must(w.clb.ModifyLoadBalancerAttributes(attributes))(t).Response.RequestId)
	groups := clb.NewSetLoadBalancerSecurityGroupsRequest()
	groups.LoadBalancerId, groups.SecurityGroups = &lb, ptrs("sg-demo0001")
	must(w.clb.SetLoadBalancerSecurityGroups(groups))(t)

	l := w.listener(lb, "TCP", 80)
	modify := clb.NewModifyListenerRequest()
	modify.LoadBalancerId, modify.ListenerId, modify.SessionExpireTime = &lb, &l, new(int64(30))
	modify.HealthCheck = &clb.HealthCheck{
		HealthSwitch: new(int64(1)), CheckType: new("HTTP"), CheckPort: new(int64(32000)), HttpCheckPath: new("/healthz"), HttpCheckDomain: new("node"),
		HttpVersion: new("HTTP/1.1"), HttpCheckMethod: new("GET"), HttpCode: new(int64(2)), SourceIpType: new(int64(1)),
	}
	w.done(*must(w.clb.ModifyListener(modify))(t).Response.RequestId)
	listeners := clb.NewDescribeListenersRequest()
	listeners.LoadBalancerId = &lb
	if got := must(w.clb.DescribeListeners(listeners))(t).Response.Listeners[0]; *got.SessionExpireTime != 30 || *got.HealthCheck.CheckPort != 32000 || *got.HealthCheck.HttpCode != 2 {
		t.Errorf("the listener reads back with session %d and check %+v", *got.SessionExpireTime, got.HealthCheck)
	}
	w.targetLife(t, lb, l)
	w.ruleLife(t, lb)
	w.networkLife(t)
	w.groupLife(t)

	tags := tag.NewTagResourcesRequest()
	resource := "qcs::clb:ap-guangzhou:uin/100000000001:clb/" + lb
	tags.ResourceList, tags.Tags = ptrs(resource), []*tag.Tag{{TagKey: new("late"), TagValue: new("1")}}
	must(w.tag.TagResources(tags))(t)
	byTags := tag.NewDescribeResourcesByTagsRequest()
	byTags.TagFilters = []*tag.TagFilter{{TagKey: new("late"), TagValue: ptrs("1")}}
	if got := must(w.tag.DescribeResourcesByTags(byTags))(t).Response; *got.TotalCount != 1 || *got.Rows[0].ResourceId != lb {
		t.Errorf("by tag: %d resources", *got.TotalCount)
	}
	untag := tag.NewUnTagResourcesRequest()
	untag.ResourceList, untag.TagKeys = ptrs(resource), ptrs("late")
	must(w.tag.UnTagResources(untag))(t)
	resources := tag.NewGetResourcesRequest()
	resources.ResourceList = ptrs(resource)
	if got := must(w.tag.GetResources(resources))(t).Response.ResourceTagMappingList; len(got) != 1 || len(got[0].Tags) != 1 || *got[0].Tags[0].TagKey != "owner" {
		t.Errorf("the resource's tags are %+v", got)
	}

	some := cvm.NewDescribeInstancesRequest()
	some.Filters = []*cvm.Filter{{Name: new("private-ip-address"), Values: ptrs("10.0.0.12")}, {Name: new("vpc-id"), Values: ptrs(vpc)}}
	if got := must(w.cvm.DescribeInstances(some))(t).Response; *got.TotalCount != 1 || *got.InstanceSet[0].InstanceId != node2 || *got.InstanceSet[0].Placement.Zone != "ap-guangzhou-4" {
		t.Errorf("the instance by address: %+v", got.InstanceSet)
	}
	if got := must(w.cvm.DescribeZones(cvm.NewDescribeZonesRequest()))(t).Response; *got.ZoneSet[0].ZoneId != "100003" {
		t.Errorf("zone %s", *got.ZoneSet[0].ZoneId)
	}
	if got := must(w.clb.DescribeQuota(clb.NewDescribeQuotaRequest()))(t).Response.QuotaSet; len(got) < 4 {
		t.Errorf("%d quotas", len(got))
	}

	one := clb.NewDeleteListenerRequest()
	one.LoadBalancerId, one.ListenerId = &lb, &l
	w.done(*must(w.clb.DeleteListener(one))(t).Response.RequestId)
	rest := clb.NewDeleteLoadBalancerListenersRequest()
	rest.LoadBalancerId, rest.ListenerIds = &lb, ptrs(w.listener(lb, "UDP", 53))
	w.done(*must(w.clb.DeleteLoadBalancerListeners(rest))(t).Response.RequestId)
	remove := clb.NewDeleteLoadBalancerRequest()
	remove.LoadBalancerIds = ptrs(lb)
	w.done(*must(w.clb.DeleteLoadBalancer(remove))(t).Response.RequestId)

	called := map[string]bool{}
	for _, c := range must(w.adm.Calls(w.ctx, 0))(t) {
		called[c.Action] = called[c.Action] || c.Code == ""
	}
	for _, a := range cloud.Actions() {
		if !called[a] {
			t.Errorf("%s was not called, or failed", a)
		}
	}
	if n := len(must(w.adm.State(w.ctx))(t).LoadBalancers); n != 0 {
		t.Errorf("%d load balancers are left", n)
	}
}

// targetLife binds, weighs and unbinds targets one by one and in batches.
func (w *world) targetLife(t *testing.T, lb, l string) {
	t.Helper()
	w.register(lb, l, node(node1, 30080, 10))
	weight := clb.NewModifyTargetWeightRequest()
	weight.LoadBalancerId, weight.ListenerId, weight.Targets, weight.Weight = &lb, &l, []*clb.Target{{InstanceId: new(node1), Port: new(int64(30080))}}, new(int64(0))
	w.done(*must(w.clb.ModifyTargetWeight(weight))(t).Response.RequestId)
	in := clb.NewBatchRegisterTargetsRequest()
	in.LoadBalancerId, in.Targets = &lb, []*clb.BatchTarget{{ListenerId: &l, InstanceId: new(node2), Port: new(int64(30080))}, {ListenerId: &l, EniIp: new("10.1.1.1"), Port: new(int64(8080)), Weight: new(int64(7))}}
	if out := must(w.clb.BatchRegisterTargets(in))(t).Response; len(out.FailListenerIdSet) != 0 {
		t.Errorf("failed listeners %v: %s", out.FailListenerIdSet, *out.Message)
	}
	weights := clb.NewBatchModifyTargetWeightRequest()
	weights.LoadBalancerId = &lb
	weights.ModifyList = []*clb.RsWeightRule{{ListenerId: &l, Weight: new(int64(3)), Targets: []*clb.Target{{InstanceId: new(node2), Port: new(int64(30080))}, node(node1, 30080, 0)}}}
	w.done(*must(w.clb.BatchModifyTargetWeight(weights))(t).Response.RequestId)

	targets := clb.NewDescribeTargetsRequest()
	targets.LoadBalancerId, targets.ListenerIds = &lb, ptrs(l)
	got := map[string]int64{}
	for _, b := range must(w.clb.DescribeTargets(targets))(t).Response.Listeners[0].Targets {
		got[*b.PrivateIpAddresses[0]+" "+*b.Type] = *b.Weight
	}
	if diff := cmp.Diff(map[string]int64{"10.0.0.11 CVM": 0, "10.0.0.12 CVM": 3, "10.1.1.1 ENI": 7}, got); diff != "" {
		t.Errorf("targets (-want +got):\n%s", diff)
	}
	must(w.adm.WaitState(w.ctx, func(s admin.State) bool {
		return !slices.ContainsFunc(s.LoadBalancers[0].Listeners[0].Targets, func(t admin.Target) bool { return t.Status != "Alive" })
	}))(t)
	health := clb.NewDescribeTargetHealthRequest()
	health.LoadBalancerIds = ptrs(lb)
	for _, h := range must(w.clb.DescribeTargetHealth(health))(t).Response.LoadBalancers[0].Listeners[0].Rules[0].Targets {
		if !*h.HealthStatus || *h.HealthStatusDetail != "Alive" {
			t.Errorf("%s is %s", *h.IP, *h.HealthStatusDetail)
		}
	}
	out := clb.NewDeregisterTargetsRequest()
	out.LoadBalancerId, out.ListenerId, out.Targets = &lb, &l, []*clb.Target{{InstanceId: new(node1), Port: new(int64(30080))}}
	w.done(*must(w.clb.DeregisterTargets(out))(t).Response.RequestId)
	gone := clb.NewBatchDeregisterTargetsRequest()
	gone.LoadBalancerId, gone.Targets = &lb, in.Targets
	must(w.clb.BatchDeregisterTargets(gone))(t)
	if left := w.targets(l); len(left) != 0 {
		t.Errorf("targets are left: %+v", left)
	}
}

func TestCallersAreRefusedAtTheDoor(t *testing.T) {
	w := start(t, func(c *clbsim.Config) {
		c.Credentials = append(c.Credentials,
			clbsim.Credential{SecretID: "AKIDTEMP", SecretKey: "S", Token: "T", TokenExpires: time.Now().Add(-time.Second)},
			clbsim.Credential{SecretID: "AKIDREADER", SecretKey: "S", Deny: []string{"clb:CreateLoadBalancer"}})
	})
	for _, tc := range []struct {
		name   string
		key    *common.Credential
		region string
		want   string
	}{
		{"an unknown key", common.NewCredential("AKIDNOBODY", "x"), "ap-guangzhou", "AuthFailure.SecretIdNotFound"},
		{"a wrong secret", common.NewCredential("AKIDEXAMPLE", "x"), "ap-guangzhou", "AuthFailure.SignatureFailure"},
		{"a token that has expired", common.NewTokenCredential("AKIDTEMP", "S", "T"), "ap-guangzhou", "AuthFailure.TokenFailure"},
		{"a missing token", common.NewCredential("AKIDTEMP", "S"), "ap-guangzhou", "AuthFailure.TokenFailure"},
		{"no permission", common.NewCredential("AKIDREADER", "S"), "ap-guangzhou", "UnauthorizedOperation"},
		{"an unknown region", common.NewCredential("AKIDEXAMPLE", "SECRETEXAMPLE"), "ap-atlantis", "UnsupportedRegion"},
		{"no region", common.NewCredential("AKIDEXAMPLE", "SECRETEXAMPLE"), "", "MissingParameter"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w.connect(tc.key, tc.region)
			in := clb.NewCreateLoadBalancerRequest()
			in.LoadBalancerType = new("OPEN")
			_, err := w.clb.CreateLoadBalancerWithContext(w.ctx, in)
			if got := code(err); got != tc.want {
				t.Errorf("answered %q, want %q", got, tc.want)
			}
		})
	}
	if n := len(must(w.adm.State(w.ctx))(t).LoadBalancers); n != 0 {
		t.Errorf("%d load balancers were created", n)
	}
	if n := len(must(w.adm.Calls(w.ctx, 0))(t)); n != 7 {
		t.Errorf("%d calls are on record, want all 7", n)
	}
}

// Requests that the SDK's structs cannot express, sent through its generic
// request.
func TestRequestsThatMakeNoSense(t *testing.T) {
	w := start(t)
	for _, tc := range []struct {
		name, service, version, action, body, want string
	}{
		{"an unknown action", "clb", "2018-03-17", "CreateUnicorn", `{}`, "InvalidAction"},
		{"an action that clbsim lacks", "clb", "2018-03-17", "CreateTargetGroup", `{}`, "InvalidAction"},
		{"an action of another service", "cvm", "2017-03-12", "CreateListener", `{}`, "InvalidAction"},
		{"a wrong version", "clb", "2017-03-12", "DescribeQuota", `{}`, "NoSuchVersion"},
		{"an unknown service", "cos", "2018-03-17", "DescribeQuota", `{}`, "NoSuchProduct"},
		{"a misspelt parameter", "clb", "2018-03-17", "DescribeListeners", `{"LoadbalancerId":"lb-1"}`, "UnknownParameter"},
		{"a misspelt parameter in a list", "clb", "2018-03-17", "RegisterTargets", `{"Targets":[{"InstanceID":"ins-1"}]}`, "UnknownParameter"},
		{"a number as a text", "clb", "2018-03-17", "DescribeLoadBalancers", `{"Limit":"20"}`, "InvalidParameter"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			in := tchttp.NewCommonRequest(tc.service, tc.version, tc.action)
			in.SetDomain(strings.TrimPrefix(w.url, "http://"))
			in.SetScheme("HTTP")
			if err := in.SetActionParameters([]byte(tc.body)); err != nil {
				t.Fatal(err)
			}
			err := w.clb.Send(in, tchttp.NewCommonResponse())
			if got := code(err); got != tc.want {
				t.Errorf("answered %q, want %q", got, tc.want)
			}
		})
	}
}

func TestErrorsComeInAnEnvelopeWithHTTP200(t *testing.T) {
	w := start(t)
	resp := must(http.Get(w.url))(t)
	defer resp.Body.Close()
	body := string(must(io.ReadAll(resp.Body))(t))
	if resp.StatusCode != http.StatusOK || !strings.HasPrefix(body, `{"Response":{"Error":{"Code":"UnsupportedProtocol","Message":"`) || !strings.Contains(body, `"RequestId":"`) {
		t.Errorf("HTTP %d: %s", resp.StatusCode, body)
	}
}

func TestEachActionHasARateLimit(t *testing.T) {
	for _, errorCode := range []string{"RequestLimitExceeded", "RequestLimitExceeded.UinLimitExceeded"} {
		synctest.Test(t, func(t *testing.T) {
			w := newBubble(t, func(c *clbsim.Config) { c.RateLimits.Default, c.RateLimits.Code = 20, errorCode })
			list := func() string {
				_, err := w.clb.DescribeLoadBalancers(clb.NewDescribeLoadBalancersRequest())
				return code(err)
			}
			for i := range 20 {
				if got := list(); got != "" {
					t.Fatalf("request %d in the same instant: %s", i+1, got)
				}
			}
			if got := list(); got != errorCode {
				t.Errorf("request 21: %q, want %s", got, errorCode)
			}
			if _, err := w.clb.DescribeQuota(clb.NewDescribeQuotaRequest()); err != nil {
				t.Errorf("another action: %v", err)
			}
			<-time.After(50 * time.Millisecond)
			if got := list(); got != "" {
				t.Errorf("a twentieth of a second later: %s", got)
			}
		})
	}
}

// newBubble returns a world without sockets, for tests with virtual time. It
// must be called in the bubble.
func newBubble(t *testing.T, change ...func(*clbsim.Config)) *world {
	t.Helper()
	w := newWorld(t, change...)
	w.url = "http://clbsim.local"
	w.connect(common.NewCredential("AKIDEXAMPLE", "SECRETEXAMPLE"), "ap-guangzhou")
	w.clb.WithHttpTransport(w.sim.Transport())
	return w
}

// A batch answers when it is done. While it is under way the CLB is locked.
func TestABatchIsSynchronous(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newBubble(t, tasks(2*time.Second))
		lb := w.balancer()
		l := w.listener(lb, "TCP", 80)
		began := time.Now()
		var busy string
		var others sync.WaitGroup
		others.Go(func() {
			<-time.After(time.Second)
			_, err := w.clb.RegisterTargets(registerRequest(lb, l, node(node2, 1, 1)))
			busy = code(err)
		})
		in := clb.NewBatchRegisterTargetsRequest()
		in.LoadBalancerId, in.Targets = &lb, []*clb.BatchTarget{{ListenerId: &l, InstanceId: new(node1), Port: new(int64(30080))}}
		out := must(w.clb.BatchRegisterTargets(in))(t)
		if took := time.Since(began); took != 2*time.Second {
			t.Errorf("answered after %v, want 2s", took)
		}
		if n := len(w.targets(l)); n != 1 {
			t.Errorf("%d targets when it answered", n)
		}
		if s, _ := w.status(*out.Response.RequestId); s != 0 {
			t.Errorf("its task has status %d", s)
		}
		others.Wait()
		if busy != "FailedOperation.ResourceInOperating" {
			t.Errorf("a write in the meantime: %q", busy)
		}
	})
}

func TestABatchCanBeAsynchronous(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newBubble(t, tasks(2*time.Second), func(c *clbsim.Config) { c.Assumptions.BatchTargets = cloud.Async })
		lb := w.balancer()
		l := w.listener(lb, "TCP", 80)
		began := time.Now()
		in := clb.NewBatchRegisterTargetsRequest()
		in.LoadBalancerId, in.Targets = &lb, []*clb.BatchTarget{{ListenerId: &l, InstanceId: new(node1), Port: new(int64(30080))}}
		out := must(w.clb.BatchRegisterTargets(in))(t)
		if took := time.Since(began); took != 0 || len(w.targets(l)) != 0 {
			t.Errorf("answered after %v with %d targets, want at once with none", took, len(w.targets(l)))
		}
		w.done(*out.Response.RequestId)
		if n := len(w.targets(l)); n != 1 || time.Since(began) != 2*time.Second {
			t.Errorf("%d targets after %v", n, time.Since(began))
		}
	})
}

// In a synctest bubble hours of health checks pass in no time.
func TestTimeIsTheBubbles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newBubble(t, tasks(6*time.Second), func(c *clbsim.Config) { c.Health.Speedup = 1 })
		lb := w.balancer()
		in := clb.NewCreateListenerRequest()
		in.LoadBalancerId, in.Protocol, in.Ports = &lb, new("TCP"), ptrs[int64](80)
		out := must(w.clb.CreateListener(in))(t)
		w.done(*out.Response.RequestId)
		w.register(lb, *out.Response.ListenerIds[0], node(node1, 30080, 10))
		began := time.Now()
		must(w.adm.WaitState(t.Context(), func(s admin.State) bool { return s.LoadBalancers[0].Listeners[0].Targets[0].Status == "Alive" }))(t)
		if took := time.Since(began); took != 15*time.Second {
			t.Errorf("healthy after %v, want interval × HealthNum = 15s", took)
		}
	})
}

// Many callers at once: nothing is lost, nothing is done twice, and the race
// detector has something to look at.
func TestManyCallersAtOnce(t *testing.T) {
	w := start(t, tasks(time.Millisecond))
	var callers sync.WaitGroup
	for i := range 8 {
		callers.Go(func() {
			lb := w.balancer()
			l := w.listener(lb, "TCP", 80)
			for n := range 10 {
				for {
					_, err := w.clb.RegisterTargetsWithContext(w.ctx, registerRequest(lb, l, node(node1, int64(30000+n), 10)))
					if code(err) == "FailedOperation.ResourceInOperating" {
						continue
					}
					if err != nil {
						t.Errorf("caller %d: %v", i, err)
					}
					break
				}
			}
		})
		callers.Go(func() {
			for range 20 {
				if _, err := w.adm.State(w.ctx); err != nil {
					t.Error(err)
				}
				if _, err := w.clb.DescribeLoadBalancersWithContext(w.ctx, clb.NewDescribeLoadBalancersRequest()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	callers.Wait()
	must(w.adm.WaitState(w.ctx, func(s admin.State) bool {
		n := 0
		for _, lb := range s.LoadBalancers {
			n += len(lb.Listeners[0].Targets)
		}
		return len(s.LoadBalancers) == 8 && n == 80
	}))(t)
}
