// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/clbsync/clbsync/clbsim"
	"github.com/clbsync/clbsync/clbsim/admin"
	"github.com/clbsync/clbsync/internal/kubetest"
	"github.com/clbsync/clbsync/lbsync"
	"github.com/clbsync/clbsync/lbsync/annotation"
	"github.com/clbsync/clbsync/lbsync/clb"
)

// company is a trial on a CLB that a person made and that two Services share, with a listener of that person's.
type company struct{ *trial }

const theirCLB = "lb-byhand01"

func inCompany(t *testing.T, test func(c company)) {
	t.Helper()
	inAccount(t, func(cfg *clbsim.Config) { cfg.Certificates = []clbsim.Certificate{{ID: "certRSA1"}, {ID: "certRSA2"}} }, func(l *trial) {
		c := company{l}
		var made struct{ ListenerIds []string }
		console := func(action string, request map[string]any, answer any) {
			request["LoadBalancerId"] = theirCLB
			if err := l.sim.Console(t.Context(), action, request, answer); err != nil {
				t.Fatal(err)
			}
			l.pass(soon)
		}
		console("CreateListener", map[string]any{"Ports": []int{22}, "Protocol": "TCP", "ListenerNames": []string{"ssh"}}, &made)
		console("RegisterTargets", map[string]any{"ListenerId": made.ListenerIds[0], "Targets": []map[string]any{{"InstanceId": "ins-00000003", "Port": 22, "Weight": 7}}}, nil)
		l.config.Verify = 20 * time.Minute // after the end of a life in which nothing lasts: its calls are the same each time
		defer l.begin()()
		test(c)
	})
}

// has is what the CLB has, a line for each listener and rule with targets: "clbsync-web TCP:80 ins-00000001=10 …".
func (c company) has() string {
	c.Helper()
	var out []string
	line := func(l admin.Listener, at string, targets []admin.Target) {
		var texts []string
		for _, t := range targets {
			texts = append(texts, fmt.Sprintf("%s=%d", cmp.Or(t.Instance, t.Address), t.Weight))
		}
		slices.Sort(texts)
		out = append(out, strings.TrimSpace(fmt.Sprintf("%s %s:%d%s %s", l.Name, l.Protocol, l.Port, at, strings.Join(texts, " "))))
	}
	for _, lb := range c.clbs(false) {
		if lb.ID != theirCLB {
			continue
		}
		for _, l := range lb.Listeners {
			for _, r := range l.Rules {
				line(l, "/"+r.Domains[0], r.Targets)
			}
			if len(l.Rules) == 0 {
				line(l, "", l.Targets)
			}
		}
	}
	slices.Sort(out)
	return strings.Join(out, "\n")
}

// touched are the writes, from the seq on, that name a listener of a Service, or of a person; "" is the person's.
func (c company) touched(since int, service string) []string {
	c.Helper()
	name := "ssh"
	if service != "" {
		name = lbsync.ListenerName(service)
	}
	var out []string
	calls, err := c.sim.Calls(c.Context(), since)
	if err != nil {
		c.Fatal(err)
	}
	for _, lb := range c.clbs(false) {
		for _, l := range lb.Listeners {
			if l.Name != name {
				continue
			}
			for _, call := range calls {
				if call.Write && call.Code == "" && strings.Contains(string(call.Parameters), l.ID) {
					out = append(out, fmt.Sprintf("%s %s", call.Action, call.Parameters))
				}
			}
		}
	}
	return out
}

// A common stage is what one of the Services does; the other one and the person are not to notice.
type common struct {
	name, of string // of: the Service that does it
	act      func(c company)
	want     string
}

const (
	sshAsItWas = "ssh TCP:22 ins-00000003=7"
	webAt80    = "clbsync-web TCP:80 ins-00000001=10"
	webAt82    = "clbsync-web TCP:82 ins-00000002=10"
	apiSite    = "clbsync-api HTTPS:443/a.example.com ins-00000002=10 ins-00000003=10"
	apiSites   = "clbsync-api HTTPS:443/a.example.com ins-00000001=10\nclbsync-api HTTPS:443/b.example.com ins-00000001=10"
)

