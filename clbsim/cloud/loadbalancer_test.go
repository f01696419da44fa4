// SPDX-License-Identifier: Apache-2.0

package cloud

import (
	"fmt"
	"slices"
	"testing"
)

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

// Regions share nothing but the account.
func TestRegionsAreApart(t *testing.T) {
	c := cloudWith(t, instant, func(c *Config) {
		c.Regions = append(c.Regions, "ap-shanghai")
		c.VPCs = append(c.VPCs, VPC{ID: "vpc-shanghai", Region: "ap-shanghai", CIDRs: c.VPCs[0].CIDRs})
	})
	lb, _ := c.seed(t, testStart)
	in := func(region, action, body string) *Error {
		_, err := c.Do(Request{Action: actionByName(action), Region: region, ID: region + action, Body: []byte(body), Now: testStart})
		return err
	}
	listeners := fmt.Sprintf(`{"LoadBalancerId":%q}`, lb)
	if err := in("ap-shanghai", "DescribeListeners", listeners); codeOf(err) != codeLBNotFound {
		t.Errorf("from another region: %v", err)
	}
	if err := in("ap-guangzhou", "CreateLoadBalancer", `{"LoadBalancerType":"OPEN","VpcId":"vpc-shanghai"}`); codeOf(err) != codeValue {
		t.Errorf("with another region's VPC: %v", err)
	}
	if err := in("ap-shanghai", "CreateLoadBalancer", `{"LoadBalancerType":"OPEN","VpcId":"vpc-shanghai"}`); err != nil {
		t.Error(err)
	}
	if err := in("ap-atlantis", "DescribeQuota", `{}`); codeOf(err) != codeUnsupportedRegion {
		t.Errorf("in a region that does not exist: %v", err)
	}
	if n := c.count(t, testStart, "DescribeLoadBalancers", `{}`); n != 1 {
		t.Errorf("%v load balancers in the first region, want its own", n)
	}
}
