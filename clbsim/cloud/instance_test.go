// SPDX-License-Identifier: Apache-2.0

package cloud

import (
	"testing"
)

func TestInstancesAreFoundFuzzily(t *testing.T) {
	c := cloudWith(t)
	by := `{"Filters":[{"Name":"private-ip-address","Values":["10.0.0.1"]},{"Name":"vpc-id","Values":["vpc-2ab3c4d5"]}]}`
	if n := c.count(t, testStart, "DescribeInstances", by); n != 2 {
		t.Errorf("10.0.0.1 finds %v instances, want 10.0.0.10 as well", n)
	}
	c.cfg.Assumptions.PrivateIPFilter = Exact
	if n := c.count(t, testStart, "DescribeInstances", by); n != 1 {
		t.Errorf("exactly 10.0.0.1 finds %v instances", n)
	}
	if n := c.count(t, testStart, "DescribeInstances", `{"InstanceIds":["ins-aaaa0002","ins-nothere1"]}`); n != 1 {
		t.Errorf("a known and an unknown id find %v instances, want the known one", n)
	}
	zones := c.do(t, testStart, "DescribeZones", `{}`)["ZoneSet"].([]any)
	if z := zones[0].(map[string]any); z["Zone"] != "ap-guangzhou-3" || z["ZoneId"] != "100003" {
		t.Errorf("the first zone is %v", z)
	}
}

func TestADeletedInstanceLeavesItsListeners(t *testing.T) {
	for _, tc := range []struct {
		assumption string
		left       int
	}{{Unbind, 0}, {Keep, 1}} {
		c := cloudWith(t, instant, func(c *Config) { c.Assumptions.TerminatedInstance = tc.assumption })
		lb, l := c.seed(t, testStart)
		c.do(t, testStart, "RegisterTargets", string(fill([]byte(`{"LoadBalancerId":"lb-1","ListenerId":"lbl-1","Targets":[{"InstanceId":"ins-aaaa0001","Port":1}]}`), lb, l)))
		c.Advance(after(15))
		if err := c.DeleteInstance("ins-aaaa0001", after(15)); err != nil {
			t.Fatal(err)
		}
		c.Advance(after(60))
		targets := c.Snapshot().LoadBalancers[0].Listeners[0].Targets
		if len(targets) != tc.left || len(targets) == 1 && targets[0].Status != "Dead" {
			t.Errorf("%s: the targets are %+v", tc.assumption, targets)
		}
	}
}
