// SPDX-License-Identifier: Apache-2.0

package agent_test

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/clbsync/clbsync/nodeagent"
	"github.com/clbsync/clbsync/nodeagent/iptables/chains"
)

// row is one thing that rules do, with a pattern for the rules that do it in each layout; "" if none does. "WEB" and "API"
// stand for the Services' hashes, with a number for their endpoints'.
type row struct {
	en, zh          string
	old, kube, ours string
	oldNotShown     bool // the record of the 2020 layout is nat only
}

// notNodePorts are rules of kube-proxy that have nothing to do with NodePorts.
const notNodePorts = `KUBE-PROXY-FIREWALL|^filter -A (FORWARD|OUTPUT) .*-j KUBE-(EXTERNAL-)?SERVICES|-d 10\.96\.`

var pageTables = []struct {
	name, node string
	rows       []row
}{
	{"shared", "n1", []row{
		{en: "nat: look at the first packet of every flow that comes in or that a process here opens. Ours is put first and kept first",
			zh:  "nat：检查每条新连接的第一个包，包括外来的和本机进程发出的。我们的跳转放在最前，并保持在最前",
			old: `^nat -A (PREROUTING|OUTPUT) `, kube: `^nat -A (PREROUTING|OUTPUT) `, ours: `^nat -I (PREROUTING|OUTPUT) 1 `},
		{en: "Is it for an address of this node? kube-proxy gets here after the rules of all cluster IPs. 127.0.0.0/8 is left out by us unless `--localhost-nodeports` is set",
			zh:  "目的地址是本机吗？kube-proxy 要先走完所有 ClusterIP 的规则才到这里。除非设置 `--localhost-nodeports`，我们不处理 127.0.0.0/8",
			old: `^nat -A KUBE-SERVICES -m addrtype`, kube: `^nat -A KUBE-SERVICES -m addrtype`, ours: `^nat -A CLBN-NAT `},
		{en: "Masquerade, first half: remember it in one bit of the packet mark", zh: "伪装（SNAT）前半：用包标记中的一位记下",
			old: `^nat -A KUBE-MARK-MASQ `, kube: `^nat -A KUBE-MARK-MASQ `, ours: `^nat -A CLBN-MASQ `},
		{en: "An endpoint that reaches itself through its Service would drop an answer from its own address: masquerade. One rule for all endpoints (the bpf program compares source and destination); kube-proxy has one per endpoint, below",
			zh:   "端点经由 Service 访问自己时，会丢弃来自自己地址的应答，因此要伪装。我们对所有端点只用一条规则（bpf 程序比较源与目的地址）；kube-proxy 每个端点一条，见下文",
			ours: `^nat -A CLBN-POST .*-m bpf`},
		{en: "Masquerade, second half: what bears the mark loses it and gets this node's address as source", zh: "伪装后半：带标记的包去掉标记，源地址换成本机地址",
			old: `^nat -A (POSTROUTING|KUBE-POSTROUTING) `, kube: `^nat -A (POSTROUTING|KUBE-POSTROUTING) `, ours: `^nat -(I POSTROUTING|A CLBN-POST -(m mark|j)) `},
		{en: "filter INPUT: what nothing has redirected is let in (health ports), dropped or refused (ports without endpoint)", zh: "filter INPUT：没有被转发的包，放行（健康检查端口），或丢弃、拒绝（没有端点的端口）",
			kube: `^filter -A INPUT .*-j KUBE-(NODEPORTS|EXTERNAL-SERVICES)`, ours: `^filter -(I INPUT|A CLBN-INPUT) `, oldNotShown: true},
		{en: "… and how. A TCP client is refused by a reset, not by ICMP, whose rate the kernel limits", zh: "……以及丢弃和拒绝的方式。TCP 用 reset 拒绝，而不是用内核限速的 ICMP",
			ours: `^filter -A CLBN-(DROP|REJECT) `, oldNotShown: true},
		{en: "filter FORWARD: accept what was redirected, also where the host's policy is DROP. kube-proxy's mark is not on flows of Local NodePorts; ours are known by their translation",
			zh:   "filter FORWARD：放行被转发的连接，即使主机策略是 DROP。kube-proxy 的标记不在 Local NodePort 的连接上；我们按 DNAT 状态识别",
			kube: `^filter -A (FORWARD -j KUBE-FORWARD|KUBE-FORWARD .*ACCEPT)`, ours: `^filter -(I FORWARD|A CLBN-FORWARD .*ACCEPT)`, oldNotShown: true},
		{en: "INVALID packets would reach the client untranslated, and it would reset its connection. Ours stands only in mode standalone", zh: "INVALID 包不经转换就会到达客户端，客户端会重置连接。我们仅在 standalone 模式下有此规则",
			kube: `^filter -A KUBE-FORWARD .*INVALID`, ours: `^filter -A CLBN-FORWARD .*INVALID`, oldNotShown: true},
		{en: "Guard of the node's loopback services, which NodePorts on 127.0.0.1 (`route_localnet`) would open to neighbours. Ours stands only with `--localhost-nodeports`",
			zh:   "保护本机回环服务：127.0.0.1 上的 NodePort（`route_localnet`）会把它们暴露给邻居。我们仅在 `--localhost-nodeports` 时有此规则",
			kube: `^filter -A (INPUT|OUTPUT) -j KUBE-FIREWALL|^filter -A KUBE-FIREWALL `, oldNotShown: true},
	}},
	{"cluster", "n1", []row{
		{en: "The port leads to the Service. In a list (kube-proxy), or in a tree of port ranges (ours, once there are more ports). The rule with nfacct counts clients on 127.0.0.1",
			zh:  "端口对应到 Service。kube-proxy 是线性列表，我们是端口范围的树（端口多时）。带 nfacct 的规则统计 127.0.0.1 上的客户端",
			old: `^nat -A KUBE-NODEPORTS .*30080 -j KUBE-SVC`, kube: `^nat -A KUBE-NODEPORTS .*30080 `, ours: `^nat -A CLBN-NP .*30080 `},
		{en: "Masquerade: the endpoint may be on another node, and its answer must come back through this one", zh: "伪装：端点可能在别的节点上，应答必须经本机返回",
			old: `^nat -A KUBE-NODEPORTS .*30080 -j KUBE-MARK-MASQ`, kube: `^nat -A KUBE-EXT-WEB… -j KUBE-MARK-MASQ`, ours: `^nat -A CLBN-EXT-WEB… -j CLBN-MASQ`},
		{en: "One of all endpoints at random: of n that are left the first takes one in n. Then the translation",
			zh:  "在所有端点中随机选择：剩 n 个时第一个取 1/n。然后做地址转换",
			old: `^nat -A (KUBE-SVC-WEB…|KUBE-SEP-WEB[12]… .*DNAT)`, kube: `^nat -A (KUBE-EXT-WEB… -j KUBE-SVC|KUBE-SVC-WEB…|KUBE-SEP-WEB[12]… .*DNAT)`, ours: `^nat -A CLBN-EXT-WEB… .*DNAT`},
		{en: "An endpoint that reaches itself: masquerade. Ours: one rule for all, above", zh: "端点访问自己：伪装。我们的是上面那一条",
			old: `^nat -A KUBE-SEP-WEB[12]… -s`, kube: `^nat -A KUBE-SEP-WEB[12]… -s`},
	}},
	{"local", "n1", []row{
		{en: "The port leads to the Service", zh: "端口对应到 Service",
			old: `^nat -A KUBE-NODEPORTS -p .*30090 `, kube: `^nat -A KUBE-NODEPORTS .*30090 `, ours: `^nat -A CLBN-NP .*30090 `},
		{en: "A process here that asks 127.0.0.1 is masqueraded: an answer to 127.0.0.1 can come from nowhere but this node. Since v1.24 the rule for all addresses of this node, two lines down, does it",
			zh:  "本机进程访问 127.0.0.1 时要伪装：发往 127.0.0.1 的应答只能来自本机。自 v1.24 起由下面针对本机所有地址的规则完成",
			old: `^nat -A KUBE-NODEPORTS -s 127`},
		{en: "Pods of this cluster may use all endpoints, with their own address: whoever is inside would reach the cluster IP too. Ours needs no rule for it where all endpoints are on this node, as here",
			zh:  "集群内的 Pod 可以使用所有端点，并保留自己的地址：在集群内本来就能访问 ClusterIP。像这里一样所有端点都在本节点时，我们不需要这条规则",
			old: `^nat -A KUBE-XLB-API… -s 10`, kube: `^nat -A KUBE-EXT-API… -s 10`},
		{en: "Processes of this node too, masqueraded", zh: "本机进程也是，但要伪装",
			old: `^nat -A KUBE-XLB-API… -m addrtype`, kube: `^nat -A KUBE-EXT-API… -m addrtype`, ours: `^nat -A CLBN-EXT-API… .*--src-type LOCAL -j CLBN-MASQ`},
		{en: "“All endpoints”, which those two get. Ours has such a chain, `CLBN-CLU-H`, where some endpoints are on this node and others elsewhere",
			zh:  "上面两种来源使用的“所有端点”。一部分端点在本节点、另一部分在别处时，我们才有这样一条链 `CLBN-CLU-H`",
			old: `^nat -A KUBE-SVC-API…`, kube: `^nat -A KUBE-SVC-API…`},
		{en: "Everybody else: endpoints on this node only, the client's address kept. On a node without one this line is missing", zh: "其他所有人：只用本机端点，保留客户端地址。没有本机端点的节点上没有这一行",
			old: `^nat -A KUBE-XLB-API… -j KUBE-SEP`, kube: `^nat -A (KUBE-EXT-API… -j KUBE-SVL|KUBE-SVL-API…)`, ours: `^nat -A CLBN-EXT-API… -p`},
		{en: "The endpoint: masquerade what it sends to itself; translate", zh: "端点：它发给自己的要伪装；地址转换",
			old: `^nat -A KUBE-SEP-API1…`, kube: `^nat -A KUBE-SEP-API1…`},
		{en: "Probes of the load balancer are let in on `healthCheckNodePort`, whatever the host's policy", zh: "无论主机策略如何，放行负载均衡到 `healthCheckNodePort` 的探测",
			kube: `^filter -A KUBE-NODEPORTS .*32090`, ours: `^filter -A CLBN-HC .*32090`, oldNotShown: true},
	}},
	{"away", "n2", []row{
		{en: "Everybody else leaves the chain; pods and processes of this node go on to all endpoints. kube-proxy's chain ends without a rule for everybody else",
			zh:   "其他所有人离开这条链；Pod 和本机进程继续，使用所有端点。kube-proxy 的链里没有针对其他人的规则，走到末尾就结束",
			ours: `^nat -A CLBN-EXT-API… .*-j RETURN`},
		{en: "Nothing has taken the packet: it is still addressed to the node. Dropped in silence, so that a client whom the load balancer sent here too early tries again instead of giving up",
			zh:  "没有规则接收，包的目的地仍是本机：静默丢弃。这样，被负载均衡过早送来的客户端会重试，而不是放弃",
			old: `MARK-DROP|0x8000`, kube: `^filter -A KUBE-EXTERNAL-SERVICES .*30090 `, ours: `^filter -A CLBN-NOEP .*30090 `},
	}},
}

