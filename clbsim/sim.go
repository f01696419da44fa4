// SPDX-License-Identifier: Apache-2.0

package clbsim

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"

	"k8s.io/klog/v2"

	"github.com/clbsync/clbsync/clbsim/admin"
	"github.com/clbsync/clbsync/clbsim/cloud"
	"github.com/clbsync/clbsync/clbsim/probe"
)

// Forwarder carries out on real packets what the listeners say. Calls do not
// overlap; each describes everything there is to do.
type Forwarder interface {
	Forward(ctx context.Context, f cloud.Forwarding) error
}

// Prober makes one health check. It returns nil if the target is well.
type Prober interface {
	Probe(ctx context.Context, p cloud.Probe) error
}

// maxProbes is how many probes may be under way at once.
const maxProbes = 256

// Sim is a running simulator. Its methods may be called from many goroutines.
type Sim struct {
	cfg    Config
	ctx    context.Context
	cancel context.CancelFunc
	done   sync.WaitGroup
	wake   chan struct{} // something may be due earlier than was planned
	calls  *callLog
	probes chan struct{} // one token for each probe under way

	mu        sync.Mutex // guards what follows
	cloud     *cloud.Cloud
	limiter   *limiter
	faults    faults
	waiters   map[string]chan struct{} // closed when a task ends
	changed   chan struct{}            // closed and replaced when the state changes
	published int                      // version that was published last
	broken    error                    // why the data path is behind, or nil
}

// New starts a simulator. Close ends it.
func New(cfg Config) (*Sim, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if cfg.Prober == nil {
		cfg.Prober = probe.Prober{}
	}
	ctx, cancel := context.WithCancel(context.Background())
	s := &Sim{
		cfg: cfg, ctx: ctx, cancel: cancel, wake: make(chan struct{}, 1), calls: newCallLog(), probes: make(chan struct{}, maxProbes),
		cloud: cloud.New(cfg.Config), limiter: newLimiter(cfg.RateLimits), waiters: map[string]chan struct{}{}, changed: make(chan struct{}),
	}
	if err := s.forward(); err != nil {
		cancel()
		return nil, fmt.Errorf("data path: %w", err)
	}
	s.done.Go(s.run)
	return s, nil
}

// Close ends all that the simulator does in the background and releases calls
// that wait. It leaves the data path as it is: its owner clears it.
func (s *Sim) Close() {
	s.mu.Lock() // no probe starts between the end and the wait
	s.cancel()
	s.mu.Unlock()
	s.done.Wait()
}

// Handler is the API.
func (s *Sim) Handler() http.Handler { return http.HandlerFunc(s.serveAPI) }

// Admin returns a client of the admin port that needs no port.
func (s *Sim) Admin() *admin.Client {
	return admin.NewWithTransport("http://clbsim.local", transport{s.AdminHandler()})
}

// Transport carries requests to the API without a socket, for instance as the
// SDK's: client.WithHttpTransport(sim.Transport()).
func (s *Sim) Transport() http.RoundTripper { return transport{s.Handler()} }

// run carries out what becomes due.
func (s *Sim) run() {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		s.mu.Lock()
		s.advance(time.Now())
		next, ok := s.cloud.Next()
		behind := s.broken != nil
		s.mu.Unlock()
		pause := time.Hour
		if ok {
			pause = time.Until(next)
		}
		if behind {
			pause = min(pause, time.Second) // try the data path again
		}
		timer.Reset(max(pause, 0))
		select {
		case <-s.ctx.Done():
			return
		case <-timer.C:
		case <-s.wake:
		}
	}
}

// advance brings the state to now and tells everyone. The lock is held.
func (s *Sim) advance(now time.Time) {
	due := s.cloud.Advance(now)
	for _, p := range due.Probes {
		s.probe(p)
	}
	s.publish()
	for _, id := range due.Ended {
		if ended := s.waiters[id]; ended != nil {
			close(ended)
			delete(s.waiters, id)
		}
	}
}

// publish makes a change visible: first to packets, then to those who wait for
// the state. Whoever reads that a task has ended can rely on its effect. The
// lock is held.
func (s *Sim) publish() {
	v := s.cloud.Version()
	if v == s.published && s.broken == nil {
		return
	}
	if err := s.forward(); err != nil {
		klog.Background().Error(err, "Data path is behind, trying again")
	}
	if v != s.published {
		s.published = v
		close(s.changed)
		s.changed = make(chan struct{})
	}
}

func (s *Sim) forward() error {
	if s.cfg.Forwarder == nil {
		return nil
	}
	s.broken = s.cfg.Forwarder.Forward(s.ctx, s.cloud.Forwarding())
	return s.broken
}

// change alters the state under the lock, with everything due before and
// after it carried out.
func (s *Sim) change(f func(now time.Time)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	s.advance(now)
	f(now)
	s.advance(now)
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// do carries out a call and encodes its answer. A channel comes back if the
// answer must wait for it.
func (s *Sim) do(r cloud.Request) (body []byte, wait <-chan struct{}, failure *cloud.Error) {
	s.change(func(now time.Time) {
		r.Now = now
		var reply cloud.Reply
		reply, failure = s.cloud.Do(r)
		if failure != nil {
			return
		}
		var err error
		if body, err = envelope(reply.Body); err != nil {
			failure = &cloud.Error{Code: "InternalError", Message: err.Error()}
			return
		}
		if reply.Wait == "" {
			return
		}
		ended := make(chan struct{})
		if s.cloud.Running(reply.Wait) {
			s.waiters[reply.Wait] = ended
		} else {
			close(ended)
		}
		wait = ended
	})
	return body, wait, failure
}

func (s *Sim) taskOutcome(id string) *cloud.Error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cloud.Outcome(id)
}

// remember ties a task that hangs to its fault, or lets it end if the fault
// has been cleared meanwhile.
func (s *Sim) remember(f *fault, task string) {
	s.change(func(now time.Time) {
		select {
		case <-f.cleared:
			s.cloud.Release([]string{task}, now)
		default:
			f.tasks = append(f.tasks, task)
		}
	})
}

// probe makes a real probe in the background. The lock is held.
func (s *Sim) probe(p cloud.Probe) {
	if s.ctx.Err() != nil {
		return
	}
	s.done.Go(func() {
		select {
		case s.probes <- struct{}{}:
		case <-s.ctx.Done():
			return
		}
		ctx, cancel := context.WithTimeout(s.ctx, p.Timeout)
		err := s.cfg.Prober.Probe(ctx, p)
		cancel()
		<-s.probes
		if s.ctx.Err() == nil {
			s.change(func(now time.Time) { s.cloud.Probed(p, err == nil, now) })
		}
	})
}
