// SPDX-License-Identifier: Apache-2.0

package clb

import "regexp"

// What a message says, in the languages of the API. CLB documents a dotted code only for some actions and answers
// others with the part before the dot: what matters is then in the message alone.
var (
	saysBusy    = regexp.MustCompile(`(?i)not in normal (des)?state|your task is working|tasks? (are|is) being processed|正在(操作|处理|执行)`)
	saysGone    = regexp.MustCompile(`(?i)\b(lb|load ?balancers?|listeners?|instances?|targets?)(\W+[\w-]+){0,3}\W+((do|does|is|are) )?not (exist|found)|(负载均衡|监听器|实例|后端)[^，。]{0,40}不存在`)
	saysQuota   = regexp.MustCompile(`(?i)\bquota\b|配额`)
	saysTaken   = regexp.MustCompile(`(?i)\bports?\b[^.]{0,60}\b(in use|occupied|conflicts?)\b|端口[^，。]{0,40}(占用|冲突)`)
	saysArrears = regexp.MustCompile(`(?i)insufficient balance|in arrears|欠费|余额不足`)
)

// What several rows say alike, once.
const (
	doMend, doMendZH     = "mend the field or annotation that the message names", "修正消息中指出的字段或注解"
	doWait, doWaitZH     = "nothing, unless it lasts; then give Tencent Cloud's support the request ID in the log", "若持续，将日志中的 RequestId 提供给腾讯云支持"
	doRegion, doRegionZH = "check region in the cloud config", "检查云配置中的 region"
)

var (
	rowBusy    = Code{Class: ClassBusy, Means: "another change of the same CLB is running", MeansZH: "同一 CLB 的另一项变更正在执行"}
	rowArrears = Code{Class: ClassArrears, TKE: "E4009", Means: "the account is in arrears", MeansZH: "账号欠费", Do: "top it up", DoZH: "请充值"}
	rowRights  = Code{Class: ClassCredentials, TKE: "E4001", Means: "the account or role in use may not do this", MeansZH: "所用账号或角色没有该权限", Do: "grant this action in CAM", DoZH: "在 CAM 中授予该操作的权限"}
	rowGone    = Code{Class: ClassGone, Means: "the resource is gone", MeansZH: "资源已不存在"}
	rowQuota   = Code{Class: ClassQuota, Means: "a quota is used up", MeansZH: "配额已用尽", Do: "see DescribeQuota, and ask for more in the console", DoZH: "查看 DescribeQuota，并在控制台申请提高配额"}
	rowTaken   = Code{Class: ClassConflict, TKE: "E4014", Means: "the port is taken by another listener of this CLB", MeansZH: "该端口已被此 CLB 的其他监听器占用", Do: "delete that listener, or use another port", DoZH: "删除该监听器，或换用其他端口"}
	rowFilter  = Code{Class: ClassPermanent, Means: "CLB does not take a filter of the request", MeansZH: "查询条件有误", Do: "report it: it is a fault of this program", DoZH: "请反馈：这是程序缺陷"}
)

// as returns the row for a code.
func (c Code) as(code string) Code { c.Code = code; return c }

// said returns the row for any code whose message says so.
func (c Code) said(says *regexp.Regexp) Code { c.says = says; return c }

