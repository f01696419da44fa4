// SPDX-License-Identifier: Apache-2.0

package clbsim_test

import (
	"strings"

	clb "github.com/tencentcloud/tencentcloud-sdk-go/tencentcloud/clb/v20180317"
	cvm "github.com/tencentcloud/tencentcloud-sdk-go/tencentcloud/cvm/v20170312"
	tag "github.com/tencentcloud/tencentcloud-sdk-go/tencentcloud/tag/v20180813"
)

var wrongTargets = []wrong{
	{"an unknown instance", "InvalidParameterValue", registerTarget(node("ins-nothere1", 30080, 10))},
	{"an instance of another VPC", "InvalidParameterValue", registerTarget(node(elsewhere, 30080, 10))},
	{"an address outside of the VPC", "InvalidParameterValue", registerTarget(address("192.0.2.1", 30080))},
	{"something that is not an address", "InvalidParameterValue", registerTarget(address("n1", 30080))},
	{"instance and address", "InvalidParameterValue", registerTarget(&clb.Target{InstanceId: new(node2), EniIp: new("10.0.0.12"), Port: new(int64(1))})},
	{"neither instance nor address", "InvalidParameterValue", registerTarget(&clb.Target{Port: new(int64(1))})},
	{"no port", "MissingParameter", registerTarget(&clb.Target{InstanceId: new(node2)})},
	{"port 65536", "InvalidParameterValue", registerTarget(node(node2, 65536, 10))},
	{"weight 101", "InvalidParameterValue", registerTarget(node(node2, 30080, 101))},
	{"weight -1", "InvalidParameterValue", registerTarget(node(node2, 30080, -1))},
	{"no targets", "MissingParameter", registerTarget()},
	{"21 targets", "InvalidParameterValue.Length", registerTarget(many(21, nodePorts)...)},
	{"a target that is bound", "InvalidParameterValue.Duplicate", registerTarget(node(node1, 30080, 10))},
	{"a target that is bound, by its address", "InvalidParameterValue.Duplicate", registerTarget(address("10.0.0.11", 30080))},
	{"one target twice", "InvalidParameterValue.Duplicate", registerTarget(node(node2, 1, 10), node(node2, 1, 20))},
	{"a rule of layer 7 on a TCP listener", "InvalidParameter", register(func(_ fixture, in *clb.RegisterTargetsRequest) { in.LocationId = new("loc-12345678") })},
	{"an unknown listener", "InvalidParameter", register(func(_ fixture, in *clb.RegisterTargetsRequest) { in.ListenerId = new("lbl-nothere1") })},
	{"no listener", "MissingParameter", register(func(_ fixture, in *clb.RegisterTargetsRequest) { in.ListenerId = nil })},
	{"a backend that another TCP listener has", "InvalidParameterValue.Duplicate", register(func(f fixture, in *clb.RegisterTargetsRequest) {
		in.ListenerId, in.Targets = new(f.listener(f.lb, "TCP", 8080)), []*clb.Target{node(node1, 30080, 10)}
	})},
	{"deregistering what is not bound", "InvalidParameterValue", func(f fixture) error {
		in := clb.NewDeregisterTargetsRequest()
		in.LoadBalancerId, in.ListenerId, in.Targets = &f.lb, &f.tcp, []*clb.Target{node(node2, 30080, 10)}
		_, err := f.clb.DeregisterTargetsWithContext(f.ctx, in)
		return err
	}},
	{"deregistering by address what was bound by instance", "InvalidParameterValue", func(f fixture) error {
		in := clb.NewDeregisterTargetsRequest()
		in.LoadBalancerId, in.ListenerId, in.Targets = &f.lb, &f.tcp, []*clb.Target{address("10.0.0.11", 30080)}
		_, err := f.clb.DeregisterTargetsWithContext(f.ctx, in)
		return err
	}},
	{"the weight of what is not bound", "InvalidParameterValue", func(f fixture) error {
		in := clb.NewModifyTargetWeightRequest()
		in.LoadBalancerId, in.ListenerId, in.Targets = &f.lb, &f.tcp, []*clb.Target{node(node2, 30080, 10)}
		_, err := f.clb.ModifyTargetWeightWithContext(f.ctx, in)
		return err
	}},
	{"a batch of 501", "InvalidParameterValue.Length", batch(func(f fixture, in *clb.BatchRegisterTargetsRequest) {
		for i := range int64(501) {
			in.Targets = append(in.Targets[:i], &clb.BatchTarget{ListenerId: &f.tcp, InstanceId: new(node2), Port: new(1000 + i)})
		}
	})},
	{"a batch to an unknown listener", "InvalidParameter.ListenerIdNotFound", batch(func(_ fixture, in *clb.BatchRegisterTargetsRequest) { in.Targets[0].ListenerId = new("lbl-nothere1") })},
	{"a batch to an unknown CLB", "InvalidParameter.LBIdNotFound", batch(func(_ fixture, in *clb.BatchRegisterTargetsRequest) { in.LoadBalancerId = new("lb-nothere1") })},
	{"a batch over the target quota", "LimitExceeded", batch(func(f fixture, in *clb.BatchRegisterTargetsRequest) {
		for i := range int64(100) { // one is bound already
			in.Targets = append(in.Targets[:i], &clb.BatchTarget{ListenerId: &f.tcp, InstanceId: new(node2), Port: new(1000 + i)})
		}
	})},
	{"a batch with weight 101", "InvalidParameterValue", batch(func(_ fixture, in *clb.BatchRegisterTargetsRequest) { in.Targets[0].Weight = new(int64(101)) })},
	{"weights of 101 listeners", "InvalidParameterValue.Length", weights(101, 1)},
	{"weights of 51 targets of a listener", "InvalidParameterValue.Length", weights(1, 51)},
	{"501 weights", "InvalidParameterValue.Length", weights(50, 11)},
	{"the health of 31 CLBs", "InvalidParameterValue.Length", func(f fixture) error {
		in := clb.NewDescribeTargetHealthRequest()
		in.LoadBalancerIds = ptrs(make([]string, 31)...)
		_, err := f.clb.DescribeTargetHealthWithContext(f.ctx, in)
		return err
	}},
	{"the health of an unknown CLB", "InvalidParameter.LBIdNotFound", func(f fixture) error {
		in := clb.NewDescribeTargetHealthRequest()
		in.LoadBalancerIds = ptrs("lb-nothere1")
		_, err := f.clb.DescribeTargetHealthWithContext(f.ctx, in)
		return err
	}},
	{"targets by an unknown filter", "InvalidParameterValue.InvalidFilter", func(f fixture) error {
		in := clb.NewDescribeTargetsRequest()
		in.LoadBalancerId, in.Filters = &f.lb, []*clb.Filter{{Name: new("zone"), Values: ptrs("a")}}
		_, err := f.clb.DescribeTargetsWithContext(f.ctx, in)
		return err
	}},
	{"an unknown task", "InvalidParameter", func(f fixture) error {
		in := clb.NewDescribeTaskStatusRequest()
		in.TaskId = new("00000000-0000-0000-0000-000000000000")
		_, err := f.clb.DescribeTaskStatusWithContext(f.ctx, in)
		return err
	}},
}

