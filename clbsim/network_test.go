// SPDX-License-Identifier: Apache-2.0

package clbsim_test

import (
	"slices"
	"testing"

	clb "github.com/tencentcloud/tencentcloud-sdk-go/tencentcloud/clb/v20180317"
	"github.com/tencentcloud/tencentcloud-sdk-go/tencentcloud/common"

	"github.com/clbsync/clbsync/clbsim"
	"github.com/clbsync/clbsync/clbsim/admin"
)

// create orders a public CLB.
func (w *world) create(change func(*clb.CreateLoadBalancerRequest)) string {
	w.t.Helper()
	in := clb.NewCreateLoadBalancerRequest()
	in.LoadBalancerType, in.VpcId = new("OPEN"), new(vpc)
	change(in)
	out := must(w.clb.CreateLoadBalancerWithContext(w.ctx, in))(w.t)
	w.done(*out.Response.RequestId)
	return *out.Response.LoadBalancerIds[0]
}

// shown returns a CLB as DescribeLoadBalancers shows it.
func (w *world) shown(lb string) *clb.LoadBalancer {
	w.t.Helper()
	in := clb.NewDescribeLoadBalancersRequest()
	in.LoadBalancerIds = ptrs(lb)
	out := must(w.clb.DescribeLoadBalancersWithContext(w.ctx, in))(w.t).Response
	if len(out.LoadBalancerSet) != 1 {
		w.t.Fatalf("%d load balancers have the id %s", len(out.LoadBalancerSet), lb)
	}
	return out.LoadBalancerSet[0]
}

func (w *world) delete(lb string) {
	w.t.Helper()
	in := clb.NewDeleteLoadBalancerRequest()
	in.LoadBalancerIds = ptrs(lb)
	w.done(*must(w.clb.DeleteLoadBalancerWithContext(w.ctx, in))(w.t).Response.RequestId)
}

func (w *world) bind(lb, listener string, target *clb.Target) string {
	out, err := w.clb.RegisterTargetsWithContext(w.ctx, registerRequest(lb, listener, target))
	if err == nil {
		w.done(*out.Response.RequestId)
	}
	return code(err)
}

func fullChain(in *clb.CreateLoadBalancerRequest) {
	in.AddressIPVersion, in.SubnetId = new("IPv6FullChain"), new(subnet)
}

// networkLife is SNAT addresses and mixed targets from their beginning to
// their end.
func (w *world) networkLife(t *testing.T) {
	t.Helper()
	lb := w.create(func(in *clb.CreateLoadBalancerRequest) {
		in.SnatPro, in.SnatIps = new(true), []*clb.SnatIp{{SubnetId: new(subnet), Ip: new("10.0.200.77")}}
	})
	more := clb.NewCreateLoadBalancerSnatIpsRequest()
	more.LoadBalancerId, more.SnatIps, more.Number = &lb, []*clb.SnatIp{{SubnetId: new(subnet)}}, new(uint64(2))
	w.done(*must(w.clb.CreateLoadBalancerSnatIpsWithContext(w.ctx, more))(t).Response.RequestId)
	less := clb.NewDeleteLoadBalancerSnatIpsRequest()
	less.LoadBalancerId, less.Ips = &lb, ptrs("10.0.200.77")
	w.done(*must(w.clb.DeleteLoadBalancerSnatIpsWithContext(w.ctx, less))(t).Response.RequestId)
	if got := w.shown(lb); !*got.SnatPro || len(got.SnatIps) != 2 || *got.SnatIps[0].SubnetId != subnet || *got.SnatIps[0].Ip == "10.0.200.77" {
		t.Errorf("SNAT addresses %s", jsonOf(got.SnatIps))
	}
	w.delete(lb)

	six := w.create(fullChain)
	mix := clb.NewModifyLoadBalancerMixIpTargetRequest()
	mix.LoadBalancerIds, mix.MixIpTarget = ptrs(six), new(true)
	must(w.clb.ModifyLoadBalancerMixIpTargetWithContext(w.ctx, mix))(t)
	if got := w.shown(six); !*got.MixIpTarget {
		t.Errorf("mixed targets are not on: %s", jsonOf(got))
	}
	groups := clb.NewSetSecurityGroupForLoadbalancersRequest()
	groups.SecurityGroup, groups.OperationType, groups.LoadBalancerIds = new("sg-demo0001"), new("ADD"), ptrs(six)
	must(w.clb.SetSecurityGroupForLoadbalancersWithContext(w.ctx, groups))(t)
	if got := w.shown(six).SecureGroups; len(got) != 1 || *got[0] != "sg-demo0001" {
		t.Errorf("groups %s", jsonOf(got))
	}
	groups.OperationType = new("DEL")
	must(w.clb.SetSecurityGroupForLoadbalancersWithContext(w.ctx, groups))(t)
	if got := w.shown(six).SecureGroups; len(got) != 0 {
		t.Errorf("groups after the last was taken away %s", jsonOf(got))
	}
	w.delete(six)
}

