// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/klog/v2"
)

const (
	quotaPatience = 10 * time.Second // for the first answer, which all CLBs wait for
	quotaRetry    = time.Minute
)

// quota knows how many targets a listener may have. 0 is not known.
type quota struct {
	read    func(ctx context.Context) (int, error) // nil: never known
	changed func()
	every   time.Duration
	targets atomic.Int64
}

// first reads the quota before anything is planned: a plan for more nodes than a listener can have would
// take others than those that it has.
func (q *quota) first(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, quotaPatience)
	defer cancel()
	q.look(ctx)
}

// run reads the quota again and again until ctx ends: an account's limits are raised on demand.
func (q *quota) run(ctx context.Context) {
	if q.read == nil {
		return
	}
	for ctx.Err() == nil {
		pause := wait.Jitter(q.every/2, 2)
		if q.targets.Load() == 0 {
			pause = min(pause, quotaRetry)
		}
		select {
		case <-time.After(pause):
			if q.look(ctx) {
				q.changed()
			}
		case <-ctx.Done():
		}
	}
}

// look reads the quota and reports whether it is another than before. What fails changes nothing.
func (q *quota) look(ctx context.Context) bool {
	if q.read == nil {
		return false
	}
	n, err := q.read(ctx)
	if err != nil {
		klog.FromContext(ctx).Error(err, "Reading the target quota", "known", q.targets.Load())
		return false
	}
	before := q.targets.Swap(int64(n))
	if before != int64(n) {
		klog.FromContext(ctx).Info("Read the target quota", "targets", n, "before", before)
	}
	return before != int64(n)
}
