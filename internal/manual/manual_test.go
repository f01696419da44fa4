// SPDX-License-Identifier: Apache-2.0

package manual

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/clbsync/clbsync/internal/golden"
	"github.com/clbsync/clbsync/lbsync"
)

func TestEveryReasonIsExplained(t *testing.T) {
	declared, err := declaredReasons("../../lbsync", "../../lbsync/controller")
	if err != nil {
		t.Fatal(err)
	}
	var explained []string
	for _, r := range reasonTable {
		explained = append(explained, r.Name)
		if r.Meaning.EN == "" || r.Meaning.ZH == "" || (r.Do.EN == "") != (r.Do.ZH == "") {
			t.Errorf("%s is not explained in both languages", r.Name)
		}
	}
	slices.Sort(explained)
	if diff := cmp.Diff(declared, explained); diff != "" {
		t.Errorf("the reasons in the sources and in the table of internal/manual differ (-sources +table):\n%s", diff)
	}
	var conditions []string
	for _, c := range conditionTable {
		conditions = append(conditions, c.Name)
	}
	if diff := cmp.Diff(lbsync.ConditionTypes, conditions); diff != "" {
		t.Errorf("conditions (-sources +table):\n%s", diff)
	}
}

func metrics(t *testing.T) []Metric {
	t.Helper()
	all, err := Metrics("../../lbsync/controller", "../../lbsync/clb", "../../cmd/clb-cloud-controller-manager")
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestEveryMetricIsExplained(t *testing.T) {
	names := map[string]bool{}
	for _, m := range metrics(t) {
		names[m.Name] = true
		if m.Help == "" || metricsZH[m.Name] == "" {
			t.Errorf("metric %s is not explained in both languages", m.Name)
		}
	}
	for name := range metricsZH {
		if !names[name] {
			t.Errorf("metric %s is explained and not in the sources", name)
		}
	}
	for _, want := range []Metric{
		{"clbsync_api_tokens", "gauge", "", []string{"action"}}, {"clbsync_drift_total", "counter", "", []string{"what"}},
		{"clbsync_api_request_duration_seconds", "histogram", "", []string{"action", "code"}},
	} {
		if !slices.ContainsFunc(metrics(t), func(m Metric) bool { m.Help = ""; return cmp.Equal(m, want) }) {
			t.Errorf("%+v is not read from the sources", want)
		}
	}
}

func TestReferencePagesAreUpToDate(t *testing.T) {
	golden.File(t, "../../docs/metrics.md", MetricsPage(metrics(t), false))
	golden.File(t, "../../docs/metrics.zh-CN.md", MetricsPage(metrics(t), true))
	golden.File(t, "../../docs/events.md", EventsPage(false))
	golden.File(t, "../../docs/events.zh-CN.md", EventsPage(true))
}
