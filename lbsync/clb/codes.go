// SPDX-License-Identifier: Apache-2.0

package clb

import (
	"errors"
	"regexp"
	"strings"

	tcerr "github.com/tencentcloud/tencentcloud-sdk-go/tencentcloud/common/errors"

	"github.com/clbsync/clbsync/lbsync"
)

// rule says what an answer of the API means.
type rule struct {
	code string         // the code itself or its part before a dot; "": any code of the API
	says *regexp.Regexp // what the message has to match besides; nil: anything
	kind lbsync.Kind
	hint string
}

// rules is searched from the top, so the special stands above the general. CLB documents a dotted code only for
// some actions and answers others with the part before the dot: what matters is then in the message alone.
var rules = []rule{
	{code: "ClientError.NetworkError", kind: lbsync.Unknown, hint: "no answer from the API: check its endpoint, DNS and the way out of this network"},
	{code: "ClientError", kind: lbsync.Unknown, hint: "the answer is not the API's: a proxy or gateway may stand in between, or the service is overloaded"},

	{code: "RequestLimitExceeded", kind: lbsync.Throttled, hint: "too many API requests of this account: lower rateLimits in the cloud config"},
	{code: "FailedOperation.ResourceInOperating", kind: lbsync.Busy},
	{code: "FailedOperation.ResourceInCloning", kind: lbsync.Busy},
	{code: "FailedOperation.InvalidLBStatus", kind: lbsync.Busy},

	{code: "FailedOperation.InsufficientBalance", kind: lbsync.Denied, hint: "the account is in arrears: top it up"},
	{code: "FailedOperation.TargetNumCheckRisk", kind: lbsync.Denied, hint: "CLB keeps an instance with 20 or more targets from deletion: it is tried again when they are gone"},
	{code: "FailedOperation.TrafficCheckRisk", kind: lbsync.Denied, hint: "CLB keeps an instance with more than 10 Mbps of traffic in the last 5 minutes from deletion: it is tried again; to hurry, delete it in the console"},
	{code: "FailedOperation.EipTrafficCheckRisk", kind: lbsync.Denied, hint: "CLB keeps an instance whose EIP has traffic from deletion: it is tried again; to hurry, delete it in the console"},
	{code: "FailedOperation.FrequencyCheckRisk", kind: lbsync.Quota, hint: "CLB allows 30 deletions in 5 minutes in a region: it is tried again"},

	{code: "AuthFailure.SignatureExpire", kind: lbsync.Denied, hint: "the clock of this machine is off by more than 5 minutes: synchronize it"},
	{code: "AuthFailure.UnauthorizedOperation", kind: lbsync.Denied, hint: "grant this action in CAM to the account or role in use"},
	{code: "AuthFailure", kind: lbsync.Denied, hint: "check the credentials: secretID and secretKey, and the token if they are temporary"},
	{code: "UnauthorizedOperation", kind: lbsync.Denied, hint: "grant this action in CAM to the account or role in use"},
	{code: "OperationDenied", kind: lbsync.Denied},
	{code: "UnsupportedRegion", kind: lbsync.Denied, hint: "check region in the cloud config"},
	{code: "InvalidParameter.RegionNotFound", kind: lbsync.Denied, hint: "check region in the cloud config"},

	{code: "InvalidParameter.LBIdNotFound", kind: lbsync.NotFound},
	{code: "InvalidParameter.ListenerIdNotFound", kind: lbsync.NotFound},
	{code: "InvalidParameter.LocationNotFound", kind: lbsync.NotFound},
	{code: "InvalidInstanceId.NotFound", kind: lbsync.NotFound},
	{code: "ResourceNotFound", kind: lbsync.NotFound},

	{code: "InvalidParameter.PortCheckFailed", kind: lbsync.Conflict, hint: "the port is taken by another listener of this CLB"},
	{code: "InvalidParameterValue.Duplicate", kind: lbsync.Conflict},
	{code: codeTokenDead, kind: lbsync.Conflict},

	{code: "LimitExceeded", kind: lbsync.Quota, hint: "a quota is used up: see DescribeQuota, and ask for more in the console"},
	{code: "ResourceInsufficient", kind: lbsync.Quota, hint: "Tencent Cloud or the subnet has none left: try another subnet or zone"},
	{code: "ResourcesSoldOut", kind: lbsync.Quota, hint: "Tencent Cloud has none left: try another zone"},
	{code: "ResourceInUse", kind: lbsync.Busy},

	{says: regexp.MustCompile(`(?i)not in normal (des)?state|your task is working|tasks? (are|is) being processed`), kind: lbsync.Busy},
	{says: regexp.MustCompile(`(?i)\b(lb|load ?balancers?|listeners?|instances?|targets?)(\W+[\w-]+){0,3}\W+((do|does|is|are) )?not (exist|found)`), kind: lbsync.NotFound},
	{says: regexp.MustCompile(`(?i)\bquota\b`), kind: lbsync.Quota, hint: "a quota is used up: see DescribeQuota, and ask for more in the console"},

	{code: "InvalidParameterValue", kind: lbsync.Invalid},
	{code: "InvalidParameter", kind: lbsync.Invalid},
	{code: "InvalidInstanceId", kind: lbsync.Invalid},
	{code: "InvalidAction", kind: lbsync.Invalid},
	{code: "MissingParameter", kind: lbsync.Invalid},
	{code: "UnknownParameter", kind: lbsync.Invalid},
	{code: "UnsupportedOperation", kind: lbsync.Invalid},
}

// codeTokenDead is the answer to a ClientToken whose order failed, or was too long ago.
const codeTokenDead = "InvalidParameter.ClientTokenLimitExceeded"

// meaning returns the first rule that an answer matches; the zero rule, whose kind is Unknown, if none does.
func meaning(code, message string) rule {
	for _, r := range rules {
		if (r.code == "" || code == r.code || strings.HasPrefix(code, r.code+".")) && (r.says == nil || r.says.MatchString(message)) {
			return r
		}
	}
	return rule{}
}

// classify turns what the SDK returns into lbsync's words. err is not nil.
func classify(action string, err error) *lbsync.Error {
	sdk, ok := errors.AsType[*tcerr.TencentCloudSDKError](err)
	if !ok {
		return &lbsync.Error{Action: action, Err: err}
	}
	r := meaning(sdk.Code, sdk.Message)
	e := &lbsync.Error{Kind: r.kind, Action: action, Code: sdk.Code, RequestID: sdk.RequestId, Hint: r.hint}
	switch cause := errors.Unwrap(sdk); {
	case cause != nil:
		e.Err = cause
	default:
		// The request ID stays out of the text: Events with the same text are counted, others pile up.
		e.Err = errors.New(sdk.Code + ": " + shorten(sdk.Message))
	}
	return e
}

// shorten keeps a proxy's error page, which the SDK quotes in whole, out of Events.
func shorten(s string) string {
	const most = 300
	s = strings.Join(strings.Fields(strings.ToValidUTF8(s, "?")), " ")
	if r := []rune(s); len(r) > most {
		s = string(r[:most]) + "…"
	}
	return s
}
