// SPDX-License-Identifier: Apache-2.0

package clb

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/clbsync/clbsync/lbsync"
)

// statuses answers a write at once, and the looks at its task one after the other.
func statuses(looks ...any) func(string, map[string]any) any {
	next := inTurn(looks...)
	return func(action string, params map[string]any) any {
		if action == "DescribeTaskStatus" {
			return next(action, params)
		}
		return map[string]any{"RequestId": "task-1"}
	}
}

var running = map[string]any{"Status": taskRunning}

func modify(ctx context.Context, t *testing.T, c *Client) error {
	t.Helper()
	return c.ModifyListener(ctx, "lb-1", lbsync.ListenerChange{To: lbsync.Listener{ListenerKey: key(lbsync.TCP, 80), ID: "lbl-1", Name: "clbsync-u"}})
}

func TestTask(t *testing.T) {
	for _, test := range []struct {
		name  string
		looks []any
		want  lbsync.Kind // -1: no error
		text  string
	}{
		{"a task that runs is waited for", []any{running, running, done}, -1, ""},
		{"a look that is lost is repeated", []any{errors.New("EOF"), failure{"InternalError", ""}, done}, -1, ""},
		{"a task that fails is an error with its reason", []any{running, map[string]any{"Status": 1, "Message": "no such backend"}}, lbsync.Unknown, "status 1: no such backend"},
		{"a failure for a quota says so", []any{map[string]any{"Status": 1, "Message": "exceeds the quota"}}, lbsync.Quota, "quota"},
		{"a failure that sounds like busy is not replayed", []any{map[string]any{"Status": 1, "Message": "Your task is working"}}, lbsync.Unknown, "working"},
		{"a task that nobody knows has an unknown outcome", []any{failure{"InvalidParameter", "task"}}, lbsync.Unknown, "does not know the task"},
		{"to be denied a look ends it", []any{failure{"UnauthorizedOperation", "DescribeTaskStatus"}}, lbsync.Denied, "UnauthorizedOperation"},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, s := stubbed(t, statuses(test.looks...))
				err := modify(t.Context(), t, c)
				if n := len(slices.DeleteFunc(s.actions(), func(a string) bool { return a != "ModifyListener" })); n != 1 {
					t.Errorf("the change was sent %d times", n)
				}
				if s.calls[1].Params["TaskId"] != "task-1" {
					t.Errorf("asked for task %v", s.calls[1].Params)
				}
				if test.want < 0 {
					if err != nil {
						t.Error(err)
					}
					return
				}
				e := asError(t, err)
				if e.Kind != test.want || e.Action != "ModifyListener" || e.RequestID != "task-1" || !strings.Contains(e.Error(), test.text) {
					t.Errorf("got %+v, want kind %s and %q", e, test.want, test.text)
				}
			})
		})
	}
	t.Run("later tasks are looked at when they are likely to be done", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			var began time.Time
			c, s := stubbed(t, func(action string, _ map[string]any) any {
				switch {
				case action != "DescribeTaskStatus":
					began = time.Now()
					return map[string]any{"RequestId": "task-1"}
				case time.Since(began) < 700*time.Millisecond:
					return running
				}
				return done
			})
			const tasks = 20
			for range tasks {
				start := time.Now()
				if err := modify(t.Context(), t, c); err != nil {
					t.Fatal(err)
				}
				if took := time.Since(start); took > 1100*time.Millisecond {
					t.Errorf("a task of 700 ms took %s", took)
				}
			}
			looks := len(slices.DeleteFunc(s.actions(), func(a string) bool { return a != "DescribeTaskStatus" }))
			if looks > tasks*3/2 {
				t.Errorf("%d looks at %d tasks, want little more than one for each", looks, tasks)
			}
		})
	})
	t.Run("looks begin close together and end far apart", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c, s := stubbed(t, statuses(running))
			start := time.Now()
			err := modify(t.Context(), t, c)
			if took := time.Since(start); took < 2*time.Minute || took > 2*time.Minute+5*time.Second {
				t.Errorf("it gave up after %s, want 2 min", took)
			}
			if e := asError(t, err); e.Kind != lbsync.Unknown || !strings.Contains(e.Error(), "time is up") {
				t.Errorf("got %v", err)
			}
			looks := s.calls[1:]
			if first := looks[0].At.Sub(start); first != 100*time.Millisecond {
				t.Errorf("the first look came after %s", first)
			}
			if n := len(looks); n > 75 {
				t.Errorf("%d looks", n)
			}
			if last := looks[len(looks)-1].At.Sub(looks[len(looks)-2].At); last != 2*time.Second {
				t.Errorf("the last pause was %s", last)
			}
		})
	})
	t.Run("looks that are throttled all the time do not say that the change did not run", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c, _ := stubbed(t, statuses(failure{"RequestLimitExceeded", ""}))
			if err := modify(t.Context(), t, c); lbsync.KindOf(err) != lbsync.Unknown || err == nil {
				t.Errorf("got %v", err)
			}
		})
	})
	t.Run("the end of the context leaves the outcome unknown", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c, _ := stubbed(t, statuses(running))
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			if err := modify(ctx, t, c); lbsync.KindOf(err) != lbsync.Unknown || !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("got %v", err)
			}
		})
	})
	t.Run("a change that could not begin, because another one ran, says so", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c, s := stubbed(t, statuses(running))
			unlock, err := c.locks.lock(t.Context(), "lb-1")
			if err != nil {
				t.Fatal(err)
			}
			defer unlock()
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			if err := modify(ctx, t, c); lbsync.KindOf(err) != lbsync.Busy || len(s.actions()) != 0 {
				t.Errorf("got %v after %v", err, s.actions())
			}
		})
	})
}

func TestExplain(t *testing.T) {
	for _, test := range []struct {
		name  string
		write failure
		read  any
		want  lbsync.Kind
		reads int
	}{
		{"an undotted code is NotFound if the CLB is gone", failure{"InvalidParameter", "hm"}, failure{"InvalidParameter.LBIdNotFound", ""}, lbsync.NotFound, 1},
		{"an undotted code is NotFound if the listener is gone", failure{"InvalidParameterValue", "hm"}, map[string]any{"Listeners": []any{}, "TotalCount": 0}, lbsync.NotFound, 1},
		{"an undotted code is Invalid if both are there", failure{"InvalidParameter", "hm"}, map[string]any{"Listeners": []any{map[string]any{"ListenerId": "lbl-1"}}}, lbsync.Invalid, 1},
		{"an undotted code is Invalid if nothing can be read", failure{"InvalidParameter", "hm"}, failure{"InternalError", ""}, lbsync.Invalid, 1},
		{"a dotted code speaks for itself", failure{"InvalidParameter.FormatError", "hm"}, nil, lbsync.Invalid, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			c, s := stubbed(t, func(action string, _ map[string]any) any {
				if action == "DescribeListeners" {
					return test.read
				}
				return test.write
			})
			err := modify(t.Context(), t, c)
			if e := asError(t, err); e.Kind != test.want || e.Code != test.write.Code {
				t.Errorf("got %+v, want %s", e, test.want)
			}
			if n := len(s.actions()) - 1; n != test.reads {
				t.Errorf("%d reads, want %d", n, test.reads)
			}
		})
	}
}
