// SPDX-License-Identifier: Apache-2.0

package kubectl

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// text is what a command says of itself. The pages of docs come out of it, as --help does.
type text struct {
	Short, ShortZH string
	Long, LongZH   string
	Example        string
}

// commands is the order of the pages.
var commands = []string{"explain", "plan", "orphans", "annotations", "errors", "version"}

var texts = map[string]text{
	"clb": {
		Short: "Explain what clb-cloud-controller-manager does with Tencent Cloud CLB", ShortZH: "说明 clb-cloud-controller-manager 对腾讯云 CLB 的处理",
		Long: `kubectl clb says in words what clb-cloud-controller-manager makes of a Service: which CLB, listeners and
targets there are, why a node is left out, what would be changed now, and what is left over in the cloud.

It reads. The only thing that it changes is an orphan that you name with "orphans --delete".

Install it as kubectl-clb somewhere in $PATH; kubectl finds it there.

Commands that look into the cloud need the controller's cloud config (--cloud-config, or the variable
CLBSYNC_CLOUD_CONFIG). A copy with credentials that may only read does for all but a deletion:
clb:Describe*, cvm:DescribeInstances and vpc:DescribeSecurityGroup*.

Exit codes: 0 fine; 1 failure; 2 wrong command line; 3 from "plan": something would be changed.`,
		LongZH: `kubectl clb 用文字说明 clb-cloud-controller-manager 如何处理一个 Service：有哪些 CLB、监听器和后端，
节点为何未绑定，此刻将要进行哪些变更，以及云上遗留了什么。

它只读取。唯一的写操作是删除用 "orphans --delete" 指定的遗留资源。

安装方法：以 kubectl-clb 为名放到 $PATH 中的任意目录，kubectl 会自动识别。

需要查看云上状态的命令须提供控制器的云配置（--cloud-config 或环境变量 CLBSYNC_CLOUD_CONFIG）。
除删除以外，使用只读凭证即可：clb:Describe*、cvm:DescribeInstances 和 vpc:DescribeSecurityGroup*。

退出码：0 正常；1 失败；2 命令行有误；3（仅 plan）有变更待执行。`,
		Example: `  kubectl clb explain web                # why does this Service not get traffic?
  kubectl clb plan web                   # what would the controller change now?
  kubectl clb orphans                    # what costs money and serves nobody?
  kubectl clb errors LimitExceeded       # what does this code mean?
  source <(kubectl-clb completion bash)  # completion, with kubectl_complete-clb in $PATH`,
	},
	"explain": {
		Short: "Say what the CLB of a Service is like, and why", ShortZH: "说明 Service 的 CLB 现状及原因",
		Long: `Says what the CLB of a Service is, its listeners, and each target with its node, weight and health; what was left
out and why; what would be changed now; and the conditions and latest Events of the Service.

Without a cloud config it says what the controller last wrote into the cluster.`,
		LongZH: `说明 Service 的 CLB、监听器，以及每个后端的节点、权重和健康状态；哪些内容被略过及原因；
此刻将要进行的变更；以及 Service 的状态条件和最近的事件。

没有云配置时，只说明控制器最近写入集群的内容。`,
		Example: `  kubectl clb explain web -n shop --cloud-config cloud.yaml
  kubectl clb explain web -o json | jq '.listeners[].targets'`,
	},
	"plan": {
		Short: "Show what would be changed now for a Service", ShortZH: "显示此刻将对 Service 进行的变更",
		Long: `Shows every change that lies between the CLB as it is and as the Service asks for, a line each, in the order in
which they would be made. It is worked out by the controller's own code, from what the cluster and the cloud have
now. What is not safe yet the controller does later: an old target stays until new ones are healthy.

Without a cloud config it shows the controller's own plan, which a Service annotated with clbsync.io/mode: plan has.

It exits with 3 if there are changes, so that scripts can tell.`,
		LongZH: `显示 CLB 现状与 Service 要求之间的全部变更，每行一条，按执行顺序排列。由控制器自身的代码根据集群和云上的当前状态计算。
暂不安全的变更会由控制器稍后执行：新后端健康之前，旧后端会保留。

没有云配置时，显示控制器自己的计划（Service 须带有注解 clbsync.io/mode: plan）。

有变更时退出码为 3，便于脚本判断。`,
		Example: `  kubectl clb plan web --cloud-config cloud.yaml
  kubectl clb plan web || [ $? -eq 3 ]`,
	},
	"orphans": {
		Short: "List what is left in the cloud of Services that are gone", ShortZH: "列出已删除的 Service 在云上的遗留资源",
		Long: `Lists CLBs and security groups that carry the tags of this cluster and of a Service that does not exist, and security
groups whose Service has no CLB. They cost money and use up quotas, and nothing deletes them by itself: the controller
only reports them (metric clbsync_orphans, Event OrphansFound), after two readings 10 minutes apart.

It looks in the cluster's region, in those that a Service of the cluster names or is served in, and in those that the
cloud config lists (otherRegions): a region whose only Service is gone cannot be known otherwise. A dash for a region is
the cluster's. Where a region cannot be looked into, that is said and the exit code is 1.

With --delete it deletes those that you name, a CLB with the controller's listeners and their targets first: cloud and
cluster are read a second time just before, and if one of them is not proved to have been made for this cluster, has a
Service again, or was changed since the first reading, none is deleted. It asks first, unless --yes is given.`,
		LongZH: `列出带有本集群标签、但所属 Service 已不存在的 CLB 和安全组，以及所属 Service 没有 CLB 的安全组。
它们产生费用并占用配额，不会被自动删除：控制器只在间隔至少 10 分钟的两次读取之后报告（指标 clbsync_orphans、事件 OrphansFound）。

查找范围：集群所在地域、集群中的 Service 指定或正在使用的地域，以及云配置 otherRegions 列出的地域（只有最后一个 Service 已被删除的地域
无法从集群得知）。地域一栏为“-”表示集群所在地域。某个地域无法读取时会给出提示，退出码为 1。

使用 --delete 删除指定的资源，CLB 会先删除控制器创建的监听器及其后端。删除前会再次读取云上和集群：
只要其中一个不能证明为本集群所建、Service 已恢复、或在首次读取之后有变化，就全部不删除。
除非指定 --yes，否则会先询问。`,
		Example: `  kubectl clb orphans --cloud-config cloud.yaml
  kubectl clb orphans --delete lb-2ab3c4d5,sg-6ef7a8b9`,
	},
	"annotations": {
		Short: "Say which annotations a Service may have", ShortZH: "说明 Service 可用的注解",
		Long: `Prints the table of Service annotations: a line each, or all that there is to say of one. NAME is a whole name,
or what stands behind its slash.`,
		LongZH: `输出 Service 注解表：每个一行，或某个注解的完整说明。NAME 为完整名称，或斜杠之后的部分。`,
		Example: `  kubectl clb annotations
  kubectl clb annotations local-svc-weighted-balance --lang zh`,
	},
	"errors": {
		Short: "Say what an error code of the cloud means, and what to do", ShortZH: "说明云 API 错误码的含义和处理办法",
		Long: `Prints the table of error codes of Tencent Cloud's API as they stand in Events: what a code means here, what to do,
and how it is tried again. CODE may be one of TKE's, such as E4009.`,
		LongZH: `输出腾讯云 API 错误码表（事件中出现的错误码）：含义、处理办法以及如何重试。CODE 也可以是 TKE 的错误码，如 E4009。`,
		Example: `  kubectl clb errors
  kubectl clb errors FailedOperation.InsufficientBalance --lang zh`,
	},
	"version": {
		Short: "Say which build this is", ShortZH: "输出版本",
		Long:    `Says which version and commit this program was built from.`,
		LongZH:  `输出本程序的版本和提交。`,
		Example: `  kubectl clb version`,
	},
}

