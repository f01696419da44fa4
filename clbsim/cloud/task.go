// SPDX-License-Identifier: Apache-2.0

package cloud

import (
	"time"

	clb "github.com/tencentcloud/tencentcloud-sdk-go/tencentcloud/clb/v20180317"
)

// The states of a task in DescribeTaskStatus.
const (
	taskDone    = 0
	taskFailed  = 1
	taskRunning = 2
)

// task is one asynchronous change. Until it ends, the load balancers it works
// on accept no other write and show nothing of it.
type task struct {
	id      string // the RequestId of the call that started it
	action  string
	lbs     []*loadBalancer
	status  int64
	message string
	end     time.Time
	hang    bool
	fail    string
	effect  func(now time.Time) (failure string)
	created []string // ids of load balancers, for DescribeTaskStatus
	deal    string   // the order of a creation

	onFailure func() // undoes what was visible before the end
}

// lock refuses a write on a load balancer that a task works on, or that is
// isolated. It comes
// before every check of the load balancer's state: what the task will leave
// behind is not known yet.
func (k *call) lock(lb *loadBalancer) *Error {
	switch {
	case k.Console:
		return nil
	case lb.isolated:
		return errorf(codeLBStatus, "Loadbalancer(%s) is isolated for arrears.", lb.id)
	case lb.busy == nil:
		return nil
	}
	return errorf(codeBusy, "Loadbalancer(%s) is not in normal desState, maybe some tasks are being processed, please try later.", lb.id)
}

// start begins a task that locks lbs until its end and then has the effect.
// An effect must cope with what console edits changed in the meantime; it
// returns why it could not do its work, or "".
func (k *call) start(lbs []*loadBalancer, effect func(now time.Time) string) *task {
	t := &task{id: k.ID, action: k.Action.Name, lbs: lbs, status: taskRunning, effect: effect, hang: k.Faults.Hang, fail: k.Faults.Fail}
	delay := k.cloud.cfg.Tasks.For(k.Action.Name)
	if k.Faults.Delay != nil {
		delay = *k.Faults.Delay
	}
	if k.Console {
		delay = 0
	}
	t.end = k.Now.Add(delay)
	k.cloud.tasks[t.id], k.cloud.running[t.id] = t, t
	if !k.Console {
		for _, lb := range lbs {
			lb.busy = t
		}
	}
	switch {
	case t.hang:
	case delay == 0:
		k.cloud.endTask(t, k.Now)
	default:
		k.cloud.schedule(event{at: t.end, task: t})
	}
	return t
}

// startSync begins a task and lets the call be answered only at its end.
func (k *call) startSync(lb *loadBalancer, effect func(now time.Time) string) {
	if t := k.start([]*loadBalancer{lb}, effect); t.status == taskRunning || t.status == taskFailed {
		k.wait = t.id
	}
}

func (c *Cloud) endTask(t *task, now time.Time) {
	if t.status != taskRunning {
		return
	}
	for _, lb := range t.lbs {
		if lb.busy == t {
			lb.busy = nil
		}
	}
	t.message = t.fail
	if t.message == "" {
		t.message = t.effect(now)
	}
	t.status = taskDone
	if t.message != "" {
		t.status = taskFailed
		if t.onFailure != nil {
			t.onFailure()
		}
	}
	t.end, t.effect = now, nil
	delete(c.running, t.id)
	c.ended = append(c.ended, t)
	c.due.Ended = append(c.due.Ended, t.id)
	c.version++
}

// forget drops tasks that ended longer ago than the retention.
func (c *Cloud) forget(now time.Time) {
	n := 0
	for n < len(c.ended) && now.Sub(c.ended[n].end) > time.Duration(c.cfg.Tasks.Retention) {
		delete(c.tasks, c.ended[n].id)
		n++
	}
	c.ended = c.ended[n:]
}

// Release ends tasks that hang.
func (c *Cloud) Release(ids []string, now time.Time) {
	for _, id := range ids {
		if t := c.tasks[id]; t != nil && t.hang {
			c.endTask(t, now)
		}
	}
}

// Outcome returns the error of a task that a call had to wait for, or nil.
func (c *Cloud) Outcome(id string) *Error {
	if t := c.tasks[id]; t != nil && t.status == taskFailed {
		return errorf(codeFailed, "%s", t.message)
	}
	return nil
}

// Running tells whether a task has not ended.
func (c *Cloud) Running(id string) bool {
	t := c.tasks[id]
	return t != nil && t.status == taskRunning
}

func describeTaskStatus(k *call, in *clb.DescribeTaskStatusRequest) (*clb.DescribeTaskStatusResponseParams, *Error) {
	id := value(in.TaskId)
	switch deal := value(in.DealName); {
	case id == "" && deal == "":
		return nil, missing("TaskId")
	case id == "":
		id = k.cloud.taskOfDeal(deal)
	}
	t := k.cloud.tasks[id]
	if t == nil {
		return nil, errorf(codeInvalid, "The task %s%s does not exist.", value(in.TaskId), value(in.DealName))
	}
	out := &clb.DescribeTaskStatusResponseParams{Status: &t.status, LoadBalancerIds: []*string{}, Message: new(t.message)}
	if t.status == taskDone {
		out.LoadBalancerIds = pointers(t.created)
	}
	return out, nil
}
