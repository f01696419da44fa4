// SPDX-License-Identifier: Apache-2.0

package lbsync

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var timing = Timing{HealthDeadline: 20 * time.Second, Drain: 5 * time.Second, Poll: time.Second, RemovalHold: 40 * time.Second, Programming: time.Second, Damping: 2 * time.Second}

const hosts = 5

func hostName(i int) string { return fmt.Sprintf("ins-%d", i) }

// random returns a CLB of up to three listeners with targets on up to five hosts, out of a small set, so
// that two of them differ in part.
func random(r *rand.Rand, desired bool) LoadBalancer {
	lb := LoadBalancer{Present: r.IntN(12) > 0, Listeners: map[ListenerKey]Listener{}, Targets: map[Binding]int{}, Idle: map[ListenerKey]bool{}, Answering: map[ListenerKey]Answering{}}
	lb.Instance.Owner = Owner{ClusterID: "cls-demo", ServiceUID: "u"}
	if !lb.Present {
		return lb
	}
	for port := uint16(80); port < 83; port++ {
		if r.IntN(4) == 0 {
			continue
		}
		nodePort, direct := 100*port+uint16(r.IntN(2)), r.IntN(3) == 0
		for _, key := range randomListener(r, lb, port) {
			for range r.IntN(6) {
				t := Target{Instance: hostName(r.IntN(hosts)), Port: nodePort}
				if direct {
					t = Target{IP: netip.AddrFrom4([4]byte{10, 1, 0, byte(r.IntN(hosts))}), Port: 100*port + 50}
				}
				lb.Targets[Binding{key, t}] = r.IntN(3) * r.IntN(40)
			}
			if desired {
				lb.Idle[key] = r.IntN(4) == 0
				lb.Answering[key] = randomAnswering(r, nodePort, lb.Targets, direct)
			}
		}
	}
	if desired {
		lb.Doubtful, lb.Known = map[string]Reason{}, map[string]string{}
		for i := range hosts {
			if r.IntN(5) > 0 {
				lb.Known[hostName(i)] = fmt.Sprintf("n%d", i)
			}
			if r.IntN(4) == 0 {
				lb.Doubtful[hostName(i)] = NodeNotReady
			}
		}
		lb.RemovalAllowed = r.IntN(4) == 0
	}
	return lb
}

// randomListener adds a listener of some protocol to lb and returns what of it has targets: the rules of an HTTPS listener, of
// which there are up to three, else the listener.
func randomListener(r *rand.Rand, lb LoadBalancer, port uint16) []ListenerKey {
	one := Listener{ListenerKey: ListenerKey{Protocol: []Protocol{TCP, UDP, TCPSSL, HTTPS, HTTPS}[r.IntN(5)], Port: port}, Name: ListenerName("u")}
	check := HealthCheck{On: r.IntN(4) > 0, Type: CheckTCP, Interval: time.Second, Healthy: 2 + r.IntN(2)}
	if one.Protocol != HTTPS {
		one.Check = check
		lb.Listeners[one.ListenerKey] = one
		return []ListenerKey{one.ListenerKey}
	}
	rule := one
	rule.Check = check
	if one.SNI = r.IntN(2) == 0; !one.SNI {
		one.Certificate.IDs = fmt.Sprintf("cert-%d", r.IntN(2))
	}
	lb.Listeners[one.ListenerKey] = one
	var keys []ListenerKey
	for _, domain := range []string{"a", "b", "c"} {
		if r.IntN(3) == 0 {
			continue
		}
		if rule.Domain, rule.URL = domain, "/"; one.SNI {
			rule.Certificate.IDs = fmt.Sprintf("cert-%d", r.IntN(2))
		}
		lb.Listeners[rule.ListenerKey] = rule
		keys = append(keys, rule.ListenerKey)
	}
	return keys
}

// randomAnswering has somebody behind every target that is wanted, and behind some of the others.
func randomAnswering(r *rand.Rand, port uint16, wanted map[Binding]int, direct bool) Answering {
	a := Answering{Port: port, Direct: direct, Pods: map[netip.Addr]Answer{}}
	for i := range hosts {
		if r.IntN(3) > 0 {
			a.Pods[netip.AddrFrom4([4]byte{10, 1, 0, byte(i)})] = Answer(r.IntN(3))
		}
	}
	for b := range wanted {
		if b.Target.IP.IsValid() {
			a.Pods[b.Target.IP] = Answers
		}
	}
	if r.IntN(2) == 0 {
		return a
	}
	a.Nodes = map[string]bool{}
	for i := range hosts {
		a.Nodes[fmt.Sprintf("n%d", i)] = r.IntN(2) == 0
	}
	for b := range wanted {
		if b.Target.Instance == "" {
			continue
		}
		a.Nodes["n"+b.Target.Instance[len("ins-"):]] = true
	}
	return a
}

