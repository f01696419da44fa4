// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/klog/v2"

	"github.com/clbsync/clbsync/lbsync"
)

// The writes for one Service that hold nothing else back.
const (
	tryPrepare = "prepare" // what the Service has to carry before anything is made for it
	tryConfig  = "config"  // the TkeServiceConfig that is made for it
	tryPublish = "publish" // what came of a sync
	tryRelease = "release" // what it carries no longer
)

// try is a write that failed.
type try struct {
	err      error
	failures int       // in a row
	until    time.Time // not tried again before, unless the Service changes
	told     time.Time // when the last Event about it was written
}

// attempt makes a write that concerns one Service alone. What fails is tried again at the pace of a backoff of its own, and told: the
// CLB, and the other Services on it, go on meanwhile. Between two tries it returns the error of the last one.
func (c *Controller) attempt(ctx context.Context, s *seat, svc *corev1.Service, what string, changed bool, write func() error) error {
	before := s.tries[what]
	if before.err != nil && !changed && time.Now().Before(before.until) {
		return before.err
	}
	err := write()
	if err == nil {
		delete(s.tries, what)
		return nil
	}
	if apierrors.IsNotFound(err) && what != tryConfig {
		return err // The Service is gone, and its deletion yet to be seen. A TkeServiceConfig may lack its kind by now.
	}
	now := try{err: err, failures: before.failures + 1}
	if changed {
		now.failures = 1
	}
	hold, again := retry(lbsync.KindOf(err), now.failures, c.verify)
	now.until = time.Now().Add(max(hold, again))
	for _, t := range s.tries { // One cause often fails several of them.
		if sameFailure(t.err) == sameFailure(err) && t.told.After(now.told) {
			now.told = t.told
		}
	}
	if now.told.IsZero() || time.Since(now.told) >= failureReminder {
		now.told = time.Now()
		klog.FromContext(ctx).Error(err, "A write for one Service failed, everything else goes on", "service", ownKey(svc), "again", again)
		c.tell(svc, corev1.EventTypeWarning, eventFailed, fmt.Sprintf("Error syncing load balancer: %v", err))
	}
	if s.tries == nil {
		s.tries = map[string]try{}
	}
	s.tries[what] = now
	return err
}

// retryIn returns when the next of the writes that failed is due; 0: none is.
func (s *seat) retryIn(now time.Time) (again time.Duration) {
	for _, t := range s.tries {
		again = soonest(again, max(t.until.Sub(now), atOnce))
	}
	return again
}
