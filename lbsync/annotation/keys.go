// SPDX-License-Identifier: Apache-2.0

package annotation

import (
	"fmt"
	"strings"
)

// The prefixes of the annotations that a Service may carry: ours, the two that TKE uses, and that of its oldest ones.
const (
	Prefix    = "clbsync.io/"
	tkePrefix = "service.cloud.tencent.com/"
	k8sPrefix = "service.kubernetes.io/"
	oldPrefix = "kubernetes.io/"

	betaPrefix = "service.beta.kubernetes.io/" // of Kubernetes itself
)

// Names that the controller writes, or that other packages have to name to a user.
const (
	LoadBalancerID   = k8sPrefix + "loadbalance-id"
	ClientToken      = tkePrefix + "client-token"
	ExistingID       = k8sPrefix + "tke-existed-lbid"
	InternalSubnet   = k8sPrefix + "qcloud-loadbalancer-internal-subnetid"
	ChargeType       = k8sPrefix + "qcloud-loadbalancer-internet-charge-type"
	Bandwidth        = k8sPrefix + "qcloud-loadbalancer-internet-max-bandwidth-out"
	CreateParams     = k8sPrefix + "service.extensiveParameters"
	ListenerParams   = k8sPrefix + "service.listenerParameters"
	SecurityGroups   = tkePrefix + "security-groups"
	PassToTarget     = tkePrefix + "pass-to-target"
	SourceRanges     = betaPrefix + "load-balancer-source-ranges"
	CrossRegion      = tkePrefix + "cross-region-id"
	CrossVPC         = tkePrefix + "cross-vpc-id"
	HybridType       = tkePrefix + "hybrid-type"
	SnatProInfo      = tkePrefix + "snat-pro-info"
	TKEMode          = tkePrefix + "mode"
	BindNodesOfPods  = k8sPrefix + "local-svc-only-bind-node-with-pod"
	WeightByPods     = tkePrefix + "local-svc-weighted-balance"
	Backends         = k8sPrefix + "qcloud-loadbalancer-backends-label"
	DirectAccess     = tkePrefix + "direct-access"
	RSWeight         = tkePrefix + "lb-rs-weight"
	CustomWeight     = tkePrefix + "custom-weight" // of a Pod
	GraceShutdown    = tkePrefix + "enable-grace-shutdown"
	GraceShutdownAll = tkePrefix + "enable-grace-shutdown-tkex"
	GraceDeletion    = tkePrefix + "enable-grace-deletion"
	ServiceConfig    = tkePrefix + "tke-service-config"
	ServiceConfigNew = tkePrefix + "tke-service-config-auto"
	SpecifyProtocol  = tkePrefix + "specify-protocol"
	PreventLoopback  = tkePrefix + "prevent-loopback"
	TargetGroups     = tkePrefix + "target-groups"
	AllowRemoval     = Prefix + "allow-removal"
	Drift            = Prefix + "drift"
	Mode             = Prefix + "mode"
	Plan             = Prefix + "plan"
	DeleteProtection = Prefix + "delete-protection"
	IPMode           = Prefix + "ip-mode"
	Applied          = Prefix + "applied"
	Region           = Prefix + "region"
	Ordered          = Prefix + "ordered"
	NatIPv6          = k8sPrefix + "loadbalance-nat-ipv6"
)

const regionPattern = `[a-z]+(-[a-z]+)+(-[0-9]+)?`

// AutoConfigSuffix ends the name of a TkeServiceConfig that the controller makes for a Service, behind the Service's name.
const AutoConfigSuffix = "-auto-service-config"

// configName takes the names of TkeServiceConfigs that people make.
var configName = func() Value {
	v := pattern(`[0-9a-z]([-.0-9a-z]{0,251}[0-9a-z])?`, "the name of a TkeServiceConfig in the Service's namespace", func(o *Options) *string { return &o.ConfigName })
	name := v.set
	v.set = func(o *Options, s string) error {
		for _, reserved := range []string{AutoConfigSuffix, "-auto-ingress-config"} {
			if strings.HasSuffix(s, reserved) {
				return fmt.Errorf("names that end in %s are reserved for those that controllers make (use %s)", reserved, ServiceConfigNew)
			}
		}
		return name(o, s)
	}
	return v
}()

