// SPDX-License-Identifier: Apache-2.0

package clb

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	gotoken "go/token"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/clbsync/clbsync/internal/golden"
)

// services are those of Tencent Cloud by the name of the client in Client.
var services = []string{"clb", "cvm", "tag", "vpc", "ssl"}

// actions returns "clb:DescribeTargets" and so on: every method of the SDK that is named in this package.
func actions(t *testing.T) []string {
	t.Helper()
	found := map[string]bool{}
	packages, err := parser.ParseDir(gotoken.NewFileSet(), ".", func(f fs.FileInfo) bool { return !strings.HasSuffix(f.Name(), "_test.go") }, 0) //nolint:staticcheck // one package, no build tags
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range packages["clb"].Files {
		ast.Inspect(file, func(n ast.Node) bool {
			method, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			action, ok := strings.CutSuffix(method.Sel.Name, "WithContext")
			if client, is := method.X.(*ast.SelectorExpr); ok && is && slices.Contains(services, client.Sel.Name) {
				found[client.Sel.Name+":"+action] = true
			}
			return true
		})
	}
	return slices.Sorted(maps.Keys(found))
}

// The CAM policy that users are told to bind allows what this package can call, and nothing else. A call that is added needs a
// look at what it allows: then go test -update.
func TestTheCAMPolicyIsTheLeast(t *testing.T) {
	all := actions(t)
	if len(all) < 12 || !slices.Contains(all, "clb:BatchRegisterTargets") || !slices.Contains(all, "cvm:DescribeInstances") {
		t.Fatalf("%v: the calls are not found where they were", all)
	}
	var read, write []string
	for _, a := range all {
		if strings.Contains(a, ":Describe") {
			read = append(read, a)
		} else {
			write = append(write, a)
		}
	}
	type statement struct {
		Effect   string   `json:"effect"`
		Action   []string `json:"action"`
		Resource []string `json:"resource"`
	}
	policy, err := json.MarshalIndent(struct {
		Version   string      `json:"version"`
		Statement []statement `json:"statement"`
	}{"2.0", []statement{{"allow", read, []string{"*"}}, {"allow", write, []string{"*"}}}}, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	golden.File(t, filepath.Join("..", "..", "docs", "cam-policy.json"), string(policy)+"\n")
}
