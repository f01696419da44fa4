// SPDX-License-Identifier: Apache-2.0

package clb

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/component-base/metrics/legacyregistry"

	"github.com/clbsync/clbsync/lbsync"
)

// served is who got a token and when.
type served struct {
	mu    sync.Mutex
	order []string
	at    []time.Duration
	begun time.Time
}

func (s *served) ask(ctx context.Context, l *limits, name string, p lbsync.Priority) {
	if err := l.wait(lbsync.WithPriority(ctx, p), "A"); err != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.order, s.at = append(s.order, name), append(s.at, time.Since(s.begun))
}

func (s *served) soFar() (order []string, at []time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.order), slices.Clone(s.at)
}

func limited(per float64) *limits { return &limits{of: func(string) float64 { return per }} }

func TestAnUrgentCallTakesTheNextToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, s := limited(15), &served{begun: time.Now()}
		nodes := func(n int) {
			for range n {
				go s.ask(t.Context(), l, "node", lbsync.Normal)
			}
			synctest.Wait()
		}
		nodes(100)
		go s.ask(t.Context(), l, "verify", lbsync.Background)
		synctest.Wait() // or it may come to the line behind all that follow
		nodes(1400)
		<-time.After(10 * time.Second)
		begun := time.Now()
		s.ask(t.Context(), l, "pod", lbsync.Urgent)
		if waited := time.Since(begun); waited > time.Second/15+time.Millisecond {
			t.Errorf("the urgent call waited for %s while others wait for 100 s, want one token's time at most", waited)
		}
		<-time.After(10 * time.Second)
		if order, _ := s.soFar(); !slices.Contains(order, "verify") {
			t.Error("a background call got no token within 20 s: it starves")
		}
		<-time.After(2 * time.Minute)
		if _, at := s.soFar(); len(at) != 1502 || at[1501] < 1490*time.Second/15 {
			t.Errorf("%d tokens, the last after %s, want 1502 in 15/s", len(at), at[len(at)-1])
		}
	})
}

func TestAWaitEndsWithItsContextAndLeavesTheLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, s := limited(1), &served{begun: time.Now()}
		s.ask(t.Context(), l, "first", lbsync.Normal)
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		defer cancel()
		if err := l.wait(ctx, "A"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a wait that ends with its context: %v", err)
		}
		if err := l.wait(ctx, "A"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a wait with a context that has ended: %v", err)
		}
		for range 3 {
			s.ask(t.Context(), l, "later", lbsync.Normal)
		}
		_, at := s.soFar()
		if got := at[3]; got < 2900*time.Millisecond || got > 4100*time.Millisecond {
			t.Errorf("the fourth token of 1/s came after %s", got)
		}
	})
}

func TestABucketGivesWayWhenCLBThrottlesAndComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := limited(16)
		count := func(seconds int) int {
			ctx, cancel := context.WithTimeout(t.Context(), time.Duration(seconds)*time.Second)
			defer cancel()
			n := 0
			for l.wait(ctx, "A") == nil {
				n++
			}
			return n
		}
		count(5)
		for range 20 {
			l.throttled("A") // of one burst
		}
		if n := count(1); n > 9 {
			t.Errorf("%d calls in the second after a refusal, want about half of 16", n)
		}
		for range 20 {
			<-time.After(1100 * time.Millisecond)
			l.throttled("A")
		}
		if n := count(1); n < 1 || n > 3 {
			t.Errorf("%d calls in the second after many refusals, want an eighth of 16", n)
		}
		count(10)
		if n := count(10); n < 155 || n > 165 {
			t.Errorf("%d calls in ten seconds, ten seconds after the last refusal, want 160 again", n)
		}
		if other := l.bucket("B").limiter.Limit(); other != 16 {
			t.Errorf("the limit of another action is %v", other)
		}
	})
}

func TestTokensLeftAreTold(t *testing.T) {
	registerMetrics()
	l := limited(15)
	apiTokens.watch(l)
	if err := l.wait(t.Context(), "TellTokens"); err != nil {
		t.Fatal(err)
	}
	families, err := legacyregistry.DefaultGatherer.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != "clbsync_api_tokens" {
			continue
		}
		for _, m := range f.GetMetric() {
			if m.GetLabel()[0].GetValue() == "TellTokens" && m.GetGauge().GetValue() >= 4 && m.GetGauge().GetValue() < 5 {
				return
			}
		}
	}
	t.Error("clbsync_api_tokens does not say that about 4 of 5 are left")
}
