// SPDX-License-Identifier: Apache-2.0

package clbsim_test

import (
	"fmt"
	"strings"

	clb "github.com/tencentcloud/tencentcloud-sdk-go/tencentcloud/clb/v20180317"
)

func secureListener(protocol string, change func(*clb.CreateListenerRequest)) func(fixture) error {
	return createListener(func(_ fixture, in *clb.CreateListenerRequest) {
		in.Protocol, in.Ports = &protocol, ptrs[int64](4443)
		if protocol != "HTTP" {
			in.Certificate = oneWay(certRSA)
		}
		change(in)
	})
}

var wrongLayer7 = []wrong{
	{"TCP_SSL without certificate", "MissingParameter", secureListener("TCP_SSL", func(in *clb.CreateListenerRequest) { in.Certificate = nil })},
	{"QUIC without certificate", "MissingParameter", secureListener("QUIC", func(in *clb.CreateListenerRequest) { in.Certificate = nil })},
	{"HTTPS without certificate", "MissingParameter", secureListener("HTTPS", func(in *clb.CreateListenerRequest) { in.Certificate = nil })},
	{"HTTPS with SNI and certificate", "InvalidParameter", secureListener("HTTPS", withSNI)},
	{"HTTP with certificate", "InvalidParameter", secureListener("HTTP", withCertificate(certRSA))},
	{"an unknown certificate", "InvalidParameterValue", secureListener("TCP_SSL", withCertificate("nothere1"))},
	{"an expired certificate", "InvalidParameterValue", secureListener("HTTPS", withCertificate(certOld))},
	{"a CA certificate as the server's", "InvalidParameterValue", secureListener("HTTPS", withCertificate(certCA))},
	{"both forms of certificates", "InvalidParameter", secureListener("HTTPS", func(in *clb.CreateListenerRequest) {
		in.MultiCertInfo = &clb.MultiCertInfo{SSLMode: new("UNIDIRECTIONAL"), CertList: []*clb.CertInfo{{CertId: new(certECC)}}}
	})},
	{"two certificates of one algorithm", "InvalidParameterValue", secureListener("HTTPS", func(in *clb.CreateListenerRequest) {
		in.Certificate, in.MultiCertInfo = nil, &clb.MultiCertInfo{SSLMode: new("UNIDIRECTIONAL"), CertList: []*clb.CertInfo{{CertId: new(certRSA)}, {CertId: new(certRSA)}}}
	})},
	{"mutual without CA", "MissingParameter", secureListener("HTTPS", func(in *clb.CreateListenerRequest) { in.Certificate.SSLMode = new("MUTUAL") })},
	{"mutual with a list without CA", "InvalidParameterValue", secureListener("HTTPS", func(in *clb.CreateListenerRequest) {
		in.Certificate, in.MultiCertInfo = nil, &clb.MultiCertInfo{SSLMode: new("MUTUAL"), CertList: []*clb.CertInfo{{CertId: new(certRSA)}}}
	})},
	{"a CA without mutual", "InvalidParameter", secureListener("HTTPS", func(in *clb.CreateListenerRequest) { in.Certificate.CertCaId = new(certCA) })},
	{"an SSL mode that does not exist", "InvalidParameterValue", secureListener("HTTPS", func(in *clb.CreateListenerRequest) { in.Certificate.SSLMode = new("BOTH") })},
	{"a certificate by content, which is not simulated", "UnsupportedOperation", secureListener("HTTPS", func(in *clb.CreateListenerRequest) {
		in.Certificate = &clb.CertificateInput{CertName: new("a"), CertContent: new("-----BEGIN"), CertKey: new("-----BEGIN")}
	})},
	{"SNI on TCP_SSL", "InvalidParameter", secureListener("TCP_SSL", withSNI)},
	{"keep-alive on TCP_SSL", "InvalidParameter", secureListener("TCP_SSL", func(in *clb.CreateListenerRequest) { in.KeepaliveEnable = new(int64(1)) })},
	{"keep-alive of 2", "InvalidParameterValue", secureListener("HTTP", func(in *clb.CreateListenerRequest) { in.KeepaliveEnable = new(int64(2)) })},
	{"a health check on an HTTP listener", "InvalidParameter", secureListener("HTTP", func(in *clb.CreateListenerRequest) { in.HealthCheck = &clb.HealthCheck{} })},
	{"a scheduler on an HTTP listener", "InvalidParameter", secureListener("HTTP", func(in *clb.CreateListenerRequest) { in.Scheduler = new("WRR") })},
	{"affinity on an HTTP listener", "InvalidParameter", secureListener("HTTP", func(in *clb.CreateListenerRequest) { in.SessionExpireTime = new(int64(60)) })},
	{"affinity on TCP_SSL", "InvalidParameter", secureListener("TCP_SSL", func(in *clb.CreateListenerRequest) { in.SessionExpireTime = new(int64(60)) })},
	{"an idle timeout on TCP_SSL", "InvalidParameter", secureListener("TCP_SSL", func(in *clb.CreateListenerRequest) { in.IdleConnectTimeout = new(int64(60)) })},
	{"resets on TCP_SSL", "InvalidParameter", secureListener("TCP_SSL", func(in *clb.CreateListenerRequest) { in.DeregisterTargetRst = new(true) })},
	{"a check port on TCP_SSL", "InvalidParameterValue", secureListener("TCP_SSL", func(in *clb.CreateListenerRequest) { in.HealthCheck = &clb.HealthCheck{CheckPort: new(int64(32000))} })},
	{"a custom check on TCP_SSL", "InvalidParameterValue", secureListener("TCP_SSL", func(in *clb.CreateListenerRequest) { in.HealthCheck = &clb.HealthCheck{CheckType: new("CUSTOM")} })},
	{"HTTP on a port of TCP", "InvalidParameter.PortCheckFailed", secureListener("HTTP", func(in *clb.CreateListenerRequest) { in.Ports = ptrs[int64](80) })},
	{"TCP_SSL on a port of TCP", "InvalidParameter.PortCheckFailed", secureListener("TCP_SSL", func(in *clb.CreateListenerRequest) { in.Ports = ptrs[int64](80) })},
	{"QUIC on a port of UDP", "InvalidParameter.PortCheckFailed", secureListener("QUIC", func(in *clb.CreateListenerRequest) { in.Ports = ptrs[int64](53) })},
	{"a certificate for a TCP listener that exists", "InvalidParameter", func(f fixture) error {
		in := clb.NewModifyListenerRequest()
		in.LoadBalancerId, in.ListenerId, in.Certificate = &f.lb, &f.tcp, oneWay(certRSA)
		_, err := f.clb.ModifyListenerWithContext(f.ctx, in)
		return err
	}},
}

