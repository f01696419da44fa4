// SPDX-License-Identifier: Apache-2.0

package lbsync

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/clbsync/clbsync/lbsync/annotation"
	"github.com/clbsync/clbsync/lbsync/serviceconfig"
)

// The types of the conditions that a Service of ours has in its status. Other types are never touched.
const (
	ConditionSynced   = "BackendsSynced" // True: every target that should get traffic is registered, with its weight, and nothing waits but drains
	ConditionDraining = "Draining"       // True: there are targets of weight 0
	ConditionQuota    = "QuotaExceeded"  // True: a quota keeps something of the Service out of the cloud
	ConditionHeld     = "RemovalHeld"    // True: most targets would go for reasons that nobody decided, and stay for now
)

// ConditionTypes are the types of our conditions, in the order in which people see them.
var ConditionTypes = []string{ConditionSynced, ConditionDraining, ConditionQuota, ConditionHeld}

// The reasons of conditions. A BackendsSynced that is False because of a Skip has that Skip's Reason.
const (
	ReasonInSync      Reason = "InSync"
	ReasonNoEndpoints Reason = "NoEndpoints"
	ReasonNoPorts     Reason = "NoPorts"
	ReasonDrift       Reason = "DriftReported"
	ReasonPlanOnly    Reason = "PlanOnly"
	ReasonForHealth   Reason = "WaitingForHealth"
	ReasonForRoom     Reason = "WaitingForRoom"
	ReasonForPlace    Reason = "WaitingForListener"
	ReasonLastTarget  Reason = "NoOtherTarget"
	ReasonForRules    Reason = "WaitingForNode"
	ReasonRemovalHeld Reason = "RemovalHeld"
	ReasonNothingHeld Reason = "NothingHeld"
	ReasonDraining    Reason = "TargetsDraining"
	ReasonNoneDrains  Reason = "NoTargetDrains"
	ReasonTargetQuota Reason = "TargetQuota"
	ReasonCloudQuota  Reason = "CloudQuota"
	ReasonWithinQuota Reason = "WithinQuota"
	ReasonCallFailed  Reason = "CallFailed"
	ReasonThrottled   Reason = "Throttled"
	ReasonBusy        Reason = "CLBBusy"
	ReasonNotFound    Reason = "CLBChanged"
	ReasonInvalid     Reason = "RequestInvalid"
	ReasonDenied      Reason = "RequestDenied"
	ReasonSyncFailed  Reason = "SyncFailed"
)

// conditionMax bounds a message, in bytes: the API's own bound is 32 KiB, more than anybody reads.
const conditionMax = 1000

// Finding is what a sync found out about the CLB of a Service.
type Finding struct {
	Options         annotation.Options // of the Service
	Actual, Desired LoadBalancer
	Waits           []Wait        // of the last step, whose plan was empty
	Held            bool          // by that step
	Hold            time.Duration // Timing.RemovalHold
	Skips           []Skip
	Sections        []serviceconfig.Listener // what the TkeServiceConfig that is made for the Service has sections for
	Kept            []Difference             // what others changed and is left as found
	PlanOnly        bool                     // the Service wants to see the plan, and nothing changed
	Plan            Plan                     // with PlanOnly
	Failure         error                    // not nil: Actual and Waits need not be right
}

// Conditions returns what there is to say of a Service: type, status, reason and message, without times. A
// condition that is absent is not known now, and stays as it was. Messages name counts and never moments:
// two syncs that found the same say the same.
func Conditions(f Finding) []metav1.Condition {
	if f.Failure != nil {
		out := []metav1.Condition{failed(f.Failure)}
		if KindOf(f.Failure) == Quota {
			out = append(out, condition(ConditionQuota, true, ReasonCloudQuota, "%v", f.Failure))
		}
		return out
	}
	for _, s := range f.Skips {
		if s.Blocking {
			return []metav1.Condition{condition(ConditionSynced, false, s.Reason, "%s", s.Message)}
		}
	}
	return []metav1.Condition{f.synced(), f.draining(), f.quota(), f.held()}
}

func condition(kind string, yes bool, reason Reason, format string, args ...any) metav1.Condition {
	c := metav1.Condition{Type: kind, Status: metav1.ConditionFalse, Reason: string(reason), Message: fmt.Sprintf(format, args...)}
	if yes {
		c.Status = metav1.ConditionTrue
	}
	if len(c.Message) > conditionMax {
		c.Message = strings.ToValidUTF8(c.Message[:conditionMax], "") + "…"
	}
	return c
}