// hashes replaces the stand-ins in a pattern.
func hashes() *strings.Replacer {
	name := func(service string) nodeagent.ServicePortName {
		n := nodeagent.ServicePortName{Port: "http", Protocol: "TCP"}
		n.Namespace, n.Name = "shop", service
		return n
	}
	letters := func(chain string) string { return chain[strings.LastIndex(chain, "-")+1:][:4] }
	endpoint := func(service, e string) string {
		return letters(chains.EndpointChain(name(service), netip.MustParseAddrPort(e)))
	}
	return strings.NewReplacer("WEB[12]", "("+endpoint("web", web1)+"|"+endpoint("web", web2)+")", "API1", endpoint("api", api1),
		"WEB", letters(chains.ExternalChain(name("web"))), "API", letters(chains.ExternalChain(name("api"))))
}

// layouts returns what each layout writes on a node: 2020, kube-proxy v1.37, ours.
func layouts(t *testing.T, node string) [3][]string {
	return [3][]string{ruleLines(exampleKubeProxy(t, "2020-"+node)), ruleLines(exampleKubeProxy(t, node)), ruleLines(exampleRules(node).String())}
}

func (r row) patterns() [3]string {
	h := hashes()
	return [3]string{h.Replace(r.old), h.Replace(r.kube), h.Replace(r.ours)}
}

