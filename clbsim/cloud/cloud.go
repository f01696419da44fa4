// SPDX-License-Identifier: Apache-2.0

package cloud

import (
	"cmp"
	"container/heap"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"slices"
	"time"
)

// Cloud is one account. It is not safe for concurrent use.
type Cloud struct {
	cfg       Config
	regions   map[string]*region
	tasks     map[string]*task // by RequestId, replays included
	running   map[string]*task
	ended     []*task // in order of their end, for Retention
	orders    map[string]*order
	events    eventHeap
	due       Due
	overrides []Override
	eventSeq  int
	version   int
}

// region holds what exists in one region.
type region struct {
	cloud     *Cloud
	name      string
	lbs       map[string]*loadBalancer
	byAge     []*loadBalancer // oldest first
	names     map[string]bool
	vips      map[netip.Addr]bool
	lastVIP   map[netip.Prefix]netip.Addr
	everVIP   []netip.Addr // addresses that were ever given out, see Forwarding
	instances map[string]*Instance
	groups    map[string]*securityGroup
	deletions []time.Time // recent CLB deletions, for the frequency guard
}

// New returns the account that a validated configuration describes.
func New(cfg Config) *Cloud {
	c := &Cloud{cfg: cfg, regions: map[string]*region{}, tasks: map[string]*task{}, running: map[string]*task{}, orders: map[string]*order{}}
	for _, name := range cfg.Regions {
		c.regions[name] = &region{
			cloud: c, name: name, lbs: map[string]*loadBalancer{}, names: map[string]bool{},
			vips: map[netip.Addr]bool{}, lastVIP: map[netip.Prefix]netip.Addr{}, instances: map[string]*Instance{},
			groups: map[string]*securityGroup{},
		}
	}
	for _, i := range cfg.Instances {
		c.regionOf(i.VPC).instances[i.ID] = &i
	}
	for _, g := range cfg.SecurityGroups {
		c.regions[g.Region].groups[g.ID] = newSecurityGroup(g)
	}
	// Those with an address of their own come first: an address that is given
	// out must not be one of them.
	existing := slices.Clone(cfg.LoadBalancers)
	slices.SortStableFunc(existing, func(a, b ExistingLoadBalancer) int { return cmp.Compare(b.VIP.BitLen(), a.VIP.BitLen()) })
	for _, e := range existing {
		if err := c.PutLoadBalancer(e, time.Time{}); err != nil {
			panic(fmt.Sprintf("cloud: the configuration cannot be had: load balancer %s: %v", e.ID, err))
		}
	}
	return c
}

func (c *Cloud) regionOf(vpc string) *region {
	return c.regions[c.cfg.vpc(vpc).Region]
}

// Request is one API call that has passed authentication and rate limit.
type Request struct {
	Action  *Action
	Region  string
	ID      string // RequestId; the id of the task that the call starts
	Body    []byte
	Now     time.Time
	Console bool // an edit from outside: no lock is asked for, and it takes effect at once
	Faults  TaskFaults
}

// TaskFaults alter what a call does, for tests of its caller.
type TaskFaults struct {
	Delay          *time.Duration // instead of the configured one
	Fail           string         // the task ends with this message and has no effect
	Hang           bool           // the task ends only when Release is called
	FailListeners  []string       // batch actions: these come back as failed, "*" means all named
	FailureMessage string
}

// Reply is the answer to a call that was not refused.
type Reply struct {
	Body any    // a response struct of the SDK, RequestId included
	Wait string // if not "": answer only after this task has ended
}

// call is a request on its way through an action.
type call struct {
	*region
	Request
	wait string
}

// Do carries out a call. The caller has advanced the state to r.Now.
func (c *Cloud) Do(r Request) (Reply, *Error) {
	name := r.Region
	if r.Action.Global && name == "" {
		name = c.cfg.Regions[0]
	}
	reg, ok := c.regions[name]
	if !ok {
		return Reply{}, errorf(codeUnsupportedRegion, "The region `%s` is not supported.", name)
	}
	in, err := r.Action.decode(r.Body)
	var out any
	k := &call{region: reg, Request: r}
	if err == nil {
		out, err = r.Action.run(k, in)
	}
	if err != nil {
		return Reply{}, r.Action.documentedError(err, c.cfg.Assumptions.LockCode)
	}
	if r.Action.Write {
		c.version++
	}
	setRequestID(out, r.ID)
	return Reply{Body: out, Wait: k.wait}, nil
}

func setRequestID(response any, id string) {
	reflect.ValueOf(response).Elem().FieldByName("RequestId").Set(reflect.ValueOf(&id))
}

// Version changes whenever something visible has changed.
func (c *Cloud) Version() int { return c.version }

