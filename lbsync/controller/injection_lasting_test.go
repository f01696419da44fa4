// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/clbsync/clbsync/clbsim/admin"
	"github.com/clbsync/clbsync/lbsync"
	"github.com/clbsync/clbsync/lbsync/clb"
)

// lasting are the actions that a stage of a life cannot do without.
var lasting = map[string][]string{
	"create": {"CreateLoadBalancer", "DescribeTaskStatus", "CreateSecurityGroup", "ModifySecurityGroupPolicies", "SetLoadBalancerSecurityGroups", "CreateListener", "BatchRegisterTargets"},
	"delete": {"DescribeLoadBalancers", "DescribeListeners", "DeleteLoadBalancerListeners", "DeleteLoadBalancer", "DeleteSecurityGroup"},
}

// warnings are the messages of all Warning Events about the Service.
func (l *trial) warnings() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []string
	for _, e := range l.told {
		if e.Type == corev1.EventTypeWarning && e.InvolvedObject.Name == "web" {
			out = append(out, e.Message)
		}
	}
	return out
}

// A code that is answered for as long as a stage lasts is in an Event and in the condition, with the words of the table; the
// stage ends as it should when it is answered no more. Nothing is bought twice, and no finalizer is taken off too early.
func TestACodeThatLastsIsSaidOnTheObject(t *testing.T) {
	begun, lives := time.Now(), 0
	codes := injected()
	t.Run("", func(t *testing.T) {
		for i, code := range slices.Sorted(maps.Keys(codes)) {
			chosen := map[string][]string{}
			for of, actions := range lasting {
				chosen[of] = actions
				if !*full && !stands(code, codes) {
					chosen[of] = actions[i%len(actions):][:1]
				}
				lives += len(chosen[of])
			}
			t.Run(code, func(t *testing.T) {
				t.Parallel()
				for of, actions := range chosen {
					for _, action := range actions {
						inTrial(t, func(l *trial) { l.lasts(of, action, code, codes[code]) })
					}
				}
			})
		}
	})
	t.Logf("%d codes that last: %d lives in %s", len(codes), lives, time.Since(begun).Round(time.Millisecond))
}

// lasts goes through a life in which an action is answered with a code for the whole of one stage.
func (l *trial) lasts(of, action, code, message string) {
	name, _, _ := strings.Cut(code, "#")
	label := fmt.Sprintf("%s at each %s of %s", code, action, of)
	meaning := clb.Meaning(action, name, message)
	l.live(func(stage string) {
		if stage != of {
			return
		}
		if _, err := l.sim.AddFault(l.Context(), admin.Fault{Action: action, Count: -1, Kind: admin.KindError, Code: name, Message: message}); err != nil {
			l.Fatal(err)
		}
	}, func(stage string) {
		if stage != of {
			return
		}
		l.said(label, action, name, meaning, of == "delete")
		if err := l.sim.ClearFaults(l.Context()); err != nil {
			l.Fatal(err)
		}
		for _, s := range aLife {
			if s.name == of {
				l.settle(s, true)
			}
		}
	})
	l.promises(label)
}

// said checks what the object says while the fault lasts.
func (l *trial) said(label, action, name string, meaning clb.Code, deleting bool) {
	// What is gone already is what a deletion asks for; a task that is not known is asked for by what it was to change.
	settled := action == "DescribeTaskStatus" && meaning.Kind() == lbsync.Quota
	harmless := settled || meaning.Kind() == lbsync.NotFound || meaning.Kind() == lbsync.Invalid || meaning.Kind() == lbsync.Conflict
	condition := l.condition("web", lbsync.ConditionSynced)
	done := deleting && len(l.service("web").Finalizers) == 0 || !deleting && strings.HasPrefix(condition, "True")
	if done {
		if !harmless {
			l.Errorf("%s: the stage ended, though it cannot have", label)
		}
		return
	}
	if !strings.HasPrefix(condition, "False") {
		l.Errorf("%s: the condition is %q", label, condition)
	}
	warnings := l.warnings()
	if len(warnings) == 0 {
		l.Errorf("%s: no Event says why", label)
		return
	}
	if !slices.ContainsFunc(warnings, func(w string) bool { return strings.Contains(w, name) && strings.Contains(w, meaning.Means) }) && !harmless {
		l.Errorf("%s: no Event has the code and %q: %q", label, meaning.Means, warnings)
	}
}
