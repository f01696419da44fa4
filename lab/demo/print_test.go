// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestStoryIsPlainTextInColumns(t *testing.T) {
	var b strings.Builder
	p := &printer{w: &b}
	p.step("Three nodes")
	p.table("NODE|ZONE", [][]any{{"n1", 100003}, {"a-longer-one", "x"}})
	p.check(true, "%d nodes", 3)
	p.check(false, "sky is %s", "green")
	want := `
1. Three nodes
--------------
    NODE           ZONE
    n1             100003
    a-longer-one   x
ok    3 nodes
FAIL  sky is green
`
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Errorf("story (-want +got):\n%s", diff)
	}
}

func TestOneFailedCheckFailsTheDemo(t *testing.T) {
	var b strings.Builder
	p := &printer{w: &b}
	p.check(true, "fine")
	if err := conclude(p, time.Now()); err != nil || !strings.Contains(b.String(), "All 1 checks held") {
		t.Errorf("error = %v, said %q, want all well", err, b.String())
	}
	p.check(false, "not fine")
	if err := conclude(p, time.Now()); err == nil || !strings.Contains(err.Error(), "1 of 2 checks") {
		t.Errorf("error = %v, want one that counts the failed check", err)
	}
}
