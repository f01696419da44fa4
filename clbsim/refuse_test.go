// SPDX-License-Identifier: Apache-2.0

package clbsim_test

import (
	"fmt"
	"strings"
	"testing"

	clb "github.com/tencentcloud/tencentcloud-sdk-go/tencentcloud/clb/v20180317"
)

// fixture is what the wrong requests are aimed at.
type fixture struct {
	*world
	lb, tcp, udp string // a CLB with a listener TCP:80 and UDP:53; node1:30080 is bound to the first
}

func newFixture(t *testing.T) fixture {
	w := start(t)
	f := fixture{world: w, lb: w.balancer()}
	f.tcp = w.listener(f.lb, "TCP", 80)
	f.udp = w.listener(f.lb, "UDP", 53)
	w.register(f.lb, f.tcp, node(node1, 30080, 10))
	return f
}

// wrong is one kind of wrong request, sent with the real SDK.
type wrong struct {
	name string
	code string // as documented for the action
	call func(f fixture) error
}

func createLB(change func(*clb.CreateLoadBalancerRequest)) func(fixture) error {
	return func(f fixture) error {
		in := clb.NewCreateLoadBalancerRequest()
		in.LoadBalancerType, in.VpcId = new("OPEN"), new(vpc)
		change(in)
		_, err := f.clb.CreateLoadBalancerWithContext(f.ctx, in)
		return err
	}
}

func attributes(change func(*clb.ModifyLoadBalancerAttributesRequest)) func(fixture) error {
	return func(f fixture) error {
		in := clb.NewModifyLoadBalancerAttributesRequest()
		in.LoadBalancerId = &f.lb
		change(in)
		_, err := f.clb.ModifyLoadBalancerAttributesWithContext(f.ctx, in)
		return err
	}
}

func createListener(change func(fixture, *clb.CreateListenerRequest)) func(fixture) error {
	return func(f fixture) error {
		in := clb.NewCreateListenerRequest()
		in.LoadBalancerId, in.Protocol, in.Ports = &f.lb, new("TCP"), ptrs[int64](443)
		change(f, in)
		_, err := f.clb.CreateListenerWithContext(f.ctx, in)
		return err
	}
}

func healthCheck(protocol string, h clb.HealthCheck) func(fixture) error {
	return createListener(func(_ fixture, in *clb.CreateListenerRequest) { in.Protocol, in.HealthCheck = &protocol, &h })
}

func register(change func(fixture, *clb.RegisterTargetsRequest)) func(fixture) error {
	return func(f fixture) error {
		in := registerRequest(f.lb, f.tcp, node(node2, 30080, 10))
		change(f, in)
		_, err := f.clb.RegisterTargetsWithContext(f.ctx, in)
		return err
	}
}

func registerTarget(targets ...*clb.Target) func(fixture) error {
	return register(func(_ fixture, in *clb.RegisterTargetsRequest) { in.Targets = targets })
}

func batch(change func(fixture, *clb.BatchRegisterTargetsRequest)) func(fixture) error {
	return func(f fixture) error {
		in := clb.NewBatchRegisterTargetsRequest()
		in.LoadBalancerId, in.Targets = &f.lb, []*clb.BatchTarget{{ListenerId: &f.tcp, InstanceId: new(node2), Port: new(int64(30080))}}
		change(f, in)
		_, err := f.clb.BatchRegisterTargetsWithContext(f.ctx, in)
		return err
	}
}

func many(n int, target func(i int64) *clb.Target) []*clb.Target {
	out := []*clb.Target{}
	for i := range n {
		out = append(out, target(int64(i)))
	}
	return out
}

func nodePorts(i int64) *clb.Target { return node(node2, 30000+i, 10) }

