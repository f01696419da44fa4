// SPDX-License-Identifier: Apache-2.0

package cloud

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestTheEffectOfATaskShowsAtItsEnd(t *testing.T) {
	c := cloudWith(t)
	created := c.do(t, testStart, "CreateLoadBalancer", `{"LoadBalancerType":"OPEN"}`)
	lb := first(created["LoadBalancerIds"])
	show := func(at float64) (status float64, vips int) {
		set := c.do(t, after(at), "DescribeLoadBalancers", fmt.Sprintf(`{"LoadBalancerIds":[%q]}`, lb))["LoadBalancerSet"].([]any)
		vip, _ := set[0].(map[string]any)["LoadBalancerVips"].([]any)
		return set[0].(map[string]any)["Status"].(float64), len(vip)
	}
	if status, vips := show(0.9); status != 0 || vips != 0 {
		t.Errorf("while it is created: status %v with %d VIPs, want 0 without", status, vips)
	}
	if s, _ := c.taskStatus(t, after(0.9), created["RequestId"]); s != taskRunning {
		t.Errorf("the task has status %v before its end", s)
	}
	if status, vips := show(1); status != 1 || vips != 1 {
		t.Errorf("when it is created: status %v with %d VIPs, want 1 with one", status, vips)
	}
	if s, _ := c.taskStatus(t, after(1), created["RequestId"]); s != taskDone {
		t.Errorf("the task has status %v at its end", s)
	}
	listener := c.do(t, after(2), "CreateListener", fmt.Sprintf(`{"LoadBalancerId":%q,"Ports":[80,81],"Protocol":"TCP"}`, lb))
	if n := len(listener["ListenerIds"].([]any)); n != 2 {
		t.Errorf("%d listener ids at once, want 2", n)
	}
	if n := c.count(t, after(2.9), "DescribeListeners", fmt.Sprintf(`{"LoadBalancerId":%q}`, lb)); n != 0 {
		t.Errorf("%v listeners before the end of the task", n)
	}
	if n := c.count(t, after(3), "DescribeListeners", fmt.Sprintf(`{"LoadBalancerId":%q}`, lb)); n != 2 {
		t.Errorf("%v listeners at the end of the task, want 2", n)
	}
	c.do(t, after(4), "DeleteLoadBalancer", fmt.Sprintf(`{"LoadBalancerIds":[%q]}`, lb))
	if n := c.count(t, after(4.9), "DescribeLoadBalancers", `{}`); n != 1 {
		t.Errorf("%v load balancers before the end of the deletion, want 1", n)
	}
	if n := c.count(t, after(5), "DescribeLoadBalancers", `{}`); n != 0 {
		t.Errorf("%v load balancers at its end", n)
	}
}

