// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// parallelShare is how many of Share's requests are under way at once. It only saves time: shares come from which
// target each fresh connection was given, not from the order.
const parallelShare = 8

// Share asks n times on fresh connections and counts who answered.
func (c Client) Share(ctx context.Context, t Target, n int) Report {
	outcomes := make([]outcome, n)
	next := make(chan int)
	var workers sync.WaitGroup
	for range min(parallelShare, n) {
		workers.Go(func() {
			for i := range next {
				outcomes[i] = c.once(ctx, t)
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	workers.Wait()
	return summarize(outcomes, 0)
}

func (c Client) once(ctx context.Context, t Target) outcome {
	begin := time.Now()
	answer, resent, err := c.askOnce(ctx, t)
	return outcome{at: begin, took: time.Since(begin), answer: answer, resent: resent, err: err}
}

// catchUp is how far a continuous probe may be behind its schedule and still make up for it.
const catchUp = 200 * time.Millisecond

// Load bounds a continuous probe. All but Slow must be positive.
type Load struct {
	Every time.Duration // a request starts every so often, whether or not earlier ones are answered
	Count int           // at most so many requests
	For   time.Duration // for at most so long
	Slow  time.Duration // answers that took longer are reported one by one; 0 reports none
}

// Prober asks one target again and again. Start makes one.
type Prober struct {
	stop     context.CancelFunc
	done     chan struct{}
	asked    atomic.Int64
	outcomes []outcome // complete when done is closed
	slow     time.Duration
}

// Start begins to ask t. Requests start on time even while others wait for an answer, so that a stall of one second
// costs as many requests as it would cost real clients; at most Timeout/Every of them are under way at once.
func (c Client) Start(ctx context.Context, t Target, load Load) (*Prober, error) {
	if load.Every <= 0 || load.Count <= 0 || load.For <= 0 {
		return nil, fmt.Errorf("load on %s: Every (%s), Count (%d) and For (%s) must be positive: a probe must end by itself",
			t, load.Every, load.Count, load.For)
	}
	sending, stop := context.WithTimeout(ctx, load.For)
	p := &Prober{stop: stop, done: make(chan struct{}), slow: load.Slow}
	go p.run(sending, c, t, load)
	return p, nil
}

func (p *Prober) run(sending context.Context, c Client, t Target, load Load) {
	defer close(p.done)
	defer p.stop()
	// A request that is under way when the probe is stopped is waited for: cancelled, it would look lost.
	asking := context.WithoutCancel(sending)
	// By the clock, not by a ticker: that leaves out what a busy machine has missed, and the rate would not be kept.
	next := time.Now()
	timer := time.NewTimer(0)
	defer timer.Stop()
	var mu sync.Mutex
	var underWay sync.WaitGroup
	defer underWay.Wait()
	for range load.Count {
		// Who has slept for long does not make up for all of it at once.
		if late := time.Now().Add(-catchUp); next.Before(late) {
			next = late
		}
		timer.Reset(time.Until(next))
		next = next.Add(load.Every)
		select {
		case <-sending.Done():
			return
		case <-timer.C:
		}
		p.asked.Add(1)
		underWay.Go(func() {
			o := c.once(asking, t)
			mu.Lock()
			defer mu.Unlock()
			p.outcomes = append(p.outcomes, o)
		})
	}
}

// Asked returns how many requests were started so far.
func (p *Prober) Asked() int { return int(p.asked.Load()) }

// Wait returns the report once the load's count or time is used up.
func (p *Prober) Wait() Report {
	<-p.done
	return summarize(p.outcomes, p.slow)
}

// Stop starts no more requests, waits for those under way and returns the report.
func (p *Prober) Stop() Report {
	p.stop()
	return p.Wait()
}
