// SPDX-License-Identifier: Apache-2.0

package cloud

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var codeLine = regexp.MustCompile(`= "([A-Za-z.]+)"`)

// The codes that an action may answer are those that the SDK's comments list.
func TestCodesAreTheSDKs(t *testing.T) {
	for _, sdk := range []struct{ service, module, dir string }{
		{ServiceCLB, "clb", "v20180317"}, {ServiceCVM, "cvm", "v20170312"}, {ServiceTag, "tag", "v20180813"},
	} {
		out, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "github.com/tencentcloud/tencentcloud-sdk-go/tencentcloud/"+sdk.module).Output()
		if err != nil {
			t.Fatal(err)
		}
		file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(strings.TrimSpace(string(out)), sdk.dir, "client.go"), nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		documented := map[string][]string{}
		for _, d := range file.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok || f.Doc == nil {
				continue
			}
			var text strings.Builder
			for _, c := range f.Doc.List {
				text.WriteString(c.Text + "\n")
			}
			for _, m := range codeLine.FindAllStringSubmatch(text.String(), -1) {
				documented[f.Name.Name] = append(documented[f.Name.Name], m[1])
			}
		}
		for _, a := range actions {
			if a.Service == sdk.service {
				if diff := cmp.Diff(documented[a.Name], a.documented); diff != "" {
					t.Errorf("%s (-SDK +table):\n%s", a.Name, diff)
				}
			}
		}
	}
}

func TestNarrow(t *testing.T) {
	register := actionByName("RegisterTargets")
	batch := actionByName("BatchRegisterTargets")
	for _, tc := range []struct {
		name   string
		action *Action
		code   string
		want   string
	}{
		{"a code that the action lists stays", batch, codeLBNotFound, codeLBNotFound},
		{"one that it does not list loses its suffix", register, codeLBNotFound, codeInvalid},
		{"codes of the whole API stay", register, codeMissing, codeMissing},
		{"a duplicate in a batch is a plain value error", batch, codeDuplicate, codeValue},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := narrow(tc.action.documented, tc.code); got != tc.want {
				t.Errorf("%s answers %q, want %q", tc.action.Name, got, tc.want)
			}
		})
	}
}

// Whether actions that do not list the busy code answer it is an assumption.
func TestTheBusyCodeFollowsTheAssumption(t *testing.T) {
	deregister := actionByName("DeregisterTargets")
	busy := &Error{Code: codeBusy, Message: "busy"}
	if got := deregister.documentedError(busy, Always).Code; got != codeBusy {
		t.Errorf("with lockCode always: %q", got)
	}
	if got := deregister.documentedError(busy, Listed).Code; got != codeFailed {
		t.Errorf("with lockCode documented: %q", got)
	}
}
