// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// The names of the suite's load balancer specs in v1.37, as focus and skip see them, without their last tags.
var names = []string{
	"[sig-network] LoadBalancers [Feature:LoadBalancer] should be able to change the type and ports of a TCP service [Slow]",
	"[sig-network] LoadBalancers [Feature:LoadBalancer] should be able to change the type and ports of a UDP service [Slow]",
	"[sig-network] LoadBalancers [Feature:LoadBalancer] should only allow access from service loadbalancer source ranges [Slow]",
	"[sig-network] LoadBalancers [Feature:LoadBalancer] should have session affinity work for LoadBalancer service with Local traffic policy [Slow] [LinuxOnly]",
	"[sig-network] LoadBalancers [Feature:LoadBalancer] should be able to switch session affinity for LoadBalancer service with Local traffic policy [Slow] [LinuxOnly]",
	"[sig-network] LoadBalancers [Feature:LoadBalancer] should have session affinity work for LoadBalancer service with Cluster traffic policy [Slow] [LinuxOnly]",
	"[sig-network] LoadBalancers [Feature:LoadBalancer] should be able to switch session affinity for LoadBalancer service with Cluster traffic policy [Slow] [LinuxOnly]",
	"[sig-network] LoadBalancers [Feature:LoadBalancer] should handle load balancer cleanup finalizer for service [Slow]",
	"[sig-network] LoadBalancers [Feature:LoadBalancer] should be able to create LoadBalancer Service without NodePort and change it [Slow]",
	"[sig-network] LoadBalancers [Feature:LoadBalancer] should be able to preserve UDP traffic when server pod cycles for a LoadBalancer service on different nodes",
	"[sig-network] LoadBalancers [Feature:LoadBalancer] should be able to preserve UDP traffic when server pod cycles for a LoadBalancer service on the same nodes",
	"[sig-network] LoadBalancers [Feature:LoadBalancer] should not have connectivity disruption during rolling update with externalTrafficPolicy=Cluster [Slow]",
	"[sig-network] LoadBalancers [Feature:LoadBalancer] should not have connectivity disruption during rolling update with externalTrafficPolicy=Local [Slow]",
	"[sig-network] LoadBalancers ExternalTrafficPolicy: Local [Feature:LoadBalancer] [Slow] should work for type=LoadBalancer",
	"[sig-network] LoadBalancers ExternalTrafficPolicy: Local [Feature:LoadBalancer] [Slow] should only target nodes with endpoints",
	"[sig-network] LoadBalancers ExternalTrafficPolicy: Local [Feature:LoadBalancer] [Slow] should target all nodes with endpoints",
	"[sig-network] LoadBalancers ExternalTrafficPolicy: Local [Feature:LoadBalancer] [Slow] should work from pods",
	"[sig-network] LoadBalancers [Feature:LoadBalancer] should do what nobody has thought of yet",
}

func TestEverySpecRunsInExactlyOneProcess(t *testing.T) {
	for _, all := range []bool{false, true} {
		for _, name := range names {
			var in []string
			for _, p := range divide(all) {
				if regexp.MustCompile(p.focus).MatchString(name) && (p.skip == "" || !regexp.MustCompile(p.skip).MatchString(name)) {
					in = append(in, p.name)
				}
			}
			want := 1
			if !all && (knownAs(name) != "" || strings.Contains(name, rolling)) {
				want = 0
			}
			if len(in) != want {
				t.Errorf("all=%v: %q runs in %v, want %d", all, name, in, want)
			}
		}
	}
	for _, p := range divide(true) {
		if other := "[sig-network] Services should serve a basic endpoint from pods"; regexp.MustCompile(p.focus).MatchString(other) {
			t.Errorf("%s would run %q", p.name, other)
		}
	}
}

const report = `<?xml version="1.0" encoding="UTF-8"?>
<testsuites tests="5" failures="1"><testsuite name="Kubernetes e2e suite">
<testcase name="[SynchronizedBeforeSuite]" status="passed" time="0.1"></testcase>
<testcase name="[It] [sig-network] LoadBalancers [Feature:LoadBalancer] should work from pods [Slow]" status="passed" time="6.2"></testcase>
<testcase name="[It] [sig-network] LoadBalancers [Feature:LoadBalancer] should float [Slow]" status="failed" time="61">
<failure message="" type="failed">it sank&#xA;deep&#xA;</failure></testcase>
<testcase name="[It] [sig-network] LoadBalancers [Feature:LoadBalancer] should end" status="timedout" time="3600"><error message="too long" type="timedout"></error></testcase>
<testcase name="[It] [sig-apps] Something else" status="skipped" time="0"><skipped message="skipped"></skipped></testcase>
</testsuite></testsuites>`

func TestReportBecomesSpecs(t *testing.T) {
	got, err := read(strings.NewReader(report))
	if err != nil {
		t.Fatal(err)
	}
	want := []spec{
		{name: "LoadBalancers should work from pods", result: "passed", seconds: 6.2},
		{name: "LoadBalancers should float", result: "failed", seconds: 61, reason: "it sank\ndeep"},
		{name: "LoadBalancers should end", result: "timedout", seconds: 3600, reason: "too long"},
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(spec{})); diff != "" {
		t.Errorf("specs (-want +got):\n%s", diff)
	}
	if _, err := read(strings.NewReader("<testsuites><oops")); err == nil {
		t.Error("half a report was read without an error")
	}
}

func TestOnlyUnexplainedFailuresAreErrors(t *testing.T) {
	specs := []spec{{name: "should float", result: "failed", reason: "it sank"}, {name: "should work", result: "passed", seconds: 6}}
	var out bytes.Buffer
	known["fly"] = "it is too heavy"
	defer delete(known, "fly")
	if err := judge(&out, specs, time.Minute); err == nil || !strings.Contains(err.Error(), "1 specs failed") {
		t.Errorf("error = %v, want one failure", err)
	}
	for _, want := range []string{"1 of 2 specs passed", "it sank", "not run", "… fly: it is too heavy"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the table does not say %q:\n%s", want, out.String())
		}
	}
	known["float"] = "stones do not"
	defer delete(known, "float")
	out.Reset()
	if err := judge(&out, specs, time.Minute); err != nil || !strings.Contains(out.String(), "known: stones do not") {
		t.Errorf("error = %v and table\n%s\nwant no error and the known reason", err, out.String())
	}
}
