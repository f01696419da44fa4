// SPDX-License-Identifier: Apache-2.0

package clbsim

import (
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/clbsync/clbsync/clbsim/admin"
	"github.com/clbsync/clbsync/clbsim/cloud"
)

// fault is an admin.Fault at work.
type fault struct {
	admin.Fault
	skip, left int           // left < 0 is without end
	cleared    chan struct{} // closed when the fault is cleared
	holding    int           // calls that hang on it
	tasks      []string      // tasks that it keeps from ending
}

// faults are all faults that are not used up. It is not safe for concurrent
// use.
type faults struct {
	list []*fault
	next int
}

func checkFault(f admin.Fault) error {
	needs := map[admin.Kind]bool{
		admin.KindError: f.Code != "", admin.KindTaskFail: f.Message != "", admin.KindPartial: len(f.Listeners) > 0,
		admin.KindDelay: f.Delay > 0, admin.KindTaskDelay: f.Delay > 0,
	}
	_, badPattern := path.Match(f.Action, "")
	switch enough, asked := needs[f.Kind]; {
	case f.Action == "":
		return fmt.Errorf("action: want a name such as CreateListener, or a pattern such as Describe*")
	case badPattern != nil:
		return fmt.Errorf("action: %q: %w", f.Action, badPattern)
	case !slices.ContainsFunc(cloud.Actions(), func(a string) bool { ok, _ := path.Match(f.Action, a); return ok }):
		return fmt.Errorf("action: %q matches no action of clbsim", f.Action)
	case !slices.Contains(admin.Kinds(), f.Kind):
		return fmt.Errorf("kind: %q is not one of %v", f.Kind, admin.Kinds())
	case asked && !enough:
		return fmt.Errorf("kind %s: want code (error), message (task-fail), listeners (partial) or delay (delay, task-delay) with it", f.Kind)
	case f.Skip < 0 || f.Count < -1:
		return fmt.Errorf("skip %d, count %d: want skip ≥ 0 and count ≥ -1", f.Skip, f.Count)
	}
	return nil
}

func (s *faults) add(f admin.Fault) string {
	s.next++
	f.ID = fmt.Sprintf("fault-%d", s.next)
	n := &fault{Fault: f, skip: f.Skip, left: f.Count, cleared: make(chan struct{})}
	if n.left == 0 {
		n.left = 1
	}
	s.list = append(s.list, n)
	return f.ID
}

// hit returns the faults that apply to a call and uses them up.
func (s *faults) hit(action string, body []byte) []*fault {
	var out []*fault
	for _, f := range s.list {
		if ok, _ := path.Match(f.Action, action); !ok || f.left == 0 || !strings.Contains(string(body), f.Match) {
			continue
		}
		if f.skip > 0 {
			f.skip--
			continue
		}
		if f.left > 0 {
			f.left--
		}
		if f.Kind == admin.KindHoldBefore || f.Kind == admin.KindHoldAfter {
			f.holding++
		}
		out = append(out, f)
	}
	s.sweep()
	return out
}

// sweep forgets faults that are used up and hold nothing.
func (s *faults) sweep() {
	s.list = slices.DeleteFunc(s.list, func(f *fault) bool {
		return f.left == 0 && f.holding == 0 && f.Kind != admin.KindTaskHang
	})
}

// clear removes faults by id, or all without ids, releases what they hold and
// returns the tasks that may end now. One that is used up may be cleared: a
// test cannot know whether its last call has come.
func (s *faults) clear(ids []string) (tasks []string, err error) {
	for _, id := range ids {
		n, ok := strings.CutPrefix(id, "fault-")
		if i, err := strconv.Atoi(n); !ok || err != nil || i < 1 || i > s.next {
			return nil, fmt.Errorf("fault %q was never added", id)
		}
	}
	s.list = slices.DeleteFunc(s.list, func(f *fault) bool {
		if len(ids) > 0 && !slices.Contains(ids, f.ID) {
			return false
		}
		close(f.cleared)
		tasks = append(tasks, f.tasks...)
		return true
	})
	return tasks, nil
}

func (s *faults) all() []admin.Fault {
	out := []admin.Fault{}
	for _, f := range s.list {
		out = append(out, f.Fault)
	}
	return out
}

// of returns the first fault of a kind, or nil.
func of(hits []*fault, kind admin.Kind) *fault {
	i := slices.IndexFunc(hits, func(f *fault) bool { return f.Kind == kind })
	if i < 0 {
		return nil
	}
	return hits[i]
}

// taskFaults is what the hits do to the task of a call.
func taskFaults(hits []*fault) cloud.TaskFaults {
	var t cloud.TaskFaults
	for _, f := range hits {
		switch f.Kind {
		case admin.KindTaskFail:
			t.Fail = f.Message
		case admin.KindTaskHang:
			t.Hang = true
		case admin.KindTaskDelay:
			d := time.Duration(f.Delay)
			t.Delay = &d
		case admin.KindPartial:
			t.FailListeners, t.FailureMessage = f.Listeners, f.Message
		}
	}
	return t
}

func faultIDs(hits []*fault) string {
	var ids []string
	for _, f := range hits {
		ids = append(ids, f.ID)
	}
	return strings.Join(ids, ",")
}
