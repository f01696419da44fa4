// SPDX-License-Identifier: Apache-2.0

package provider

import (
	"fmt"
	"strings"
)

// Language is one that reference pages are written in.
type Language int

// The languages.
const (
	English Language = iota
	Chinese
)

type words struct{ title, intro, columns, required string }

var pageWords = map[Language]words{
	English: {
		title: "Cloud config",
		intro: "`clb-cloud-controller-manager` reads this file, YAML or JSON, from the path in `--cloud-config`, once, when it starts. " +
			"Unknown keys, wrong values and missing keys are refused, all at once, each with its line and what would be right.\n\n" +
			"[examples/cloud-config.yaml](../examples/cloud-config.yaml) is a file to begin with. A dot in a key means indentation: " +
			"`healthCheck.interval: 5s` is written\n\n```yaml\nhealthCheck:\n  interval: 5s\n```\n",
		columns: "Key | Value | Default | Meaning", required: "required",
	},
	Chinese: {
		title: "云配置",
		intro: "`clb-cloud-controller-manager` 启动时从 `--cloud-config` 指定的路径读取该文件（YAML 或 JSON），只读取一次。" +
			"未知的键、错误的值和缺失的键都会使启动失败，并一次性列出全部问题，每个问题都注明行号和正确写法。\n\n" +
			"可以从 [examples/cloud-config.yaml](../examples/cloud-config.yaml) 开始。键中的点表示缩进，例如 `healthCheck.interval: 5s` 写作\n\n```yaml\nhealthCheck:\n  interval: 5s\n```\n",
		columns: "键 | 值 | 默认值 | 说明", required: "必填",
	},
}

// ConfigMarkdown returns the reference page of the cloud config.
func ConfigMarkdown(l Language) string {
	w := pageWords[l]
	var b strings.Builder
	fmt.Fprintf(&b, "# %s\n\n%s\n| %s |\n| --- | --- | --- | --- |\n", w.title, w.intro, w.columns)
	for _, f := range Fields {
		want, doc, fallback := f.Value.Want, f.Doc, f.Default
		if l == Chinese {
			want, doc = f.Value.WantZH, f.DocZH
		}
		if f.Required {
			fallback = w.required
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", f.Key, want, fallback, strings.ReplaceAll(doc, "|", `\|`))
	}
	return b.String()
}
