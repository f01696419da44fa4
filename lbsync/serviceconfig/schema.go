// SPDX-License-Identifier: Apache-2.0

package serviceconfig

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

// kind is the type of a field.
type kind string

const (
	object  kind = "object"
	list    kind = "array"
	integer kind = "integer"
	boolean kind = "boolean"
	text    kind = "string"
)

// Field is a row of the table: a field, and what is in it.
type Field struct {
	Name       string
	Kind       kind
	Low, High  int      // of an integer
	Words      []string // that a text may be; nil: any
	Pattern    string   // of a text, in the syntax that Go and the API server share
	Most       int      // characters of a text, entries of a list
	Default    string   // what holds if it is not set, as JSON; "": see Doc
	Required   bool
	Doc, DocZH string
	Fields     []Field // of an object, or of a list's entries
}

const (
	layer4Name = "l4Listeners"
	layer7Name = "l7Listeners"
	domainExpr = `^(\*|\*\.)?[0-9A-Za-z]([0-9A-Za-z.-]*[0-9A-Za-z])?(\.?\*)?$`
)

var (
	portField = Field{Name: "port", Kind: integer, Low: 1, High: 65535, Required: true,
		Doc: "Port of the listener, which is a port of the Service.", DocZH: "监听器端口，即 Service 的端口。"}
	sessionFields = []Field{
		{Name: "enable", Kind: boolean, Required: true,
			Doc: "Whether a client stays at its target. It counts over the Service's sessionAffinity.", DocZH: "是否开启会话保持，优先于 Service 的 sessionAffinity。"},
		{Name: "sessionExpireTime", Kind: integer, Low: 30, High: 3600, Default: "30",
			Doc: "How long, in seconds, after its last connection or request.", DocZH: "会话保持时间，单位秒。"},
	}
	checkFields = []Field{
		{Name: "enable", Kind: boolean, Required: true, Doc: "Whether targets are probed.", DocZH: "是否开启健康检查。"},
		{Name: "intervalTime", Kind: integer, Low: 5, High: 300, Default: "5", Doc: "Time between two probes, in seconds; more than timeout.", DocZH: "探测间隔，单位秒，须大于 timeout。"},
		{Name: "healthNum", Kind: integer, Low: 2, High: 10, Default: "3", Doc: "Successes in a row that make a target healthy.", DocZH: "健康阈值：连续成功多少次视为健康。"},
		{Name: "unHealthNum", Kind: integer, Low: 2, High: 10, Default: "3", Doc: "Failures in a row that make a target unhealthy.", DocZH: "不健康阈值：连续失败多少次视为不健康。"},
		{Name: "timeout", Kind: integer, Low: 2, High: 60, Default: "2", Doc: "How long a probe waits for its answer, in seconds; less than intervalTime.", DocZH: "探测超时，单位秒，须小于 intervalTime。"},
		{Name: "checkType", Kind: text, Words: []string{"TCP", "HTTP", "HTTPS", "GRPC", "PING"},
			Doc:   "How targets are probed: TCP or HTTP for TCP and TCP_SSL, PING for UDP, HTTP, HTTPS or GRPC in rules. By default TCP, PING, or what targets speak; under externalTrafficPolicy: Local a TCP listener asks the nodes' healthCheckNodePort, unless this is set.",
			DocZH: "探测方式：TCP 和 TCP_SSL 可用 TCP、HTTP；UDP 可用 PING；转发规则可用 HTTP、HTTPS、GRPC。默认为 TCP、PING 或后端协议；externalTrafficPolicy 为 Local 时，TCP 监听器默认探测节点的 healthCheckNodePort，设置该字段后按该字段探测。"},
		{Name: "checkPort", Kind: integer, Low: 1, High: 65535,
			Doc: "Port that is probed, of TCP and UDP listeners. By default the target's own.", DocZH: "探测端口，仅用于 TCP、UDP 监听器。默认为后端自身端口。"},
		{Name: "httpCheckPath", Kind: text, Most: 200, Pattern: `^/[!-~]*$`, Doc: "Path of HTTP probes. By default /.", DocZH: "HTTP 探测的路径，默认为 /。"},
		{Name: "httpCheckDomain", Kind: text, Most: 80, Pattern: `^[0-9A-Za-z.-]+$`, Doc: "Host header of HTTP probes. By default the rule's domain.", DocZH: "HTTP 探测的 Host 头，默认为规则的域名。"},
		{Name: "httpCheckMethod", Kind: text, Words: []string{"HEAD", "GET"}, Doc: "Method of HTTP probes. By default GET.", DocZH: "HTTP 探测的方法，默认为 GET。"},
		{Name: "httpCode", Kind: integer, Low: 1, High: 31,
			Doc:   "Answers that are healthy, a sum of 1 (1xx), 2 (2xx), 4 (3xx), 8 (4xx) and 16 (5xx). By default 2 for listeners and 15, all but 5xx, for rules.",
			DocZH: "视为健康的状态码，取以下数值之和：1（1xx）、2（2xx）、4（3xx）、8（4xx）、16（5xx）。监听器默认 2，转发规则默认 15（除 5xx 外均为健康）。"},
		{Name: "httpVersion", Kind: text, Words: []string{"HTTP/1.0", "HTTP/1.1"}, Doc: "Version of HTTP probes of TCP listeners. By default HTTP/1.1.", DocZH: "TCP 监听器 HTTP 探测的版本，默认为 HTTP/1.1。"},
		{Name: "sourceIpType", Kind: integer, Low: 0, High: 1,
			Doc: "Where probes come from: 0 the CLB's address, 1 an address of 100.64.0.0/10. By default 1, for IPv6 0.", DocZH: "探测源地址：0 为 CLB 的 VIP，1 为 100.64.0.0/10 网段。默认为 1，IPv6 为 0。"},
	}
	sessionField = Field{Name: "session", Kind: object, Fields: sessionFields,
		Doc: "Stickiness. By default what the Service's sessionAffinity says.", DocZH: "会话保持。默认按 Service 的 sessionAffinity。"}
	checkField = Field{Name: "healthCheck", Kind: object, Fields: checkFields,
		Doc: "How targets are probed. By default what the cloud config says.", DocZH: "健康检查。默认按云配置。"}
)