// settle fills the cloud with lb as if it had always been there.
func settle(t *testing.T, lb LoadBalancer, now time.Time) (*fakeCloud, LoadBalancer) {
	t.Helper()
	cloud := &fakeCloud{now: now.Add(-time.Hour)}
	all := Diff(LoadBalancer{}, lb)
	if !lb.Present {
		return cloud, LoadBalancer{}
	}
	// Diff leaves out targets of weight 0 that are not there; here they are wanted.
	all.Register = nil
	for _, b := range sortedBindings(lb.Targets) {
		all.Register = append(all.Register, Change{Binding: b, Weight: lb.Targets[b]})
	}
	actual, err := all.Apply(t.Context(), cloud, LoadBalancer{})
	if err != nil {
		t.Fatal(err)
	}
	cloud.now = now
	return cloud, actual
}

// errFault is what a faulty cloud answers.
var errFault = errors.New("a fault of the test")

// faulty is a cloud whose calls fail now and then: before they did anything, halfway, or after all was done.
type faulty struct {
	*fakeCloud
	r     *rand.Rand
	often int    // one call in so many fails; 0: none
	wrong string // the host that is refused as a target; "": none
}

func (f faulty) halfway(ctx context.Context, changes []Change, call func(context.Context, string, []Change) error) error {
	if f.often == 0 || f.r.IntN(f.often) > 0 {
		return call(ctx, "", changes)
	}
	if err := call(ctx, "", changes[:f.r.IntN(len(changes)+1)]); err != nil {
		return err
	}
	return errFault
}

func (f faulty) Register(ctx context.Context, _ string, changes []Change) error {
	var refused Refusals
	var rest []Change
	for _, c := range changes {
		if c.Target.Instance == f.wrong {
			refused = append(refused, Refusal{Binding: c.Binding, Err: errFault})
		} else {
			rest = append(rest, c)
		}
	}
	if err := f.halfway(ctx, rest, f.fakeCloud.Register); err != nil || len(refused) == 0 {
		return err
	}
	return refused
}

func (f faulty) Reweight(ctx context.Context, _ string, changes []Change) error {
	return f.halfway(ctx, changes, f.fakeCloud.Reweight)
}

func (f faulty) Deregister(ctx context.Context, _ string, changes []Change) error {
	return f.halfway(ctx, changes, f.fakeCloud.Deregister)
}

func (f faulty) CreateListeners(ctx context.Context, lb string, listeners []Listener) ([]string, error) {
	ids, err := f.fakeCloud.CreateListeners(ctx, lb, listeners)
	if err == nil && f.often > 0 && f.r.IntN(f.often) == 0 {
		return nil, errFault
	}
	return ids, err
}

// stage is a CLB in the middle of a random story.
type stage struct {
	*testing.T
	seed    uint64
	r       *rand.Rand
	now     time.Time
	cloud   faulty
	actual  LoadBalancer
	desired LoadBalancer
	memory  Memory
	held    time.Time
	tuned   time.Time
	dead    map[string]bool
}

func (s *stage) fatal(format string, args ...any) {
	s.Helper()
	s.Fatalf("seed %d: %s", s.seed, fmt.Sprintf(format, args...))
}

func (s *stage) health() map[Binding]Health {
	out := map[Binding]Health{}
	for b := range s.actual.Targets {
		switch check := s.actual.Listeners[b.Listener].Check; {
		case !check.On:
			out[b] = HealthOff
		case s.dead[b.Target.Instance]:
			out[b] = Unhealthy
		case s.now.Sub(s.cloud.born[b]) >= check.Settle():
			out[b] = Healthy
		}
	}
	return out
}

