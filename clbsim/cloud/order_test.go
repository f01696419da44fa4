// SPDX-License-Identifier: Apache-2.0

package cloud

import (
	"fmt"
	"testing"
	"time"
)

func TestAClientTokenStandsForItsOrder(t *testing.T) {
	c := cloudWith(t, instant)
	create := `{"LoadBalancerType":"OPEN","ClientToken":"abc"}`
	one := c.do(t, testStart, "CreateLoadBalancer", create)
	lb := first(one["LoadBalancerIds"])
	two := c.do(t, testStart, "CreateLoadBalancer", create)
	if first(two["LoadBalancerIds"]) != lb || two["DealName"] != one["DealName"] {
		t.Errorf("the same token gave %v, then %v", one, two)
	}
	if n := c.count(t, testStart, "DescribeLoadBalancers", `{}`); n != 1 {
		t.Errorf("%v load balancers, want 1", n)
	}
	if s, _ := c.taskStatus(t, testStart, two["RequestId"]); s != taskDone {
		t.Errorf("the replay's task has status %v", s)
	}
	c.do(t, testStart, "DeleteLoadBalancer", fmt.Sprintf(`{"LoadBalancerIds":[%q]}`, lb))
	if again := c.do(t, testStart, "CreateLoadBalancer", create); first(again["LoadBalancerIds"]) != lb {
		t.Errorf("after the deletion the token gives %v, want the id that is gone", again)
	}
	if n := c.count(t, testStart, "DescribeLoadBalancers", `{}`); n != 0 {
		t.Errorf("%v load balancers after the deletion", n)
	}
	c.wantCode(t, testStart.Add(25*time.Hour), codeTokenDead, "CreateLoadBalancer", create)
}

func TestTheTokenOfAFailedOrderIsDead(t *testing.T) {
	c := cloudWith(t, instant)
	c.Advance(testStart)
	create := []byte(`{"LoadBalancerType":"OPEN","ClientToken":"abc"}`)
	_, err := c.Do(Request{Action: actionByName("CreateLoadBalancer"), Region: "ap-guangzhou", ID: "r", Body: create, Now: testStart, Faults: TaskFaults{Fail: "sold out"}})
	if err != nil {
		t.Fatal(err)
	}
	if n := c.count(t, testStart, "DescribeLoadBalancers", `{}`); n != 0 {
		t.Errorf("%v load balancers of a failed order", n)
	}
	c.wantCode(t, testStart, codeTokenDead, "CreateLoadBalancer", string(create))
}

func TestIDsCanComeLate(t *testing.T) {
	c := cloudWith(t, func(c *Config) { c.Assumptions.CreateReturnsIDs = false })
	out := c.do(t, testStart, "CreateLoadBalancer", `{"LoadBalancerType":"OPEN"}`)
	if ids := out["LoadBalancerIds"]; ids != nil {
		t.Fatalf("ids %v in the answer", ids)
	}
	if n := c.count(t, after(0.5), "DescribeLoadBalancers", `{}`); n != 0 {
		t.Errorf("%v load balancers before the end", n)
	}
	for _, by := range []string{fmt.Sprintf(`{"TaskId":%q}`, out["RequestId"]), fmt.Sprintf(`{"DealName":%q}`, out["DealName"])} {
		if id := first(c.do(t, after(1), "DescribeTaskStatus", by)["LoadBalancerIds"]); id != c.Snapshot().LoadBalancers[0].ID {
			t.Errorf("%s gives the id %q", by, id)
		}
	}
}
