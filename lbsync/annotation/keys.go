// SPDX-License-Identifier: Apache-2.0

package annotation

// The prefixes of the annotations that a Service may carry: ours, and the two that TKE uses.
const (
	Prefix    = "clbsync.io/"
	tkePrefix = "service.cloud.tencent.com/"
	k8sPrefix = "service.kubernetes.io/"
)

// Names that the controller writes, or that other packages have to name to a user.
const (
	LoadBalancerID  = k8sPrefix + "loadbalance-id"
	ClientToken     = tkePrefix + "client-token"
	InternalSubnet  = k8sPrefix + "qcloud-loadbalancer-internal-subnetid"
	BindNodesOfPods = k8sPrefix + "local-svc-only-bind-node-with-pod"
	WeightByPods    = tkePrefix + "local-svc-weighted-balance"
	Backends        = k8sPrefix + "qcloud-loadbalancer-backends-label"
	AllowRemoval    = Prefix + "allow-removal"
	Drift           = Prefix + "drift"
	Mode            = Prefix + "mode"
	Plan            = Prefix + "plan"
)

// Key is a row of the table.
type Key struct {
	Name     string
	Value    Value
	Default  string
	ReadOnly bool   // written by the controller; what a user writes there is overwritten
	Fixed    bool   // read when the CLB is created and not changed afterwards
	Blocking bool   // a value that cannot be followed stops the Service, since a guess could do harm
	NotYet   string // not "": known from TKE, not followed; the phrase says what happens instead
	Doc      string
	DocZH    string
}

