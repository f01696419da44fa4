// SPDX-License-Identifier: Apache-2.0

package nodeagent_test

import (
	"os/exec"
	"strings"
	"testing"
)

// The packages that decide import nothing that calls: neither directly nor through others of ours.
func TestDecisionsAreMadeWithoutCalls(t *testing.T) {
	for _, pkg := range []string{"github.com/clbsync/clbsync/nodeagent", "github.com/clbsync/clbsync/nodeagent/iptables/chains"} {
		out, err := exec.Command("go", "list", "-f", `{{join .Imports "\n"}}`, pkg).Output()
		if err != nil {
			t.Fatal(err)
		}
		for path := range strings.Lines(string(out)) {
			path = strings.TrimSpace(path)
			for _, forbidden := range []string{"os", "os/exec", "net", "net/http", "k8s.io/client-go", "k8s.io/klog", "github.com/tencentcloud", "github.com/vishvananda", "github.com/clbsync/clbsync/nodeagent/agent"} {
				if path == forbidden || strings.HasPrefix(path, forbidden+"/") && forbidden != "os" && forbidden != "net" {
					t.Errorf("%s imports %s", pkg, path)
				}
			}
		}
	}
}

// Nodes hold no cloud credentials, by construction: the agent links nothing that could use them.
func TestAgentLinksNoCloud(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", "github.com/clbsync/clbsync/cmd/clb-node-agent").Output()
	if err != nil {
		t.Fatal(err)
	}
	for path := range strings.Lines(string(out)) {
		if strings.HasPrefix(path, "github.com/tencentcloud/") || strings.HasPrefix(path, "github.com/clbsync/clbsync/lbsync") {
			t.Errorf("clb-node-agent links %s", strings.TrimSpace(path))
		}
	}
}
