// SPDX-License-Identifier: Apache-2.0

package clbsim_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	clb "github.com/tencentcloud/tencentcloud-sdk-go/tencentcloud/clb/v20180317"

	"github.com/clbsync/clbsync/clbsim/admin"
)

// secure creates a listener with whatever the protocol needs.
func (w *world) secure(lb, protocol string, port int64, change func(*clb.CreateListenerRequest)) string {
	w.t.Helper()
	in := clb.NewCreateListenerRequest()
	in.LoadBalancerId, in.Protocol, in.Ports = &lb, &protocol, ptrs(port)
	change(in)
	out := must(w.clb.CreateListenerWithContext(w.ctx, in))(w.t)
	w.done(*out.Response.RequestId)
	return *out.Response.ListenerIds[0]
}

func oneWay(id string) *clb.CertificateInput {
	return &clb.CertificateInput{SSLMode: new("UNIDIRECTIONAL"), CertId: &id}
}

func withCertificate(id string) func(*clb.CreateListenerRequest) {
	return func(in *clb.CreateListenerRequest) { in.Certificate = oneWay(id) }
}

func withSNI(in *clb.CreateListenerRequest) { in.SniSwitch = new(int64(1)) }

func (w *world) rules(lb, listener string, rules ...*clb.RuleInput) []string {
	w.t.Helper()
	in := clb.NewCreateRuleRequest()
	in.LoadBalancerId, in.ListenerId, in.Rules = &lb, &listener, rules
	out := must(w.clb.CreateRuleWithContext(w.ctx, in))(w.t)
	w.done(*out.Response.RequestId)
	ids := make([]string, len(out.Response.LocationIds))
	for i, id := range out.Response.LocationIds {
		ids[i] = *id
	}
	return ids
}

func path(domain, url string) *clb.RuleInput { return &clb.RuleInput{Domain: &domain, Url: &url} }

// described returns a listener as DescribeListeners shows it.
func (w *world) described(lb, listener string) *clb.Listener {
	w.t.Helper()
	in := clb.NewDescribeListenersRequest()
	in.LoadBalancerId, in.ListenerIds = &lb, ptrs(listener)
	return must(w.clb.DescribeListenersWithContext(w.ctx, in))(w.t).Response.Listeners[0]
}