var wrongLoadBalancers = []wrong{
	{"a type that does not exist", "InvalidParameterValue", createLB(func(in *clb.CreateLoadBalancerRequest) { in.LoadBalancerType = new("PUBLIC") })},
	{"no type", "MissingParameter", createLB(func(in *clb.CreateLoadBalancerRequest) { in.LoadBalancerType = nil })},
	{"the classic kind", "InvalidParameterValue", createLB(func(in *clb.CreateLoadBalancerRequest) { in.Forward = new(int64(0)) })},
	{"internal without subnet", "MissingParameter", createLB(func(in *clb.CreateLoadBalancerRequest) { in.LoadBalancerType = new("INTERNAL") })},
	{"internal without VPC", "MissingParameter", createLB(func(in *clb.CreateLoadBalancerRequest) {
		in.LoadBalancerType, in.VpcId, in.SubnetId = new("INTERNAL"), nil, new(subnet)
	})},
	{"public with subnet", "InvalidParameter", createLB(func(in *clb.CreateLoadBalancerRequest) { in.SubnetId = new(subnet) })},
	{"an unknown VPC", "InvalidParameterValue", createLB(func(in *clb.CreateLoadBalancerRequest) { in.VpcId = new("vpc-nothere1") })},
	{"a subnet of another VPC", "InvalidParameterValue", createLB(func(in *clb.CreateLoadBalancerRequest) {
		in.LoadBalancerType, in.VpcId, in.SubnetId = new("INTERNAL"), new("vpc-other001"), new(subnet)
	})},
	{"a VIP outside of the subnet", "InvalidParameterValue", createLB(func(in *clb.CreateLoadBalancerRequest) {
		in.LoadBalancerType, in.SubnetId, in.Vip = new("INTERNAL"), new(subnet), new("10.1.2.3")
	})},
	{"a name of 81 characters", "InvalidParameterValue.Length", createLB(func(in *clb.CreateLoadBalancerRequest) { in.LoadBalancerName = new(strings.Repeat("名", 81)) })},
	{"an emoji in the name", "InvalidParameterValue", createLB(func(in *clb.CreateLoadBalancerRequest) { in.LoadBalancerName = new("web🙂") })},
	{"21 at once", "InvalidParameterValue.Range", createLB(func(in *clb.CreateLoadBalancerRequest) { in.Number = new(uint64(21)) })},
	{"a client token of 65 characters", "InvalidParameterValue.Length", createLB(func(in *clb.CreateLoadBalancerRequest) { in.ClientToken = new(strings.Repeat("a", 65)) })},
	{"a client token that is not ASCII", "InvalidParameterValue", createLB(func(in *clb.CreateLoadBalancerRequest) { in.ClientToken = new("ü") })},
	{"21 tags", "InvalidParameterValue.Length", createLB(func(in *clb.CreateLoadBalancerRequest) {
		for i := range 21 {
			in.Tags = append(in.Tags, &clb.TagInfo{TagKey: new(fmt.Sprint("k", i)), TagValue: new("")})
		}
	})},
	{"one tag key twice", "InvalidParameterValue", createLB(func(in *clb.CreateLoadBalancerRequest) {
		in.Tags = []*clb.TagInfo{{TagKey: new("a"), TagValue: new("1")}, {TagKey: new("a"), TagValue: new("2")}}
	})},
	{"a bandwidth out of range", "InvalidParameterValue.Range", createLB(func(in *clb.CreateLoadBalancerRequest) {
		in.InternetAccessible = &clb.InternetAccessible{InternetMaxBandwidthOut: new(int64(4096))}
	})},
	{"an unknown charge type", "InvalidParameterValue", createLB(func(in *clb.CreateLoadBalancerRequest) {
		in.InternetAccessible = &clb.InternetAccessible{InternetChargeType: new("FREE")}
	})},
	{"a carrier without bandwidth package", "InvalidParameter", createLB(func(in *clb.CreateLoadBalancerRequest) { in.VipIsp = new("CMCC") })},
	{"an unknown zone", "InvalidParameterValue", createLB(func(in *clb.CreateLoadBalancerRequest) { in.ZoneId = new("999999") })},
	{"an IP version that does not exist", "InvalidParameterValue", createLB(func(in *clb.CreateLoadBalancerRequest) { in.AddressIPVersion = new("IPV5") })},
	{"IPv6 without subnet", "MissingParameter", createLB(func(in *clb.CreateLoadBalancerRequest) { in.AddressIPVersion = new("IPv6FullChain") })},
	{"IPv6 in a subnet without IPv6", "InvalidParameterValue", createLB(func(in *clb.CreateLoadBalancerRequest) {
		in.AddressIPVersion, in.SubnetId = new("IPv6FullChain"), new("subnet-ipv4only")
	})},
	{"internal IPv6", "InvalidParameter", createLB(func(in *clb.CreateLoadBalancerRequest) {
		in.LoadBalancerType, in.AddressIPVersion, in.SubnetId = new("INTERNAL"), new("IPV6"), new(subnet)
	})},
	{"a zone for IPv6", "InvalidParameter", createLB(func(in *clb.CreateLoadBalancerRequest) { in.AddressIPVersion, in.ZoneId = new("ipv6"), new("100003") })},
	{"a VIP for NAT64", "InvalidParameter", createLB(func(in *clb.CreateLoadBalancerRequest) {
		in.AddressIPVersion, in.Vip = new("IPV6"), new("2001:db8:64::9")
	})},
	{"SNAT addresses without SnatPro", "InvalidParameter", createLB(func(in *clb.CreateLoadBalancerRequest) { in.SnatIps = []*clb.SnatIp{{SubnetId: new(subnet)}} })},
	{"a SNAT address of an unknown subnet", "InvalidParameterValue", createLB(func(in *clb.CreateLoadBalancerRequest) {
		in.SnatPro, in.SnatIps = new(true), []*clb.SnatIp{{SubnetId: new("subnet-nothere1")}}
	})},
	{"eleven SNAT addresses", "LimitExceeded", func(f fixture) error {
		in := clb.NewCreateLoadBalancerSnatIpsRequest()
		in.LoadBalancerId, in.SnatIps, in.Number = &f.lb, []*clb.SnatIp{{SubnetId: new(subnet)}}, new(uint64(11))
		_, err := f.clb.CreateLoadBalancerSnatIpsWithContext(f.ctx, in)
		return err
	}},
	{"deleting a SNAT address that is none", "InvalidParameterValue", func(f fixture) error {
		in := clb.NewDeleteLoadBalancerSnatIpsRequest()
		in.LoadBalancerId, in.Ips = &f.lb, ptrs("10.0.200.99")
		_, err := f.clb.DeleteLoadBalancerSnatIpsWithContext(f.ctx, in)
		return err
	}},
	{"mixed targets on IPv4", "InvalidParameter", func(f fixture) error {
		in := clb.NewModifyLoadBalancerMixIpTargetRequest()
		in.LoadBalancerIds, in.MixIpTarget = ptrs(f.lb), new(true)
		_, err := f.clb.ModifyLoadBalancerMixIpTargetWithContext(f.ctx, in)
		return err
	}},
	{"targets in a region that does not exist", "InvalidParameter.RegionNotFound", attributes(func(in *clb.ModifyLoadBalancerAttributesRequest) {
		in.TargetRegionInfo = &clb.TargetRegionInfo{Region: new("ap-nowhere"), VpcId: new(vpc)}
	})},
	{"targets in an unknown VPC", "InvalidParameterValue", attributes(func(in *clb.ModifyLoadBalancerAttributesRequest) {
		in.TargetRegionInfo = &clb.TargetRegionInfo{Region: new("ap-guangzhou"), VpcId: new("vpc-nothere1")}
	})},
	{"targets elsewhere while some are bound", "FailedOperation", attributes(func(in *clb.ModifyLoadBalancerAttributesRequest) {
		in.TargetRegionInfo = &clb.TargetRegionInfo{Region: new("ap-guangzhou"), VpcId: new("vpc-other001")}
	})},
	{"another charging mode, which is not simulated", "UnsupportedOperation", attributes(func(in *clb.ModifyLoadBalancerAttributesRequest) { in.SwitchFlag = new(uint64(1)) })},
	{"a bandwidth of 0", "InvalidParameterValue", attributes(func(in *clb.ModifyLoadBalancerAttributesRequest) {
		in.InternetChargeInfo = &clb.InternetAccessible{InternetMaxBandwidthOut: new(int64(0))}
	})},
	{"a group for 21 CLBs", "InvalidParameterValue.Length", func(f fixture) error {
		in := clb.NewSetSecurityGroupForLoadbalancersRequest()
		in.SecurityGroup, in.OperationType, in.LoadBalancerIds = new("sg-demo0001"), new("ADD"), ptrs(make([]string, 21)...)
		_, err := f.clb.SetSecurityGroupForLoadbalancersWithContext(f.ctx, in)
		return err
	}},
	{"listing with 21 ids", "InvalidParameterValue.Length", func(f fixture) error {
		in := clb.NewDescribeLoadBalancersRequest()
		in.LoadBalancerIds = ptrs(make([]string, 21)...)
		_, err := f.clb.DescribeLoadBalancersWithContext(f.ctx, in)
		return err
	}},
	{"listing a page of 101", "InvalidParameterValue.Range", func(f fixture) error {
		in := clb.NewDescribeLoadBalancersRequest()
		in.Limit = new(int64(101))
		_, err := f.clb.DescribeLoadBalancersWithContext(f.ctx, in)
		return err
	}},
	{"listing by an unknown filter", "InvalidParameterValue.InvalidFilter", func(f fixture) error {
		in := clb.NewDescribeLoadBalancersRequest()
		in.Filters = []*clb.Filter{{Name: new("color"), Values: ptrs("red")}}
		_, err := f.clb.DescribeLoadBalancersWithContext(f.ctx, in)
		return err
	}},
	{"listing with 11 filters", "InvalidParameterValue.Length", func(f fixture) error {
		in := clb.NewDescribeLoadBalancersRequest()
		for range 11 {
			in.Filters = append(in.Filters, &clb.Filter{Name: new("tag-key"), Values: ptrs("a")})
		}
		_, err := f.clb.DescribeLoadBalancersWithContext(f.ctx, in)
		return err
	}},
	{"deleting what is not there", "InvalidParameter.LBIdNotFound", func(f fixture) error {
		in := clb.NewDeleteLoadBalancerRequest()
		in.LoadBalancerIds = ptrs(f.lb, "lb-nothere1")
		_, err := f.clb.DeleteLoadBalancerWithContext(f.ctx, in)
		return err
	}},
	{"deleting 21", "InvalidParameterValue.Length", func(f fixture) error {
		in := clb.NewDeleteLoadBalancerRequest()
		in.LoadBalancerIds = ptrs(make([]string, 21)...)
		_, err := f.clb.DeleteLoadBalancerWithContext(f.ctx, in)
		return err
	}},
	{"renaming to a name that is taken", "InvalidParameterValue.Duplicate", func(f fixture) error {
		in := clb.NewModifyLoadBalancerAttributesRequest()
		in.LoadBalancerId, in.LoadBalancerName = new(f.balancer()), &f.lb
		_, err := f.clb.ModifyLoadBalancerAttributesWithContext(f.ctx, in)
		return err
	}},
	{"modifying nothing", "MissingParameter", func(f fixture) error {
		in := clb.NewModifyLoadBalancerAttributesRequest()
		in.LoadBalancerId = &f.lb
		_, err := f.clb.ModifyLoadBalancerAttributesWithContext(f.ctx, in)
		return err
	}},
	{"an unknown security group", "InvalidParameterValue", func(f fixture) error {
		in := clb.NewSetLoadBalancerSecurityGroupsRequest()
		in.LoadBalancerId, in.SecurityGroups = &f.lb, ptrs("sg-nothere1")
		_, err := f.clb.SetLoadBalancerSecurityGroupsWithContext(f.ctx, in)
		return err
	}},
	{"51 security groups", "LimitExceeded", func(f fixture) error {
		in := clb.NewSetLoadBalancerSecurityGroupsRequest()
		in.LoadBalancerId, in.SecurityGroups = &f.lb, ptrs(make([]string, 51)...)
		_, err := f.clb.SetLoadBalancerSecurityGroupsWithContext(f.ctx, in)
		return err
	}},
}

