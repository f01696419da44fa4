// SPDX-License-Identifier: Apache-2.0

package churn

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/clbsync/clbsync/lab/probe"
)

// draw prints the rows as a table.
func draw(w io.Writer, rows []row) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "SITUATION\tKEPT BY\tGRACE\tROUNDS\tREQUESTS\tPER S\tFAILED\tSLOWEST\tUDP\tUDP LOST\tPODS\tSHARE PER POD\tSHARE PER NODE")
	for _, r := range rows {
		fmt.Fprintf(t, "%s\t%s\t%s\t%d\t%d\t%.0f\t%d\t%s\t%d\t%s\t%d\t%s\t%s\n",
			r.name, r.side, r.grace, r.rounds, r.tcp.Asked, float64(r.tcp.Asked)/r.took.Seconds(), r.failed(),
			r.tcp.Longest.Round(time.Millisecond), r.udp.Asked, lost(r.udp), len(r.tcp.ByPod), span(r.tcp.ByPod, r.tcp.Answered), shares(r.tcp.ByNode, r.tcp.Answered))
	}
	return t.Flush()
}

// lost prints what a protocol that loses may lose: "12 (0.5 %)".
func lost(r probe.Report) string {
	if len(r.Lost) == 0 {
		return "0"
	}
	return fmt.Sprintf("%d (%.1f %%)", len(r.Lost), percent(len(r.Lost), r.Asked))
}

// span prints the smallest and the largest share.
func span(counts map[string]int, of int) string {
	if len(counts) == 0 {
		return "-"
	}
	values := slices.Collect(maps.Values(counts))
	return fmt.Sprintf("%.1f–%.1f %%", percent(slices.Min(values), of), percent(slices.Max(values), of))
}

// shares prints everybody's share.
func shares(counts map[string]int, of int) string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(counts)) {
		parts = append(parts, fmt.Sprintf("%s %.0f %%", name, percent(counts[name], of)))
	}
	return strings.Join(parts, ", ")
}

func percent(n, of int) float64 { return 100 * float64(n) / float64(max(of, 1)) }

// losses describes the first requests that failed, for whoever looks for the cause.
func losses(r row) string {
	var b strings.Builder
	for _, e := range r.tcp.Lost[:min(8, len(r.tcp.Lost))] {
		fmt.Fprintf(&b, "\n  lost    %s: %v", e.At.Format(time.StampMilli), e.Err)
	}
	for _, e := range r.tcp.Resent[:min(8, len(r.tcp.Resent))] {
		fmt.Fprintf(&b, "\n  resent  %s: answered by %s after %s", e.At.Format(time.StampMilli), e.Pod, e.Took.Round(time.Millisecond))
	}
	return b.String()
}