func weights(listeners, targets int) func(fixture) error {
	return func(f fixture) error {
		in := clb.NewBatchModifyTargetWeightRequest()
		in.LoadBalancerId = &f.lb
		for range listeners {
			in.ModifyList = append(in.ModifyList, &clb.RsWeightRule{ListenerId: &f.tcp, Targets: many(targets, nodePorts)})
		}
		_, err := f.clb.BatchModifyTargetWeightWithContext(f.ctx, in)
		return err
	}
}

var wrongNeighbours = []wrong{
	{"instances by id and filter", "InvalidParameter", instances(func(in *cvm.DescribeInstancesRequest) {
		in.InstanceIds, in.Filters = ptrs(node1), []*cvm.Filter{{Name: new("zone"), Values: ptrs("z")}}
	})},
	{"instances by six addresses", "InvalidFilterValue.LimitExceeded", instances(func(in *cvm.DescribeInstancesRequest) {
		in.Filters = []*cvm.Filter{{Name: new("private-ip-address"), Values: ptrs("10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5", "10.0.0.6")}}
	})},
	{"instances by a name instead of an address", "InvalidParameterValue.IPAddressMalformed", instances(func(in *cvm.DescribeInstancesRequest) {
		in.Filters = []*cvm.Filter{{Name: new("private-ip-address"), Values: ptrs("n1")}}
	})},
	{"instances by an unknown filter", "InvalidFilter", instances(func(in *cvm.DescribeInstancesRequest) {
		in.Filters = []*cvm.Filter{{Name: new("color"), Values: ptrs("red")}}
	})},
	{"a malformed instance id", "InvalidInstanceId.Malformed", instances(func(in *cvm.DescribeInstancesRequest) { in.InstanceIds = ptrs("node-1") })},
	{"a page of 101 instances", "InvalidParameterValue.LimitExceeded", instances(func(in *cvm.DescribeInstancesRequest) { in.Limit = new(int64(101)) })},
	{"a resource name that is none", "InvalidParameterValue.ResourceDescriptionError", tagging("clb/lb-1", "a")},
	{"a resource of another account", "InvalidParameterValue.ResourceDescriptionError", tagging("qcs::clb:ap-guangzhou:uin/1:clb/lb-1", "a")},
	{"a resource of another service", "InvalidParameter.UnsupportedService", tagging("qcs::cvm:ap-guangzhou:uin/100000000001:instance/ins-1", "a")},
	{"a reserved tag key", "InvalidParameter.ReservedTagKey", tagging("qcs::clb:ap-guangzhou:uin/100000000001:clb/lb-1", "qcs:a")},
	{"an empty tag key", "InvalidParameterValue.TagKeyEmpty", tagging("qcs::clb:ap-guangzhou:uin/100000000001:clb/lb-1", "")},
	{"11 tags", "LimitExceeded.TagNumPerRequest", tagging("qcs::clb:ap-guangzhou:uin/100000000001:clb/lb-1", strings.Split("a b c d e f g h i j k", " ")...)},
	{"resources by no tag", "InvalidParameterValue.TagFilters", func(f fixture) error {
		_, err := f.tag.DescribeResourcesByTagsWithContext(f.ctx, tag.NewDescribeResourcesByTagsRequest())
		return err
	}},
}

func instances(change func(*cvm.DescribeInstancesRequest)) func(fixture) error {
	return func(f fixture) error {
		in := cvm.NewDescribeInstancesRequest()
		change(in)
		_, err := f.cvm.DescribeInstancesWithContext(f.ctx, in)
		return err
	}
}

func tagging(resource string, keys ...string) func(fixture) error {
	return func(f fixture) error {
		in := tag.NewTagResourcesRequest()
		in.ResourceList = ptrs(resource)
		for _, k := range keys {
			in.Tags = append(in.Tags, &tag.Tag{TagKey: new(k), TagValue: new("v")})
		}
		_, err := f.tag.TagResourcesWithContext(f.ctx, in)
		return err
	}
}