func TestIPv6LoadBalancers(t *testing.T) {
	w := start(t)
	full, nat := w.create(fullChain), w.create(func(in *clb.CreateLoadBalancerRequest) { in.AddressIPVersion = new("IPV6") })
	if got := w.shown(full); *got.AddressIPVersion != "ipv6" || *got.IPv6Mode != "IPv6FullChain" || *got.AddressIPv6 != "fd00:10:200::1" || len(got.LoadBalancerVips) != 0 || !*got.LoadBalancerPassToTarget {
		t.Errorf("IPv6FullChain reads back as %s", jsonOf(got))
	}
	if got := w.shown(nat); *got.IPv6Mode != "IPv6Nat64" || *got.AddressIPv6 != "2001:db8:64::1" {
		t.Errorf("NAT64 reads back as %s", jsonOf(got))
	}
	six, four := address("fd00:10::11", 80), address("10.0.0.11", 80)
	l, n := w.listener(full, "TCP", 80), w.listener(nat, "TCP", 80)
	for _, tc := range []struct {
		name, lb, listener string
		target             *clb.Target
		code               string
	}{
		{"IPv4 behind IPv6FullChain", full, l, four, "InvalidParameterValue"},
		{"an instance behind IPv6FullChain", full, l, node(node1, 80, 1), "InvalidParameterValue"},
		{"IPv6 behind IPv6FullChain", full, l, six, ""},
		{"IPv6 behind NAT64", nat, n, six, "InvalidParameterValue"},
		{"IPv4 behind NAT64", nat, n, four, ""},
	} {
		if got := w.bind(tc.lb, tc.listener, tc.target); got != tc.code {
			t.Errorf("%s: answered %q, want %q", tc.name, got, tc.code)
		}
	}
	for _, tc := range []struct {
		name  string
		check clb.HealthCheck
	}{
		{"an HTTP check of IPv6 TCP", clb.HealthCheck{CheckType: new("HTTP"), HttpCheckDomain: new("a"), HttpVersion: new("HTTP/1.1")}},
		{"a custom check of IPv6 TCP", clb.HealthCheck{CheckType: new("CUSTOM"), ContextType: new("TEXT"), SendContext: new("a"), RecvContext: new("b")}},
		{"an interval of 4 s with IPv6", clb.HealthCheck{IntervalTime: new(int64(4))}},
		{"probes from 100.64.0.0/10 with IPv6", clb.HealthCheck{SourceIpType: new(int64(1))}},
	} {
		in := clb.NewModifyListenerRequest()
		in.LoadBalancerId, in.ListenerId, in.HealthCheck = &full, &l, &tc.check
		if _, err := w.clb.ModifyListenerWithContext(w.ctx, in); code(err) != "InvalidParameterValue" {
			t.Errorf("%s: %v", tc.name, err)
		}
	}
	// Rules take targets of IPv4, too, once that has been switched on.
	http := w.secure(full, "HTTP", 8080, func(*clb.CreateListenerRequest) {})
	rule := w.rules(full, http, path("a.example", "/"))[0]
	in := registerRequest(full, http, four)
	in.LocationId = &rule
	if _, err := w.clb.RegisterTargetsWithContext(w.ctx, in); code(err) != "InvalidParameterValue" {
		t.Errorf("IPv4 at a rule without MixIpTarget: %v", err)
	}
	mix := clb.NewModifyLoadBalancerMixIpTargetRequest()
	mix.LoadBalancerIds, mix.MixIpTarget = ptrs(full), new(true)
	must(w.clb.ModifyLoadBalancerMixIpTargetWithContext(w.ctx, mix))(t)
	must(w.clb.RegisterTargetsWithContext(w.ctx, in))(t)
}

func TestIPv6AddressesCanBeAmongTheVIPs(t *testing.T) {
	w := start(t, func(c *clbsim.Config) { c.Assumptions.IPv6Address = "both" })
	if got := w.shown(w.create(fullChain)); len(got.LoadBalancerVips) != 1 || *got.LoadBalancerVips[0] != *got.AddressIPv6 {
		t.Errorf("VIPs %s, AddressIPv6 %s", jsonOf(got.LoadBalancerVips), *got.AddressIPv6)
	}
}

