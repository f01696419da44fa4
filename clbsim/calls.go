// SPDX-License-Identifier: Apache-2.0

package clbsim

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/clbsync/clbsync/clbsim/admin"
)

// callLog keeps every call that was ever made. It has a lock of its own: a
// call is on record when it arrives, even while the state is busy.
type callLog struct {
	mu      sync.Mutex
	calls   []admin.Call
	version int
	changed chan struct{} // closed and replaced at every change
}

func newCallLog() *callLog { return &callLog{changed: make(chan struct{})} }

func (l *callLog) arrive(c admin.Call) (seq int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	c.Seq = len(l.calls) + 1
	l.calls = append(l.calls, c)
	l.publish()
	return c.Seq
}

// finish completes the record of a call with its outcome.
func (l *callLog) finish(seq int, code, message string, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := &l.calls[seq-1]
	c.Done, c.Code, c.Message, c.Duration = true, code, message, now.Sub(c.Time)
	l.publish()
}

func (l *callLog) publish() {
	l.version++
	close(l.changed)
	l.changed = make(chan struct{})
}

// since returns the calls after seq.
func (l *callLog) since(seq int) admin.Calls {
	l.mu.Lock()
	defer l.mu.Unlock()
	seq = min(max(seq, 0), len(l.calls))
	return admin.Calls{Version: l.version, Calls: append([]admin.Call{}, slices.Clone(l.calls[seq:])...)}
}

// wait returns when the version is no longer the given one, or ctx ends.
func (l *callLog) wait(ctx context.Context, version int) {
	for {
		l.mu.Lock()
		same, changed := l.version == version, l.changed
		l.mu.Unlock()
		if !same {
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}