// Markdown returns the page of the plugin, in English or Chinese: docs/kubectl-clb.md and docs/kubectl-clb.zh-CN.md.
func (t *Tool) Markdown(chinese bool) string {
	root := t.command()
	var b strings.Builder
	long := func(name string) string {
		if chinese {
			return texts[name].LongZH
		}
		return texts[name].Long
	}
	fmt.Fprintf(&b, "# kubectl clb\n\n%s\n\n```console\n%s\n```\n", long("clb"), texts["clb"].Example)
	rights := "\nIn the cluster it lists Services and Nodes, EndpointSlices and Events, and reads by name (get) the Secrets and TkeServiceConfigs that the Service names; of a Service whose targets are pods it lists those, too. The controller's role will do.\n"
	if chinese {
		rights = "\n在集群中需要 list 权限：Service、Node、EndpointSlice 和 Event；后端为 Pod 的 Service 还需 Pod；并按名称读取（get）Service 引用的 Secret 和 TkeServiceConfig。与控制器的角色相同即可。\n"
	}
	b.WriteString(rights)
	for _, name := range commands {
		c, _, err := root.Find([]string{name})
		if err != nil {
			continue
		}
		short := texts[name].Short
		if chinese {
			short = texts[name].ShortZH
		}
		fmt.Fprintf(&b, "\n## kubectl clb %s\n\n%s\n\n%s\n\n```\n%s```\n\n```console\n%s\n```\n", c.Use, short+either(chinese, "。", "."), long(name), flagsOf(c), texts[name].Example)
	}
	return b.String()
}

func either(yes bool, a, b string) string {
	if yes {
		return a
	}
	return b
}

// flagsOf is what --help says of the line of a command and of its flags.
func flagsOf(c *cobra.Command) string {
	c.InitDefaultHelpFlag()
	return fmt.Sprintf("%s\n\n%s", c.UseLine(), c.LocalFlags().FlagUsages())
}
