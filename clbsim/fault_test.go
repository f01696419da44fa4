// SPDX-License-Identifier: Apache-2.0

package clbsim_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	clb "github.com/tencentcloud/tencentcloud-sdk-go/tencentcloud/clb/v20180317"

	"github.com/clbsync/clbsync/clbsim"
	"github.com/clbsync/clbsync/clbsim/admin"
	"github.com/clbsync/clbsync/clbsim/cloud"
)

func (w *world) fault(f admin.Fault) string {
	w.t.Helper()
	return must(w.adm.AddFault(w.ctx, f))(w.t)
}

// add calls CreateListener for a port and returns the code of the answer.
func (w *world) add(lb string, port int64) string {
	w.t.Helper()
	in := clb.NewCreateListenerRequest()
	in.LoadBalancerId, in.Protocol, in.Ports = &lb, new("TCP"), []*int64{&port}
	_, err := w.clb.CreateListenerWithContext(w.ctx, in)
	return code(err)
}

// has tells whether the CLB has a listener on a port.
func (w *world) has(lb string, port int) bool {
	w.t.Helper()
	for _, b := range must(w.adm.State(w.ctx))(w.t).LoadBalancers {
		for _, l := range b.Listeners {
			if b.ID == lb && l.Port == port {
				return true
			}
		}
	}
	return false
}

// last is the latest call on record.
func (w *world) last() admin.Call {
	w.t.Helper()
	calls := must(w.adm.Calls(w.ctx, 0))(w.t)
	return calls[len(calls)-1]
}

func TestFaults(t *testing.T) {
	for _, tc := range []struct {
		name    string
		fault   admin.Fault
		want    string // what the SDK says, or how that begins
		applied bool
		record  string // code on record
	}{
		{"an error", admin.Fault{Kind: admin.KindError, Code: "InternalError", Message: "oops"}, "InternalError", false, "InternalError"},
		{"an HTTP 503", admin.Fault{Kind: admin.KindUnavailable}, "ClientError.ParseJsonError", false, admin.CodeUnavailable},
		{"a connection that breaks before the write", admin.Fault{Kind: admin.KindDropBefore}, "ClientError.NetworkError", false, admin.CodeDropped},
		{"a connection that breaks after the write", admin.Fault{Kind: admin.KindDropAfter}, "ClientError.NetworkError", true, admin.CodeDropped},
		{"a task that fails", admin.Fault{Kind: admin.KindTaskFail, Message: "no"}, "", false, ""},
		{"a task that hangs", admin.Fault{Kind: admin.KindTaskHang}, "", false, ""},
		{"a delay", admin.Fault{Kind: admin.KindDelay, Delay: clbsim.Duration(time.Millisecond)}, "", true, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := start(t)
			lb := w.balancer()
			tc.fault.Action = "CreateListener"
			id := w.fault(tc.fault)
			if got := w.add(lb, 80); got != tc.want {
				t.Errorf("the SDK says %q, want %q", got, tc.want)
			}
			if got := w.has(lb, 80); got != tc.applied {
				t.Errorf("applied is %v, want %v", got, tc.applied)
			}
			if c := w.last(); c.Code != tc.record || c.Fault != id || !c.Done {
				t.Errorf("on record: %+v", c)
			}
			must(0, w.adm.ClearFaults(w.ctx))(t)
			if got := w.add(lb, 81); got != "" || !w.has(lb, 81) {
				t.Errorf("without the fault: %q", got)
			}
		})
	}
}

func TestATaskThatFailsSaysWhy(t *testing.T) {
	w := start(t)
	lb := w.balancer()
	w.fault(admin.Fault{Action: "CreateListener", Kind: admin.KindTaskFail, Message: "the port is cursed"})
	w.add(lb, 80)
	if status, message := w.ended(w.last().RequestID); status != 1 || message != "the port is cursed" {
		t.Errorf("status %d, message %q", status, message)
	}
	// A synchronous action has no task to ask for: it answers the failure.
	l := w.listener(lb, "TCP", 81)
	w.fault(admin.Fault{Action: "BatchRegisterTargets", Kind: admin.KindTaskFail, Message: "cursed, too"})
	in := clb.NewBatchRegisterTargetsRequest()
	in.LoadBalancerId, in.Targets = &lb, []*clb.BatchTarget{{ListenerId: &l, InstanceId: new(node1), Port: new(int64(1))}}
	if _, err := w.clb.BatchRegisterTargets(in); code(err) != "FailedOperation" || !strings.Contains(err.Error(), "cursed, too") {
		t.Errorf("a batch that fails answers %v", err)
	}
}

