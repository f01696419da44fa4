// SPDX-License-Identifier: Apache-2.0

// Package manual makes the reference pages of what people see of the controller while it runs: the reasons of
// Events and conditions, and the metrics. Meanings stand in its tables; which reasons and metrics there are, with
// their labels, comes out of the sources, so that none can be forgotten. Only its own tests call it.
package manual

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Text is a text in the languages of the pages.
type Text struct{ EN, ZH string }

func (t Text) in(chinese bool) string {
	if chinese {
		return t.ZH
	}
	return t.EN
}

// sources parses the Go files of a directory, without tests.
func sources(dir string) ([]*ast.File, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var files []*ast.File
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".go") || strings.HasSuffix(e.Name(), "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(dir, e.Name()), nil, parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		files = append(files, f)
	}
	return files, nil
}

// constants calls found for each constant that is a text, with the name of its type if it says one.
func constants(files []*ast.File, found func(name, kind, value string)) {
	for _, f := range files {
		ast.Inspect(f, func(n ast.Node) bool {
			spec, ok := n.(*ast.ValueSpec)
			if !ok {
				return true
			}
			for i, v := range spec.Values {
				kind := ""
				if t, ok := spec.Type.(*ast.Ident); ok {
					kind = t.Name
				}
				if s, ok := text(v, nil); ok && i < len(spec.Names) {
					found(spec.Names[i].Name, kind, s)
				}
			}
			return true
		})
	}
}

// text returns the value of an expression that is a text made of literals, and of constants that are named in known.
func text(e ast.Expr, known map[string]string) (string, bool) {
	switch e := e.(type) {
	case *ast.BasicLit:
		s, err := strconv.Unquote(e.Value)
		return s, err == nil && e.Kind == token.STRING
	case *ast.Ident:
		s, ok := known[e.Name]
		return s, ok
	case *ast.BinaryExpr:
		a, first := text(e.X, known)
		b, second := text(e.Y, known)
		return a + b, first && second && e.Op == token.ADD
	}
	return "", false
}

func table(b *strings.Builder, columns []string, rows [][]string) {
	fmt.Fprintf(b, "| %s |\n|%s\n", strings.Join(columns, " | "), strings.Repeat(" --- |", len(columns)))
	for _, r := range rows {
		fmt.Fprintf(b, "| %s |\n", strings.ReplaceAll(strings.Join(r, "\x00"), "|", `\|`))
	}
	s := strings.ReplaceAll(b.String(), "\x00", " | ")
	b.Reset()
	b.WriteString(s)
}
