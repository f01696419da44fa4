// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// printer writes the story: plain text, tables included, with no control codes.
type printer struct {
	w      io.Writer
	steps  int
	checks int
	failed int
}

// say prints a line of prose.
func (p *printer) say(format string, args ...any) { fmt.Fprintf(p.w, format+"\n", args...) }

// step begins a chapter.
func (p *printer) step(title string) {
	p.steps++
	heading := fmt.Sprintf("%d. %s", p.steps, title)
	p.say("\n%s\n%s", heading, strings.Repeat("-", len([]rune(heading))))
}

// check states what should hold and was measured. One that does not hold fails the demo at its end, not at once: what
// follows often shows why.
func (p *printer) check(holds bool, format string, args ...any) {
	p.checks++
	mark := "ok  "
	if !holds {
		p.failed++
		mark = "FAIL"
	}
	p.say("%s  %s", mark, fmt.Sprintf(format, args...))
}

// table prints rows under a heading, in columns.
func (p *printer) table(heading string, rows [][]any) {
	w := tabwriter.NewWriter(p.w, 0, 0, 3, ' ', 0)
	fmt.Fprintln(w, "    "+strings.Join(strings.Split(heading, "|"), "\t"))
	for _, row := range rows {
		cells := make([]string, len(row))
		for i, cell := range row {
			cells[i] = fmt.Sprint(cell)
		}
		fmt.Fprintln(w, "    "+strings.Join(cells, "\t"))
	}
	w.Flush()
}
