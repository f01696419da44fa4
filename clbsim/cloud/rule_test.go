// SPDX-License-Identifier: Apache-2.0

package cloud

import (
	"fmt"
	"strings"
	"testing"
)

// What a batch asks of one listener is done for all its rules or for none.
func TestABatchFailsWithOneOfItsRules(t *testing.T) {
	c := cloudWith(t, instant)
	lb, plain := c.seed(t, testStart)
	l, one := c.seedRule(t, testStart, lb)
	two := first(c.do(t, testStart, "CreateRule", fmt.Sprintf(`{"LoadBalancerId":%q,"ListenerId":%q,"Rules":[{"Domain":"a.example","Url":"/two"}]}`, lb, l))["LocationIds"])
	out := c.do(t, testStart, "BatchRegisterTargets", fmt.Sprintf(`{"LoadBalancerId":%q,"Targets":[
		{"ListenerId":%q,"LocationId":%q,"InstanceId":"ins-aaaa0001","Port":1},{"ListenerId":%q,"LocationId":%q,"InstanceId":"ins-nothere1","Port":1},
		{"ListenerId":%q,"InstanceId":"ins-aaaa0001","Port":1}]}`, lb, l, one, l, two, plain))
	if failed := out["FailListenerIdSet"].([]any); len(failed) != 1 || failed[0] != l {
		t.Errorf("failed: %v, want %s once", failed, l)
	}
	for _, s := range c.Snapshot().LoadBalancers[0].Listeners {
		n := len(s.Targets)
		for _, r := range s.Rules {
			n += len(r.Targets)
		}
		if want := map[string]int{l: 0, plain: 1}[s.ID]; n != want {
			t.Errorf("%s has %d targets, want %d", s.Protocol, n, want)
		}
	}
}

// The quota of targets is that of each rule.
func TestEachRuleHasItsOwnQuota(t *testing.T) {
	c := cloudWith(t, instant, func(c *Config) { c.Quotas[QuotaTargets], c.Quotas[QuotaRules] = 1, 2 })
	lb, _ := c.seed(t, testStart)
	l, one := c.seedRule(t, testStart, lb)
	more := `{"LoadBalancerId":%q,"ListenerId":%q,"Rules":[{"Domain":"a.example","Url":%q}]}`
	two := first(c.do(t, testStart, "CreateRule", fmt.Sprintf(more, lb, l, "/two"))["LocationIds"])
	c.wantCode(t, testStart, codeLimit, "CreateRule", fmt.Sprintf(more, lb, l, "/three"))
	bind := func(rule, ip string) string {
		return fmt.Sprintf(`{"LoadBalancerId":%q,"ListenerId":%q,"LocationId":%q,"Targets":[{"EniIp":%q,"Port":1}]}`, lb, l, rule, ip)
	}
	c.do(t, testStart, "RegisterTargets", bind(one, "10.0.0.1"))
	c.do(t, testStart, "RegisterTargets", bind(two, "10.0.0.1"))
	c.wantCode(t, testStart, codeLimit, "RegisterTargets", bind(one, "10.0.0.2"))
	c.do(t, testStart, "DeleteRule", fmt.Sprintf(`{"LoadBalancerId":%q,"ListenerId":%q,"LocationIds":[%q]}`, lb, l, two))
	if n := c.regions["ap-guangzhou"].lbs[lb].targetCount(); n != 1 {
		t.Errorf("%d targets after the rule of one was deleted, want 1", n)
	}
}

// Whether the default domain can go without another being named is an
// assumption.
func TestTheDefaultDomainMayMove(t *testing.T) {
	for _, tc := range []struct{ assumption, code string }{{Required, codeInvalid}, {Moves, ""}} {
		t.Run(tc.assumption, func(t *testing.T) {
			c := cloudWith(t, instant, func(c *Config) { c.Assumptions.DefaultDomain = tc.assumption })
			lb, _ := c.seed(t, testStart)
			l, one := c.seedRule(t, testStart, lb)
			c.do(t, testStart, "CreateRule", fmt.Sprintf(`{"LoadBalancerId":%q,"ListenerId":%q,"Rules":[{"Domain":"b.example","Url":"/","Certificate":{"CertId":"cert"}}]}`, lb, l))
			c.wantCode(t, testStart, tc.code, "DeleteRule", fmt.Sprintf(`{"LoadBalancerId":%q,"ListenerId":%q,"LocationIds":[%q]}`, lb, l, one))
			for _, r := range c.Snapshot().LoadBalancers[0].Listeners[1].Rules {
				if r.Default != (r.Domains[0] == "a.example") && tc.code != "" || tc.code == "" && !r.Default {
					t.Errorf("%s is the default: %v", r.Domains[0], r.Default)
				}
			}
			// The last rules may always go.
			c.do(t, testStart, "DeleteRule", fmt.Sprintf(`{"LoadBalancerId":%q,"ListenerId":%q,"Domain":"b.example"}`, lb, l))
		})
	}
}

