// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"slices"
	"time"

	"github.com/clbsync/clbsync/lbsync"
)

// refused is a change that CLB refused, and when it is asked for again. Until then it is left out of what is
// desired: a CLB with one wrong target follows its pods as any other does.
type refused struct {
	lbsync.Refusal
	again    time.Time
	failures int
}

// leftOut returns what is not to be asked for now, out of what desired asks for, and a Skip for each refusal,
// also for one that is due for another try. What nobody asks for any more is forgotten. Of a conflict nobody is told before it
// was there twice: what was known of the CLB may have been wrong.
func (r *state) leftOut(actual, desired lbsync.LoadBalancer, now time.Time) (out lbsync.Refusals, skips []lbsync.Skip) {
	r.refused = slices.DeleteFunc(r.refused, func(one refused) bool {
		if !one.Of(actual, desired) {
			return true
		}
		if lbsync.KindOf(one.Err) != lbsync.Conflict || !passing(one.Err, one.failures) {
			skip := one.Skip()
			if r.seats != nil {
				skip.Service = one.Whose(actual, desired)
			}
			skips = append(skips, skip)
		}
		if now.Before(one.again) {
			out = append(out, one.Refusal)
		}
		return false
	})
	return out, skips
}

// retried forgets what was asked for again, before now, and not refused.
func (r *state) retried(now time.Time) {
	r.refused = slices.DeleteFunc(r.refused, func(one refused) bool { return !now.Before(one.again) })
}

// refuse remembers what was refused now.
func (r *state) refuse(more lbsync.Refusals, now time.Time, verify time.Duration) {
	for _, one := range more {
		i := slices.IndexFunc(r.refused, func(o refused) bool { return o.Same(one) })
		if i < 0 {
			i = len(r.refused)
			r.refused = append(r.refused, refused{})
		}
		r.refused[i].Refusal = one
		r.refused[i].failures++
		kind := lbsync.KindOf(one.Err)
		if kind == lbsync.Conflict && r.refused[i].failures == 1 {
			r.verify = time.Time{} // Something is there that was not known.
		}
		_, again := retry(kind, r.refused[i].failures, verify)
		r.refused[i].again = now.Add(again)
	}
}

// nextTry returns when something refused is asked for again; 0: never.
func (r *state) nextTry(now time.Time) (again time.Duration) {
	for _, one := range r.refused {
		again = soonest(again, max(one.again.Sub(now), atOnce))
	}
	return again
}
