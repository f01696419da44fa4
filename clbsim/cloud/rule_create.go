// SPDX-License-Identifier: Apache-2.0

package cloud

import (
	"fmt"
	"slices"
	"time"

	clb "github.com/tencentcloud/tencentcloud-sdk-go/tencentcloud/clb/v20180317"
)

func createRule(k *call, in *clb.CreateRuleRequest) (*clb.CreateRuleResponseParams, *Error) {
	if len(in.Rules) == 0 {
		return nil, missing("Rules")
	}
	l, err := k.layer7Listener(in.LoadBalancerId, in.ListenerId)
	if err != nil {
		return nil, err
	}
	if err := overQuota("rules of "+l.id, int64(len(l.rules)), int64(len(in.Rules)), k.quota(QuotaRules)); err != nil {
		return nil, err
	}
	b := builder{call: k, listener: l}
	for i, r := range in.Rules {
		if err := b.add(fmt.Sprintf("Rules.%d.", i), r); err != nil {
			return nil, err
		}
	}
	ids := make([]string, len(b.made))
	for i, r := range b.made {
		ids[i] = r.id
	}
	k.start([]*loadBalancer{l.lb}, func(now time.Time) string { return b.apply(now) })
	return &clb.CreateRuleResponseParams{LocationIds: pointers(ids)}, nil
}

// builder makes the rules of one request, each with those before it in mind.
type builder struct {
	*call
	listener *listener
	made     []*rule
	def      *site // is to become the default
}

func (b *builder) add(path string, in *clb.RuleInput) *Error {
	domains, err := domainsOf(path, "Domain", in.Domain, in.Domains)
	if err != nil {
		return err
	}
	if err := checkURL(path+"Url", value(in.Url)); err != nil {
		return err
	}
	if t := value(in.TargetType); t != "" && t != "NODE" {
		if t == "TARGETGROUP" {
			return errorf(codeUnsupported, "clbsim does not simulate TargetType TARGETGROUP.")
		}
		return errorf(codeValue, "The value of %sTargetType is %q, it should be NODE or TARGETGROUP.", path, t)
	}
	s, err := b.siteFor(path, domains, in)
	if err != nil {
		return err
	}
	for _, r := range b.rules() {
		if r.site == s && r.url == *in.Url {
			return errorf(codeDuplicate, "%s: the rule %s%s exists: %s.", path, domains[0], *in.Url, r.id)
		}
	}
	on := b.listener.lb.kindOf(b.listener.protocol)
	conf, err := newRuleSettings(on, value(in.ForwardType), domains[0]).with(path, ruleOptions{
		check: in.HealthCheck, scheduler: in.Scheduler, forwardType: in.ForwardType, sessionExpire: in.SessionExpireTime, cookie: in.CookieName,
	}, on, b.cloud.cfg.Assumptions)
	if err != nil {
		return err
	}
	r := &rule{id: newID("loc-", func(id string) bool {
		return slices.ContainsFunc(b.rules(), func(r *rule) bool { return r.id == id })
	}), site: s, url: *in.Url, settings: conf}
	r.pool = pool{listener: b.listener, rule: r}
	b.made = append(b.made, r)
	return nil
}

// rules are those that exist and those that are being made.
func (b *builder) rules() []*rule { return append(slices.Clip(b.listener.rules), b.made...) }

// siteFor finds the site of a new rule, or makes one.
func (b *builder) siteFor(path string, domains []string, in *clb.RuleInput) (*site, *Error) {
	l := b.listener
	cert, err := b.domainCertificate(path, l, in.Certificate, in.MultiCertInfo)
	if err != nil {
		return nil, err
	}
	var found *site
	for _, r := range b.rules() {
		switch {
		case slices.Equal(r.site.domains, domains):
			found = r.site
		case slices.ContainsFunc(domains, func(d string) bool { return slices.Contains(r.site.domains, d) }):
			return nil, errorf(codeValue, "%sDomains: the domains %v overlap with those of the rule %s, %v.", path, domains, r.id, r.site.domains)
		}
	}
	if found == nil {
		if cert == nil && l.settings.sni {
			return nil, errorf(codeMissing, "The first rule of a domain needs %sCertificate or %sMultiCertInfo, since SniSwitch of %s is on.", path, path, l.id)
		}
		found = &site{domains: domains, certificate: cert}
	} else if cert != nil && !slices.Equal(cert.ids, found.certificate.all()) {
		return nil, errorf(codeValue, "%sCertificate is not that of the domain %s: it is changed with ModifyDomainAttributes.", path, domains[0])
	}
	if err := checkHTTPS(path, l, in.Http2, in.Quic); err != nil {
		return nil, err
	}
	set(&found.http2, in.Http2)
	set(&found.quic, in.Quic)
	if value(in.DefaultServer) {
		if b.def != nil && b.def != found {
			return nil, errorf(codeValue, "%sDefaultServer: a listener has one default domain, %s is given, too.", path, b.def.domains[0])
		}
		b.def = found
	}
	return found, nil
}

// domainCertificate reads the certificate of a domain, which exists on
// listeners with SNI only. Without one it returns nil.
func (k *call) domainCertificate(path string, l *listener, one *clb.CertificateInput, many *clb.MultiCertInfo) (*certificate, *Error) {
	if (one != nil || many != nil) && !l.settings.sni {
		return nil, errorf(codeInvalid, "%sCertificate and %sMultiCertInfo are for HTTPS listeners with SniSwitch 1, %s is not one.", path, path, l.id)
	}
	return k.cloud.certificateOf(path, one, many)
}

func checkHTTPS(path string, l *listener, http2, quic *bool) *Error {
	if l.protocol != HTTPS && (value(http2) || value(quic)) {
		return errorf(codeInvalid, "%sHttp2 and %sQuic are for HTTPS listeners, %s is %s.", path, path, l.id, l.protocol)
	}
	return nil
}

// domainsOf reads one domain or a list of them; exactly one of the two.
func domainsOf(path, field string, one *string, many []*string) ([]string, *Error) {
	switch {
	case one != nil && len(many) > 0:
		return nil, errorf(codeInvalid, "%s%s and %s%ss cannot be given together.", path, field, path, field)
	case len(many) == 0:
		return []string{value(one)}, checkDomain(path+field, value(one))
	}
	out := values(many)
	for i, d := range out {
		at := fmt.Sprintf("%s%ss.%d", path, field, i)
		if err := checkDomain(at, d); err != nil {
			return nil, err
		}
		if slices.Contains(out[:i], d) {
			return nil, errorf(codeValue, "%s: the domain %s is given twice.", at, d)
		}
	}
	return out, nil
}

// apply adds the rules. The first domain of a listener is its default.
func (b *builder) apply(now time.Time) string {
	l := b.listener
	if l.lb.listener(l.id) != l {
		return "Listener not exist: " + l.id
	}
	for _, r := range b.made {
		if o := l.ruleOn(r.site.domains[0], r.url); o != nil {
			return fmt.Sprintf("The rule %s%s exists: %s.", r.site.domains[0], r.url, o.id)
		}
	}
	if len(l.rules) == 0 && b.def == nil {
		b.def = b.made[0].site
	}
	for _, r := range b.made {
		r.created = now
		l.rules = append(l.rules, r)
	}
	if b.def != nil {
		l.makeDefault(b.def)
	}
	return ""
}
