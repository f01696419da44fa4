// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/clbsync/clbsync/clbsim/admin"
)

// A controller can die at any moment, and its successor knows only what CLB and Kubernetes know. In each case the call
// in question hangs in the simulated CLB when the controller is killed.
func TestControllerKilledWhileItCreates(t *testing.T) {
	for _, tc := range []struct {
		name, action string
		kind         admin.Kind
		balancers    int // that exist when the controller is killed
	}{
		{"after CreateLoadBalancer was accepted and before its answer came", "CreateLoadBalancer", admin.KindHoldAfter, 1},
		{"between the load balancer and its listeners", "CreateListener", admin.KindHoldBefore, 1},
		{"between the listeners and their targets", "BatchRegisterTargets", admin.KindHoldBefore, 1},
		{"before CreateLoadBalancer was accepted", "CreateLoadBalancer", admin.KindHoldBefore, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := begin(t)
			s.deploy("n1", 1)
			s.recoverAtEnd()
			_, err := s.CLB.AddFault(s.ctx, admin.Fault{Action: tc.action, Kind: tc.kind})
			s.must(err)
			since := s.mark()
			svc, err := s.Client.CoreV1().Services(s.ns).Create(s.ctx, Service(s.ns, "web", Local, Annotate(OnlyBind, "true")), metav1.CreateOptions{})
			s.must(err)
			_, err = s.CLB.WaitCall(s.ctx, since, func(c admin.Call) bool { return c.Action == tc.action })
			s.must(err)
			_, err = s.CLB.WaitState(s.ctx, func(st admin.State) bool { return len(Balancers(st, svc.UID)) == tc.balancers })
			s.must(err)
			s.must(s.KillController())
			s.must(s.CLB.ClearFaults(s.ctx))
			s.must(s.StartController(s.ctx, CloudConfig()))

			address, err := s.AwaitAddress(s.ctx, s.ns, svc.Name)
			s.must(err)
			s.weights(svc.UID, map[string]int{"n1": 10})
			if got := len(Balancers(s.state(), svc.UID)); got != 1 {
				t.Errorf("the Service has %d load balancers, want one", got)
			}
			for _, target := range ports(address) {
				s.sawOnly(target, s.ask(target, 5), clientIP)
			}
			s.delete(svc.Name)
			s.gone(svc)
			if left := s.state().LoadBalancers; len(left) > 0 {
				t.Errorf("load balancers left after the deletion: %+v", left)
			}
		})
	}
}

// recoverAtEnd gives the next test a controller that runs with good settings and a cloud without faults, if this test ends
// halfway.
func (s *scene) recoverAtEnd() {
	s.t.Cleanup(func() {
		if !s.t.Failed() {
			return
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := s.CLB.ClearFaults(ctx); err != nil {
			s.t.Error(err)
		}
		if s.ControllerRuns() {
			if err := s.StopController(ctx); err != nil {
				s.t.Error(err)
			}
		}
		if err := s.StartController(ctx, CloudConfig()); err != nil {
			s.t.Error(err)
		}
	})
}

func TestRestartOfAnUnchangedClusterWritesNothing(t *testing.T) {
	s := begin(t)
	s.deploy("n1", 1)
	svc, _ := s.create(Local, Annotate(OnlyBind, "true"))
	s.weights(svc.UID, map[string]int{"n1": 10})
	id := Balancers(s.state(), svc.UID)[0].ID
	since := s.mark()
	s.must(s.StopController(s.ctx))
	s.must(s.StartController(s.ctx, CloudConfig()))
	// A second Service that is served shows that the new controller has had its time for the first.
	_, err := s.CLB.WaitCall(s.ctx, since, func(c admin.Call) bool { return c.Done && c.Action == "DescribeTargets" && names(c, id) })
	s.must(err)
	other, err := s.Client.CoreV1().Services(s.ns).Create(s.ctx, Service(s.ns, "other"), metav1.CreateOptions{})
	s.must(err)
	_, err = s.AwaitAddress(s.ctx, s.ns, other.Name)
	s.must(err)
	calls, err := s.CLB.Calls(s.ctx, since)
	s.must(err)
	for _, c := range calls {
		if c.Write && names(c, id) {
			t.Errorf("the restarted controller wrote to an unchanged load balancer: %s %s", c.Action, c.Parameters)
		}
	}
}
