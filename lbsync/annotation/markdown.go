// SPDX-License-Identifier: Apache-2.0

package annotation

import (
	"cmp"
	"fmt"
	"strings"
)

// Markdown returns the reference page in English, MarkdownZH in Chinese: docs/annotations.md and
// docs/annotations.zh-CN.md, which a test holds equal to them.
func Markdown() string {
	return page("# Service annotations", "The value is always a string. An annotation that cannot be followed gets a Warning Event on the Service that names it; it costs only what it says, unless the table says that it stops the Service.",
		[]string{"Annotation", "Value", "Default", "What it does"}, "## Annotations of Pods", "## Known from TKE and not possible", []string{"Annotation", "What it does in TKE", "Why not, and what happens here"},
		func(k Key) string {
			return k.Doc + either(len(k.Excludes) > 0, " Not together with "+names(k.Excludes, " or ")+either(k.Yields, ", beside which it is ignored")+".") + either(k.Since != "", " TKE has it since "+k.Since+".") + either(k.Fixed, " Read when the CLB is created; later changes get an Event.") + either(k.ReadOnly, " Written by the controller.") + k.wrong()
		},
		func(k Key) []string {
			return []string{k.Doc, sentence(k.Refused) + either(k.Blocking, " No CLB is made for the Service; one that is there goes on as it is.")}
		})
}

// MarkdownZH is Markdown in Chinese.
func MarkdownZH() string {
	return page("# Service 注解", "注解的值都是字符串。无法执行的注解会在 Service 上产生指明该注解的 Warning 事件；除表中注明会暂停整个 Service 的以外，其影响仅限于该注解本身。",
		[]string{"注解", "取值", "默认值", "作用"}, "## Pod 注解", "## TKE 中有、此处无法实现的注解", []string{"注解", "在 TKE 中的作用", "原因和此处的处理"},
		func(k Key) string {
			return k.DocZH + either(len(k.Excludes) > 0, "不能与 "+names(k.Excludes, "、")+" 同用"+either(k.Yields, "，同时设置时忽略本注解")+"。") + either(k.Since != "", "TKE 自 "+k.Since+" 起支持。") + either(k.Fixed, "仅在创建 CLB 时读取，之后的修改会产生事件。") + either(k.ReadOnly, "由控制器写入。") + k.wrongZH()
		},
		func(k Key) []string {
			return []string{k.DocZH, k.RefusedZH}
		})
}

// wrong says what becomes of a Service with a wrong value, where that is more than a default.
func (k *Key) wrong() string {
	switch {
	case !k.Blocking:
		return ""
	case k.creation():
		return " With a wrong value no CLB is made; one that is there goes on as it is."
	case k.restricts():
		return " With a wrong value no CLB is made; one that is there lets in whom it let in before, and opens no port that is not open yet."
	}
	return " A wrong value stops the Service."
}

func (k *Key) wrongZH() string {
	switch {
	case !k.Blocking:
		return ""
	case k.creation():
		return "取值错误时不创建 CLB；已有的 CLB 保持原样，继续工作。"
	case k.restricts():
		return "取值错误时不创建 CLB；已有的 CLB 保持原有放通范围，不开放新端口，其余照常。"
	}
	return "取值错误会暂停该 Service。"
}

func names(list []string, separator string) string {
	return "`" + strings.Join(list, "`"+separator+"`") + "`"
}

// sentence makes a phrase a sentence.
func sentence(s string) string {
	if s == "" {
		return ""
	}
	return strings.ToUpper(s[:1]) + s[1:] + "."
}

func either(yes bool, s string) string {
	if yes {
		return s
	}
	return ""
}

func page(title, lead string, columns []string, ofPods, title2 string, columns2 []string, doc func(Key) string, notYet func(Key) []string) string {
	var followed, others [][]string
	for _, k := range Keys {
		name := "`" + k.Name + "`"
		if k.Refused != "" {
			others = append(others, append([]string{name}, notYet(k)...))
		} else {
			followed = append(followed, []string{name, cell(k.Value.Type), cmp.Or(k.Default, "–"), doc(k)})
		}
	}
	var pods [][]string
	for _, k := range PodKeys {
		pods = append(pods, []string{"`" + k.Name + "`", k.Value.Type, "–", doc(k)})
	}
	return fmt.Sprintf("%s\n\n%s\n\n%s\n%s\n\n%s\n%s\n\n%s", title, lead, table(columns, followed), ofPods, table(columns, pods), title2, table(columns2, others))
}

// cell keeps an example in JSON in one piece.
func cell(s string) string {
	if i := strings.IndexByte(s, '{'); i >= 0 {
		return s[:i] + "`" + strings.ReplaceAll(s[i:], "} or {", "}` or `{") + "`"
	}
	return s
}

func table(columns []string, rows [][]string) string {
	var b strings.Builder
	for _, row := range append([][]string{columns, strings.Split(strings.Repeat("---,", len(columns)-1)+"---", ",")}, rows...) {
		b.WriteString("| " + strings.Join(row, " | ") + " |\n")
	}
	return b.String()
}
