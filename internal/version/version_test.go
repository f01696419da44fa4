// SPDX-License-Identifier: Apache-2.0

package version

import (
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
