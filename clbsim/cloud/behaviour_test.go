// SPDX-License-Identifier: Apache-2.0

package cloud

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// cloudWith returns an account with two nodes and tasks of one second.
func cloudWith(t *testing.T, change ...func(*Config)) *Cloud {
	t.Helper()
	cfg := Example()
	cfg.Tasks.Delay = Duration(time.Second)
	cfg.Instances = []Instance{{ID: "ins-aaaa0001", PrivateIP: "10.0.0.1"}, {ID: "ins-aaaa0002", PrivateIP: "10.0.0.10", Zone: "ap-guangzhou-4"}}
	for _, f := range change {
		f(&cfg)
	}
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	return New(cfg)
}

func instant(c *Config) { c.Tasks.Delay = 0 }

func after(seconds float64) time.Time {
	return testStart.Add(time.Duration(seconds * float64(time.Second)))
}

// wantCode fails unless a call is refused with a code.
func (c *Cloud) wantCode(t *testing.T, now time.Time, want, action, body string) {
	t.Helper()
	_, err := c.try(now, action, body)
	if got := codeOf(err); got != want {
		t.Fatalf("%s %s: answered %q, want %q (%v)", action, body, got, want, err)
	}
}

func codeOf(err *Error) string {
	if err == nil {
		return ""
	}
	return err.Code
}

func (c *Cloud) count(t *testing.T, now time.Time, action, body string) float64 {
	t.Helper()
	return c.do(t, now, action, body)["TotalCount"].(float64)
}

