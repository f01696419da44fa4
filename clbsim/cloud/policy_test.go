// SPDX-License-Identifier: Apache-2.0

package cloud

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The first policy that a packet matches decides; the sources that are
// admitted are the same as a walk through the policies gives.
func TestAdmittedIsAWalkThroughThePolicies(t *testing.T) {
	p := func(action, cidr string) Policy {
		return Policy{Protocol: "ALL", Port: "ALL", CIDR: cidr, Action: action}
	}
	for _, tc := range []struct {
		name     string
		policies []Policy
		want     []string
	}{
		{"no policy admits nobody", nil, []string{}},
		{"ranges and addresses", []Policy{p("ACCEPT", "10.1.0.0/16"), p("ACCEPT", "192.0.2.7")}, []string{"10.1.0.0/16", "192.0.2.7/32"}},
		{"a hole in front", []Policy{p("DROP", "10.0.0.0/10"), p("ACCEPT", "10.0.0.0/8")}, []string{"10.128.0.0/9", "10.64.0.0/10"}},
		{"a hole behind is none", []Policy{p("ACCEPT", "10.0.0.0/8"), p("DROP", "10.0.0.0/10")}, []string{"10.0.0.0/8"}},
		{"all but nobody", []Policy{p("DROP", "0.0.0.0/0"), p("ACCEPT", "10.0.0.0/8")}, []string{}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := []string{}
			for _, r := range admitted(tc.policies) {
				got = append(got, r.String())
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("admitted (-want +got):\n%s", diff)
			}
		})
	}
}

func FuzzAdmitted(f *testing.F) {
	f.Add([]byte{0, 8, 1, 10, 1, 0, 0, 0}, uint32(10<<24))
	f.Fuzz(func(t *testing.T, rules []byte, packet uint32) {
		var policies []Policy
		for i := 0; i+2 < len(rules) && len(policies) < 20; i += 3 {
			a := netip.AddrFrom4([4]byte{rules[i+2], rules[i+2], 0, rules[i+2]})
			policies = append(policies, Policy{CIDR: netip.PrefixFrom(a, int(rules[i+1]%33)).String(), Action: map[bool]string{true: "ACCEPT", false: "DROP"}[rules[i]%2 == 0]})
		}
		from := netip.AddrFrom4([4]byte{byte(packet >> 24), byte(packet >> 16), byte(packet >> 8), byte(packet)})
		want := false
		for _, p := range policies {
			if r, _ := p.prefix(); r.Contains(from) {
				want = p.Action == "ACCEPT"
				break
			}
		}
		got := false
		for _, r := range admitted(policies) {
			got = got || r.Contains(from)
		}
		if got != want {
			t.Errorf("%v admits %s: %v, want %v", policies, from, got, want)
		}
	})
}

func TestPoliciesAreForProtocolsAndPorts(t *testing.T) {
	c := cloudWith(t, instant, func(c *Config) {
		c.SecurityGroups = append(c.SecurityGroups, SecurityGroup{ID: "sg-web00001"})
	})
	lb, tcp := c.seed(t, testStart)
	web := first(c.do(t, testStart, "CreateListener", `{"LoadBalancerId":"`+lb+`","Ports":[443],"Protocol":"HTTPS","Certificate":{"CertId":"cert"}}`)["ListenerIds"])
	quic := first(c.do(t, testStart, "CreateListener", `{"LoadBalancerId":"`+lb+`","Ports":[443],"Protocol":"QUIC","Certificate":{"CertId":"cert"}}`)["ListenerIds"])
	c.do(t, testStart, "SetLoadBalancerSecurityGroups", `{"LoadBalancerId":"`+lb+`","SecurityGroups":["sg-web00001"]}`)
	c.do(t, testStart, "ModifySecurityGroupPolicies", `{"SecurityGroupId":"sg-web00001","SecurityGroupPolicySet":{"Ingress":[
		{"Protocol":"tcp","Port":"400-500","CidrBlock":"10.0.0.0/8","Action":"ACCEPT"},{"Protocol":"udp","CidrBlock":"192.168.0.0/16","Action":"ACCEPT"}]}}`)
	l := c.regions["ap-guangzhou"].lbs[lb]
	for id, want := range map[string]int{tcp: 0, web: 1, quic: 1} {
		if got := l.listener(id).allowed(); len(got) != want || got == nil {
			t.Errorf("%s on port %d admits %v, want %d ranges", l.listener(id).protocol, l.listener(id).port, got, want)
		}
	}
	if got := l.listener(quic).allowed()[0].String(); got != "192.168.0.0/16" {
		t.Errorf("QUIC admits %s", got)
	}
}
