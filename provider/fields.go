// SPDX-License-Identifier: Apache-2.0

package provider

import (
	"time"

	"github.com/clbsync/clbsync/lbsync"
)

// Field is a row of the table of the cloud config's keys. Parser, error messages and reference pages come
// out of it, so that they cannot contradict each other.
type Field struct {
	Key      string // "healthCheck.interval"; the last part "*" stands for any name
	Value    Value
	Required bool
	Secret   bool   // what was found is never shown
	Default  string // for people; empty if there is none
	Doc      string
	DocZH    string
}

// Fields is the table, in the order of the documentation.
var Fields = []Field{
	{Key: "apiVersion", Required: true, Value: fixed(configVersion),
		Doc: "The version of this format.", DocZH: "配置格式的版本。"},
	{Key: "kind", Required: true, Value: fixed(configKind),
		Doc: "The kind of this file.", DocZH: "文件类型。"},
	{Key: "region", Required: true, Value: region(func(c *CloudConfig) *string { return &c.Region }),
		Doc:   "The region of the cluster. Its CLBs are created there.",
		DocZH: "集群所在地域，CLB 也创建在该地域。"},
	{Key: "vpcID", Required: true,
		Value: pattern(`vpc-[0-9a-z]{8,}`, "the ID of a VPC, such as vpc-2ab3c4d5", "VPC 的 ID，如 vpc-2ab3c4d5", func(c *CloudConfig) *string { return &c.Settings.VPCID }),
		Doc:   "The VPC of the nodes. CLBs are created in it, and nodes without a providerID are looked up in it by address.",
		DocZH: "节点所在的 VPC。CLB 创建在其中；没有 providerID 的节点按内网地址在其中查找。"},
	{Key: "clusterID", Required: true,
		Value: pattern(`[0-9a-z]([-.0-9a-z]{0,61}[0-9a-z])?`, "an ID of up to 63 lower-case letters, digits, '-' and '.', such as cls-2ab3c4d5", "不超过 63 个小写字母、数字、“-”和“.”，如 cls-2ab3c4d5", func(c *CloudConfig) *string { return &c.Settings.ClusterID }),
		Doc:   "The value of the tag tke-clusterId on everything that is created. A TKE cluster has its ID already; a self-built one takes any name that no other cluster of the account has. Changed later, the CLBs that exist are no longer known as the cluster's own.",
		DocZH: "写入所建资源的标签 tke-clusterId。TKE 集群填其集群 ID；自建集群可填账号内唯一的任意名称。之后若修改，已有 CLB 将不再被视为本集群所有。"},

	{Key: "otherRegions", Value: regions(func(c *CloudConfig) *[]string { return &c.Settings.OtherRegions }),
		Doc:   "Further regions in which this cluster has, or had, CLBs of Services (service.cloud.tencent.com/cross-region-id). What is left over in the cloud is looked for there too. Regions that a living Service names, or was served in since the program started, need not be listed: only one whose last Service is gone is not known otherwise.",
		DocZH: "本集群的 Service 在其他地域（service.cloud.tencent.com/cross-region-id）有过 CLB 时，列出这些地域，以便在其中也查找遗留资源。现有 Service 指定的地域，以及程序启动以来使用过的地域无需列出；只有最后一个 Service 已被删除的地域无法得知。"},

	{Key: "credentials.secretID",
		Value: secret("the SecretID of an API key", "API 密钥的 SecretId", func(c *CloudConfig) *string { return &c.Credentials.SecretID }), Secret: true,
		Doc:   "With secretKey: the API key that requests are signed with. Without credentials the program looks in the environment (TENCENTCLOUD_SECRET_ID, TENCENTCLOUD_SECRET_KEY), the profile file (~/.tencentcloud/credentials), TKE OIDC and the role of the CVM, in this order.",
		DocZH: "与 secretKey 一起作为签名用的 API 密钥。不写 credentials 时，依次查找环境变量（TENCENTCLOUD_SECRET_ID、TENCENTCLOUD_SECRET_KEY）、配置文件（~/.tencentcloud/credentials）、TKE OIDC 和 CVM 实例角色。"},
	{Key: "credentials.secretKey",
		Value: secret("the SecretKey of an API key", "API 密钥的 SecretKey", func(c *CloudConfig) *string { return &c.Credentials.SecretKey }), Secret: true,
		Doc: "The other half of the API key. Never shown in errors or logs.", DocZH: "API 密钥的另一半。不会出现在错误信息和日志中。"},
	{Key: "credentials.token",
		Value: secret("the token of a temporary API key", "临时密钥的 Token", func(c *CloudConfig) *string { return &c.Credentials.Token }), Secret: true,
		Doc: "Only with a temporary API key, which stops working when it expires. Never shown in errors or logs.", DocZH: "仅用于临时密钥；过期后失效。不会出现在错误信息和日志中。"},

	{Key: "credentials.directory",
		Value: pattern(`/[^\x00-\x20]+`, "the path of a directory, such as /etc/clbsync/credentials", "目录的路径，如 /etc/clbsync/credentials", func(c *CloudConfig) *string { return &c.Credentials.Directory }),
		Doc:   "In the place of secretID and secretKey: a directory with the files secretID, secretKey and, with a temporary API key, token, such as a mounted Secret. It is read again every 30s and when the API refuses the key, so that a rotated key needs no restart.",
		DocZH: "代替 secretID 和 secretKey：一个目录，其中有文件 secretID、secretKey，使用临时密钥时还有 token，例如挂载的 Secret。每 30 秒以及 API 拒绝密钥时会重新读取，轮换密钥无需重启。"},

	endpoint("clb", func(c *CloudConfig) *string { return &c.Endpoints.CLB }, "CLB's API", "CLB API"),
	endpoint("cvm", func(c *CloudConfig) *string { return &c.Endpoints.CVM }, "CVM's API, where nodes are looked up", "CVM API，用于查询节点对应的实例"),
	endpoint("vpc", func(c *CloudConfig) *string { return &c.Endpoints.VPC }, "the API of VPC, for the security groups of loadBalancerSourceRanges", "VPC API，用于 loadBalancerSourceRanges 的安全组"),
	endpoint("tag", func(c *CloudConfig) *string { return &c.Endpoints.Tag }, "the API of tags", "标签 API"),
	endpoint("sts", func(c *CloudConfig) *string { return &c.Endpoints.STS }, "the STS API, for TKE OIDC", "TKE OIDC 换取凭证的 STS API"),
	endpoint("metadata", func(c *CloudConfig) *string { return &c.Endpoints.Metadata }, "the metadata service, for the role of the CVM", "CVM 实例角色获取凭证的元数据服务"),

	{Key: "rateLimits.default", Default: "15", Value: number(0.1, 1000, func(c *CloudConfig) *float64 { return &c.RateLimits.Default }),
		Doc:   "Requests per second of each API action. Tencent Cloud allows about 20, shared by everything that uses the account.",
		DocZH: "每个 API 接口每秒的请求数。腾讯云约允许 20 次，由该账号下所有程序共享。"},
	{Key: "rateLimits.actions.*", Value: action(0.1, 1000),
		Doc:   "An exception for one action, such as DescribeTargets: 10.",
		DocZH: "针对单个接口的例外，如 DescribeTargets: 10。"},

	{Key: "healthCheck.interval", Default: "5s", Value: duration(2*time.Second, 300*time.Second, time.Second, func(c *CloudConfig) *time.Duration { return &c.Settings.Check.Interval }),
		Doc:   "How often a CLB probes each target. A new target gets traffic after interval × healthy.",
		DocZH: "CLB 探测每个后端的间隔。新后端在 interval × healthy 之后才接收流量。"},
	{Key: "healthCheck.timeout", Default: "2s", Value: duration(2*time.Second, 60*time.Second, time.Second, func(c *CloudConfig) *time.Duration { return &c.Settings.Check.Timeout }),
		Doc:   "How long a probe waits for its answer. Less than the interval.",
		DocZH: "等待探测响应的时间。须小于 interval。"},
	{Key: "healthCheck.healthy", Default: "3", Value: integer(2, 10, func(c *CloudConfig) *int { return &c.Settings.Check.Healthy }),
		Doc: "Successes in a row that make a target healthy.", DocZH: "连续成功多少次视为健康。"},
	{Key: "healthCheck.unhealthy", Default: "3", Value: integer(2, 10, func(c *CloudConfig) *int { return &c.Settings.Check.Unhealthy }),
		Doc: "Failures in a row that make a target unhealthy.", DocZH: "连续失败多少次视为不健康。"},
	{Key: "udpHealthCheck", Default: "true", Value: boolean(func(c *CloudConfig) *bool { return &c.Settings.UDPCheck }),
		Doc:   "Whether the targets of UDP ports are probed, by ping. Some accounts refuse that.",
		DocZH: "是否以 ping 探测 UDP 端口的后端。部分账号不支持。"},

	{Key: "handover.healthDeadline", Default: "2m", Value: duration(time.Second, time.Hour, 0, func(c *CloudConfig) *time.Duration { return &c.Settings.Timing.HealthDeadline }),
		Doc:   "How long old targets stay while new ones do not become healthy.",
		DocZH: "新后端一直未健康时，旧后端最多保留多久。"},
	{Key: "handover.drain", Default: "30s", Value: duration(0, time.Hour, 0, func(c *CloudConfig) *time.Duration { return &c.Settings.Timing.Drain }),
		Doc:   "How long a target stays at weight 0, for the sake of its connections, before it goes.",
		DocZH: "后端移除前以权重 0 保留多久，以便已有连接结束。"},
	{Key: "handover.poll", Default: "2s", Value: duration(100*time.Millisecond, time.Minute, 0, func(c *CloudConfig) *time.Duration { return &c.Settings.Timing.Poll }),
		Doc:   "How often the health of new targets is read while old ones wait for them.",
		DocZH: "等待新后端健康期间，读取健康状态的间隔。"},
	{Key: "handover.removalHold", Default: "10m", Value: duration(0, 24*time.Hour, 0, func(c *CloudConfig) *time.Duration { return &c.Settings.Timing.RemovalHold }),
		Doc:   "How long a change that would remove most targets of a CLB for reasons that are about nodes is held back; 0s: not at all.",
		DocZH: "若一次变更会因节点原因移除 CLB 的大部分后端，先暂缓多久；0s 表示不暂缓。"},
	{Key: "handover.programming", Default: "1s", Value: duration(0, time.Minute, 0, func(c *CloudConfig) *time.Duration { return &c.Settings.Timing.Programming }),
		Doc:   "How long a node is given to program its rules before a UDP listener, whose health check cannot see them, gets it as a target; not waited for where nothing else answers.",
		DocZH: "UDP 监听器的健康检查看不到节点规则，因此新节点绑定前先等待这段时间让规则生效；若没有其他可用后端则不等待。"},
	{Key: "handover.damping", Default: "5s", Value: duration(0, time.Minute, 0, func(c *CloudConfig) *time.Duration { return &c.Settings.Timing.Damping }),
		Doc:   "The least time between two changes of weights that neither open nor close a target.",
		DocZH: "两次普通权重调整（不启用也不停用后端）之间的最短间隔。"},

	{Key: "readinessGate.enabled", Default: "true", Value: boolean(func(c *CloudConfig) *bool { return &c.Settings.Gate.Enabled }),
		Doc:   "Whether the readiness gate clbsync.io/target-health of pods is worked on. It takes a watch of all pods. Without it such pods never become ready.",
		DocZH: "是否处理 Pod 的就绪门控 clbsync.io/target-health，需要监听所有 Pod。关闭后，带有该门控的 Pod 不会就绪。"},
	{Key: "readinessGate.nodeAgent", Default: "false", Value: boolean(func(c *CloudConfig) *bool { return &c.Settings.Gate.NodeAgent }),
		Doc:   "Whether clb-node-agent runs on every node with --readiness-gate, so that under Local a pod can wait for CLB also where it is the only one on its node.",
		DocZH: "每个节点是否都以 --readiness-gate 运行 clb-node-agent。开启后，Local 策略下即使 Pod 是其节点上唯一的一个，也能等待 CLB。"},
	{Key: "readinessGate.deadline", Value: duration(time.Second, time.Hour, 0, func(c *CloudConfig) *time.Duration { return &c.Settings.Gate.Deadline }),
		Doc:   "How long a pod whose containers are ready waits for CLB at most. Default: handover.healthDeadline.",
		DocZH: "容器就绪的 Pod 最多等待 CLB 多久。默认同 handover.healthDeadline。"},

	{Key: "notReadyNodes", Default: "drain", Value: choice(func(c *CloudConfig) *lbsync.NotReadyPolicy { return &c.Settings.NotReady }, lbsync.DrainNotReady, lbsync.KeepNotReady, lbsync.RemoveNotReady),
		Doc:   "What becomes of the targets of nodes that are not ready. drain: no new connections while other nodes can take them; keep: nothing; remove: they are no targets.",
		DocZH: "未就绪节点的后端如何处理。drain：其他节点可用时不再接收新连接；keep：不处理；remove：不作为后端。"},
	{Key: "drift", Default: "repair", Value: choice(func(c *CloudConfig) *lbsync.DriftPolicy { return &c.Settings.Drift }, lbsync.RepairDrift, lbsync.ReportDrift),
		Doc:   "What becomes of what somebody else changes on a CLB. repair: set right at the next verification; report: left as found until something else is asked for there. Both say so in an Event. A CLB that is gone is made anew in any case. What was reported is not remembered over a restart, which sets it right. The annotation clbsync.io/drift of a Service has the last word.",
		DocZH: "CLB 被他人改动时如何处理。repair：下次核对时改回；report：保持现状，直到该处的期望值发生变化。两者都会产生事件。CLB 被删除时总会重建。重启后不再记得已报告的改动，会将其改回。Service 的注解 clbsync.io/drift 优先。"},
	{Key: "directAccess", Default: "false", Value: boolean(func(c *CloudConfig) *bool { return &c.Settings.DirectAccess }),
		Doc:   "Whether the targets of Services that do not say are their pods, by address, in place of nodes, as EnableDefaultDirectAccess does in TKE. The annotation service.cloud.tencent.com/direct-access of a Service has the last word. Changed, it is a handover for every Service that does not say.",
		DocZH: "未写明的 Service 是否以 Pod 地址（而非节点）为后端，相当于 TKE 的 EnableDefaultDirectAccess。Service 的注解 service.cloud.tencent.com/direct-access 优先。修改后，未写明的 Service 会平滑切换。"},
	{Key: "controlPlaneNodes", Default: "false", Value: boolean(func(c *CloudConfig) *bool { return &c.Settings.ControlPlaneNodes }),
		Doc: "Whether control plane nodes are targets too.", DocZH: "控制面节点是否也作为后端。"},
	{Key: "gather", Value: duration(time.Millisecond, time.Minute, 0, func(c *CloudConfig) *time.Duration { return &c.Gather }), Default: "50ms",
		Doc:   "How long changes are gathered, so that many of them make one request. The flag --gather has the last word.",
		DocZH: "将变更聚合多久后合并为一次请求。命令行参数 --gather 优先。"},
	{Key: "verifyInterval", Value: duration(time.Second, 24*time.Hour, 0, func(c *CloudConfig) *time.Duration { return &c.VerifyInterval }), Default: "10m",
		Doc:   "How often a CLB that nothing happens to is read, to repair what others have changed.",
		DocZH: "即使没有变更，多久读取一次 CLB，以修复被他人改动的配置。"},
}

func endpoint(name string, field func(*CloudConfig) *string, what, whatZH string) Field {
	return Field{Key: "endpoints." + name, Value: link(field), Doc: "The address of " + what + ", if it is not Tencent Cloud's own.", DocZH: whatZH + " 的地址；不写则使用腾讯云默认地址。"}
}
