// SPDX-License-Identifier: Apache-2.0

package cloud

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	clb "github.com/tencentcloud/tencentcloud-sdk-go/tencentcloud/clb/v20180317"
)

// rule is one forwarding rule of a listener of layer 7: a path of a site.
type rule struct {
	pool
	id       string
	site     *site
	url      string
	settings ruleSettings
	created  time.Time
}

// site is what all rules with the same domains share.
type site struct {
	domains     []string // one, or several that are treated as one
	certificate *certificate
	isDefault   bool // requests for no known domain go there
	http2, quic bool
}

// ruleSettings is what ModifyRule can change, apart from the path.
type ruleSettings struct {
	check         HealthCheck
	scheduler     string
	sessionExpire int64 // seconds, 0 is off
	forwardType   string
	cookie        string
}

// ruleOptions are the fields that CreateRule and ModifyRule share.
type ruleOptions struct {
	check                  *clb.HealthCheck
	scheduler, forwardType *string
	sessionExpire          *int64
	cookie                 *string
}

var forwardTypes = map[string][]string{HTTP: {"HTTP", "GRPC"}, HTTPS: {"HTTP", "HTTPS", "GRPC", "GRPCS"}}

func (s ruleSettings) with(path string, o ruleOptions, on kind, a Assumptions) (ruleSettings, *Error) {
	switch f, e := value(o.forwardType), o.sessionExpire; {
	case f == "TRPC":
		return s, errorf(codeUnsupported, "clbsim does not simulate ForwardType TRPC.")
	case f != "" && !slices.Contains(forwardTypes[on.protocol], f):
		return s, errorf(codeValue, "The value of %sForwardType is %q, it should be one of %s in %s listener.", path, f, strings.Join(forwardTypes[on.protocol], ", "), on.protocol)
	case o.scheduler != nil && !slices.Contains([]string{"WRR", "LEAST_CONN", "IP_HASH"}, *o.scheduler):
		return s, errorf(codeValue, "The value of %sScheduler is %q, it should be WRR, LEAST_CONN or IP_HASH.", path, *o.scheduler)
	case e != nil && *e != 0 && (*e < 30 || *e > 86400):
		return s, errorf(codeValue, "The value of %sSessionExpireTime is %d, it should be 0 or 30 to 86400.", path, *e)
	case o.cookie != nil && len(*o.cookie) > 80:
		return s, errorf(codeLength, "The length of %sCookieName is %d, it should be at most 80.", path, len(*o.cookie))
	}
	set(&s.scheduler, o.scheduler)
	set(&s.sessionExpire, o.sessionExpire)
	set(&s.forwardType, o.forwardType)
	set(&s.cookie, o.cookie)
	var err *Error
	s.check, err = s.check.with(o.check, on, a)
	return s, err
}

// newRuleSettings is what a rule has whose creator says nothing: checks go by
// the protocol that requests are forwarded by.
func newRuleSettings(on kind, forwardType, domain string) ruleSettings {
	s := ruleSettings{check: newHealthCheck(on), scheduler: "WRR", forwardType: cmp.Or(forwardType, "HTTP")}
	switch s.forwardType {
	case "HTTPS":
		s.check.Type = CheckHTTPS
	case "GRPC", "GRPCS":
		s.check.Type = CheckGRPC
	}
	if !strings.ContainsAny(domain, "*~") {
		s.check.HTTPDomain = domain
	}
	return s
}

func (l *listener) rule(id string) *rule {
	for _, r := range l.rules {
		if r.id == id {
			return r
		}
	}
	return nil
}

func (l *listener) site(domain string) *site {
	for _, r := range l.rules {
		if slices.Contains(r.site.domains, domain) {
			return r.site
		}
	}
	return nil
}

// ruleOn returns the rule that has a path of a domain.
func (l *listener) ruleOn(domain, url string) *rule {
	for _, r := range l.rules {
		if r.url == url && slices.Contains(r.site.domains, domain) {
			return r
		}
	}
	return nil
}

// layer7Listener finds a listener that has rules and is free for a write.
func (k *call) layer7Listener(lbID, id *string) (*listener, *Error) {
	lb, err := k.locked(lbID)
	if err != nil {
		return nil, err
	}
	l, err := k.listener(lb, "ListenerId", id)
	if err == nil && !layer7(l.protocol) {
		err = errorf(codeInvalid, "Rules are for HTTP and HTTPS listeners, %s is %s.", l.id, l.protocol)
	}
	return l, err
}

