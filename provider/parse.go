// SPDX-License-Identifier: Apache-2.0

package provider

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"

	yaml "go.yaml.in/yaml/v3"

	"github.com/clbsync/clbsync/lbsync"
)

// configMax is far more than any config: a wrong path, such as a log, is refused before it fills the memory.
const configMax = 1 << 20

// Problem is one thing that is wrong with a cloud config.
type Problem struct {
	Line   int    // of the file; 0 if there is none to name
	Key    string // "healthCheck.interval"; empty for the file as a whole
	Reason string // what was found and what would be right; never a secret
}

func (p Problem) String() string {
	s := strings.TrimSpace(p.Key + " " + p.Reason)
	if p.Line > 0 {
		s = fmt.Sprintf("line %d: %s", p.Line, s)
	}
	return s
}

// ConfigError is all that is wrong with a cloud config, in the order of the file, then what is missing.
type ConfigError []Problem

func (e ConfigError) Error() string {
	if len(e) == 1 {
		return "cloud config: " + e[0].String()
	}
	var b strings.Builder
	fmt.Fprintf(&b, "cloud config: %d things are wrong", len(e))
	for _, p := range e {
		b.WriteString("\n  " + p.String())
	}
	return b.String()
}

// ReadConfig reads a cloud config, YAML or JSON, and fills in what it leaves out. Its error is a ConfigError
// with every problem at once, or that of r.
func ReadConfig(r io.Reader) (CloudConfig, error) {
	text, err := io.ReadAll(io.LimitReader(r, configMax+1))
	if err != nil {
		return CloudConfig{}, fmt.Errorf("cloud config: %w", err)
	}
	if len(text) > configMax {
		return CloudConfig{}, ConfigError{{Reason: "the file is larger than 1 MiB: it is not a cloud config"}}
	}
	p := parser{config: CloudConfig{Settings: lbsync.DefaultSettings()}, seen: map[string]int{}}
	p.document(text)
	if len(p.problems) > 0 {
		return CloudConfig{}, p.problems
	}
	return p.config, nil
}

type parser struct {
	config   CloudConfig
	problems ConfigError
	seen     map[string]int // the line of each key, also of those with a wrong value
}

func (p *parser) problem(line int, key, format string, args ...any) {
	p.problems = append(p.problems, Problem{Line: line, Key: key, Reason: fmt.Sprintf(format, args...)})
}

func (p *parser) document(text []byte) {
	var doc, second yaml.Node
	dec := yaml.NewDecoder(bytes.NewReader(text))
	switch err := dec.Decode(&doc); {
	case errors.Is(err, io.EOF):
		p.problem(0, "", "the file is empty; it has to begin with apiVersion: %s and kind: %s", configVersion, configKind)
		return
	case err != nil:
		p.problem(0, "", "the file is not YAML: %s", syntax(err))
		return
	}
	if err := dec.Decode(&second); err == nil {
		p.problem(second.Line, "", "the file has a second document; it may have only one")
	} else if !errors.Is(err, io.EOF) {
		p.problem(0, "", "the file is not YAML: %s", syntax(err))
	}
	root := resolve(doc.Content[0])
	if root.Kind != yaml.MappingNode {
		p.problem(root.Line, "", "the file holds %s, want keys and values such as region: ap-guangzhou", found(root, true))
		return
	}
	p.mapping(root, "")
	p.missing()
	p.combinations()
}

// anchor is the only part of the YAML library's messages that quotes the file. A secret that begins with an
// asterisk is an anchor to YAML.
var anchor = regexp.MustCompile(`unknown anchor '.*' referenced`)

func syntax(err error) string {
	s := strings.TrimPrefix(err.Error(), "yaml: ")
	return anchor.ReplaceAllString(s, "a value that begins with * has to be in quotes")
}

// resolve follows an alias to what it stands for.
func resolve(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}

// mapping takes the keys of the group prefix, which is empty or ends in a dot.
func (p *parser) mapping(n *yaml.Node, prefix string) {
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := resolve(n.Content[i]), resolve(n.Content[i+1])
		path := prefix + key.Value
		field := fieldOf(path)
		name := key.Kind == yaml.ScalarNode && key.Value != "" && key.Value != "*" && !strings.Contains(key.Value, ".")
		line := n.Content[i].Line
		if !name || field == nil && !isGroup(path) {
			p.unknown(line, prefix, key)
			continue
		}
		if before, twice := p.seen[path]; twice {
			p.problem(line, path, "is there twice; it is in line %d already", before)
			continue
		}
		p.seen[path] = line
		switch {
		case field != nil:
			p.value(line, path, *field, value)
		case value.Kind != yaml.MappingNode:
			p.problem(line, path, "%s, want its keys (%s) below it, indented, or no %s at all", isFound(value, prefix+key.Value == "credentials"), members(path), path)
		default:
			p.mapping(value, path+".")
		}
	}
}

