// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/tools/record"
	"k8s.io/klog/v2"

	"github.com/clbsync/clbsync/lbsync"
)

// Reasons of Events, the stock controller's where it has one: people, and programs, know those.
const (
	component       = "service-controller"
	eventEnsuring   = "EnsuringLoadBalancer"
	eventEnsured    = "EnsuredLoadBalancer"
	eventUpdated    = "UpdatedLoadBalancer"
	eventFailed     = "SyncLoadBalancerFailed"
	eventDeleting   = "DeletingLoadBalancer"
	eventDeleted    = "DeletedLoadBalancer"
	eventPlan       = "Plan"
	eventHeld       = "RemovalHeld"
	eventDrift      = "DriftDetected"
	eventOrphans    = "OrphansFound"
	eventLeft       = "LoadBalancerLeft"
	messageMax      = 1000 // the API server takes 1024 bytes
	failureReminder = 30 * time.Minute
)

// startEvents returns a broadcaster that writes to the API server. Each reason of an object has a budget of
// its own: a Service whose pods come and go all day must not use up the Event that says why it fails.
func startEvents(ctx context.Context, client kubernetes.Interface) record.EventBroadcaster {
	b := record.NewBroadcaster(record.WithContext(ctx), record.WithCorrelatorOptions(record.CorrelatorOptions{
		SpamKeyFunc: func(e *corev1.Event) string {
			return strings.Join([]string{string(e.InvolvedObject.UID), e.InvolvedObject.Namespace, e.InvolvedObject.Name, e.Reason}, "/")
		},
	}))
	b.StartRecordingToSink(&typedcorev1.EventSinkImpl{Interface: client.CoreV1().Events("")})
	return b
}

func newRecorder(b record.EventBroadcaster) record.EventRecorder {
	return b.NewRecorder(scheme.Scheme, corev1.EventSource{Component: component})
}

func (c *Controller) tell(svc *corev1.Service, kind, reason, message string) {
	c.recorder.Event(svc, kind, reason, cut(message))
}

func cut(message string) string {
	if len(message) > messageMax {
		message = strings.ToValidUTF8(message[:messageMax], "") + "…"
	}
	return message
}

// tellBegin announces a change of the CLB or of its listeners. Targets come and go too often for that.
func (c *Controller) tellBegin(s *seat, p lbsync.Plan) {
	if s.ensuring || p.Delete != nil || p.Create == nil && p.ModifyInstance == nil && len(p.CreateListeners)+len(p.ModifyListeners)+len(p.DeleteListeners) == 0 {
		return
	}
	s.ensuring = true
	c.tell(s.service, corev1.EventTypeNormal, eventEnsuring, "Ensuring load balancer")
}

// tellInStep says once that a CLB is as it should be, after it was not.
func (c *Controller) tellInStep(s *seat, lb lbsync.LoadBalancer) {
	switch {
	case s.ensuring || s.failure != "":
		c.tell(s.service, corev1.EventTypeNormal, eventEnsured, fmt.Sprintf("Ensured load balancer %s%s", lb.Instance.ID, summary(s.done)))
	case len(s.done) > 0:
		c.tell(s.service, corev1.EventTypeNormal, eventUpdated, fmt.Sprintf("Updated load balancer %s%s", lb.Instance.ID, summary(s.done)))
	}
	s.ensuring, s.failure, s.done = false, "", map[string]int{}
}

// tellHeld says that a removal is held, and remembers since when.
func (c *Controller) tellHeld(ctx context.Context, r *state, step lbsync.Step, actual, desired lbsync.LoadBalancer) {
	switch {
	case !step.Doubt:
		r.held = time.Time{}
	case r.held.IsZero() && step.Held:
		r.held = time.Now()
		klog.FromContext(ctx).Info("Holding a removal", "waits", len(step.Waits), "for", c.settings.Timing.RemovalHold)
		for _, s := range r.all() {
			if waits := r.waitsOf(step.Waits, s, actual, desired); slices.ContainsFunc(waits, func(w lbsync.Wait) bool { return w.Reason == lbsync.ForRelease }) {
				c.tell(s.service, corev1.EventTypeWarning, eventHeld, lbsync.HeldMessage(waits, c.settings.Timing.RemovalHold))
			}
		}
	}
}

// tellDeleted says that a CLB is gone, if there was one.
func (c *Controller) tellDeleted(ctx context.Context, svc *corev1.Service, id string) {
	if id == "" {
		return
	}
	klog.FromContext(ctx).Info("Deleted", "clb", id)
	c.tell(svc, corev1.EventTypeNormal, eventDeleted, "Deleted load balancer "+id)
}

