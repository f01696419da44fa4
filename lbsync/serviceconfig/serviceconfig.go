// SPDX-License-Identifier: Apache-2.0

// Package serviceconfig is the one table of the fields of a TkeServiceConfig (cloud.tencent.com/v1alpha1): their names,
// types, bounds, defaults and documentation. The parser, the CustomResourceDefinition and the reference pages come out of
// it, so that they cannot contradict each other.
//
// It decides what a TkeServiceConfig says, and what the one that is made for a Service has to say (Auto). It never decides what
// to do about it, and reads nothing but what it is given. lbsync calls it, and lbsync/controller for the objects.
package serviceconfig

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
)

// Names of the resource.
const (
	Group    = "cloud.tencent.com"
	Version  = "v1alpha1"
	Kind     = "TkeServiceConfig"
	Resource = "tkeserviceconfigs"
)

// Reserved are the ends of the names of objects that controllers make.
var Reserved = []string{"-auto-service-config", "-auto-ingress-config"}

// Config is what a TkeServiceConfig says: its sections that can be followed. The zero value says nothing. Nobody changes
// what its maps and pointers lead to.
type Config struct {
	Layer4    map[Key]Layer4
	Layer7    map[Key]Layer7
	Bandwidth int // of the CLB, in Mbps, 1 to 2048; 0: nothing is said
}

// Key says which listener a section is for.
type Key struct {
	Protocol string `json:"protocol"`
	Port     int    `json:"port"`
}

func (k Key) String() string { return fmt.Sprintf("%s:%d", k.Protocol, k.Port) }

// Layer4 is a section for a TCP, UDP, TCP_SSL or QUIC listener. nil and zero fields are not set.
type Layer4 struct {
	Key
	Session     *Session     `json:"session,omitempty"`
	HealthCheck *HealthCheck `json:"healthCheck,omitempty"`
	Scheduler   string       `json:"scheduler,omitempty"`
	IdleTimeout int          `json:"idleConnectTimeout,omitempty"` // seconds
}

// Layer7 is a section for an HTTP or HTTPS listener.
type Layer7 struct {
	Key
	DefaultServer   string   `json:"defaultServer,omitempty"`
	KeepaliveEnable int      `json:"keepaliveEnable,omitempty"`
	Domains         []Domain `json:"domains,omitempty"`
}

// Domain is a part of a Layer7 section.
type Domain struct {
	Domain string `json:"domain"`
	Rules  []Rule `json:"rules,omitempty"`
}

// Rule is a part of a Domain.
type Rule struct {
	URL         string       `json:"url"`
	ForwardType string       `json:"forwardType,omitempty"`
	Session     *Session     `json:"session,omitempty"`
	HealthCheck *HealthCheck `json:"healthCheck,omitempty"`
	Scheduler   string       `json:"scheduler,omitempty"`
}

// Rule returns what is said of a rule; the zero Rule if nothing is.
func (l Layer7) Rule(domain, url string) Rule {
	for _, d := range l.Domains {
		if d.Domain != domain {
			continue
		}
		for _, r := range d.Rules {
			if r.URL == url {
				return r
			}
		}
	}
	return Rule{}
}

// Session is the stickiness of a listener or rule.
type Session struct {
	Enable bool `json:"enable"`
	Expire int  `json:"sessionExpireTime,omitempty"` // seconds; 0: 30
}

// HealthCheck is how targets are probed. Times are in seconds; zero fields are not set.
type HealthCheck struct {
	Enable       bool   `json:"enable"`
	Interval     int    `json:"intervalTime,omitempty"`
	Healthy      int    `json:"healthNum,omitempty"`
	Unhealthy    int    `json:"unHealthNum,omitempty"`
	Timeout      int    `json:"timeout,omitempty"`
	CheckType    string `json:"checkType,omitempty"`
	CheckPort    int    `json:"checkPort,omitempty"`
	Path         string `json:"httpCheckPath,omitempty"`
	Domain       string `json:"httpCheckDomain,omitempty"`
	Method       string `json:"httpCheckMethod,omitempty"`
	Code         int    `json:"httpCode,omitempty"`
	HTTPVersion  string `json:"httpVersion,omitempty"`
	SourceIPType *int   `json:"sourceIpType,omitempty"`
}

