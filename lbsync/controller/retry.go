// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"errors"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/clbsync/clbsync/lbsync"
)

const (
	retryMin = time.Second
	retryMax = 5 * time.Minute
	// personal is the time between tries of what only a person can mend: rights, arrears, quotas.
	personal = 5 * time.Minute
	jitter   = 0.2 // of a delay, added at random, so that what failed together is not tried together
	// atOnce is the shortest delay: 0 stands for none at all.
	atOnce = time.Nanosecond
)

// retry returns for how long nothing but a change of the Service itself is reason enough to try again, and
// when to try again without any reason. failures counts those in a row, this one included.
//
// Without the first, a Service whose pods come and go would try at their pace and not at that of the backoff.
func retry(kind lbsync.Kind, failures int, verify time.Duration) (hold, again time.Duration) {
	backoff := retryMax
	if failures <= 9 {
		backoff = min(retryMin<<(failures-1), retryMax)
	}
	backoff = wait.Jitter(backoff, jitter)
	switch kind {
	case lbsync.NotFound, lbsync.Conflict:
		// What was known was wrong, and is forgotten. The second time in a row it was not that.
		if failures == 1 {
			return 0, atOnce
		}
	case lbsync.Invalid:
		return backoff, wait.Jitter(verify, jitter)
	case lbsync.Quota, lbsync.Denied:
		return personal, personal
	}
	return backoff, backoff
}

// failed notes a failure, tells people about it if it is another than the last, and returns when to try again.
func (c *Controller) failed(ctx context.Context, r *state, err error) time.Duration {
	r.failures++
	hold, again := retry(lbsync.KindOf(err), r.failures, c.verify)
	r.hold = time.Now().Add(hold)
	c.tellFailure(ctx, r, err, again)
	return again
}

// sameFailure is the text that tells failures apart: not their request IDs, which never repeat.
func sameFailure(err error) string {
	if e, ok := errors.AsType[*lbsync.Error](err); ok && e.Code != "" {
		return e.Action + " " + e.Code
	}
	return err.Error()
}

// trusted reports whether what is known of a CLB is still right after an error of a change: CLB refused it
// without having begun.
func trusted(err error) bool {
	kind := lbsync.KindOf(err)
	return kind == lbsync.Throttled || kind == lbsync.Busy
}

// passing reports whether a failure, the given one in a row, is of the kind that passes by itself: nobody has to
// be told yet.
func passing(err error, failures int) bool {
	kind := lbsync.KindOf(err)
	return failures < 3 && trusted(err) || failures < 2 && (kind == lbsync.NotFound || kind == lbsync.Conflict)
}
