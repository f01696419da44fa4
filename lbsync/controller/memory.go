// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/clbsync/clbsync/lbsync"
)

// memory holds what is known of each CLB between syncs. All of it can be lost: a restart reads again.
type memory struct {
	mu      sync.Mutex
	states  map[key]*state
	nodesOf map[key]reach
	actuals map[key]*lbsync.LoadBalancer // as the last syncs left them, for others than the workers; nobody changes what is in it
}

// state is what is known of one CLB. Only the worker that has the key reads or writes it, so it needs no lock.
type state struct {
	service *corev1.Service // the one that the CLB is for; nil: none was wanted so far

	actual  *lbsync.LoadBalancer // as last read or written; nil: has to be read
	verify  time.Time            // when to read it again
	known   time.Time            // when it was last read or written
	twins   []lbsync.Skip        // further CLBs of the same owner
	stamps  lbsync.Memory
	refused []refused
	held    time.Time // since when a removal is held; zero: none is
	tuned   time.Time // when weights were last changed among open targets

	config  error                      // what kept the TkeServiceConfig that is made for the Service from being written; nil: nothing
	awaited map[lbsync.Binding]awaited // targets whose health is to be measured
	asked   time.Time                  // when health was last read, or a target registered that is waited for

	policy    lbsync.DriftPolicy // that was followed last
	tolerance lbsync.Tolerance   // what others changed and that stays as found
	repairs   map[lbsync.Binding]repair

	hold     time.Time // no sync before, unless a Service itself changes
	failures int       // in a row
	failure  string    // what the last Event about a failure was about; "": none since the last success
	failedAt time.Time // when that Event was written

	done     map[string]int        // changes since the CLB was last in step, by verb
	ensuring bool                  // EnsuringLoadBalancer was written, its end was not
	skips    map[lbsync.Skip]bool  // reported, those of nodes apart
	nodes    map[lbsync.Reason]int // how many nodes are left out
	shown    string                // the plan that was shown last; "": none was since plans were carried out
	written  time.Time             // when conditions were last written
	stale    time.Time             // since when the messages of conditions alone are old; zero: they are not
}

func newState() *state {
	return &state{done: map[string]int{}, skips: map[lbsync.Skip]bool{}}
}

// clear makes the record that of a CLB which was never worked on.
func (r *state) clear() {
	countSkips(r.skips, nil)
	countNodes(r.nodes, nil)
	r.tolerate(nil)
	*r = *newState()
}

func (m *memory) of(k key) *state {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.states[k]
	if r == nil {
		r = newState()
		m.states[k] = r
	}
	return r
}

func (m *memory) forget(k key) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.states, k)
	delete(m.nodesOf, k)
	delete(m.actuals, k)
}

// reaches keeps which nodes matter to a CLB; reach returns it.
func (m *memory) reaches(k key, r reach) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.nodesOf[k] = r
}

func (m *memory) reach(k key) reach {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.nodesOf[k]
}

// knows reports whether the CLB of the key was worked on.
func (m *memory) knows(k key) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.states[k] != nil
}

// noteActual keeps the CLB as a sync has left it; nil: it is not known.
func (m *memory) noteActual(k key, actual *lbsync.LoadBalancer) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.states[k] == nil || actual == nil {
		delete(m.actuals, k)
		return
	}
	m.actuals[k] = actual
}

// lastActual returns it, the zero value if it is not known.
func (m *memory) lastActual(k key) lbsync.LoadBalancer {
	m.mu.Lock()
	defer m.mu.Unlock()
	if lb := m.actuals[k]; lb != nil {
		return *lb
	}
	return lbsync.LoadBalancer{}
}
