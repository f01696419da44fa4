// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/xml"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"
	"text/tabwriter"
)

const feature = `\[Feature:LoadBalancer\]`

// part is what one process of the suite runs: the specs that match focus and do not match skip.
type part struct{ name, focus, skip string }

// Regular expressions over spec names, by what they have in common. What no group names runs in the part "others", so
// that a spec that a later Kubernetes brings is not left out.
const (
	rolling   = `should not have connectivity disruption during rolling update`
	udp       = `type and ports of a UDP service|preserve UDP traffic` // bind fixed local ports: one process for all
	local     = `LoadBalancers ExternalTrafficPolicy: Local`
	deadline  = `source ranges|cleanup finalizer`
	nodeports = `without NodePort`
)

// unsupported are specs that are not run, each with the reason: they would wait for a quarter of an hour first.
var unsupported = map[string]string{
	nodeports: "needs targets that are pods (direct access); node targets need a NodePort",
}

// divide returns parts that take about the same time and together run every spec, except the unsupported ones and, unless
// all are wanted, the two rolling updates. Each of those takes a quarter of an hour and is a part of its own.
func divide(all bool) []part {
	quick := func(name, group string) part {
		return part{name: name, focus: feature + ".*(" + group + ")|(" + group + ").*" + feature}
	}
	parts := []part{
		quick("udp", udp),
		quick("local", local),
		quick("deadline", deadline),
	}
	others := part{name: "others", focus: feature, skip: strings.Join([]string{udp, local, deadline, rolling, nodeports}, "|")}
	parts = append(parts, others)
	if all {
		parts = append(parts,
			quick("rolling-cluster", rolling+`.*=Cluster`),
			quick("rolling-local", rolling+`.*=Local`))
	}
	return parts
}

// spec is what became of one.
type spec struct {
	name    string
	result  string // passed, failed, timedout, …: Ginkgo's word
	seconds float64
	reason  string // of a failure, as the suite says it
}

// read returns the specs that a JUnit report of Ginkgo says were run.
func read(r io.Reader) ([]spec, error) {
	var report struct {
		Suites []struct {
			Cases []struct {
				Name    string  `xml:"name,attr"`
				Status  string  `xml:"status,attr"`
				Time    float64 `xml:"time,attr"`
				Failure *struct {
					Message string `xml:"message,attr"`
				} `xml:"failure"`
				Error *struct {
					Message string `xml:"message,attr"`
				} `xml:"error"`
			} `xml:"testcase"`
		} `xml:"testsuite"`
	}
	if err := xml.NewDecoder(r).Decode(&report); err != nil {
		return nil, fmt.Errorf("report of the suite: %w", err)
	}
	var specs []spec
	for _, suite := range report.Suites {
		for _, c := range suite.Cases {
			// Besides specs the report has the suite's own nodes ([SynchronizedBeforeSuite]), and all that were not run.
			if !strings.HasPrefix(c.Name, "[It]") || c.Status == "skipped" || c.Status == "pending" {
				continue
			}
			s := spec{name: short(c.Name), result: c.Status, seconds: c.Time}
			if c.Failure != nil {
				s.reason = c.Failure.Message
			} else if c.Error != nil {
				s.reason = c.Error.Message
			}
			specs = append(specs, s)
		}
	}
	return specs, nil
}

// tags are what spec names carry for selection: [sig-network], [Feature:LoadBalancer], [Slow].
var tags = regexp.MustCompile(`\s*\[[^\]]*\]`)

func short(name string) string { return strings.TrimSpace(tags.ReplaceAllString(name, "")) }

// expected are specs that fail, each with the reason and what would be needed. One that passes nevertheless is said so.
var expected = map[string]string{}

// table prints the specs with what became of them, then those that are not run. It returns how many passed, and how many
// failed without an entry in expected.
func table(w io.Writer, specs []spec) (passed, unexplained int) {
	slices.SortFunc(specs, func(a, b spec) int { return strings.Compare(a.name, b.name) })
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "RESULT\tSECONDS\tSPEC")
	var notes []string
	for _, s := range specs {
		fmt.Fprintf(tw, "%s\t%.0f\t%s\n", s.result, s.seconds, s.name)
		why, known := explain(expected, s.name)
		switch {
		case s.result == "passed":
			passed++
			if known {
				notes = append(notes, fmt.Sprintf("%s\n    passed, though it was expected to fail: %s", s.name, why))
			}
		case known:
			notes = append(notes, fmt.Sprintf("%s\n    known: %s", s.name, why))
		default:
			unexplained++
			notes = append(notes, fmt.Sprintf("%s\n    %s", s.name, firstLines(s.reason, 3)))
		}
	}
	for _, pattern := range slices.Sorted(maps.Keys(unsupported)) {
		fmt.Fprintf(tw, "not run\t\t%s: %s\n", pattern, unsupported[pattern])
	}
	tw.Flush()
	for _, n := range notes {
		fmt.Fprintf(w, "\n  %s\n", n)
	}
	return passed, unexplained
}

// explain returns the reason whose pattern is part of the spec's name.
func explain(reasons map[string]string, name string) (string, bool) {
	for pattern, why := range reasons {
		if strings.Contains(name, pattern) {
			return why, true
		}
	}
	return "", false
}

func firstLines(s string, n int) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return strings.Join(lines[:min(n, len(lines))], "\n    ")
}
