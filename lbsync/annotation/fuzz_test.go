// SPDX-License-Identifier: Apache-2.0

package annotation

import (
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"k8s.io/apimachinery/pkg/labels"
)

// parsed reads one annotation. Whatever it is, a problem names it, and what has a problem is as if it were not set.
func parsed(t *testing.T, name, value string) (Options, bool) {
	o, problems := Parse(map[string]string{name: value})
	for _, p := range problems {
		if p.Name != name || p.Value != value || p.Reason == "" {
			t.Errorf("%q=%q: problem %+v", name, value, p)
		}
	}
	if len(problems) > 0 && (o.Protocols != nil || o.Listener != nil || o.Create != nil || o.PodWeights != nil) {
		t.Errorf("%q has problems %v and counts all the same: %+v", value, problems, o)
	}
	return o, len(problems) == 0
}

// inBounds checks what was accepted, whatever annotation it came from.
func inBounds(t *testing.T, o Options) {
	t.Helper()
	matches := func(what, v, expr string) {
		if v != "" && !regexp.MustCompile(`\A(?:`+expr+`)\z`).MatchString(v) {
			t.Errorf("%s %q", what, v)
		}
	}
	among := func(what, v string, words ...string) {
		if v != "" && !slices.Contains(words, v) {
			t.Errorf("%s %q", what, v)
		}
	}
	matches("existing CLB", o.ExistingID, `lb-[0-9a-z]{1,32}`)
	matches("subnet", o.SubnetID, `subnet-[0-9a-z]+`)
	matches("VPC", o.CrossVPC, `vpc-[0-9a-z]+`)
	matches("region", o.CrossRegion, `[-a-z0-9]+`)
	matches("region noted", o.Region, `[-a-z0-9]+`)
	matches("TkeServiceConfig", o.ConfigName, `[-.0-9a-z]{1,253}`)
	among("charge type", o.ChargeType, chargeTraffic, chargeBandwidth)
	among("drift", o.Drift, "repair", "report")
	among("ipMode", o.IPMode, "VIP", "Proxy")
	if o.Bandwidth < 0 || o.Bandwidth > bandwidthMax || strings.HasSuffix(o.ConfigName, AutoConfigSuffix) {
		t.Errorf("bandwidth %d, TkeServiceConfig %q", o.Bandwidth, o.ConfigName)
	}
	if len(o.SecurityGroups) > 50 || len(o.Applied) > 20 || len(slices.Compact(slices.Sorted(slices.Values(o.SecurityGroups)))) != len(o.SecurityGroups) {
		t.Errorf("security groups %q, applied %q", o.SecurityGroups, o.Applied)
	}
	for _, g := range o.SecurityGroups {
		matches("security group", g, `sg-[0-9a-z]{1,32}`)
	}
	for _, r := range o.SourceRanges {
		if _, err := netip.ParsePrefix(r); err != nil {
			t.Errorf("range %q: %v", r, err)
		}
	}
	if _, err := labels.Parse(o.Backends); err != nil {
		t.Errorf("selector %q: %v", o.Backends, err)
	}
	if len(o.SnatSubnets) > 10 {
		t.Errorf("%d subnets", len(o.SnatSubnets))
	}
	for _, s := range o.SnatSubnets {
		matches("subnet", s.SubnetID, `subnet-[0-9a-z]+`)
	}
	orderInBounds(t, o.Create)
	orderInBounds(t, o.Ordered)
}