// A shared life: two Services come to a CLB one after the other, change and leave, of which one has rules of HTTPS.
var sharedLife = []common{
	{"come", "web", func(c company) {
		c.put(kubetest.Slice("web", at(1)...))
		c.put(onlyBind80("web"))
	}, webAt80 + "\n" + sshAsItWas},
	{"join", "api", func(c company) {
		c.put(secret("cert", map[string]string{"qcloud_cert_id": "certRSA1"}))
		c.put(kubetest.Slice("api", at(2, 3)...))
		svc := onlyBind80("api")
		port(443)(svc)
		annotate(annotation.SpecifyProtocol, `{"443":{"protocol":["HTTPS"],"tls":"cert","hosts":{"a.example.com":{}}}}`)(svc)
		c.put(svc)
	}, apiSite + "\n" + webAt80 + "\n" + sshAsItWas},
	{"move", "web", func(c company) {
		c.put(kubetest.Slice("web", at(2)...))
		c.edit("web", func(s *corev1.Service) {
			s.Spec.Ports[0].Port, s.Spec.SessionAffinity = 82, corev1.ServiceAffinityClientIP
		})
	}, apiSite + "\n" + webAt82 + "\n" + sshAsItWas},
	{"extend", "api", func(c company) {
		c.put(kubetest.Slice("api", at(1)...))
		c.edit("api", annotate(annotation.SpecifyProtocol, `{"443":{"protocol":["HTTPS"],"tls":"cert","hosts":{"a.example.com":{},"b.example.com":{}}}}`))
	}, apiSites + "\n" + webAt82 + "\n" + sshAsItWas},
	{"leave", "web", func(c company) { c.delete("web") }, apiSites + "\n" + sshAsItWas},
	{"leave last", "api", func(c company) { c.delete("api") }, sshAsItWas},
}

// onlyBind80 is a Service under Local on the CLB that the person made.
func onlyBind80(name string) *corev1.Service {
	svc := onlyBind(name)
	on(theirCLB)(svc)
	return svc
}

// shares goes through the stages, and checks what holds whatever fails: each ends as it should, of what the other Service and
// the person have nothing is written to, no CLB is bought, and the CLB itself is left as it was.
func (c company) shares(label string) {
	c.Helper()
	for _, s := range sharedLife {
		calls := c.calls()
		since := 0
		if len(calls) > 0 {
			since = calls[len(calls)-1].Seq
		}
		s.act(c)
		for waited := time.Duration(0); waited < settles && (c.has() != s.want || strings.HasPrefix(s.name, "leave") && len(c.service(s.of).Finalizers) > 0); waited += 20 * time.Second {
			c.pass(20 * time.Second)
		}
		c.pass(20 * time.Second)
		if got := c.has(); got != s.want {
			c.Errorf("%s: %s: the CLB has\n%s\nwant\n%s\nevents of web %v, of api %v", label, s.name, got, s.want, c.events("web"), c.events("api"))
		}
		other := map[string]string{"web": "api", "api": "web"}[s.of]
		for _, whose := range []string{"", other} {
			if touched := c.touched(since, whose); len(touched) > 0 {
				c.Errorf("%s: %s: what is not of %s is written to (%q is whose): %q", label, s.name, s.of, whose, touched)
			}
		}
	}
	for _, name := range []string{"web", "api"} {
		if left := c.service(name).Finalizers; len(left) > 0 {
			c.Errorf("%s: the finalizers %v of %s stay; events %v", label, left, name, c.events(name))
		}
	}
	for _, call := range c.calls() {
		switch call.Action {
		case "CreateLoadBalancer", "DeleteLoadBalancer", "ModifyLoadBalancerAttributes", "SetLoadBalancerSecurityGroups":
			c.Errorf("%s: %s %s", label, call.Action, call.Parameters)
		}
		if call.Write && strings.Contains(string(call.Parameters), "lb-theirs01") {
			c.Errorf("%s: %s of another cluster's CLB: %s", label, call.Action, call.Parameters)
		}
	}
	// The tag that says which cluster uses the CLB goes with the last Service; if that is refused for good, a person is told. Of
	// a CLB that is not there, as the answer has it, there is no tag to take off.
	for _, call := range c.calls() {
		if call.Action == "UnTagResources" && clb.Meaning(call.Action, call.Code, call.Message).Kind() == lbsync.NotFound {
			return
		}
	}
	for _, lb := range c.clbs(false) {
		told := strings.Contains(strings.Join(append(c.events("web"), c.events("api")...), " "), string(lbsync.NotTagged))
		if lb.ID == theirCLB && len(lb.Tags) > 0 && !told {
			c.Errorf("%s: the tags %v stay, and nobody is told", label, lb.Tags)
		}
	}
}

// lostAnswers are answers that do not come, and tasks that fail: what became of the call has to be found out.
var lostAnswers = map[string]admin.Kind{"lost before it was done": admin.KindDropBefore, "lost after it was done": admin.KindDropAfter, "unavailable": admin.KindUnavailable, "a task that fails": admin.KindTaskFail}