// A rule shows at the end of its task, and the task of one that has meanwhile
// gone fails.
func TestRulesFollowTheirTasks(t *testing.T) {
	c := cloudWith(t)
	c.cfg.Tasks.Delay = 0
	lb, _ := c.seed(t, testStart)
	l, one := c.seedRule(t, testStart, lb)
	c.cfg.Tasks = Tasks{Delay: Duration(1e9), Retention: Duration(3600e9)}
	out := c.do(t, testStart, "ModifyRule", fmt.Sprintf(`{"LoadBalancerId":%q,"ListenerId":%q,"LocationId":%q,"Url":"/x"}`, lb, l, one))
	rules := func() []Rule { return c.Snapshot().LoadBalancers[0].Listeners[1].Rules }
	c.Advance(after(0.5))
	if got := rules()[0].URL; got != "/" {
		t.Errorf("before the end the path is %s", got)
	}
	c.Advance(after(1))
	if s, _ := c.taskStatus(t, after(1), out["RequestId"]); s != taskDone || rules()[0].URL != "/x" {
		t.Errorf("at the end: status %v, path %s", s, rules()[0].URL)
	}
	out = c.do(t, after(2), "RegisterTargets", fmt.Sprintf(`{"LoadBalancerId":%q,"ListenerId":%q,"LocationId":%q,"Targets":[{"EniIp":"10.0.0.1","Port":1}]}`, lb, l, one))
	if _, err := c.Do(Request{Action: actionByName("DeleteRule"), Region: "ap-guangzhou", ID: "console", Now: after(2), Console: true,
		Body: fmt.Appendf(nil, `{"LoadBalancerId":%q,"ListenerId":%q,"LocationIds":[%q]}`, lb, l, one)}); err != nil {
		t.Fatal(err)
	}
	c.Advance(after(3))
	if s, message := c.taskStatus(t, after(3), out["RequestId"]); s != taskFailed || !strings.Contains(message, one) {
		t.Errorf("the task on a rule that has gone: status %v, %q", s, message)
	}
}

// Targets of rules are probed, and what an override says of a rule is for that
// rule alone.
func TestRulesHaveTheirOwnHealth(t *testing.T) {
	c := cloudWith(t, instant)
	lb, _ := c.seed(t, testStart)
	l, one := c.seedRule(t, testStart, lb)
	two := first(c.do(t, testStart, "CreateRule", fmt.Sprintf(`{"LoadBalancerId":%q,"ListenerId":%q,"Rules":[{"Domain":"a.example","Url":"/two"}]}`, lb, l))["LocationIds"])
	if err := c.SetOverride(Override{Rule: two, State: Down}, testStart); err != nil {
		t.Fatal(err)
	}
	for _, rule := range []string{one, two} {
		c.do(t, testStart, "RegisterTargets", fmt.Sprintf(`{"LoadBalancerId":%q,"ListenerId":%q,"LocationId":%q,"Targets":[{"InstanceId":"ins-aaaa0001","Port":1}]}`, lb, l, rule))
	}
	c.Advance(after(15))
	for i, r := range c.Snapshot().LoadBalancers[0].Listeners[1].Rules {
		if want := []string{"Alive", "Dead"}[i]; r.Targets[0].Status != want {
			t.Errorf("rule %d: %s, want %s", i+1, r.Targets[0].Status, want)
		}
	}
	if c.regions["ap-guangzhou"].lbs[lb].pools()[1].id() != one {
		t.Error("a pool of a rule is not named by it")
	}
}
