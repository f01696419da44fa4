// SPDX-License-Identifier: Apache-2.0

package clb

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/clbsync/clbsync/lbsync"
)

func kind(k lbsync.Kind) error {
	return &lbsync.Error{Kind: k, Action: "X", Err: errors.New(k.String())}
}

func TestRetry(t *testing.T) {
	silent := func(error, time.Duration) {}
	t.Run("what did not run is replayed until it does", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			left := []error{kind(lbsync.Throttled), kind(lbsync.Busy), nil}
			start, told := time.Now(), 0
			got, err := retry(t.Context(), func() (int, error) {
				err := left[0]
				left = left[1:]
				return 7, err
			}, func(error, time.Duration) { told++ })
			if err != nil || got != 7 || len(left) != 0 || told != 2 {
				t.Errorf("got %d, %v with %d answers left, %d replays", got, err, len(left), told)
			}
			if took := time.Since(start); took < 500*time.Millisecond || took > 2*time.Second {
				t.Errorf("two replays took %s, want 0.25 to 0.75 s and then half as much again", took)
			}
		})
	})
	for _, k := range []lbsync.Kind{lbsync.Unknown, lbsync.NotFound, lbsync.Conflict, lbsync.Invalid, lbsync.Quota, lbsync.Denied} {
		t.Run(k.String()+" is not replayed", func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				calls, want := 0, kind(k)
				_, err := retry(t.Context(), func() (int, error) { calls++; return 0, want }, silent)
				if calls != 1 || !errors.Is(err, want) {
					t.Errorf("%d calls and %v, want 1 and the error itself", calls, err)
				}
			})
		})
	}
	t.Run("an error that is not the API's is not replayed", func(t *testing.T) {
		calls := 0
		_, err := retry(t.Context(), func() (int, error) { calls++; return 0, errors.New("odd") }, silent)
		if calls != 1 || err == nil || err.Error() != "odd" {
			t.Errorf("%d calls and %v", calls, err)
		}
	})
	t.Run("it ends after half a minute, with the last error", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			start, calls := time.Now(), 0
			var pauses []time.Duration
			_, err := retry(t.Context(), func() (int, error) { calls++; return 0, kind(lbsync.Busy) }, func(_ error, d time.Duration) { pauses = append(pauses, d) })
			if took := time.Since(start); took < 20*time.Second || took > 30*time.Second {
				t.Errorf("it took %s, want up to 30 s", took)
			}
			if lbsync.KindOf(err) != lbsync.Busy || calls < 5 {
				t.Errorf("%d calls and %v", calls, err)
			}
			for _, p := range pauses {
				if p < 250*time.Millisecond || p > 7500*time.Millisecond {
					t.Errorf("a pause of %s, want 0.5 s to 5 s with jitter", p)
				}
			}
		})
	})
	t.Run("the end of the context ends it at once, and both errors are told", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
			defer cancel()
			start := time.Now()
			_, err := retry(ctx, func() (int, error) { return 0, kind(lbsync.Busy) }, silent)
			if took := time.Since(start); took != 3*time.Second {
				t.Errorf("it took %s, want 3 s", took)
			}
			if !errors.Is(err, context.DeadlineExceeded) || lbsync.KindOf(err) != lbsync.Busy {
				t.Errorf("got %v", err)
			}
		})
	})
	t.Run("replays of many callers are spread", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			seen := map[time.Duration]bool{}
			for range 8 {
				first := true
				_, err := retry(t.Context(), func() (int, error) {
					if first {
						first = false
						return 0, kind(lbsync.Throttled)
					}
					return 0, nil
				}, func(_ error, d time.Duration) { seen[d] = true })
				if err != nil {
					t.Fatal(err)
				}
			}
			if len(seen) < 2 {
				t.Errorf("8 callers all waited %v", seen)
			}
		})
	})
}
