// SPDX-License-Identifier: Apache-2.0

package clb

import (
	"context"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/clbsync/clbsync/lbsync"
)

// How a bucket answers to being throttled all the same, since others use the account too. It halves its rate, at most once
// within throttleRest and not below a throttleLeast-th of the limit, and gets a throttleStep-th of the limit back in each
// throttleRest without.
const (
	throttleRest  = time.Second
	throttleLeast = 8
	throttleStep  = 10
)

// limits holds a token bucket for each action. The zero value with of set is ready.
type limits struct {
	of func(action string) float64

	mu      sync.Mutex
	buckets map[string]*bucket
}

func (l *limits) bucket(action string) *bucket {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.buckets[action]
	if b == nil {
		if l.buckets == nil {
			l.buckets = map[string]*bucket{}
		}
		// In the second after a pause, rate and burst add up: with a third of it, 15/s stay within the 20 that CLB allows.
		per := l.of(action)
		b = &bucket{full: per, limiter: rate.NewLimiter(rate.Limit(per), max(1, int(per/3)))}
		l.buckets[action] = b
	}
	return b
}

// wait returns when the context may make a call of the action, or with its error.
func (l *limits) wait(ctx context.Context, action string) error {
	return l.bucket(action).wait(ctx, lbsync.PriorityOf(ctx))
}

// throttled notes that CLB refused a call of the action for being one too many.
func (l *limits) throttled(action string) { l.bucket(action).slow(time.Now()) }

// left returns how many calls of each action that was ever made may be made at once now.
func (l *limits) left() map[string]float64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := make(map[string]float64, len(l.buckets))
	for action, b := range l.buckets {
		out[action] = max(b.limiter.Tokens(), 0)
	}
	return out
}

// bucket hands out tokens to those who wait for them, by priority. Among a thousand changes that a node causes, the one
// for a pod that moved has the next token.
type bucket struct {
	full    float64 // tokens/s while CLB does not object
	limiter *rate.Limiter

	mu       sync.Mutex
	line     lbsync.Line[chan struct{}]
	waiting  int
	reserved bool      // the next token is, for whoever is first then
	changed  time.Time // when the rate was last changed
}

func (b *bucket) wait(ctx context.Context, p lbsync.Priority) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	b.mu.Lock()
	b.recover(time.Now())
	if b.waiting == 0 && b.limiter.Allow() {
		b.mu.Unlock()
		return nil
	}
	turn := make(chan struct{})
	b.line.Join(turn, p)
	b.waiting++
	b.schedule()
	b.mu.Unlock()
	select {
	case <-turn:
		return nil
	case <-ctx.Done():
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.line.Leave(turn) {
			b.waiting--
		}
		return ctx.Err()
	}
}

// schedule has the next token handed out when there is one, if somebody waits. The lock is held.
func (b *bucket) schedule() {
	if b.waiting > 0 && !b.reserved {
		b.reserved = true
		time.AfterFunc(b.limiter.Reserve().Delay(), b.hand)
	}
}

// hand gives the token that was reserved to the first in line; if all have gone, it is lost, which costs one turn.
func (b *bucket) hand() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.recover(time.Now())
	b.reserved = false
	if turn, ok := b.line.Next(lbsync.Background); ok {
		b.waiting--
		close(turn)
	}
	b.schedule()
}

// slow halves the rate and gives up what was saved up.
func (b *bucket) slow(now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if now.Sub(b.changed) < throttleRest {
		return // One burst of refusals is one reason.
	}
	b.changed = now
	b.limiter.SetLimitAt(now, max(b.limiter.Limit()/2, rate.Limit(b.full/throttleLeast)))
	if saved := int(b.limiter.TokensAt(now)); saved > 0 {
		b.limiter.AllowN(now, saved)
	}
}

// recover gives back some of the rate. The lock is held.
func (b *bucket) recover(now time.Time) {
	steps := int(now.Sub(b.changed) / throttleRest)
	if limit := float64(b.limiter.Limit()); limit < b.full && steps > 0 {
		b.changed = now
		b.limiter.SetLimitAt(now, rate.Limit(min(limit+float64(steps)*b.full/throttleStep, b.full)))
	}
}
