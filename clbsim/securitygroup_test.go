// SPDX-License-Identifier: Apache-2.0

package clbsim_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	clb "github.com/tencentcloud/tencentcloud-sdk-go/tencentcloud/clb/v20180317"
	tchttp "github.com/tencentcloud/tencentcloud-sdk-go/tencentcloud/common/http"

	"github.com/clbsync/clbsync/clbsim/admin"
)

// vpc calls an action of the VPC service through the SDK's generic request:
// of the SDK's own client for it no version can be had.
func (w *world) vpc(action, body string) (map[string]any, error) {
	w.t.Helper()
	in := tchttp.NewCommonRequest("vpc", "2017-03-12", action)
	in.SetDomain(strings.TrimPrefix(w.url, "http://"))
	in.SetScheme("HTTP")
	if err := in.SetActionParameters([]byte(body)); err != nil {
		w.t.Fatal(err)
	}
	in.SetContext(w.ctx)
	out := tchttp.NewCommonResponse()
	if err := w.clb.Send(in, out); err != nil {
		return nil, err
	}
	var got struct{ Response map[string]any }
	if err := json.Unmarshal(out.GetBody(), &got); err != nil {
		w.t.Fatal(err)
	}
	return got.Response, nil
}

func (w *world) group(body string) string {
	w.t.Helper()
	out := must(w.vpc("CreateSecurityGroup", body))(w.t)
	return out["SecurityGroup"].(map[string]any)["SecurityGroupId"].(string)
}

// ingress returns the policies of a group as the state shows them.
func (w *world) ingress(group string) (out []string, version string) {
	w.t.Helper()
	set := must(w.vpc("DescribeSecurityGroupPolicies", fmt.Sprintf(`{"SecurityGroupId":%q}`, group)))(w.t)["SecurityGroupPolicySet"].(map[string]any)
	for i, p := range set["Ingress"].([]any) {
		m := p.(map[string]any)
		out = append(out, fmt.Sprint(m["Action"], " ", m["Protocol"], " ", m["Port"], " ", m["CidrBlock"], m["Ipv6CidrBlock"]))
		if m["PolicyIndex"] != float64(i) {
			w.t.Errorf("policy %d has the index %v", i, m["PolicyIndex"])
		}
	}
	return out, set["Version"].(string)
}

