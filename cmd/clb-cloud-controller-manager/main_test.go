// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// binary is the program as it is shipped, built once.
var binary string

func TestMain(m *testing.M) { os.Exit(build(m)) }

func build(m *testing.M) int {
	dir, err := os.MkdirTemp("", name)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }()
	binary = filepath.Join(dir, name)
	out, err := exec.Command("go", "build", "-ldflags", "-s -w -X github.com/clbsync/clbsync/internal/version.version=v1.2.3", "-o", binary, ".").CombinedOutput()
	if err != nil {
		fmt.Fprintf(os.Stderr, "%v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// command returns the program with an environment in which nothing is found by accident.
func command(t *testing.T, args ...string) (cmd *exec.Cmd, stdout, stderr *bytes.Buffer) {
	t.Helper()
	cmd = exec.CommandContext(t.Context(), binary, args...)
	cmd.Dir = t.TempDir()
	cmd.Env = []string{"HOME=" + cmd.Dir, "PATH=/nonexistent"}
	stdout, stderr = &bytes.Buffer{}, &bytes.Buffer{}
	cmd.Stdout, cmd.Stderr = stdout, stderr
	return cmd, stdout, stderr
}

func exitCode(t *testing.T, err error) int {
	t.Helper()
	if err == nil {
		return 0
	}
	exit, ok := errors.AsType[*exec.ExitError](err)
	if !ok {
		t.Fatal(err)
	}
	return exit.ExitCode()
}

const cloudConfig = `apiVersion: clbsync.io/v1alpha1
kind: CloudConfig
region: ap-guangzhou
vpcID: vpc-2ab3c4d5
clusterID: cls-demo
`

func write(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "file.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestAnswersThatNeedNoCluster(t *testing.T) {
	for arg, want := range map[string][]string{
		"--version":       {"clb-cloud-controller-manager v1.2.3 (commit "},
		"completion bash": {"bash completion V2 for clb-cloud-controller-manager"},
		"--help": {"Examples:", "--dry-run", "--load-balancer-class-only", "--gather", "Exit codes:",
			`(default "tencentcloud")`, `(default "clb-cloud-controller-manager")`, "Disabled-by-default controllers: node-route-controller",
			"help for clb-cloud-controller-manager"},
	} {
		t.Run(arg, func(t *testing.T) {
			t.Parallel()
			cmd, stdout, stderr := command(t, strings.Fields(arg)...)
			if code := exitCode(t, cmd.Run()); code != 0 || stderr.Len() > 0 {
				t.Errorf("exit code %d, and on stderr: %s", code, stderr)
			}
			for _, w := range want {
				if !strings.Contains(stdout.String(), w) {
					t.Errorf("%q is not in the answer:\n%.2000s", w, stdout)
				}
			}
			if strings.Contains(stdout.String(), "--webhook") {
				t.Error("there are flags for webhooks that do not exist")
			}
		})
	}
}

func kubeconfig(t *testing.T, server string) string {
	t.Helper()
	return write(t, fmt.Sprintf(`{"apiVersion":"v1","kind":"Config","clusters":[{"name":"c","cluster":{"server":%q}}],
"users":[{"name":"u","user":{"token":"t"}}],"contexts":[{"name":"x","context":{"cluster":"c","user":"u"}}],"current-context":"x"}`, server))
}

func TestMistakesAreSaidInWords(t *testing.T) {
	good := write(t, cloudConfig)
	refusing := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) }))
	t.Cleanup(refusing.Close)
	for name, c := range map[string]struct {
		args []string
		code int
		want []string
	}{
		"an unknown flag":          {[]string{"--nope"}, 2, []string{"unknown flag: --nope", "--help"}},
		"a bad value":              {[]string{"--gather=soon"}, 2, []string{`invalid argument "soon" for "--gather"`}},
		"a negative time":          {[]string{"--gather=-1s", "--cloud-config=" + good}, 2, []string{"--gather is -1s, want 0 or more"}},
		"an argument":              {[]string{"up"}, 2, []string{"does not take any arguments"}},
		"no cloud config":          {nil, 2, []string{"--cloud-config is missing"}},
		"another provider":         {[]string{"--cloud-provider=aws"}, 2, []string{`--cloud-provider is "aws", want tencentcloud`}},
		"an unknown controller":    {[]string{"--controllers=service", "--controllers=foo", "--cloud-config=" + good}, 2, []string{`"foo" is not in the list of known controllers`}},
		"an unreadable config":     {[]string{"--cloud-config=/nonexistent/x"}, 1, []string{"--cloud-config: open /nonexistent/x: no such file or directory"}},
		"no API server":            {[]string{"--cloud-config=" + good}, 1, []string{"no API server", "--kubeconfig is missing"}},
		"an unreadable kubeconfig": {[]string{"--cloud-config=" + good, "--kubeconfig=/nonexistent/k"}, 1, []string{"--kubeconfig: stat /nonexistent/k"}},
		"a token that is refused":  {[]string{"--cloud-config=" + good, "--kubeconfig=" + kubeconfig(t, refusing.URL)}, 1, []string{"does not accept the credentials", "--kubeconfig"}},
		"an API server that is not there": {[]string{"--cloud-config=" + good, "--kubeconfig=" + kubeconfig(t, "http://127.0.0.1:1")}, 1,
			[]string{"Waiting for the API server", "the API server at http://127.0.0.1:1 does not answer: dial tcp 127.0.0.1:1: connect: connection refused", "--kubeconfig"}},
		"a config with three mistakes": {[]string{"--cloud-config=" + write(t, cloudConfig+"regoin: x\ncredentials: {secretID: a, secretKey: [MARKEDsecret]}\ngather: 5\n")}, 1,
			[]string{"3 things are wrong", "line 6: regoin is no key of a cloud config; did you mean region?", "line 7: credentials.secretKey is a list", "line 8: gather is 5, want a duration"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cmd, _, stderr := command(t, c.args...)
			if code := exitCode(t, cmd.Run()); code != c.code {
				t.Errorf("exit code %d, want %d", code, c.code)
			}
			for _, w := range c.want {
				if !strings.Contains(stderr.String(), w) {
					t.Errorf("%q is not in the answer:\n%s", w, stderr)
				}
			}
			if s := stderr.String(); strings.Contains(s, "MARKED") || strings.Contains(s, "goroutine ") {
				t.Errorf("a secret or a stack trace is in the answer:\n%s", s)
			}
		})
	}
}

// Credentials may come later: a role is still to be bound, the metadata service is slow. The program says
// so, and waits.
func TestCredentialsAreWaitedFor(t *testing.T) {
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprint(w, `{"major":"1","minor":"37"}`) }))
	t.Cleanup(api.Close)
	asked := make(chan bool, 100)
	metadata := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { asked <- true; w.WriteHeader(http.StatusNotFound) }))
	t.Cleanup(metadata.Close)
	cmd, _, stderr := command(t, "--kubeconfig="+kubeconfig(t, api.URL), "--cloud-config="+write(t, cloudConfig+"endpoints: {metadata: "+metadata.URL+"}\n"))
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		select {
		case <-asked:
		case <-time.After(30 * time.Second):
			t.Fatal("the metadata service is not asked again")
		}
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if code := exitCode(t, cmd.Wait()); code != 0 {
		t.Errorf("SIGTERM ends it with the exit code %d, want 0", code)
	}
	if want := "No credentials for Tencent Cloud; give some in the cloud config, the environment or the role of the CVM"; !strings.Contains(stderr.String(), want) {
		t.Errorf("%q is not in the log:\n%s", want, stderr)
	}
}