// failure says how an error of a kind is called in a condition, and what becomes of it.
var failure = map[Kind]struct {
	reason Reason
	then   string
}{
	Unknown:   {ReasonCallFailed, "the CLB is read and the change planned anew, again and again; nothing has to be done unless this lasts"},
	Throttled: {ReasonThrottled, "it is tried again; if this lasts, lower rateLimits in the cloud config or find out who else uses the account's API"},
	Busy:      {ReasonBusy, "it is tried again when the CLB has finished; nothing has to be done unless this lasts"},
	NotFound:  {ReasonNotFound, "somebody else changed the CLB; it is read and the change planned anew"},
	Conflict:  {ReasonNotFound, "somebody else changed the CLB; it is read and the change planned anew"},
	Invalid:   {ReasonInvalid, "CLB will refuse it until the Service or the cloud config is mended"},
	Quota:     {ReasonCloudQuota, "free what is not used or ask for a larger quota; it is tried again every few minutes"},
	Denied:    {ReasonDenied, "a person has to act; it is tried again every few minutes"},
}

func failed(err error) metav1.Condition {
	if _, ok := errors.AsType[*Error](err); !ok {
		return condition(ConditionSynced, false, ReasonSyncFailed, "%v; it is tried again", err)
	}
	f := failure[KindOf(err)]
	return condition(ConditionSynced, false, f.reason, "%v; %s", err, f.then)
}

// unserved are the reasons of Skips that leave a part of the Service without service.
var unserved = []Reason{NoNodes, Refused, PortTaken, NoNodePort, UnsupportedProtocol, CertificateUnknown, ProtocolImpossible}

// waiting are the reasons of waits that keep BackendsSynced from True, the gravest first. A drain is not
// among them: what should get traffic gets it. Nor is damping, which would turn the condition to and fro.
var waiting = []struct {
	wait   WaitReason
	reason Reason
}{
	{ForRelease, ReasonRemovalHeld}, {ForRoom, ReasonForRoom}, {ForPlace, ReasonForPlace}, {ForHealth, ReasonForHealth}, {ForSuccessor, ReasonForHealth}, {ForRules, ReasonForRules}, {ForEndpoint, ReasonLastTarget},
}

func (f Finding) synced() metav1.Condition {
	if f.PlanOnly && !f.Plan.Empty() {
		then := ""
		if f.Plan.Delete != nil {
			then = ": CLB " + f.Plan.Delete.ID + " and the Service stay until the annotation is removed"
		}
		return condition(ConditionSynced, false, ReasonPlanOnly, "%s planned and not made, since the annotation %s is \"plan\"%s",
			are(strings.Count(f.Plan.String(), "\n"), "change"), annotation.Mode, then)
	}
	for _, reason := range unserved {
		for _, s := range f.Skips {
			if s.Reason == reason {
				return condition(ConditionSynced, false, reason, "%s", s.Message)
			}
		}
	}
	inPlace, wanted := f.targets()
	count := map[WaitReason]int{}
	for _, w := range f.Waits {
		count[w.Reason]++
	}
	var why []string
	var first Reason
	n := 0
	for _, w := range waiting {
		if count[w.wait] == 0 {
			continue
		}
		if first == "" {
			first = w.reason
		}
		n += count[w.wait]
		why = append(why, fmt.Sprintf("%s (%d)", w.wait, count[w.wait]))
	}
	switch {
	case n > 0:
		return condition(ConditionSynced, false, first, "%d of %s in place; %s: %s", inPlace, are(wanted, "target"), many(n, "waits", "wait"), strings.Join(why, ", "))
	case len(f.Kept) > 0:
		return condition(ConditionSynced, false, ReasonDrift, "%s by somebody else, left as found: %s", many(len(f.Kept), "change", "changes"), DriftText(f.Kept))
	case len(f.Desired.Listeners) == 0:
		return condition(ConditionSynced, false, ReasonNoPorts, "No port of the Service can have a listener, so there is none")
	case len(f.Desired.Idle) == f.Desired.receivers():
		return condition(ConditionSynced, true, ReasonNoEndpoints, "The Service has no endpoints; %s in place", are(wanted, "target"))
	}
	return condition(ConditionSynced, true, ReasonInSync, "%s in place, on %s", are(wanted, "target"), plural(f.Desired.receivers(), "listener"))
}