// groupLife takes a security group from its creation to its end.
func (w *world) groupLife(t *testing.T) {
	t.Helper()
	g := w.group(`{"GroupName":"web","GroupDescription":"of a test","Tags":[{"Key":"owner","Value":"test"}]}`)
	if got := must(w.vpc("DescribeSecurityGroups", `{"Filters":[{"Name":"tag:owner","Values":["test"]}]}`))(t); got["TotalCount"] != 1.0 ||
		got["SecurityGroupSet"].([]any)[0].(map[string]any)["SecurityGroupId"] != g {
		t.Errorf("by tag: %v", got)
	}
	add := fmt.Sprintf(`{"SecurityGroupId":%q,"SecurityGroupPolicySet":{"Ingress":[{"Protocol":"TCP","Port":"80,443","CidrBlock":"198.51.100.0/24","Action":"accept"},{"Protocol":"ALL","Ipv6CidrBlock":"2001:db8::/32","Action":"ACCEPT"}]}}`, g)
	must(w.vpc("CreateSecurityGroupPolicies", add))(t)
	must(w.vpc("CreateSecurityGroupPolicies", fmt.Sprintf(`{"SecurityGroupId":%q,"SecurityGroupPolicySet":{"Ingress":[{"PolicyIndex":0,"Protocol":"TCP","Port":"80","CidrBlock":"198.51.100.7","Action":"DROP"}]}}`, g)))(t)
	want := []string{"DROP tcp 80 198.51.100.7", "ACCEPT tcp 80,443 198.51.100.0/24", "ACCEPT ALL ALL 2001:db8::/32"}
	got, version := w.ingress(g)
	if diff := cmp.Diff(want, got); diff != "" || version != "2" {
		t.Errorf("policies, version %s (-want +got):\n%s", version, diff)
	}
	for _, tc := range []struct{ name, action, body, code string }{
		{"a policy twice", "CreateSecurityGroupPolicies", add, "UnsupportedOperation.DuplicatePolicy"},
		{"an old version", "ModifySecurityGroupPolicies", fmt.Sprintf(`{"SecurityGroupId":%q,"SecurityGroupPolicySet":{"Version":"1"}}`, g), "UnsupportedOperation.VersionMismatch"},
		{"an unknown group", "CreateSecurityGroupPolicies", `{"SecurityGroupId":"sg-nothere1","SecurityGroupPolicySet":{}}`, "ResourceNotFound"},
		{"a malformed group", "DeleteSecurityGroup", `{"SecurityGroupId":"web"}`, "InvalidSecurityGroupID.Malformed"},
		{"an unknown group to delete", "DeleteSecurityGroup", `{"SecurityGroupId":"sg-nothere1"}`, "InvalidSecurityGroupID.NotFound"},
		{"both directions at once", "CreateSecurityGroupPolicies", fmt.Sprintf(`{"SecurityGroupId":%q,"SecurityGroupPolicySet":{"Ingress":[{"Action":"DROP"}],"Egress":[{"Action":"DROP"}]}}`, g), "InvalidParameter.Coexist"},
		{"no direction", "CreateSecurityGroupPolicies", fmt.Sprintf(`{"SecurityGroupId":%q,"SecurityGroupPolicySet":{}}`, g), "InvalidParameterValue.Empty"},
		{"a port without protocol", "CreateSecurityGroupPolicies", fmt.Sprintf(`{"SecurityGroupId":%q,"SecurityGroupPolicySet":{"Ingress":[{"Port":"80","Action":"DROP"}]}}`, g), "InvalidParameter.Coexist"},
		{"a range that is none", "CreateSecurityGroupPolicies", fmt.Sprintf(`{"SecurityGroupId":%q,"SecurityGroupPolicySet":{"Ingress":[{"CidrBlock":"all","Action":"DROP"}]}}`, g), "InvalidParameterValue.Malformed"},
		{"an action that is none", "CreateSecurityGroupPolicies", fmt.Sprintf(`{"SecurityGroupId":%q,"SecurityGroupPolicySet":{"Ingress":[{"Action":"ALLOW"}]}}`, g), "InvalidParameterValue.Malformed"},
		{"101 policies", "ModifySecurityGroupPolicies", fmt.Sprintf(`{"SecurityGroupId":%q,"SecurityGroupPolicySet":{"Ingress":[%s]}}`, g, manyPolicies(101)), "LimitExceeded.SecurityGroupPolicySet"},
		{"one more than 100 policies", "CreateSecurityGroupPolicies", fmt.Sprintf(`{"SecurityGroupId":%q,"SecurityGroupPolicySet":{"Ingress":[%s]}}`, g, manyPolicies(98)), "LimitExceeded.SecurityGroupPolicySet"},
		{"an index beyond the end", "CreateSecurityGroupPolicies", fmt.Sprintf(`{"SecurityGroupId":%q,"SecurityGroupPolicySet":{"Ingress":[{"PolicyIndex":9,"Action":"DROP"}]}}`, g), "InvalidParameterValue.Range"},
		{"a policy that is not there", "DeleteSecurityGroupPolicies", fmt.Sprintf(`{"SecurityGroupId":%q,"SecurityGroupPolicySet":{"Ingress":[{"Action":"DROP"}]}}`, g), "ResourceNotFound"},
		{"ids and filters", "DescribeSecurityGroups", fmt.Sprintf(`{"SecurityGroupIds":[%q],"Filters":[{"Name":"project-id","Values":["0"]}]}`, g), "InvalidParameter.Coexist"},
		{"a number where a text belongs", "DescribeSecurityGroups", `{"Limit":20}`, "InvalidParameter"},
		{"a page of 101", "DescribeSecurityGroups", `{"Limit":"101"}`, "InvalidParameterValue.Range"},
		{"no name", "CreateSecurityGroup", `{"GroupDescription":""}`, "MissingParameter"},
		{"a name of 61", "CreateSecurityGroup", fmt.Sprintf(`{"GroupName":%q,"GroupDescription":""}`, strings.Repeat("a", 61)), "InvalidParameterValue.TooLong"},
		{"an unknown subnet", "DescribeSubnets", `{"SubnetIds":["subnet-nothere1"]}`, "ResourceNotFound"},
	} {
		if _, err := w.vpc(tc.action, tc.body); code(err) != tc.code {
			t.Errorf("%s: answered %q, want %q", tc.name, code(err), tc.code)
		}
	}
	must(w.vpc("DeleteSecurityGroupPolicies", fmt.Sprintf(`{"SecurityGroupId":%q,"SecurityGroupPolicySet":{"Version":"2","Ingress":[{"PolicyIndex":0},{"Protocol":"all","Ipv6CidrBlock":"2001:db8::/32","Action":"ACCEPT"}]}}`, g)))(t)
	if got, _ := w.ingress(g); len(got) != 1 || got[0] != want[1] {
		t.Errorf("after two were deleted: %v", got)
	}
	must(w.vpc("ModifySecurityGroupPolicies", fmt.Sprintf(`{"SecurityGroupId":%q,"SecurityGroupPolicySet":{"Version":"0","Ingress":[{"Action":"ACCEPT"}]}}`, g)))(t)
	if got, _ := w.ingress(g); len(got) != 0 {
		t.Errorf("version 0 left %v", got)
	}
	other := must(w.vpc("CreateSecurityGroupWithPolicies", `{"GroupName":"b","GroupDescription":"","SecurityGroupPolicySet":{"Ingress":[{"Action":"ACCEPT"}]}}`))(t)["SecurityGroup"].(map[string]any)["SecurityGroupId"].(string)
	if got, _ := w.ingress(other); len(got) != 1 || got[0] != "ACCEPT ALL ALL 0.0.0.0/0" {
		t.Errorf("made with policies: %v", got)
	}

	lb := w.create(func(*clb.CreateLoadBalancerRequest) {})
	bind := clb.NewSetLoadBalancerSecurityGroupsRequest()
	bind.LoadBalancerId, bind.SecurityGroups = &lb, ptrs(g)
	must(w.clb.SetLoadBalancerSecurityGroupsWithContext(w.ctx, bind))(t)
	if _, err := w.vpc("DeleteSecurityGroup", fmt.Sprintf(`{"SecurityGroupId":%q}`, g)); code(err) != "ResourceInUse" {
		t.Errorf("deleting a group that is bound: %v", err)
	}
	w.delete(lb)
	for _, id := range []string{g, other} {
		must(w.vpc("DeleteSecurityGroup", fmt.Sprintf(`{"SecurityGroupId":%q}`, id)))(t)
	}
	if s := must(w.adm.State(w.ctx))(t).Groups; len(s) != 1 || s[0].ID != "sg-demo0001" || s[0].Ingress[0] != (admin.Policy{Protocol: "ALL", Port: "ALL", CIDR: "0.0.0.0/0", Action: "ACCEPT"}) {
		t.Errorf("groups in the end: %+v", s)
	}
	if got := must(w.vpc("DescribeSubnets", fmt.Sprintf(`{"Filters":[{"Name":"vpc-id","Values":[%q]}]}`, vpc)))(t); got["TotalCount"] != 2.0 || got["SubnetSet"].([]any)[0].(map[string]any)["TotalIpAddressCount"] != 253.0 {
		t.Errorf("subnets %v", got)
	}
}

func manyPolicies(n int) string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprintf(`{"CidrBlock":"10.0.0.%d","Action":"ACCEPT"}`, i)
	}
	return strings.Join(out, ",")
}