var wrongListeners = []wrong{
	{"no load balancer", "MissingParameter", createListener(func(_ fixture, in *clb.CreateListenerRequest) { in.LoadBalancerId = nil })},
	// CreateListener documents no LBIdNotFound: the plain code is all there is.
	{"an unknown load balancer", "InvalidParameter", createListener(func(_ fixture, in *clb.CreateListenerRequest) { in.LoadBalancerId = new("lb-nothere1") })},
	{"no port", "MissingParameter", createListener(func(_ fixture, in *clb.CreateListenerRequest) { in.Ports = nil })},
	{"50 ports", "InvalidParameterValue.Length", createListener(func(_ fixture, in *clb.CreateListenerRequest) {
		in.Ports = nil
		for i := range int64(50) {
			in.Ports = append(in.Ports, new(1000+i))
		}
	})},
	{"port 0", "InvalidParameterValue", createListener(func(_ fixture, in *clb.CreateListenerRequest) { in.Ports = ptrs[int64](0) })},
	{"port 65536", "InvalidParameterValue", createListener(func(_ fixture, in *clb.CreateListenerRequest) { in.Ports = ptrs[int64](65536) })},
	{"one port twice", "InvalidParameterValue", createListener(func(_ fixture, in *clb.CreateListenerRequest) { in.Ports = ptrs[int64](81, 81) })},
	{"a port that is taken", "InvalidParameter.PortCheckFailed", createListener(func(_ fixture, in *clb.CreateListenerRequest) { in.Ports = ptrs[int64](80) })},
	{"a protocol that does not exist", "InvalidParameterValue", createListener(func(_ fixture, in *clb.CreateListenerRequest) { in.Protocol = new("SCTP") })},
	{"two names for one port", "InvalidParameterValue", createListener(func(_ fixture, in *clb.CreateListenerRequest) { in.ListenerNames = ptrs("a", "b") })},
	{"a scheduler that does not exist", "InvalidParameterValue", createListener(func(_ fixture, in *clb.CreateListenerRequest) { in.Scheduler = new("RANDOM") })},
	{"Kubernetes' affinity of 10800 s", "InvalidParameterValue", createListener(func(_ fixture, in *clb.CreateListenerRequest) { in.SessionExpireTime = new(int64(10800)) })},
	{"an affinity of 29 s", "InvalidParameterValue", createListener(func(_ fixture, in *clb.CreateListenerRequest) { in.SessionExpireTime = new(int64(29)) })},
	{"an idle timeout of 901 s", "InvalidParameterValue", createListener(func(_ fixture, in *clb.CreateListenerRequest) { in.IdleConnectTimeout = new(int64(901)) })},
	{"a certificate on TCP", "InvalidParameter", createListener(func(_ fixture, in *clb.CreateListenerRequest) {
		in.Certificate = &clb.CertificateInput{CertId: new("abc")}
	})},
	{"PROXY protocol on TCP", "InvalidParameter", createListener(func(_ fixture, in *clb.CreateListenerRequest) { in.ProxyProtocol = new(true) })},
	{"a connection limit on a shared instance", "InvalidParameter", createListener(func(_ fixture, in *clb.CreateListenerRequest) { in.MaxConn = new(int64(100)) })},
	{"QUIC sessions on TCP", "InvalidParameterValue", createListener(func(_ fixture, in *clb.CreateListenerRequest) { in.SessionType = new("QUIC_CID") })},
	{"a health check timeout of 61 s", "InvalidParameterValue", healthCheck("TCP", clb.HealthCheck{TimeOut: new(int64(61))})},
	{"an interval of 1 s", "InvalidParameterValue", healthCheck("TCP", clb.HealthCheck{IntervalTime: new(int64(1))})},
	{"a timeout as long as the interval", "InvalidParameterValue", healthCheck("TCP", clb.HealthCheck{TimeOut: new(int64(5)), IntervalTime: new(int64(5))})},
	{"a threshold of 1", "InvalidParameterValue", healthCheck("TCP", clb.HealthCheck{HealthNum: new(int64(1))})},
	{"an HTTP check without domain", "InvalidParameterValue", healthCheck("TCP", clb.HealthCheck{CheckType: new("HTTP"), HttpVersion: new("HTTP/1.1")})},
	{"an HTTP check without version", "InvalidParameterValue", healthCheck("TCP", clb.HealthCheck{CheckType: new("HTTP"), HttpCheckDomain: new("n")})},
	{"an HTTP check with POST", "InvalidParameterValue", healthCheck("TCP", clb.HealthCheck{CheckType: new("HTTP"), HttpCheckDomain: new("n"), HttpVersion: new("HTTP/1.1"), HttpCheckMethod: new("POST")})},
	{"HTTP codes beyond 31", "InvalidParameterValue", healthCheck("TCP", clb.HealthCheck{HttpCode: new(int64(32))})},
	{"a path without slash", "InvalidParameterValue", healthCheck("TCP", clb.HealthCheck{HttpCheckPath: new("healthz")})},
	{"an HTTP check on UDP", "InvalidParameterValue", healthCheck("UDP", clb.HealthCheck{CheckType: new("HTTP"), HttpCheckDomain: new("n"), HttpVersion: new("HTTP/1.1")})},
	{"a TCP check on UDP", "InvalidParameterValue", healthCheck("UDP", clb.HealthCheck{CheckType: new("TCP")})},
	{"a ping check on TCP", "InvalidParameterValue", healthCheck("TCP", clb.HealthCheck{CheckType: new("PING")})},
	{"a custom check without content", "InvalidParameterValue", healthCheck("UDP", clb.HealthCheck{CheckType: new("CUSTOM")})},
	{"a custom check with half a byte", "InvalidParameterValue", healthCheck("UDP", clb.HealthCheck{CheckType: new("CUSTOM"), ContextType: new("HEX"), SendContext: new("ABC"), RecvContext: new("AB")})},
	{"a probe source that does not exist", "InvalidParameterValue", healthCheck("TCP", clb.HealthCheck{SourceIpType: new(int64(2))})},
	{"a check port of 0", "InvalidParameterValue", healthCheck("TCP", clb.HealthCheck{CheckPort: new(int64(0))})},
	{"modifying an unknown listener", "InvalidParameter", func(f fixture) error {
		in := clb.NewModifyListenerRequest()
		in.LoadBalancerId, in.ListenerId, in.Scheduler = &f.lb, new("lbl-nothere1"), new("WRR")
		_, err := f.clb.ModifyListenerWithContext(f.ctx, in)
		return err
	}},
	{"deleting an unknown listener", "InvalidParameter", func(f fixture) error {
		in := clb.NewDeleteListenerRequest()
		in.LoadBalancerId, in.ListenerId = &f.lb, new("lbl-nothere1")
		_, err := f.clb.DeleteListenerWithContext(f.ctx, in)
		return err
	}},
	{"deleting a known and an unknown listener", "InvalidParameter", func(f fixture) error {
		in := clb.NewDeleteLoadBalancerListenersRequest()
		in.LoadBalancerId, in.ListenerIds = &f.lb, ptrs(f.tcp, "lbl-nothere1")
		_, err := f.clb.DeleteLoadBalancerListenersWithContext(f.ctx, in)
		return err
	}},
	{"deleting 21 listeners", "InvalidParameterValue.Length", func(f fixture) error {
		in := clb.NewDeleteLoadBalancerListenersRequest()
		in.LoadBalancerId, in.ListenerIds = &f.lb, ptrs(make([]string, 21)...)
		_, err := f.clb.DeleteLoadBalancerListenersWithContext(f.ctx, in)
		return err
	}},
	{"listing the listeners of an unknown CLB", "InvalidParameter.LBIdNotFound", func(f fixture) error {
		in := clb.NewDescribeListenersRequest()
		in.LoadBalancerId = new("lb-nothere1")
		_, err := f.clb.DescribeListenersWithContext(f.ctx, in)
		return err
	}},
	{"listing by 101 ids", "InvalidParameterValue.Length", func(f fixture) error {
		in := clb.NewDescribeListenersRequest()
		in.LoadBalancerId, in.ListenerIds = &f.lb, ptrs(make([]string, 101)...)
		_, err := f.clb.DescribeListenersWithContext(f.ctx, in)
		return err
	}},
}

// Each wrong request is refused with the code that the action documents, and
// leaves everything as it was.
func TestWrongRequestsAreRefused(t *testing.T) {
	for _, group := range []struct {
		name  string
		cases []wrong
	}{{"load balancers", wrongLoadBalancers}, {"listeners", wrongListeners}, {"targets", wrongTargets}, {"TLS and layer 7", wrongLayer7}, {"rules", wrongRules}, {"instances and tags", wrongNeighbours}} {
		t.Run(group.name, func(t *testing.T) {
			f := newFixture(t)
			for _, tc := range group.cases {
				t.Run(tc.name, func(t *testing.T) {
					if got := code(tc.call(f)); got != tc.code {
						t.Errorf("answered %q, want %q", got, tc.code)
					}
				})
			}
			if got := f.targets(f.tcp); len(got) != 1 || got[0].Weight != 10 {
				t.Errorf("after nothing but wrong requests the targets are %+v", got)
			}
		})
	}
}
