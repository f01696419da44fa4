// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

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

// addFinalizer makes sure that the Service outlives its CLB, and returns it as it is then.
func (c *Controller) addFinalizer(ctx context.Context, svc *corev1.Service) (*corev1.Service, error) {
	finalizer := finalizerStock
	if svc.Spec.LoadBalancerClass != nil {
		finalizer = finalizerOfClass
	}
	if slices.Contains(svc.Finalizers, finalizer) {
		return svc, nil
	}
	to := svc.DeepCopy()
	to.Finalizers = append(to.Finalizers, finalizer)
	return c.patch(ctx, svc, to)
}

// publish makes known which CLB serves the Service, and its addresses, once somebody listens there.
func (c *Controller) publish(ctx context.Context, svc *corev1.Service, actual lbsync.LoadBalancer) error {
	if !actual.Present {
		return nil
	}
	to := svc.DeepCopy()
	if to.Annotations == nil {
		to.Annotations = map[string]string{}
	}
	to.Annotations[annotation.LoadBalancerID] = actual.Instance.ID
	status := corev1.LoadBalancerStatus{Ingress: lbsync.Ingress(actual.Instance)}
	if len(actual.Listeners) > 0 && len(status.Ingress) > 0 && !helpers.LoadBalancerStatusEqual(&svc.Status.LoadBalancer, &status) {
		to.Status.LoadBalancer = status
	}
	_, err := c.patch(ctx, svc, to)
	return err
}

// release takes everything of ours off a Service that has no CLB any more.
func (c *Controller) release(ctx context.Context, svc *corev1.Service) error {
	to := svc.DeepCopy()
	delete(to.Annotations, annotation.LoadBalancerID)
	to.Status.LoadBalancer = corev1.LoadBalancerStatus{}
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