// location finds the rule that a request names, by id or by domain and path.
// The id goes first: with it, domain and path have no meaning.
func (l *listener) location(id, domain, url *string) (*rule, *Error) {
	switch {
	case value(id) != "":
		if r := l.rule(*id); r != nil {
			return r, nil
		}
		return nil, errorf(codeLocationNotFound, "Location not exist: %s of %s.", *id, l.id)
	case value(domain) != "" && value(url) != "":
		if r := l.ruleOn(*domain, *url); r != nil {
			return r, nil
		}
		return nil, errorf(codeLocationNotFound, "Location not exist: %s%s of %s.", *domain, *url, l.id)
	}
	return nil, errorf(codeMissing, "The targets of an %s listener belong to its rules: LocationId, or Domain and Url, is required.", l.protocol)
}

// poolOf finds the pool that a request on targets means.
func (l *listener) poolOf(id, domain, url *string) (*pool, *Error) {
	if layer7(l.protocol) {
		r, err := l.location(id, domain, url)
		if err != nil {
			return nil, err
		}
		return &r.pool, nil
	}
	if id != nil || domain != nil || url != nil {
		return nil, errorf(codeInvalid, "LocationId, Domain and Url are for HTTP and HTTPS listeners, %s is %s.", l.id, l.protocol)
	}
	return &l.pool, nil
}

var (
	plainDomain = regexp.MustCompile(`^[A-Za-z0-9.-]+$`)
	plainURL    = regexp.MustCompile(`^/[ -~]*$`)
)

// checkDomain checks the form of a domain: letters, digits, - and ., an * at
// one end, or a regular expression after ~.
func checkDomain(path, d string) *Error {
	re, isRE := strings.CutPrefix(d, "~")
	inner := strings.TrimSuffix(strings.TrimPrefix(d, "*"), "*")
	switch {
	case d == "":
		return missing(path)
	case len(d) > 80:
		return errorf(codeLength, "The length of %s is %d, it should be 1 to 80.", path, len(d))
	case isRE:
		if _, err := regexp.Compile(re); err != nil {
			return errorf(codeValue, "%s is not a regular expression: %v.", path, err)
		}
	case !plainDomain.MatchString(inner) || len(d)-len(inner) > 1:
		return errorf(codeValue, "The value of %s is %q, it should consist of letters, digits, - and ., with a * at the beginning or the end at most.", path, d)
	}
	return nil
}

func checkURL(path, u string) *Error {
	switch {
	case u == "":
		return missing(path)
	case len(u) > 200:
		return errorf(codeLength, "The length of %s is %d, it should be 1 to 200.", path, len(u))
	case !plainURL.MatchString(u):
		return errorf(codeValue, "The value of %s is %q, it should begin with / and consist of visible ASCII characters.", path, u)
	}
	return nil
}

func (r *rule) wire() *clb.RuleOutput {
	s := r.settings
	quic := "QUIC_INACTIVE"
	if r.site.quic {
		quic = "QUIC_ACTIVE"
	}
	return &clb.RuleOutput{
		LocationId: &r.id, ListenerId: &r.listener.id, Domain: new(r.site.domains[0]), Domains: pointers(slices.Clone(r.site.domains)), Url: new(r.url),
		SessionExpireTime: new(s.sessionExpire), HealthCheck: s.check.wire(r.listener.protocol), Certificate: r.site.certificate.wire(),
		Scheduler: new(s.scheduler), HttpGzip: new(true), BeAutoCreated: new(false), DefaultServer: new(r.site.isDefault), Http2: new(r.site.http2),
		ForwardType: new(s.forwardType), CreateTime: wireTime(r.created), TargetType: new("NODE"), QuicStatus: &quic, CookieName: new(s.cookie),
		WafDomainId: new(""), RewriteTarget: &clb.RewriteTarget{TargetListenerId: new(""), TargetLocationId: new("")},
	}
}

// makeDefault lets a site be the default of its listener, and no other.
func (l *listener) makeDefault(s *site) {
	for _, r := range l.rules {
		r.site.isDefault = r.site == s
	}
}

// handDownCertificate lets the sites of a listener keep its certificate when
// SNI is turned on, which moves certificates to the domains.
func (l *listener) handDownCertificate() {
	for _, r := range l.rules {
		r.site.certificate = l.settings.certificate
	}
	l.settings.certificate = nil
}

func noRule(id string) string { return fmt.Sprintf("Location not exist: %s", id) }
