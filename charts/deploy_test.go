// SPDX-License-Identifier: Apache-2.0

package charts

import (
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/clbsync/clbsync/internal/golden"
	"github.com/clbsync/clbsync/internal/helm"
)

// ofHelm are lines that say who renders, which for kubectl apply would be wrong.
var ofHelm = regexp.MustCompile(`(?m)^( *helm\.sh/chart:.*| *app\.kubernetes\.io/managed-by:.*|# Source:.*)\n`)

// The manifests for those who have no Helm are what the chart makes, so that rights are written down once.
func TestDeployIsWhatTheChartMakes(t *testing.T) {
	for name, c := range map[string]struct {
		head string
		args []string
	}{
		"full": {`The preset full for kubectl apply -f: everything that a self-built cluster needs. Set region, vpcID and clusterID in the ConfigMap,
# and bind a CAM role with docs/cam-policy.json to the CVMs. With Helm you can set more: docs/install.md.`, preset("full")},
		"agent-only": {`The preset agent-only for kubectl apply -f: the node agent, beside whatever serves load balancers. With Helm you can set more:
# docs/install.md.`, []string{"-f", helm.Preset("agent-only")}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			text, err := template(t, append(c.args, "--set", "tests.enabled=false")...)
			if err != nil {
				t.Fatal(err)
			}
			text = ofHelm.ReplaceAllString(text, "")
			if strings.Contains(text, "helm.sh/hook") {
				t.Error("it has parts that only Helm understands")
			}
			golden.File(t, filepath.Join("..", "deploy", name+".yaml"), "# "+c.head+"\n# Out of charts/clbsync (go test ./charts/... -update).\n"+text)
		})
	}
}
