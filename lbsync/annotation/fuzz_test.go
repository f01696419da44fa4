// SPDX-License-Identifier: Apache-2.0

package annotation

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
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
		if !ok {
			return
		}
		for port, p := range o.Protocols {
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
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, value string) {
		o, ok := parsed(t, CreateParams, value)
		if !ok || o.Create == nil {
			return
		}
		p := *o.Create
		if utf8.RuneCountInString(p.LoadBalancerName) > 80 || p.ProjectID != nil && *p.ProjectID < 0 || len(p.Tags) > 17 || len(p.SnatIPs) > 10 || p.LBChargeType != "" && p.LBChargeType != "POSTPAID_BY_HOUR" {
			t.Errorf("%+v", p)
		}
		if i := p.InternetAccessible; i != nil && i.InternetMaxBandwidthOut != nil && (*i.InternetMaxBandwidthOut < 1 || *i.InternetMaxBandwidthOut > bandwidthMax) {
			t.Errorf("bandwidth %d", *i.InternetMaxBandwidthOut)
		}
		if _, err := netip.ParseAddr(p.Vip); p.Vip != "" && err != nil {
			t.Errorf("VIP %q", p.Vip)
		}
		for _, tag := range p.Tags {
			if tag.TagKey == "" || slices.Contains(ownTags, tag.TagKey) {
				t.Errorf("tag %+v", tag)
			}
		}
		for _, s := range p.SnatIPs {
			if !subnetID.MatchString(s.SubnetID) {
				t.Errorf("subnet %q", s.SubnetID)
			}
		}
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
		for _, g := range o.PodWeights.Groups {
			if g.Key.Port < 1 || g.Key.Port > 65535 || !slices.Contains(overTCP, g.Key.Proto) && !slices.Contains(overUDP, g.Key.Proto) {
				t.Errorf("%+v", g.Key)
			}
			for _, set := range g.StatefulSets {
				for _, w := range set.Weights {
					if set.Name == "" || !weight(w.Weight) || slices.ContainsFunc(w.PodIndexes, func(i int) bool { return i < 0 }) {
						t.Errorf("%s: %+v", set.Name, w)
					}
				}
			}
		}
	})
}