// tellFailure says what failed: to people when it is another failure than before or has lasted, and not if
// it is of the kind that passes by itself. The log has it all, the repetitions at level 2.
func (c *Controller) tellFailure(ctx context.Context, r *state, err error, again time.Duration) {
	kind, logger := lbsync.KindOf(err), klog.FromContext(ctx)
	same := sameFailure(err)
	told := false
	for _, s := range r.all() {
		if passing(err, r.failures) || same == s.failure && time.Since(s.failedAt) < failureReminder {
			continue
		}
		s.failure, s.failedAt = same, time.Now()
		if !told {
			logger.Error(err, "Sync failed", "kind", kind, "again", again, "failures", r.failures)
			told = true
		}
		if s.service != nil {
			c.tell(s.service, corev1.EventTypeWarning, eventFailed, fmt.Sprintf("Error syncing load balancer: %v", err))
		}
	}
	if !told {
		logger.V(2).Info("Sync failed", "kind", kind, "err", err, "again", again, "failures", r.failures)
	}
}

// report makes known what is left out of the desired state, each thing once: to the Service's author what is
// a warning, to the log all of it. Nodes are only counted: they are the cluster's matter, not each
// Service's, and in a bad hour they are many.
func (c *Controller) report(ctx context.Context, seat *seat, skips []lbsync.Skip) {
	now, nodes := map[lbsync.Skip]bool{}, map[lbsync.Reason]int{}
	for _, s := range skips {
		if ofNode(s) {
			nodes[s.Reason]++
			continue
		}
		if now[s] {
			continue
		}
		now[s] = true
		if seat.skips[s] {
			continue
		}
		level := 2
		if s.Warning {
			level = 0
			c.tell(seat.service, corev1.EventTypeWarning, string(s.Reason), s.Message)
		}
		klog.FromContext(ctx).V(level).Info("Left out", "object", s.Object, "reason", s.Reason, "message", s.Message)
	}
	if !maps.Equal(nodes, seat.nodes) {
		klog.FromContext(ctx).V(2).Info("Nodes left out or draining", "count", nodes)
	}
	countSkips(seat.skips, now)
	countNodes(seat.nodes, nodes)
	seat.skips, seat.nodes = now, nodes
}

func ofNode(s lbsync.Skip) bool { return strings.HasPrefix(s.Object, "node ") }

const nothingToChange = "Nothing to change"

// show makes a plan that is not carried out known, if it is another than before.
func (c *Controller) show(ctx context.Context, s *seat, plan lbsync.Plan) {
	text, brief := plan.String(), plan.Brief(messageMax)
	if plan.Empty() {
		text, brief = nothingToChange, nothingToChange
	}
	if text == s.shown || c.dryRun && plan.Empty() && s.shown == "" {
		return
	}
	s.shown = text
	klog.FromContext(ctx).Info("Planned only", "plan", text, "dryRun", c.dryRun)
	c.tell(s.service, corev1.EventTypeNormal, eventPlan, strings.TrimSuffix(brief, "\n"))
}

func blocker(skips []lbsync.Skip) string {
	for _, s := range skips {
		if s.Blocking {
			return s.Message
		}
	}
	return ""
}

// unavailable returns a Skip if somebody serves and no node can be bound.
func unavailable(desired lbsync.LoadBalancer, skips []lbsync.Skip) []lbsync.Skip {
	if len(desired.Targets) > 0 {
		return nil
	}
	served := false
	for l, a := range desired.Answering {
		if _, wanted := desired.Listeners[l]; !wanted {
			continue
		}
		served = served || !desired.Idle[l] && !a.Direct && (a.Nodes == nil || len(a.Nodes) > 0)
	}
	if !served {
		return nil
	}
	count := map[lbsync.Reason]int{}
	for _, s := range skips {
		if ofNode(s) {
			count[s.Reason]++
		}
	}
	why := []string{"There are no available nodes for LoadBalancer"}
	for _, reason := range slices.Sorted(maps.Keys(count)) {
		why = append(why, fmt.Sprintf("%s: %d", reason, count[reason]))
	}
	return []lbsync.Skip{{Object: "nodes", Reason: lbsync.NoNodes, Warning: true, Message: strings.Join(why, ", ")}}
}

// summary returns ", targets registered: 2", say, for changes by verb.
func summary(done map[string]int) string {
	var text strings.Builder
	for _, v := range verbs {
		if n := done[v.name]; n > 0 {
			fmt.Fprintf(&text, ", %s: %d", v.words, n)
		}
	}
	return text.String()
}
