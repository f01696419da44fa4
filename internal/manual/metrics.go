// SPDX-License-Identifier: Apache-2.0

package manual

import (
	"fmt"
	"go/ast"
	"slices"
	"strings"
)

// Metric is a metric as the sources declare it.
type Metric struct {
	Name, Type, Help string
	Labels           []string
}

// Metrics returns the metrics that the packages in the directories declare, sorted by name.
func Metrics(dirs ...string) ([]Metric, error) {
	var all []Metric
	for _, dir := range dirs {
		files, err := sources(dir)
		if err != nil {
			return nil, err
		}
		known := map[string]string{}
		constants(files, func(name, _, value string) { known[name] = value })
		for _, f := range files {
			ast.Inspect(f, func(n ast.Node) bool {
				if call, ok := n.(*ast.CallExpr); ok {
					if m, ok := declared(call, known); ok {
						all = append(all, m)
					}
				}
				return true
			})
		}
	}
	slices.SortFunc(all, func(a, b Metric) int { return strings.Compare(a.Name, b.Name) })
	return all, nil
}

// declared reads the declaration of a metric.
func declared(call *ast.CallExpr, known map[string]string) (m Metric, ok bool) {
	fun, ok := call.Fun.(*ast.SelectorExpr)
	if from, is := selected(fun); !ok || !is || from != "metrics" || len(call.Args) == 0 {
		return m, false
	}
	if fun.Sel.Name == "NewDesc" {
		m.Type = "gauge"
		m.Name, _ = text(call.Args[0], known)
		m.Help, ok = text(call.Args[1], known)
		m.Labels = list(call.Args[2], known)
		return m, ok
	}
	kind, ok := strings.CutPrefix(fun.Sel.Name, "New")
	options, isOptions := call.Args[0].(*ast.UnaryExpr)
	if !ok || !isOptions {
		return m, false
	}
	literal, ok := options.X.(*ast.CompositeLit)
	if !ok {
		return m, false
	}
	m.Type = strings.ToLower(strings.TrimSuffix(kind, "Vec"))
	field := map[string]string{}
	for _, e := range literal.Elts {
		if kv, ok := e.(*ast.KeyValueExpr); ok {
			if key, ok := kv.Key.(*ast.Ident); ok {
				field[key.Name], _ = text(kv.Value, known)
			}
		}
	}
	m.Help = field["Help"]
	m.Name = strings.Join(slices.DeleteFunc([]string{field["Namespace"], field["Subsystem"], field["Name"]}, func(s string) bool { return s == "" }), "_")
	if len(call.Args) > 1 {
		m.Labels = list(call.Args[1], known)
	}
	return m, true
}

func selected(fun *ast.SelectorExpr) (string, bool) {
	if fun == nil {
		return "", false
	}
	from, ok := fun.X.(*ast.Ident)
	if !ok {
		return "", false
	}
	return from.Name, true
}

func list(e ast.Expr, known map[string]string) []string {
	var out []string
	if l, ok := e.(*ast.CompositeLit); ok {
		for _, one := range l.Elts {
			s, _ := text(one, known)
			out = append(out, s)
		}
	}
	return out
}

// MetricsPage is the reference page.
func MetricsPage(all []Metric, chinese bool) string {
	var b strings.Builder
	columns := []string{"Metric", "Type", "Labels", "What it says"}
	b.WriteString("# Metrics\n\n`clb-cloud-controller-manager` serves these at `https://<host>:10258/metrics`, to those whose token allows it; " +
		"client-go, the Go runtime and leader election add their own.\n\n")
	if chinese {
		b.Reset()
		columns = []string{"指标", "类型", "标签", "含义"}
		b.WriteString("# 指标\n\n`clb-cloud-controller-manager` 在 `https://<主机>:10258/metrics` 提供以下指标，需要有权限的令牌。" +
			"client-go、Go 运行时和选主另有各自的指标。\n\n")
	}
	var rows [][]string
	for _, m := range all {
		help, labels := m.Help, "–"
		if chinese {
			help = metricsZH[m.Name]
		}
		if len(m.Labels) > 0 {
			labels = "`" + strings.Join(m.Labels, "`, `") + "`"
		}
		rows = append(rows, []string{fmt.Sprintf("`%s`", m.Name), m.Type, labels, help})
	}
	table(&b, columns, rows)
	return b.String()
}

// metricsZH is the help of each metric in Chinese.
var metricsZH = map[string]string{
	"clbsync_orphans":                               "带有本集群标签、但不属于任何 Service 的云上资源数，按类型（clb、security_group），以至少间隔 10 分钟的两次读取为准。用 kubectl clb orphans 查看。",
	"clbsync_api_request_duration_seconds":          "云 API 请求的耗时，按接口和返回码（空为成功）。",
	"clbsync_api_requests_total":                    "云 API 请求数，按接口和返回码（空为成功）。",
	"clbsync_api_retries_total":                     "重放的请求数，按接口和被拒绝的错误类别。",
	"clbsync_api_task_duration_seconds":             "异步变更从受理到结束的时间，按接口。",
	"clbsync_api_throttle_wait_seconds_total":       "请求因本程序自身限速而等待的时间，按接口。",
	"clbsync_api_tokens":                            "此刻可立即发送的请求数，按接口；仅含发送过请求的接口。",
	"clbsync_build_info":                            "本二进制的版本和提交；值恒为 1。",
	"clbsync_drift_total":                           "核对时发现的 CLB 与上次读取或写入之间的差异数，按差异类别。",
	"clbsync_drift_unrepaired_services":             "CLB 存在被他人改动且保持现状的 Service 数。",
	"clbsync_endpoint_healthy_duration_seconds":     "从端点变化到其带来的后端被看到健康的时间，按 handover.poll 轮询；在 handover.healthDeadline 内未健康的不计入。",
	"clbsync_endpoint_programming_duration_seconds": "从一批端点变化中最早的一个，到其后第一个请求结束的时间。",
	"clbsync_plan_changes_total":                    "已执行的变更数，按动作。",
	"clbsync_queue_depth":                           "此刻等待处理的 CLB 数，按优先级：urgent（端点迁移）、normal（Service 或节点变化）、background（核对）。",
	"clbsync_queue_wait_seconds":                    "到期的 CLB 等待处理的时间，按优先级。",
	"clbsync_readiness_gate_duration_seconds":       "Pod 仅因就绪门控而等待的时间，按门控打开的原因。",
	"clbsync_readiness_gates_waiting":               "最近一次查看时，仅因就绪门控而未就绪的 Pod 数。",
	"clbsync_skips":                                 "所有 Service 的期望状态此刻缺少的内容，按原因。",
	"clbsync_sync_duration_seconds":                 "同步一个 CLB 的时间，按结果：ok、refused（需修改清单）或错误类别。",
}