func TestATaskThatHangsLocksItsCLB(t *testing.T) {
	w := start(t)
	lb := w.balancer()
	id := w.fault(admin.Fault{Action: "CreateListener", Kind: admin.KindTaskHang})
	w.add(lb, 80)
	task := w.last().RequestID
	if got := w.add(lb, 81); got != "FailedOperation.ResourceInOperating" {
		t.Errorf("a second write answers %q", got)
	}
	if status, _ := w.status(task); status != 2 {
		t.Errorf("the task has status %d, want 2", status)
	}
	must(0, w.adm.ClearFaults(w.ctx, id))(t)
	if status, _ := w.status(task); status != 0 || !w.has(lb, 80) {
		t.Errorf("after the fault the task has status %d", status)
	}
}

func TestFaultsPickTheirCalls(t *testing.T) {
	w := start(t)
	one, two := w.balancer(), w.balancer()
	w.fault(admin.Fault{Action: "Create*", Match: one, Skip: 1, Count: 2, Kind: admin.KindError, Code: "InternalError", Message: "oops"})
	var got []string
	for i, lb := range []string{two, one, two, one, one, one} {
		got = append(got, w.add(lb, int64(80+i)))
	}
	if diff := cmp.Diff([]string{"", "", "", "InternalError", "InternalError", ""}, got); diff != "" {
		t.Errorf("answers (-want +got):\n%s", diff)
	}
	if left := must(w.adm.Faults(w.ctx))(t); len(left) != 0 {
		t.Errorf("used up, it is still listed: %+v", left)
	}
	w.fault(admin.Fault{Action: "*", Count: -1, Kind: admin.KindError, Code: "ServiceUnavailable", Message: "closed"})
	for range 3 {
		if _, err := w.clb.DescribeQuota(clb.NewDescribeQuotaRequest()); code(err) != "ServiceUnavailable" {
			t.Errorf("a fault without end answers %v", err)
		}
	}
}

func TestAPartialBatch(t *testing.T) {
	w := start(t)
	lb := w.balancer()
	bad, good := w.listener(lb, "TCP", 80), w.listener(lb, "TCP", 81)
	w.fault(admin.Fault{Action: "BatchRegisterTargets", Kind: admin.KindPartial, Listeners: []string{bad}, Message: "try later"})
	in := clb.NewBatchRegisterTargetsRequest()
	in.LoadBalancerId = &lb
	in.Targets = []*clb.BatchTarget{{ListenerId: &bad, InstanceId: new(node1), Port: new(int64(1))}, {ListenerId: &good, InstanceId: new(node1), Port: new(int64(2))}}
	out := must(w.clb.BatchRegisterTargets(in))(t).Response
	if len(out.FailListenerIdSet) != 1 || *out.FailListenerIdSet[0] != bad || *out.Message != "try later" {
		t.Errorf("the answer is %+v", out)
	}
	if len(w.targets(bad)) != 0 || len(w.targets(good)) != 1 {
		t.Errorf("targets: %+v and %+v, want none and one", w.targets(bad), w.targets(good))
	}
}