// Targets in another network are bound by address, through SNAT addresses.
func TestTargetsInAnotherNetwork(t *testing.T) {
	w := start(t)
	lb := w.create(func(*clb.CreateLoadBalancerRequest) {})
	l := w.listener(lb, "TCP", 80)
	far := address("172.16.9.9", 80)
	if got := w.bind(lb, l, far); got != "InvalidParameterValue" {
		t.Errorf("without SnatPro: answered %q", got)
	}
	in := clb.NewModifyLoadBalancerAttributesRequest()
	in.LoadBalancerId, in.SnatPro = &lb, new(true)
	must(w.clb.ModifyLoadBalancerAttributesWithContext(w.ctx, in))(t)
	if got := w.bind(lb, l, far); got != "InvalidParameterValue" {
		t.Errorf("without a SNAT address: answered %q", got)
	}
	ips := clb.NewCreateLoadBalancerSnatIpsRequest()
	ips.LoadBalancerId, ips.SnatIps = &lb, []*clb.SnatIp{{SubnetId: new(subnet)}}
	must(w.clb.CreateLoadBalancerSnatIpsWithContext(w.ctx, ips))(t)
	if got := w.bind(lb, l, address("192.0.2.1", 80)); got != "InvalidParameterValue" {
		t.Errorf("an address of no network: answered %q", got)
	}
	if got := w.bind(lb, l, far); got != "" {
		t.Errorf("with a SNAT address: answered %q", got)
	}
	list := clb.NewDescribeTargetsRequest()
	list.LoadBalancerId = &lb
	if got := must(w.clb.DescribeTargetsWithContext(w.ctx, list))(t).Response.Listeners[0].Targets[0]; *got.Type != "CCN" || *got.PrivateIpAddresses[0] != "172.16.9.9" {
		t.Errorf("the far target reads back as %s", jsonOf(got))
	}
	in.SnatPro = new(false)
	if _, err := w.clb.ModifyLoadBalancerAttributesWithContext(w.ctx, in); code(err) != "FailedOperation" {
		t.Errorf("SnatPro goes from under a target: %v", err)
	}
	less := clb.NewDeleteLoadBalancerSnatIpsRequest()
	less.LoadBalancerId, less.Ips = &lb, ptrs(*w.shown(lb).SnatIps[0].Ip)
	if _, err := w.clb.DeleteLoadBalancerSnatIpsWithContext(w.ctx, less); code(err) != "FailedOperation" {
		t.Errorf("the last SNAT address goes from under a target: %v", err)
	}
}

// A CLB of another region has its targets where TargetRegionInfo says, by
// address only.
func TestTargetsInAnotherRegion(t *testing.T) {
	w := start(t)
	w.connect(common.NewCredential("AKIDEXAMPLE", "SECRETEXAMPLE"), "ap-shanghai")
	lb := w.create(func(in *clb.CreateLoadBalancerRequest) { in.VpcId = new("vpc-shanghai") })
	shanghai := *w.shown(lb).LoadBalancerVips[0]
	w.connect(common.NewCredential("AKIDEXAMPLE", "SECRETEXAMPLE"), "ap-guangzhou")
	if vip := *w.shown(w.create(func(*clb.CreateLoadBalancerRequest) {})).LoadBalancerVips[0]; vip == shanghai {
		t.Errorf("two regions have the public address %s", vip)
	}
	w.connect(common.NewCredential("AKIDEXAMPLE", "SECRETEXAMPLE"), "ap-shanghai")
	in := clb.NewModifyLoadBalancerAttributesRequest()
	in.LoadBalancerId, in.TargetRegionInfo = &lb, &clb.TargetRegionInfo{Region: new("ap-guangzhou"), VpcId: new(vpc)}
	must(w.clb.ModifyLoadBalancerAttributesWithContext(w.ctx, in))(t)
	if got := w.shown(lb); *got.TargetRegionInfo.Region != "ap-guangzhou" || *got.TargetRegionInfo.VpcId != vpc || *got.VpcId != "vpc-shanghai" {
		t.Errorf("the CLB reads back as %s", jsonOf(got))
	}
	l := w.listener(lb, "TCP", 80)
	if got := w.bind(lb, l, node(node1, 80, 1)); got != "InvalidParameterValue" {
		t.Errorf("by instance: answered %q", got)
	}
	if got := w.bind(lb, l, address("10.0.0.11", 80)); got != "" {
		t.Errorf("by address: answered %q", got)
	}
}

