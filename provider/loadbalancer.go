// SPDX-License-Identifier: Apache-2.0

package provider

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	cloudprovider "k8s.io/cloud-provider"

	"github.com/clbsync/clbsync/lbsync"
)

// engineWait is how long the engine may take for one answer. The stock service controller sets no bound, and
// has a single worker by default: one CLB that hangs would stop all others. It is longer than the engine's
// own patience, whose errors say more.
const engineWait = 3 * time.Minute

// Engine keeps the CLBs of Services in step with the cluster, which it watches itself: nodes and endpoints
// that it is told about by nobody reach the CLB all the same. *controller.Controller is one.
type Engine interface {
	// Get returns the status of the Service's CLB. exists is also true for one that is half created or half
	// deleted: if it were false, the stock service controller would let the Service go and the CLB stay.
	Get(ctx context.Context, svc *corev1.Service) (status *corev1.LoadBalancerStatus, exists bool, err error)
	// Ensure returns when the CLB is as the Service asks, or cannot be.
	Ensure(ctx context.Context, svc *corev1.Service) (*corev1.LoadBalancerStatus, error)
	// Delete returns nil only if nothing of the CLB is left.
	Delete(ctx context.Context, svc *corev1.Service) error
	// Run works until ctx ends.
	Run(ctx context.Context)
}

// loadBalancers hands Services to the engine and waits.
type loadBalancers struct {
	settings lbsync.Settings
	engine   func() (Engine, error)
}

var _ cloudprovider.LoadBalancer = loadBalancers{}

// GetLoadBalancer implements cloudprovider.LoadBalancer.
func (l loadBalancers) GetLoadBalancer(ctx context.Context, _ string, svc *corev1.Service) (*corev1.LoadBalancerStatus, bool, error) {
	e, err := l.ready(svc)
	if err != nil {
		return nil, false, err
	}
	ctx, cancel := context.WithTimeout(ctx, engineWait)
	defer cancel()
	return e.Get(ctx, svc)
}

// GetLoadBalancerName returns the name that people see in the console. Nothing is ever found by it.
func (l loadBalancers) GetLoadBalancerName(_ context.Context, _ string, svc *corev1.Service) string {
	lb, _ := lbsync.Desired(lbsync.Snapshot{Settings: l.settings, Services: []lbsync.Service{{Service: svc}}})
	return lb.Instance.Name
}

// EnsureLoadBalancer implements cloudprovider.LoadBalancer. The nodes are not used: the stock controller
// hands over the same ones whatever the Service's policy is.
func (l loadBalancers) EnsureLoadBalancer(ctx context.Context, _ string, svc *corev1.Service, _ []*corev1.Node) (*corev1.LoadBalancerStatus, error) {
	e, err := l.ready(svc)
	if err != nil {
		return nil, err
	}
	if !l.settings.Wants(svc) {
		return nil, cloudprovider.ImplementedElsewhere // compared with ==, so it must not be wrapped
	}
	ctx, cancel := context.WithTimeout(ctx, engineWait)
	defer cancel()
	return e.Ensure(ctx, svc)
}

// UpdateLoadBalancer returns at once: the engine has the node's event as well, and after an error the stock
// controller would set up everything again.
func (l loadBalancers) UpdateLoadBalancer(_ context.Context, _ string, svc *corev1.Service, _ []*corev1.Node) error {
	if _, err := l.ready(svc); err != nil {
		return err
	}
	if !l.settings.Wants(svc) {
		return cloudprovider.ImplementedElsewhere
	}
	return nil
}

// EnsureLoadBalancerDeleted implements cloudprovider.LoadBalancer. It does not ask whose the Service is: one
// whose type or class has changed may have left a CLB.
func (l loadBalancers) EnsureLoadBalancerDeleted(ctx context.Context, _ string, svc *corev1.Service) error {
	e, err := l.ready(svc)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, engineWait)
	defer cancel()
	return e.Delete(ctx, svc)
}

// ready returns the engine, if there is one and the Service is one that a CLB can be told by.
func (l loadBalancers) ready(svc *corev1.Service) (Engine, error) {
	if svc == nil {
		return nil, errors.New("no Service is given")
	}
	if svc.UID == "" {
		return nil, fmt.Errorf("the Service %s/%s has no UID, by which its CLB is known; take it from the API server", svc.Namespace, svc.Name)
	}
	return l.engine()
}