// working returns the targets through which a client gets an answer.
func (s *stage) working() map[Binding]bool {
	health, out := s.health(), map[Binding]bool{}
	for b, weight := range s.actual.Targets {
		a, ok := s.desired.Answering[b.Listener]
		node, known := s.desired.Known[b.Target.Host()]
		silent := ok && b.Target.Instance == "" && a.Pods[b.Target.IP] == Silent || ok && b.Target.Instance != "" && (b.Target.Port != a.Port || a.Nodes != nil && known && !a.Nodes[node])
		if weight > 0 && !silent && (health[b] == Healthy || health[b] == HealthOff) {
			out[b] = true
		}
	}
	return out
}

// turn replaces what is wanted and what works; in between the controller may have been restarted.
func (s *stage) turn() {
	s.desired = Complete(s.actual, random(s.r, true))
	if s.r.IntN(2) == 0 {
		// What is there and what is wanted each fit; both together need not.
		s.desired.TargetQuota = max(most(s.actual), most(s.desired), 2)
	}
	s.cloud.wrong = ""
	if s.r.IntN(3) == 0 {
		s.cloud.wrong = hostName(s.r.IntN(hosts))
	}
	s.dead = map[string]bool{hostName(s.r.IntN(hosts)): s.r.IntN(2) == 0, hostName(s.r.IntN(hosts)): s.r.IntN(3) == 0}
	if s.r.IntN(3) == 0 {
		s.memory, s.held, s.tuned = nil, time.Time{}, time.Time{}
	}
}

// step takes one step, or lets the time pass that it asks for, and checks what must hold in between. It
// reports false when nothing is left to do that time could bring.
func (s *stage) step() bool {
	s.memory = s.memory.Update(s.actual, s.desired, s.now)
	seen := Observation{Now: s.now, Memory: s.memory, HeldSince: s.held, Reweighted: s.tuned}
	step := Next(s.actual, s.desired, seen, timing)
	if step.Plan.Empty() && step.Ask {
		seen.Health = s.health()
		step = Next(s.actual, s.desired, seen, timing)
		if step.Ask {
			s.fatal("asks for the health that it was given, waiting %v", step.Waits)
		}
	}
	if again := Next(s.actual, s.desired, seen, timing); !reflect.DeepEqual(step, again) {
		s.fatal("the same input gave two steps:\n%s", cmp.Diff(step, again, equal))
	}
	if !step.Doubt {
		s.held = time.Time{}
	} else if s.held.IsZero() {
		s.held = s.now
	}
	if !step.Plan.Empty() {
		s.apply(step)
		return true
	}
	if len(step.Waits) == 0 || !slices.ContainsFunc(step.Waits, func(w Wait) bool { return w.Reason != ForEndpoint }) {
		return false
	}
	if step.Again <= 0 {
		s.fatal("waits %v without a time", step.Waits)
	}
	s.now = s.now.Add(step.Again)
	s.cloud.now = s.now
	return true
}

func (s *stage) apply(step Step) {
	before, was := s.working(), s.actual
	next, err := step.Plan.Apply(s.Context(), s.cloud, s.actual)
	if refused, ok := OnlyRefused(err); ok {
		s.desired, err = refused.Without(next, s.desired), nil
	}
	switch {
	case errors.Is(err, errFault):
		next = s.cloud.lb.Clone()
	case err != nil:
		s.fatal("refused: %v\n%s", err, step.Plan)
	case !maps.Equal(s.cloud.lb.Targets, next.Targets) || !maps.Equal(s.cloud.lb.Listeners, next.Listeners) || s.cloud.lb.Present != next.Present:
		s.fatal("Apply returns what is not there:\n%s", cmp.Diff(s.cloud.lb, next, equal))
	case step.Tune:
		s.tuned = s.now
	}
	s.actual = next
	if quota := s.desired.TargetQuota; quota > 0 && most(next) > max(quota, most(was)) {
		s.fatal("a listener has %d targets, more than %d, after\n%s", most(next), quota, step.Plan)
	}
	after := s.working()
	for b := range before {
		l := b.Listener
		if _, stays := s.desired.Listeners[l]; !stays || s.desired.Idle[l] || next.Targets[b] > 0 || s.forced(step, b) {
			continue
		}
		if !slices.ContainsFunc(slices.Collect(maps.Keys(after)), func(b Binding) bool { return b.Listener == l }) && !s.presumed(was, l) {
			s.fatal("%s lost its last working target, %s, by\n%s", l, b, step.Plan)
		}
	}
	for l := range s.desired.Listeners {
		if open(was, l) > 0 && open(next, l) == 0 && !s.desired.Idle[l] && next.Present && !s.contested(was, l) {
			s.fatal("%s became empty by\n%sit had %v, wanted is %v of which %v answer; health %v", l, step.Plan, was.Targets, s.desired.Targets, s.desired.Answering[l], s.health())
		}
	}
}