// ruleLife takes rules of an HTTPS listener with SNI through everything that
// can be done with them.
func (w *world) ruleLife(t *testing.T, lb string) {
	t.Helper()
	l := w.secure(lb, "HTTPS", 443, withSNI)
	first, second := path("a.example", "/"), path("*.b.example", "/img")
	first.Certificate, first.Http2 = oneWay(certRSA), new(true)
	second.MultiCertInfo = &clb.MultiCertInfo{SSLMode: new("UNIDIRECTIONAL"), CertList: []*clb.CertInfo{{CertId: new(certRSA)}, {CertId: new(certECC)}}}
	second.ForwardType, second.Scheduler, second.SessionExpireTime = new("HTTPS"), new("IP_HASH"), new(int64(86400))
	second.HealthCheck = &clb.HealthCheck{HttpCheckPath: new("/healthz"), HttpCode: new(int64(2)), HttpCheckMethod: new("GET"), HttpCheckDomain: new("b.example")}
	ids := w.rules(lb, l, first, second)

	got := w.described(lb, l)
	if r := got.Rules[0]; *r.Domain != "a.example" || !*r.DefaultServer || !*r.Http2 || *r.Certificate.CertId != certRSA || *r.HealthCheck.CheckType != "HTTP" || *r.HealthCheck.HttpCheckDomain != "a.example" {
		t.Errorf("the first rule reads back as %s", jsonOf(r))
	}
	if r := got.Rules[1]; *r.DefaultServer || *r.ForwardType != "HTTPS" || *r.Scheduler != "IP_HASH" || *r.SessionExpireTime != 86400 || *r.Certificate.ExtCertIds[0] != certECC ||
		*r.HealthCheck.CheckType != "HTTPS" || *r.HealthCheck.HttpCheckPath != "/healthz" || *r.HealthCheck.HttpCode != 2 {
		t.Errorf("the second rule reads back as %s", jsonOf(r))
	}
	if got.HealthCheck != nil || got.Scheduler != nil || got.Certificate != nil || *got.SniSwitch != 1 {
		t.Errorf("the listener has what belongs to its rules: %s", jsonOf(got))
	}
	w.ruleTargets(t, lb, l, ids)

	rule := clb.NewModifyRuleRequest()
	rule.LoadBalancerId, rule.ListenerId, rule.LocationId, rule.Url, rule.Scheduler = &lb, &l, &ids[1], new("/images"), new("LEAST_CONN")
	w.done(*must(w.clb.ModifyRuleWithContext(w.ctx, rule))(t).Response.RequestId)
	domain := clb.NewModifyDomainAttributesRequest()
	domain.LoadBalancerId, domain.ListenerId, domain.Domain, domain.NewDomains = &lb, &l, new("*.b.example"), ptrs("c.example", "d.example")
	domain.DefaultServer, domain.Certificate = new(true), oneWay(certECC)
	w.done(*must(w.clb.ModifyDomainAttributesWithContext(w.ctx, domain))(t).Response.RequestId)
	rename := clb.NewModifyDomainRequest()
	rename.LoadBalancerId, rename.ListenerId, rename.Domain, rename.NewDomain = &lb, &l, new("a.example"), new("e.example")
	w.done(*must(w.clb.ModifyDomainWithContext(w.ctx, rename))(t).Response.RequestId)
	want := []admin.Rule{
		{ID: ids[0], Domains: []string{"e.example"}, URL: "/", Certificates: []string{certRSA}, Scheduler: "WRR", ForwardType: "HTTP"},
		{ID: ids[1], Domains: []string{"c.example", "d.example"}, URL: "/images", Default: true, Certificates: []string{certECC}, Scheduler: "LEAST_CONN", SessionExpire: 86400, ForwardType: "HTTPS"},
	}
	if diff := cmp.Diff(want, w.state(l, func(r *admin.Rule) { r.HealthCheck, r.Targets = admin.Rule{}.HealthCheck, nil })); diff != "" {
		t.Errorf("rules (-want +got):\n%s", diff)
	}

	remove := clb.NewDeleteRuleRequest()
	remove.LoadBalancerId, remove.ListenerId, remove.LocationIds = &lb, &l, ptrs(ids[1])
	if _, err := w.clb.DeleteRuleWithContext(w.ctx, remove); code(err) != "InvalidParameter" {
		t.Errorf("the default domain goes without another taking its place: %v", err)
	}
	remove.NewDefaultServerDomain = new("e.example")
	w.done(*must(w.clb.DeleteRuleWithContext(w.ctx, remove))(t).Response.RequestId)
	if r := w.state(l, func(*admin.Rule) {}); len(r) != 1 || !r[0].Default {
		t.Errorf("after the deletion of the default domain: %+v", r)
	}
	remove = clb.NewDeleteRuleRequest()
	remove.LoadBalancerId, remove.ListenerId, remove.Domain, remove.Url = &lb, &l, new("e.example"), new("/")
	w.done(*must(w.clb.DeleteRuleWithContext(w.ctx, remove))(t).Response.RequestId)
	one := clb.NewDeleteListenerRequest()
	one.LoadBalancerId, one.ListenerId = &lb, &l
	w.done(*must(w.clb.DeleteListenerWithContext(w.ctx, one))(t).Response.RequestId)
}