// A held call is seen when it arrives, and goes on when the fault is cleared.
func TestAHeldCallIsSeenBeforeItIsAnswered(t *testing.T) {
	for _, tc := range []struct {
		kind    admin.Kind
		applied bool
	}{{admin.KindHoldBefore, false}, {admin.KindHoldAfter, true}} {
		t.Run(string(tc.kind), func(t *testing.T) {
			w := start(t)
			lb := w.balancer()
			w.fault(admin.Fault{Action: "CreateListener", Kind: tc.kind})
			answer := make(chan string, 1)
			go func() { answer <- w.add(lb, 80) }()
			call := must(w.adm.WaitCall(w.ctx, 0, func(c admin.Call) bool { return c.Action == "CreateListener" }))(t)
			if call.Done {
				t.Error("it was answered")
			}
			if tc.applied {
				must(w.adm.WaitState(w.ctx, func(admin.State) bool { return w.has(lb, 80) }))(t)
			} else if w.has(lb, 80) {
				t.Error("it was applied")
			}
			must(0, w.adm.ClearFaults(w.ctx))(t)
			if got := <-answer; got != "" {
				t.Errorf("the answer in the end is %q", got)
			}
			call = must(w.adm.WaitCall(w.ctx, call.Seq-1, func(c admin.Call) bool { return c.Done }))(t)
			if call.Code != "" || call.Duration <= 0 || !w.has(lb, 80) {
				t.Errorf("on record: %+v", call)
			}
		})
	}
}

// A caller that dies while its call is held: the record says how far it came.
func TestACallerThatDies(t *testing.T) {
	for _, tc := range []struct {
		kind    admin.Kind
		applied bool
	}{{admin.KindHoldBefore, false}, {admin.KindHoldAfter, true}} {
		t.Run(string(tc.kind), func(t *testing.T) {
			w := start(t)
			id := w.fault(admin.Fault{Action: "CreateLoadBalancer", Kind: tc.kind})
			ctx, kill := context.WithCancel(w.ctx)
			died := make(chan error, 1)
			go func() {
				in := clb.NewCreateLoadBalancerRequest()
				in.LoadBalancerType = new("OPEN")
				_, err := w.clb.CreateLoadBalancerWithContext(ctx, in)
				died <- err
			}()
			must(w.adm.WaitCall(w.ctx, 0, func(c admin.Call) bool { return c.Action == "CreateLoadBalancer" }))(t)
			kill()
			if err := <-died; err == nil {
				t.Error("the caller got an answer")
			}
			call := must(w.adm.WaitCall(w.ctx, 0, func(c admin.Call) bool { return c.Done }))(t)
			if call.Code != admin.CodeGone || strings.HasPrefix(call.Message, "after") != tc.applied {
				t.Errorf("on record: %+v", call)
			}
			if n := len(must(w.adm.State(w.ctx))(t).LoadBalancers); (n == 1) != tc.applied {
				t.Errorf("%d load balancers", n)
			}
			must(0, w.adm.ClearFaults(w.ctx, id))(t)
		})
	}
}

func TestASlowTask(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newBubble(t, tasks(time.Second))
		lb := w.balancer()
		w.fault(admin.Fault{Action: "CreateListener", Kind: admin.KindTaskDelay, Delay: clbsim.Duration(time.Hour)})
		began := time.Now()
		w.add(lb, 80)
		must(w.adm.WaitState(t.Context(), func(s admin.State) bool { return len(s.LoadBalancers[0].Listeners) == 1 }))(t)
		if took := time.Since(began); took != time.Hour {
			t.Errorf("the task took %v, want an hour", took)
		}
	})
}

