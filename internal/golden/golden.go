// SPDX-License-Identifier: Apache-2.0

// Package golden compares what a test made with a file, and rewrites the file under -update. It is imported
// by tests only.
package golden

import (
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite golden files")

// Update reports whether golden files are being rewritten.
func Update() bool { return *update }

// File fails the test unless the file holds got. With -update it writes the file instead.
func File(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("%v (go test -update writes it)", err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s is not what the code says (-file +code; go test -update rewrites it):\n%s", file, diff)
	}
}
