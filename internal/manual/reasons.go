// SPDX-License-Identifier: Apache-2.0

package manual

import (
	"slices"
	"strings"
)

// Place is where a reason is seen.
type Place int

// The places.
const (
	Normal    Place = iota // an Event of type Normal
	Warning                // an Event of type Warning; where it says what a Service lacks, in BackendsSynced too
	Condition              // a condition of the Service
	Log                    // the log and the metric clbsync_skips: it is about a node, or a trifle
	Gate                   // the condition clbsync.io/target-health of a pod
)

var places = [...]Text{
	{"Event, Normal", "事件（Normal）"}, {"Event, Warning", "事件（Warning）"}, {"Condition", "状态条件"},
	{"Log, metric", "日志、指标"}, {"Pod condition", "Pod 状态条件"},
}

// Reason is a row of the table.
type Reason struct {
	Name    string
	Place   Place
	Meaning Text
	Do      Text // empty: nothing
}

// declaredReasons returns the texts of all reasons that the sources declare, sorted: the constants of the type Reason in
// lbsync, and the reasons of Events in its controller.
func declaredReasons(lbsync, controller string) ([]string, error) {
	var all []string
	pure, err := sources(lbsync)
	if err != nil {
		return nil, err
	}
	edge, err := sources(controller)
	if err != nil {
		return nil, err
	}
	constants(pure, func(_, kind, value string) {
		if kind == "Reason" {
			all = append(all, value)
		}
	})
	constants(edge, func(name, kind, value string) {
		if kind == "Reason" || strings.HasPrefix(name, "event") {
			all = append(all, value)
		}
	})
	slices.Sort(all)
	return slices.Compact(all), nil
}

// EventsPage is the reference page.
func EventsPage(chinese bool) string {
	var b strings.Builder
	columns := []string{"Reason", "Where", "What it means", "What to do"}
	conditions := []string{"Condition", "What it says"}
	b.WriteString("# Events and conditions\n\n`kubectl describe service` shows both. Events are written when something changes, and go after an hour. " +
		"Conditions stay in `status.conditions`; they are written at most every 10 seconds, a mere change of counts later, and never in a dry run.\n\n")
	if chinese {
		b.Reset()
		columns = []string{"原因", "位置", "含义", "处理办法"}
		conditions = []string{"状态条件", "含义"}
		b.WriteString("# 事件与状态条件\n\n两者都可以用 `kubectl describe service` 查看。事件只在变化时产生，一小时后消失。" +
			"状态条件保存在 `status.conditions` 中，最多每 10 秒写一次，仅数量变化时更晚，空跑（dry run）时从不写入。\n\n")
	}
	var rows [][]string
	for _, c := range conditionTable {
		rows = append(rows, []string{"`" + c.Name + "`", c.Meaning.in(chinese)})
	}
	table(&b, conditions, rows)
	b.WriteString("\n")
	rows = nil
	for _, r := range reasonTable {
		do := r.Do.in(chinese)
		if do == "" {
			do = "–"
		}
		rows = append(rows, []string{"`" + r.Name + "`", places[r.Place].in(chinese), r.Meaning.in(chinese), do})
	}
	table(&b, columns, rows)
	return b.String()
}

// conditionTable is of the conditions of Services.
var conditionTable = []Reason{
	{Name: "BackendsSynced", Meaning: Text{
		"True: every target that should get traffic is registered with its weight, and nothing but drains is under way. False: the reason says why not; the message counts what waits.",
		"True：应接收流量的后端均已按权重注册，除排空外无进行中的操作。False：原因说明为何未同步，消息中列出等待的数量。"}},
	{Name: "Draining", Meaning: Text{"True: there are targets of weight 0, which get no new connections.", "True：存在权重为 0、不再接收新连接的后端。"}},
	{Name: "QuotaExceeded", Meaning: Text{"True: a quota keeps something of the Service out of the cloud.", "True：因配额不足，该 Service 的部分内容无法落到云上。"}},
	{Name: "RemovalHeld", Meaning: Text{"True: most targets would go for reasons that are about nodes and that nobody decided; they stay for handover.removalHold.", "True：大部分后端将因无人决定的节点原因被移除；在 handover.removalHold 内予以保留。"}},
}

