// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"net"
	"regexp"
	"strings"

	"github.com/clbsync/clbsync/clbsim/cloud"
)

// site finds the site of a domain: the one that names it, else the wildcard
// that says most of it, else a regular expression, else the default.
func site(sites []cloud.ForwardingSite, domain string) *cloud.ForwardingSite {
	domain = strings.ToLower(domain)
	var found, fallback *cloud.ForwardingSite
	best := 0
	for i := range sites {
		s := &sites[i]
		if s.Default {
			fallback = s
		}
		for _, d := range s.Domains {
			if rank := match(strings.ToLower(d), domain); rank > best {
				found, best = s, rank
			}
		}
	}
	if found == nil {
		return fallback
	}
	return found
}

// The ranks of matches: wildcards lie between, by their length.
const (
	rankRegexp = 1
	rankExact  = 1000
)

// match returns how well a domain fits a pattern; 0 is not at all.
func match(pattern, domain string) int {
	if text, ok := strings.CutPrefix(pattern, "~"); ok {
		re, err := regexp.Compile(text)
		if err == nil && re.MatchString(domain) {
			return rankRegexp
		}
		return 0
	}
	if tail, ok := strings.CutPrefix(pattern, "*"); ok && strings.HasSuffix(domain, tail) && len(domain) > len(tail) {
		return rankRegexp + 1 + len(tail)
	}
	if head, ok := strings.CutSuffix(pattern, "*"); ok && strings.HasPrefix(domain, head) && len(domain) > len(head) {
		return rankRegexp + 1 + len(head)
	}
	if pattern == domain {
		return rankExact
	}
	return 0
}

// rule finds the rule of a path: the one that has most of its beginning.
func rule(s *cloud.ForwardingSite, path string) *cloud.ForwardingRule {
	var found *cloud.ForwardingRule
	for i := range s.Rules {
		r := &s.Rules[i]
		if strings.HasPrefix(path, r.URL) && (found == nil || len(r.URL) > len(found.URL)) {
			found = r
		}
	}
	return found
}

// hostname is a Host header without its port.
func hostname(host string) string {
	if h, _, err := net.SplitHostPort(host); err == nil {
		return h
	}
	return host
}