// schema is the table: the content of spec.
var schema = Field{Name: "loadBalancer", Kind: object, Doc: "What the CLB of a Service has otherwise than by default.", DocZH: "Service 的 CLB 与默认值不同的设置。", Fields: []Field{
	{Name: layer4Name, Kind: list, Most: 100, Doc: "Listeners of the protocols TCP, UDP, TCP_SSL and QUIC. A listener without a section has the defaults; a section without a listener has no effect.",
		DocZH: "TCP、UDP、TCP_SSL、QUIC 监听器。没有对应小节的监听器使用默认值；没有对应监听器的小节不起作用。", Fields: []Field{
			{Name: "protocol", Kind: text, Words: []string{"TCP", "UDP", "TCP_SSL", "QUIC"}, Required: true,
				Doc: "Protocol of the listener: that of the Service's port, or what the annotation specify-protocol makes of it.", DocZH: "监听器协议：Service 端口的协议，或注解 specify-protocol 指定的协议。"},
			portField, sessionField, checkField,
			{Name: "scheduler", Kind: text, Words: []string{"WRR", "LEAST_CONN"}, Default: `"WRR"`,
				Doc: "How targets are chosen: by weight in turn, or the one with the fewest connections.", DocZH: "调度方式：加权轮询，或最小连接数。"},
			{Name: "idleConnectTimeout", Kind: integer, Low: 10, High: 1980,
				Doc:   "After how many seconds a silent connection is forgotten, of TCP and UDP; above 900 for performance CLBs alone. By default 900 for TCP and 300 for UDP.",
				DocZH: "空闲连接超时，单位秒，仅用于 TCP、UDP；超过 900 仅限性能容量型实例。默认 TCP 为 900，UDP 为 300。"},
		}},
	{Name: layer7Name, Kind: list, Most: 100, Doc: "Listeners of the protocols HTTP and HTTPS, which the annotation specify-protocol asks for.", DocZH: "HTTP、HTTPS 监听器，由注解 specify-protocol 指定。", Fields: []Field{
		{Name: "protocol", Kind: text, Words: []string{"HTTP", "HTTPS"}, Required: true, Doc: "Protocol of the listener.", DocZH: "监听器协议。"},
		portField,
		{Name: "defaultServer", Kind: text, Most: 80, Pattern: domainExpr,
			Doc: "Domain that gets the requests for unknown ones. By default the first one stays what it is.", DocZH: "默认域名，接收未知域名的请求。不写则保持现有默认域名。"},
		{Name: "keepaliveEnable", Kind: integer, Low: 0, High: 1, Default: "0",
			Doc: "1: the CLB keeps its connections to targets open between requests.", DocZH: "1 表示 CLB 与后端之间使用长连接。"},
		{Name: "domains", Kind: list, Most: 50, Doc: "Domains of the listener, those of specify-protocol.", DocZH: "监听器的域名，即 specify-protocol 中的域名。", Fields: []Field{
			{Name: "domain", Kind: text, Most: 80, Pattern: domainExpr, Required: true, Doc: "The domain.", DocZH: "域名。"},
			{Name: "rules", Kind: list, Most: 50, Doc: "Rules of the domain. A Service has one for each domain, with the path /.", DocZH: "域名的转发规则。Service 的每个域名有一条路径为 / 的规则。", Fields: []Field{
				{Name: "url", Kind: text, Most: 200, Pattern: `^/[!-~]*$`, Required: true, Doc: "Path of the rule.", DocZH: "规则的路径。"},
				{Name: "forwardType", Kind: text, Words: []string{"HTTP", "HTTPS", "GRPC"}, Default: `"HTTP"`, Doc: "What the CLB speaks to targets; HTTPS on HTTPS listeners alone.", DocZH: "CLB 到后端的协议；HTTPS 仅用于 HTTPS 监听器。"},
				sessionField, checkField,
				{Name: "scheduler", Kind: text, Words: []string{"WRR", "LEAST_CONN", "IP_HASH"}, Default: `"WRR"`,
					Doc: "How targets are chosen: by weight in turn, the one with the fewest connections, or by the client's address.", DocZH: "调度方式：加权轮询、最小连接数，或按客户端地址哈希。"},
			}},
		}},
	}},
	{Name: "internetMaxBandwidthOut", Kind: integer, Low: 0, High: 2048,
		Doc: "Bandwidth of a public CLB in Mbps; 0 is the same as not set: it stays as it is. It can be changed at any time.", DocZH: "公网 CLB 的带宽上限，单位 Mbps；0 等同于不设置，保持现状。可随时修改。"},
}}

