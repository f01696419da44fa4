// SPDX-License-Identifier: Apache-2.0

package cloud

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestABatchFailsListenerByListener(t *testing.T) {
	c := cloudWith(t, instant)
	lb, l := c.seed(t, testStart)
	good := first(c.do(t, testStart, "CreateListener", fmt.Sprintf(`{"LoadBalancerId":%q,"Ports":[81],"Protocol":"TCP"}`, lb))["ListenerIds"])
	body := fmt.Sprintf(`{"LoadBalancerId":%q,"Targets":[
		{"ListenerId":%q,"InstanceId":"ins-aaaa0001","Port":1},{"ListenerId":%q,"InstanceId":"ins-nothere1","Port":1},
		{"ListenerId":%q,"InstanceId":"ins-aaaa0001","Port":2,"Weight":0},{"ListenerId":%q,"InstanceId":"ins-aaaa0002","Port":2}]}`, lb, l, l, good, good)
	out := c.do(t, testStart, "BatchRegisterTargets", body)
	if failed := first(out["FailListenerIdSet"]); failed != l || !strings.Contains(out["Message"].(string), "ins-nothere1") {
		t.Errorf("failed %v, message %q, want %s for the unknown instance", out["FailListenerIdSet"], out["Message"], l)
	}
	got := map[string][]Target{}
	for _, l := range c.Snapshot().LoadBalancers[0].Listeners {
		got[l.ID] = l.Targets
	}
	want := map[string][]Target{l: {}, good: {
		{Instance: "ins-aaaa0001", Address: "10.0.0.1", Port: 2, Weight: 0, Status: "Unknown"},
		{Instance: "ins-aaaa0002", Address: "10.0.0.10", Port: 2, Weight: 10, Status: "Unknown", Receives: true},
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("targets (-want +got):\n%s", diff)
	}

	c.cfg.Assumptions.BatchFailure = WholeRequest
	c.wantCode(t, testStart, codeValue, "BatchRegisterTargets", strings.ReplaceAll(body, `"Port":2`, `"Port":3`))
	if n := len(c.Snapshot().LoadBalancers[0].Listeners[1].Targets); n != 2 {
		t.Errorf("a refused batch left %d targets, want 2", n)
	}
}

func TestRegisteringABoundTarget(t *testing.T) {
	for _, tc := range []struct {
		assumption, code string
		weight           int
		status           string
	}{
		{Duplicate, codeDuplicate, 10, "Alive"},
		{Reweight, "", 30, "Alive"},
		{Rebind, "", 30, "Unknown"},
	} {
		t.Run(tc.assumption, func(t *testing.T) {
			c := cloudWith(t, instant, func(c *Config) { c.Assumptions.RegisterBound = tc.assumption })
			lb, l := c.seed(t, testStart)
			register := `{"LoadBalancerId":"lb-1","ListenerId":"lbl-1","Targets":[{"InstanceId":"ins-aaaa0001","Port":1,"Weight":%d}]}`
			c.do(t, testStart, "RegisterTargets", string(fill(fmt.Appendf(nil, register, 10), lb, l)))
			_, err := c.try(after(15), "RegisterTargets", string(fill(fmt.Appendf(nil, register, 30), lb, l)))
			if got := codeOf(err); got != tc.code {
				t.Errorf("answered %q, want %q", got, tc.code)
			}
			if got := c.Snapshot().LoadBalancers[0].Listeners[0].Targets[0]; got.Weight != tc.weight || got.Status != tc.status {
				t.Errorf("the target is %+v, want weight %d and %s", got, tc.weight, tc.status)
			}
		})
	}
}

// A target that was bound by address has no instance to be found by, unless
// the assumption is that addresses are all that counts.
func TestTargetIdentity(t *testing.T) {
	for _, tc := range []struct{ assumption, code string }{{Strict, codeValue}, {ByAddress, ""}} {
		t.Run(tc.assumption, func(t *testing.T) {
			c := cloudWith(t, instant, func(c *Config) { c.Assumptions.TargetIdentity = tc.assumption })
			lb, l := c.seed(t, testStart)
			list := func(targets string) string {
				return string(fill([]byte(`{"LoadBalancerId":"lb-1","ListenerId":"lbl-1","Targets":[`+targets+`]}`), lb, l))
			}
			c.do(t, testStart, "RegisterTargets", list(`{"EniIp":"10.0.0.1","Port":1},{"InstanceId":"ins-aaaa0002","Port":1}`))
			backends := c.do(t, testStart, "DescribeTargets", fmt.Sprintf(`{"LoadBalancerId":%q}`, lb))["Listeners"].([]any)[0].(map[string]any)["Targets"].([]any)
			if b := backends[0].(map[string]any); b["Type"] != "ENI" || b["InstanceId"] != "" || first(b["PrivateIpAddresses"]) != "10.0.0.1" {
				t.Errorf("bound by address, it reads back as %v", b)
			}
			if b := backends[1].(map[string]any); b["Type"] != "CVM" || b["InstanceId"] != "ins-aaaa0002" || b["Zone"] != "ap-guangzhou-4" {
				t.Errorf("bound by instance, it reads back as %v", b)
			}
			c.wantCode(t, testStart, tc.code, "ModifyTargetWeight", list(`{"InstanceId":"ins-aaaa0001","Port":1}`))
			c.wantCode(t, testStart, tc.code, "DeregisterTargets", list(`{"EniIp":"10.0.0.10","Port":1}`))
		})
	}
}

func TestQuotasAreEnforced(t *testing.T) {
	c := cloudWith(t, instant, func(c *Config) {
		c.Quotas[QuotaPublic], c.Quotas[QuotaListeners], c.Quotas[QuotaTargets] = 1, 2, 2
	})
	lb, l := c.seed(t, testStart)
	c.wantCode(t, testStart, codeLimit, "CreateLoadBalancer", `{"LoadBalancerType":"OPEN"}`)
	c.do(t, testStart, "CreateLoadBalancer", `{"LoadBalancerType":"INTERNAL","VpcId":"vpc-2ab3c4d5","SubnetId":"subnet-demo0001"}`)
	c.wantCode(t, testStart, codeLimit, "CreateListener", fmt.Sprintf(`{"LoadBalancerId":%q,"Ports":[81,82],"Protocol":"TCP"}`, lb))
	c.wantCode(t, testStart, codeLimit, "RegisterTargets", string(fill([]byte(
		`{"LoadBalancerId":"lb-1","ListenerId":"lbl-1","Targets":[{"EniIp":"10.0.0.1","Port":1},{"EniIp":"10.0.0.1","Port":2},{"EniIp":"10.0.0.1","Port":3}]}`), lb, l)))
	got := map[any][2]any{}
	for _, v := range c.do(t, testStart, "DescribeQuota", `{}`)["QuotaSet"].([]any) {
		q := v.(map[string]any)
		got[q["QuotaId"]] = [2]any{q["QuotaCurrent"], q["QuotaLimit"]}
	}
	if got[QuotaPublic] != [2]any{1.0, 1.0} || got[QuotaInternal] != [2]any{1.0, 100.0} || got[QuotaTargets] != [2]any{nil, 2.0} {
		t.Errorf("DescribeQuota says %v", got)
	}
}