func matching(lines []string, pattern string) []string {
	if pattern == "" {
		return nil
	}
	wanted, left := regexp.MustCompile(pattern), regexp.MustCompile(notNodePorts)
	found := slices.DeleteFunc(slices.Clone(lines), func(l string) bool { return !wanted.MatchString(l) || left.MatchString(l) })
	// In the order in which a packet meets them: jumps, then the Service's chains, then the endpoints'.
	slices.SortStableFunc(found, func(a, b string) int { return stage(a) - stage(b) })
	return found
}

func stage(rule string) int {
	switch {
	case strings.Contains(rule, " -I "):
		return 0
	case strings.Contains(rule, "-j DNAT"):
		return 2
	}
	return 1
}

// Each rule that the three layouts have for the example is explained on the page once, and each explanation has rules.
func TestPageExplainsEveryRule(t *testing.T) {
	for _, node := range []string{"n1", "n2"} {
		for i, lines := range layouts(t, node) {
			explained := map[string]int{}
			for _, table := range pageTables {
				for _, r := range table.rows {
					found := matching(lines, r.patterns()[i])
					if table.node == node && len(found) == 0 && r.patterns()[i] != "" {
						t.Errorf("no rule of layout %d on %s is like %q", i, node, r.patterns()[i])
					}
					for _, l := range found {
						explained[l]++
					}
				}
			}
			for _, l := range lines {
				if n := explained[l]; n != 1 && !regexp.MustCompile(notNodePorts).MatchString(l) {
					t.Errorf("layout %d on %s: %q is explained %d times, want once", i, node, l, n)
				}
			}
		}
	}
}

