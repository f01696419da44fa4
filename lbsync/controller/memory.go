// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"maps"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/clbsync/clbsync/lbsync"
)

// memory holds what is known of each CLB between syncs. All of it can be lost: a restart reads again.
type memory struct {
	mu      sync.Mutex
	states  map[key]*state
	regions map[string]string // in which CLBs are that are not in the cluster's; by ID
	claims  map[types.UID]key // which key works for a Service: a Service must not get a second CLB while it still has one
	nodesOf map[key]reach
	actuals map[key]*lbsync.LoadBalancer // as the last syncs left them, for others than the workers; nobody changes what is in it
}

// seat is what is known of one Service that a CLB serves.
type seat struct {
	service *corev1.Service // as last seen; nil: none was wanted so far

	policy   lbsync.DriftPolicy    // that was followed last
	done     map[string]int        // changes since the CLB was last in step, by verb
	ensuring bool                  // EnsuringLoadBalancer was written, its end was not
	failure  string                // what the last Event about a failure was about; "": none since the last success
	failedAt time.Time             // when that Event was written
	skips    map[lbsync.Skip]bool  // reported, those of nodes apart
	nodes    map[lbsync.Reason]int // how many nodes are left out
	shown    string                // the plan that was shown last; "": none was since plans were carried out
	written  time.Time             // when conditions were last written
	stale    time.Time             // since when the messages of conditions alone are old; zero: they are not
	tries    map[string]try        // writes for this Service alone that failed; nil: none did
}

func newSeat() *seat { return &seat{done: map[string]int{}, skips: map[lbsync.Skip]bool{}} }

// leave takes what is counted of the Service out of the metrics.
func (s *seat) leave() {
	countSkips(s.skips, nil)
	countNodes(s.nodes, nil)
}

// state is what is known of one CLB. Only the worker that has the key reads or writes it, so it needs no lock.
type state struct {
	*seat                     // of the Service that the CLB was made for; nobody's on a CLB that somebody made
	seats map[types.UID]*seat // of the Services that share a CLB that somebody made; nil until there is one
	cloud Cloud               // of the region that the CLB is in

	actual  *lbsync.LoadBalancer // as last read or written; nil: has to be read
	verify  time.Time            // when to read it again
	known   time.Time            // when it was last read or written
	twins   []lbsync.Skip        // further CLBs of the same owner
	stamps  lbsync.Memory
	refused []refused
	held    time.Time // since when a removal is held; zero: none is
	tuned   time.Time // when weights were last changed among open targets

	awaited map[lbsync.Binding]awaited // targets whose health is to be measured
	asked   time.Time                  // when health was last read, or a target registered that is waited for

	tolerance lbsync.Tolerance // what others changed and that stays as found
	repairs   map[lbsync.Binding]repair

	hold     time.Time // no sync before, unless a Service itself changes
	failures int       // in a row

	restricted bool      // a security group of ours was seen at the CLB that goes
	ordered    time.Time // since when it is not known what became of an order; zero: nobody asked, or it is known
	answered   bool      // a CLB was seen since the last order, so none is on its way
}

func newState() *state { return &state{seat: newSeat()} }

// all returns the seats of all Services that the CLB serves, in the order of their UIDs.
func (r *state) all() []*seat {
	if r.seats == nil {
		return []*seat{r.seat}
	}
	var out []*seat
	for _, uid := range slices.Sorted(maps.Keys(r.seats)) {
		out = append(out, r.seats[uid])
	}
	return out
}

// part returns what of a plan is about the Service of a seat.
func (r *state) part(p lbsync.Plan, s *seat, actual, desired lbsync.LoadBalancer) lbsync.Plan {
	if r.seats == nil {
		return p
	}
	return p.Of(s.service.UID, actual, desired)
}

// clear makes the record that of a CLB which was never worked on.
func (r *state) clear() {
	for _, s := range r.all() {
		s.leave()
	}
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
	maps.DeleteFunc(m.claims, func(_ types.UID, at key) bool { return at == k })
	delete(m.states, k)
	delete(m.nodesOf, k)
	delete(m.actuals, k)
}

// claim has a key work for a Service, and returns the key that does: another one, if that still does.
func (m *memory) claim(uid types.UID, k key) key {
	m.mu.Lock()
	defer m.mu.Unlock()
	if at, claimed := m.claims[uid]; claimed {
		return at
	}
	m.claims[uid] = k
	return k
}

// yield ends a claim.
func (m *memory) yield(uid types.UID, k key) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.claims[uid] == k {
		delete(m.claims, uid)
	}
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

// byRegion sorts IDs of CLBs by the region that they are in, "" the cluster's.
func (m *memory) byRegion(ids []string) map[string][]string {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := map[string][]string{}
	for _, id := range ids {
		out[m.regions[id]] = append(out[m.regions[id]], id)
	}
	return out
}

// usedRegions returns the regions, other than the cluster's, in which CLBs were since the program began.
func (m *memory) usedRegions() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Collect(maps.Values(m.regions))
}

// noteRegion keeps which region a CLB is in.
func (m *memory) noteRegion(i lbsync.Instance) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if i.Region == "" {
		return
	}
	if m.regions == nil {
		m.regions = map[string]string{}
	}
	m.regions[i.ID] = i.Region
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