func (f *Field) field(name string) (Field, bool) {
	i := slices.IndexFunc(f.Fields, func(one Field) bool { return one.Name == name })
	if i < 0 {
		return Field{}, false
	}
	return f.Fields[i], true
}

// check returns what is wrong with a value; section is what it costs.
func (f *Field) check(section, path string, v any) []Problem {
	var out []Problem
	fault := func(format string, args ...any) {
		out = append(out, Problem{Section: section, Path: path, Reason: fmt.Sprintf(format, args...)})
	}
	switch f.Kind {
	case object:
		m, ok := v.(map[string]any)
		if !ok {
			fault("is not an object")
			return out
		}
		return f.checkObject(section, path, m)
	case list:
		items, ok := v.([]any)
		switch {
		case !ok:
			fault("is not a list")
		case len(items) > f.Most:
			fault("has %d entries, not at most %d", len(items), f.Most)
		default:
			for i, item := range items {
				out = append(out, (&Field{Kind: object, Fields: f.Fields}).check(section, fmt.Sprintf("%s[%d]", path, i), item)...)
			}
		}
	case integer:
		if n, ok := whole(v); !ok || n < f.Low || n > f.High {
			fault("is %v, not a whole number from %d to %d", short(v), f.Low, f.High)
		}
	case boolean:
		if _, ok := v.(bool); !ok {
			fault("is %v, not true or false", short(v))
		}
	case text:
		if s, ok := v.(string); !ok {
			fault("is %v, not a text", short(v))
		} else if wrong := f.wrongText(s); wrong != "" {
			fault("%s", wrong)
		}
	}
	return out
}

// wrongText returns what is wrong with a text, "" if nothing is.
func (f *Field) wrongText(s string) string {
	switch n := utf8.RuneCountInString(s); {
	case f.Words != nil && !slices.Contains(f.Words, s):
		return fmt.Sprintf("is %q, not %s", short(s), strings.Join(f.Words, ", "))
	case f.Most > 0 && n > f.Most:
		return fmt.Sprintf("has %d characters, not at most %d", n, f.Most)
	case f.Pattern != "" && !regexp.MustCompile(f.Pattern).MatchString(s):
		return fmt.Sprintf("is %q, which does not match %s", short(s), f.Pattern)
	}
	return ""
}

func (f *Field) checkObject(section, path string, m map[string]any) []Problem {
	var out []Problem
	for _, name := range slices.Sorted(maps.Keys(m)) {
		field, known := f.field(name)
		switch {
		case !known:
			out = append(out, Problem{Path: path + "." + name, Reason: "is no field of a " + Kind})
		case m[name] != nil:
			out = append(out, field.check(section, path+"."+name, m[name])...)
		}
	}
	for _, field := range f.Fields {
		if field.Required && m[field.Name] == nil {
			out = append(out, Problem{Section: section, Path: path + "." + field.Name, Reason: "is missing"})
		}
	}
	timeout, a := whole(m["timeout"])
	interval, b := whole(cmp.Or(m["intervalTime"], any(5)))
	if _, isCheck := f.field("intervalTime"); isCheck && a && b && timeout >= interval {
		out = append(out, Problem{Section: section, Path: path + ".timeout", Reason: fmt.Sprintf("is %d, not less than intervalTime, %d", timeout, interval)})
	}
	return out
}

// prune returns a value without the fields that are none.
func (f *Field) prune(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := map[string]any{}
		for _, field := range f.Fields {
			if one, set := v[field.Name]; set {
				out[field.Name] = field.prune(one)
			}
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = (&Field{Kind: object, Fields: f.Fields}).prune(v[i])
		}
		return out
	}
	return v
}

// whole returns a JSON number that is whole; decoders give them different types.
func whole(v any) (int, bool) {
	switch n := v.(type) {
	case int:
		return n, true
	case int64:
		return int(n), true
	case float64:
		return int(n), n == math.Trunc(n) && math.Abs(n) < 1<<31
	}
	return 0, false
}

// short keeps a value that is wrong from filling an Event.
func short(v any) string {
	s := []rune(fmt.Sprint(v))
	if len(s) > 60 {
		return string(s[:60]) + "…"
	}
	return string(s)
}