// reasonTable is of all reasons.
var reasonTable = []Reason{
	{"EnsuringLoadBalancer", Normal, Text{"The CLB or its listeners are being changed.", "正在变更 CLB 或其监听器。"}, Text{}},
	{"EnsuredLoadBalancer", Normal, Text{"The CLB is as the Service asks, after it was not.", "CLB 已与 Service 的要求一致。"}, Text{}},
	{"UpdatedLoadBalancer", Normal, Text{"Targets or weights were changed.", "后端或权重已更新。"}, Text{}},
	{"SyncLoadBalancerFailed", Warning, Text{"A call failed; the message names it.", "某次调用失败，消息中说明是哪次。"}, Text{"What the message says; it is tried again.", "按消息处理；会自动重试。"}},
	{"DeletingLoadBalancer", Normal, Text{"The CLB is being deleted.", "正在删除 CLB。"}, Text{}},
	{"DeletedLoadBalancer", Normal, Text{"The CLB is gone.", "CLB 已删除。"}, Text{}},
	{"Plan", Normal, Text{"What would be changed, in a dry run or with clbsync.io/mode: plan.", "空跑或 clbsync.io/mode: plan 时，将要进行的变更。"}, Text{"Read it; remove the annotation to let it happen.", "查看计划；移除注解后即执行。"}},
	{"RemovalHeld", Warning, Text{"Most targets would go for reasons that are about nodes; they stay for now.", "大部分后端将因节点原因被移除，暂时保留。"}, Text{"Look at the nodes and the selector; clbsync.io/allow-removal: \"true\" lets them go.", "检查节点和选择器；clbsync.io/allow-removal: \"true\" 可放行。"}},
	{"DriftDetected", Warning, Text{"Somebody else changed the CLB: what, and between which two times.", "CLB 被他人改动：内容及发生的时间段。"}, Text{"Find out who; clbsync.io/drift decides whether it is set right.", "查明改动者；由 clbsync.io/drift 决定是否改回。"}},

	{"LoadBalancerLeft", Warning, Text{"The Service goes and its CLB stays: somebody took its tags off, so it is nobody's here to delete.", "Service 已删除但 CLB 保留：其标签已被人移除，控制器无权删除。"}, Text{"Delete the CLB in the console if nobody needs it.", "若无人使用，请在控制台删除该 CLB。"}},
	{"OrphansFound", Warning, Text{"On the leader's Lease: something in the cloud carries this cluster's tags and belongs to no Service, in two readings 10 minutes apart or more.", "位于选主的 Lease 上：云上有资源带有本集群的标签，但不属于任何 Service（两次读取间隔至少 10 分钟）。"}, Text{"kubectl clb orphans lists it, and deletes what you name.", "用 kubectl clb orphans 查看，并删除指定的资源。"}},

	{"BadAnnotation", Warning, Text{"An annotation cannot be followed.", "某个注解无法执行。"}, Text{"Mend it: see annotations.md.", "修正注解，参见 annotations.zh-CN.md。"}},
	{"UnsupportedProtocol", Warning, Text{"A port has a protocol that CLB has not.", "端口协议不受 CLB 支持。"}, Text{"Use TCP or UDP.", "改用 TCP 或 UDP。"}},
	{"UnsupportedIPFamily", Warning, Text{"The Service has no endpoints of the CLB's family, or an IPv6 CLB has no subnet; nothing is created or changed.", "Service 没有与 CLB 地址族一致的端点，或 IPv6 CLB 未指定子网；不做任何创建或变更。"}, Text{"The message says what is missing.", "按消息补全。"}},
	{"SecondIPFamily", Warning, Text{"A CLB has one family, the Service has two: the other one is left out.", "一个 CLB 只有一个地址族，双栈 Service 的另一个地址族未提供。"}, Text{"Make a second Service for it.", "为其另建一个 Service。"}},
	{"PodOnHostNetwork", Warning, Text{"Pods in the network of their node are left out of direct access.", "直连模式下不绑定主机网络的 Pod。"}, Text{"Take hostNetwork off, or use node ports.", "去掉 hostNetwork，或使用 NodePort。"}},
	{"NoPodToBind", Warning, Text{"No pod can be bound in direct access (TKE: E4033).", "直连模式下没有可绑定的 Pod（TKE：E4033）。"}, Text{"See [direct access](direct-access.md).", "见[直连 Pod](direct-access.zh-CN.md)。"}},
	{"TargetTaken", Warning, Text{"Two ports of the Service lead to one address and port of a pod, which CLB binds to one listener of a protocol (TKE: E4036).", "Service 的两个端口指向 Pod 的同一地址和端口，而 CLB 同协议只能绑定到一个监听器（TKE：E4036）。"}, Text{"Give them different target ports, or use node ports.", "使用不同的 targetPort，或使用 NodePort。"}},
	{"AnnotationIgnored", Warning, Text{"An annotation is about pods as targets and the targets are nodes, or the other way round.", "注解针对以 Pod 为后端的场景而后端是节点，或者相反。"}, Text{"Remove it, or switch direct access.", "移除该注解，或切换直连模式。"}},
	{"UnsupportedSourceRanges", Warning, Text{"spec.loadBalancerSourceRanges cannot be kept, so no CLB is made and no port opened; a CLB that is there lets in whom it let in before, and goes on.", "无法满足 spec.loadBalancerSourceRanges，因此不创建 CLB、不开放新端口；已有的 CLB 保持原有放通范围，其余照常。"}, Text{"Remove it, or restrict addresses in the nodes' security group.", "移除该字段，或用节点安全组限制来源。"}},
	{"NoNodePort", Warning, Text{"A port has no nodePort.", "端口没有 nodePort。"}, Text{"Set spec.allocateLoadBalancerNodePorts to true.", "将 spec.allocateLoadBalancerNodePorts 设为 true。"}},
	{"PortTaken", Warning, Text{"Another listener has the place (TKE: E4014).", "监听器的位置已被占用（TKE：E4014）。"}, Text{"Delete that listener, or use another port.", "删除该监听器，或换用其他端口。"}},
	{"SessionTimeoutClamped", Warning, Text{"The affinity timeout is brought into CLB's range.", "会话保持时间被限制到 CLB 允许的范围。"}, Text{"Set sessionAffinityConfig.clientIP.timeoutSeconds to 30 to 3600.", "将 sessionAffinityConfig.clientIP.timeoutSeconds 设为 30 到 3600。"}},
	{"ListenerReplaced", Warning, Text{"The protocol of a port has changed: the old listener goes and a new one comes, and connections through it end.", "端口的协议已变更：删除旧监听器并新建，其上的连接会中断。"}, Text{}},
	{"ProtocolImpossible", Warning, Text{"specify-protocol asks for a protocol that the node port cannot have.", "specify-protocol 指定的协议与 NodePort 的协议不符。"}, Text{"Add a port of the other protocol, or use direct-access.", "增加相应协议的端口，或使用直连模式。"}},
	{"CertificateUnknown", Warning, Text{"A listener waits for its certificate: the message names the Secret and the key. What is there stays, everything else goes on.", "监听器在等待证书，消息中指明 Secret 和键。已有的保持不变，其余照常进行。"}, Text{"Make the Secret: type Opaque, key qcloud_cert_id.", "创建 Secret：Opaque 类型，键为 qcloud_cert_id。"}},
	{"ListenerSettingIgnored", Warning, Text{"A listener, or the CLB, cannot have a setting that is asked for.", "监听器或 CLB 不支持所要求的某项设置。"}, Text{"Remove it, or use a protocol that has it.", "移除该设置，或换用支持它的协议。"}},
	{"ServiceConfigNotFound", Warning, Text{"The TkeServiceConfig that the Service names does not exist (TKE: E4026); the defaults hold.", "Service 引用的 TkeServiceConfig 不存在（TKE：E4026），使用默认值。"}, Text{"Make it, or mend the annotation.", "创建该对象，或修正注解。"}},
	{"BadServiceConfig", Warning, Text{"A section of the TkeServiceConfig cannot be followed and is left out.", "TkeServiceConfig 的某一小节无法执行，已忽略。"}, Text{"Mend it: see tke-service-config.md.", "修正该小节，参见 tke-service-config.zh-CN.md。"}},
	{"CreateTimeOnly", Warning, Text{"The CLB, or a setting that can only be made at its creation, stays as it is though the manifest says otherwise.", "CLB 或只能在创建时生效的设置与清单不符，保持不变。"}, Text{"To get another CLB, change spec.type to ClusterIP and back.", "如需新 CLB，将 spec.type 改为 ClusterIP 再改回。"}},
	{"WeightedBalanceIgnored", Warning, Text{"Weights by pods need Local and only-bind.", "按 Pod 数加权需要 Local 和只绑定 Pod 所在节点。"}, Text{"Set both, or remove the annotation.", "同时设置两者，或移除注解。"}},
	{"TargetQuotaExceeded", Warning, Text{"There are more nodes than a listener may have targets.", "节点数超过监听器的后端配额。"}, Text{"Ask for a larger quota, or choose nodes.", "申请提高配额，或限定节点。"}},
	{"RefusedByCLB", Warning, Text{"CLB refuses one target, listener or setting; the rest goes on.", "CLB 拒绝了某个后端、监听器或设置；其余照常进行。"}, Text{"What the message says; it is tried again with growing pauses.", "按消息处理；会以递增的间隔重试。"}},
	{"UnAvailableLoadBalancer", Warning, Text{"No node can be bound; the message counts why.", "没有可绑定的节点，消息中按原因计数。"}, Text{"Look at the nodes.", "检查节点。"}},
	{"DuplicateLoadBalancer", Warning, Text{"A second CLB carries the tags of the Service.", "另有一个 CLB 带有该 Service 的标签。"}, Text{"Delete it, or take its tag off.", "删除该 CLB 或移除其标签。"}},

	{"Skipped", Warning, Text{"The annotation service.cloud.tencent.com/mode is \"skip\": nothing in the cloud is changed for the Service.", "注解 service.cloud.tencent.com/mode 为 \"skip\"：不修改该 Service 的任何云上资源。"}, Text{"Remove the annotation to let everything go on.", "移除该注解后恢复正常。"}},
	{"LoadBalancerNotFound", Warning, Text{"The CLB that tke-existed-lbid names does not exist (TKE: E4011).", "tke-existed-lbid 指定的 CLB 不存在（TKE：E4011）。"}, Text{"Mend the ID, or make the CLB.", "修正 ID，或创建该 CLB。"}},
	{"LoadBalancerOfAnotherService", Warning, Text{"The CLB that tke-existed-lbid names was bought for a Service (TKE: E4012).", "tke-existed-lbid 指定的 CLB 是为某个 Service 购买的（TKE：E4012）。"}, Text{"Name a CLB that a person made.", "改用自行创建的 CLB。"}},
	{"LoadBalancerOfAnotherCluster", Warning, Text{"The CLB that tke-existed-lbid names is used by another cluster (TKE: E4013).", "tke-existed-lbid 指定的 CLB 已被其他集群使用（TKE：E4013）。"}, Text{"Name another one; or take its tag tke-clusterId off if that cluster is gone.", "改用其他 CLB；若该集群已不存在，移除标签 tke-clusterId。"}},
	{"LoadBalancerInAnotherVPC", Warning, Text{"The CLB that tke-existed-lbid names is in another VPC than it has to be.", "tke-existed-lbid 指定的 CLB 不在所需的 VPC 中。"}, Text{"Name a CLB of the cluster's VPC, or set service.cloud.tencent.com/cross-vpc-id.", "改用集群所在 VPC 的 CLB，或设置 service.cloud.tencent.com/cross-vpc-id。"}},
	{"LoadBalancerNotTagged", Warning, Text{"The tag tke-clusterId of a CLB that is shared could not be set, or not be taken off.", "无法设置或移除共用 CLB 的标签 tke-clusterId。"}, Text{"Grant tag:TagResources and tag:UnTagResources, or do it by hand.", "授予 tag:TagResources 和 tag:UnTagResources 权限，或手动处理。"}},

	{"NodeDeleted", Log, Text{"The node is being deleted.", "节点正在删除。"}, Text{}},
	{"NodeExcluded", Log, Text{"The node is labelled node.kubernetes.io/exclude-from-external-load-balancers.", "节点带有 node.kubernetes.io/exclude-from-external-load-balancers 标签。"}, Text{}},
	{"NodeControlPlane", Log, Text{"Control plane nodes are no targets (controlPlaneNodes).", "控制面节点不作为后端（controlPlaneNodes）。"}, Text{}},
	{"NodeVirtual", Log, Text{"Virtual nodes have no NodePort.", "虚拟节点没有 NodePort。"}, Text{}},
	{"NodeInstanceUnknown", Log, Text{"The node's CVM instance is not known.", "未找到节点对应的 CVM 实例。"}, Text{"Check its providerID or address.", "检查其 providerID 或内网地址。"}},
	{"NodeDraining", Log, Text{"The node is about to go, so it gets no new connections.", "节点即将下线，不再接收新连接。"}, Text{}},
	{"NodeNotReady", Log, Text{"The node is not ready (notReadyNodes).", "节点未就绪（notReadyNodes）。"}, Text{}},
	{"NodeWithoutIPv6", Log, Text{"A node has no IPv6 InternalIP, so an IPv6 CLB cannot have it.", "节点没有 IPv6 InternalIP，IPv6 CLB 无法绑定。"}, Text{}},
	{"NodeNotSelected", Warning, Text{"The selector of the backends matches no node; the present targets stay.", "后端选择器未匹配任何节点，保留现有后端。"}, Text{"Mend the selector, or label nodes.", "修正选择器，或给节点打标签。"}},
	{"NodeBeyondQuota", Log, Text{"The node is one too many for the quota.", "节点超出配额。"}, Text{}},

	{"InSync", Condition, Text{"The CLB is as the Service asks.", "CLB 与 Service 的要求一致。"}, Text{}},
	{"NoEndpoints", Condition, Text{"It is, and the Service has no endpoints.", "已一致，但 Service 没有端点。"}, Text{"Look at the pods.", "检查 Pod。"}},
	{"NoPorts", Condition, Text{"No port can have a listener.", "没有端口可以建立监听器。"}, Text{"See the other Events.", "参见其他事件。"}},
	{"DriftReported", Condition, Text{"What others changed is left as found.", "他人的改动保持现状。"}, Text{"Set it right, or clbsync.io/drift: repair.", "自行改回，或设置 clbsync.io/drift: repair。"}},
	{"PlanOnly", Condition, Text{"Changes are planned and not made; a Service that is being deleted stays.", "变更只作计划不执行；正在删除的 Service 会保留。"}, Text{"Remove the annotation clbsync.io/mode.", "移除注解 clbsync.io/mode。"}},
	{"WaitingForHealth", Condition, Text{"Old targets, or the old listener of a port that changes between TCP and UDP, stay until new targets are healthy.", "旧后端（或端口在 TCP 与 UDP 之间变更时的旧监听器）保留至新后端健康。"}, Text{"If it lasts, look at the pods and the health check.", "若持续，检查 Pod 和健康检查。"}},
	{"WaitingForRoom", Condition, Text{"The listener has as many targets as it may.", "监听器的后端已达上限。"}, Text{}},
	{"WaitingForListener", Condition, Text{"Another listener still has a target.", "后端仍被另一监听器占用。"}, Text{}},
	{"WaitingForNode", Condition, Text{"A node is given time to program its rules (UDP).", "等待节点下发规则（UDP）。"}, Text{}},
	{"NoOtherTarget", Condition, Text{"A target stays, since no other can take its traffic.", "没有其他后端可接收流量，因此保留。"}, Text{"Look at the nodes.", "检查节点。"}},
	{"NothingHeld", Condition, Text{"No removal is held.", "没有被暂停的移除。"}, Text{}},
	{"TargetsDraining", Condition, Text{"Targets get no new connections.", "部分后端不再接收新连接。"}, Text{}},
	{"NoTargetDrains", Condition, Text{"Every target gets new connections.", "所有后端均接收新连接。"}, Text{}},
	{"TargetQuota", Condition, Text{"There are more nodes than a listener may have targets.", "节点数超过监听器的后端配额。"}, Text{"Ask for a larger quota, or choose nodes.", "申请提高配额，或限定节点。"}},
	{"CloudQuota", Condition, Text{"A quota of the account is used up.", "账号配额已用尽。"}, Text{"Free what is not used, or ask for more.", "释放闲置资源，或申请提高配额。"}},
	{"WithinQuota", Condition, Text{"No quota is in the way.", "未受配额限制。"}, Text{}},
	{"CallFailed", Condition, Text{"A call failed with an outcome that is not known.", "调用失败，结果未知。"}, Text{"Nothing, unless it lasts.", "若持续再处理。"}},
	{"Throttled", Condition, Text{"The API takes no more requests.", "API 请求被限频。"}, Text{"If it lasts, lower rateLimits or find out who else uses the account.", "若持续，降低 rateLimits 或查明账号的其他调用方。"}},
	{"CLBBusy", Condition, Text{"Another change of the CLB is running.", "CLB 正在执行另一变更。"}, Text{}},
	{"CLBChanged", Condition, Text{"Somebody else changed the CLB at the same time.", "CLB 同时被他人改动。"}, Text{}},
	{"RequestInvalid", Condition, Text{"CLB refuses the request.", "CLB 拒绝该请求。"}, Text{"Mend the Service or the cloud config.", "修正 Service 或云配置。"}},
	{"RequestDenied", Condition, Text{"Rights, credentials or money are missing.", "缺少权限、凭证或余额。"}, Text{"What the message says.", "按消息处理。"}},
	{"SyncFailed", Condition, Text{"The API server refused something.", "API Server 拒绝了请求。"}, Text{"What the message says.", "按消息处理。"}},

	{"TargetHealthy", Gate, Text{"The pod's node is a healthy target everywhere.", "Pod 所在节点在所有监听器上均健康。"}, Text{}},
	{"WaitingForTarget", Gate, Text{"The pod's node is not a healthy target yet.", "Pod 所在节点尚未健康。"}, Text{}},
	{"NoLoadBalancer", Gate, Text{"No Service of this controller selects the pod.", "没有本控制器的 Service 选中该 Pod。"}, Text{}},
	{"NothingToWaitFor", Gate, Text{"The pod's node is to be no target, or cannot be healthy before the pod is ready.", "Pod 所在节点不作为后端，或在 Pod 就绪前不可能健康。"}, Text{}},
	{"DeadlineExceeded", Gate, Text{"The gate opened though a target is not healthy.", "后端未健康，但门控已到期打开。"}, Text{"Look at the health of the node's targets.", "检查该节点后端的健康状态。"}},
}