func open(lb LoadBalancer, l ListenerKey) (n int) {
	for b, weight := range lb.Targets {
		if b.Listener == l && weight > 0 {
			n++
		}
	}
	return n
}

// forced reports whether a target had to go to make room, or for another listener.
func (s *stage) forced(step Step, b Binding) bool {
	if quota := s.desired.TargetQuota; quota > 0 && most(s.actual) >= quota-1 {
		return true
	}
	return s.contested(s.actual, b.Listener)
}

// contested reports whether another listener wants a target that this one has, or had.
func (s *stage) contested(lb LoadBalancer, l ListenerKey) bool {
	for b := range s.desired.Targets {
		if b.Listener.Protocol != l.Protocol || b.Listener == l {
			continue
		}
		for host := range hosts {
			if _, has := lb.Targets[Binding{l, Target{Instance: hostName(host), Port: b.Target.Port}}]; has || b.Target.Instance == hostName(host) {
				return true
			}
		}
	}
	return false
}

// presumed reports whether so little was to leave a listener that the others may be presumed to be healthy.
func (s *stage) presumed(was LoadBalancer, l ListenerKey) bool {
	var going, staying int
	for b, weight := range was.Targets {
		if b.Listener == l && s.desired.Targets[b] == 0 {
			going += weight
		}
	}
	for b, weight := range s.desired.Targets {
		if b.Listener == l {
			staying += weight
		}
	}
	return going*presumable <= staying
}

// most returns the number of targets of the listener that has most.
func most(lb LoadBalancer) (most int) {
	count := map[ListenerKey]int{}
	for b := range lb.Targets {
		count[b.Listener]++
		most = max(most, count[b.Listener])
	}
	return most
}

// Whatever is there, whatever is wanted, whatever dies, fails, changes its mind halfway or is restarted: once
// it is quiet the steps end, in what is wanted. On the way nothing is refused; no listener passes through
// empty unless its Service has no endpoints; none loses its last working target; the quota holds.
func checkHandover(t *testing.T, seed uint64) {
	r := rand.New(rand.NewPCG(seed, 1))
	s := &stage{T: t, seed: seed, r: r, now: time.Unix(1000, 0), dead: map[string]bool{}}
	cloud, actual := settle(t, random(r, false), s.now)
	s.cloud, s.actual = faulty{fakeCloud: cloud, r: r}, actual
	for range r.IntN(4) {
		s.turn()
		s.cloud.often = r.IntN(4)
		for range r.IntN(20) {
			s.step()
		}
	}
	s.turn()
	s.cloud.often = 0
	for i := 0; s.step(); i++ {
		if i > 500 {
			s.fatal("no end")
		}
	}
	seen := Observation{Now: s.now, Memory: s.memory, Health: s.health(), HeldSince: s.held, Reweighted: s.tuned}
	if step := Next(s.actual, s.desired, seen, timing); !step.Plan.Empty() {
		s.fatal("a second plan is not empty:\n%s", step.Plan)
	}
	s.checkEnd()
}

// checkEnd compares what is there in the end with what was wanted, but for the targets that nothing could
// replace.
func (s *stage) checkEnd() {
	left := Diff(s.actual, s.desired)
	health := s.health()
	held := func(c Change) bool { // it is the best there is
		for b, weight := range s.desired.Targets {
			if b.Listener == c.Listener && weight > 0 && health[b] != Unhealthy {
				return false
			}
		}
		return !s.desired.Idle[c.Listener]
	}
	left.Deregister = slices.DeleteFunc(left.Deregister, held)
	left.Reweight = slices.DeleteFunc(left.Reweight, held)
	if left.Create != nil && len(s.desired.Listeners) == 0 {
		left.Create = nil
	}
	if !left.Empty() {
		s.fatal("left undone:\n%s", left)
	}
}

func TestHandoverEndsInDesired(t *testing.T) {
	for seed := range uint64(1500) {
		checkHandover(t, seed)
	}
}

func FuzzHandover(f *testing.F) {
	f.Add(uint64(1))
	f.Fuzz(checkHandover)
}
