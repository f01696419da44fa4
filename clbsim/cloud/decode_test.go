// SPDX-License-Identifier: Apache-2.0

package cloud

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"
	clb "github.com/tencentcloud/tencentcloud-sdk-go/tencentcloud/clb/v20180317"
)

func TestDecodeIsStrict(t *testing.T) {
	for _, tc := range []struct {
		name, body, code string
	}{
		{"a known name", `{"LoadBalancerId":"lb-1"}`, ""},
		{"null is absent", `{"LoadBalancerId":null}`, ""},
		{"a name in another case", `{"loadbalancerid":"lb-1"}`, codeUnknownParameter},
		{"an unknown name", `{"LoadBalancer":"lb-1"}`, codeUnknownParameter},
		{"an unknown name further down", `{"HealthCheck":{"Interval":5}}`, codeUnknownParameter},
		{"a number for a text", `{"LoadBalancerId":1}`, codeInvalid},
		{"a text for a number", `{"Ports":["80"]}`, codeInvalid},
		{"a fraction for a number", `{"Ports":[80.5]}`, codeInvalid},
		{"a number that is too large", `{"Ports":[9223372036854775808]}`, codeInvalid},
		{"a negative number where there is none", `{"EndPort":-1}`, codeInvalid},
		{"a text for a list", `{"Ports":"80"}`, codeInvalid},
		{"null in a list", `{"Ports":[null]}`, codeInvalid},
		{"a list for an object", `{"HealthCheck":[]}`, codeInvalid},
		{"a text for a boolean", `{"DeregisterTargetRst":"true"}`, codeInvalid},
		{"a list", `[]`, codeInvalid},
		{"nothing", ``, codeInvalid},
		{"half an object", `{"Ports":[80`, codeInvalid},
		{"two objects", `{}{}`, codeInvalid},
		{"fields of the SDK that are not on the wire", `{"BaseRequest":{}}`, codeUnknownParameter},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var in clb.CreateListenerRequest
			got := ""
			if err := decode([]byte(tc.body), &in); err != nil {
				got = err.Code
			}
			if got != tc.code {
				t.Errorf("%s: answered %q, want %q", tc.body, got, tc.code)
			}
		})
	}
}

// What the SDK encodes, decodes to the same: the tags are the wire.
func TestDecodeReadsWhatTheSDKWrites(t *testing.T) {
	in := clb.NewCreateListenerRequest()
	in.LoadBalancerId, in.Protocol, in.Ports = new("lb-1"), new("TCP"), []*int64{new(int64(80)), new(int64(443))}
	in.HealthCheck = &clb.HealthCheck{HealthSwitch: new(int64(0)), HttpCheckPath: new("/ü")}
	in.DeregisterTargetRst, in.EndPort = new(false), new(uint64(9))
	var out clb.CreateListenerRequest
	if err := decode([]byte(in.ToJsonString()), &out); err != nil {
		t.Fatal(err)
	}
	out.BaseRequest = in.BaseRequest
	if out.ToJsonString() != in.ToJsonString() {
		t.Error(cmp.Diff(in.ToJsonString(), out.ToJsonString()))
	}
}

