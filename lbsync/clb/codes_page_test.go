// SPDX-License-Identifier: Apache-2.0

package clb

import (
	"go/ast"
	"go/parser"
	gotoken "go/token"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/clbsync/clbsync/internal/golden"
)

func TestErrorPages(t *testing.T) {
	golden.File(t, "../../docs/errors.md", Markdown())
	golden.File(t, "../../docs/errors.zh-CN.md", MarkdownZH())
}

func TestEachCodeSaysWhatItMeans(t *testing.T) {
	for i, c := range codes {
		if c.Means == "" || c.MeansZH == "" || (c.Do == "") != (c.DoZH == "") {
			t.Errorf("%s: a text is missing in one of the languages: %+v", c.Name(false), c)
		}
		if c.says != nil && quote[c.says] == "" {
			t.Errorf("row %d has no words for what it looks for in messages", i)
		}
		if strings.HasSuffix(c.Means, ".") || strings.HasSuffix(c.Do, ".") {
			t.Errorf("%s: phrases end without a full stop: they stand in a sentence", c.Name(false))
		}
		if got := Meaning(c.Action, c.Code, ""); c.says == nil && (got.Code != c.Code || got.Action != c.Action) {
			t.Errorf("%s is never reached: %s stands above it", c.Name(false), got.Name(false))
		}
	}
	for i, c := range classes {
		if c.Name == "" || c.Means == "" || c.MeansZH == "" || c.Retry == "" || c.RetryZH == "" {
			t.Errorf("class %d lacks a text: %+v", i, c)
		}
	}
}

// A code that the SDK knows and the table does not would reach the user without a word of what to do.
func TestTheTableHasEveryCodeOfTheSDK(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "github.com/tencentcloud/tencentcloud-sdk-go/tencentcloud/clb").Output()
	if err != nil {
		t.Fatal(err)
	}
	file, err := parser.ParseFile(gotoken.NewFileSet(), filepath.Join(strings.TrimSpace(string(out)), "v20180317", "errors.go"), nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	listed := map[string]bool{}
	for _, c := range codes {
		listed[c.Code] = true
	}
	found := 0
	for _, c := range constants(file) {
		found++
		// Dotted credentials are covered by what stands before the dot.
		if !listed[c] {
			t.Errorf("the SDK has the code %s, the table does not", c)
		}
	}
	if found < 35 {
		t.Errorf("%d codes in the SDK, want the 36 and more that there are", found)
	}
}

// Every code of facts that a user may meet beyond the SDK's list: what the gateway answers, and the transport.
func TestTheTableHasTheCodesThatNoListOfTheSDKHas(t *testing.T) {
	for _, code := range []string{
		"RequestLimitExceeded.UinLimitExceeded", "RequestLimitExceeded.IPLimitExceeded", "RequestLimitExceeded.GlobalRegionUinLimitExceeded",
		"ClientError.NetworkError", "ClientError.HttpStatusCodeError", "ClientError.ParseJsonError", "ResourceUnavailable",
		"FailedOperation.InsufficientBalance", "AuthFailure.SignatureExpire", "AuthFailure.SignatureFailure", "UnauthorizedOperation.CamNoAuth",
	} {
		if c := Meaning("", code, ""); c.Means == "" {
			t.Errorf("%s has no row", code)
		}
	}
}

var codeConstant = regexp.MustCompile(`^"([A-Za-z.]+)"$`)

// constants are the texts of a file's constants.
func constants(file *ast.File) []string {
	var all []string
	ast.Inspect(file, func(n ast.Node) bool {
		if l, ok := n.(*ast.BasicLit); ok {
			if m := codeConstant.FindStringSubmatch(l.Value); m != nil {
				all = append(all, m[1])
			}
		}
		return true
	})
	return all
}
