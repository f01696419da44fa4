// SPDX-License-Identifier: Apache-2.0

package cloud

import (
	"slices"
	"time"

	clb "github.com/tencentcloud/tencentcloud-sdk-go/tencentcloud/clb/v20180317"
)

func modifyRule(k *call, in *clb.ModifyRuleRequest) (*clb.ModifyRuleResponseParams, *Error) {
	l, err := k.layer7Listener(in.LoadBalancerId, in.ListenerId)
	if err != nil {
		return nil, err
	}
	if value(in.LocationId) == "" {
		return nil, missing("LocationId")
	}
	r, err := l.location(in.LocationId, nil, nil)
	if err != nil {
		return nil, err
	}
	if in.Url != nil {
		if err := checkURL("Url", *in.Url); err != nil {
			return nil, err
		}
		if o := l.ruleOn(r.site.domains[0], *in.Url); o != nil && o != r {
			return nil, errorf(codeDuplicate, "The rule %s%s exists: %s.", r.site.domains[0], *in.Url, o.id)
		}
	}
	if in.OAuth != nil && value(in.OAuth.OAuthEnable) {
		return nil, errorf(codeUnsupported, "clbsim does not simulate OAuth.")
	}
	after, err := r.settings.with("", ruleOptions{
		check: in.HealthCheck, scheduler: in.Scheduler, forwardType: in.ForwardType, sessionExpire: in.SessionExpireTime, cookie: in.CookieName,
	}, l.lb.kindOf(l.protocol), k.cloud.cfg.Assumptions)
	if err != nil {
		return nil, err
	}
	k.start([]*loadBalancer{l.lb}, func(now time.Time) string {
		if !r.exists() {
			return noRule(r.id)
		}
		before := r.settings
		r.settings = after
		set(&r.url, in.Url)
		r.recheck(before.check, now)
		return ""
	})
	return &clb.ModifyRuleResponseParams{}, nil
}

// domain finds a site by one of its domains.
func (l *listener) domain(field string, domain *string) (*site, *Error) {
	if value(domain) == "" {
		return nil, missing(field)
	}
	if s := l.site(*domain); s != nil {
		return s, nil
	}
	return nil, errorf(codeLocationNotFound, "Domain not exist: %s of %s.", *domain, l.id)
}

func modifyDomain(k *call, in *clb.ModifyDomainRequest) (*clb.ModifyDomainResponseParams, *Error) {
	_, err := modifyDomainAttributes(k, &clb.ModifyDomainAttributesRequest{
		LoadBalancerId: in.LoadBalancerId, ListenerId: in.ListenerId, Domain: in.Domain, NewDomain: new(value(in.NewDomain)),
	})
	return &clb.ModifyDomainResponseParams{}, err
}

func modifyDomainAttributes(k *call, in *clb.ModifyDomainAttributesRequest) (*clb.ModifyDomainAttributesResponseParams, *Error) {
	l, err := k.layer7Listener(in.LoadBalancerId, in.ListenerId)
	if err != nil {
		return nil, err
	}
	s, err := l.domain("Domain", in.Domain)
	if err != nil {
		return nil, err
	}
	after := *s
	if in.NewDomain != nil || len(in.NewDomains) > 0 {
		if after.domains, err = domainsOf("", "NewDomain", in.NewDomain, in.NewDomains); err != nil {
			return nil, err
		}
		for _, d := range after.domains {
			if o := l.site(d); o != nil && o != s {
				return nil, errorf(codeValue, "The domain %s is one of %s already.", d, l.id)
			}
		}
	}
	cert, err := k.domainCertificate("", l, in.Certificate, in.MultiCertInfo)
	if err == nil {
		err = checkHTTPS("", l, in.Http2, in.Quic)
	}
	if err != nil {
		return nil, err
	}
	if cert != nil {
		after.certificate = cert
	}
	set(&after.http2, in.Http2)
	set(&after.quic, in.Quic)
	def, err := l.newDefault(s, in)
	if err != nil {
		return nil, err
	}
	k.start([]*loadBalancer{l.lb}, func(time.Time) string {
		after.isDefault = s.isDefault // a console edit may have moved it
		*s = after
		if def != nil {
			l.makeDefault(def)
		}
		return ""
	})
	return &clb.ModifyDomainAttributesResponseParams{}, nil
}