// Keys is the table, in the order of the documentation.
var Keys = []Key{
	{Name: InternalSubnet, Value: pattern(`subnet-[0-9a-z]{8,}`, "a subnet ID like subnet-2ab3c4d5", func(o *Options) *string { return &o.SubnetID }), Fixed: true, Blocking: true,
		Doc:   "Makes the CLB internal, with its address in this subnet. Without it the CLB is public.",
		DocZH: "创建内网 CLB，地址取自该子网。不写则创建公网 CLB。"},
	{Name: BindNodesOfPods, Value: boolean(func(o *Options) *bool { return &o.BindNodesOfPods }), Default: "false",
		Doc:   "With externalTrafficPolicy: Local, binds only the nodes that run a ready pod of the Service, and follows the pods as they move. Without it all nodes are bound and the health check keeps traffic off the empty ones.",
		DocZH: "externalTrafficPolicy 为 Local 时，只绑定运行了就绪 Pod 的节点，并随 Pod 的迁移而更新。不写则绑定全部节点，由健康检查避开没有 Pod 的节点。"},
	{Name: WeightByPods, Value: boolean(func(o *Options) *bool { return &o.WeightByPods }), Default: "false",
		Doc:   "With externalTrafficPolicy: Local and " + BindNodesOfPods + ", gives each node a weight in proportion to its ready pods, 1 to 100: their number, while no node runs more than 100.",
		DocZH: "externalTrafficPolicy 为 Local 且开启 " + BindNodesOfPods + " 时，节点权重与其就绪 Pod 数成正比，取值 1 到 100：只要没有节点超过 100 个 Pod，权重就等于 Pod 数。"},
	{Name: Backends, Value: selector(func(o *Options) *string { return &o.Backends }),
		Doc:   "Binds only nodes whose labels match, at any time. If none matches, the present targets stay and an Event says so.",
		DocZH: "只绑定标签匹配的节点，随标签变化实时更新。若没有节点匹配，则保留现有后端并产生事件。"},
	{Name: AllowRemoval, Value: boolean(func(o *Options) *bool { return &o.AllowRemoval }), Default: "false",
		Doc:   "Releases a removal that is held because it would take away most targets for reasons that are about nodes (condition RemovalHeld).",
		DocZH: "放行被暂停的移除操作：因节点原因将移除大部分后端时，移除会被暂停（状态条件 RemovalHeld）。"},
	{Name: Drift, Value: choice([]string{"repair", "report"}, func(o *Options) *string { return &o.Drift }),
		Doc:   "What becomes of what somebody else changes on the CLB: repair sets it right at the next verification; report leaves it as found until something else is asked for there. Both say so in an Event (DriftDetected). What was reported is not remembered over a restart of the controller, which sets it right. Default: what the cloud config says (drift), else repair.",
		DocZH: "CLB 被他人改动时如何处理：repair 在下次核对时改回；report 保持现状，直到该处的期望值发生变化。两者都会产生事件（DriftDetected）。控制器重启后不再记得已报告的改动，会将其改回。默认取云配置的 drift，未配置则为 repair。"},
	{Name: Mode, Value: word("plan", func(o *Options) *bool { return &o.PlanOnly }), Blocking: true,
		Doc:   "plan: what would be changed is shown in the annotation " + Plan + " and in an Event (Plan), and nothing is written to CLB, neither created nor changed nor deleted. A Service that is deleted meanwhile stays, by its finalizer, as long as it has a CLB and this annotation; its condition BackendsSynced says so. Without the annotation everything goes on.",
		DocZH: "plan：将要进行的变更写入注解 " + Plan + " 并产生事件（Plan），不对 CLB 做任何写操作：不创建、不修改、不删除。此时删除 Service，只要它还有 CLB 且保留该注解，Service 就会因 finalizer 而保留，状态条件 BackendsSynced 会说明原因。移除该注解后恢复正常。"},
	{Name: Plan, Value: anything(nil), ReadOnly: true,
		Doc:   "With " + Mode + ": plan, what would be changed now, a line per change in the order in which it would be made, cut after 4,000 bytes with the number of lines that are left out.",
		DocZH: Mode + " 为 plan 时，此刻将要进行的变更：按执行顺序每行一条，超过 4000 字节则截断，并注明省略的行数。"},
	{Name: LoadBalancerID, Value: anything(func(o *Options) *string { return &o.LoadBalancerID }), ReadOnly: true,
		Doc:   "The ID of the CLB that serves the Service.",
		DocZH: "该 Service 正在使用的 CLB 的 ID。"},
	{Name: ClientToken, Value: anything(nil), ReadOnly: true,
		Doc:   "What TKE's controller writes to make the creation of a CLB repeatable. Not read: here the Service's UID does it, so a copied manifest does no harm.",
		DocZH: "TKE 控制器用于保证创建 CLB 幂等的标记。此处不读取：改用 Service 的 UID，因此复制清单不会引起冲突。"},
	{Name: k8sPrefix + "tke-existed-lbid", NotYet: "the Service gets no CLB, since creating one beside the one that it names is not what it asks for", Blocking: true,
		Doc: "Uses a CLB that exists.", DocZH: "使用已有 CLB。"},
	{Name: tkePrefix + "mode", NotYet: "the Service is left alone, which is what its only value, skip, asks for", Blocking: true,
		Doc: "skip: changes nothing in the cloud.", DocZH: "skip：不修改任何云上资源。"},
	{Name: tkePrefix + "direct-access", NotYet: "nodes are bound, not pods",
		Doc: "CLB sends to pods directly.", DocZH: "CLB 直连 Pod。"},
	{Name: tkePrefix + "specify-protocol", NotYet: "the listeners have the protocol of the Service's ports",
		Doc: "Other protocols than the port's own.", DocZH: "为端口指定其他监听协议。"},
	{Name: tkePrefix + "tke-service-config", NotYet: "listeners have their default settings",
		Doc: "Settings of listeners from a TkeServiceConfig.", DocZH: "使用 TkeServiceConfig 中的监听器配置。"},
	{Name: tkePrefix + "tke-service-config-auto", NotYet: "no TkeServiceConfig is made",
		Doc: "Creates a TkeServiceConfig.", DocZH: "自动创建 TkeServiceConfig。"},
	{Name: tkePrefix + "security-groups", NotYet: "the Service gets no CLB, since it would be open to addresses that the groups keep out", Blocking: true,
		Doc: "Security groups of the CLB.", DocZH: "CLB 绑定的安全组。"},
	{Name: tkePrefix + "pass-to-target", NotYet: "the nodes' security groups are checked as well",
		Doc: "The CLB's security group decides alone.", DocZH: "仅由 CLB 的安全组决定放通。"},
	{Name: tkePrefix + "cross-region-id", NotYet: "the Service gets no CLB, since one in this region is not what it asks for", Blocking: true,
		Doc: "A CLB in another region.", DocZH: "使用其他地域的 CLB。"},
	{Name: tkePrefix + "cross-vpc-id", NotYet: "the Service gets no CLB, since one in this VPC is not what it asks for", Blocking: true,
		Doc: "A CLB in another VPC.", DocZH: "使用其他 VPC 的 CLB。"},
	{Name: tkePrefix + "target-groups", NotYet: "nodes are bound as targets of the listener",
		Doc: "Target groups in place of targets.", DocZH: "绑定目标组。"},
	{Name: tkePrefix + "lb-rs-weight", NotYet: "it acts on pods, and nodes are bound",
		Doc: "Weights of pods in direct access.", DocZH: "直连模式下 Pod 的权重。"},
	{Name: tkePrefix + "prevent-loopback", NotYet: "probes come from 100.64.0.0/10 in any case",
		Doc: "Avoids that a node answers its own connection.", DocZH: "避免回环访问。"},
	{Name: tkePrefix + "modification-protection", NotYet: "no public API sets this lock",
		Doc: "Locks the CLB against changes by people.", DocZH: "锁定 CLB，防止人为修改。"},
	{Name: k8sPrefix + "qcloud-loadbalancer-internet-charge-type", NotYet: "the CLB is billed as the account's default says",
		Doc: "How the CLB's traffic is billed.", DocZH: "公网 CLB 的计费方式。"},
	{Name: k8sPrefix + "qcloud-loadbalancer-internet-max-bandwidth-out", NotYet: "the CLB has the account's default bandwidth",
		Doc: "Bandwidth of a public CLB.", DocZH: "公网 CLB 的带宽上限。"},
	{Name: k8sPrefix + "service.extensiveParameters", NotYet: "the Service gets no CLB, since one without these parameters cannot be changed to have them", Blocking: true,
		Doc: "Further parameters of CreateLoadBalancer.", DocZH: "CreateLoadBalancer 的其他参数。"},
}

var byName = func() map[string]*Key {
	m := make(map[string]*Key, len(Keys))
	for i := range Keys {
		m[Keys[i].Name] = &Keys[i]
	}
	return m
}()
