// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/clbsync/clbsync/clbsim/admin"
	"github.com/clbsync/clbsync/lab/e2e"
)

// churnEvery is how often, about, the pod of each Service moves. Faster than CLB takes requests, a queue would be
// measured and not a reaction: a hundred Services make ten moves a second of it, each of which is a request of three
// actions, of the fifteen of each action that a second has.
const churnEvery = 10 * time.Second

// churn measures many Services at once: each has its only pod move between two nodes again and again.
type churn struct {
	lab      *e2e.Lab
	services []bench
}

// move is the write of one EndpointSlice.
type move struct {
	balancer string
	at       time.Time
}

func (c *churn) prepare(ctx context.Context, services int) error {
	if err := c.lab.Namespace(ctx, namespace); err != nil {
		return err
	}
	c.services = make([]bench, services)
	each, ctx := errgroup.WithContext(ctx)
	each.SetLimit(10)
	for i := range c.services {
		b := &c.services[i]
		b.lab = c.lab
		each.Go(func() error { return b.create(ctx, fmt.Sprintf("%s-%d", name, i)) })
	}
	return each.Wait()
}

// run has every Service move its pod for the given number of rounds, and returns what that took.
func (c *churn) run(ctx context.Context, rounds int) (result, error) {
	r := result{change: fmt.Sprintf("a pod moves, %d Services at once", len(c.services))}
	since, err := c.lab.LastCall(ctx)
	if err != nil {
		return r, err
	}
	moves := make([][]move, len(c.services))
	each, moving := errgroup.WithContext(ctx)
	for i := range c.services {
		each.Go(func() (err error) {
			moves[i], err = c.services[i].wander(moving, rounds)
			return err
		})
	}
	if err := each.Wait(); err != nil {
		return r, err
	}
	calls, err := c.lab.CLB.Calls(ctx, since)
	if err != nil {
		return r, err
	}
	for _, of := range moves {
		for i, m := range of {
			until := time.Now()
			if i+1 < len(of) {
				until = of[i+1].at
			}
			took, ok := m.answered(calls, until)
			if !ok {
				err = errors.Join(err, fmt.Errorf("%s: no target was registered between %s and %s", m.balancer, m.at.Format(time.StampMilli), until.Format(time.StampMilli)))
			}
			r.took = append(r.took, took)
		}
	}
	return r, err
}

// answered returns how long after the write the request came that registers the pod's new node.
func (m move) answered(calls []admin.Call, until time.Time) (time.Duration, bool) {
	for _, call := range calls {
		if call.Action == "BatchRegisterTargets" && call.Time.After(m.at) && call.Time.Before(until) && bytes.Contains(call.Parameters, []byte(m.balancer)) {
			return call.Time.Sub(m.at), true
		}
	}
	return 0, false
}

// wander moves the pod of a Service to and fro, at moments that have nothing to do with those of others, until the last
// move has had its time.
func (b *bench) wander(ctx context.Context, rounds int) ([]move, error) {
	var moves []move
	for i := range rounds + 1 {
		pause := churnEvery*3/4 + rand.N(churnEvery/2)
		if i == 0 {
			pause = rand.N(churnEvery)
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		if i == rounds {
			break
		}
		b.slice.Endpoints = b.endpoints(map[string]int{fmt.Sprintf("n%d", 2-i%2): 1})
		at := time.Now()
		slice, err := b.lab.Client.DiscoveryV1().EndpointSlices(namespace).Update(ctx, b.slice, metav1.UpdateOptions{})
		if err != nil {
			return nil, err
		}
		b.slice = slice
		moves = append(moves, move{b.balancer, at})
	}
	return moves, nil
}