// What was there before is listed like anything else; what is isolated or
// classic refuses.
func TestLoadBalancersThatNobodyOrdered(t *testing.T) {
	w := start(t, func(c *clbsim.Config) {
		c.LoadBalancers = []clbsim.ExistingLoadBalancer{
			{ID: "lb-classic1", Classic: true},
			{ID: "lb-foreign1", Name: "theirs", Type: "INTERNAL", Subnet: subnet, Tags: map[string]string{"owner": "them"}},
		}
	})
	if got := w.shown("lb-classic1"); *got.Forward != 0 || *got.Status != 1 {
		t.Errorf("classic: %s", jsonOf(got))
	}
	if got := w.shown("lb-foreign1"); *got.LoadBalancerName != "theirs" || *got.Forward != 1 || *got.LoadBalancerVips[0] != "10.0.200.1" || *got.Tags[0].TagValue != "them" {
		t.Errorf("foreign: %s", jsonOf(got))
	}
	create := clb.NewCreateListenerRequest()
	create.LoadBalancerId, create.Protocol, create.Ports = new("lb-classic1"), new("TCP"), ptrs[int64](80)
	if _, err := w.clb.CreateListenerWithContext(w.ctx, create); code(err) != "InvalidParameter" {
		t.Errorf("a listener of a classic CLB: %v", err)
	}
	if err := w.adm.PutLoadBalancer(w.ctx, admin.ExistingLoadBalancer{ID: "lb-foreign1"}); err == nil {
		t.Error("one id was taken twice")
	}
	must(0, w.adm.Isolate(w.ctx, "lb-foreign1", true))(t)
	if got := w.shown("lb-foreign1"); *got.Isolation != 1 || !slices.Contains(deref(got.AttributeFlags), "Stop") {
		t.Errorf("isolated: %s", jsonOf(got))
	}
	create.LoadBalancerId = new("lb-foreign1")
	if _, err := w.clb.CreateListenerWithContext(w.ctx, create); code(err) != "FailedOperation" {
		t.Errorf("a listener of an isolated CLB: %v", err)
	}
	must(0, w.adm.Isolate(w.ctx, "lb-foreign1", false))(t)
	must(w.clb.CreateListenerWithContext(w.ctx, create))(t)
}

// A listener of a range of ports has all of them, in its transport.
func TestListenersThatNobodyOrdered(t *testing.T) {
	const lb = "lb-foreign1"
	w := start(t, func(c *clbsim.Config) {
		c.Certificates = []clbsim.Certificate{{ID: "cert0001"}}
		c.LoadBalancers = []clbsim.ExistingLoadBalancer{{ID: lb, Listeners: []clbsim.ExistingListener{{Name: "games", Port: 8000, EndPort: 8100}, {Name: "dns", Protocol: "UDP", Port: 53}}}}
	})
	list := clb.NewDescribeListenersRequest()
	list.LoadBalancerId = new(lb)
	have := must(w.clb.DescribeListenersWithContext(w.ctx, list))(t).Response.Listeners
	if len(have) != 2 || *have[0].ListenerName != "games" || *have[0].Port != 8000 || *have[0].EndPort != 8100 || *have[1].EndPort != 0 {
		t.Fatalf("listed: %s", jsonOf(have))
	}
	for _, test := range []struct {
		protocol string
		port     int64
		want     string
	}{
		{"TCP", 7999, ""}, {"TCP", 8000, "InvalidParameter.PortCheckFailed"}, {"TCP", 8050, "InvalidParameter.PortCheckFailed"},
		{"TCP_SSL", 8100, "InvalidParameter.PortCheckFailed"}, {"TCP", 8101, ""}, {"UDP", 8050, ""}, {"UDP", 53, "InvalidParameter.PortCheckFailed"},
	} {
		create := clb.NewCreateListenerRequest()
		create.LoadBalancerId, create.Protocol, create.Ports = new(lb), &test.protocol, ptrs(test.port)
		if test.protocol == "TCP_SSL" {
			create.Certificate = &clb.CertificateInput{SSLMode: new("UNIDIRECTIONAL"), CertId: new("cert0001")}
		}
		if _, err := w.clb.CreateListenerWithContext(w.ctx, create); code(err) != test.want {
			t.Errorf("%s:%d: %v, want %q", test.protocol, test.port, err, test.want)
		}
	}
	if got := w.bind(lb, *have[0].ListenerId, node(node1, 80, 1)); got != "UnsupportedOperation" {
		t.Errorf("a target of the range: answered %q", got)
	}
	for _, listeners := range [][]clbsim.ExistingListener{
		{{Port: 80, EndPort: 80}}, {{Port: 0}}, {{Port: 80, EndPort: 65536}}, {{Port: 80, EndPort: 90}, {Port: 85}}, {{Protocol: "HTTP", Port: 80}},
	} {
		if err := w.adm.PutLoadBalancer(w.ctx, admin.ExistingLoadBalancer{ID: "lb-foreign2", Listeners: listeners}); err == nil {
			t.Errorf("%+v are taken", listeners)
		}
	}
}

func deref[T any](ps []*T) []T {
	out := make([]T, len(ps))
	for i, p := range ps {
		out[i] = *p
	}
	return out
}