// Due is what Advance found.
type Due struct {
	Ended  []string // tasks that have ended
	Probes []Probe  // real probes to make now; report each with Probed
}

// Advance carries out everything that has become due by now.
func (c *Cloud) Advance(now time.Time) Due {
	for len(c.events) > 0 && !c.events[0].at.After(now) {
		e := heap.Pop(&c.events).(event)
		switch {
		case e.task != nil:
			c.endTask(e.task, e.at)
		case e.target.turn == e.turn:
			c.probeDue(e.target, e.at)
		}
	}
	c.forget(now)
	due := c.due
	c.due = Due{}
	return due
}

// Next returns when Advance has something to do again.
func (c *Cloud) Next() (at time.Time, ok bool) {
	if len(c.events) == 0 {
		return time.Time{}, false
	}
	return c.events[0].at, true
}

// event is the end of a task, or the next probe of a target. A probe whose
// turn is not its target's has been superseded.
type event struct {
	at     time.Time
	seq    int
	task   *task
	target *target
	turn   int
}

func (c *Cloud) schedule(e event) {
	c.eventSeq++
	e.seq = c.eventSeq
	heap.Push(&c.events, e)
}

type eventHeap []event

func (h eventHeap) Len() int { return len(h) }
func (h eventHeap) Less(i, j int) bool {
	if !h[i].at.Equal(h[j].at) {
		return h[i].at.Before(h[j].at)
	}
	return h[i].seq < h[j].seq
}
func (h eventHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *eventHeap) Push(x any)   { *h = append(*h, x.(event)) }
func (h *eventHeap) Pop() any {
	old := *h
	e := old[len(old)-1]
	*h = old[:len(old)-1]
	return e
}

const idLetters = "abcdefghijklmnopqrstuvwxyz0123456789"

// newID returns a random id, like CLB's, so that no test comes to depend on
// an order of ids that the cloud does not promise.
func newID(prefix string, taken func(string) bool) string {
	for {
		b := make([]byte, 8)
		for i := range b {
			b[i] = idLetters[rand.IntN(len(idLetters))]
		}
		if id := prefix + string(b); !taken(id) {
			return id
		}
	}
}

// takeVIP reserves an address of one of the ranges. Addresses are handed out in
// turn, so that one that was just released is not reused at once.
func (r *region) takeVIP(ranges []netip.Prefix) (netip.Addr, *Error) {
	for _, p := range ranges {
		p = p.Masked()
		start, ok := r.lastVIP[p]
		if !ok {
			start = p.Addr()
		}
		for a, full := start.Next(), false; ; a = a.Next() {
			if !p.Contains(a) {
				if full {
					break
				}
				a, full = p.Addr().Next(), true
			}
			last := !p.Contains(a.Next()) && p.Bits() < 31
			if !last && !r.cloud.addressInUse(a) {
				r.reserveVIP(a)
				r.lastVIP[p] = a
				return a, nil
			}
			if full && a == start {
				break
			}
		}
	}
	return netip.Addr{}, errorf(codeNoResource, "No address is left in %v.", ranges)
}

func (r *region) reserveVIP(a netip.Addr) {
	r.vips[a] = true
	if !slices.Contains(r.everVIP, a) {
		r.everVIP = append(r.everVIP, a)
	}
}

// addressInUse tells whether a load balancer or an instance has the address, in whatever region: public addresses are those of one
// Internet, and the networks of this account do not overlap.
func (c *Cloud) addressInUse(a netip.Addr) bool {
	for _, r := range c.regions {
		if r.vips[a] {
			return true
		}
		for _, i := range r.instances {
			if i.PrivateIP == a.String() {
				return true
			}
		}
	}
	return false
}

func (r *region) quota(id string) int64 { return r.cloud.cfg.Quotas[id] }

func overQuota(what string, have, more, limit int64) *Error {
	if have+more <= limit {
		return nil
	}
	return errorf(codeLimit, "The number of %s exceeds the quota: %d used, %d more wanted, limit %d.", what, have, more, limit)
}

// beijing is the zone in which CLB writes its times.
var beijing = time.FixedZone("CST", 8*3600)

func wireTime(t time.Time) *string {
	s := t.In(beijing).Format(time.DateTime)
	return &s
}

// value returns what p points at, or the zero value.
func value[T any](p *T) T {
	if p == nil {
		var zero T
		return zero
	}
	return *p
}

func values[T any](ps []*T) []T {
	out := make([]T, len(ps))
	for i, p := range ps {
		out[i] = value(p)
	}
	return out
}

func pointers[T any](vs []T) []*T {
	out := make([]*T, len(vs))
	for i := range vs {
		out[i] = &vs[i]
	}
	return out
}
