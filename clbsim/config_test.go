// SPDX-License-Identifier: Apache-2.0

package clbsim

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestTheExampleIsValid(t *testing.T) {
	c := Example()
	if err := c.Validate(); err != nil {
		t.Error(err)
	}
}

func TestAFileOverlaysTheExample(t *testing.T) {
	c, err := Parse([]byte(`
vpcs: [{id: vpc-mine0001, cidrs: [10.251.0.0/16]}]
subnets: []
instances: [{id: ins-aaaa0001, privateIP: 10.251.0.11}]
tasks: {delay: 50ms, actions: {CreateLoadBalancer: 2s}}
quotas: {TOTAL_TARGET_BIND_QUOTA: 200}
health: {speedup: 20}
assumptions: {registerBound: rebind, uniqueBackend: false}
`))
	if err != nil {
		t.Fatal(err)
	}
	if len(c.VPCs) != 1 || c.VPCs[0].ID != "vpc-mine0001" || c.VPCs[0].CIDRs[0].String() != "10.251.0.0/16" || c.VPCs[0].Region != "ap-guangzhou" {
		t.Errorf("VPCs %+v", c.VPCs)
	}
	want := Instance{ID: "ins-aaaa0001", PrivateIP: "10.251.0.11", Zone: "ap-guangzhou-3", Type: "S5.MEDIUM4", VPC: "vpc-mine0001", State: "RUNNING"}
	if diff := cmp.Diff(want, c.Instances[0]); diff != "" {
		t.Errorf("instance (-want +got):\n%s", diff)
	}
	if c.Tasks.For("CreateLoadBalancer") != 2*time.Second || c.Tasks.For("CreateListener") != 50*time.Millisecond {
		t.Errorf("tasks %+v", c.Tasks)
	}
	if c.Quotas["TOTAL_TARGET_BIND_QUOTA"] != 200 || c.Quotas["TOTAL_LISTENER_QUOTA"] != 50 {
		t.Errorf("quotas %v", c.Quotas)
	}
	if c.Health.Speedup != 20 || c.Health.Probe != "simulated" {
		t.Errorf("health %+v", c.Health)
	}
	if a := c.Assumptions; a.RegisterBound != "rebind" || a.UniqueBackend || !a.UDPPing {
		t.Errorf("assumptions %+v", a)
	}
	if len(c.Credentials) != 1 || c.Credentials[0].SecretID != "AKIDEXAMPLE" {
		t.Errorf("credentials %+v", c.Credentials)
	}
}

// Every mistake is reported with its key, all at once.
func TestMistakesAreNamed(t *testing.T) {
	for _, tc := range []struct{ yaml, want string }{
		{"vips: [203.0.113.0/24]", "vips"},
		{"tasks: {dealy: 1s}", "dealy"},
		{"tasks: {delay: 5}", "500ms or 2s"},
		{"tasks: {actions: {DescribeQuota: 1s}}", "tasks.actions"},
		{"regions: []", "regions"},
		{"credentials: [{secretID: a}]", "credentials[0]"},
		{"credentials: [{secretID: a, secretKey: b, deny: [DeleteLoadBalancer]}]", "deny"},
		{"vpcs: [{id: net-1, cidrs: [10.0.0.0/8]}]", "vpcs[0].id"},
		{"vpcs: [{id: vpc-1, cidrs: [ten]}]", "ten"},
		{"subnets: [{id: subnet-1, vpc: vpc-nothere1, cidr: 10.0.0.0/24}]", "subnets[0].vpc"},
		{"subnets: [{id: subnet-1, vpc: vpc-2ab3c4d5, cidr: 192.168.0.0/24}]", "subnets[0].cidr"},
		{"instances: [{id: node-1, privateIP: 10.0.0.1}]", "instances[0].id"},
		{"instances: [{id: ins-aaaa0001, privateIP: 10.0.0.1}, {id: ins-aaaa0001, privateIP: 10.0.0.2}]", "instances[1].id"},
		{"instances: [{id: ins-aaaa0001, privateIP: 8.8.8.8}]", "instances[0].privateIP"},
		{"instances: [{id: ins-aaaa0001, privateIP: 10.0.0.1, zone: mars}]", "instances[0].zone"},
		{"quotas: {TOTAL_TARGETS: 5}", "quotas"},
		{"rateLimits: {code: TooFast}", "rateLimits.code"},
		{"rateLimits: {actions: {Fly: 1}}", "rateLimits.actions"},
		{"health: {probe: guess}", "health.probe"},
		{"health: {speedup: 0}", "health.speedup"},
		{"health: {source: 10.0.0.1}", "health.source"},
		{"assumptions: {registerBound: maybe}", "assumptions.registerBound"},
		{"publicVIPs: [\"2001:db8::/64\"]", "publicVIPs[0]"},
		{"publicIPv6VIPs: [10.0.0.0/8]", "publicIPv6VIPs[0]"},
		{"subnets: [{id: subnet-1, vpc: vpc-2ab3c4d5, cidr: 10.0.0.0/24, ipv6CIDR: 10.0.0.0/24}]", "subnets[0].ipv6CIDR"},
		{"health: {proxy: 10.0.0.1}", "health.proxy"},
		{"certificates: [{id: a}, {id: a}]", "certificates[1].id"},
		{"certificates: [{domains: [a]}]", "certificates[0].id"},
		{"certificates: [{id: a, algorithm: DSA}]", "certificates[0].algorithm"},
		{"securityGroups: [{id: sg-1, region: ap-nowhere}]", "securityGroups[0].region"},
		{"loadBalancers: [{id: web}]", "loadBalancers[0].id"},
		{"loadBalancers: [{id: lb-foreign1, type: INTERNAL}]", "loadBalancers[0].subnet"},
		{"loadBalancers: [{id: lb-foreign1, vpc: vpc-nothere1}]", "loadBalancers[0].vpc"},
		{"loadBalancers: [{id: lb-foreign1}, {id: lb-foreign1}]", "loadBalancers[1].id"},
		{"loadBalancers: [{id: lb-foreign1, vip: 203.0.113.9}, {id: lb-foreign2, vip: 203.0.113.9}]", "loadBalancers[1].vip"},
		{"assumptions: {defaultDomain: gone}", "assumptions.defaultDomain"},
	} {
		_, err := Parse([]byte(tc.yaml))
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want an error that names %s", tc.yaml, err, tc.want)
		}
	}
	_, err := Parse([]byte("health: {speedup: 0, probe: guess}"))
	if err == nil || !strings.Contains(err.Error(), "speedup") || !strings.Contains(err.Error(), "probe") {
		t.Errorf("two mistakes: %v", err)
	}
}

func TestLoadNamesTheFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sim.yaml")
	if err := os.WriteFile(path, []byte("regoins: []"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(path); err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "regoins") {
		t.Errorf("error %v, want the file and the key", err)
	}
}
