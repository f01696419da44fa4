// SPDX-License-Identifier: Apache-2.0

// Package admin is the client of clbsim's admin port, and the form of what
// goes over it: the calls that were made, the faults to inject, the state. It
// decides nothing; tests and the lab call it, in another process or over
// clbsim.Sim's own transport.
package admin

import (
	"encoding/json"
	"time"

	"github.com/clbsync/clbsync/clbsim/cloud"
)

// State is everything that exists.
type State = cloud.State

// LoadBalancer is one CLB in a State.
type LoadBalancer = cloud.LoadBalancer

// Listener is one listener in a State.
type Listener = cloud.Listener

// Rule is one forwarding rule in a State.
type Rule = cloud.Rule

// Target is one target in a State.
type Target = cloud.Target

// Task is one asynchronous task in a State.
type Task = cloud.Task

// Instance is a CVM.
type Instance = cloud.Instance

// ExistingLoadBalancer is a CLB that is there without an order.
type ExistingLoadBalancer = cloud.ExistingLoadBalancer

// Group is one security group in a State.
type Group = cloud.Group

// Policy is one policy of a Group.
type Policy = cloud.Policy

// Isolation tells whether a CLB is isolated for arrears.
type Isolation struct {
	Isolated bool `json:"isolated"`
}

// Override forces the health of targets.
type Override = cloud.Override

// Duration reads and writes as "1.5s".
type Duration = cloud.Duration

// Call is one call of the API. It is recorded when it arrives and completed
// when it is answered.
type Call struct {
	Seq        int             `json:"seq"` // 1, 2, 3, … in order of arrival
	RequestID  string          `json:"requestId"`
	Time       time.Time       `json:"time"`     // of arrival
	Duration   time.Duration   `json:"duration"` // until it was answered, in nanoseconds
	Service    string          `json:"service"`
	Version    string          `json:"version"`
	Action     string          `json:"action"`
	Region     string          `json:"region"`
	SecretID   string          `json:"secretId"`
	Parameters json.RawMessage `json:"parameters"` // as sent; a JSON string if they were not JSON
	Write      bool            `json:"write"`      // an action that changes something
	Done       bool            `json:"done"`       // it was answered, or given up
	Code       string          `json:"code"`       // "" for success, an error code, or one of the Code constants
	Message    string          `json:"message,omitempty"`
	Fault      string          `json:"fault,omitempty"` // id of the fault that hit it
}

// What stands in Call.Code for calls that got no answer of the API.
const (
	CodeDropped     = "dropped"  // the connection was closed by a fault
	CodeUnavailable = "http 503" // by a fault
	CodeGone        = "gone"     // the caller hung up while the call was held
)

// Calls is the answer of GET /calls.
type Calls struct {
	Version int    `json:"version"` // changes when a call arrives and when one is answered
	Calls   []Call `json:"calls"`
}

// Fault makes calls fail. It applies to calls that arrive after it was added.
type Fault struct {
	ID        string   `json:"id,omitempty"`    // given by clbsim
	Action    string   `json:"action"`          // a name; "*" stands for any text
	Match     string   `json:"match,omitempty"` // only calls whose parameters contain this text
	Skip      int      `json:"skip,omitempty"`  // let that many matching calls pass first
	Count     int      `json:"count,omitempty"` // then hit that many: 0 means 1, -1 means all
	Kind      Kind     `json:"kind"`            //
	Code      string   `json:"code,omitempty"`  // of KindError
	Message   string   `json:"message,omitempty"`
	Delay     Duration `json:"delay,omitempty"`     // of KindDelay and KindTaskDelay
	Listeners []string `json:"listeners,omitempty"` // of KindPartial; "*" means all that the request names
}

// Kind is what a fault does.
type Kind string

// The kinds of faults.
const (
	KindError       Kind = "error"       // answers Code and Message, nothing is applied
	KindUnavailable Kind = "unavailable" // HTTP 503 in plain text, nothing is applied
	KindDropBefore  Kind = "drop-before" // closes the connection, nothing is applied
	KindDropAfter   Kind = "drop-after"  // closes the connection after the write was accepted
	KindDelay       Kind = "delay"       // waits before anything else
	KindHoldBefore  Kind = "hold-before" // hangs before the write is accepted, until the fault is cleared
	KindHoldAfter   Kind = "hold-after"  // hangs after it
	KindPartial     Kind = "partial"     // Batch(De)RegisterTargets: Listeners come back as failed
	KindTaskFail    Kind = "task-fail"   // the task ends with status 1 and Message, without effect
	KindTaskHang    Kind = "task-hang"   // the task does not end until the fault is cleared
	KindTaskDelay   Kind = "task-delay"  // the task takes Delay
)

// Kinds lists all kinds.
func Kinds() []Kind {
	return []Kind{
		KindError, KindUnavailable, KindDropBefore, KindDropAfter, KindDelay, KindHoldBefore, KindHoldAfter,
		KindPartial, KindTaskFail, KindTaskHang, KindTaskDelay,
	}
}
