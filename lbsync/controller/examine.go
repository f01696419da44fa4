// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/tools/record"

	"github.com/clbsync/clbsync/lbsync"
	"github.com/clbsync/clbsync/lbsync/annotation"
)

// resolving is how long Examine waits for the instances of nodes whose objects do not name theirs.
const resolving = 10 * time.Second

// Examine finds out what a Service asks for, what there is, and in Plan what the difference is, in the way of a sync. It
// changes nothing and tells nobody. It is for programs that ask once and end: Run is not to be called, before or after.
// The error is that the Service cannot be found, or is none of ours; what fails at the cloud is in the Finding.
func (c *Controller) Examine(ctx context.Context, service types.NamespacedName) (lbsync.Finding, error) {
	c.recorder, c.stopping = &record.FakeRecorder{}, ctx.Done() // one without a channel drops what it is told
	defer c.queue.ShutDown()
	if !c.waitForCaches(ctx) {
		return lbsync.Finding{}, fmt.Errorf("waiting for what the API server has: %w", context.Cause(ctx))
	}
	svc, err := c.service(service)
	switch {
	case err != nil:
		return lbsync.Finding{}, err
	case svc == nil:
		return lbsync.Finding{}, apierrors.NewNotFound(corev1.Resource("services"), service.String())
	}
	c.resolve(ctx)
	c.quota.first(ctx)
	if err := c.inquire(ctx, svc); err != nil {
		return lbsync.Finding{Failure: err}, nil
	}
	r := newState()
	defer r.clear()
	if r.cloud, err = c.cloudOf(svc); err != nil {
		return lbsync.Finding{Failure: err}, nil
	}
	if k := keyOf(svc); shared(k) {
		return c.examineShared(ctx, r.cloud, svc, k.Name), nil
	}
	if c.settings.Wants(svc) {
		f := c.look(ctx, r, svc, time.Now())
		if f.Failure == nil && !lbsync.Blocked(f.Skips) {
			f.Plan = lbsync.Diff(f.Actual, f.Desired)
		}
		return f, nil
	}
	owner := lbsync.Owner{ClusterID: c.settings.ClusterID, ServiceUID: string(svc.UID)}
	f := lbsync.Finding{Desired: lbsync.LoadBalancer{Instance: lbsync.Instance{Owner: owner}}}
	found, cloud, err := c.find(ctx, r.cloud, svc)
	if f.Failure = err; err == nil && len(found) > 0 {
		f.Actual, f.Failure = cloud.Observe(ctx, found[0].ID)
	}
	if f.Failure == nil {
		f.Plan = lbsync.Diff(f.Actual, f.Desired)
	}
	return f, nil
}

// examineShared is Examine for a Service on a CLB that somebody made: what is found is its part of it.
func (c *Controller) examineShared(ctx context.Context, cloud Cloud, svc *corev1.Service, id string) lbsync.Finding {
	f := lbsync.Finding{}
	actual, _, err := c.observeExisting(ctx, cloud, id, svc)
	absent := lbsync.KindOf(err) == lbsync.NotFound
	if err != nil && !absent {
		f.Failure = err
		return f
	}
	snap, own, unsure, err := c.snapshotOf(svc, actual)
	if f.Failure = err; err != nil {
		return f
	}
	f.Options, f.PlanOnly = own.Options, own.Options.PlanOnly
	if absent {
		f.Skips = []lbsync.Skip{lbsync.NotFoundSkip(own, id, own.Options.CrossRegion)}
		return f
	}
	desired, skips := lbsync.Desired(snap)
	desired = lbsync.Complete(actual, desired)
	skips = append(skips, lbsync.Replaced(actual, desired)...)
	skips = append(skips, lbsync.Foreign(actual, desired)...)
	desired = snap.KeepPods(actual, desired)
	if unsure {
		desired = snap.Keep(actual, desired)
	}
	for _, skip := range skips {
		if skip.Service == "" || skip.Service == svc.UID {
			f.Skips = append(f.Skips, skip)
		}
	}
	f.Actual, f.Desired = actual.Of(svc.UID, desired), desired.Of(svc.UID, lbsync.LoadBalancer{})
	f.Plan = snap.PlanOf(svc.UID, unsure)
	return f
}

// inquire reads what a controller that runs follows by and by: the Secrets that the Service names, and the TkeServiceConfigs of
// all Services that decide about its CLB. It reads them by name: who asks need not have the right to list them. Where weights or
// gates of pods matter it lists the pods that the Service selects.
func (c *Controller) inquire(ctx context.Context, svc *corev1.Service) error {
	all, err := c.companions(svc)
	if err != nil {
		return err
	}
	c.secrets.reader = "you"
	c.secrets.read(ctx, svc, true)
	options, _ := annotation.Parse(svc.Annotations)
	if c.settings.Direct(lbsync.Service{Service: svc, Options: options}) || c.settings.Gate.Enabled && c.settings.Gate.NodeAgent {
		if err := c.pods.read(ctx, c.client, svc); err != nil {
			return err
		}
	}
	return c.configs.read(ctx, all)
}

// resolve looks the instances of nodes up, as far as that is possible in a short while.
func (c *Controller) resolve(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, resolving)
	var done wait.Group
	done.Start(func() { c.instances.run(ctx) })
	_ = wait.PollUntilContextCancel(ctx, 20*time.Millisecond, true, func(context.Context) (bool, error) {
		_, unsure := c.instances.known()
		return !unsure, nil
	})
	cancel()
	done.Wait()
}
