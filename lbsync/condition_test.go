// SPDX-License-Identifier: Apache-2.0

package lbsync

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

var (
	web  = ListenerKey{Protocol: TCP, Port: 80}
	mail = ListenerKey{Protocol: TCP, Port: 25}
)

// with returns a CLB with the listener web and targets of the weights, on ins-0, ins-1 and so on; -1 is no target.
func with(weights ...int) LoadBalancer {
	lb := LoadBalancer{Present: true, Listeners: map[ListenerKey]Listener{web: {ListenerKey: web, Name: ListenerName("u")}}, Targets: map[Binding]int{}}
	for i, weight := range weights {
		if weight >= 0 {
			lb.Targets[on(i)] = weight
		}
	}
	return lb
}

func on(i int) Binding {
	return Binding{Listener: web, Target: Target{Instance: fmt.Sprintf("ins-%d", i), Port: 30080}}
}

func waits(reasons ...WaitReason) []Wait {
	var all []Wait
	for i, r := range reasons {
		all = append(all, Wait{Binding: on(i), Reason: r})
	}
	return all
}

func TestConditions(t *testing.T) {
	denied := &Error{Kind: Denied, Action: "RegisterTargets", Code: "UnauthorizedOperation", Err: errors.New("UnauthorizedOperation: no"), Hint: "grant this action"}
	idle := with(10)
	idle.Idle = map[ListenerKey]bool{web: true}
	foreign := with(10)
	foreign.Listeners[web] = Listener{ListenerKey: web, ID: "lbl-1", Name: "theirs"}
	for name, test := range map[string]struct {
		in   Finding
		want string // those that are not as in step, a line each
	}{
		"in step": {Finding{Actual: with(10, 10), Desired: with(10, 10)},
			"BackendsSynced True InSync: 2 targets are in place, on 1 listener"},
		"a handover waits for health": {Finding{Actual: with(10, 10, 10), Desired: with(-1, -1, 10), Waits: waits(ForHealth, ForHealth)},
			"BackendsSynced False WaitingForHealth: 1 of 1 target is in place; 2 wait: new targets are not healthy yet (2)"},
		"the gravest wait gives its reason, and all are counted": {Finding{Actual: with(10, 10), Desired: with(-1, -1, 10, 10), Waits: waits(ForHealth, ForRoom, ForHealth)},
			"BackendsSynced False WaitingForRoom: 0 of 2 targets are in place; 3 wait: the listener has as many targets as it may (1), new targets are not healthy yet (2)"},
		"a drain keeps nothing from being in step": {Finding{Actual: with(0, 10, 0), Desired: with(-1, 10, 0), Waits: waits(ForDrain)},
			"BackendsSynced True InSync: 2 targets are in place, on 1 listener\n" +
				"Draining True TargetsDraining: 2 of 3 targets get no new connections: 1 leave when their connections have had their time, 1 stay as long as their node or their pods are going"},
		"weights that are damped turn nothing": {Finding{Actual: with(3, 4), Desired: with(4, 4), Waits: waits(ForDamping)},
			"BackendsSynced True InSync: 2 targets are in place, on 1 listener"},
		"no endpoints": {Finding{Actual: idle, Desired: idle},
			"BackendsSynced True NoEndpoints: The Service has no endpoints; 1 target is in place"},
		"no listener": {Finding{},
			"BackendsSynced False NoPorts: No port of the Service can have a listener, so there is none"},
		"a held removal": {Finding{Actual: with(10, 10), Desired: with(10), Waits: waits(ForRelease, ForRelease), Held: true, Hold: time.Minute},
			"BackendsSynced False RemovalHeld: 1 of 1 target is in place; 2 wait: most targets would go for reasons that are about their nodes (2)\n" +
				"RemovalHeld True RemovalHeld: 2 targets stay for up to 1m0s though nothing asks for them any more: most targets would go for reasons that are about their nodes. If they are to go now, annotate the Service with clbsync.io/allow-removal: \"true\""},
		"more nodes than the quota has targets": {Finding{Actual: with(10), Desired: with(10), Skips: []Skip{{Reason: QuotaExceeded, Message: "Port b"}, {Reason: QuotaExceeded, Message: "Port a"}}},
			"BackendsSynced True InSync: 1 target is in place, on 1 listener\n" +
				"QuotaExceeded True TargetQuota: Port a; the same holds for 1 other port"},
		"a place that is taken": {Finding{Actual: foreign, Desired: with(10), Skips: []Skip{{Reason: SessionClamped, Message: "clamped"}, {Reason: PortTaken, Message: "Listener TCP:80 is taken"}}},
			"BackendsSynced False PortTaken: Listener TCP:80 is taken"},
		"a manifest that stops the Service says no more": {Finding{Skips: []Skip{{Reason: BadAnnotation, Message: "mend it", Blocking: true}}},
			"BackendsSynced False BadAnnotation: mend it\nDraining absent\nQuotaExceeded absent\nRemovalHeld absent"},
		"a refused call says what to do, and no more": {Finding{Actual: with(0), Failure: fmt.Errorf("wrapped: %w", denied)},
			"BackendsSynced False RequestDenied: wrapped: RegisterTargets: UnauthorizedOperation: no (grant this action); a person has to act; it is tried again every few minutes\n" +
				"Draining absent\nQuotaExceeded absent\nRemovalHeld absent"},
		"a quota of the account": {Finding{Failure: &Error{Kind: Quota, Action: "CreateLoadBalancer", Err: errors.New("LimitExceeded")}},
			"BackendsSynced False CloudQuota: CreateLoadBalancer: LimitExceeded; free what is not used or ask for a larger quota; it is tried again every few minutes\n" +
				"Draining absent\nQuotaExceeded True CloudQuota: CreateLoadBalancer: LimitExceeded\nRemovalHeld absent"},
		"a failure that is not the cloud's": {Finding{Failure: errors.New("patch")},
			"BackendsSynced False SyncFailed: patch; it is tried again\nDraining absent\nQuotaExceeded absent\nRemovalHeld absent"},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, unusual(Conditions(test.in))); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// unusual returns BackendsSynced and what else is not False.
func unusual(conditions []metav1.Condition) string {
	var lines []string
	for _, kind := range ConditionTypes {
		line := kind + " absent"
		for _, c := range conditions {
			if c.Type == kind {
				line = fmt.Sprintf("%s %s %s: %s", c.Type, c.Status, c.Reason, c.Message)
			}
		}
		if kind == ConditionSynced || !strings.Contains(line, " False ") {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "\n")
}

func TestALongMessageIsCutAndStaysText(t *testing.T) {
	c := Conditions(Finding{Failure: errors.New(strings.Repeat("负载均衡", 500))})[0]
	if len(c.Message) > conditionMax+len("…") || !strings.HasSuffix(c.Message, "…") || strings.ContainsRune(c.Message, '\uFFFD') {
		t.Errorf("%d bytes: %q", len(c.Message), c.Message)
	}
}

func TestRenew(t *testing.T) {
	then, now := time.Unix(100, 0), time.Unix(200, 0)
	have := []metav1.Condition{{Type: "Theirs", Status: "True", Reason: "R", LastTransitionTime: metav1.NewTime(then)},
		{Type: ConditionSynced, Status: "True", Reason: "InSync", Message: "2", ObservedGeneration: 3, LastTransitionTime: metav1.NewTime(then)}}
	for name, test := range map[string]struct {
		want       metav1.Condition
		generation int64
		news       News
		moved      bool
	}{
		"the same":             {metav1.Condition{Type: ConditionSynced, Status: "True", Reason: "InSync", Message: "2"}, 3, NoNews, false},
		"another count":        {metav1.Condition{Type: ConditionSynced, Status: "True", Reason: "InSync", Message: "3"}, 3, Wording, false},
		"another reason":       {metav1.Condition{Type: ConditionSynced, Status: "True", Reason: "NoEndpoints", Message: "2"}, 3, Turn, false},
		"another status":       {metav1.Condition{Type: ConditionSynced, Status: "False", Reason: "CallFailed", Message: "2"}, 3, Turn, true},
		"another generation":   {metav1.Condition{Type: ConditionSynced, Status: "True", Reason: "InSync", Message: "2"}, 4, Turn, false},
		"one that was not yet": {metav1.Condition{Type: ConditionHeld, Status: "False", Reason: "NothingHeld"}, 3, Turn, true},
	} {
		t.Run(name, func(t *testing.T) {
			before := cmp.Diff(have, nil)
			got, news := Renew(have, []metav1.Condition{test.want}, test.generation, now)
			if news != test.news {
				t.Errorf("news %d, want %d", news, test.news)
			}
			if diff := cmp.Diff(have[0], got[0]); diff != "" {
				t.Errorf("somebody else's condition (-had +has):\n%s", diff)
			}
			last := got[1]
			if len(got) > 2 {
				last = got[2]
			}
			at := then
			if test.moved {
				at = now
			}
			test.want.ObservedGeneration, test.want.LastTransitionTime = test.generation, metav1.NewTime(at)
			if diff := cmp.Diff(test.want, last); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if after := cmp.Diff(have, nil); after != before {
				t.Errorf("the argument was changed: %s", after)
			}
		})
	}
	if got := NotOurs(have); len(got) != 1 || got[0].Type != "Theirs" {
		t.Errorf("NotOurs: %v", got)
	}
}
