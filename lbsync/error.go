// SPDX-License-Identifier: Apache-2.0

package lbsync

import (
	"errors"
	"fmt"
)

// Kind says what to do about an error of the cloud's API.
type Kind int

// The kinds of error. Only Throttled and Busy are known not to have run, so only they are ever replayed;
// after any other failure the state is read and a new plan made.
const (
	Unknown   Kind = iota // outcome unknown, or no rule: read, then plan again
	Throttled             // too many requests
	Busy                  // another change of the same CLB is running
	NotFound              // the CLB, listener or target is gone
	Conflict              // the port or target is taken, or there already
	Invalid               // the request is wrong, and will be until the manifest changes
	Quota                 // a limit of the account or of the CLB
	Denied                // credentials, rights, arrears: a person has to act
)

func (k Kind) String() string {
	return [...]string{"Unknown", "Throttled", "Busy", "NotFound", "Conflict", "Invalid", "Quota", "Denied"}[k]
}

// Error is a failure that the cloud's API answered, or the lack of an answer.
type Error struct {
	Kind      Kind
	Action    string // "RegisterTargets"
	Code      string // "InvalidParameter.LBIdNotFound"; "" if there was no answer
	RequestID string // what Tencent Cloud's support asks for; may be empty
	Hint      string // what the user can do, a sentence; may be empty
	Err       error  // what the API said
}

func (e *Error) Error() string {
	s := fmt.Sprintf("%s: %v", e.Action, e.Err)
	if e.Hint != "" {
		s += " (" + e.Hint + ")"
	}
	return s
}

func (e *Error) Unwrap() error { return e.Err }

// KindOf returns the kind of the first Error in err's tree, Unknown if there is none.
func KindOf(err error) Kind {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Kind
	}
	return Unknown
}