// createRule aims at an HTTPS listener with SNI that has the rule a.example/.
func createRule(change func(*clb.CreateRuleRequest)) func(fixture) error {
	return func(f fixture) error {
		l := f.sni()
		in := clb.NewCreateRuleRequest()
		in.LoadBalancerId, in.ListenerId, in.Rules = &f.lb, &l, []*clb.RuleInput{path("a.example", "/new")}
		change(in)
		_, err := f.clb.CreateRuleWithContext(f.ctx, in)
		return err
	}
}

func rule(change func(*clb.RuleInput)) func(fixture) error {
	return createRule(func(in *clb.CreateRuleRequest) { change(in.Rules[0]) })
}

// sni makes the listener that rules are aimed at, once.
func (f fixture) sni() string {
	for _, lb := range must(f.adm.State(f.ctx))(f.t).LoadBalancers {
		for _, l := range lb.Listeners {
			if l.SNI {
				return l.ID
			}
		}
	}
	l := f.secure(f.lb, "HTTPS", 443, withSNI)
	r := path("a.example", "/")
	r.Certificate = oneWay(certRSA)
	f.rules(f.lb, l, r)
	return l
}

func modifyRule(change func(*clb.ModifyRuleRequest)) func(fixture) error {
	return func(f fixture) error {
		l := f.sni()
		in := clb.NewModifyRuleRequest()
		in.LoadBalancerId, in.ListenerId, in.LocationId = &f.lb, &l, f.described(f.lb, l).Rules[0].LocationId
		change(in)
		_, err := f.clb.ModifyRuleWithContext(f.ctx, in)
		return err
	}
}