// orderInBounds checks parameters of CreateLoadBalancer; nil is in order.
func orderInBounds(t *testing.T, p *CreateParameters) {
	t.Helper()
	if p == nil {
		return
	}
	among := func(what, v string, words ...string) {
		if v != "" && !slices.Contains(words, v) {
			t.Errorf("%s %q", what, v)
		}
	}
	among("AddressIPVersion", p.AddressIPVersion, "IPV4", "IPV6", "IPv6FullChain")
	among("VipIsp", p.VipIsp, "BGP", "CMCC", "CUCC", "CTCC")
	among("LBChargeType", p.LBChargeType, "POSTPAID_BY_HOUR")
	if p.SLAType != "" && !strings.HasPrefix(p.SLAType, "clb.c") || p.SubnetID != "" && !subnetID.MatchString(p.SubnetID) ||
		p.BandwidthPackageID != "" && !strings.HasPrefix(p.BandwidthPackageID, "bwp-") || p.EipAddressID != "" && !strings.HasPrefix(p.EipAddressID, "eip-") {
		t.Errorf("%+v", *p)
	}
	if utf8.RuneCountInString(p.LoadBalancerName) > 80 || p.ProjectID != nil && *p.ProjectID < 0 || len(p.Tags) > 17 || len(p.SnatIPs) > 10 || len(p.SnatIPs) > 0 && p.SnatPro != nil && !*p.SnatPro {
		t.Errorf("%+v", *p)
	}
	if i := p.InternetAccessible; i != nil {
		among("InternetChargeType", i.InternetChargeType, chargeTraffic, chargeBandwidth, chargePackage)
		if i.InternetMaxBandwidthOut != nil && (*i.InternetMaxBandwidthOut < 1 || *i.InternetMaxBandwidthOut > bandwidthMax) {
			t.Errorf("bandwidth %d", *i.InternetMaxBandwidthOut)
		}
	}
	if _, err := netip.ParseAddr(p.Vip); p.Vip != "" && err != nil {
		t.Errorf("VIP %q", p.Vip)
	}
	keys := map[string]bool{}
	for _, tag := range p.Tags {
		if tag.TagKey == "" || slices.Contains(ownTags, tag.TagKey) || keys[tag.TagKey] || utf8.RuneCountInString(tag.TagKey) > 127 || utf8.RuneCountInString(tag.TagValue) > 255 {
			t.Errorf("tag %+v", tag)
		}
		keys[tag.TagKey] = true
	}
	for _, s := range p.SnatIPs {
		if _, err := netip.ParseAddr(s.IP); !subnetID.MatchString(s.SubnetID) || s.IP != "" && err != nil {
			t.Errorf("source address %+v", s)
		}
	}
}

func FuzzSpecifyProtocol(f *testing.F) {
	for _, s := range []string{
		`{"80":{"protocol":["TCP_SSL"],"tls":"secret"}}`, `{"443":{"protocol":["HTTPS","QUIC"],"tls":"s","hosts":{"a.com":{},"*.b.com":{"tls":"t"}}}}`,
		`{"80":{"protocol":["TCP","UDP"]}}`, `{"080":{"protocol":["TCP"]}}`, `{"65536":{"protocol":["UDP"]}}`, `{"80":{"protocol":["HTTP"],"hosts":{"":{}}}}`,
		`{"80":{"protocol":["HTTP"],"hosts":{"a.com":{},"A.com":{}}}}`, `{"80":null}`, `null`, `[]`, `{"80":{"Protocol":["TCP"],"protocol":["SCTP"]}}`,
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, value string) {
		o, ok := parsed(t, SpecifyProtocol, value)
		if bad := o.BadProtocol || len(o.BadProtocols) > 0; bad == ok {
			t.Errorf("taken is %v, and something cannot be followed %v", ok, bad)
		}
		for port, p := range o.Protocols {
			if o.ProtocolUnknown(port) || o.BadProtocols[port] {
				t.Errorf("port %d is wrong and right", port)
			}
			tcp, udp := 0, 0
			for _, name := range p.Protocols {
				switch {
				case slices.Contains(overTCP, name):
					tcp++
				case slices.Contains(overUDP, name):
					udp++
				default:
					t.Errorf("protocol %q", name)
				}
			}
			layer7 := slices.Contains(p.Protocols, "HTTP") || slices.Contains(p.Protocols, "HTTPS")
			if port < 1 || port > 65535 || tcp > 1 || udp > 1 || tcp+udp == 0 || layer7 != (len(p.Hosts) > 0) {
				t.Errorf("port %d: %+v", port, p)
			}
			if (slices.Contains(p.Protocols, "TCP_SSL") || slices.Contains(p.Protocols, "QUIC")) && !validSecret(p.TLS) {
				t.Errorf("port %d has no certificate: %+v", port, p)
			}
			for host, h := range p.Hosts {
				if host == "" || len(host) > domainMax || strings.ContainsAny(host, " /~") || h.TLS != "" && !validSecret(h.TLS) {
					t.Errorf("host %q: %+v", host, h)
				}
				if slices.Contains(p.Protocols, "HTTPS") && h.TLS == "" && !validSecret(p.TLS) {
					t.Errorf("host %q has no certificate", host)
				}
			}
		}
	})
}

