// SPDX-License-Identifier: Apache-2.0

package clb

import (
	"cmp"
	"fmt"
	"strings"
)

// Markdown returns the reference page of the table in English, MarkdownZH in Chinese: docs/errors.md and
// docs/errors.zh-CN.md, which a test holds equal to them.
func Markdown() string {
	return page("# Errors of the cloud API",
		"What an answer of Tencent Cloud's API means here, and what to do. Events and conditions carry the same words behind the answer itself. "+
			"A code stands for its dotted forms too unless these have a row; the first row that fits counts. `kubectl clb errors CODE` says the same. TKE: what TKE's controller calls it in its Events.",
		[]string{"Code", "Class", "What it means here", "What to do", "TKE"}, "## Classes", []string{"Class", "What it is", "How it is tried again"}, false)
}

// MarkdownZH is Markdown in Chinese.
func MarkdownZH() string {
	return page("# 云 API 错误码",
		"腾讯云 API 的应答在此处的含义和处理办法。事件和状态条件在应答原文之后附有相应的英文说明。"+
			"没有单独列出的带点子码按其前缀处理，以首个匹配的行为准。`kubectl clb errors CODE --lang zh` 输出相同内容。TKE 列：TKE 控制器在事件中使用的错误码。",
		[]string{"错误码", "类别", "含义", "处理办法", "TKE"}, "## 类别", []string{"类别", "含义", "如何重试"}, true)
}

func page(title, lead string, columns []string, title2 string, columns2 []string, chinese bool) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n\n%s\n\n", title, lead)
	row := func(cells ...string) { fmt.Fprintf(&b, "| %s |\n", strings.Join(cells, " | ")) }
	head := func(columns []string) {
		row(columns...)
		b.WriteString("|" + strings.Repeat(" --- |", len(columns)) + "\n")
	}
	head(columns)
	for _, c := range codes {
		means, do := c.Text(chinese)
		row(c.Name(chinese), c.Class.row().name(chinese), means, cmp.Or(do, "–"), cmp.Or(c.TKE, "–"))
	}
	fmt.Fprintf(&b, "\n%s\n\n", title2)
	head(columns2)
	for _, c := range classes {
		if chinese {
			row(c.NameZH, c.MeansZH, c.RetryZH)
		} else {
			row(c.Name, c.Means, c.Retry)
		}
	}
	return b.String()
}

func (c ClassRow) name(chinese bool) string {
	if chinese {
		return c.NameZH
	}
	return c.Name
}

// Name is the code as the page names it, with what its action or message has to be.
func (c Code) Name(chinese bool) string {
	name, of, like := "`"+c.Code+"`", " of ", "any code, with a message like "
	if chinese {
		of, like = "，", "任意错误码，消息形如 "
	}
	switch {
	case c.says != nil:
		return like + quote[c.says]
	case c.Action != "":
		return name + of + c.Action
	}
	return name
}

// quote is what the expressions look for, for people.
var quote = map[any]string{
	saysBusy:    `"not in normal state", "tasks are being processed"`,
	saysGone:    `"LB not exist", "listener … does not exist"`,
	saysTaken:   `"port … is in use"`,
	saysArrears: `"insufficient balance"`,
	saysQuota:   `"quota"`,
}

// Text returns what the code means and what to do about it, as sentences; do is "" if nothing has to be done.
func (c Code) Text(chinese bool) (means, do string) {
	if chinese {
		return ended(c.MeansZH, "。"), ended(c.DoZH, "。")
	}
	return ended(capital(c.Means), "."), ended(capital(c.Do), ".")
}

func ended(s, stop string) string {
	if s == "" {
		return ""
	}
	return s + stop
}

func capital(s string) string {
	if s == "" {
		return ""
	}
	return strings.ToUpper(s[:1]) + s[1:]
}