// While a task runs on a CLB, every write on it is refused, and one on another
// is not.
func TestOneWriteAtATime(t *testing.T) {
	c := cloudWith(t, instant)
	lb, l := c.seed(t, testStart)
	other, _ := c.seed(t, testStart)
	target := `"Targets":[{"InstanceId":"ins-aaaa0001","Port":1}]`
	c.do(t, testStart, "RegisterTargets", fmt.Sprintf(`{"LoadBalancerId":%q,"ListenerId":%q,%s}`, lb, l, target))
	l7, rule := c.seedRule(t, testStart, lb)
	c.cfg.Tasks.Delay = Duration(time.Second)
	c.do(t, testStart, "ModifyListener", fmt.Sprintf(`{"LoadBalancerId":%q,"ListenerId":%q,"ListenerName":"x"}`, lb, l))
	for action, rest := range map[string]string{
		"ModifyLoadBalancerAttributes":  `"LoadBalancerName":"y"`,
		"SetLoadBalancerSecurityGroups": `"SecurityGroups":[]`,
		"CreateListener":                `"Ports":[81],"Protocol":"TCP"`,
		"ModifyListener":                `"ListenerId":"lbl-1","ListenerName":"y"`,
		"DeleteListener":                `"ListenerId":"lbl-1"`,
		"DeleteLoadBalancerListeners":   `"ListenerIds":["lbl-1"]`,
		"RegisterTargets":               `"ListenerId":"lbl-1","Targets":[{"InstanceId":"ins-aaaa0002","Port":1}]`,
		"DeregisterTargets":             `"ListenerId":"lbl-1",` + target,
		"ModifyTargetWeight":            `"ListenerId":"lbl-1",` + target,
		"BatchRegisterTargets":          `"Targets":[{"ListenerId":"lbl-1","InstanceId":"ins-aaaa0002","Port":1}]`,
		"BatchDeregisterTargets":        `"Targets":[{"ListenerId":"lbl-1","InstanceId":"ins-aaaa0001","Port":1}]`,
		"BatchModifyTargetWeight":       `"ModifyList":[{"ListenerId":"lbl-1",` + target + `}]`,
		"DeleteLoadBalancer":            `"LoadBalancerIds":["lb-1"]`,
		"CreateRule":                    `"ListenerId":"lbl-2","Rules":[{"Domain":"a.example","Url":"/x"}]`,
		"ModifyRule":                    `"ListenerId":"lbl-2","LocationId":"loc-1","Url":"/x"`,
		"ModifyDomain":                  `"ListenerId":"lbl-2","Domain":"a.example","NewDomain":"b.example"`,
		"ModifyDomainAttributes":        `"ListenerId":"lbl-2","Domain":"a.example","Http2":true`,
		"DeleteRule":                    `"ListenerId":"lbl-2","LocationIds":["loc-1"]`,
		"CreateLoadBalancerSnatIps":     `"SnatIps":[{"SubnetId":"subnet-demo0001"}]`,
		"DeleteLoadBalancerSnatIps":     `"Ips":["10.0.200.1"]`,
	} {
		body := strings.NewReplacer(`"lbl-2"`, `"`+l7+`"`, `"loc-1"`, `"`+rule+`"`).Replace(`{"LoadBalancerId":"lb-1",` + rest + `}`)
		if action == "DeleteLoadBalancer" {
			body = `{` + rest + `}`
		}
		_, err := c.try(after(0.5), action, string(fill([]byte(body), lb, l)))
		if codeOf(err) != codeBusy {
			t.Errorf("%s during a task: %v", action, err)
		} else if !strings.Contains(err.Message, "Loadbalancer("+lb+") is not in normal desState") {
			t.Errorf("%s: message %q", action, err.Message)
		}
	}
	c.do(t, after(0.5), "CreateListener", fmt.Sprintf(`{"LoadBalancerId":%q,"Ports":[81],"Protocol":"TCP"}`, other))
	c.do(t, after(1), "CreateListener", fmt.Sprintf(`{"LoadBalancerId":%q,"Ports":[81],"Protocol":"TCP"}`, lb))
}

func TestAConsoleEditPassesTheLock(t *testing.T) {
	c := cloudWith(t, instant)
	lb, l := c.seed(t, testStart)
	c.cfg.Tasks.Delay = Duration(time.Second)
	started := c.do(t, testStart, "ModifyListener", fmt.Sprintf(`{"LoadBalancerId":%q,"ListenerId":%q,"ListenerName":"x"}`, lb, l))
	body := fmt.Sprintf(`{"LoadBalancerId":%q,"ListenerId":%q}`, lb, l)
	if _, err := c.Do(Request{Action: actionByName("DeleteListener"), Region: "ap-guangzhou", ID: "console", Body: []byte(body), Now: testStart, Console: true}); err != nil {
		t.Fatal(err)
	}
	if n := c.count(t, testStart, "DescribeListeners", fmt.Sprintf(`{"LoadBalancerId":%q}`, lb)); n != 0 {
		t.Errorf("%v listeners after the edit", n)
	}
	// The task that was under way finds its listener gone and says so.
	if s, m := c.taskStatus(t, after(1), started["RequestId"]); s != taskFailed || !strings.Contains(m, l) {
		t.Errorf("the task ended with status %v: %q", s, m)
	}
}

func TestTasksAreForgotten(t *testing.T) {
	c := cloudWith(t, instant)
	out := c.do(t, testStart, "CreateLoadBalancer", `{"LoadBalancerType":"OPEN"}`)
	body := fmt.Sprintf(`{"TaskId":%q}`, out["RequestId"])
	c.do(t, after(3600), "DescribeTaskStatus", body)
	c.wantCode(t, after(3601), codeInvalid, "DescribeTaskStatus", body)
}
