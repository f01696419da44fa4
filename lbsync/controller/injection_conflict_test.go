// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"strings"
	"testing"
	"time"

	"github.com/clbsync/clbsync/clbsim"
	"github.com/clbsync/clbsync/clbsim/admin"
	"github.com/clbsync/clbsync/internal/kubetest"
	"github.com/clbsync/clbsync/lbsync"
)

// warned is whether a Warning about the Service has the text in it.
func (c company) warned(service, text string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, e := range c.told {
		if e.Type == "Warning" && e.InvolvedObject.Name == service && strings.Contains(e.Message, text) {
			return true
		}
	}
	return false
}

// joined puts two Services on the CLB: web on port 80, with its pod on node 1, and api on port 81, with its pod on node 2.
func (c company) join() {
	c.put(kubetest.Slice("web", at(1)...))
	c.put(kubetest.Slice("api", at(2)...))
	c.put(onlyBind80("web"))
	api := onlyBind80("api")
	port(81)(api)
	c.put(api)
}

// What CLB refuses for one Service because something is there already, for as long as it likes, costs the others nothing.
func TestOnASharedCLBAConflictThatLastsCostsItsServiceAlone(t *testing.T) {
	const api81 = "clbsync-api TCP:81"
	for name, test := range map[string]struct {
		fault admin.Fault
		of    string // what api has meanwhile
	}{
		"a listener":             {admin.Fault{Action: "CreateListener", Match: "clbsync-api", Code: "InvalidParameter.PortCheckFailed"}, ""},
		"a listener, in words":   {admin.Fault{Action: "CreateListener", Match: "clbsync-api", Code: "FailedOperation", Message: "The port 81/TCP is in use"}, ""},
		"a listener, in general": {admin.Fault{Action: "CreateListener", Match: "clbsync-api", Code: "InvalidParameterValue.Duplicate"}, ""},
		"targets":                {admin.Fault{Action: "BatchRegisterTargets", Match: "30081", Code: "InvalidParameterValue.Duplicate"}, api81 + "\n"},
		"targets' ports":         {admin.Fault{Action: "BatchRegisterTargets", Match: "30081", Code: "InvalidParameter.PortCheckFailed"}, api81 + "\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inCompany(t, func(c company) {
				test.fault.Kind, test.fault.Count = admin.KindError, -1
				id, err := c.sim.AddFault(c.Context(), test.fault)
				if err != nil {
					t.Fatal(err)
				}
				c.join()
				c.pass(2 * time.Minute)
				c.want("web comes", c.has(), test.of+webAt80+"\n"+sshAsItWas)
				c.put(kubetest.Slice("web", at(3)...))
				c.pass(2 * time.Minute)
				c.want("its pods move", c.has(), test.of+"clbsync-web TCP:80 ins-00000003=10\n"+sshAsItWas)
				c.want("the author of api is told", c.warned("api", test.fault.Code) && c.warned("api", "TCP:81"), true)
				c.want("nobody else is", c.events("web"), []string{"EnsuringLoadBalancer", "EnsuredLoadBalancer", "UpdatedLoadBalancer"})
				c.want("the condition of web", strings.HasPrefix(c.condition("web", lbsync.ConditionSynced), "True"), true)
				asked := 0
				for _, call := range c.calls() {
					if call.Fault == id {
						asked++
					}
				}
				if asked > 16 { // 1 s, 2 s, 4 s, …, and once more together with web's
					t.Errorf("it was asked for %d times in 4 minutes", asked)
				}
				if err := c.sim.ClearFaults(c.Context()); err != nil {
					t.Fatal(err)
				}
				c.pass(6 * time.Minute)
				c.want("when it is over", c.has(), api81+" ins-00000002=10\nclbsync-web TCP:80 ins-00000003=10\n"+sshAsItWas)
			})
		})
	}
}

// A person's listener of a range of ports has the place of each of them.
func TestOnASharedCLBARangeOfPortsHasThePlaceOfAListener(t *testing.T) {
	inAccount(t, func(cfg *clbsim.Config) {
		cfg.LoadBalancers[0].Listeners = []clbsim.ExistingListener{{Name: "games", Port: 81, EndPort: 90}}
	}, func(l *trial) {
		c := company{l}
		defer l.begin()()
		c.join()
		c.pass(2 * time.Minute)
		c.want("what is free comes", c.has(), webAt80+"\ngames TCP:81")
		c.put(kubetest.Slice("web", at(3)...))
		c.pass(2 * time.Minute)
		c.want("its pods move", c.has(), "clbsync-web TCP:80 ins-00000003=10\ngames TCP:81")
		c.want("the author of api is told", c.warned("api", `"games", which was not made by this controller and has the ports 81 to 90, has its place`), true)
		c.want("nobody else is", c.events("web"), []string{"EnsuringLoadBalancer", "EnsuredLoadBalancer", "UpdatedLoadBalancer"})
		for _, call := range c.calls() {
			if call.Action == "CreateListener" && strings.Contains(string(call.Parameters), "81") {
				t.Errorf("a listener was asked for that cannot be: %s", call.Parameters)
			}
		}
		c.edit("api", port(91))
		c.pass(2 * time.Minute)
		c.want("another port is free", c.has(), "clbsync-api TCP:91 ins-00000002=10\nclbsync-web TCP:80 ins-00000003=10\ngames TCP:81")
		c.delete("web")
		c.delete("api")
		c.pass(2 * time.Minute)
		c.want("the range stays", c.has(), "games TCP:81")
	})
}
