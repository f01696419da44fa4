// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/clbsync/clbsync/lab/echo"
)

// Report sums up many requests. Answered and the lengths of Lost add up to Asked.
type Report struct {
	Asked    int
	Answered int
	ByPod    map[string]int     // answers by the pod that gave them
	ByNode   map[string]int     // answers by the node of that pod
	Peers    map[netip.Addr]int // answers by the client address that the pod saw
	Lost     []Event            // requests without an answer, in the order of their start
	Resent   []Event            // answers on a TCP connection that lost a packet, in the order of their start
	Slow     []Event            // answers that took longer than Load.Slow, in the order of their start
	Longest  time.Duration      // of the answered requests
}

// Event is one request worth a look.
type Event struct {
	At   time.Time // when it was started
	Took time.Duration
	Pod  string // who answered; empty if nobody
	Err  error  // nil if answered
}

// outcome is one finished request.
type outcome struct {
	at     time.Time
	took   time.Duration
	answer echo.Answer
	resent bool
	err    error
}

// summarize orders the outcomes by their start, so that a report does not depend on which request ended first.
func summarize(outcomes []outcome, slow time.Duration) Report {
	r := Report{ByPod: map[string]int{}, ByNode: map[string]int{}, Peers: map[netip.Addr]int{}}
	slices.SortStableFunc(outcomes, func(a, b outcome) int { return a.at.Compare(b.at) })
	for _, o := range outcomes {
		r.Asked++
		if o.err != nil {
			r.Lost = append(r.Lost, Event{At: o.at, Took: o.took, Err: o.err})
			continue
		}
		r.Answered++
		r.ByPod[o.answer.Pod]++
		r.ByNode[o.answer.Node]++
		r.Peers[o.answer.Peer.Addr()]++
		r.Longest = max(r.Longest, o.took)
		if o.resent {
			r.Resent = append(r.Resent, Event{At: o.at, Took: o.took, Pod: o.answer.Pod})
		}
		if slow > 0 && o.took > slow {
			r.Slow = append(r.Slow, Event{At: o.at, Took: o.took, Pod: o.answer.Pod})
		}
	}
	return r
}

// String is one line: "300 asked, 298 answered, 2 lost (timeout 1, refused 1), longest 12ms".
func (r Report) String() string {
	s := fmt.Sprintf("%d asked, %d answered, %d lost", r.Asked, r.Answered, len(r.Lost))
	causes := map[string]int{}
	for _, e := range r.Lost {
		causes[Cause(e.Err)]++
	}
	if len(causes) > 0 {
		s += " (" + counts(causes) + ")"
	}
	if len(r.Resent) > 0 {
		s += fmt.Sprintf(", %d lost a packet", len(r.Resent))
	}
	if len(r.Slow) > 0 {
		s += fmt.Sprintf(", %d slow", len(r.Slow))
	}
	return s + ", longest " + r.Longest.Round(time.Millisecond).String()
}

// counts prints what is counted by name, the most frequent first.
func counts(m map[string]int) string {
	names := slices.SortedFunc(maps.Keys(m), func(a, b string) int {
		if m[a] != m[b] {
			return m[b] - m[a]
		}
		return strings.Compare(a, b)
	})
	for i, name := range names {
		names[i] = fmt.Sprintf("%s %d", name, m[name])
	}
	return strings.Join(names, ", ")
}
