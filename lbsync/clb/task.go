// SPDX-License-Identifier: Apache-2.0

package clb

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	clbapi "github.com/tencentcloud/tencentcloud-sdk-go/tencentcloud/clb/v20180317"

	"github.com/clbsync/clbsync/lbsync"
)

// How often a task is looked at. The first looks are close together because most tasks take well under a second, and
// later ones are not, because all CLBs share the 20 looks per second that CLB allows.
const (
	pollFirst   = 100 * time.Millisecond
	pollLongest = 2 * time.Second
)

// What DescribeTaskStatus answers; anything else is a failure.
const (
	taskDone    = 0
	taskRunning = 2
)

// change makes one write to a CLB, alone and to its end. listeners are the IDs that the request names.
func change[Q, R any](ctx context.Context, c *Client, lb string, listeners []string, action string,
	send func(context.Context, Q) (R, error), req Q) (R, error) {
	unlock, err := c.locks.lock(ctx, lb)
	if err != nil {
		var none R
		return none, &lbsync.Error{Kind: lbsync.Busy, Action: action, Err: fmt.Errorf("waiting for another change of %s: %w", lb, err)}
	}
	defer unlock()
	resp, id, err := call(ctx, c, action, send, req)
	if err == nil && asynchronous(action) {
		_, err = c.await(ctx, action, id, "")
	}
	return resp, c.explain(ctx, lb, listeners, err)
}

// asynchronous reports whether an action goes on after its answer. To ask for the task of one that does not is an error.
func asynchronous(action string) bool {
	return action != actionRegister && action != actionDeregister && action != actionSecurityGroups
}

// errNoTask says that CLB knows nothing of a task, so that its outcome has to be read from what it was to change.
var errNoTask = errors.New("CLB does not know the task")

// await polls a task to its end, by the deal of an order if CLB does not know the task. It returns the IDs of the CLBs that
// it made, if it is one that does. Its errors are never Throttled or Busy, which would say that the change did not run.
func (c *Client) await(ctx context.Context, action, task, deal string) ([]string, error) {
	start := time.Now()
	var last error
	byDeal, looks := false, 0
	ids, err := poll(ctx, c.pace.first(action), c.cfg.TaskTimeout, func() ([]string, bool, error) {
		looks++
		req := clbapi.NewDescribeTaskStatusRequest()
		if req.TaskId = &task; byDeal {
			req.TaskId, req.DealName = nil, &deal
		}
		resp, _, err := call(ctx, c, "DescribeTaskStatus", c.clb.DescribeTaskStatusWithContext, req)
		switch k := lbsync.KindOf(err); {
		case err == nil:
		case (k == lbsync.Invalid || k == lbsync.NotFound) && deal != "" && !byDeal:
			byDeal = true
			return nil, false, nil
		default:
			last = err
			return nil, settled(k), err
		}
		last = nil
		status := deref(resp.Response.Status)
		switch {
		case resp.Response.Status == nil || status == taskRunning:
			return nil, false, nil
		case status == taskDone:
			return values(resp.Response.LoadBalancerIds), true, nil
		}
		message := shorten(deref(resp.Response.Message))
		return nil, true, fmt.Errorf("status %d: %s", status, message)
	})
	apiTask.WithLabelValues(action).Observe(time.Since(start).Seconds())
	if err == nil {
		c.pace.took(action, time.Since(start), looks)
		return ids, nil
	}
	e := &lbsync.Error{Action: action, RequestID: task, Err: fmt.Errorf("task: %w", err)}
	if last != nil && !errors.Is(err, last) {
		e.Err = fmt.Errorf("task: %w; the last look at it: %w", err, last)
	}
	switch {
	case errors.Is(err, errPollTime):
		e.Hint = "CLB works on it for longer than usual; it is looked at again"
	case last == nil:
		c := Meaning(action, "FailedOperation", err.Error())
		e.Kind, e.Hint = c.Kind(), c.hint()
		if !settled(e.Kind) {
			e.Kind = lbsync.Unknown
		}
	case lbsync.KindOf(last) == lbsync.Denied:
		e.Kind = lbsync.Denied
	case settled(lbsync.KindOf(last)):
		e.Err = fmt.Errorf("task: %w: %w", errNoTask, last)
	}
	return nil, e
}

// settled reports whether an error of this kind will be the same the next time.
func settled(k lbsync.Kind) bool {
	return k != lbsync.Unknown && k != lbsync.Throttled && k != lbsync.Busy
}

var errPollTime = errors.New("time is up")

// pace knows how long tasks of each action take these days. All CLBs share the looks that CLB allows: with a first look
// that mostly came too early, ten changes of weights a second took more looks than that, and queued for them.
type pace struct {
	mu    sync.Mutex
	tasks map[string]time.Duration // when a first look at a task is worth it, by action
}

// first returns when to look at a task of the action for the first time.
func (p *pace) first(action string) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return max(p.tasks[action], pollFirst)
}

// took notes how long a task took, and how many looks at it. One look alone may have been late, so the next comes a
// little earlier.
func (p *pace) took(action string, d time.Duration, looks int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.tasks == nil {
		p.tasks = map[string]time.Duration{}
	}
	if looks > 1 {
		p.tasks[action] = min(d, pollLongest)
	} else {
		p.tasks[action] = p.tasks[action] * 24 / 25
	}
}

// poll calls look until it says that it is done, first after a time and then at growing intervals. The error is errPollTime
// when the time is up before that, the context's when it ends, and else the last look's.
func poll[T any](ctx context.Context, first, most time.Duration, look func() (T, bool, error)) (T, error) {
	end := time.Now().Add(most)
	for pause, next := first, pollFirst; ; pause, next = next, min(next*3/2, pollLongest) {
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			var none T
			return none, ctx.Err()
		}
		v, done, err := look()
		if done {
			return v, err
		}
		if time.Now().After(end) {
			return v, errPollTime
		}
	}
}

// explain finds out what an undotted InvalidParameter of a write means: several actions answer with it when the CLB or a
// listener is gone. Taken for a fault of the manifest, it would stop a Service until somebody edits it.
func (c *Client) explain(ctx context.Context, lb string, listeners []string, err error) error {
	e, ok := errors.AsType[*lbsync.Error](err)
	if !ok || e.Kind != lbsync.Invalid || strings.Contains(e.Code, ".") {
		return err
	}
	have, readErr := c.listeners(ctx, lb)
	if lbsync.KindOf(readErr) == lbsync.NotFound || readErr == nil && !contains(have, listeners) {
		gone := *e
		gone.Kind, gone.Hint = lbsync.NotFound, "the CLB, or a part of it, is gone"
		return &gone
	}
	return err
}

func contains(have []*clbapi.Listener, ids []string) bool {
	known := map[string]bool{}
	for _, l := range have {
		known[deref(l.ListenerId)] = true
		for _, r := range l.Rules {
			known[ruleID(deref(l.ListenerId), deref(r.LocationId))] = true
		}
	}
	for _, id := range ids {
		if !known[id] {
			return false
		}
	}
	return true
}

func values[T any](list []*T) []T {
	out := make([]T, 0, len(list))
	for _, p := range list {
		if p != nil {
			out = append(out, *p)
		}
	}
	return out
}
