// SPDX-License-Identifier: Apache-2.0

package house

import (
	"bytes"
	"encoding/json"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/clbsync/clbsync/"

type pkg struct {
	ImportPath, Dir, Name string
	GoFiles, Imports      []string
	Deps                  []string
}

// packages are the module's own, without tests.
func packages(t *testing.T) map[string]pkg {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Dir,Name,GoFiles,Imports,Deps", module+"...")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, stderr.String())
	}
	found := map[string]pkg{}
	for d := json.NewDecoder(bytes.NewReader(out)); d.More(); {
		var p pkg
		if err := d.Decode(&p); err != nil {
			t.Fatal(err)
		}
		found[strings.TrimPrefix(p.ImportPath, module)] = p
	}
	return found
}

// arrows says which of the module's packages each may import; what ends in "/" stands for all below. A
// package that is not listed may import nothing of the module, so that a new room needs a decision here.
var arrows = map[string][]string{
	"cmd/clb-cloud-controller-manager": {"provider", "lbsync", "lbsync/controller", "lbsync/clb", "internal/version"},
	"cmd/clb-node-agent":               {"nodeagent", "nodeagent/", "internal/version"},
	"cmd/kubectl-clb":                  {"internal/kubectl"},
	"cmd/clbsim":                       {"clbsim", "clbsim/", "internal/version"},
	"internal/kubectl":                 {"provider", "lbsync", "lbsync/annotation", "lbsync/clb", "lbsync/controller", "internal/version"},
	"provider":                         {"lbsync"},
	"lbsync":                           {"lbsync/annotation", "lbsync/serviceconfig", "internal/readinessgate"},
	"lbsync/clb":                       {"lbsync", "internal/version"},
	"lbsync/controller":                {"lbsync", "lbsync/annotation", "lbsync/serviceconfig", "internal/readinessgate"},
	"nodeagent/":                       {"nodeagent", "nodeagent/", "internal/readinessgate"},
	"clbsim":                           {"clbsim/"},
	"clbsim/":                          {"clbsim", "clbsim/"},
	"images":                           {"images/"},
	"images/":                          {"images", "images/"},
}

func TestArrowsPointOneWay(t *testing.T) {
	for name, p := range packages(t) {
		allowed, listed := arrows[name]
		if parent, _, nested := strings.Cut(name, "/"); !listed && nested {
			allowed = arrows[parent+"/"]
		}
		for _, imported := range p.Imports {
			target, ours := strings.CutPrefix(imported, module)
			if ours && !slices.ContainsFunc(allowed, func(a string) bool {
				return target == a || strings.HasSuffix(a, "/") && strings.HasPrefix(target, a)
			}) {
				t.Errorf("%s imports %s: the design lets it import %v", name, target, allowed)
			}
		}
	}
}

// pure packages reach nothing that acts or that differs from run to run.
var pure = []string{"lbsync", "lbsync/annotation", "lbsync/serviceconfig", "nodeagent", "nodeagent/iptables/chains", "internal/readinessgate"}

func TestPurePackagesReachNothingThatActs(t *testing.T) {
	found := packages(t)
	for _, name := range pure {
		p, ok := found[name]
		if !ok {
			t.Fatalf("no package %s", name)
		}
		for _, imported := range p.Imports {
			if slices.Contains([]string{"os", "os/exec", "net", "net/http", "log", "log/slog", "math/rand", "math/rand/v2", "syscall"}, imported) {
				t.Errorf("%s imports %s: a pure package takes and returns values", name, imported)
			}
		}
		for _, dep := range p.Deps {
			for _, acting := range []string{"k8s.io/client-go", "k8s.io/cloud-provider", "github.com/tencentcloud", "github.com/cenkalti/backoff"} {
				if strings.HasPrefix(dep, acting) {
					t.Errorf("%s reaches %s", name, dep)
				}
			}
		}
		for _, file := range p.GoFiles {
			for _, call := range []string{"time.Now(", "time.Since(", "time.After(", "klog."} {
				if src := read(t, filepath.Join(p.Dir, file)); strings.Contains(src, call) {
					t.Errorf("%s/%s: %s…): a pure package has no clock and no logger", name, file, call)
				}
			}
		}
	}
}

func TestOnlyTheCloudEdgeKnowsTheSDK(t *testing.T) {
	for name, p := range packages(t) {
		for _, imported := range p.Imports {
			if strings.HasPrefix(imported, "github.com/tencentcloud/") && name != "lbsync/clb" && !strings.HasPrefix(name, "clbsim") {
				t.Errorf("%s imports %s: lbsync/clb alone does", name, imported)
			}
			// Two layers that retry the same call multiply their waits. The node agent retries nothing of the cloud's.
			if strings.HasPrefix(imported, "github.com/cenkalti/backoff/") && name != "lbsync/clb" && !strings.HasPrefix(name, "nodeagent/") {
				t.Errorf("%s imports %s: of what speaks to the cloud, lbsync/clb alone retries", name, imported)
			}
		}
	}
}

// Nodes hold no cloud credentials, by construction: what runs there cannot even speak to the cloud.
func TestTheNodeAgentLinksNoSDK(t *testing.T) {
	for name, p := range packages(t) {
		if name != "cmd/clb-node-agent" && !strings.HasPrefix(name, "nodeagent") {
			continue
		}
		for _, dep := range p.Deps {
			if strings.HasPrefix(dep, "github.com/tencentcloud/") || dep == module+"lbsync/clb" {
				t.Errorf("%s reaches %s", name, dep)
			}
		}
	}
}

func TestEveryPackageSaysWhatItDecides(t *testing.T) {
	for name, p := range packages(t) {
		var comments int
		for _, file := range p.GoFiles {
			f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(p.Dir, file), nil, parser.PackageClauseOnly|parser.ParseComments)
			if err != nil {
				t.Fatal(err)
			}
			if f.Doc != nil {
				comments++
			}
		}
		if comments != 1 {
			t.Errorf("%s has %d package comments, want one: what it decides, what it never does, who calls it", name, comments)
		}
	}
}

func TestEveryFileHasItsLicence(t *testing.T) {
	for _, p := range packages(t) {
		for _, file := range p.GoFiles {
			if src := read(t, filepath.Join(p.Dir, file)); !strings.HasPrefix(src, "// SPDX-License-Identifier: Apache-2.0\n\n") {
				t.Errorf("%s/%s does not begin with its SPDX line and an empty one", p.ImportPath, file)
			}
		}
	}
}

func read(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
