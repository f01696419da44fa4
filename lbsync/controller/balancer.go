// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"

	"github.com/clbsync/clbsync/lbsync"
	"github.com/clbsync/clbsync/lbsync/annotation"
)

// Ensure hands the Service to the queue and waits until a sync that began afterwards has gone as far as it
// could: what follows by itself, the end of a handover say, is not waited for. It returns what the
// status of the Service should be.
func (c *Controller) Ensure(ctx context.Context, svc *corev1.Service) (*corev1.LoadBalancerStatus, error) {
	if !c.settings.Wants(svc) {
		return nil, fmt.Errorf("the Service %s/%s is not to have a CLB of this controller: its type is %s, its class %q", svc.Namespace, svc.Name, svc.Spec.Type, class(svc))
	}
	out := c.now(ctx, svc, due{changed: true})
	switch {
	case out.err != nil:
		return nil, out.err
	case out.refused != "":
		return nil, errors.New(out.refused)
	}
	return &corev1.LoadBalancerStatus{Ingress: out.ingress}, nil
}

// Get reads what the status of the Service should be, and whether there is a CLB of the Service, be it
// half-created or half-deleted.
func (c *Controller) Get(ctx context.Context, svc *corev1.Service) (*corev1.LoadBalancerStatus, bool, error) {
	cloud, err := c.cloudOf(svc)
	if err != nil {
		return nil, false, err
	}
	if k := keyOf(svc); shared(k) {
		lb, _, err := c.observeExisting(ctx, cloud, k.Name, svc)
		if lbsync.KindOf(err) == lbsync.NotFound || err == nil && !lb.Has(svc.UID) {
			return nil, false, nil
		}
		return &corev1.LoadBalancerStatus{Ingress: lbsync.Ingress(lb.Instance, ipMode(svc))}, err == nil, err
	}
	found, _, err := c.find(ctx, cloud, svc)
	if err != nil || len(found) == 0 {
		return nil, false, err
	}
	return &corev1.LoadBalancerStatus{Ingress: lbsync.Ingress(found[0], ipMode(svc))}, true, nil
}

// Delete hands the Service to the queue for the deletion of its CLB and waits for it. It returns nil only if
// a search finds no CLB of the Service.
func (c *Controller) Delete(ctx context.Context, svc *corev1.Service) error {
	if out := c.now(ctx, svc, due{changed: true, retire: svc}); out.err != nil {
		return out.err
	}
	_, exists, err := c.Get(ctx, svc)
	if err == nil && exists {
		err = fmt.Errorf("the CLB of Service %s/%s is not deleted yet", svc.Namespace, svc.Name)
	}
	return err
}

// now makes the key due at once and waits for what comes of it.
func (c *Controller) now(ctx context.Context, svc *corev1.Service, d due) outcome {
	ctx, cancel := context.WithTimeoutCause(ctx, c.wait, fmt.Errorf("no outcome within %s; it goes on in the background", c.wait))
	defer cancel()
	done := make(chan outcome, 1)
	d.waiters = []waiter{{svc.UID, done}}
	k := keyOf(svc)
	c.queue.add(k, 0, d)
	select {
	case out := <-done:
		return out
	case <-ctx.Done():
		return outcome{err: fmt.Errorf("waiting for the CLB of Service %s: %w", k, context.Cause(ctx))}
	}
}

func ipMode(svc *corev1.Service) string {
	options, _ := annotation.Parse(svc.Annotations)
	return options.IPMode
}

func class(svc *corev1.Service) string {
	if svc.Spec.LoadBalancerClass == nil {
		return ""
	}
	return *svc.Spec.LoadBalancerClass
}
