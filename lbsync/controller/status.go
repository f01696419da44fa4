// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"k8s.io/cloud-provider/service/helpers"

	"github.com/clbsync/clbsync/lbsync"
	"github.com/clbsync/clbsync/lbsync/annotation"
)

// The finalizers. A Service without a class carries the stock controller's, so that a cluster can switch
// between that and this one. A Service of our class cannot: the stock controller takes its finalizer off any
// Service that is being deleted, whatever its class, and in k3s, or beside another cloud's controller, there
// is one. The CLB would be left behind.
const (
	finalizerStock   = helpers.LoadBalancerCleanupFinalizer
	finalizerOfClass = "clbsync.io/load-balancer-cleanup"
)

func hasFinalizer(svc *corev1.Service) bool {
	return slices.Contains(svc.Finalizers, finalizerOfClass) || slices.Contains(svc.Finalizers, finalizerStock)
}

// prepare makes sure, before anything is changed in the cloud, that the Service outlives its CLB, and that what its
// annotations set there is undone when they go, and returns it as it is then.
func (c *Controller) prepare(ctx context.Context, svc *corev1.Service, f lbsync.Finding) (*corev1.Service, error) {
	to := svc.DeepCopy()
	if finalizer := finalizerOf(svc); !slices.Contains(svc.Finalizers, finalizer) {
		to.Finalizers = append(to.Finalizers, finalizer)
	}
	note(to, annotation.Applied, strings.Join(lbsync.Applied(f.Options, f.Actual.Instance, true), ","))
	if !f.Actual.Present && f.Options.ExistingID == "" {
		note(to, annotation.Ordered, f.Desired.Instance.Noted())
	}
	switch {
	case f.Actual.Present:
		// Not what the manifest asks for by now: a CLB in the cluster's own region would be looked for in the other one, not be
		// found there, be bought again and be left behind.
		note(to, annotation.Region, f.Actual.Instance.Region)
	case !hasFinalizer(svc):
		note(to, annotation.Region, f.Desired.Instance.Region)
	}
	if f.Options.ExistingID != "" && f.Actual.Present && f.Actual.Instance.Tags[lbsync.TagCreatedBy] == "" {
		// Noted before anything is made there: what the manifest says afterwards does not lead away from it.
		note(to, annotation.LoadBalancerID, f.Actual.Instance.ID)
	}
	return c.patch(ctx, svc, to)
}

// finalizerOf returns the finalizer that a Service gets.
func finalizerOf(svc *corev1.Service) string {
	if svc.Spec.LoadBalancerClass != nil {
		return finalizerOfClass
	}
	return finalizerStock
}

// note sets an annotation, or removes it if there is nothing to note.
func note(svc *corev1.Service, name, value string) {
	if value == "" {
		delete(svc.Annotations, name)
	} else {
		metav1.SetMetaDataAnnotation(&svc.ObjectMeta, name, value)
	}
}

// How often conditions are written at most. A rollout changes what they say with each pod, and the API server
// is not there to keep a diary of it.
const (
	turnPause    = 10 * time.Second // between two writes of one Service
	wordingPause = time.Minute      // for how long a message is old before it is worth a write of its own
)

// publish makes known, in one write, which CLB serves the Service, its addresses, once somebody listens there,
// and what the sync found. It returns when to try again, if something is still to be made known then.
func (c *Controller) publish(ctx context.Context, s *seat, svc *corev1.Service, f lbsync.Finding, failures int) (again time.Duration, err error) {
	to := svc.DeepCopy()
	if f.Actual.Present {
		metav1.SetMetaDataAnnotation(&to.ObjectMeta, annotation.LoadBalancerID, f.Actual.Instance.ID)
		note(to, annotation.NatIPv6, natIPv6(f.Actual.Instance))
		if f.Failure == nil {
			note(to, annotation.Applied, strings.Join(lbsync.Applied(f.Options, f.Actual.Instance, false), ","))
		}
		status := corev1.LoadBalancerStatus{Ingress: lbsync.Ingress(f.Actual.Instance, f.Options.IPMode)}
		if len(f.Actual.Listeners) > 0 && len(status.Ingress) > 0 && !helpers.LoadBalancerStatusEqual(&svc.Status.LoadBalancer, &status) {
			to.Status.LoadBalancer = status
		}
	}
	if !f.PlanOnly && f.Failure == nil {
		delete(to.Annotations, annotation.Plan)
	}
	if c.stopped() || f.Failure != nil && passing(f.Failure, failures+1) {
		// What was found is only half of it, or about to pass.
		_, err = c.patch(ctx, svc, to)
		return 0, err
	}
	now := time.Now()
	conditions, news := lbsync.Renew(svc.Status.Conditions, lbsync.Conditions(f), svc.Generation, now)
	// A failure may not be looked at again for minutes, and repeats itself at the pace of its backoff only.
	free := f.Failure != nil || !equality.Semantic.DeepEqual(svc, to)
	plan := planned(f, svc.Annotations[annotation.Plan])
	if plan != svc.Annotations[annotation.Plan] {
		news = lbsync.Turn
	}
	write, again := s.due(news, now, free)
	if write {
		to.Status.Conditions = conditions
		if plan != "" {
			metav1.SetMetaDataAnnotation(&to.ObjectMeta, annotation.Plan, plan)
		}
	}
	if _, err = c.patch(ctx, svc, to); err == nil && write {
		s.written, s.stale = now, time.Time{}
	}
	return again, err
}

