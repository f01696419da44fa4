// SPDX-License-Identifier: Apache-2.0

package annotation

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/clbsync/clbsync/internal/golden"
)

func TestParse(t *testing.T) {
	for name, test := range map[string]struct {
		in       map[string]string
		want     Options
		problems []string // parts of the problems, in order
		blocking bool
	}{
		"nothing": {},
		"everything": {
			in:   map[string]string{InternalSubnet: "subnet-2ab3c4d5", BindNodesOfPods: "true", WeightByPods: "true", LoadBalancerID: "lb-1", ClientToken: "t"},
			want: Options{SubnetID: "subnet-2ab3c4d5", BindNodesOfPods: true, WeightByPods: true, LoadBalancerID: "lb-1"}},
		"a boolean is true or false and nothing else": {
			in:       map[string]string{BindNodesOfPods: "True", WeightByPods: "1"},
			problems: []string{WeightByPods + `="1": want "true" or "false"`, BindNodesOfPods + `="True": want "true" or "false"`}},
		"a word is one of those that there are": {
			in: map[string]string{Drift: "reports"}, problems: []string{Drift + `="reports": want "repair" or "report"`}},
		"a mode that there is not stops the Service": {
			in: map[string]string{Mode: "planned"}, problems: []string{Mode + `="planned": want "plan"`}, blocking: true},
		"a mode": {
			in: map[string]string{Mode: "plan", Plan: "- clb lb-1"}, want: Options{PlanOnly: true}},
		"a word": {
			in: map[string]string{Drift: "report"}, want: Options{Drift: "report"}},
		"a subnet that is none stops the Service": {
			in: map[string]string{InternalSubnet: "subnet"}, problems: []string{"want a subnet ID like subnet-2ab3c4d5"}, blocking: true},
		"a near miss is named": {
			in: map[string]string{"service.kubernetes.io/local-svc-only-bind-nodes-with-pod": "true"}, problems: []string{"did you mean " + BindNodesOfPods}},
		"the right name under TKE's other prefix is named": {
			in: map[string]string{"service.cloud.tencent.com/local-svc-only-bind-node-with-pod": "true"}, problems: []string{"did you mean " + BindNodesOfPods}},
		"an unknown name under our prefix is an error": {
			in: map[string]string{Prefix + "xyz": "1"}, problems: []string{"no such annotation"}},
		"names of others are not ours to judge": {
			in: map[string]string{"kubectl.kubernetes.io/last-applied-configuration": "{}", "service.kubernetes.io/topology-mode": "Auto", "service.cloud.tencent.com/sync-begin-time": "x"}},
		"what is not followed yet is said": {
			in: map[string]string{"service.cloud.tencent.com/direct-access": "true"}, problems: []string{"not supported yet: nodes are bound"}},
		"what would be harmful to ignore stops the Service": {
			in: map[string]string{"service.cloud.tencent.com/security-groups": "sg-1"}, problems: []string{"not supported yet"}, blocking: true},
	} {
		t.Run(name, func(t *testing.T) {
			got, problems := Parse(test.in)
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("options (-want +got):\n%s", diff)
			}
			if len(problems) != len(test.problems) {
				t.Fatalf("problems %v, want %d", problems, len(test.problems))
			}
			blocking := false
			for i, p := range problems {
				if blocking = blocking || p.Blocking; !strings.Contains(p.Error(), test.problems[i]) {
					t.Errorf("problem %q does not say %q", p.Error(), test.problems[i])
				}
			}
			if blocking != test.blocking {
				t.Errorf("blocking is %v, want %v", blocking, test.blocking)
			}
		})
	}
}

// The table itself: every row can be read by people, in both languages, and its default by the parser.
func TestKeys(t *testing.T) {
	seen := map[string]bool{}
	for _, k := range Keys {
		if seen[k.Name] {
			t.Errorf("%s stands twice", k.Name)
		}
		seen[k.Name] = true
		if k.Doc == "" || k.DocZH == "" {
			t.Errorf("%s has no documentation in one of the languages", k.Name)
		}
		if k.NotYet != "" {
			continue
		}
		if k.Value.Type == "" || k.Value.set == nil {
			t.Errorf("%s has no type", k.Name)
		} else if k.Default != "" {
			if o, problems := Parse(map[string]string{k.Name: k.Default}); problems != nil || o != (Options{}) {
				t.Errorf("%s: its default %q gives %+v, %v: want no options and no problem", k.Name, k.Default, o, problems)
			}
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, k := range Keys {
		f.Add(k.Name, "true")
	}
	f.Add(Prefix, "")
	f.Add("/", "x")
	f.Fuzz(func(t *testing.T, name, value string) {
		_, problems := Parse(map[string]string{name: value})
		for _, p := range problems {
			if p.Name != name || p.Value != value || p.Reason == "" {
				t.Errorf("%q=%q: problem %+v", name, value, p)
			}
		}
	})
}

func TestDocumentation(t *testing.T) {
	golden.File(t, "../../docs/annotations.md", Markdown())
	golden.File(t, "../../docs/annotations.zh-CN.md", MarkdownZH())
}
