// SPDX-License-Identifier: Apache-2.0

package charts

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/clbsync/clbsync/internal/golden"
)

// why says what a right is for, in English and Chinese. A right without a row has no reason to be there.
var why = map[string][2]string{
	"services":                            {"which Services there are", "读取 Service"},
	"services/status":                     {"address, finalizer and the CLB's ID; all go through the subresource, so no spec can be changed", "地址、finalizer 和 CLB ID，均通过 status 子资源写入，无法修改 spec"},
	"discovery.k8s.io/endpointslices":     {"where pods are", "Pod 所在位置"},
	"nodes":                               {"controller: nodes are targets (list, watch); cloud-node-controller and cloud-node-lifecycle-controller initialize, taint and delete them (the rest; gone without those two). Agent: its own Node; RBAC cannot narrow this to one", "控制器：节点是后端（list、watch）；其余用于 cloud-node-controller 和 cloud-node-lifecycle-controller 初始化、打污点和删除节点，不运行这两个控制器时不授予。agent：自身 Node，RBAC 无法限定为单个节点"},
	"nodes/status":                        {"cloud-node-controller: addresses", "cloud-node-controller：节点地址"},
	"pods":                                {"readiness gate `clbsync.io/target-health` (`cloudConfig.readinessGate.enabled`, `agent.readinessGate`)", "就绪门控 `clbsync.io/target-health`（`cloudConfig.readinessGate.enabled`、`agent.readinessGate`）"},
	"pods/status":                         {"the condition of that gate", "该门控的 condition"},
	"secrets":                             {"certificates that Services name; no list (`controller.certificates.access`: `cluster`, `namespaces` or `none`)", "Service 引用的证书；没有 list 权限（`controller.certificates.access`：`cluster`、`namespaces` 或 `none`）"},
	"cloud.tencent.com/tkeserviceconfigs": {"settings of listeners; create, update and delete for the annotation `tke-service-config-auto` (`controller.tkeServiceConfig.auto`)", "监听器配置；create、update、delete 用于注解 `tke-service-config-auto`（`controller.tkeServiceConfig.auto`）"},
	"events":                              {"Events; patch counts one that comes again", "事件；patch 用于累计重复事件"},
	"authentication.k8s.io/tokenreviews":  {"who asks for /metrics (`controller.metrics.enabled`); besides, the role `extension-apiserver-authentication-reader` of Kubernetes in kube-system", "识别 /metrics 的请求者（`controller.metrics.enabled`）；另绑定 kube-system 中 Kubernetes 自带的角色 `extension-apiserver-authentication-reader`"},
	"authorization.k8s.io/subjectaccessreviews":                {"whether they may", "判断其是否有权访问"},
	"coordination.k8s.io/leases":                               {"leader election; a new lease has no name yet when it is authorized", "选主；新建 Lease 在鉴权时还没有名称"},
	"coordination.k8s.io/leases[clb-cloud-controller-manager]": {"this one lease", "仅此一个 Lease"},
	"apps/daemonsets[clbsync-agent]":                           {"whether its own DaemonSet is deleted, so that its rules go too (`agent.cleanupOnUninstall`)", "自身 DaemonSet 是否已被删除，以便清除规则（`agent.cleanupOnUninstall`）"},
}

// The pages about security list the rights of the preset full, out of what the chart makes.
func TestTheRightsOnThePageAreTheCharts(t *testing.T) {
	found := rights(t, at("", render(t, append(preset("full"), "--set", "agent.readinessGate=true")...)))
	for i, page := range []string{"security.md", "security.zh-CN.md"} {
		var b strings.Builder
		b.WriteString([]string{"| Who | What | Verbs | What for |\n", "| 组件 | 资源 | 动词 | 用途 |\n"}[i] + "| --- | --- | --- | --- |\n")
		for _, component := range []string{"controller", "agent"} {
			rows := map[string][]string{}
			for _, right := range found["kube-system/clbsync-"+component] {
				verb, resource, _ := strings.Cut(right, " ")
				rows[resource] = append(rows[resource], verb)
			}
			for _, resource := range slices.Sorted(maps.Keys(rows)) {
				plain, namespace, _ := strings.Cut(resource, " in ")
				reason, ok := why[plain]
				if !ok {
					t.Errorf("%s: nobody says what %s is for", page, resource)
				}
				shown := "`" + plain + "`"
				if namespace != "" {
					shown += " (" + namespace + ")"
				}
				fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", component, shown, strings.Join(rows[resource], ", "), reason[i])
			}
		}
		replaceTable(t, filepath.Join("..", "docs", page), "<!-- begin rights (go test ./charts/... -update) -->\n", "<!-- end rights -->", b.String())
	}
}

// replaceTable compares what is between two lines of a page with the table, or writes it there with -update.
func replaceTable(t *testing.T, file, begin, end, table string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, begun := strings.Cut(string(text), begin)
	_, after, ended := strings.Cut(rest, end)
	if !begun || !ended {
		t.Fatalf("%s has no place for the table, between %q and %q", file, begin, end)
	}
	golden.File(t, file, before+begin+table+end+after)
}
