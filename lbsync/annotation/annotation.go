// SPDX-License-Identifier: Apache-2.0

// Package annotation is the one table of Service annotations: their names, types, bounds, defaults and
// documentation. The parser, the reference pages and the warnings about misspelt names come out of it, so
// that they cannot contradict each other.
//
// It decides what an annotation says. It never decides what to do about it, and it reads nothing but the
// map that it is given. lbsync/controller calls it; nothing else in the project reads a Service's annotations.
package annotation

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Options is what the annotations of one Service say. The zero value is a Service without annotations.
type Options struct {
	SubnetID        string // of an internal CLB; empty: the CLB is public
	BindNodesOfPods bool   // under Local, bind only the nodes that run a ready pod
	WeightByPods    bool   // under Local, weight a node by the number of its ready pods
	Backends        string // label selector of the nodes that are bound; empty: all
	AllowRemoval    bool   // a held removal may go on
	PlanOnly        bool   // plans are shown and nothing is written to CLB
	Drift           string // "repair" or "report"; empty: as the cloud config says
	LoadBalancerID  string // what the controller wrote last; a cache key, never a proof of ownership
}

// Problem is an annotation that cannot be followed. It costs only what that annotation says, unless Blocking.
type Problem struct {
	Name, Value string
	Reason      string // what is wrong and what would be right, a phrase
	Blocking    bool   // nothing may be created: guessing could, for instance, make a private Service public
}

func (p Problem) Error() string {
	return fmt.Sprintf("annotation %s=%q: %s", p.Name, p.Value, p.Reason)
}

// Parse reads the annotations of one Service and returns what they say and all that is wrong with them,
// sorted by name; nil if nothing is. An annotation with a problem keeps its default. Names that belong to
// others are ignored.
func Parse(annotations map[string]string) (Options, []Problem) {
	var o Options
	var problems []Problem
	for _, name := range slices.Sorted(maps.Keys(annotations)) {
		value := annotations[name]
		problem := func(blocking bool, format string, args ...any) {
			problems = append(problems, Problem{Name: name, Value: value, Reason: fmt.Sprintf(format, args...), Blocking: blocking})
		}
		key, known := byName[name]
		switch {
		case !known:
			if near := nearest(name); near != "" {
				problem(false, "no such annotation; did you mean %s?", near)
			} else if strings.HasPrefix(name, Prefix) {
				problem(false, "no such annotation; those of %s are listed in docs/annotations.md", Prefix)
			}
		case key.NotYet != "":
			problem(key.Blocking, "not supported yet: %s", key.NotYet)
		default:
			if err := key.Value.set(&o, value); err != nil {
				problem(key.Blocking, "want %s", key.Value.Type)
			}
		}
	}
	return o, problems
}

// nearest returns the known name that name is probably a misspelling of, or "". A name under a foreign
// prefix is only suspected when its last part is a known one: TKE's own two prefixes are mixed up often.
func nearest(name string) string {
	best, bestDistance := "", 4
	prefix, last, _ := strings.Cut(name, "/")
	for i := range Keys {
		known := Keys[i].Name
		knownPrefix, knownLast, _ := strings.Cut(known, "/")
		if last == knownLast && prefix != knownPrefix && ownPrefix(prefix) {
			return known
		}
		if !ownPrefix(prefix) {
			continue
		}
		if d := distance(name, known, bestDistance); d < bestDistance {
			best, bestDistance = known, d
		}
	}
	return best
}

func ownPrefix(prefix string) bool {
	switch prefix + "/" {
	case Prefix, tkePrefix, k8sPrefix:
		return true
	}
	return false
}

// distance is the Levenshtein distance of a and b, or limit if it is not below limit.
func distance(a, b string, limit int) int {
	if len(a)-len(b) >= limit || len(b)-len(a) >= limit {
		return limit
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost = 1 + min(diagonal, row[j], row[j+1])
			}
			diagonal, row[j+1] = row[j+1], cost
		}
	}
	return min(row[len(b)], limit)
}
