// SPDX-License-Identifier: Apache-2.0

package version

import (
	"runtime"
	"strings"
	"testing"
)

func TestLine(t *testing.T) {
	old := version
	t.Cleanup(func() { version = old })
	if version = ""; Version() == "" {
		t.Error("a build without a release has no version at all")
	}
	version = "v1.2.3"
	if got := Line("clbsim"); !strings.HasPrefix(got, "clbsim v1.2.3 (commit ") || !strings.Contains(got, "go1.") {
		t.Errorf("%q: want the program, its version, commit and Go", got)
	}
}

func TestUserAgent(t *testing.T) {
	oldVersion, oldCommit := version, commit
	t.Cleanup(func() { version, commit = oldVersion, oldCommit })
	version, commit = "v1.2.3", "0123456789abcdef"
	if got, want := UserAgent("clbsim"), "clbsim/v1.2.3 ("+runtime.GOOS+"/"+runtime.GOARCH+") 0123456789ab"; got != want {
		t.Errorf("UserAgent = %q, want %q", got, want)
	}
}

func TestCommit(t *testing.T) {
	old := commit
	t.Cleanup(func() { commit = old })
	for stamped, want := range map[string]string{
		"0123456789abcdef0123456789abcdef01234567":       "0123456789ab",
		"0123456789abcdef0123456789abcdef01234567-dirty": "0123456789ab-dirty",
		"lab": "lab",
	} {
		if commit = stamped; Commit() != want {
			t.Errorf("stamped with %q: Commit() = %q, want %q", stamped, Commit(), want)
		}
	}
	if commit = ""; Commit() == "" {
		t.Error("a build without a stamp says nothing instead of unknown")
	}
}
