// SPDX-License-Identifier: Apache-2.0

package rig

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
)

// IptablesPath returns a PATH in which iptables without a suffix is the given variant.
func IptablesPath(t testing.TB, variant string) string {
	t.Helper()
	dir := t.TempDir()
	for _, family := range []string{"iptables", "ip6tables"} {
		for _, suffix := range []string{"", "-save", "-restore"} {
			program, err := exec.LookPath(family + "-" + variant + suffix)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink(program, filepath.Join(dir, family+suffix)); err != nil {
				t.Fatal(err)
			}
		}
	}
	return "PATH=" + dir + ":" + os.Getenv("PATH")
}

// KubeProxy starts the real kube-proxy in iptables mode on a node. The binary is the proxy itself or one that takes
// "kube-proxy" as its first argument. nodePortAddresses may be empty.
func (r *Rig) KubeProxy(t testing.TB, binary, node, variant, nodePortAddresses string) *Process {
	t.Helper()
	if nodePortAddresses == "" {
		nodePortAddresses = "[]"
	}
	config := filepath.Join(t.TempDir(), "kube-proxy.yaml")
	text := fmt.Sprintf(`apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: iptables
clusterCIDR: 10.244.0.0/16,fd00:244::/32
detectLocalMode: ClusterCIDR
hostnameOverride: %s
nodePortAddresses: %s
clientConnection: {kubeconfig: %s, contentType: application/json}
conntrack: {maxPerCore: 0}
healthzBindAddress: 127.0.0.1:10256
metricsBindAddress: ""
`, node, nodePortAddresses, r.Kubefile[node])
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	argv := []string{binary, "--config=" + config}
	if filepath.Base(binary) != "kube-proxy" {
		argv = []string{binary, "kube-proxy", "--config=" + config}
	}
	return Start(t, r.Nodes[node].Namespace, []string{IptablesPath(t, variant), "KUBE_FEATURE_WatchListClient=false"}, argv...)
}

// Agent starts clb-node-agent on a node.
func (r *Rig) Agent(t testing.TB, binary, node string, flags ...string) *Process {
	t.Helper()
	return r.AgentWith(t, nil, binary, node, flags...)
}

// AgentWith is Agent with variables of the environment, "NAME=value".
func (r *Rig) AgentWith(t testing.TB, env []string, binary, node string, flags ...string) *Process {
	t.Helper()
	argv := append([]string{binary, "run", "--node-name=" + node, "--kubeconfig=" + r.Kubefile[node], "--pods=cidr:10.244.0.0/16,fd00:244::/32", "-v=2"}, flags...)
	return Start(t, r.Nodes[node].Namespace, env, argv...)
}

// StallingPath returns a PATH in which iptables-restore of the variant, while the file stall exists, loads the first
// table of its input, makes the file reached and hangs: for who wants to kill a proxy between two tables.
func StallingPath(t testing.TB, variant string) (path, stall, reached string) {
	t.Helper()
	dir := t.TempDir()
	stall, reached = filepath.Join(dir, "stall"), filepath.Join(dir, "reached")
	name := "iptables-" + variant + "-restore"
	program, err := exec.LookPath(name)
	if err != nil {
		t.Fatal(err)
	}
	script := fmt.Sprintf("#!/bin/sh\nif [ -e %[1]s ]; then sed /^COMMIT/q | %[2]s \"$@\" && : > %[3]s && exec cat %[4]s\nfi\nexec %[2]s \"$@\"\n",
		stall, program, reached, filepath.Join(dir, "never"))
	if err := syscall.Mkfifo(filepath.Join(dir, "never"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, name), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	return "PATH=" + dir + ":" + os.Getenv("PATH"), stall, reached
}