// targets counts the targets that should be there, and those of them that are.
func (f Finding) targets() (inPlace, wanted int) {
	theirs := f.Actual.foreigners()
	for b, weight := range f.Desired.Targets {
		have, there := f.Actual.Targets[b]
		if _, foreign := theirs.at(b.Listener); foreign || weight == 0 && !there {
			continue
		}
		wanted++
		if there && (have > 0) == (weight > 0) {
			inPlace++
		}
	}
	return inPlace, wanted
}

func (f Finding) draining() metav1.Condition {
	closed, leaving := 0, 0
	for b, weight := range f.Actual.Targets {
		if weight > 0 {
			continue
		}
		closed++
		if _, stays := f.Desired.Targets[b]; !stays {
			leaving++
		}
	}
	if closed == 0 {
		return condition(ConditionDraining, false, ReasonNoneDrains, "Every target takes new connections")
	}
	return condition(ConditionDraining, true, ReasonDraining, "%d of %s get no new connections: %d leave when their connections have had their time, %d stay as long as their node or their pods are going",
		closed, plural(len(f.Actual.Targets), "target"), leaving, closed-leaving)
}

func (f Finding) quota() metav1.Condition {
	var beyond []string
	for _, s := range f.Skips {
		if s.Reason == QuotaExceeded {
			beyond = append(beyond, s.Message)
		}
	}
	slices.Sort(beyond)
	switch more := len(beyond) - 1; {
	case more == 0:
		return condition(ConditionQuota, true, ReasonTargetQuota, "%s", beyond[0])
	case more > 0:
		return condition(ConditionQuota, true, ReasonTargetQuota, "%s; the same holds for %s", beyond[0], many(more, "other port", "other ports"))
	}
	return condition(ConditionQuota, false, ReasonWithinQuota, "No quota is in the way")
}

func (f Finding) held() metav1.Condition {
	if !f.Held {
		return condition(ConditionHeld, false, ReasonNothingHeld, "No removal is held")
	}
	return condition(ConditionHeld, true, ReasonRemovalHeld, "%s", HeldMessage(f.Waits, f.Hold))
}

// NotOurs returns the conditions without ours.
func NotOurs(conditions []metav1.Condition) []metav1.Condition {
	return slices.DeleteFunc(slices.Clone(conditions), func(c metav1.Condition) bool { return slices.Contains(ConditionTypes, c.Type) })
}

// News is how much a condition says that it did not say before.
type News int

// The degrees of news.
const (
	NoNews  News = iota
	Wording      // messages only: a count, say
	Turn         // a status, a reason, or the generation of the Service that was looked at
)

// Renew returns the conditions have with want in them, and how much is new. Those of other types, or that
// want does not have, stay. Neither argument is changed. A transition time is new only where the status is.
func Renew(have, want []metav1.Condition, generation int64, now time.Time) ([]metav1.Condition, News) {
	out, news := slices.Clone(have), NoNews
	for _, c := range want {
		c.ObservedGeneration, c.LastTransitionTime = generation, metav1.NewTime(now)
		switch old := meta.FindStatusCondition(have, c.Type); {
		case old == nil || old.Status != c.Status || old.Reason != c.Reason || old.ObservedGeneration != c.ObservedGeneration:
			news = Turn
		case old.Message != c.Message:
			news = max(news, Wording)
		}
		meta.SetStatusCondition(&out, c)
	}
	return out, news
}

// HeldMessage says to people what is held, for how long at most, and how it is let go.
func HeldMessage(waits []Wait, most time.Duration) string {
	count := map[WaitReason]int{}
	for _, w := range waits {
		count[w.Reason]++
	}
	return fmt.Sprintf("%d targets stay for up to %s though nothing asks for them any more: %s. If they are to go now, annotate the Service with %s: \"true\"",
		count[ForRelease], most, ForRelease, annotation.AllowRemoval)
}

func plural(n int, word string) string { return many(n, word, word+"s") }

func many(n int, one, more string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, more)
}

func are(n int, word string) string {
	if n == 1 {
		return "1 " + word + " is"
	}
	return fmt.Sprintf("%d %ss are", n, word)
}
