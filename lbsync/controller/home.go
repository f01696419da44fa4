// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/clbsync/clbsync/lbsync"
	"github.com/clbsync/clbsync/lbsync/annotation"
)

// elsewhere reports whether another CLB serves a Service than the one that is made for it: one that somebody made, which its
// annotation names. Where there is one that was made for it, that stays, and is noted.
func (c *Controller) elsewhere(ctx context.Context, k key, r *state, svc *corev1.Service) (bool, outcome) {
	home := keyOf(svc)
	if home == k {
		if at := c.memory.claim(svc.UID, k); at != k {
			c.queue.add(at, 0, due{changed: true})
			return true, outcome{}
		}
		return false, outcome{}
	}
	if c.memory.claim(svc.UID, k) == k && r.service != nil {
		found, err := r.cloud.Find(ctx, c.owner(svc))
		if err != nil {
			return true, outcome{present: true, err: err}
		}
		if len(found) > 0 {
			return true, outcome{present: true, err: c.pin(ctx, svc, found[0].ID, k)}
		}
		if err := c.mayAppear(r, svc); err != nil {
			return true, outcome{present: true, err: err}
		}
	}
	r.clear()
	c.memory.forget(k)
	c.queue.add(home, 0, due{changed: true})
	return true, outcome{}
}

// pin notes that a Service has a CLB that was made for it, whatever other its annotation names meanwhile, and has that
// looked at.
func (c *Controller) pin(ctx context.Context, svc *corev1.Service, id string, k key) error {
	if c.dryRun {
		return nil
	}
	to := svc.DeepCopy()
	if !hasFinalizer(svc) {
		to.Finalizers = append(to.Finalizers, finalizerOf(svc))
	}
	note(to, annotation.LoadBalancerID, id)
	note(to, annotation.Applied, withoutName(svc.Annotations[annotation.Applied], annotation.ExistingID))
	_, err := c.patch(ctx, svc, to)
	c.queue.add(k, c.gathering, due{changed: true})
	return err
}

// unpin forgets which CLB was noted, and its address, which is nobody's by now, so that the one that the annotation names is used.
func (c *Controller) unpin(ctx context.Context, svc *corev1.Service) error {
	if c.dryRun {
		return nil
	}
	to := svc.DeepCopy()
	delete(to.Annotations, annotation.LoadBalancerID)
	delete(to.Annotations, annotation.Region)
	note(to, annotation.Applied, withoutName(svc.Annotations[annotation.Applied], annotation.ExistingID))
	to.Status.LoadBalancer = corev1.LoadBalancerStatus{}
	now, err := c.patch(ctx, svc, to)
	if err == nil {
		c.queue.add(keyOf(now), c.gathering, due{changed: true})
	}
	return err
}

// withoutName returns a list of names, separated by commas, without one of them.
func withoutName(list, name string) string {
	return strings.Join(slices.DeleteFunc(strings.Split(list, ","), func(s string) bool { return s == name }), ",")
}

func (c *Controller) owner(svc *corev1.Service) lbsync.Owner {
	return lbsync.Owner{ClusterID: c.settings.ClusterID, ServiceUID: string(svc.UID)}
}

// cloudNow returns the cloud of the region in which the CLB of a Service was read, whatever was written over the note of it
// since, with a manifest of another cluster's Service, say; where none was read, what cloudOf does.
func (c *Controller) cloudNow(r *state, svc *corev1.Service) (Cloud, error) {
	if r.actual != nil && r.actual.Present {
		return c.cloudIn(r.actual.Instance.Region)
	}
	return c.cloudOf(svc)
}

// cloudOf returns the cloud of the region in which the CLB of a Service is, or is to be made: what was noted at its making
// counts over what its annotation says since. Who finds no CLB there goes on to search.
func (c *Controller) cloudOf(svc *corev1.Service) (Cloud, error) {
	o, _ := annotation.Parse(svc.Annotations)
	region := o.CrossRegion
	if hasFinalizer(svc) && (o.Region != "" || o.LoadBalancerID != "") {
		region = o.Region
	}
	return c.cloudIn(region)
}

// find returns the CLBs of a Service, the oldest first, and the cloud of the region that they are in.
func (c *Controller) find(ctx context.Context, cloud Cloud, svc *corev1.Service) (found []lbsync.Instance, there Cloud, err error) {
	there, err = c.search([]*corev1.Service{svc}, cloud, func(in Cloud) (has bool, err error) {
		found, err = in.Find(ctx, c.owner(svc))
		return len(found) > 0, err
	})
	return found, there, err
}

// observeExisting reads a CLB that somebody made and the Services name, and returns it with the cloud of the region that it is in.
func (c *Controller) observeExisting(ctx context.Context, cloud Cloud, id string, services ...*corev1.Service) (lb lbsync.LoadBalancer, there Cloud, err error) {
	there, err = c.search(services, cloud, func(in Cloud) (has bool, err error) {
		lb, err = in.Observe(ctx, id)
		return err == nil, err
	})
	return lb, there, err
}

// search asks first, and, if that has no CLB and one of the Services has had one, the other regions that CLBs of the cluster may be in. It
// returns the cloud that has it; if none has, first and what that said. The note of a region may have been written over while no
// controller ran: to believe that would make a second CLB, or forget the first when the Service goes. A region that cannot be asked
// for good, as one that does not exist, has none.
func (c *Controller) search(services []*corev1.Service, first Cloud, has func(Cloud) (bool, error)) (Cloud, error) {
	found, absent := has(first)
	hasHad := func(svc *corev1.Service) bool { return hasFinalizer(svc) || len(svc.Status.LoadBalancer.Ingress) > 0 }
	if found || mayPass(absent) || !slices.ContainsFunc(services, hasHad) {
		return first, absent
	}
	for _, region := range c.settings.Regions(services, c.memory.usedRegions()...) {
		cloud, err := c.cloudIn(region)
		switch {
		case err == nil && cloud == first:
			continue
		case err == nil:
			found, err = has(cloud)
		}
		switch {
		case found:
			return cloud, nil
		case mayPass(err):
			return first, err
		}
	}
	return first, absent
}

// mayPass tells whether who asks again may get another answer.
func mayPass(err error) bool {
	kind := lbsync.KindOf(err)
	return err != nil && (kind == lbsync.Unknown || kind == lbsync.Throttled || kind == lbsync.Busy)
}

// cloudIn returns the cloud of a region; "" is the cluster's.
func (c *Controller) cloudIn(region string) (Cloud, error) {
	if region == "" {
		return c.cloud, nil
	}
	if c.regions == nil {
		return nil, &lbsync.Error{Kind: lbsync.Denied, Action: "Regions", Err: fmt.Errorf("the annotation %s names %s, and this program works in one region only", annotation.CrossRegion, region)}
	}
	return c.regions(region)
}
