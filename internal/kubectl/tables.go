// SPDX-License-Identifier: Apache-2.0

package kubectl

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/clbsync/clbsync/internal/version"
	"github.com/clbsync/clbsync/lbsync/annotation"
	"github.com/clbsync/clbsync/lbsync/clb"
)

const loadBalancerID = annotation.LoadBalancerID

// key is a row of the table of annotations for programs.
type key struct {
	Name     string   `json:"name"`
	Value    string   `json:"value"`
	Default  string   `json:"default,omitempty"`
	Since    string   `json:"since,omitempty"`
	Excludes []string `json:"excludes,omitempty"`
	ReadOnly bool     `json:"readOnly,omitempty"`
	Fixed    bool     `json:"fixed,omitempty"`
	Blocking bool     `json:"blocking,omitempty"`
	Refused  string   `json:"refused,omitempty"`
	Doc      string   `json:"doc"`
}

func (r *run) annotations() *cobra.Command {
	return r.sub("annotations", "[NAME]", cobra.MaximumNArgs(1), func(_ *cobra.Command, args []string) error {
		var rows []key
		for _, k := range annotation.Keys {
			row := key{k.Name, k.Value.Type, k.Default, k.Since, k.Excludes, k.ReadOnly, k.Fixed, k.Blocking, k.Refused, k.Doc}
			if r.chinese() {
				row.Doc, row.Refused = k.DocZH, k.RefusedZH
			}
			if len(args) == 0 || k.Name == args[0] || strings.HasSuffix(k.Name, "/"+args[0]) {
				rows = append(rows, row)
			}
		}
		if len(rows) == 0 {
			return fmt.Errorf("there is no annotation %q; kubectl clb annotations lists them", args[0])
		}
		return r.print(rows, keysText(rows, len(args) > 0, r.chinese()))
	})
}

// keysText is rows for people: a line each, or all that there is to say of them.
func keysText(rows []key, all, chinese bool) string {
	var b strings.Builder
	words := map[string]string{"value": "value", "default": "default", "refused": "not possible here", "fixed": "read when the CLB is created only", "readonly": "written by the controller", "blocking": "a wrong value stops the Service", "excludes": "not together with", "since": "in TKE since"}
	if chinese {
		words = map[string]string{"value": "取值", "default": "默认值", "refused": "此处无法实现", "fixed": "仅在创建 CLB 时读取", "readonly": "由控制器写入", "blocking": "取值错误会暂停该 Service", "excludes": "不能同用", "since": "TKE 起始版本"}
	}
	for _, k := range rows {
		if !all {
			fmt.Fprintf(&b, "%s\n    %s\n", k.Name, first(k.Doc))
			continue
		}
		fmt.Fprintf(&b, "%s\n", k.Name)
		for _, line := range []struct {
			word, text string
			say        bool
		}{
			{"value", k.Value, true}, {"default", k.Default, k.Default != ""}, {"refused", k.Refused, k.Refused != ""},
			{"excludes", strings.Join(k.Excludes, ", "), len(k.Excludes) > 0}, {"since", k.Since, k.Since != ""},
			{"fixed", "", k.Fixed}, {"readonly", "", k.ReadOnly}, {"blocking", "", k.Blocking},
		} {
			if line.say {
				fmt.Fprintf(&b, "  %s\n", strings.TrimSuffix(words[line.word]+": "+line.text, ": "))
			}
		}
		fmt.Fprintf(&b, "\n%s\n", indent(k.Doc))
	}
	return b.String()
}

// first is the first sentence.
func first(doc string) string {
	for _, stop := range []string{". ", "。"} {
		if before, _, found := strings.Cut(doc, stop); found {
			return before + strings.TrimSpace(stop)
		}
	}
	return doc
}

func indent(text string) string { return "  " + strings.ReplaceAll(text, "\n", "\n  ") }

// answer is a row of the table of error codes for programs.
type answer struct {
	Code   string `json:"code"`
	Action string `json:"action,omitempty"`
	Class  string `json:"class"`
	TKE    string `json:"tke,omitempty"`
	Means  string `json:"means"`
	Do     string `json:"do,omitempty"`
	Retry  string `json:"retry"`
}

func (r *run) errors() *cobra.Command {
	return r.sub("errors", "[CODE]", cobra.MaximumNArgs(1), func(_ *cobra.Command, args []string) error {
		codes := clb.Codes()
		if len(args) > 0 {
			codes = codesLike(args[0])
		}
		if len(codes) == 0 {
			return fmt.Errorf("no row fits the code %q: it is treated as an unknown outcome, so the CLB is read again and a new plan made", args[0])
		}
		var rows []answer
		for _, c := range codes {
			means, do := c.Text(r.chinese())
			class := clb.Classes()[c.Class]
			row := answer{Code: c.Name(r.chinese()), Action: c.Action, Class: class.Name, TKE: c.TKE, Means: means, Do: do, Retry: class.Retry}
			if r.chinese() {
				row.Class, row.Retry = class.NameZH, class.RetryZH
			}
			rows = append(rows, row)
		}
		return r.print(rows, answersText(rows, len(args) > 0))
	})
}

// codesLike returns the rows that are about a code, TKE's own codes included: that of each action, and that of any.
func codesLike(code string) []clb.Code {
	var out []clb.Code
	for _, c := range clb.Codes() {
		if c.TKE == code || c.Code == code && c.Action != "" {
			out = append(out, c)
		}
	}
	if c := clb.Meaning("", code, ""); c.Means != "" {
		out = append(out, c)
	}
	return out
}

func answersText(rows []answer, all bool) string {
	var b strings.Builder
	for _, a := range rows {
		fmt.Fprintf(&b, "%s (%s)\n", strings.ReplaceAll(a.Code, "`", ""), a.Class)
		fmt.Fprintf(&b, "    %s\n", strings.TrimSpace(a.Means+" "+a.Do))
		if !all {
			continue
		}
		fmt.Fprintf(&b, "    %s\n", a.Retry)
		if a.TKE != "" {
			fmt.Fprintf(&b, "    TKE: %s\n", a.TKE)
		}
	}
	return b.String()
}

func (r *run) version() *cobra.Command {
	return r.sub("version", "", cobra.NoArgs, func(*cobra.Command, []string) error {
		return r.print(map[string]string{"version": version.Version(), "commit": version.Commit()}, version.Line("kubectl-clb")+"\n")
	})
}