func (c *Cloud) taskStatus(t *testing.T, now time.Time, id any) (status float64, message string) {
	t.Helper()
	out := c.do(t, now, "DescribeTaskStatus", fmt.Sprintf(`{"TaskId":%q}`, id))
	return out["Status"].(float64), out["Message"].(string)
}

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
	} {
		body := `{"LoadBalancerId":"lb-1",` + rest + `}`
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

func TestANameThatIsTakenIsReplacedSilently(t *testing.T) {
	c := cloudWith(t, instant)
	create := `{"LoadBalancerType":"OPEN","LoadBalancerName":"web"}`
	c.do(t, testStart, "CreateLoadBalancer", create)
	second := first(c.do(t, testStart, "CreateLoadBalancer", create)["LoadBalancerIds"])
	s := c.Snapshot()
	if s.LoadBalancers[0].Name != "web" || s.LoadBalancers[1].Name != second {
		t.Errorf("names %q and %q, want web and the second's id", s.LoadBalancers[0].Name, s.LoadBalancers[1].Name)
	}
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

func TestDomainStyleHidesTheVIP(t *testing.T) {
	c := cloudWith(t, instant, func(c *Config) { c.Assumptions.DomainStyle = EveryPublic })
	c.do(t, testStart, "CreateLoadBalancer", `{"LoadBalancerType":"OPEN"}`)
	c.do(t, testStart, "CreateLoadBalancer", `{"LoadBalancerType":"INTERNAL","VpcId":"vpc-2ab3c4d5","SubnetId":"subnet-demo0001"}`)
	for _, v := range c.do(t, testStart, "DescribeLoadBalancers", `{}`)["LoadBalancerSet"].([]any) {
		lb := v.(map[string]any)
		vips, _ := lb["LoadBalancerVips"].([]any)
		domain := lb["LoadBalancerDomain"].(string)
		if public := lb["LoadBalancerType"] == TypePublic; public != (domain != "") || public != (len(vips) == 0) {
			t.Errorf("%v has VIPs %v and domain %q", lb["LoadBalancerType"], vips, domain)
		}
	}
}

func TestDeletionIsGuarded(t *testing.T) {
	c := cloudWith(t, instant)
	lb, l := c.seed(t, testStart)
	for i := range 20 {
		c.do(t, testStart, "RegisterTargets", fmt.Sprintf(`{"LoadBalancerId":%q,"ListenerId":%q,"Targets":[{"InstanceId":"ins-aaaa0001","Port":%d}]}`, lb, l, 1000+i))
	}
	one := fmt.Sprintf(`{"LoadBalancerIds":[%q]}`, lb)
	forced := fmt.Sprintf(`{"LoadBalancerIds":[%q],"ForceDelete":true}`, lb)
	c.wantCode(t, testStart, codeTargetNumRisk, "DeleteLoadBalancer", one)
	c.do(t, testStart, "ModifyLoadBalancerAttributes", fmt.Sprintf(`{"LoadBalancerId":%q,"DeleteProtect":true}`, lb))
	c.wantCode(t, testStart, codeFailed, "DeleteLoadBalancer", forced)
	c.do(t, testStart, "ModifyLoadBalancerAttributes", fmt.Sprintf(`{"LoadBalancerId":%q,"DeleteProtect":false}`, lb))
	c.do(t, testStart, "DeleteLoadBalancer", forced)

	for range 29 {
		id := first(c.do(t, testStart, "CreateLoadBalancer", `{"LoadBalancerType":"OPEN"}`)["LoadBalancerIds"])
		c.do(t, testStart, "DeleteLoadBalancer", fmt.Sprintf(`{"LoadBalancerIds":[%q]}`, id))
	}
	id := first(c.do(t, testStart, "CreateLoadBalancer", `{"LoadBalancerType":"OPEN"}`)["LoadBalancerIds"])
	c.wantCode(t, after(299), codeFrequencyRisk, "DeleteLoadBalancer", fmt.Sprintf(`{"LoadBalancerIds":[%q],"ForceDelete":true}`, id))
	c.do(t, after(300), "DeleteLoadBalancer", fmt.Sprintf(`{"LoadBalancerIds":[%q]}`, id))
}

func TestAnEmptyListOfListenersDeletesAll(t *testing.T) {
	c := cloudWith(t, instant)
	lb, _ := c.seed(t, testStart)
	c.do(t, testStart, "CreateListener", fmt.Sprintf(`{"LoadBalancerId":%q,"Ports":[81,82],"Protocol":"UDP"}`, lb))
	c.do(t, testStart, "DeleteLoadBalancerListeners", fmt.Sprintf(`{"LoadBalancerId":%q,"ListenerIds":[]}`, lb))
	if n := c.count(t, testStart, "DescribeListeners", fmt.Sprintf(`{"LoadBalancerId":%q}`, lb)); n != 0 {
		t.Errorf("%v listeners are left", n)
	}
}

func TestTCPAndUDPShareAPort(t *testing.T) {
	c := cloudWith(t, instant)
	lb, _ := c.seed(t, testStart)
	c.do(t, testStart, "CreateListener", fmt.Sprintf(`{"LoadBalancerId":%q,"Ports":[80],"Protocol":"UDP"}`, lb))
	c.wantCode(t, testStart, codePortConflict, "CreateListener", fmt.Sprintf(`{"LoadBalancerId":%q,"Ports":[80],"Protocol":"UDP"}`, lb))
}

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

func TestLoadBalancersAreFoundByTag(t *testing.T) {
	c := cloudWith(t, instant)
	for _, owner := range []string{"a", "b"} {
		c.do(t, testStart, "CreateLoadBalancer", fmt.Sprintf(`{"LoadBalancerType":"OPEN","Tags":[{"TagKey":"owner","TagValue":%q},{"TagKey":"common","TagValue":"x"}]}`, owner))
	}
	a := c.Snapshot().LoadBalancers[0].ID
	c.do(t, testStart, "TagResources", fmt.Sprintf(`{"ResourceList":["qcs::clb:ap-guangzhou:uin/100000000001:clb/%s"],"Tags":[{"TagKey":"late","TagValue":"1"}]}`, a))
	for filters, want := range map[string]float64{
		`{"Name":"tag:owner","Values":["a"]}`:                                               1,
		`{"Name":"tag:owner","Values":["a","b"]}`:                                           2,
		`{"Name":"tag:owner","Values":["a"]},{"Name":"tag:common","Values":["x"]}`:          1,
		`{"Name":"tag:owner","Values":["a"]},{"Name":"tag:owner","Values":["b"]}`:           0,
		`{"Name":"tag-key","Values":["late"]}`:                                              1,
		`{"Name":"tag-key","Values":["none"]}`:                                              0,
		`{"Name":"tag:late","Values":["1"]},{"Name":"internet-charge-type","Values":["x"]}`: 0,
	} {
		if got := c.count(t, testStart, "DescribeLoadBalancers", `{"Filters":[`+filters+`]}`); got != want {
			t.Errorf("%s finds %v, want %v", filters, got, want)
		}
	}
	rows := c.do(t, testStart, "DescribeResourcesByTags", `{"TagFilters":[{"TagKey":"owner","TagValue":["b"]}],"ServiceType":"clb","ResourcePrefix":"clb"}`)
	if rows["TotalCount"] != 1.0 {
		t.Errorf("the tag service finds %v", rows)
	}
	c.do(t, testStart, "UnTagResources", fmt.Sprintf(`{"ResourceList":["qcs::clb:ap-guangzhou:uin/100000000001:clb/%s"],"TagKeys":["owner"]}`, a))
	if _, still := c.Snapshot().LoadBalancers[0].Tags["owner"]; still {
		t.Error("the tag is still there")
	}
	failed := c.do(t, testStart, "UnTagResources", `{"ResourceList":["qcs::clb:ap-guangzhou:uin/100000000001:clb/lb-nothere1"],"TagKeys":["owner"]}`)
	if len(failed["FailedResources"].([]any)) != 1 {
		t.Errorf("an unknown resource: %v", failed)
	}
}

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

func TestPagesDoNotOverlap(t *testing.T) {
	c := cloudWith(t, instant)
	c.do(t, testStart, "CreateLoadBalancer", `{"LoadBalancerType":"OPEN","Number":5}`)
	seen := map[any]bool{}
	for offset := range 3 {
		out := c.do(t, testStart, "DescribeLoadBalancers", fmt.Sprintf(`{"Offset":%d,"Limit":2}`, offset*2))
		for _, v := range out["LoadBalancerSet"].([]any) {
			seen[v.(map[string]any)["LoadBalancerId"]] = true
		}
	}
	if len(seen) != 5 {
		t.Errorf("three pages of two show %d load balancers, want 5", len(seen))
	}
}

func TestAddressesAreGivenOutInTurn(t *testing.T) {
	c := cloudWith(t, instant, func(c *Config) { c.Quotas[QuotaInternal] = 1000 })
	create := `{"LoadBalancerType":"INTERNAL","VpcId":"vpc-2ab3c4d5","SubnetId":"subnet-demo0001"}`
	var vips []string
	for range 254 {
		c.do(t, testStart, "CreateLoadBalancer", create)
	}
	for _, lb := range c.Snapshot().LoadBalancers {
		vips = append(vips, lb.VIP)
	}
	slices.Sort(vips)
	if n := len(slices.Compact(vips)); n != 254 {
		t.Fatalf("254 internal CLBs have %d addresses", n)
	}
	c.wantCode(t, testStart, codeNoResource, "CreateLoadBalancer", create)
	lb := c.Snapshot().LoadBalancers[7]
	c.do(t, testStart, "DeleteLoadBalancer", fmt.Sprintf(`{"LoadBalancerIds":[%q]}`, lb.ID))
	again := first(c.do(t, testStart, "CreateLoadBalancer", create)["LoadBalancerIds"])
	if got := c.regions["ap-guangzhou"].lbs[again].vip.String(); got != lb.VIP {
		t.Errorf("the one free address is %s, but %s was given out", lb.VIP, got)
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