// Whatever arrives, for whatever action, the decoder and the rules answer; they
// never panic.
func FuzzDo(f *testing.F) {
	for _, body := range []string{
		`{}`, `{"LoadBalancerIds":["lb-1"]}`, `{"LoadBalancerType":"INTERNAL","VpcId":"vpc-2ab3c4d5","SubnetId":"subnet-demo0001"}`,
		`{"LoadBalancerId":"lb-1","Ports":[80],"Protocol":"TCP","HealthCheck":{"CheckType":"HTTP"}}`,
		`{"LoadBalancerId":"lb-1","ModifyList":[{"ListenerId":"lbl-1","Targets":[{"Port":1,"EniIp":"10.0.0.1"}]}]}`,
		`{"LoadBalancerId":"lb-1","Targets":[{"ListenerId":"lbl-1","Port":1,"InstanceId":"ins-1"}]}`,
		`{"Filters":[{"Name":"private-ip-address","Values":["10"]}]}`, `{"TagFilters":[{"TagKey":"a"}],"Limit":0}`,
		`{"ResourceList":["qcs::clb:ap-guangzhou:uin/1:clb/lb-1"]}`, `{"Number":18446744073709551615}`, `{"Offset":9223372036854775807}`,
		`{"LoadBalancerId":"lb-1","ListenerId":"lbl-2","Rules":[{"Domain":"b.example","Url":"/","Certificate":{"CertId":"cert"},"HealthCheck":{"CheckType":"GRPC"}},{"Domains":["a.example"],"Url":"/x"}]}`,
		`{"LoadBalancerId":"lb-1","ListenerId":"lbl-2","LocationId":"loc-1","Url":"/y","Targets":[{"EniIp":"fd00:10::1","Port":1}]}`,
		`{"LoadBalancerId":"lb-1","ListenerId":"lbl-2","Domain":"a.example","NewDomain":"c.example","DefaultServer":false}`,
		`{"LoadBalancerId":"lb-1","ListenerId":"lbl-2","Domain":"a.example"}`, `{"LoadBalancerId":"lb-1","ListenerId":"lbl-2","LocationIds":["loc-1"]}`,
		`{"LoadBalancerId":"lb-1","Targets":[{"ListenerId":"lbl-2","LocationId":"loc-1","EniIp":"10.0.0.1","Port":1}]}`,
		`{"LoadBalancerId":"lb-1","SnatIps":[{"SubnetId":"subnet-demo0001"}],"Number":18446744073709551615,"Ips":["10.0.200.1"]}`,
		`{"LoadBalancerType":"OPEN","AddressIPVersion":"IPv6FullChain","SubnetId":"subnet-demo0001","SnatPro":true,"SnatIps":[{"SubnetId":"subnet-demo0001"}]}`,
		`{"LoadBalancerId":"lb-1","TargetRegionInfo":{"Region":"ap-guangzhou","VpcId":"vpc-2ab3c4d5"},"SnatPro":false,"MixIpTarget":true}`,
		`{"SecurityGroupId":"sg-demo0001","SecurityGroupPolicySet":{"Ingress":[{"Protocol":"tcp","Port":"80-90,1","CidrBlock":"10.0.0.1/8","Action":"drop"}]}}`,
		`{"SecurityGroupId":"sg-demo0001","SecurityGroupPolicySet":{"Egress":[{"PolicyIndex":0}]}}`, `{"Offset":"-1","Limit":"x"}`,
	} {
		for i := range actions {
			f.Add(i, []byte(body))
		}
	}
	f.Fuzz(func(t *testing.T, i int, body []byte) {
		cfg := Example()
		cfg.Tasks.Delay = 0
		cfg.Certificates = []Certificate{{ID: "cert"}}
		if err := cfg.Validate(); err != nil {
			t.Fatal(err)
		}
		c := New(cfg)
		now := testStart
		lb, l := c.seed(t, now)
		a := &actions[uint(i)%uint(len(actions))]
		l7, rule := c.seedRule(t, now, lb)
		body = bytes.ReplaceAll(bytes.ReplaceAll(body, []byte(`"lbl-2"`), []byte(`"`+l7+`"`)), []byte(`"loc-1"`), []byte(`"`+rule+`"`))
		body = fill(body, lb, l)
		reply, err := c.Do(Request{Action: a, Region: "ap-guangzhou", ID: "fuzz", Body: body, Now: now})
		if (err == nil) == (reply.Body == nil) {
			t.Fatalf("%s %s: answer %v, error %v", a.Name, body, reply.Body, err)
		}
		if err != nil && (err.Code == "" || err.Message == "") {
			t.Fatalf("%s %s: an error without code or message: %+v", a.Name, body, err)
		}
		c.Snapshot()
		c.Forwarding()
	})
}