// Problem is something that a TkeServiceConfig says and that cannot be followed.
type Problem struct {
	Section string // "loadBalancer.l4Listeners[0]", and the listener's name if it has one: what the problem costs; "": nothing
	Path    string // "loadBalancer.l4Listeners[0].port"
	Reason  string // what is wrong and what would be right, a phrase
}

func (p Problem) Error() string {
	if p.Section == "" {
		return fmt.Sprintf("%s %s; it is ignored", p.Path, p.Reason)
	}
	return fmt.Sprintf("%s %s; the section %s is left out", p.Path, p.Reason, p.Section)
}

// Parse reads the spec of a TkeServiceConfig, as the JSON decoder or the API server gives it. A problem costs the section that
// it is in, the others count; of two sections for one listener the first counts. Problems are in the order of the spec.
func Parse(spec map[string]any) (Config, []Problem) {
	out := Config{Layer4: map[Key]Layer4{}, Layer7: map[Key]Layer7{}}
	var problems []Problem
	lb, ok := spec[schema.Name].(map[string]any)
	if !ok {
		if spec[schema.Name] != nil {
			problems = append(problems, Problem{Section: schema.Name, Path: schema.Name, Reason: "is not an object"})
		}
		return out, problems
	}
	for _, name := range slices.Sorted(maps.Keys(lb)) {
		field, known := schema.field(name)
		path := schema.Name + "." + name
		switch {
		case !known:
			problems = append(problems, Problem{Path: path, Reason: "is no field of a " + Kind})
		case lb[name] == nil:
		case field.Kind == list:
			items, ok := lb[name].([]any)
			if !ok {
				problems = append(problems, Problem{Section: path, Path: path, Reason: "is not a list"})
			}
			for i, item := range items {
				problems = append(problems, out.section(field, fmt.Sprintf("%s[%d]", path, i), item)...)
			}
		default:
			wrong := field.check(path, path, lb[name])
			if len(wrong) == 0 {
				n, _ := whole(lb[name])
				out.Bandwidth = n
			}
			problems = append(problems, wrong...)
		}
	}
	return out, problems
}

// section adds a section if nothing is wrong with it.
func (c *Config) section(field Field, path string, item any) []Problem {
	section := path
	if m, ok := item.(map[string]any); ok && m["protocol"] != nil && m["port"] != nil {
		section = fmt.Sprintf("%s (%v:%v)", path, m["protocol"], m["port"])
	}
	problems := (&Field{Kind: object, Fields: field.Fields}).check(section, path, item)
	if slices.ContainsFunc(problems, func(p Problem) bool { return p.Section != "" }) {
		return problems
	}
	fault := func(format string, args ...any) []Problem {
		return append(problems, Problem{Section: section, Path: path, Reason: fmt.Sprintf(format, args...)})
	}
	text, err := json.Marshal((&Field{Kind: object, Fields: field.Fields}).prune(item)) // the decoder takes fields whose case differs for the same
	var l4 Layer4
	var l7 Layer7
	if err == nil {
		err = errors.Join(json.Unmarshal(text, &l4), json.Unmarshal(text, &l7))
	}
	if err != nil {
		return fault("cannot be read: %v", err)
	}
	_, before4 := c.Layer4[l4.Key]
	_, before7 := c.Layer7[l7.Key]
	switch {
	case before4 || before7:
		return fault("is the second section for the listener %s", l4.Key)
	case field.Name == layer4Name:
		c.Layer4[l4.Key] = l4
	default:
		c.Layer7[l7.Key] = l7
	}
	return problems
}
