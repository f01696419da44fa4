// SPDX-License-Identifier: Apache-2.0

// Package helm runs the Helm that go.tool.mod pins, for tests of the chart: rendering it, and installing it into a cluster. It
// decides nothing; tests alone call it, those of the lab too.
package helm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
)

// Helm is the program and whose cluster it works on. It is safe for concurrent use.
type Helm struct {
	Binary     string // as Find returns it
	Home       string // a directory for what Helm remembers, such as t.TempDir()
	Kubeconfig string // empty: no cluster, which is enough for Template and Lint
}

// Root is the repository's directory.
func Root() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Join(filepath.Dir(file), "..", "..")
}

// Chart is the directory of the chart.
func Chart() string { return filepath.Join(Root(), "charts", "clbsync") }

// Preset returns the values file of that name (full, beside-ccm, beside-tke, k3s, agent-only).
func Preset(name string) string { return filepath.Join(Chart(), "presets", name+".yaml") }

// Presets returns the names of all presets.
func Presets() ([]string, error) {
	files, err := filepath.Glob(Preset("*"))
	names := make([]string, 0, len(files))
	for _, f := range files {
		names = append(names, strings.TrimSuffix(filepath.Base(f), ".yaml"))
	}
	return names, err
}

// Find returns the path of the Helm binary. It is built if it is not in the build cache, which takes minutes once.
func Find(ctx context.Context) (string, error) {
	cmd := exec.CommandContext(ctx, "go", "tool", "-modfile=go.tool.mod", "-n", "helm")
	cmd.Dir = Root()
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=", "GOWORK=off")
	out, err := output(cmd)
	if err != nil {
		return "", fmt.Errorf("build helm: %w", err)
	}
	return strings.TrimSpace(out), nil
}

// Run runs Helm and returns what it printed. An error holds what it complained about.
func (h Helm) Run(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, h.Binary, args...)
	// Nothing of the machine's own Helm or cluster is used by accident.
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + h.Home, "KUBECONFIG=" + h.Kubeconfig,
		"HELM_CACHE_HOME=" + h.Home, "HELM_CONFIG_HOME=" + h.Home, "HELM_DATA_HOME=" + h.Home}
	return output(cmd)
}

func output(cmd *exec.Cmd) (string, error) {
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if text := strings.TrimSpace(stderr.String()); err != nil && text != "" {
		err = errors.New(text)
	}
	return stdout.String(), err
}

// Template renders the chart as an installation in the namespace kube-system would; args are flags such as -f and --set.
func (h Helm) Template(ctx context.Context, release string, args ...string) (string, error) {
	return h.Run(ctx, append([]string{"template", release, Chart(), "--namespace=kube-system", "--kube-version=1.37.2"}, args...)...)
}

// Install installs the chart, or upgrades the release if there is one, and waits until what it made is ready. With upgrades,
// values of the release before are not kept: args are all that is set.
func (h Helm) Install(ctx context.Context, release, namespace string, args ...string) (string, error) {
	return h.Run(ctx, append([]string{"upgrade", release, Chart(), "--install", "--reset-values", "--namespace=" + namespace, "--wait", "--timeout=5m"}, args...)...)
}

// Test runs helm test, as docs/install.md has it: without --logs, which Helm 3 cannot do for pods that go when they have passed.
func (h Helm) Test(ctx context.Context, release, namespace string) (string, error) {
	return h.Run(ctx, "test", release, "--namespace="+namespace, "--timeout=3m")
}

// Uninstall removes the release, and waits until what it deleted is gone: pods too, so that agents have cleaned up. helm 4 may end
// that wait too early, with or without an error ("still exists"): who depends on it looks for what is left.
func (h Helm) Uninstall(ctx context.Context, release, namespace string) (string, error) {
	return h.Run(ctx, "uninstall", release, "--namespace="+namespace, "--wait", "--cascade=foreground", "--timeout=5m")
}
