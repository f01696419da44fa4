// SPDX-License-Identifier: Apache-2.0

package clbsim_test

import (
	"fmt"
	"testing"

	clb "github.com/tencentcloud/tencentcloud-sdk-go/tencentcloud/clb/v20180317"
	"github.com/tencentcloud/tencentcloud-sdk-go/tencentcloud/common"
	"github.com/tencentcloud/tencentcloud-sdk-go/tencentcloud/common/profile"

	"github.com/clbsync/clbsync/clbsim"
)

// What a call costs, SDK included, on an account with 200 CLBs of 100 targets:
// a benchmark of a controller measures this, too.
func BenchmarkCall(b *testing.B) {
	cfg := config()
	cfg.Quotas["TOTAL_OPEN_CLB_QUOTA"] = 1000
	sim, err := clbsim.New(cfg)
	if err != nil {
		b.Fatal(err)
	}
	defer sim.Close()
	p := profile.NewClientProfile()
	p.HttpProfile.Scheme, p.HttpProfile.Endpoint = "HTTP", "clbsim.local"
	c, err := clb.NewClient(common.NewCredential("AKIDEXAMPLE", "SECRETEXAMPLE"), "ap-guangzhou", p)
	if err != nil {
		b.Fatal(err)
	}
	c.WithHttpTransport(sim.Transport())
	var lb, listener string
	for range 200 {
		var created clb.CreateLoadBalancerResponseParams
		var made clb.CreateListenerResponseParams
		var bound clb.BatchRegisterTargetsResponseParams
		edit := func(action string, in, out any) {
			if err := sim.Admin().Console(b.Context(), action, in, out); err != nil {
				b.Fatal(err)
			}
		}
		edit("CreateLoadBalancer", map[string]any{"LoadBalancerType": "OPEN"}, &created)
		lb = *created.LoadBalancerIds[0]
		edit("CreateListener", map[string]any{"LoadBalancerId": lb, "Protocol": "TCP", "Ports": []int{80}}, &made)
		listener = *made.ListenerIds[0]
		var targets []map[string]any
		for i := range 100 {
			targets = append(targets, map[string]any{"ListenerId": listener, "EniIp": fmt.Sprintf("10.1.0.%d", i+1), "Port": 80})
		}
		edit("BatchRegisterTargets", map[string]any{"LoadBalancerId": lb, "Targets": targets}, &bound)
	}
	b.Run("read", func(b *testing.B) {
		in := clb.NewDescribeTargetsRequest()
		in.LoadBalancerId = &lb
		for b.Loop() {
			if _, err := c.DescribeTargets(in); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("write", func(b *testing.B) {
		in := clb.NewBatchModifyTargetWeightRequest()
		in.LoadBalancerId, in.ModifyList = &lb, []*clb.RsWeightRule{{ListenerId: &listener, Targets: []*clb.Target{address("10.1.0.1", 80)}}}
		for b.Loop() {
			if _, err := c.BatchModifyTargetWeight(in); err != nil {
				b.Fatal(err)
			}
		}
	})
}