func TestFaultsThatMakeNoSenseAreRefused(t *testing.T) {
	w := start(t)
	for name, f := range map[string]admin.Fault{
		"no action":               {Kind: admin.KindDropAfter},
		"an action without match": {Action: "CreateUnicorn", Kind: admin.KindDropAfter},
		"a broken pattern":        {Action: "[", Kind: admin.KindDropAfter},
		"no kind":                 {Action: "*"},
		"an unknown kind":         {Action: "*", Kind: "explode"},
		"an error without code":   {Action: "*", Kind: admin.KindError},
		"a delay without length":  {Action: "*", Kind: admin.KindDelay},
		"a failure without text":  {Action: "*", Kind: admin.KindTaskFail},
		"a count below -1":        {Action: "*", Kind: admin.KindDropAfter, Count: -2},
	} {
		var refused *admin.Error
		if _, err := w.adm.AddFault(w.ctx, f); !errors.As(err, &refused) || refused.Status != 400 {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := w.adm.ClearFaults(w.ctx, "fault-7"); err == nil {
		t.Error("a fault that was never added can be cleared")
	}
}

func TestTheConsole(t *testing.T) {
	w := start(t, func(c *clbsim.Config) { c.RateLimits.Default = 1 })
	var created clb.CreateLoadBalancerResponseParams
	for range 3 {
		must(0, w.adm.Console(w.ctx, "CreateLoadBalancer", map[string]string{"LoadBalancerType": "OPEN"}, &created))(t)
	}
	in := clb.NewCreateListenerRequest()
	in.LoadBalancerId, in.Ports, in.Protocol = created.LoadBalancerIds[0], []*int64{new(int64(80))}, new("TCP")
	must(0, w.adm.Console(w.ctx, "CreateListener", in, nil))(t)
	if !w.has(*created.LoadBalancerIds[0], 80) {
		t.Error("the listener is not there")
	}
	if n := len(must(w.adm.Calls(w.ctx, 0))(t)); n != 0 {
		t.Errorf("%d edits are on record as calls", n)
	}
	if err := w.adm.Console(w.ctx, "CreateListener", in, nil); err == nil || !strings.Contains(err.Error(), "InvalidParameter.PortCheckFailed") {
		t.Errorf("a conflicting edit: %v", err)
	}
	if err := w.adm.Console(w.ctx, "CreateUnicorn", nil, nil); err == nil {
		t.Error("an unknown action is taken")
	}
}

func TestInstancesComeAndGo(t *testing.T) {
	w := start(t)
	lb := w.balancer()
	l := w.listener(lb, "TCP", 80)
	must(0, w.adm.PutInstance(w.ctx, admin.Instance{ID: "ins-cccc0001", PrivateIP: "10.0.0.99"}))(t)
	w.register(lb, l, node("ins-cccc0001", 30080, 10))
	for name, i := range map[string]admin.Instance{
		"an address that is taken": {ID: "ins-cccc0002", PrivateIP: "10.0.0.99"},
		"an id of another form":    {ID: "node-1", PrivateIP: "10.0.0.98"},
		"an address outside":       {ID: "ins-cccc0002", PrivateIP: "192.0.2.1"},
	} {
		if err := w.adm.PutInstance(w.ctx, i); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
	must(0, w.adm.DeleteInstance(w.ctx, "ins-cccc0001"))(t)
	if left := w.targets(l); len(left) != 0 {
		t.Errorf("targets of the deleted instance: %+v", left)
	}
	if err := w.adm.DeleteInstance(w.ctx, "ins-cccc0001"); err == nil {
		t.Error("it can be deleted twice")
	}
}

func TestHealthCanBeOverridden(t *testing.T) {
	w := start(t)
	lb := w.balancer()
	in := clb.NewCreateListenerRequest()
	in.LoadBalancerId, in.Protocol, in.Ports = &lb, new("TCP"), []*int64{new(int64(80))}
	l := *must(w.clb.CreateListener(in))(t).Response.ListenerIds[0]
	w.register(lb, l, node(node1, 30080, 10), node(node2, 30080, 10))
	await := func(first, second string) {
		t.Helper()
		must(w.adm.WaitState(w.ctx, func(s admin.State) bool {
			t := s.LoadBalancers[0].Listeners[0].Targets
			return t[0].Status == first && t[1].Status == second
		}))(t)
	}
	await("Alive", "Alive")
	must(0, w.adm.OverrideHealth(w.ctx, admin.Override{Instance: node1, State: cloud.Down}))(t)
	await("Dead", "Alive")
	if got := w.targets(l); got[0].Receives || !got[1].Receives {
		t.Errorf("the dead one receives: %+v", got)
	}
	must(0, w.adm.ClearOverrides(w.ctx))(t)
	await("Alive", "Alive")
	if err := w.adm.OverrideHealth(w.ctx, admin.Override{State: "sick"}); err == nil {
		t.Error("an unknown state is taken")
	}
}
