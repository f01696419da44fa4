// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/rand"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/clbsync/clbsync/lab/build"
)

// lab runs the built command and returns what it printed and its exit status.
func lab(t *testing.T, dir build.Dir, args ...string) (string, int) {
	t.Helper()
	cmd := exec.Command(dir.Bin("lab"), args...)
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

func TestClusterFromTheCommandLine(t *testing.T) {
	dir, err := build.Ensure(context.Background(), os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	name := "cli-" + strings.ToLower(rand.Text()[:6])
	t.Cleanup(func() { lab(t, dir, "down", name) })
	want := func(t *testing.T, status int, part string, args ...string) {
		t.Helper()
		out, got := lab(t, dir, args...)
		if got != status || !strings.Contains(out, part) {
			t.Errorf("lab %s: status %d, want %d with %q:\n%s", strings.Join(args, " "), got, status, part, out)
		}
	}
	want(t, 0, filepath.Join("/var/lib/clbsync-lab", name, "admin.kubeconfig"), "up", "--name", name, "--nodes", "1")
	want(t, 1, "there is a lab", "up", "--name", name)
	want(t, 0, name, "list")
	want(t, 0, "n1", "kubectl", name, "--", "get", "nodes")
	want(t, 1, "doesn't have a resource type", "kubectl", name, "--", "get", "nothing")
	want(t, 0, "198.51.100.2", "exec", name, "client", "--", "ip", "addr")
	want(t, 3, "", "exec", name, "clb", "--", "sh", "-c", "exit 3")
	want(t, 1, "process", "check-clean", name)
	want(t, 0, "removed", "down", name)
	want(t, 0, "no trace", "check-clean", name)
	want(t, 1, "there is no lab", "down", name)
}

func TestUsage(t *testing.T) {
	for _, c := range []struct {
		name string
		args []string
		want string // part of the error; "" is none
	}{
		{"no command prints the usage", nil, ""},
		{"an unknown command is named", []string{"fly"}, `"fly"`},
		{"down wants one name or all", []string{"down", "--all", "x"}, "--all"},
		{"an unknown proxy is refused with what would be right", []string{"up", "--proxy", "ipvs"}, "agent, kube-proxy, restricted or none"},
		{"exec wants a machine and a program", []string{"exec", "n1"}, "MACHINE"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out strings.Builder
			err := run(t.Context(), &out, c.args)
			if c.args == nil && out.String() != usage {
				t.Errorf("printed %q", &out)
			}
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("lab %v: %v, want %q", c.args, err, c.want)
			}
		})
	}
}