func modifyDomain(change func(*clb.ModifyDomainAttributesRequest)) func(fixture) error {
	return func(f fixture) error {
		l := f.sni()
		in := clb.NewModifyDomainAttributesRequest()
		in.LoadBalancerId, in.ListenerId, in.Domain = &f.lb, &l, new("a.example")
		change(in)
		_, err := f.clb.ModifyDomainAttributesWithContext(f.ctx, in)
		return err
	}
}

func deleteRule(change func(*clb.DeleteRuleRequest)) func(fixture) error {
	return func(f fixture) error {
		l := f.sni()
		in := clb.NewDeleteRuleRequest()
		in.LoadBalancerId, in.ListenerId = &f.lb, &l
		change(in)
		_, err := f.clb.DeleteRuleWithContext(f.ctx, in)
		return err
	}
}

var wrongRules = []wrong{
	{"no rule", "MissingParameter", createRule(func(in *clb.CreateRuleRequest) { in.Rules = nil })},
	{"rules on a TCP listener", "InvalidParameter", func(f fixture) error {
		return createRule(func(in *clb.CreateRuleRequest) { in.ListenerId = &f.tcp })(f)
	}},
	{"rules of an unknown listener", "InvalidParameter", createRule(func(in *clb.CreateRuleRequest) { in.ListenerId = new("lbl-nothere1") })},
	{"no domain", "MissingParameter", rule(func(r *clb.RuleInput) { r.Domain = nil })},
	{"a domain of 81 characters", "InvalidParameterValue.Length", rule(func(r *clb.RuleInput) { r.Domain = new(strings.Repeat("a", 81)) })},
	{"a domain with a space", "InvalidParameterValue", rule(func(r *clb.RuleInput) { r.Domain = new("a b") })},
	{"a star in the middle", "InvalidParameterValue", rule(func(r *clb.RuleInput) { r.Domain = new("a.*.example") })},
	{"one domain and several", "InvalidParameter", rule(func(r *clb.RuleInput) { r.Domains = ptrs("b.example") })},
	{"no path", "MissingParameter", rule(func(r *clb.RuleInput) { r.Url = nil })},
	{"a path without slash", "InvalidParameterValue", rule(func(r *clb.RuleInput) { r.Url = new("img") })},
	{"a path of 201 characters", "InvalidParameterValue.Length", rule(func(r *clb.RuleInput) { r.Url = new("/" + strings.Repeat("a", 200)) })},
	{"a rule that exists", "InvalidParameterValue", rule(func(r *clb.RuleInput) { r.Url = new("/") })},
	{"domains that overlap", "InvalidParameterValue", rule(func(r *clb.RuleInput) {
		r.Domain, r.Domains, r.Certificate = nil, ptrs("a.example", "b.example"), oneWay(certRSA)
	})},
	{"a new domain without certificate", "MissingParameter", rule(func(r *clb.RuleInput) { r.Domain = new("b.example") })},
	{"another certificate of a known domain", "InvalidParameterValue", rule(func(r *clb.RuleInput) { r.Certificate = oneWay(certECC) })},
	{"an expired certificate of a domain", "InvalidParameterValue", rule(func(r *clb.RuleInput) { r.Domain, r.Certificate = new("b.example"), oneWay(certOld) })},
	{"affinity of a rule of 86401 s", "InvalidParameterValue", rule(func(r *clb.RuleInput) { r.SessionExpireTime = new(int64(86401)) })},
	{"a scheduler of a rule that does not exist", "InvalidParameterValue", rule(func(r *clb.RuleInput) { r.Scheduler = new("RANDOM") })},
	{"forwarding by a protocol that does not exist", "InvalidParameterValue", rule(func(r *clb.RuleInput) { r.ForwardType = new("FTP") })},
	{"a TCP check on a rule", "InvalidParameterValue", rule(func(r *clb.RuleInput) { r.HealthCheck = &clb.HealthCheck{CheckType: new("TCP")} })},
	{"a check port on a rule", "InvalidParameterValue", rule(func(r *clb.RuleInput) { r.HealthCheck = &clb.HealthCheck{CheckPort: new(int64(80))} })},
	{"GRPC codes without GRPC", "InvalidParameterValue", rule(func(r *clb.RuleInput) { r.HealthCheck = &clb.HealthCheck{ExtendedCode: new("12")} })},
	{"GRPC codes that are none", "InvalidParameterValue", rule(func(r *clb.RuleInput) {
		r.HealthCheck = &clb.HealthCheck{CheckType: new("GRPC"), ExtendedCode: new("all")}
	})},
	{"a target group, which is not simulated", "UnsupportedOperation", rule(func(r *clb.RuleInput) { r.TargetType = new("TARGETGROUP") })},
	{"two defaults at once", "InvalidParameterValue", createRule(func(in *clb.CreateRuleRequest) {
		other := path("b.example", "/")
		other.Certificate, other.DefaultServer, in.Rules[0].DefaultServer = oneWay(certRSA), new(true), new(true)
		in.Rules = append(in.Rules, other)
	})},
	{"51 rules", "LimitExceeded", createRule(func(in *clb.CreateRuleRequest) {
		in.Rules = nil
		for i := range 50 { // one exists
			in.Rules = append(in.Rules, path("a.example", fmt.Sprint("/", i)))
		}
	})},
	{"HTTP/2 on HTTP", "InvalidParameter", func(f fixture) error {
		l := f.secure(f.lb, "HTTP", 8088, func(*clb.CreateListenerRequest) {})
		return createRule(func(in *clb.CreateRuleRequest) { in.ListenerId, in.Rules[0].Http2 = &l, new(true) })(f)
	}},
	{"a certificate of a rule without SNI", "InvalidParameter", func(f fixture) error {
		l := f.secure(f.lb, "HTTPS", 8443, withCertificate(certRSA))
		return createRule(func(in *clb.CreateRuleRequest) { in.ListenerId, in.Rules[0].Certificate = &l, oneWay(certRSA) })(f)
	}},
	{"modifying no rule", "MissingParameter", modifyRule(func(in *clb.ModifyRuleRequest) { in.LocationId = nil })},
	{"modifying an unknown rule", "InvalidParameter", modifyRule(func(in *clb.ModifyRuleRequest) { in.LocationId = new("loc-nothere1") })},
	{"a new path without slash", "InvalidParameterValue", modifyRule(func(in *clb.ModifyRuleRequest) { in.Url = new("x") })},
	{"an unknown domain", "InvalidParameter", modifyDomain(func(in *clb.ModifyDomainAttributesRequest) { in.Domain = new("x.example") })},
	{"taking the default away", "MissingParameter", modifyDomain(func(in *clb.ModifyDomainAttributesRequest) { in.DefaultServer = new(false) })},
	{"giving the default to a stranger", "InvalidParameter", modifyDomain(func(in *clb.ModifyDomainAttributesRequest) {
		in.DefaultServer, in.NewDefaultServerDomain = new(false), new("x.example")
	})},
	{"deleting nothing", "MissingParameter", deleteRule(func(*clb.DeleteRuleRequest) {})},
	{"deleting an unknown rule", "InvalidParameter", deleteRule(func(in *clb.DeleteRuleRequest) { in.LocationIds = ptrs("loc-nothere1") })},
	{"deleting an unknown path", "InvalidParameter", deleteRule(func(in *clb.DeleteRuleRequest) { in.Domain, in.Url = new("a.example"), new("/x") })},
	{"a target of an HTTPS listener without rule", "MissingParameter", func(f fixture) error {
		_, err := f.clb.RegisterTargetsWithContext(f.ctx, registerRequest(f.lb, f.sni(), node(node2, 30080, 10)))
		return err
	}},
	{"a target of an unknown rule", "InvalidParameter", func(f fixture) error {
		in := registerRequest(f.lb, f.sni(), node(node2, 30080, 10))
		in.LocationId = new("loc-nothere1")
		_, err := f.clb.RegisterTargetsWithContext(f.ctx, in)
		return err
	}},
	{"a batch to an unknown rule", "InvalidParameter.LocationNotFound", func(f fixture) error {
		in := clb.NewBatchRegisterTargetsRequest()
		in.LoadBalancerId, in.Targets = &f.lb, []*clb.BatchTarget{{ListenerId: new(f.sni()), LocationId: new("loc-nothere1"), InstanceId: new(node2), Port: new(int64(30080))}}
		_, err := f.clb.BatchRegisterTargetsWithContext(f.ctx, in)
		return err
	}},
}