// codes is searched from the top, so the special stands above the general.
var codes = []Code{
	{Code: "ClientError.NetworkError", Class: ClassUnknown,
		Means: "no answer from the API", MeansZH: "API 没有应答", Do: "check its endpoint, DNS and the way out of this network", DoZH: "检查接入点、DNS 以及本网络的出口"},
	{Code: "ClientError.HttpStatusCodeError", Class: ClassUnknown,
		Means: "the answer has an HTTP status that the API never gives", MeansZH: "应答的 HTTP 状态码不是该 API 会返回的", Do: "find out which proxy or gateway stands in between; if there is none, the service is overloaded and it passes", DoZH: "检查中间的代理或网关；若没有，则是服务过载，会自行恢复"},
	{Code: "ClientError", Class: ClassUnknown,
		Means: "the answer is not the API's", MeansZH: "应答不是来自该 API", Do: "a proxy or gateway may stand in between, or the service is overloaded", DoZH: "中间可能有代理或网关，或服务过载"},

	{Code: "RequestLimitExceeded", Class: ClassThrottled,
		Means: "too many API requests of this account", MeansZH: "该账号的 API 请求过多", Do: "if it lasts, lower rateLimits in the cloud config, or find out who else uses the account", DoZH: "若持续，降低云配置中的 rateLimits，或查明还有谁在使用该账号"},
	rowBusy.as("FailedOperation.ResourceInOperating"),
	{Code: "FailedOperation.ResourceInCloning", Class: ClassBusy,
		Means: "the CLB is being cloned", MeansZH: "该 CLB 正在克隆"},
	{Code: "FailedOperation.InvalidLBStatus", Class: ClassBusy,
		Means: "the CLB is not in service at the moment", MeansZH: "该 CLB 暂不可用", Do: "if it lasts, look at the CLB in the console", DoZH: "若持续，在控制台查看该 CLB"},

	rowArrears.as("FailedOperation.InsufficientBalance"),
	{Code: "FailedOperation.TargetNumCheckRisk", Class: ClassGuard,
		Means: "CLB keeps an instance with 20 or more targets from deletion", MeansZH: "后端达到 20 个的 CLB 受删除保护", Do: "our targets are taken off first; if others have listeners on it, remove those", DoZH: "控制器会先解绑自己的后端；若 CLB 上有他人的监听器，请先删除"},
	{Code: "FailedOperation.TrafficCheckRisk", Class: ClassGuard,
		Means: "CLB keeps an instance with more than 10 Mbps of traffic in the last 5 minutes from deletion", MeansZH: "最近 5 分钟流量超过 10 Mbps 的 CLB 受删除保护", Do: "wait, it passes; to hurry, delete it in the console", DoZH: "等待即可；如需立即删除，请在控制台操作"},
	{Code: "FailedOperation.EipTrafficCheckRisk", Class: ClassGuard,
		Means: "CLB keeps an instance whose EIP has traffic from deletion", MeansZH: "绑定的 EIP 仍有流量的 CLB 受删除保护", Do: "wait, or switch the EIP's protection against mistakes off in its console", DoZH: "等待，或在 EIP 控制台关闭防误操作检测"},
	{Code: "FailedOperation.FrequencyCheckRisk", Class: ClassQuota,
		Means: "CLB allows 30 deletions in 5 minutes in a region", MeansZH: "一个地域 5 分钟内最多删除 30 个 CLB", Do: "wait, it is tried again", DoZH: "等待，会自动重试"},
	{Code: "FailedOperation.NoListenerInLB", Class: ClassPermanent,
		Means: "a CLB without listeners cannot be stopped", MeansZH: "没有监听器的 CLB 不能停止"},

	{Code: "AuthFailure.SignatureExpire", Class: ClassCredentials,
		Means: "the clock of this machine is off by more than 5 minutes", MeansZH: "本机时钟偏差超过 5 分钟", Do: "synchronize it", DoZH: "请同步时钟"},
	{Code: "AuthFailure.TokenFailure", Class: ClassCredentials,
		Means: "the token of temporary credentials is wrong or has expired", MeansZH: "临时凭证的 Token 有误或已过期", Do: "check where the credentials come from: TKE OIDC, the CVM's role, or a fixed token that nobody renews", DoZH: "检查凭证来源：TKE OIDC、CVM 角色，或无人更新的固定 Token"},
	rowRights.as("AuthFailure.UnauthorizedOperation"),
	{Code: "AuthFailure", Class: ClassCredentials,
		Means: "the credentials are not accepted", MeansZH: "凭证未被接受", Do: "check the credentials: secretID and secretKey, and the token if they are temporary", DoZH: "检查凭证：secretID 与 secretKey，临时凭证还包括 token"},
	rowRights.as("UnauthorizedOperation"),
	{Code: "OperationDenied", Class: ClassGuard,
		Means: "the operation is locked for this resource", MeansZH: "该资源禁止此操作", Do: "look for a protection, such as against modification or deletion, in the console", DoZH: "在控制台检查是否开启了修改或删除等保护"},
	{Code: "UnsupportedRegion", Class: ClassCredentials,
		Means: "there is no such region", MeansZH: "地域不存在", Do: doRegion, DoZH: doRegionZH},
	{Code: "InvalidParameter.RegionNotFound", Class: ClassCredentials, TKE: "E4075",
		Means: "there is no such region", MeansZH: "地域不存在", Do: doRegion, DoZH: doRegionZH},

	{Code: "InvalidParameter.LBIdNotFound", Class: ClassGone, TKE: "E4011",
		Means: "the CLB is gone", MeansZH: "CLB 已不存在", Do: "if it was deleted by mistake: another one is made in its place, with another address, unless it is an existing one that the Service names", DoZH: "若属误删：控制器会新建一个（地址会变），Service 指定的已有 CLB 除外"},
	{Code: "InvalidParameter.ListenerIdNotFound", Class: ClassGone,
		Means: "the listener is gone", MeansZH: "监听器已不存在"},
	{Code: "InvalidParameter.LocationNotFound", Class: ClassGone,
		Means: "the forwarding rule is gone", MeansZH: "转发规则已不存在"},
	{Code: "InvalidParameter.SomeRewriteNotFound", Class: ClassGone,
		Means: "the redirection is gone", MeansZH: "重定向规则已不存在"},
	{Code: "InvalidInstanceId.NotFound", Class: ClassGone,
		Means: "the CVM instance is gone", MeansZH: "CVM 实例已不存在"},
	{Code: "InvalidSecurityGroupID.NotFound", Class: ClassGone,
		Means: "the security group is gone", MeansZH: "安全组已不存在"},
	rowGone.as("ResourceNotFound"),

	rowTaken.as("InvalidParameter.PortCheckFailed"),
	{Code: "InvalidParameter.RewriteAlreadyExist", Class: ClassConflict,
		Means: "the rule has a redirection already", MeansZH: "转发规则已有重定向"},
	{Code: "InvalidParameterValue.Duplicate", Class: ClassConflict, TKE: "E4036",
		Means: "it is there already, or stands twice in the request", MeansZH: "已存在，或在请求中重复"},
	{Code: "UnsupportedOperation.VersionMismatch", Class: ClassConflict,
		Means: "somebody else changed the security group at the same time", MeansZH: "安全组同时被他人修改"},
	{Code: codeTokenDead, Class: ClassConflict,
		Means: "an earlier order of this Service failed, or is too old", MeansZH: "该 Service 先前的订单已失败或已过期"},

	{Code: "LimitExceeded", Action: actionCreate, Class: ClassQuota, TKE: "E4004",
		Means: "the account has as many CLBs as it may", MeansZH: "账号的 CLB 数量已达上限", Do: "delete CLBs that nothing uses (kubectl clb orphans), or ask for more in the console", DoZH: "删除闲置的 CLB（kubectl clb orphans），或在控制台申请提高配额"},
	{Code: "LimitExceeded", Action: "CreateListener", Class: ClassQuota,
		Means: "the CLB has as many listeners as it may", MeansZH: "该 CLB 的监听器数量已达上限", Do: "use fewer ports, or ask for more in the console", DoZH: "减少端口，或在控制台申请提高配额"},
	{Code: "LimitExceeded", Action: actionRegister, Class: ClassQuota,
		Means: "the listener has as many targets as it may", MeansZH: "该监听器的后端数量已达上限", Do: "choose nodes with an annotation, or ask for more in the console (TOTAL_TARGET_BIND_QUOTA)", DoZH: "用注解选择节点，或在控制台申请提高配额（TOTAL_TARGET_BIND_QUOTA）"},
	{Code: "LimitExceeded", Action: "CreateSecurityGroup", Class: ClassQuota,
		Means: "the account has as many security groups as it may", MeansZH: "账号的安全组数量已达上限", Do: "delete groups that nothing uses (kubectl clb orphans), or ask for more in the console", DoZH: "删除闲置的安全组（kubectl clb orphans），或在控制台申请提高配额"},
	rowQuota.as("LimitExceeded"),
	{Code: "ResourceInsufficient", Action: actionCreate, Class: ClassCapacity, TKE: "E4008",
		Means: "the subnet has no free address, or Tencent Cloud has no CLB left there", MeansZH: "子网没有可用 IP，或该处 CLB 资源不足", Do: "try another subnet or zone", DoZH: "换用其他子网或可用区"},
	{Code: "ResourceInsufficient", Class: ClassCapacity,
		Means: "Tencent Cloud has none left", MeansZH: "腾讯云资源不足", Do: "wait, or try another zone", DoZH: "等待，或换用其他可用区"},
	{Code: "ResourcesSoldOut", Class: ClassCapacity,
		Means: "Tencent Cloud has none left", MeansZH: "腾讯云资源已售罄", Do: "try another zone", DoZH: "换用其他可用区"},
	{Code: "ResourceInUse", Class: ClassBusy,
		Means: "something else uses the resource at the moment", MeansZH: "资源正被占用"},
	{Code: "ResourceUnavailable", Class: ClassBusy,
		Means: "the resource is not available at the moment", MeansZH: "资源暂不可用"},

	rowBusy.said(saysBusy),
	rowGone.said(saysGone),
	rowTaken.said(saysTaken),
	rowArrears.said(saysArrears),
	rowQuota.said(saysQuota),

	{Code: "InvalidParameter.ProtocolCheckFailed", Class: ClassPermanent,
		Means: "the listener's protocol does not go with the request", MeansZH: "监听器协议不支持该操作"},
	rowFilter.as("InvalidParameter.InvalidFilter"),
	{Code: "InvalidParameter.FormatError", Class: ClassPermanent, TKE: "E4005",
		Means: "a value has a form that CLB does not take", MeansZH: "参数格式有误", Do: doMend, DoZH: doMendZH},
	{Code: "InvalidParameterValue.Length", Class: ClassPermanent,
		Means: "a value or list is too long", MeansZH: "参数过长", Do: doMend, DoZH: doMendZH},
	{Code: "InvalidParameterValue.Range", Class: ClassPermanent,
		Means: "a number is out of the range that CLB takes", MeansZH: "数值超出 CLB 允许的范围", Do: doMend, DoZH: doMendZH},
	rowFilter.as("InvalidParameterValue.InvalidFilter"),
	{Code: "InvalidParameterValue", Class: ClassPermanent, TKE: "E4005",
		Means: "CLB does not take a value of the request", MeansZH: "参数取值有误", Do: doMend, DoZH: doMendZH},
	{Code: "InvalidParameter", Class: ClassPermanent, TKE: "E4005",
		Means: "CLB does not take the request", MeansZH: "请求参数有误", Do: doMend, DoZH: doMendZH},
	{Code: "InvalidInstanceId", Class: ClassPermanent,
		Means: "a node's instance ID is none", MeansZH: "节点的实例 ID 有误", Do: "check the providerID of the nodes", DoZH: "检查节点的 providerID"},
	{Code: "InvalidSecurityGroupID", Class: ClassPermanent,
		Means: "that is no ID of a security group", MeansZH: "安全组 ID 有误", Do: "mend the annotation that names it", DoZH: "修正指定安全组的注解"},
	{Code: "InvalidAction", Class: ClassPermanent,
		Means: "the endpoint does not know the action", MeansZH: "接入点不支持该操作", Do: "check endpoints in the cloud config", DoZH: "检查云配置中的 endpoints"},
	{Code: "MissingParameter", Class: ClassPermanent,
		Means: "something that CLB asks for is missing in the request", MeansZH: "请求缺少必需的参数", Do: doMend, DoZH: doMendZH},
	{Code: "UnknownParameter", Class: ClassPermanent,
		Means: "CLB does not know a parameter of the request", MeansZH: "请求含未知参数", Do: doMend, DoZH: doMendZH},
	{Code: "UnsupportedOperation", Class: ClassPermanent,
		Means: "the account, or this kind of CLB, cannot do that", MeansZH: "该账号或该类 CLB 不支持此操作", Do: "ask for the feature in the console, or take it out of the manifest", DoZH: "在控制台申请该功能，或从清单中移除"},
	{Code: "DryRunOperation", Class: ClassPermanent,
		Means: "the request was only tried", MeansZH: "请求仅为试运行"},

	{Code: "InternalError", Class: ClassUnknown,
		Means: "an error inside of CLB", MeansZH: "CLB 内部错误", Do: doWait, DoZH: doWaitZH},
	{Code: "InternalServerError", Class: ClassUnknown,
		Means: "an error inside of Tencent Cloud", MeansZH: "腾讯云内部错误", Do: doWait, DoZH: doWaitZH},
	{Code: "FailedOperation", Class: ClassUnknown,
		Means: "CLB failed without saying why", MeansZH: "CLB 操作失败且未说明原因", Do: doWait, DoZH: doWaitZH},
}