// Key is a row of the table.
type Key struct {
	Name      string
	Value     Value
	Default   string
	Since     string   // version of TKE's controller that brought it; "": its first, or ours
	Excludes  []string // names of annotations that it has no place beside: with one of them set it is a Problem
	Yields    bool     // that Problem never stops the Service, whatever Blocking says: the other one counts, as in TKE
	ReadOnly  bool     // written by the controller; what a user writes there is overwritten
	Fixed     bool     // read when the CLB is created and not changed afterwards
	Blocking  bool     // a value that cannot be followed stops the Service, since a guess could do harm
	Refused   string   // not "": known from TKE, and not possible here, the default apart; the phrase says why, and what happens instead
	RefusedZH string
	Doc       string
	DocZH     string

	modern string // the name that counts if both are set; "": none
}

// Keys is the table, in the order of the documentation.
var Keys = []Key{
	{Name: ExistingID, Value: pattern(`lb-[0-9a-z]{1,32}`, "the ID of a CLB like lb-2ab3c4d5", func(o *Options) *string { return &o.ExistingID }), Blocking: true,
		Doc:   "Uses this CLB, which somebody made, in place of a new one. Several Services may share it, each protocol and port by one of them. Only the listeners that the controller made are touched; when the Service goes, they go and the CLB stays. (A CLB that was bought for a Service goes with it, and so does a listener that a person added there, as in TKE: put listeners of your own on a CLB of your own.) It has to be in the cluster's VPC, unless " + CrossRegion + " or " + CrossVPC + " says otherwise, must not have been bought for another Service, nor be used by another cluster. A Service that has a CLB keeps it: to change over, set spec.type to ClusterIP and back.",
		DocZH: "使用该已有 CLB，不再新建。多个 Service 可以共用，同一协议和端口只能由其中一个使用。只改动控制器自己创建的监听器；删除 Service 时删除这些监听器，CLB 保留。（为 Service 购买的 CLB 会随 Service 删除，他人在其上添加的监听器也一并删除，与 TKE 相同：自建监听器请放在自己的 CLB 上。）该 CLB 必须位于集群所在 VPC（除非另有 " + CrossRegion + " 或 " + CrossVPC + "），不能是为其他 Service 购买的，也不能被其他集群使用。Service 已有 CLB 时保持不变：如需更换，请先将 spec.type 改为 ClusterIP 再改回。"},
	{Name: k8sPrefix + "qcloud-share-existed-lb", Value: boolean(nil), Default: "false",
		Doc:   "In TKE's serverless clusters, lets Services share the CLB of " + ExistingID + ". Here they always may.",
		DocZH: "在 TKE Serverless 集群中，允许多个 Service 共用 " + ExistingID + " 指定的 CLB。此处始终允许。"},
	{Name: InternalSubnet, Value: pattern(`subnet-[0-9a-z]{8,}`, "a subnet ID like subnet-2ab3c4d5", func(o *Options) *string { return &o.SubnetID }), Fixed: true, Blocking: true, Excludes: []string{ExistingID}, Yields: true,
		Doc:   "Makes the CLB internal, with its address in this subnet. Without it the CLB is public.",
		DocZH: "创建内网 CLB，地址取自该子网。不写则创建公网 CLB。"},
	{Name: ChargeType, Value: choice([]string{chargeTraffic, chargeBandwidth}, func(o *Options) *string { return &o.ChargeType }), Fixed: true, Excludes: []string{ExistingID},
		Doc:   "How the traffic of a public CLB is billed: by what flows, or by the bandwidth. Accounts of the international site have the first alone.",
		DocZH: "公网 CLB 的计费方式：按流量或按带宽。国际站账号仅支持按流量。"},
	{Name: oldPrefix + "service.internetChargeType", Value: choice([]string{chargeTraffic, chargeBandwidth}, func(o *Options) *string { return &o.ChargeType }), Fixed: true, Excludes: []string{ExistingID}, modern: ChargeType,
		Doc: "The old spelling of " + ChargeType + ".", DocZH: ChargeType + " 的旧写法。"},
	{Name: Bandwidth, Value: integer(1, bandwidthMax, " Mbps", func(o *Options) *int { return &o.Bandwidth }), Fixed: true, Excludes: []string{ExistingID},
		Doc:   "Bandwidth of a public CLB. To change it later, use internetMaxBandwidthOut of a TkeServiceConfig.",
		DocZH: "公网 CLB 的带宽上限。之后如需修改，请使用 TkeServiceConfig 的 internetMaxBandwidthOut。"},
	{Name: oldPrefix + "service.internetMaxBandwidthOut", Value: integer(1, bandwidthMax, " Mbps", func(o *Options) *int { return &o.Bandwidth }), Fixed: true, Excludes: []string{ExistingID}, modern: Bandwidth,
		Doc: "The old spelling of " + Bandwidth + ".", DocZH: Bandwidth + " 的旧写法。"},
	{Name: CreateParams, Value: object(`a JSON object of parameters of CreateLoadBalancer like {"AddressIPVersion":"IPV6"} or {"ZoneId":"ap-guangzhou-3","InternetAccessible":{"InternetMaxBandwidthOut":20}}`, (*CreateParameters).check, func(o *Options, p *CreateParameters) { o.Create = p }), Fixed: true, Blocking: true, Excludes: []string{ExistingID}, Yields: true,
		Doc:   "Further parameters of CreateLoadBalancer: AddressIPVersion, LoadBalancerName, ProjectId, VipIsp, ZoneId, MasterZoneId, SlaveZoneId, Vip, SubnetId (of IPv6FullChain), BandwidthPackageId, InternetAccessible, SlaType, DynamicVip, EipAddressId, Egress, LBChargeType, SnatPro, SnatIps, LoadBalancerPassToTarget, Tags. They count over the annotations of their own. LoadBalancerPassToTarget and SnatPro are changed in place later too; removed, the first is switched off, and the second stays, since the CLB would lose its addresses.",
		DocZH: "CreateLoadBalancer 的其他参数：AddressIPVersion、LoadBalancerName、ProjectId、VipIsp、ZoneId、MasterZoneId、SlaveZoneId、Vip、SubnetId（用于 IPv6FullChain）、BandwidthPackageId、InternetAccessible、SlaType、DynamicVip、EipAddressId、Egress、LBChargeType、SnatPro、SnatIps、LoadBalancerPassToTarget、Tags。优先于各自的注解。LoadBalancerPassToTarget 和 SnatPro 之后也可直接修改；移除时前者关闭，后者保持开启，否则 CLB 会失去其 SNAT 地址。"},
	{Name: SecurityGroups, Value: list(`sg-[0-9a-z]{1,32}`, "IDs of security groups like sg-2ab3c4d5,sg-6ef7a8b9, 50 at most", 50, func(o *Options) *[]string { return &o.SecurityGroups }), Blocking: true, Excludes: []string{ExistingID},
		Doc:   "Security groups of the CLB, all of them: others are unbound. When the annotation is removed, those that it bound are unbound; without it, what is bound stays as it is.",
		DocZH: "CLB 绑定的全部安全组，其他安全组会被解绑。移除该注解时，解绑由其绑定的安全组；从未设置时，保持现状。"},
	{Name: SourceRanges, Value: ranges(func(o *Options) *[]string { return &o.SourceRanges }), Blocking: true,
		Doc:   "The old spelling of spec.loadBalancerSourceRanges, which counts if both are set: the ranges of addresses that may use the CLB. They are kept by a security group of the Service's own, which is bound before any listener opens, follows the ranges and the ports, and goes with them. 0.0.0.0/0 keeps nobody out. Unless " + PassToTarget + " is true, the security groups of the nodes have to let the same addresses in, to the node ports. Not possible on an existing CLB (" + ExistingID + ") nor together with " + SecurityGroups + ": a Service that asks for it is not opened to everybody, but gets what a wrong value gets.",
		DocZH: "spec.loadBalancerSourceRanges 的旧写法，两者都设置时以字段为准：允许访问 CLB 的地址段。由该 Service 专用的安全组实现，在监听器开放之前绑定，随地址段和端口更新，不再需要时删除。0.0.0.0/0 表示不限制。除非 " + PassToTarget + " 为 true，节点的安全组也须放通这些地址访问 NodePort。已有 CLB（" + ExistingID + "）不支持，也不能与 " + SecurityGroups + " 同用：此时按取值错误处理，以免对所有人开放。"},
	{Name: PassToTarget, Value: flag(func(o *Options) **bool { return &o.PassToTarget }), Excludes: []string{ExistingID},
		Doc:   "The CLB's security groups alone decide about its traffic, those of the nodes are not asked. Holds for the whole CLB. When the annotation is removed it is switched off; without it, it stays as it is.",
		DocZH: "仅由 CLB 的安全组决定放通，不再检查节点的安全组。对整个 CLB 生效。移除该注解时关闭；从未设置时，保持现状。"},
	{Name: DeleteProtection, Value: flag(func(o *Options) **bool { return &o.DeleteProtect }), Excludes: []string{ExistingID},
		Doc:   "CLB's own protection against deletion, from the console too. The controller switches it off itself when the Service goes. When the annotation is removed it is switched off; without it, it stays as it is.",
		DocZH: "CLB 自身的删除保护，控制台也无法删除。删除 Service 时由控制器自行关闭。移除该注解时关闭；从未设置时，保持现状。"},
	{Name: CrossRegion, Value: pattern(regionPattern, "a region like ap-shanghai", func(o *Options) *string { return &o.CrossRegion }), Fixed: true, Blocking: true,
		Doc:   "The CLB is in this region. Its targets are bound by address, through CCN, which has to connect the two VPCs. With " + ExistingID + ", the region of that CLB.",
		DocZH: "CLB 位于该地域。后端按地址绑定，经由 CCN，两个 VPC 须已通过 CCN 互通。与 " + ExistingID + " 同用时，为该 CLB 所在地域。"},
	{Name: CrossVPC, Value: pattern(`vpc-[0-9a-z]{8,}`, "a VPC ID like vpc-2ab3c4d5", func(o *Options) *string { return &o.CrossVPC }), Fixed: true, Blocking: true,
		Doc:   "The CLB is in this VPC. Its targets are bound by address, through CCN.",
		DocZH: "CLB 位于该 VPC。后端按地址绑定，经由 CCN。"},
	{Name: HybridType, Value: word("CCN", func(o *Options) *bool { return &o.Hybrid }),
		Doc:   "CCN: registered nodes, which are outside of Tencent Cloud, are targets too, by address. CLB's own addresses for that (SnatPro) are switched on, and stay so without the annotation.",
		DocZH: "CCN：云外的注册节点也作为后端，按地址绑定。CLB 为此开启 SnatPro，移除该注解后保持开启。"},
	{Name: SnatProInfo, Value: object(`a JSON object like {"snatIps":[{"subnetId":"subnet-2ab3c4d5"}]}`, (*snatInfo).check, func(o *Options, s *snatInfo) { o.SnatSubnets = s.list() }), Fixed: true, Excludes: []string{ExistingID},
		Doc:   "Subnets of the CLB's VPC from which it takes the addresses that it connects to targets outside of that VPC from: to registered nodes, and with " + CrossRegion + " or " + CrossVPC + ". CLB refuses such targets without.",
		DocZH: "CLB 所在 VPC 的子网，CLB 从中取得访问 VPC 之外后端（注册节点，以及使用 " + CrossRegion + " 或 " + CrossVPC + " 时）所用的源地址。没有时 CLB 拒绝绑定此类后端。"},
	{Name: TKEMode, Value: word("skip", func(o *Options) *bool { return &o.Skip }), Since: "v2.10.0", Blocking: true,
		Doc:   "skip: nothing in the cloud is changed for the Service; its listeners and targets stay as they are. A Service that is deleted meanwhile goes and leaves its CLB, or its listeners, behind; listeners on a CLB that others share are nobody's from then on: never touched, and in the way of a Service that wants their port. Without the annotation everything goes on.",
		DocZH: "skip：不修改该 Service 的任何云上资源，监听器和后端保持原样。此时删除 Service，其 CLB 或监听器会保留；留在共用 CLB 上的监听器从此不属于任何 Service：不会被修改或删除，需要同一端口的 Service 会收到提示。移除该注解后恢复正常。"},
	{Name: IPMode, Value: choice([]string{"VIP", "Proxy"}, func(o *Options) *string { return &o.IPMode }),
		Doc:   "What status.loadBalancer.ingress[].ipMode says of the CLB's address. VIP, the default: pods and nodes that connect to it are served by their own node, which avoids that CLB sends a connection back to where it came from. Proxy: they go to the CLB.",
		DocZH: "status.loadBalancer.ingress[].ipMode 的取值。VIP（默认）：集群内的 Pod 和节点访问该地址时由本节点直接处理，避免回环。Proxy：真正经过 CLB。"},
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
	{Name: Applied, Value: list(`[a-z.]+/[0-9A-Za-z-]+`, "names of annotations", 20, func(o *Options) *[]string { return &o.Applied }), ReadOnly: true,
		Doc:   "The annotations whose effect on the CLB is undone when they are removed.",
		DocZH: "移除后需要撤销其对 CLB 影响的注解。"},
	{Name: Region, Value: pattern(regionPattern, "a region like ap-shanghai", func(o *Options) *string { return &o.Region }), ReadOnly: true,
		Doc:   "The region of the CLB, if it is not the cluster's.",
		DocZH: "CLB 所在地域（与集群地域不同时）。"},
	{Name: Ordered, Value: object("a JSON object of parameters of CreateLoadBalancer", (*CreateParameters).check, func(o *Options, p *CreateParameters) { o.Ordered = p }), ReadOnly: true,
		Doc:   "The parameters with which the CLB was ordered, so that an Event can say which of them the manifest has changed since.",
		DocZH: "创建 CLB 时使用的参数，用于在清单之后改动这些参数时产生事件。"},
	{Name: DirectAccess, Value: flag(func(o *Options) **bool { return &o.DirectAccess }),
		Doc:   "CLB sends to pods, by their addresses, and not to nodes: in networks in which the VPC can reach pods (VPC-CNI, or GlobalRouter with routes). Works without node ports. Pods in the network of their node are left out. Without it, the cloud config's directAccess says. See [direct access](direct-access.md).",
		DocZH: "CLB 直接转发到 Pod 地址，不经过节点：要求 VPC 可以直达 Pod（VPC-CNI，或有路由的 GlobalRouter）。不需要 NodePort。使用主机网络的 Pod 不绑定。不写时以云配置的 directAccess 为准。见[直连 Pod](direct-access.zh-CN.md)。"},
	{Name: RSWeight, Value: object(`a JSON object like {"defaultWeight":10,"groups":[{"key":{"proto":"TCP","port":80},"statefulSets":[{"name":"web","weights":[{"weight":5,"podIndexes":[0]}]}]}]}`, (*PodWeights).check, func(o *Options, p *PodWeights) { o.PodWeights = p }),
		Doc:   "In direct access, weights of pods of StatefulSets, by port and ordinal. The annotation " + CustomWeight + " of a Pod, 0 to 100, counts over it.",
		DocZH: "直连模式下按端口和序号设置 StatefulSet 各 Pod 的权重。Pod 上的注解 " + CustomWeight + "（0 到 100）优先。"},
	{Name: GraceShutdown, Value: boolean(func(o *Options) *bool { return &o.DrainTerminating }), Default: "false",
		Doc:   "In direct access, a pod that terminates gets weight 0 and is unbound when it is gone. Here a pod that terminates always gets weight 0 and stays bound while it serves; this keeps it bound until it is gone, although it does not serve any more.",
		DocZH: "直连模式下，正在终止的 Pod 权重置 0，Pod 消失后才解绑。此处终止中的 Pod 始终权重置 0，且在仍可服务期间保持绑定；开启后，即使不再提供服务也保持绑定直至 Pod 消失。"},
	{Name: GraceShutdownAll, Value: boolean(func(o *Options) *bool { return &o.DrainNotReady }), Default: "false",
		Doc:   "In direct access, any pod that is not ready, terminating or not, gets weight 0 in place of being unbound.",
		DocZH: "直连模式下，任何未就绪的 Pod（无论是否正在终止）权重置 0，而不是解绑。"},
	{Name: GraceDeletion, Default: "false", Since: "v2.5.0", Refused: "it takes a webhook that holds the deletion of pods, and there is none: a finalizer does not keep a kubelet from ending a pod. A pod's target gets weight 0 as soon as the pod terminates; a preStop hook that sleeps for a few seconds keeps it serving for that long, see docs/direct-access.md",
		RefusedZH: "需要拦截 Pod 删除的 webhook，而此处没有：finalizer 不能阻止 kubelet 终止 Pod。Pod 开始终止时其后端权重立即置 0；用 preStop 休眠几秒，即可在此期间继续服务，见 docs/direct-access.zh-CN.md。",
		Doc:       "In direct access, a pod is ended only when its weight is 0.",
		DocZH:     "直连模式下，权重置 0 之后才终止 Pod。"},
	{Name: ServiceConfig, Value: configName, Excludes: []string{ServiceConfigNew},
		Doc:   "The TkeServiceConfig with the settings of the listeners. Changes of it are applied at once. If there is none of the name, an Event says so and the defaults hold. Names that end in " + AutoConfigSuffix + " are reserved.",
		DocZH: "监听器配置所在的 TkeServiceConfig，修改后立即生效。不存在时产生事件并使用默认值。以 " + AutoConfigSuffix + " 结尾的名字保留。"},
	{Name: ServiceConfigNew, Value: boolean(func(o *Options) *bool { return &o.ConfigAuto }), Default: "false", Excludes: []string{ServiceConfig},
		Doc:   "Makes a TkeServiceConfig <service>" + AutoConfigSuffix + " with a section for each listener, to be edited; sections come and go with ports, and it goes with the Service.",
		DocZH: "自动创建 TkeServiceConfig <service>" + AutoConfigSuffix + "，每个监听器一节，可自行编辑；随端口增减，随 Service 删除。"},
	{Name: SpecifyProtocol, Value: Value{Type: `a JSON object by port of the Service like {"443":{"protocol":["TCP_SSL"],"tls":"secret"}} or {"80":{"protocol":["HTTP"],"hosts":{"a.example.com":{}}}}`, set: protocols}, Blocking: false,
		Doc:   "Protocols of the listeners of a port, in place of its own: TCP, TCP_SSL, HTTP or HTTPS over a TCP node port, UDP or QUIC over a UDP one; in direct access any. tls names an Opaque Secret whose key qcloud_cert_id has the ID of the certificate. Ports that the Service does not have are ignored, ports that are not named keep their protocol. A port of which it says something wrong keeps the listener that it has, and gets none where there is none: plain TCP in place of HTTPS would be worse. If it is no JSON, or names what is no port, this holds for all ports that it does not name rightly.",
		DocZH: "端口的监听协议，取代端口自身的协议：TCP 端口可为 TCP、TCP_SSL、HTTP、HTTPS，UDP 端口可为 UDP、QUIC；直连模式下不限。tls 为 Opaque 类型 Secret 的名字，其 qcloud_cert_id 为证书 ID。忽略 Service 没有的端口；未写明的端口保持自身协议。某端口的内容有误时，该端口保留已有的监听器；没有监听器时不创建，以免用明文 TCP 代替 HTTPS。若不是合法 JSON，或写了不是端口的名字，则适用于所有未正确写明的端口。"},
	{Name: ListenerParams, Value: object(`a JSON object like {"Scheduler":"LEAST_CONN","SessionExpireTime":60,"IdleConnectTimeout":600}`, (*ListenerParameters).check, func(o *Options, p *ListenerParameters) { o.Listener = p }),
		Doc:   "Settings of all listeners of the Service: Scheduler (WRR, LEAST_CONN), SessionExpireTime (0, 30 to 3600 s), IdleConnectTimeout (10 to 1980 s, TCP and UDP). A TkeServiceConfig counts over it. TKE names this annotation and does not say what it takes.",
		DocZH: "该 Service 全部监听器的设置：Scheduler（WRR、LEAST_CONN）、SessionExpireTime（0 或 30 到 3600 秒）、IdleConnectTimeout（10 到 1980 秒，TCP 和 UDP）。TkeServiceConfig 优先。TKE 只提到该注解，未说明取值。"},
	{Name: PreventLoopback, Value: boolean(func(o *Options) *bool { return &o.PreventLoopback }), Default: "false",
		Doc:   "Probes come from 100.64.0.0/10, as they do here by default, whatever sourceIpType of a TkeServiceConfig says, and nodes answer connections to the CLB's address themselves, which status ipMode VIP brings about.",
		DocZH: "健康检查源地址为 100.64.0.0/10（此处默认如此），不受 TkeServiceConfig 的 sourceIpType 影响；节点自行处理发往 CLB 地址的连接（由状态中的 ipMode: VIP 实现）。"},
	{Name: tkePrefix + "sync-begin-time", Value: anything(nil), ReadOnly: true, Doc: "Written by TKE's controller: when its last sync began. Not read.", DocZH: "TKE 控制器写入的最近一次同步开始时间。不读取。"},
	{Name: tkePrefix + "sync-end-time", Value: anything(nil), ReadOnly: true, Doc: "Written by TKE's controller: when its last sync ended. Not read.", DocZH: "TKE 控制器写入的最近一次同步结束时间。不读取。"},
	{Name: tkePrefix + "loadbalancer-source-endpoints", Value: anything(nil), ReadOnly: true, Doc: "Written by TKE's controller: the Endpoints that it used. Not read: EndpointSlices are.", DocZH: "TKE 控制器写入的所用 Endpoints。不读取：此处使用 EndpointSlice。"},
	{Name: tkePrefix + "status.conditions", Value: anything(nil), ReadOnly: true, Doc: "Written by TKE's controller: the state of the Service as JSON. Not read or written: here that is in status.conditions of the Service.", DocZH: "TKE 控制器写入的 Service 状态（JSON）。不读取也不写入：此处写在 Service 的 status.conditions 中。"},
	{Name: NatIPv6, Value: anything(nil), ReadOnly: true, Doc: "The IPv6 address of a NAT64 CLB (AddressIPVersion IPV6).", DocZH: "NAT64 CLB（AddressIPVersion 为 IPV6）的 IPv6 地址。"},
	{Name: TargetGroups, Refused: "target groups are not bound, since their API is in beta and only for accounts on a list: the listeners are bound to targets",
		RefusedZH: "不绑定目标组：其 API 处于内测，仅对名单内账号开放；监听器直接绑定后端。",
		Doc:       "Target groups in place of targets.", DocZH: "绑定目标组。"},
	{Name: tkePrefix + "modification-protection", Default: "false", Refused: "no public API of CLB sets this lock, so the CLB can be changed in the console; what somebody changes there is told and repaired, see " + Drift,
		RefusedZH: "CLB 没有公开的 API 可以设置该锁，控制台仍可修改；他人的改动会被报告并修复，见 " + Drift + "。",
		Doc:       "Locks the CLB against changes by people.", DocZH: "锁定 CLB，防止人为修改。"},
	{Name: k8sPrefix + "loadbalance-type", Default: "yunapiv3_forward_clb", Refused: "classic CLBs cannot be bought any more: the CLB is an application one",
		RefusedZH: "传统型 CLB 已停售：创建的是应用型 CLB。",
		Doc:       "Classic or application CLB.", DocZH: "传统型或应用型 CLB。"},
	{Name: k8sPrefix + "qcloud-loadbalancer-internal", Blocking: true, Refused: "numbers of subnets are of an API that is gone, and a public CLB is not what it asks for; write the subnet's ID into " + InternalSubnet,
		RefusedZH: "数字子网编号属于已下线的 API；为避免误建公网 CLB，不创建 CLB；已有的 CLB 保持原样，继续工作。请将子网 ID 写入 " + InternalSubnet + "。",
		Doc:       "Subnet of an internal CLB, by number.", DocZH: "内网 CLB 的数字子网编号。"},
	{Name: k8sPrefix + "qcloud-loadbalancer-clusterid", Refused: "the cluster's ID is in the cloud config",
		RefusedZH: "集群 ID 取自云配置。",
		Doc:       "The cluster's ID.", DocZH: "集群 ID。"},
}

// PodKeys are the annotations of Pods.
var PodKeys = []Key{
	{Name: CustomWeight, Value: Value{Type: "a whole number, 0 to 100"}, Since: "v2.4.0",
		Doc:   "In direct access, the weight of this pod; it counts over " + RSWeight + ". A change is followed at once. A wrong value counts as none and gets a Warning Event on the Service.",
		DocZH: "直连模式下该 Pod 的权重，优先于 " + RSWeight + "，修改后立即生效。取值错误视为未设置，并在 Service 上产生 Warning 事件。"},
}

var byName = func() map[string]*Key {
	m := make(map[string]*Key, len(Keys))
	for i := range Keys {
		m[Keys[i].Name] = &Keys[i]
	}
	return m
}()
