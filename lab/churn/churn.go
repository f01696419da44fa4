// SPDX-License-Identifier: Apache-2.0

// Package churn measures what clients lose while pods, nodes, policies and controllers change: a client opens new
// connections through the simulated CLB all the time, and each request is counted. Beside each Service of
// clb-cloud-controller-manager stands its twin, to which the same happens at the same time on the same machine, and which
// Kubernetes' own service controller keeps.
//
// It decides what happens and when enough has been asked, and it draws the table. What is right is said by its tests,
// which are the only callers.
package churn

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/clbsync/clbsync/lab/cluster"
	"github.com/clbsync/clbsync/lab/e2e"
	"github.com/clbsync/clbsync/lab/probe"
)

// side says who keeps a Service's load balancer.
type side string

const (
	ours  side = "clbsync"
	stock side = "stock"
)

// pace bounds the load on each Service.
type pace struct {
	rate     int           // TCP connections per second
	datagram int           // UDP requests per second
	requests int           // TCP connections at least; the change is made again and again until then
	limit    time.Duration // for all of it
}

// How much more rarely than our Services the others are asked: what the stock side loses is plain to see, and a small
// machine has better things to do.
const (
	stockShare   = 4
	controlShare = 4
)

// runs counts the calls of run: namespaces of an earlier one may still be on their way out.
var runs atomic.Int32

// patience is how long a client waits for an answer. A packet that is lost on the way is noticed by the kernel's having to
// send it again, so this need not tell a lost packet from a busy machine, and is long.
const patience = 10 * time.Second

// mod changes a Service before it is made.
type mod = func(*corev1.Service)

// situation is something that happens to a Service under load.
type situation struct {
	name    string
	control bool // nothing happens; asked more rarely
	sides   []side
	grace   time.Duration                       // pods serve on for so long after SIGTERM
	pods    int32                               // in its Deployment
	shape   func(*appsv1.Deployment)            // how they are spread
	mods    []mod                               // policy and annotations
	round   func(context.Context, *stage) error // one change, to its end; repeated. nil: nothing happens
	holds   func(row) error                     // that the change really happened under load; nil: nothing to show
}

// phase is what runs side by side.
type phase struct {
	situations []situation
	pace       pace
	event      func(context.Context, []*stage) error // happens to all of them, once; may be nil
}

// ourFlags are our controller's: Services without a class are the stock controller's.
var ourFlags = []string{"--load-balancer-class-only", "-v=4"}

// clientIP is what pods see of the client under Local.
var clientIP = cluster.ClientIPs[0]

// row is what came of one side of a situation.
type row struct {
	situation
	side     side
	rounds   int
	took     time.Duration
	tcp, udp probe.Report
	weights  []string // that the simulated CLB had for the listener TCP:80, one after the other
}

func (r row) policyIsLocal() bool {
	var svc corev1.Service
	for _, mod := range r.mods {
		mod(&svc)
	}
	return svc.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal
}

// failed counts the TCP requests that were not answered or that had to be sent again, for which a client waits a second
// or more.
func (r row) failed() int { return len(r.tcp.Lost) + len(r.tcp.Resent) }

// run sets the stages, loads them, lets happen what happens, and returns what came of it. The stages are gone then.
func run(ctx context.Context, lab *e2e.Lab, p phase) (_ []row, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, p.pace.limit, fmt.Errorf("not done within %s", p.pace.limit))
	defer cancel()
	var stages []*stage
	number := int(runs.Add(1))
	for _, sit := range p.situations {
		for _, side := range sit.sides {
			s := &stage{Lab: lab, situation: sit, side: side, run: number, share: 1}
			switch {
			case sit.control:
				s.share = controlShare
			case side == stock:
				s.share = stockShare
			}
			s.enough = p.pace.requests / s.share
			stages = append(stages, s)
		}
	}
	defer func() { err = errors.Join(err, together(stages, func(s *stage) error { return s.clear() })) }() // also after ctx has ended
	if err := together(stages, func(s *stage) error { return s.set(ctx) }); err != nil {
		return nil, err
	}
	watching, stop := context.WithCancel(ctx)
	defer stop()
	var watch sync.WaitGroup
	watch.Go(func() { record(watching, lab, stages) })
	client, leave := startDialer(lab)
	defer func() {
		for _, s := range stages {
			s.silence()
		}
		err = errors.Join(err, leave())
	}()
	for _, s := range stages {
		if err := s.load(ctx, client, p.pace); err != nil {
			return nil, err
		}
	}
	happens := together(stages, func(s *stage) error { return s.rounds(ctx, p.event != nil) })
	if p.event != nil {
		happens = errors.Join(happens, p.event(ctx, stages))
	}
	happens = errors.Join(happens, together(stages, func(s *stage) error { return s.asked(ctx, s.enough) }))
	var rows []row
	for _, s := range stages {
		rows = append(rows, s.end())
	}
	stop()
	watch.Wait()
	for i, s := range stages {
		rows[i].weights = s.weights
	}
	return rows, happens
}

// together does the same for all stages at once and names those where it failed.
func together(stages []*stage, do func(*stage) error) error {
	var group errgroup.Group
	failed := make([]error, len(stages))
	for i, s := range stages {
		group.Go(func() error {
			if err := do(s); err != nil {
				failed[i] = fmt.Errorf("%s, %s: %w", s.situation.name, s.side, err)
			}
			return nil
		})
	}
	_ = group.Wait() // the errors are in failed
	return errors.Join(failed...)
}

// namespace makes a situation's name one of a namespace.
func namespace(situation string, side side, run int) string {
	name := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return '-'
	}, strings.ToLower(situation))
	return fmt.Sprintf("%s-%s-%d", strings.Trim(name, "-"), side, run)
}
