// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/klog/v2"

	"github.com/clbsync/clbsync/lbsync"
)

// apart is how far two readings have to be apart that find the same orphan.
const apart = 10 * time.Minute

// orphans looks from time to time for what is left in the cloud of Services that are gone, and reports it. It deletes
// nothing: what a program takes for left over may be what somebody else's program is about to use.
type orphans struct {
	read     func(ctx context.Context, region string) ([]lbsync.Owned, error) // nil: nobody looks
	about    *corev1.ObjectReference                                          // of the Events; nil: there are none
	regions  map[string]lookout                                               // by name, "" the cluster's
	reported map[string]bool                                                  // by ID, as long as they are orphans
}

// lookout is what was seen in a region.
type lookout struct {
	seen  lbsync.Sightings
	found []lbsync.Orphan // at the last reading
}

// watchOrphans looks until ctx ends.
func (c *Controller) watchOrphans(ctx context.Context) {
	if c.orphans.read == nil {
		return
	}
	for {
		// Not at the start, when the first thing is to serve; and spread, as all readings are.
		select {
		case <-time.After(wait.Jitter(max(c.verify, apart), jitter)):
		case <-ctx.Done():
			return
		}
		if err := c.lookForOrphans(lbsync.WithPriority(ctx, lbsync.Background)); err != nil && ctx.Err() == nil {
			klog.FromContext(ctx).Error(err, "Looking for orphans failed, what was found there before still counts")
		}
	}
}

func (c *Controller) lookForOrphans(ctx context.Context) error {
	o := &c.orphans
	before, err := c.services.List(labels.Everything())
	if err != nil {
		return err
	}
	var errs []error
	owned := map[string][]lbsync.Owned{}
	for _, region := range c.settings.Regions(before, append(slices.Collect(maps.Keys(o.regions)), c.memory.usedRegions()...)...) {
		found, err := o.read(ctx, region)
		if err != nil {
			errs = append(errs, fmt.Errorf("in %s: %w", cmp.Or(region, "the cluster's region"), err))
			continue
		}
		owned[region] = found
	}
	// The Services as they are after it: one that came in between has its CLB.
	services, err := c.services.List(labels.Everything())
	if err != nil {
		return err
	}
	uids := make(map[string]bool, len(services))
	for _, svc := range services {
		uids[string(svc.UID)] = true
	}
	for region, all := range owned {
		at := o.regions[region]
		at.seen, at.found = at.seen.Update(lbsync.Orphans(all, uids), time.Now(), apart)
		o.regions[region] = at
	}
	var found []lbsync.Orphan
	for _, region := range slices.Sorted(maps.Keys(o.regions)) {
		for _, one := range o.regions[region].found {
			if one.Region == region { // A region may go by two names, its own and that of the cluster's.
				found = append(found, one)
			}
		}
	}
	count := map[lbsync.OwnedKind]int{lbsync.OwnedCLB: 0, lbsync.OwnedSecurityGroup: 0}
	now := map[string]bool{}
	var news []string
	for _, one := range found {
		count[one.Kind]++
		if now[one.ID] = true; !o.reported[one.ID] {
			news = append(news, one.String())
		}
	}
	for kind, n := range count {
		orphansNow.WithLabelValues(string(kind)).Set(float64(n))
	}
	o.reported = now
	c.tellOrphans(ctx, len(found), news)
	return errors.Join(errs...)
}

func (c *Controller) tellOrphans(ctx context.Context, all int, news []string) {
	if len(news) == 0 {
		return
	}
	const then = "Nothing of it is deleted by itself: kubectl clb orphans lists it, and deletes what you name"
	klog.FromContext(ctx).Info("Orphans", "new", strings.Join(news, "; "), "all", all, "then", then)
	if c.orphans.about == nil {
		return
	}
	const most = 5
	more := ""
	if n := len(news) - most; n > 0 {
		news, more = news[:most], fmt.Sprintf("; and %d more", n)
	}
	text := fmt.Sprintf("%d left in the cloud of Services that are gone, new: %s%s. %s", all, strings.Join(news, "; "), more, then)
	c.recorder.Event(c.orphans.about, corev1.EventTypeWarning, eventOrphans, cut(text))
}
