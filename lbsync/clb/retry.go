// SPDX-License-Identifier: Apache-2.0

package clb

import (
	"context"
	"errors"
	"time"

	"github.com/cenkalti/backoff/v4"

	"github.com/clbsync/clbsync/lbsync"
)

// Replays of one call. What lasts longer is the queue's affair.
const (
	retryFirst   = 500 * time.Millisecond
	retryLongest = 5 * time.Second
	retryInAll   = 30 * time.Second
)

// retry runs once until it succeeds, or fails with anything but Throttled and Busy, or time is up: only those
// two are known not to have run. again is told of each failure that is going to be replayed.
func retry[T any](ctx context.Context, once func() (T, error), again func(err error, pause time.Duration)) (T, error) {
	var last error
	v, err := backoff.RetryNotifyWithData(func() (T, error) {
		v, err := once()
		last = err
		if k := lbsync.KindOf(err); err != nil && k != lbsync.Throttled && k != lbsync.Busy {
			err = backoff.Permanent(err)
		}
		return v, err
	}, backoff.WithContext(backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(retryFirst),
		backoff.WithMaxInterval(retryLongest),
		backoff.WithMaxElapsedTime(retryInAll), // 15 minutes otherwise, with a CLB locked
	), ctx), again)
	if err != nil && !errors.Is(err, last) {
		err = errors.Join(last, err) // backoff says only that the context ended; what was wrong before matters more
	}
	return v, err
}
