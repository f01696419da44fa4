// SPDX-License-Identifier: Apache-2.0

package cloud

import (
	"fmt"
	"slices"
	"strings"
)

// Error is what the API puts into the envelope instead of a result.
type Error struct {
	Code    string
	Message string
}

func (e *Error) Error() string { return e.Code + ": " + e.Message }

func errorf(code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

// The codes that the rules of this package raise. What leaves the API is
// narrowed to the codes that the action documents, see narrow.
const (
	codeFailed            = "FailedOperation"
	codeBusy              = "FailedOperation.ResourceInOperating"
	codeLBStatus          = "FailedOperation.InvalidLBStatus"
	codeTargetNumRisk     = "FailedOperation.TargetNumCheckRisk"
	codeFrequencyRisk     = "FailedOperation.FrequencyCheckRisk"
	codeInvalid           = "InvalidParameter"
	codeFormat            = "InvalidParameter.FormatError"
	codeLBNotFound        = "InvalidParameter.LBIdNotFound"
	codeRegionNotFound    = "InvalidParameter.RegionNotFound"
	codeListenerNotFound  = "InvalidParameter.ListenerIdNotFound"
	codeLocationNotFound  = "InvalidParameter.LocationNotFound"
	codePortConflict      = "InvalidParameter.PortCheckFailed"
	codeTokenDead         = "InvalidParameter.ClientTokenLimitExceeded"
	codeValue             = "InvalidParameterValue"
	codeDuplicate         = "InvalidParameterValue.Duplicate"
	codeFilter            = "InvalidParameterValue.InvalidFilter"
	codeLength            = "InvalidParameterValue.Length"
	codeRange             = "InvalidParameterValue.Range"
	codeLimit             = "LimitExceeded"
	codeMissing           = "MissingParameter"
	codeNoResource        = "ResourceInsufficient"
	codeUnsupported       = "UnsupportedOperation"
	codeUnknownParameter  = "UnknownParameter"
	codeUnsupportedRegion = "UnsupportedRegion"
)

func missing(field string) *Error {
	return errorf(codeMissing, "The request is missing a required parameter `%s`.", field)
}

// common are codes that any action of any service may answer with.
var common = []string{
	"AuthFailure", "UnauthorizedOperation", "RequestLimitExceeded", "InternalError",
	codeMissing, codeUnknownParameter, codeUnsupported, codeUnsupportedRegion,
	"InvalidAction", "NoSuchVersion", "NoSuchProduct",
}

// narrow replaces a dotted code that the action does not document by the
// longest prefix that it does. The real API is inconsistent in just this way:
// a lost CLB is InvalidParameter.LBIdNotFound in BatchRegisterTargets and
// plain InvalidParameter in RegisterTargets. A client that only knows the
// dotted form must fail here too.
func narrow(documented []string, code string) string {
	for c := code; ; {
		if slices.Contains(documented, c) || slices.Contains(common, c) {
			return c
		}
		dot := strings.LastIndexByte(c, '.')
		if dot < 0 {
			return c
		}
		c = c[:dot]
	}
}
