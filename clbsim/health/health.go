// SPDX-License-Identifier: Apache-2.0

// Package health decides, from probe results alone, whether a target of a
// simulated CLB is healthy, and which targets of a listener receive new
// traffic. It has no clock, sends no probe and knows no address: the
// simulator calls it with each result and with each change of a listener.
package health

import "time"

// Status is what DescribeTargetHealth reports as HealthStatusDetail.
type Status string

// The states of a target. Only Alive is healthy; Closed means that the
// listener's health check is off.
const (
	Unknown Status = "Unknown"
	Alive   Status = "Alive"
	Dead    Status = "Dead"
	Closed  Status = "Close"
)

// Check is the part of a listener's health check that decides.
type Check struct {
	Off      bool          // no probes; every target counts as healthy
	Interval time.Duration // between two probes of one target
	Rise     int           // successes in a row until a target is Alive (HealthNum)
	Fall     int           // failures in a row until it is Dead (UnHealthNum)
}

// Target is the state of one target between two probes. The zero value is not
// valid; start with New.
type Target struct {
	Status Status
	// Run counts the probes in a row that contradict Status: successes while
	// not Alive, failures (negative) while not Dead. An Unknown target can
	// have either.
	Run int
}

// New returns the state of a target that was just registered, or whose health
// check was just switched on or off. Its first probe is due one interval
// later, so that it becomes Alive no earlier than Interval × Rise.
func New(c Check) Target {
	if c.Off {
		return Target{Status: Closed}
	}
	return Target{Status: Unknown}
}

// Probed returns the state after one more probe. A Closed target ignores it.
func (t Target) Probed(c Check, ok bool) Target {
	if c.Off || t.Status == Closed {
		return New(c)
	}
	switch {
	case ok && t.Status == Alive, !ok && t.Status == Dead:
		t.Run = 0
	case ok:
		t.Run = max(t.Run, 0) + 1
		if t.Run >= c.Rise {
			return Target{Status: Alive}
		}
	default:
		t.Run = min(t.Run, 0) - 1
		if -t.Run >= c.Fall {
			return Target{Status: Dead}
		}
	}
	return t
}

// Settled tells whether further probes with the same result would change
// nothing, so that a simulation need not make them.
func (t Target) Settled(ok bool) bool {
	return t.Status == Closed || t.Run == 0 && (ok && t.Status == Alive || !ok && t.Status == Dead)
}

// Candidate is one target of a listener as Receiving sees it.
type Candidate struct {
	Weight int
	Status Status
}

// FailOpen says when a listener without a healthy target with weight sends to
// all its targets with weight. CLB's documentation says "when all are
// unhealthy"; it leaves open what that means for the two kinds below.
type FailOpen struct {
	Unprobed bool // a target that has not been probed often enough counts as unhealthy
	Drained  bool // targets of weight 0 are left out of "all": a healthy one does not prevent it
}

// Receiving returns, for each candidate, whether it gets new traffic. Weight 0
// never does. A healthy target with weight always does; an unhealthy one only
// if the listener fails open.
func Receiving(targets []Candidate, open FailOpen) []bool {
	out := make([]bool, len(targets))
	some := false
	failOpen := true
	for i, t := range targets {
		healthy := t.Status == Alive || t.Status == Closed
		out[i] = healthy && t.Weight > 0
		some = some || out[i]
		switch {
		case t.Weight == 0 && open.Drained:
		case healthy, t.Status == Unknown && !open.Unprobed:
			failOpen = false
		}
	}
	if some || !failOpen {
		return out
	}
	for i, t := range targets {
		out[i] = t.Weight > 0
	}
	return out
}