// ruleTargets binds a node to two rules, in all ways that name a rule.
func (w *world) ruleTargets(t *testing.T, lb, l string, rules []string) {
	t.Helper()
	in := registerRequest(lb, l, node(node1, 30080, 20))
	in.LocationId = &rules[0]
	w.done(*must(w.clb.RegisterTargetsWithContext(w.ctx, in))(t).Response.RequestId)
	in = registerRequest(lb, l, node(node2, 30080, 20))
	in.Domain, in.Url = new("a.example"), new("/")
	w.done(*must(w.clb.RegisterTargetsWithContext(w.ctx, in))(t).Response.RequestId)
	many := clb.NewBatchRegisterTargetsRequest()
	many.LoadBalancerId = &lb
	// The same backend at another rule: uniqueness is a matter of layer 4.
	many.Targets = []*clb.BatchTarget{{ListenerId: &l, LocationId: &rules[1], InstanceId: new(node1), Port: new(int64(30080))}}
	if out := must(w.clb.BatchRegisterTargetsWithContext(w.ctx, many))(t).Response; len(out.FailListenerIdSet) != 0 {
		t.Errorf("the batch failed for %s", *out.Message)
	}
	weigh := clb.NewBatchModifyTargetWeightRequest()
	weigh.LoadBalancerId, weigh.ModifyList = &lb, []*clb.RsWeightRule{{ListenerId: &l, LocationId: &rules[1], Targets: []*clb.Target{node(node1, 30080, 0)}}}
	w.done(*must(w.clb.BatchModifyTargetWeightWithContext(w.ctx, weigh))(t).Response.RequestId)
	one := clb.NewModifyTargetWeightRequest()
	one.LoadBalancerId, one.ListenerId, one.LocationId, one.Targets = &lb, &l, &rules[0], []*clb.Target{node(node1, 30080, 33)}
	w.done(*must(w.clb.ModifyTargetWeightWithContext(w.ctx, one))(t).Response.RequestId)

	list := clb.NewDescribeTargetsRequest()
	list.LoadBalancerId, list.ListenerIds = &lb, ptrs(l)
	got := must(w.clb.DescribeTargetsWithContext(w.ctx, list))(t).Response.Listeners[0]
	if len(got.Targets) != 0 || len(got.Rules) != 2 || *got.Rules[0].LocationId != rules[0] || *got.Rules[0].Targets[0].Weight != 33 || len(got.Rules[0].Targets) != 2 || *got.Rules[1].Targets[0].Weight != 0 {
		t.Errorf("targets %s", jsonOf(got))
	}
	list.Filters = []*clb.Filter{{Name: new("location-id"), Values: ptrs(rules[1])}}
	if got := must(w.clb.DescribeTargetsWithContext(w.ctx, list))(t).Response.Listeners[0]; len(got.Rules[0].Targets) != 0 || len(got.Rules[1].Targets) != 1 {
		t.Errorf("targets by rule: %s", jsonOf(got))
	}
	// Each rule has its own health: a target dies where its rule's check says so.
	check := clb.NewModifyRuleRequest()
	check.LoadBalancerId, check.ListenerId, check.LocationId, check.HealthCheck = &lb, &l, &rules[1], &clb.HealthCheck{HealthSwitch: new(int64(0))}
	w.done(*must(w.clb.ModifyRuleWithContext(w.ctx, check))(t).Response.RequestId)
	must(w.adm.WaitState(w.ctx, func(s admin.State) bool {
		r := w.state(l, func(*admin.Rule) {})
		return r[0].Targets[0].Status == "Alive" && r[1].Targets[0].Status == "Close"
	}))(t)
	health := clb.NewDescribeTargetHealthRequest()
	health.LoadBalancerIds, health.ListenerIds = ptrs(lb), ptrs(l)
	h := must(w.clb.DescribeTargetHealthWithContext(w.ctx, health))(t).Response.LoadBalancers[0].Listeners[0].Rules
	if len(h) != 2 || *h[0].LocationId != rules[0] || *h[0].Domain != "a.example" || *h[0].Url != "/" || *h[0].Targets[0].HealthStatusDetail != "Alive" || *h[1].Targets[0].HealthStatusDetail != "Close" {
		t.Errorf("health %s", jsonOf(h))
	}
	gone := clb.NewBatchDeregisterTargetsRequest()
	gone.LoadBalancerId, gone.Targets = &lb, []*clb.BatchTarget{{ListenerId: &l, LocationId: &rules[1], InstanceId: new(node1), Port: new(int64(30080))}}
	must(w.clb.BatchDeregisterTargetsWithContext(w.ctx, gone))(t)
	out := clb.NewDeregisterTargetsRequest()
	out.LoadBalancerId, out.ListenerId, out.LocationId, out.Targets = &lb, &l, &rules[0], []*clb.Target{node(node1, 30080, 0), node(node2, 30080, 0)}
	w.done(*must(w.clb.DeregisterTargetsWithContext(w.ctx, out))(t).Response.RequestId)
	for _, r := range w.state(l, func(*admin.Rule) {}) {
		if len(r.Targets) != 0 {
			t.Errorf("targets are left: %+v", r)
		}
	}
}

