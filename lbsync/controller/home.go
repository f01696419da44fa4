// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"errors"
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

// unpin forgets which CLB was noted, so that the one that the annotation names is used.
func (c *Controller) unpin(ctx context.Context, svc *corev1.Service) error {
	if c.dryRun {
		return nil
	}
	to := svc.DeepCopy()
	delete(to.Annotations, annotation.LoadBalancerID)
	note(to, annotation.Applied, withoutName(svc.Annotations[annotation.Applied], annotation.ExistingID))
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
func (c *Controller) cloudNow(ctx context.Context, r *state, svc *corev1.Service) (Cloud, error) {
	if r.actual != nil && r.actual.Present {
		return c.cloudIn(r.actual.Instance.Region)
	}
	return c.cloudOf(ctx, svc)
}

// cloudOf returns the cloud of the region in which the CLB of a Service is, or is to be made: what was noted at its making
// counts over what its annotation says since. Where the two differ, one of them may have been written while no controller ran: to
// believe the wrong one would make a second CLB, or forget the first, and so they are asked.
func (c *Controller) cloudOf(ctx context.Context, svc *corev1.Service) (Cloud, error) {
	o, _ := annotation.Parse(svc.Annotations)
	if !hasFinalizer(svc) || o.Region == "" && o.LoadBalancerID == "" {
		return c.cloudIn(o.CrossRegion)
	}
	first, err := c.cloudIn(o.Region)
	if err != nil || o.Region == o.CrossRegion {
		return first, err
	}
	regions := []string{o.Region, o.CrossRegion}
	if o.Region != "" && o.CrossRegion != "" {
		regions = append(regions, "")
	}
	var errs []error // of a region that does not exist, say
	for _, region := range regions {
		cloud, err := c.cloudIn(region)
		if err == nil {
			var has bool
			if has, err = c.has(ctx, cloud, svc); has {
				return cloud, nil
			}
		}
		errs = append(errs, err)
	}
	return first, errors.Join(errs...)
}

// has tells whether the CLB of a Service is in the region of the cloud.
func (c *Controller) has(ctx context.Context, cloud Cloud, svc *corev1.Service) (bool, error) {
	if k := keyOf(svc); shared(k) {
		_, err := cloud.Observe(ctx, k.Name)
		if lbsync.KindOf(err) == lbsync.NotFound {
			return false, nil
		}
		return err == nil, err
	}
	found, err := cloud.Find(ctx, c.owner(svc))
	return len(found) > 0, err
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
