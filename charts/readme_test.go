// SPDX-License-Identifier: Apache-2.0

package charts

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	yaml "go.yaml.in/yaml/v3"

	"github.com/clbsync/clbsync/internal/helm"
	"github.com/clbsync/clbsync/provider"
)

const (
	tableBegin = "<!-- begin values (go test ./charts/... -update) -->\n"
	tableEnd   = "<!-- end values -->"
)

// Every value has a comment, and the comments are the table of the README.
func TestEveryValueIsDocumented(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(helm.Chart(), "values.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(text, &doc); err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	b.WriteString("| Value | Default | Meaning |\n| --- | --- | --- |\n")
	rows(t, &b, doc.Content[0], "")
	replaceTable(t, filepath.Join(helm.Chart(), "README.md"), tableBegin, tableEnd, b.String())
}

// rows writes the rows of a group: those of its members, if it has some with comments of their own, else its own.
func rows(t *testing.T, b *strings.Builder, group *yaml.Node, prefix string) {
	t.Helper()
	for i := 0; i+1 < len(group.Content); i += 2 {
		key, value := group.Content[i], group.Content[i+1]
		path := prefix + key.Value
		comment := strings.TrimSpace(strings.ReplaceAll(strings.ReplaceAll(key.HeadComment, "\n# ", " "), "# ", ""))
		if comment == "" && value.Kind == yaml.MappingNode && len(value.Content) > 0 {
			rows(t, b, value, path+".")
			continue
		}
		if comment == "" {
			t.Errorf("%s has no comment above it in values.yaml", path)
		}
		if _, last, found := strings.Cut(comment, "-update)."); found { // the comment of the file, above the first value
			comment = strings.TrimSpace(last)
		}
		fmt.Fprintf(b, "| `%s` | `%s` | %s |\n", path, inline(t, value), strings.ReplaceAll(comment, "|", `\|`))
		if path == "cloudConfig" {
			cloudConfigRows(b)
		}
	}
}

func inline(t *testing.T, n *yaml.Node) string {
	t.Helper()
	if n.Kind == yaml.ScalarNode && n.Value == "" {
		return `""`
	}
	flow(n)
	out, err := yaml.Marshal(n)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(strings.Fields(string(out)), " ")
}

func flow(n *yaml.Node) {
	n.HeadComment = ""
	if n.Kind != yaml.ScalarNode {
		n.Style = yaml.FlowStyle
	}
	for _, c := range n.Content {
		flow(c)
	}
}

func cloudConfigRows(b *strings.Builder) {
	for _, f := range provider.Fields {
		if f.Key == "apiVersion" || f.Key == "kind" || strings.HasPrefix(f.Key, "credentials.") {
			continue
		}
		fallback := f.Default
		if f.Required {
			fallback = "required"
		} else if fallback != "" {
			fallback = "`" + fallback + "`"
		}
		fmt.Fprintf(b, "| `cloudConfig.%s` | %s | %s (%s) |\n", f.Key, fallback, strings.ReplaceAll(f.Doc, "|", `\|`), f.Value.Want)
	}
}
