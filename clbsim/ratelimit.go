// SPDX-License-Identifier: Apache-2.0

package clbsim

import (
	"fmt"
	"time"

	"golang.org/x/time/rate"

	"github.com/clbsync/clbsync/clbsim/cloud"
)

// limiter has a token bucket for each action in each region, as deep as one
// second.
type limiter struct {
	limits  RateLimits
	buckets map[string]*rate.Limiter
}

func newLimiter(l RateLimits) *limiter { return &limiter{l, map[string]*rate.Limiter{}} }

// take uses up a token, or says that there is none. It is not safe for
// concurrent use.
func (l *limiter) take(action, region string, now time.Time) *cloud.Error {
	limit, ok := l.limits.Actions[action]
	if !ok {
		limit = l.limits.Default
	}
	if limit == 0 {
		return nil
	}
	key := action + "/" + region
	b := l.buckets[key]
	if b == nil {
		b = rate.NewLimiter(rate.Limit(limit), max(int(limit), 1))
		l.buckets[key] = b
	}
	if b.AllowN(now, 1) {
		return nil
	}
	return &cloud.Error{Code: l.limits.Code, Message: fmt.Sprintf(
		"Your current request times equals to `%d` in a second, which exceeds the frequency limit `%g` for a second. Please reduce the frequency of calls.", int(limit)+1, limit)}
}