func cell(lines []string, none string) string {
	if len(lines) == 0 {
		return none
	}
	var out []string
	for _, l := range lines {
		_, rule, _ := strings.Cut(l, " ")
		out = append(out, "`"+strings.ReplaceAll(rule, "|", "\\|")+"`")
	}
	return strings.Join(out, "<br>")
}

func renderTable(t *testing.T, node string, rows []row, chinese bool) string {
	var b strings.Builder
	head, notShown := "| What it does | 2020 (v1.20) | kube-proxy v1.37 | clb-node-agent |", "not shown"
	if chinese {
		head, notShown = "| 作用 | 2020 年（v1.20） | kube-proxy v1.37 | clb-node-agent |", "未列出"
	}
	b.WriteString(head + "\n| --- | --- | --- | --- |\n")
	all := layouts(t, node)
	for _, r := range rows {
		words := r.en
		if chinese {
			words = r.zh
		}
		p, none := r.patterns(), "—"
		if r.oldNotShown {
			none = notShown
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", words, cell(matching(all[0], p[0]), none), cell(matching(all[1], p[1]), "—"), cell(matching(all[2], p[2]), "—"))
	}
	return b.String()
}

// pages calls fn for the page in each language and, with -update, writes what it returns.
func pages(t *testing.T, name string, fn func(text string, chinese bool) string) {
	t.Helper()
	for _, path := range []string{"../../docs/" + name + ".md", "../../docs/" + name + ".zh-CN.md"} {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		got := fn(string(text), strings.Contains(path, "zh-CN"))
		if *update {
			if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if diff := cmp.Diff(string(text), got); diff != "" {
			t.Errorf("%s (-is +comes out of the code); go test -update writes it anew:\n%s", path, diff)
		}
	}
}

// fill replaces what stands between <!-- begin NAME --> and <!-- end NAME -->.
func fill(t *testing.T, page, name, text string) string {
	t.Helper()
	begin, end := "<!-- begin "+name+" -->\n", "<!-- end "+name+" -->"
	before, rest, found1 := strings.Cut(page, begin)
	_, after, found2 := strings.Cut(rest, end)
	if !found1 || !found2 {
		t.Fatalf("the page has no place for %q", name)
	}
	return before + begin + text + end + after
}

func console(text string) string { return "```console\n" + text + "```\n" }

// The rules on the page are those that the code writes.
func TestPageOfNodePorts(t *testing.T) {
	pages(t, "nodeports", func(text string, chinese bool) string {
		for _, table := range pageTables {
			text = fill(t, text, table.name, renderTable(t, table.node, table.rows, chinese))
		}
		return fill(t, text, "restore", "```\n"+exampleRules("n1").String()+"```\n")
	})
}

var (
	reasonInCode = regexp.MustCompile(`(?:nodeEvent|serviceEvent)\([^"\n]*"(\w+)"`)
	reasonOnPage = regexp.MustCompile("(?m)^\\| `(\\w+)` \\| (?:Service|Node)")
)

// Every Event that the agent can send is on the page, and no other.
func TestPageNamesEveryEvent(t *testing.T) {
	find := func(in *regexp.Regexp, text string) []string {
		var out []string
		for _, m := range in.FindAllStringSubmatch(text, -1) {
			out = append(out, m[1])
		}
		slices.Sort(out)
		return slices.Compact(out)
	}
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	code := ""
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasSuffix(file, "_test.go") {
			code += string(text)
		}
	}
	pages(t, "nodeports", func(text string, _ bool) string {
		if diff := cmp.Diff(find(reasonInCode, code), find(reasonOnPage, text)); diff != "" {
			t.Errorf("Events (-in the code +on the page):\n%s", diff)
		}
		return text
	})
}