// newDefault returns the site that a request makes the default, or nil. A
// listener always has one: to take it from a domain is to give it to another.
func (l *listener) newDefault(s *site, in *clb.ModifyDomainAttributesRequest) (*site, *Error) {
	switch d := in.DefaultServer; {
	case d == nil:
		return nil, nil
	case *d:
		return s, nil
	case !s.isDefault:
		return nil, nil
	case in.NewDefaultServerDomain == nil:
		return nil, errorf(codeMissing, "A listener needs a default domain: NewDefaultServerDomain is required to take it from %s.", s.domains[0])
	}
	def, err := l.domain("NewDefaultServerDomain", in.NewDefaultServerDomain)
	if err == nil && def == s {
		err = errorf(codeValue, "NewDefaultServerDomain is the domain %s itself.", s.domains[0])
	}
	return def, err
}

func deleteRule(k *call, in *clb.DeleteRuleRequest) (*clb.DeleteRuleResponseParams, *Error) {
	l, err := k.layer7Listener(in.LoadBalancerId, in.ListenerId)
	if err != nil {
		return nil, err
	}
	doomed, err := l.doomed(in)
	if err != nil {
		return nil, err
	}
	rest := slices.DeleteFunc(slices.Clone(l.rules), func(r *rule) bool { return slices.Contains(doomed, r) })
	var def *site
	if in.NewDefaultServerDomain != nil {
		if def, err = l.domain("NewDefaultServerDomain", in.NewDefaultServerDomain); err != nil {
			return nil, err
		}
	}
	kept := func(s *site) bool { return slices.ContainsFunc(rest, func(r *rule) bool { return r.site == s }) }
	for _, r := range doomed {
		switch {
		case len(rest) == 0 || !r.site.isDefault || kept(r.site) || k.Console:
		case def != nil && kept(def):
		case k.cloud.cfg.Assumptions.DefaultDomain == Required:
			return nil, errorf(codeInvalid, "%s is the default domain of %s: NewDefaultServerDomain should name another one that stays.", r.site.domains[0], l.id)
		}
	}
	k.start([]*loadBalancer{l.lb}, func(time.Time) string {
		l.removeRules(doomed, def)
		return ""
	})
	return &clb.DeleteRuleResponseParams{}, nil
}

// doomed finds the rules that a deletion names: by their ids, or by a domain
// with all or one of its paths.
func (l *listener) doomed(in *clb.DeleteRuleRequest) ([]*rule, *Error) {
	var out []*rule
	for _, id := range in.LocationIds {
		r, err := l.location(id, nil, nil)
		if err != nil {
			return nil, err
		}
		out = append(out, r)
	}
	if len(out) > 0 {
		return out, nil
	}
	s, err := l.domain("LocationIds", in.Domain)
	if err != nil {
		return nil, err
	}
	for _, r := range l.rules {
		if r.site == s && equal(in.Url, r.url) {
			out = append(out, r)
		}
	}
	if len(out) == 0 {
		return nil, errorf(codeLocationNotFound, "Location not exist: %s%s of %s.", *in.Domain, *in.Url, l.id)
	}
	return out, nil
}

// removeRules takes rules away and sees to it that those that stay have a
// default domain.
func (l *listener) removeRules(doomed []*rule, def *site) {
	for _, r := range doomed {
		r.drop()
	}
	l.rules = slices.DeleteFunc(l.rules, func(r *rule) bool { return slices.Contains(doomed, r) })
	if def != nil {
		l.makeDefault(def)
	}
	if len(l.rules) > 0 && !slices.ContainsFunc(l.rules, func(r *rule) bool { return r.site.isDefault }) {
		l.makeDefault(l.rules[0].site)
	}
}
