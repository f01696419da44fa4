// SPDX-License-Identifier: Apache-2.0

package clb

import "github.com/clbsync/clbsync/lbsync"

// Class is what kind of trouble an answer of the API is. Each has its own way of being tried again.
type Class int

// The classes. The zero value is for what no row knows.
const (
	ClassUnknown     Class = iota // nobody knows whether it happened
	ClassThrottled                // too many requests
	ClassBusy                     // CLB is at work on the same thing
	ClassGone                     // what the request names is not there
	ClassConflict                 // what the request wants has somebody, or is there already
	ClassPermanent                // the request is wrong, and will be
	ClassQuota                    // a limit of the account
	ClassCapacity                 // Tencent Cloud, or the subnet, has none left
	ClassGuard                    // CLB, or somebody, has locked it against this
	ClassArrears                  // the account has no money
	ClassCredentials              // keys, rights, cloud config
)

// ClassRow says what becomes of answers of a class.
type ClassRow struct {
	Name, NameZH   string // "throttled"
	Kind           lbsync.Kind
	Means, MeansZH string
	Retry, RetryZH string
}

func (c Class) row() ClassRow { return classes[c] }

func (c Class) String() string { return classes[c].Name }

// classes is in the order of the constants.
var classes = [...]ClassRow{
	{"unknown outcome", "结果未知", lbsync.Unknown, "Nobody knows whether the request was carried out.", "无法确定请求是否已执行。",
		"The CLB is read again and a new plan made; a write is never repeated blindly. Pauses of 1 s, 2 s, … 5 min.", "重新读取 CLB 并重新计划，从不盲目重复写操作。间隔 1 秒、2 秒……最长 5 分钟。"},
	{"throttled", "限频", lbsync.Throttled, "Too many requests; this one was not carried out.", "请求过多，本次请求未执行。",
		"The same request is sent again after 0.5 s … 5 s for 30 s, at a lower rate; then pauses of 1 s … 5 min.", "降低速率，30 秒内按 0.5～5 秒的间隔重发同一请求；之后间隔 1 秒～5 分钟。"},
	{"busy", "繁忙", lbsync.Busy, "CLB is at work on the same resource; the request was not carried out.", "CLB 正在处理同一资源，请求未执行。",
		"As throttled.", "同“限频”。"},
	{"gone", "不存在", lbsync.NotFound, "What the request names does not exist.", "请求中指定的资源不存在。",
		"In a deletion it is success. Otherwise the CLB is read and planned anew at once, and then with pauses of 1 s … 5 min.", "删除时视为成功。其他情况立即重新读取并重新计划，之后间隔 1 秒～5 分钟。"},
	{"conflict", "冲突", lbsync.Conflict, "The port, target or token is taken, or there already.", "端口、后端或令牌已被占用或已存在。",
		"As gone. What conflicts at one listener or target holds up no other.", "同“不存在”。单个监听器或后端的冲突不影响其他部分。"},
	{"permanent", "永久错误", lbsync.Invalid, "The request is wrong, and will be until the Service or the cloud config changes.", "请求有误，在 Service 或云配置修改之前不会成功。",
		"At a change of the Service at once, otherwise about every 10 min. What is wrong with one listener or target holds up no other.", "Service 修改后立即重试，否则约每 10 分钟一次。单个监听器或后端的错误不影响其他部分。"},
	{"quota", "配额", lbsync.Quota, "A limit of the account is reached.", "达到账号的配额限制。",
		"Every 5 min, and at a change of the Service at once. The condition QuotaExceeded is True.", "每 5 分钟一次，Service 修改后立即重试。状态条件 QuotaExceeded 为 True。"},
	{"capacity", "资源不足", lbsync.Quota, "Tencent Cloud, or the subnet, has none left.", "腾讯云或子网的资源不足。",
		"As quota.", "同“配额”。"},
	{"guard", "保护", lbsync.Denied, "CLB, or somebody, has locked the resource against this.", "资源受保护，CLB 或他人禁止此操作。",
		"Every 5 min, and at a change of the Service at once.", "每 5 分钟一次，Service 修改后立即重试。"},
	{"arrears", "欠费", lbsync.Denied, "The account has no money.", "账号欠费。",
		"As guard.", "同“保护”。"},
	{"credentials", "凭证", lbsync.Denied, "Keys, rights or the cloud config are wrong.", "密钥、权限或云配置有误。",
		"Credentials are read again and the request is signed anew once; then as guard.", "重新读取凭证并重新签名一次；之后同“保护”。"},
}

// Codes returns the table, the special above the general.
func Codes() []Code { return append([]Code(nil), codes...) }

// Classes returns what becomes of each class, in the order of the constants.
func Classes() []ClassRow { return append([]ClassRow(nil), classes[:]...) }
