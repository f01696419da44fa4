// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"flag"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
)

var described = regexp.MustCompile(`fqName: "([^"]+)", help: "([^"]*)".*variableLabels: \{([^}]*)\}`)

// chinese says what each metric means for the Chinese page.
var chinese = map[string]string{
	"clb_node_agent_sync_duration_seconds":         "从一次同步开始到其规则进入内核的时间。kind 为 full（读过内核）或 delta。",
	"clb_node_agent_chains_written_total":          "在内核中替换或删除的链数。",
	"clb_node_agent_rules":                         "我们链中的规则数。",
	"clb_node_agent_sync_failures_total":           "失败的同步和规则检查次数，每次都会重试。",
	"clb_node_agent_repairs_total":                 "规则被别人改动后修复的次数。",
	"clb_node_agent_health_answers_total":          "在 healthCheckNodePort 上的应答数。",
	"clb_node_agent_udp_flows_deleted_total":       "因端点不再服务而清除的 UDP 流数。",
	"clb_node_agent_skipped_objects":               "Service 和 EndpointSlice 中无法使用的部分。",
	"clb_node_agent_health_ports_unbound":          "被其他程序占用的 healthCheckNodePort 数。",
	"clb_node_agent_health_answers_differing":      "kube-proxy 的应答与本 agent 不一致的 healthCheckNodePort 数。",
	"clb_node_agent_endpoints_without_return_path": "本机上 Local NodePort 的端点中，应答会从与请求不同的网卡离开的数量。",
	"clbsync_build_info":                           "运行的是哪个构建，值恒为 1。",
	"clb_node_agent_verdict_packets_total":         "各连接首包的去向：forward（到 NodePort）、masquerade（其中以本机地址为源的）、drop（此处没有端点）、reject（任何地方都没有）、accept（健康探测，计其全部包及相邻端口的包）。相关规则重写后从零开始。",
}

// The pages of the metrics come out of the metrics.
func TestPageOfMetrics(t *testing.T) {
	descs := make(chan *prometheus.Desc)
	go func() {
		newMetrics().registry.Describe(descs)
		close(descs)
	}()
	var en, zh []string
	for d := range descs {
		m := described.FindStringSubmatch(d.String())
		if m == nil {
			t.Fatalf("cannot read %s", d)
		}
		labels := "`" + strings.ReplaceAll(m[3], ",", "`, `") + "`"
		en = append(en, fmt.Sprintf("| `%s` | %s | %s |\n", m[1], labels, m[2]))
		words := chinese[m[1]]
		if words == "" {
			t.Errorf("%s has no words for the Chinese page", m[1])
		}
		zh = append(zh, fmt.Sprintf("| `%s` | %s | %s |\n", m[1], labels, words))
	}
	slices.Sort(en)
	slices.Sort(zh)
	for path, text := range map[string]string{
		"../../docs/node-agent-metrics.md": "# Metrics of clb-node-agent\n\n`clb-node-agent run` serves them at `/metrics` of `--address` (default `:10356`). This page comes out of the code.\n" +
			"`family` is `ipv4` or `ipv6`. [中文](node-agent-metrics.zh-CN.md)\n\n| Metric | Labels | Meaning |\n| --- | --- | --- |\n" + strings.Join(en, ""),
		"../../docs/node-agent-metrics.zh-CN.md": "# clb-node-agent 的指标\n\n`clb-node-agent run` 在 `--address`（默认 `:10356`）的 `/metrics` 上提供。本页由代码生成。\n" +
			"`family` 为 `ipv4` 或 `ipv6`。[English](node-agent-metrics.md)\n\n| 指标 | 标签 | 含义 |\n| --- | --- | --- |\n" + strings.Join(zh, ""),
	} {
		if flag.Lookup("update").Value.String() == "true" {
			if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		is, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(is), text); diff != "" {
			t.Errorf("%s (-is +comes out of the code); go test -update writes it anew:\n%s", path, diff)
		}
	}
}
