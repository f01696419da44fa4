// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/clbsync/clbsync/clbsim"
	"github.com/clbsync/clbsync/clbsim/admin"
)

// Marks: none of them may come out of the program in any form.
const (
	markedKey    = "MARKEDkeyOne0123456789"
	markedToken  = "MARKEDtokenOne0123456789"
	rotatedKey   = "MARKEDkeyTwo0123456789"
	rotatedToken = "MARKEDtokenTwo0123456789"
)

// simulated returns a simulated CLB that takes both keys.
func simulated(t *testing.T) (*httptest.Server, *admin.Client) {
	t.Helper()
	cfg := clbsim.Example()
	cfg.Credentials = []clbsim.Credential{{SecretID: "AKIDone", SecretKey: markedKey, Token: markedToken}, {SecretID: "AKIDtwo", SecretKey: rotatedKey, Token: rotatedToken}}
	cfg.Tasks.Delay, cfg.Tasks.Actions = clbsim.Duration(5*time.Millisecond), nil
	cfg.Instances = append(cfg.Instances, clbsim.Instance{ID: "ins-00000001", PrivateIP: "10.0.0.1", Type: "S5.MEDIUM4"})
	sim, err := clbsim.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(sim.Close)
	server := httptest.NewServer(sim.Handler())
	t.Cleanup(server.Close)
	return server, sim.Admin()
}

func keys(t *testing.T, dir, id, key, token string) {
	t.Helper()
	for file, text := range map[string]string{"secretKey": key, "token": token, "secretID": id} {
		if err := os.WriteFile(filepath.Join(dir, file+".new"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(filepath.Join(dir, file+".new"), filepath.Join(dir, file)); err != nil {
			t.Fatal(err)
		}
	}
}

func cloudConfigFor(t *testing.T, sim, dir string) string {
	t.Helper()
	return write(t, fmt.Sprintf("%scredentials: {directory: %s}\nendpoints: {clb: %s, cvm: %s}\nverifyInterval: 1s\n", cloudConfig, dir, sim, sim))
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().(*net.TCPAddr).Port
}

// secretFree fails if a mark is in the text, as it is or as others would write it.
func secretFree(t *testing.T, what, text string) {
	t.Helper()
	for _, mark := range []string{markedKey, markedToken, rotatedKey, rotatedToken} {
		for form, s := range map[string]string{"": mark, " in base64": strings.TrimRight(base64.StdEncoding.EncodeToString([]byte(mark)), "="), " in a URL": url.QueryEscape(mark)} {
			if i := strings.Index(text, s); i >= 0 {
				t.Errorf("%s: a secret%s: …%s…", what, form, text[max(0, i-150):min(len(text), i+60)])
			}
		}
	}
}

// The real program, with all that it can log switched on, from its start through a creation, a rotation and an outage to a crash.
func TestSecretsComeOutNowhere(t *testing.T) {
	api, dir := newCluster(t), t.TempDir()
	sim, seen := simulated(t)
	keys(t, dir, "AKIDone", markedKey, markedToken)
	port := freePort(t)
	cmd, stdout, stderr := command(t, "--kubeconfig="+kubeconfig(t, api.URL), "--cloud-config="+cloudConfigFor(t, sim.URL, dir), "--leader-elect=false",
		"--controllers=service-lb-controller", "--v=10", fmt.Sprintf("--secure-port=%d", port), "--bind-address=127.0.0.1", "--authorization-always-allow-paths=/healthz,/metrics", "--profiling")
	cmd.Env = append(cmd.Env, "GOTRACEBACK=all")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	await := func(what string, c <-chan []byte, ok func([]byte) bool) {
		t.Helper()
		for deadline := time.After(60 * time.Second); ; {
			select {
			case b := <-c:
				if ok(b) {
					return
				}
			case <-deadline:
				_ = cmd.Process.Kill()
				_ = cmd.Wait()
				t.Fatalf("no %s; the log:\n%.6000s", what, stderr)
			}
		}
	}
	await("address of the CLB", api.status, func(b []byte) bool { return strings.Contains(string(b), "ingress") })
	cmdline, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	secretFree(t, "arguments", string(cmdline))
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}, Timeout: 10 * time.Second}
	for _, path := range []string{"/metrics", "/configz", "/debug/pprof/cmdline", "/debug/pprof/goroutine?debug=2"} {
		resp, err := client.Get(fmt.Sprintf("https://127.0.0.1:%d%s", port, path))
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil || path == "/metrics" && !strings.Contains(string(body), "clbsync_build_info") {
			t.Fatalf("%s: %v, %.300s", path, err, body)
		}
		secretFree(t, path, string(body))
	}
	// The key is rotated, and the old one is refused: the program follows without a restart, in the middle of its work.
	keys(t, dir, "AKIDtwo", rotatedKey, rotatedToken)
	if _, err := seen.AddFault(t.Context(), admin.Fault{Action: "*", Kind: admin.KindError, Code: "AuthFailure.SecretIdNotFound", Message: "The key is disabled."}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	if _, err := seen.WaitCall(ctx, 0, func(c admin.Call) bool {
		return c.Code == "" && c.Done && c.SecretID == "AKIDtwo"
	}); err != nil {
		t.Errorf("no call with the new key: %v", err)
	}
	sim.CloseClientConnections()
	if err := cmd.Process.Signal(syscall.SIGQUIT); err != nil { // the runtime's crash, with all stacks
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if !strings.Contains(stderr.String(), "SIGQUIT: quit") || !strings.Contains(stderr.String(), "goroutine ") {
		t.Fatalf("no crash in the log:\n%.3000s", stderr)
	}
	secretFree(t, "log and crash", stderr.String()+stdout.String())
	secretFree(t, "what was written to the API server", api.written())
	if n := len(stderr.String()); n < 10_000 || !strings.Contains(stderr.String(), "AKID") && !strings.Contains(stderr.String(), "those in "+dir) {
		t.Errorf("the log has %d bytes and does not say whose credentials are used: that is no test of it", n)
	}
}

// What is called from the first request to the last is what docs/cam-policy.json allows.
func TestTheCAMPolicyAllowsWhatTheSimulatedCLBSaw(t *testing.T) {
	api, dir := newCluster(t), t.TempDir()
	sim, seen := simulated(t)
	keys(t, dir, "AKIDone", markedKey, markedToken)
	cmd, _, stderr := command(t, "--kubeconfig="+kubeconfig(t, api.URL), "--cloud-config="+cloudConfigFor(t, sim.URL, dir), "--leader-elect=false",
		"--controllers=service-lb-controller", "--secure-port=0")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-api.status:
	case <-time.After(60 * time.Second):
		t.Errorf("nothing happens; the log:\n%s", stderr)
	}
	_ = cmd.Process.Signal(syscall.SIGTERM)
	_ = cmd.Wait()
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "cam-policy.json"))
	if err != nil {
		t.Fatal(err)
	}
	var policy struct {
		Statement []struct{ Action []string }
	}
	if err := json.Unmarshal(text, &policy); err != nil {
		t.Fatal(err)
	}
	allowed := map[string]bool{}
	for _, s := range policy.Statement {
		for _, a := range s.Action {
			_, action, _ := strings.Cut(a, ":")
			allowed[action] = true
		}
	}
	calls, err := seen.Calls(t.Context(), 0)
	if err != nil || len(calls) == 0 {
		t.Fatalf("%v: no call was seen", err)
	}
	for _, c := range calls {
		if !allowed[c.Action] {
			t.Errorf("%s was called, and docs/cam-policy.json does not allow it", c.Action)
		}
	}
}
