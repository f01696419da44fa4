// SPDX-License-Identifier: Apache-2.0

package clb

import (
	"errors"
	"regexp"
	"strings"

	tcerr "github.com/tencentcloud/tencentcloud-sdk-go/tencentcloud/common/errors"

	"github.com/clbsync/clbsync/lbsync"
)

// Code is a row of the table: what an answer of the API means here, and what the user can do about it. Events and the
// reference page come out of it, so that they cannot contradict each other.
type Code struct {
	Code   string // the code itself or its part before a dot; "": any code of the API
	Action string // the only action that it is about; "": any
	Class  Class
	TKE    string // what TKE's controller calls it in its Events, such as "E4009"; "": nothing

	Means, MeansZH string // a phrase
	Do, DoZH       string // a phrase; "": nothing has to be done

	says *regexp.Regexp // what the message has to match besides; nil: anything
}

// codeTokenDead is the answer to a ClientToken whose order failed, or was too long ago.
const codeTokenDead = "InvalidParameter.ClientTokenLimitExceeded"

// Kind is how the answer is treated.
func (c Code) Kind() lbsync.Kind { return c.Class.row().Kind }

// hint is the sentence in an Event; "" for the zero row.
func (c Code) hint() string {
	if c.Do == "" {
		return c.Means
	}
	return c.Means + ": " + c.Do
}

// Meaning returns the first row that an answer matches; the zero row, whose class is ClassUnknown, if none does. action and
// message may be empty.
func Meaning(action, code, message string) Code {
	for _, c := range codes {
		if (c.Code == "" || code == c.Code || strings.HasPrefix(code, c.Code+".")) && (c.Action == "" || c.Action == action) && (c.says == nil || c.says.MatchString(message)) {
			return c
		}
	}
	return Code{}
}

// classify turns what the SDK returns into lbsync's words. err is not nil.
func classify(action string, err error) *lbsync.Error {
	sdk, ok := errors.AsType[*tcerr.TencentCloudSDKError](err)
	if !ok {
		return &lbsync.Error{Action: action, Err: err}
	}
	c := Meaning(action, sdk.Code, sdk.Message)
	e := &lbsync.Error{Kind: c.Kind(), Action: action, Code: sdk.Code, RequestID: sdk.RequestId, Hint: c.hint()}
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
