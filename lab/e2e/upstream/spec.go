// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
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
type part struct {
	name, focus, skip string
	direct            bool // the controller binds pods, as its cloud config says
}

// Regular expressions over spec names, by what they have in common. What no group names runs in the part "others", so
// that a spec that a later Kubernetes brings is not left out.
const (
	rolling = `should not have connectivity disruption during rolling update`
	udp     = `type and ports of a UDP service|preserve UDP traffic` // bind fixed local ports: one process for all
	local   = `LoadBalancers ExternalTrafficPolicy: Local`
	direct  = `without NodePort` // nodes cannot be targets then
)

// known are specs that cannot pass yet, by a part of their name, each with the reason. They may wait for ten minutes and more
// before they give up, so they run only when all are wanted. One that passes nevertheless is said so.
var known = map[string]string{}

// divide returns parts that take about the same time and together run every spec; unless all are wanted, without those
// that take ten minutes and more, the rolling updates and the known ones. Each of those is a part of its own.
func divide(all bool) []part {
	group := func(name, pattern string) part {
		return part{name: name, focus: feature + ".*(" + pattern + ")|(" + pattern + ").*" + feature}
	}
	parts := []part{group("udp", udp), group("local", local), group("direct", direct)}
	parts[2].direct = true
	others := []string{udp, local, rolling, direct}
	for _, pattern := range slices.Sorted(maps.Keys(known)) {
		others = append(others, pattern)
		if all {
			parts = append(parts, group("known-"+strings.ReplaceAll(pattern, " ", "-"), pattern))
		}
	}
	if all {
		parts = append(parts, group("rolling-cluster", rolling+`.*=Cluster`), group("rolling-local", rolling+`.*=Local`))
	}
	return append(parts, part{name: "others", focus: feature, skip: strings.Join(others, "|")})
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
	type problem struct {
		Message string `xml:"message,attr"`
		Text    string `xml:",chardata"`
	}
	var report struct {
		Suites []struct {
			Cases []struct {
				Name    string    `xml:"name,attr"`
				Status  string    `xml:"status,attr"`
				Time    float64   `xml:"time,attr"`
				Problem []problem `xml:"failure"`
				Broken  []problem `xml:"error"` // timed out, interrupted, panicked
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
			for _, p := range append(c.Problem, c.Broken...) {
				s.reason = cmp.Or(s.reason, p.Message, strings.TrimSpace(p.Text))
			}
			specs = append(specs, s)
		}
	}
	return specs, nil
}

// tags are what spec names carry for selection: [sig-network], [Feature:LoadBalancer], [Slow].
var tags = regexp.MustCompile(`\s*\[[^\]]*\]`)

func short(name string) string { return strings.TrimSpace(tags.ReplaceAllString(name, "")) }

// table prints the specs with what became of them, then the known ones that were not run. It returns how many passed, and
// how many failed without a known reason.
func table(w io.Writer, specs []spec) (passed, unexplained int) {
	slices.SortFunc(specs, func(a, b spec) int { return strings.Compare(a.name, b.name) })
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "RESULT\tSECONDS\tSPEC")
	var notes []string
	ran := map[string]bool{}
	for _, s := range specs {
		fmt.Fprintf(tw, "%s\t%.0f\t%s\n", s.result, s.seconds, s.name)
		pattern := knownAs(s.name)
		ran[pattern] = true
		switch {
		case s.result == "passed" && pattern != "":
			passed++
			notes = append(notes, s.name+"\n    passed, though it is known to fail: "+known[pattern])
		case s.result == "passed":
			passed++
		case pattern != "":
			notes = append(notes, s.name+"\n    known: "+known[pattern])
		default:
			unexplained++
			notes = append(notes, s.name+"\n    "+firstLines(s.reason, 5))
		}
	}
	for _, pattern := range slices.Sorted(maps.Keys(known)) {
		if !ran[pattern] {
			fmt.Fprintf(tw, "not run\t\t… %s: %s\n", pattern, known[pattern])
		}
	}
	tw.Flush()
	for _, n := range notes {
		fmt.Fprintf(w, "\n  %s\n", n)
	}
	return passed, unexplained
}

// knownAs returns the key of known that is part of the spec's name, or "".
func knownAs(name string) string {
	for pattern := range known {
		if strings.Contains(name, pattern) {
			return pattern
		}
	}
	return ""
}

func firstLines(s string, n int) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return strings.Join(lines[:min(n, len(lines))], "\n    ")
}
