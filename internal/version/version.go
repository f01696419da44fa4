// SPDX-License-Identifier: Apache-2.0

// Package version says which build of a program this is, for --version, metrics and the user agent. It is
// called by the mains, and decides nothing.
package version

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"
)

const (
	shown       = 12 // digits of a commit
	dirtySuffix = "-dirty"
)

// version and commit are set by the linker (see package images). A build without them says what the Go tool recorded.
var version, commit string

// Version returns the release, or what the Go tool recorded of the module; "dev" if nothing is known.
func Version() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return "dev"
}

// Commit returns the commit that was built, with "-dirty" if the tree was changed, or "unknown".
func Commit() string {
	if commit != "" {
		hash, changed := strings.CutSuffix(commit, dirtySuffix)
		if hash = hash[:min(len(hash), shown)]; changed {
			hash += dirtySuffix
		}
		return hash
	}
	commit, dirty := "unknown", ""
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			switch {
			case s.Key == "vcs.revision":
				commit = s.Value[:min(len(s.Value), shown)]
			case s.Key == "vcs.modified" && s.Value == "true":
				dirty = dirtySuffix
			}
		}
	}
	return commit + dirty
}

// Line is the answer to --version.
func Line(program string) string {
	return fmt.Sprintf("%s %s (commit %s, %s, %s/%s)", program, Version(), Commit(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
}

// UserAgent is what a program calls itself to servers: "clbsim/v1.2.3 (linux/amd64) 0123456789ab".
func UserAgent(program string) string {
	return fmt.Sprintf("%s/%s (%s/%s) %s", program, Version(), runtime.GOOS, runtime.GOARCH, Commit())
}
