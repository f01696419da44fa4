// SPDX-License-Identifier: Apache-2.0

package clb

import (
	"context"
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	tcerr "github.com/tencentcloud/tencentcloud-sdk-go/tencentcloud/common/errors"

	"github.com/clbsync/clbsync/lbsync"
)

func TestClassify(t *testing.T) {
	for _, test := range []struct {
		name, code, message string
		want                lbsync.Kind
	}{
		{"throttled", "RequestLimitExceeded", "", lbsync.Throttled},
		{"throttled, with a sub-code that the SDK's retry does not know", "RequestLimitExceeded.GlobalRegionUinLimitExceeded", "", lbsync.Throttled},
		{"another change is running", "FailedOperation.ResourceInOperating", "", lbsync.Busy},
		{"another change is running, by the message", "FailedOperation", "Loadbalancer(lb-x) is not in normal desState, maybe some tasks are being processed, please try later.", lbsync.Busy},
		{"another change is running, in other words", "FailedOperation", "Your task is working (123).", lbsync.Busy},
		{"the CLB is gone", "InvalidParameter.LBIdNotFound", "", lbsync.NotFound},
		{"the CLB is gone, by the message", "InvalidParameter", "LB not exist", lbsync.NotFound},
		{"the CLB is gone, with its ID in the message", "InvalidParameterValue", "LoadBalancer lb-1a2b3c4d not exist.", lbsync.NotFound},
		{"the CLB is gone, in good English", "FailedOperation", "The load balancer lb-1 does not exist", lbsync.NotFound},
		{"the listener is gone", "InvalidParameter.ListenerIdNotFound", "", lbsync.NotFound},
		{"the instance is gone", "InvalidInstanceId.NotFound", "", lbsync.NotFound},
		{"the port is taken", "InvalidParameter.PortCheckFailed", "", lbsync.Conflict},
		{"the port is taken, by the message", "FailedOperation", "The port 80/TCP is in use by the listener lbl-1.", lbsync.Conflict},
		{"the port is taken, in Chinese", "InvalidParameter", "端口 80 已被占用", lbsync.Conflict},
		{"the target is there already", "InvalidParameterValue.Duplicate", "", lbsync.Conflict},
		{"a wrong value", "InvalidParameterValue.Range", "", lbsync.Invalid},
		{"a wrong value, without sub-code", "InvalidParameter", "HealthCheck.HttpCheckDomain can't be None", lbsync.Invalid},
		{"a wrong value that is about a VPC", "InvalidParameter", "vpc does not exist", lbsync.Invalid},
		{"a value that is missing", "MissingParameter", "", lbsync.Invalid},
		{"what the account cannot do", "UnsupportedOperation", "", lbsync.Invalid},
		{"a quota", "LimitExceeded", "", lbsync.Quota},
		{"a quota, by the message", "FailedOperation", "The quota of listeners is used up", lbsync.Quota},
		{"no capacity", "ResourceInsufficient", "", lbsync.Quota},
		{"a quota, by a message in Chinese", "FailedOperation", "监听器配额不足", lbsync.Quota},
		{"another change is running, in Chinese", "FailedOperation", "负载均衡正在操作中，请稍后重试", lbsync.Busy},
		{"the CLB is gone, in Chinese", "InvalidParameter", "负载均衡 lb-1a2b3c4d 不存在", lbsync.NotFound},
		{"arrears, by the message", "FailedOperation", "账户余额不足", lbsync.Denied},
		{"what is not available for now", "ResourceUnavailable", "", lbsync.Busy},
		{"a lock", "OperationDenied", "", lbsync.Denied},
		{"arrears", "FailedOperation.InsufficientBalance", "", lbsync.Denied},
		{"wrong credentials", "AuthFailure.SecretIdNotFound", "", lbsync.Denied},
		{"no right", "UnauthorizedOperation", "", lbsync.Denied},
		{"an unknown region", "UnsupportedRegion", "", lbsync.Denied},
		{"a guard against deletion", "FailedOperation.TargetNumCheckRisk", "", lbsync.Denied},
		{"too many deletions", "FailedOperation.FrequencyCheckRisk", "", lbsync.Quota},
		{"an error inside of CLB", "InternalError", "", lbsync.Unknown},
		{"a failure without reason", "FailedOperation", "", lbsync.Unknown},
		{"a code that nobody has heard of", "Nonsense.Really", "", lbsync.Unknown},
		{"a code that begins like a known one", "LimitExceededNot", "", lbsync.Unknown},
		{"an answer that is not the API's, whatever it says", "ClientError.ParseJsonError", "LB not exist", lbsync.Unknown},
	} {
		t.Run(test.name, func(t *testing.T) {
			e := classify("RegisterTargets", tcerr.NewTencentCloudSDKError(test.code, test.message, "req-1"))
			if e.Kind != test.want || e.Code != test.code || e.RequestID != "req-1" || e.Action != "RegisterTargets" {
				t.Errorf("got %+v, want kind %s", e, test.want)
			}
		})
	}
	t.Run("the request ID is not part of the text, or equal Events would pile up", func(t *testing.T) {
		e := classify("X", tcerr.NewTencentCloudSDKError("LimitExceeded", "full", "req-1"))
		if strings.Contains(e.Error(), "req-1") || !strings.Contains(e.Error(), "LimitExceeded: full") {
			t.Errorf("text is %q", e.Error())
		}
	})
	t.Run("the cause of a network error stays reachable", func(t *testing.T) {
		e := classify("X", tcerr.NewTencentCloudSDKErrorWithCause("ClientError.NetworkError", "Fail to get response", "", context.Canceled))
		if !errors.Is(e, context.Canceled) || e.Hint == "" {
			t.Errorf("got %v", e)
		}
	})
	t.Run("a page of a proxy is cut", func(t *testing.T) {
		e := classify("X", tcerr.NewTencentCloudSDKError("ClientError.ParseJsonError", strings.Repeat("<p>雨</p>\n", 1000), ""))
		if n := utf8.RuneCountInString(e.Err.Error()); n > 350 {
			t.Errorf("the text has %d characters", n)
		}
	})
}

// Whatever the API answers, the rules must not call for a replay of what may have run, and must not panic.
func FuzzClassify(f *testing.F) {
	for _, c := range codes {
		f.Add(c.Code, "LB not exist")
		f.Add(c.Code+".More", "not in normal desState")
	}
	f.Add("", "")
	f.Add("ClientError.NetworkError", "\xff\x00quota")
	f.Fuzz(func(t *testing.T, code, message string) {
		e := classify("A", tcerr.NewTencentCloudSDKError(code, message, ""))
		if e.Err == nil || e.Error() == "" {
			t.Errorf("%q %q: no text", code, message)
		}
		if !utf8.ValidString(shorten(message)) {
			t.Errorf("%q: the text is not UTF-8, which no Event takes", message)
		}
		if strings.HasPrefix(code, "ClientError.") && e.Kind != lbsync.Unknown {
			t.Errorf("%q %q: kind %s, want Unknown: nobody knows what became of it", code, message, e.Kind)
		}
		if strings.HasPrefix(code, "RequestLimitExceeded.") && e.Kind != lbsync.Throttled {
			t.Errorf("%q: kind %s, want Throttled", code, e.Kind)
		}
		if c := Meaning("A", code, message); c.Class == ClassBusy && c.says == nil && !strings.Contains(code, "Resource") && !strings.Contains(code, "InvalidLBStatus") {
			t.Errorf("%q is replayed without a reason", code)
		}
	})
}