// Every error code is answered once, at every call of a life in which two Services share a CLB; each answer is lost once too.
func TestEveryCodeOnASharedCLBDisturbsNobodyElse(t *testing.T) {
	begun := time.Now()
	var life []admin.Call
	inCompany(t, func(c company) {
		c.shares("nothing fails")
		life = c.calls()
	})
	if t.Failed() {
		return // with a fault it can be no better
	}
	nth := map[string]int{}
	for _, call := range life {
		nth[call.Action]++
	}
	actions := slices.Sorted(maps.Keys(nth))
	type place struct {
		action string
		nth    int
	}
	codes := injected()
	lives := 0
	for name := range lostAnswers {
		codes[name] = "the task has failed"
	}
	t.Run("", func(t *testing.T) {
		for i, code := range slices.Sorted(maps.Keys(codes)) {
			_, lost := lostAnswers[code]
			var chosen []place
			for j, action := range actions {
				for n := range nth[action] {
					// Without -full the first code of each class is answered once at each action, and each other code at two actions.
					once := n == (i+j)%nth[action] && (stands(code, codes) || (i+j)%(len(actions)/2) == 0)
					if *full || lost || once {
						chosen = append(chosen, place{action, n})
					}
				}
			}
			lives += len(chosen)
			t.Run(code, func(t *testing.T) {
				t.Parallel()
				for _, p := range chosen {
					inCompany(t, func(c company) {
						name, _, _ := strings.Cut(code, "#")
						fault := admin.Fault{Action: p.action, Skip: p.nth, Kind: admin.KindError, Code: name, Message: codes[code]}
						if kind, lost := lostAnswers[code]; lost {
							fault.Kind, fault.Code = kind, ""
						}
						id, err := c.sim.AddFault(c.Context(), fault)
						if err != nil {
							c.Fatal(err)
						}
						label := fmt.Sprintf("%s at call %d of %s", code, p.nth+1, p.action)
						c.shares(label)
						if !slices.ContainsFunc(c.calls(), func(call admin.Call) bool { return call.Fault == id }) {
							c.Errorf("%s: there was no such call", label)
						}
					})
				}
			})
		}
	})
	t.Logf("%d codes and lost answers, %d calls of %d actions in a shared life: %d lives in %s", len(codes), len(life), len(nth), lives, time.Since(begun).Round(time.Millisecond))
}

// A certificate that comes late costs nobody else anything: the listener of the Service that waits for it comes when it is
// there, with its rule, and the other one has its own from the start.
func TestOnASharedCLBACertificateThatComesLateKeepsNobodyBack(t *testing.T) {
	inCompany(t, func(c company) {
		site := func(name string, n int32, host, tls string) *corev1.Service {
			svc := onlyBind80(name)
			port(n)(svc)
			annotate(annotation.SpecifyProtocol, fmt.Sprintf(`{"%d":{"protocol":["HTTPS"],"hosts":{%q:{"tls":%q}}}}`, n, host, tls))(svc)
			return svc
		}
		c.put(secret("cert", map[string]string{"qcloud_cert_id": "certRSA1"}))
		c.put(kubetest.Slice("web", at(1)...))
		c.put(kubetest.Slice("api", at(2)...))
		c.put(site("web", 443, "web.example.com", "late"))
		c.put(site("api", 8443, "api.example.com", "cert"))
		c.pass(time.Minute)
		api, web := "clbsync-api HTTPS:8443/api.example.com ins-00000002=10", "clbsync-web HTTPS:443/web.example.com ins-00000001=10"
		c.want("while the Secret is missing", c.has(), api+"\n"+sshAsItWas)
		c.want("its author is told", strings.Contains(c.message("web", "CertificateUnknown"), "Secret default/late does not exist"), true)
		c.want("and the other is well", c.events("api"), []string{"EnsuringLoadBalancer", "EnsuredLoadBalancer"})
		since := c.calls()[len(c.calls())-1].Seq
		c.put(secret("late", map[string]string{"qcloud_cert_id": "certRSA2"}))
		c.pass(secretsLook + time.Minute)
		c.want("when it comes", c.has(), api+"\n"+web+"\n"+sshAsItWas)
		c.want("the condition", strings.HasPrefix(c.condition("web", lbsync.ConditionSynced), "True"), true)
		c.remove(secret("late", nil))
		c.put(kubetest.Slice("web", at(1, 3)...))
		c.pass(secretsEvery + secretsLook + time.Minute)
		c.want("when it is gone again", c.has(), api+"\n"+web+" ins-00000003=10\n"+sshAsItWas)
		c.delete("web")
		c.pass(time.Minute)
		c.want("when the Service is gone", c.has(), api+"\n"+sshAsItWas)
		for _, whose := range []string{"", "api"} {
			c.want("writes to what is the others'", c.touched(since, whose), []string(nil))
		}
	})
}
