// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"
	"testing"
	"time"
)

func TestCheckSaysWhatIsThereAndWhatIsNot(t *testing.T) {
	sim, _ := simulated(t)
	for name, c := range map[string]struct {
		key, denied string
		args        []string
		code        int
		want        []string
	}{
		"all is there":             {markedKey, "", nil, 0, []string{"ok cloud config: region ap-guangzhou, VPC vpc-2ab3c4d5, cluster cls-demo", "ok the API server answers", "ok RBAC allows", "ok CLB answers"}},
		"a right is missing":       {markedKey, "endpointslices", nil, 1, []string{"!! RBAC does not allow: list endpointslices.discovery.k8s.io; watch endpointslices.discovery.k8s.io", "ok CLB answers"}},
		"a right nobody needs":     {markedKey, "services", []string{"--controllers=cloud-node-controller"}, 0, []string{"ok RBAC allows"}},
		"a key that is wrong":      {"MARKEDwrong", "", nil, 1, []string{"ok RBAC allows", "!! ", "AuthFailure.SignatureFailure"}},
		"a cloud config of nobody": {markedKey, "", []string{"--cloud-config=/nonexistent"}, 1, []string{"!! --cloud-config: open /nonexistent"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			api, dir := newCluster(t), t.TempDir()
			api.denied = c.denied
			keys(t, dir, "AKIDone", c.key, markedToken)
			cmd, stdout, stderr := command(t, append([]string{"--check", "--kubeconfig=" + kubeconfig(t, api.URL), "--cloud-config=" + cloudConfigFor(t, sim.URL, dir)}, c.args...)...)
			if code := exitCode(t, cmd.Run()); code != c.code {
				t.Errorf("exit code %d, want %d: %s", code, c.code, stderr)
			}
			for _, want := range c.want {
				if !strings.Contains(stdout.String(), want) {
					t.Errorf("%q is not in the answer:\n%s", want, stdout)
				}
			}
			if wrote := api.written(); strings.Contains(wrote, "PATCH ") || strings.Contains(wrote, "PUT ") {
				t.Errorf("it writes:\n%s", wrote)
			}
			if strings.Contains(stdout.String()+stderr.String(), "MARKED") {
				t.Errorf("a secret is in the answer:\n%s%s", stdout, stderr)
			}
		})
	}
}

func TestCLBsAreDeletedOnlyOfTheClusterThatIsNamed(t *testing.T) {
	sim, _ := simulated(t)
	dir := t.TempDir()
	keys(t, dir, "AKIDone", markedKey, markedToken)
	for name, c := range map[string]struct {
		args []string
		code int
		want string
	}{
		"another cluster":             {[]string{"--delete-load-balancers=cls-other"}, 2, `--delete-load-balancers is "cls-other", but the clusterID of the cloud config is "cls-demo"`},
		"a dry run":                   {[]string{"--delete-load-balancers=cls-demo", "--dry-run"}, 2, "a dry run would never end"},
		"no name of a Deployment":     {[]string{"--delete-load-balancers=cls-demo", "--unless-deployment=x"}, 2, `--unless-deployment is "x", want NAMESPACE/NAME`},
		"this one, which is all done": {[]string{"--delete-load-balancers=cls-demo", "--unless-deployment=kube-system/gone"}, 0, "Deleting the CLBs of the cluster"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			api := newCluster(t)
			cmd, _, stderr := command(t, append([]string{"--kubeconfig=" + kubeconfig(t, api.URL), "--cloud-config=" + cloudConfigFor(t, sim.URL, dir),
				"--leader-elect=false", "--controllers=service-lb-controller", "--secure-port=0"}, c.args...)...)
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			done := make(chan error, 1)
			go func() { done <- cmd.Wait() }()
			if c.code == 0 {
				// The cluster of this test forgets patches, so the Service is there for ever; that it is let go is what is seen.
				select {
				case <-api.status:
				case <-time.After(60 * time.Second):
					t.Error("the Service is not released")
				}
				_ = cmd.Process.Kill()
				<-done //nolint:errcheck // it is killed
			} else if code := exitCode(t, <-done); code != c.code {
				t.Errorf("exit code %d, want %d", code, c.code)
			}
			if !strings.Contains(stderr.String(), c.want) {
				t.Errorf("%q is not in the log:\n%s", c.want, stderr)
			}
		})
	}
}
