// SPDX-License-Identifier: Apache-2.0

package clb

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestLocks(t *testing.T) {
	t.Run("one key is held by one at a time, and nothing is left behind", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			var l locks
			var inside, most atomic.Int32
			var wg sync.WaitGroup
			start := time.Now()
			for i := range 20 {
				key := []string{"lb-a", "lb-b"}[i%2]
				wg.Go(func() {
					unlock, err := l.lock(t.Context(), key)
					if err != nil {
						t.Error(err)
						return
					}
					defer unlock()
					if n := inside.Add(1); n > most.Load() {
						most.Store(n)
					}
					<-time.After(time.Second)
					inside.Add(-1)
				})
			}
			wg.Wait()
			if took := time.Since(start); took != 10*time.Second || most.Load() != 2 {
				t.Errorf("ten turns each of two keys took %s with %d inside at most, want 10 s with 2", took, most.Load())
			}
			if len(l.held) != 0 {
				t.Errorf("%d keys are left", len(l.held))
			}
		})
	})
	t.Run("who gives up while waiting does not take it along", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			var l locks
			unlock, err := l.lock(t.Context(), "lb-a")
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			if _, err := l.lock(ctx, "lb-a"); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("got %v", err)
			}
			unlock()
			unlock, err = l.lock(t.Context(), "lb-a")
			if err != nil {
				t.Fatal(err)
			}
			unlock()
			if len(l.held) != 0 {
				t.Errorf("%d keys are left", len(l.held))
			}
		})
	})
}