func natIPv6(i lbsync.Instance) string {
	if !i.NatIPv6.IsValid() {
		return ""
	}
	return i.NatIPv6.String()
}

// planMax bounds the annotation, in bytes: what people read, and far less than annotations may have in all.
const planMax = 4000

// planned is the text of the annotation that shows the plan of a Service that wants to see it; before is its present
// one, which stays if nothing could be planned now.
func planned(f lbsync.Finding, before string) string {
	why := blocker(f.Skips)
	switch {
	case !f.PlanOnly:
		return ""
	case f.Failure != nil:
		return before
	case why != "":
		return "Nothing is planned: " + why
	case f.Plan.Empty():
		return nothingToChange
	}
	return f.Plan.Brief(planMax)
}

// due decides whether conditions are written now, and if not, when to look again; 0: at the next occasion.
// free: nothing is gained by waiting.
func (s *seat) due(news lbsync.News, now time.Time, free bool) (write bool, again time.Duration) {
	if news == lbsync.NoNews {
		s.stale = time.Time{}
		return false, 0
	}
	if s.stale.IsZero() {
		s.stale = now
	}
	left := turnPause - now.Sub(s.written)
	switch {
	case free:
		return true, 0
	case news == lbsync.Wording:
		// Not looked after: a node that joins changes the count of every Service at once. The next sync does it,
		// the one that verifies at the latest, and those are spread.
		return left <= 0 && now.Sub(s.stale) >= wordingPause, 0
	case left > 0:
		return false, left
	}
	return true, 0
}

// release takes everything of ours off a Service that has no CLB any more.
func (c *Controller) release(ctx context.Context, svc *corev1.Service) error {
	to := svc.DeepCopy()
	for _, name := range []string{annotation.LoadBalancerID, annotation.Plan, annotation.Applied, annotation.NatIPv6, annotation.Region, annotation.Ordered} {
		delete(to.Annotations, name)
	}
	to.Status.LoadBalancer = corev1.LoadBalancerStatus{}
	to.Status.Conditions = lbsync.NotOurs(svc.Status.Conditions)
	to.Finalizers = slices.DeleteFunc(to.Finalizers, func(f string) bool {
		return f == finalizerOfClass || f == finalizerStock && !c.settings.ClassOnly
	})
	_, err := c.patch(ctx, svc, to)
	return err
}

// patch writes what to has otherwise than from, in metadata and status, and returns the Service as it is
// then. It writes nothing if nothing differs, nothing else than what differs, and nothing to a Service of
// the same name that has come in between.
func (c *Controller) patch(ctx context.Context, from, to *corev1.Service) (*corev1.Service, error) {
	if equality.Semantic.DeepEqual(from, to) {
		return from, nil
	}
	anybody := from.DeepCopy()
	anybody.UID = "" // With the UID in it the patch is refused by any other Service.
	before, err := json.Marshal(anybody)
	if err != nil {
		return nil, err
	}
	after, err := json.Marshal(to)
	if err != nil {
		return nil, err
	}
	patch, err := strategicpatch.CreateTwoWayMergePatch(before, after, corev1.Service{})
	if err != nil {
		return nil, err
	}
	now, err := c.client.CoreV1().Services(from.Namespace).Patch(ctx, from.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status")
	if err != nil {
		return nil, fmt.Errorf("patch Service %s/%s: %w", from.Namespace, from.Name, err)
	}
	return now, nil
}
