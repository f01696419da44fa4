// SPDX-License-Identifier: Apache-2.0

// Package rights compares what a program asked of the API server, by its audit log, with what roles grant it. It reads and
// compares only; the tests of lab/install call it.
package rights

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
)

// Request is what a line of the API server's audit log says of one request.
type Request struct {
	Verb      string `json:"verb"`
	UserAgent string `json:"userAgent"`
	User      struct {
		Username string `json:"username"`
	} `json:"user"`
	Object struct {
		Group       string `json:"apiGroup"`
		Resource    string `json:"resource"`
		Subresource string `json:"subresource"`
		Namespace   string `json:"namespace"`
		Name        string `json:"name"`
	} `json:"objectRef"`
	Response struct {
		Code int `json:"code"`
	} `json:"responseStatus"`
	Annotations map[string]string `json:"annotations"`
	URI         string            `json:"requestURI"`
}

// Forbidden reports whether the request was refused for want of a right.
func (r Request) Forbidden() bool { return r.Annotations["authorization.k8s.io/decision"] == "forbid" }

func (r Request) String() string {
	return fmt.Sprintf("%s %s (%d) by %s: %s", r.Verb, r.URI, r.Response.Code, r.User.Username, r.Annotations["authorization.k8s.io/reason"])
}

// What is the resource as a rule names it, with its subresource.
func (r Request) What() string {
	if r.Object.Subresource != "" {
		return r.Object.Resource + "/" + r.Object.Subresource
	}
	return r.Object.Resource
}

// ReadAudit reads an audit log and returns the requests of a user. A last line that is not complete is left out: the API
// server is writing it.
func ReadAudit(r io.Reader, user string) ([]Request, error) {
	var requests []Request
	for lines := bufio.NewReader(r); ; {
		line, err := lines.ReadBytes('\n')
		if err == io.EOF {
			return requests, nil
		}
		if err != nil {
			return nil, err
		}
		var request Request
		if err := json.Unmarshal(line, &request); err != nil {
			return nil, fmt.Errorf("audit log: %w in %q", err, line)
		}
		if request.User.Username == user {
			requests = append(requests, request)
		}
	}
}

// Grant is a set of rules that a role gives, in a namespace or, with "", everywhere.
type Grant struct {
	Namespace string
	Rules     []rbacv1.PolicyRule
}

// Right is one verb on one resource.
type Right struct{ Verb, Group, Resource, Namespace, Name string }

func (r Right) String() string {
	text := r.Verb + " " + r.Resource
	if r.Group != "" {
		text += "." + r.Group
	}
	if r.Name != "" {
		text += " " + r.Name
	}
	if r.Namespace != "" {
		text += " in " + r.Namespace
	}
	return text
}

// apart returns the single rights of grants, each once.
func apart(grants []Grant) []Right {
	var all []Right
	for _, g := range grants {
		for _, rule := range g.Rules {
			names := rule.ResourceNames
			if len(names) == 0 {
				names = []string{""}
			}
			for _, group := range rule.APIGroups {
				for _, resource := range rule.Resources {
					for _, verb := range rule.Verbs {
						for _, name := range names {
							all = append(all, Right{verb, group, resource, g.Namespace, name})
						}
					}
				}
			}
		}
	}
	slices.SortFunc(all, func(a, b Right) int { return strings.Compare(a.String(), b.String()) })
	return slices.Compact(all)
}

// uses reports whether a request needed the right.
func (r Right) uses(q Request) bool {
	return !q.Forbidden() && r.Verb == q.Verb && r.Group == q.Object.Group && r.Resource == q.What() &&
		(r.Namespace == "" || r.Namespace == q.Object.Namespace) && (r.Name == "" || r.Name == q.Object.Name)
}

// Unused returns the rights that no request needed. A rule with a wildcard is never used: nothing asks for "*".
func Unused(grants []Grant, requests []Request) []Right {
	return slices.DeleteFunc(apart(grants), func(r Right) bool { return slices.ContainsFunc(requests, r.uses) })
}