// state returns the rules of a listener, each after a change.
func (w *world) state(listener string, change func(*admin.Rule)) []admin.Rule {
	w.t.Helper()
	for _, lb := range must(w.adm.State(w.ctx))(w.t).LoadBalancers {
		for _, l := range lb.Listeners {
			if l.ID == listener {
				for i := range l.Rules {
					change(&l.Rules[i])
				}
				return l.Rules
			}
		}
	}
	return nil
}

// What certificates and keep-alive say reads back, and can be changed in place.
func TestListenersThatTerminateTLS(t *testing.T) {
	w := start(t)
	lb := w.balancer()
	for port, protocol := range map[int64]string{443: "TCP_SSL", 8443: "HTTPS", 853: "QUIC"} {
		l := w.secure(lb, protocol, port, withCertificate(certRSA))
		if got := w.described(lb, l); *got.Certificate.CertId != certRSA || *got.Certificate.SSLMode != "UNIDIRECTIONAL" {
			t.Errorf("%s: certificate %+v", protocol, got.Certificate)
		}
		in := clb.NewModifyListenerRequest()
		in.LoadBalancerId, in.ListenerId = &lb, &l
		in.Certificate = &clb.CertificateInput{SSLMode: new("MUTUAL"), CertId: new(certECC), CertCaId: new(certCA)}
		must(w.clb.ModifyListenerWithContext(w.ctx, in))(t)
		if got := w.described(lb, l).Certificate; *got.CertId != certECC || *got.CertCaId != certCA || *got.SSLVerifyClient != "ON" {
			t.Errorf("%s: certificate after its change %+v", protocol, got)
		}
	}
	// TCP and UDP on the ports that QUIC and TCP_SSL left free.
	w.listener(lb, "UDP", 443)
	w.listener(lb, "TCP", 853)
	http := w.secure(lb, "HTTP", 80, func(in *clb.CreateListenerRequest) { in.KeepaliveEnable = new(int64(1)) })
	if got := w.described(lb, http); *got.KeepaliveEnable != 1 || got.Certificate != nil || got.Rules == nil {
		t.Errorf("HTTP listener %s", jsonOf(got))
	}
}

// SNI is turned on once and for all; the domains keep the listener's
// certificate.
func TestSNIIsTurnedOnForGood(t *testing.T) {
	w := start(t)
	lb := w.balancer()
	l := w.secure(lb, "HTTPS", 443, withCertificate(certRSA))
	w.rules(lb, l, path("a.example", "/"))
	in := clb.NewModifyListenerRequest()
	in.LoadBalancerId, in.ListenerId, in.SniSwitch = &lb, &l, new(int64(1))
	must(w.clb.ModifyListenerWithContext(w.ctx, in))(t)
	if got := w.described(lb, l); got.Certificate != nil || *got.Rules[0].Certificate.CertId != certRSA {
		t.Errorf("after SNI was turned on: %s", jsonOf(got))
	}
	in.SniSwitch = new(int64(0))
	if _, err := w.clb.ModifyListenerWithContext(w.ctx, in); code(err) != "InvalidParameter" {
		t.Errorf("turning SNI off: %v", err)
	}
}