func (p *parser) value(line int, path string, f Field, n *yaml.Node) {
	if n.Kind != yaml.ScalarNode || !f.Value.takes(n.ShortTag()) {
		hint := ""
		if n.Kind == yaml.ScalarNode && n.ShortTag() != "!!null" && f.Value.takes("!!str") {
			hint = "; if that is a text, put it in quotes"
		}
		p.problem(line, path, "%s, want %s%s", isFound(n, f.Secret), f.Value.Want, hint)
		return
	}
	name := path[strings.LastIndexByte(path, '.')+1:]
	if err := f.Value.set(&p.config, name, n.Value); errors.Is(err, errValue) {
		p.problem(line, path, "%s, want %s", isFound(n, f.Secret), f.Value.Want)
	} else if err != nil {
		p.problem(line, path, "%s: %v; want %s", isFound(n, f.Secret), err, f.Value.Want)
	}
}

// unknown reports a key that is not in the table. Its value is not shown, since it may be a secret in the
// wrong place; nor is the key if it could be one itself, as in {secretKey=xyz}.
func (p *parser) unknown(line int, prefix string, key *yaml.Node) {
	if key.Kind != yaml.ScalarNode {
		p.problem(line, strings.TrimSuffix(prefix, "."), "has %s for a key, want one of: %s", found(key, true), members(strings.TrimSuffix(prefix, ".")))
		return
	}
	near := nearest(prefix, key.Value)
	switch group := strings.TrimSuffix(prefix, "."); {
	case fieldOf(prefix+key.Value) != nil && key.Value != "*" && near == "":
		p.problem(line, prefix+key.Value, "has a dot in it; write the part behind each dot in a line of its own, indented")
	case near != "":
		p.problem(line, prefix+key.Value, "is no key of a cloud config; did you mean %s?", near)
	case group == "credentials" || !plainKey.MatchString(key.Value):
		p.problem(line, group, "has a key that is not known (it is not shown, as it could be a secret); the keys are %s", members(group))
	default:
		p.problem(line, prefix+key.Value, "is no key of a cloud config; the keys here are %s", members(group))
	}
}

var plainKey = regexp.MustCompile(`^[A-Za-z][-_.A-Za-z]{0,25}$`)

// missing reports required keys that are not there.
func (p *parser) missing() {
	for _, f := range Fields {
		if _, ok := p.seen[f.Key]; f.Required && !ok {
			p.problem(0, f.Key, "is missing, want %s", f.Value.Want)
		}
	}
}

// combinations reports values that are right alone and wrong together.
func (p *parser) combinations() {
	const id, key, token, directory = "credentials.secretID", "credentials.secretKey", "credentials.token", "credentials.directory"
	_, hasID := p.seen[id]
	_, hasKey := p.seen[key]
	_, hasToken := p.seen[token]
	line, hasDirectory := p.seen[directory]
	switch {
	case hasDirectory && (hasID || hasKey || hasToken):
		p.problem(line, directory, "and %s, %s or %s are both there; want one or the other", id, key, token)
	case hasID && !hasKey:
		p.problem(p.seen[id], key, "is missing: it belongs to the %s that is there", id)
	case hasKey && !hasID:
		p.problem(p.seen[key], id, "is missing: it belongs to the %s that is there", key)
	case hasToken && !hasID:
		p.problem(p.seen[token], id, "and %s are missing: they belong to the %s that is there", key, token)
	}
	if len(p.problems) > 0 {
		return // the bounds of each value have been checked; Validate would repeat them
	}
	if err := p.config.Settings.Validate(); err != nil {
		p.problem(0, "", "%v", err)
	}
}

// isFound says what was found where something else was wanted.
func isFound(n *yaml.Node, hide bool) string {
	if n.Kind == yaml.ScalarNode && (n.ShortTag() == "!!null" || n.Value == "") {
		return "is empty"
	}
	return "is " + found(n, hide)
}

func found(n *yaml.Node, hide bool) string {
	switch {
	case n.Kind == yaml.MappingNode:
		return "a mapping"
	case n.Kind == yaml.SequenceNode:
		return "a list"
	case n.Kind != yaml.ScalarNode:
		return "something else"
	case hide || strings.Contains(n.Value, "@"): // a URL's password
		return "a text that is not shown here"
	case n.ShortTag() == "!!str":
		return fmt.Sprintf("%q", short(n.Value))
	}
	return short(n.Value)
}

func short(s string) string {
	if runes := []rune(s); len(runes) > 60 {
		return string(runes[:60]) + "…"
	}
	return s
}

// fieldOf returns the field of a path, or nil.
func fieldOf(path string) *Field {
	for i, f := range Fields {
		parent, any := strings.CutSuffix(f.Key, "*")
		if f.Key == path || any && len(path) > len(parent) && strings.HasPrefix(path, parent) {
			return &Fields[i]
		}
	}
	return nil
}

func isGroup(path string) bool {
	return slices.ContainsFunc(Fields, func(f Field) bool { return strings.HasPrefix(f.Key, path+".") })
}

// children returns the names right below a group, in the order of the table; of the whole file for "".
func children(group string) []string {
	var names []string
	for _, f := range Fields {
		rest := f.Key
		if group != "" {
			var ok bool
			if rest, ok = strings.CutPrefix(f.Key, group+"."); !ok {
				continue
			}
		}
		if name, _, _ := strings.Cut(rest, "."); !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

func members(group string) string {
	return strings.ReplaceAll(strings.Join(children(group), ", "), "*", "names of API actions, such as DescribeTargets")
}