func FuzzListenerParameters(f *testing.F) {
	for _, s := range []string{`{"Scheduler":"LEAST_CONN","SessionExpireTime":60,"IdleConnectTimeout":600}`, `{}`, `{"SessionExpireTime":0}`, `{"SessionExpireTime":29}`, `{"sessionexpiretime":3601}`, `{"IdleConnectTimeout":1e9}`, `{"Scheduler":null}`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, value string) {
		o, ok := parsed(t, ListenerParams, value)
		if !ok || o.Listener == nil {
			return
		}
		p := *o.Listener
		if s := p.SessionExpireTime; s != nil && *s != 0 && (*s < 30 || *s > 3600) {
			t.Errorf("session of %d s", *s)
		}
		if i := p.IdleConnectTimeout; i != nil && (*i < 10 || *i > 1980) {
			t.Errorf("idle timeout of %d s", *i)
		}
		if p.Scheduler != "" && p.Scheduler != "WRR" && p.Scheduler != "LEAST_CONN" {
			t.Errorf("scheduler %q", p.Scheduler)
		}
	})
}

func FuzzExtensiveParameters(f *testing.F) {
	for _, s := range []string{
		`{"AddressIPVersion":"IPV6","VipIsp":"CTCC","ZoneId":"ap-guangzhou-1","LoadBalancerName":"x"}`, `{"InternetAccessible":{"InternetMaxBandwidthOut":2048,"InternetChargeType":"BANDWIDTH_PACKAGE"}}`,
		`{"SnatPro":true,"SnatIps":[{"SubnetId":"subnet-12345678","Ip":"10.0.0.1"}],"Tags":[{"TagKey":"a","TagValue":""}]}`, `{"Number":5}`, `{"ProjectId":-1}`, `{"Tags":[{"TagKey":"tke-clusterId","TagValue":"x"}]}`,
		`{"Vip":"10.0.0.1%eth0"}`, `{"LoadBalancerName":"` + strings.Repeat("雨", 81) + `"}`, `{"SubnetId":"subnet-"}`,
		`{"SnatPro":false,"SnatIps":[{"SubnetId":"subnet-12345678"}]}`, `{"Tags":[{"TagKey":"a","TagValue":"1"},{"TagKey":"a","TagValue":"2"}],"BandwidthPackageId":"x","EipAddressId":"eip-1","SlaType":"clb.c9"}`,
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, value string) {
		o, ok := parsed(t, CreateParams, value)
		if !ok || o.Create == nil {
			return
		}
		orderInBounds(t, o.Create)
	})
}

func FuzzPodWeights(f *testing.F) {
	for _, s := range []string{
		`{"defaultWeight":10,"groups":[{"key":{"proto":"TCP","port":80},"statefulSets":[{"name":"nginx","weights":[{"weight":0,"podIndexes":[0]}]}]}]}`, `{"defaultWeight":101}`,
		`{"groups":[{"key":{"proto":"TCP","port":0}}]}`, `{"groups":[{"key":{"proto":"tcp","port":80}}]}`, `{"groups":[null]}`, `{"groups":[{"key":{"proto":"UDP","port":53},"statefulSets":[{"name":"a","weights":[{"weight":5,"podIndexes":[-1,1,1]}]}]}]}`,
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, value string) {
		o, ok := parsed(t, RSWeight, value)
		if !ok || o.PodWeights == nil {
			return
		}
		weight := func(w *int) bool { return w != nil && *w >= 0 && *w <= 100 }
		if d := o.PodWeights.DefaultWeight; d != nil && !weight(d) {
			t.Errorf("default weight %d", *d)
		}
		ports := map[WeightKey]bool{}
		for _, g := range o.PodWeights.Groups {
			if ports[g.Key] {
				t.Errorf("%+v stands twice", g.Key)
			}
			ports[g.Key] = true
			if g.Key.Port < 1 || g.Key.Port > 65535 || !slices.Contains(overTCP, g.Key.Proto) && !slices.Contains(overUDP, g.Key.Proto) {
				t.Errorf("%+v", g.Key)
			}
			for _, set := range g.StatefulSets {
				ordinals := map[int]bool{}
				for _, w := range set.Weights {
					if !validSecret(set.Name) || !weight(w.Weight) || slices.ContainsFunc(w.PodIndexes, func(i int) bool { return i < 0 || i > indexMax || ordinals[i] }) {
						t.Errorf("%s: %+v", set.Name, w)
					}
					for _, i := range w.PodIndexes {
						ordinals[i] = true
					}
				}
			}
		}
	})
}
