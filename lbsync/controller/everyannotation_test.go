// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/client-go/tools/cache"

	"github.com/clbsync/clbsync/clbsim"
	"github.com/clbsync/clbsync/clbsim/admin"
	"github.com/clbsync/clbsync/internal/kubetest"
	"github.com/clbsync/clbsync/lbsync"
	"github.com/clbsync/clbsync/lbsync/annotation"
)

// every is what is tried of one annotation of the table, or of a part of what it can say.
type every struct {
	name, part        string
	value, other, bad string // other: ""; of an annotation that takes one word alone
	right             string // what the Event says that would be right in place of bad

	account   func(*clbsim.Config)                  // what the account has besides; nil: nothing
	setup     func(l *tried)                        // of the cluster and the controller, before that begins; nil: nothing
	mods      []func(*corev1.Service)               // of the Services
	set       func(l *tried, service, value string) // sets the annotation, or removes it; nil: it is one of the Service
	endpoints []discoveryv1.Endpoint                // of each; nil: two pods
	reads     func(*tried, string) string           // what the annotation decides, read from CLB or from the Service; nothing else may be in it
	after     func(*tried)                          // more to look at, while the two Services are there; nil: nothing

	without string // what is read of a Service that does not have the annotation
	with    string // of one that was made with it
	changed string // of that, with the other value
	removed string // of that, without any; "": as without, or, of what is taken at creation only, as with
	added   string // of one that it was added to; "": as with, or, of what is taken at creation only, as without
	fresh   string // of one that is made with the bad value; "": as without
	spoilt  string // of that, with the bad value; "": as without, or, where that stops a Service, as it was

	stays [3]string // of what is taken at creation only: parts of the Events when it is added, changed, removed; "": nothing differs
	inert string    // why the annotation changes nothing that could be read; "": it does
}

func (e every) String() string {
	prefix, name, _ := strings.Cut(e.name, "/")
	if prefix+"/" == annotation.Prefix {
		name = "our " + name
	}
	return strings.TrimSuffix(name+" "+e.part, " ")
}

// key returns the row of the table.
func (e every) key() annotation.Key {
	for _, k := range slices.Concat(annotation.Keys, annotation.PodKeys) {
		if k.Name == e.name {
			return k
		}
	}
	return annotation.Key{}
}

// complete fills in what follows from the rest.
func (e every) complete() every {
	key := e.key()
	fixed, after := key.Fixed || e.stays != [3]string{}, e.without
	if fixed {
		after = e.with
	}
	e.removed = cmp.Or(e.removed, after)
	if fixed {
		e.added, e.changed = cmp.Or(e.added, e.without), cmp.Or(e.changed, e.with)
	}
	e.added = cmp.Or(e.added, e.with)
	if key.Blocking {
		e.spoilt = cmp.Or(e.spoilt, e.added)
	}
	e.spoilt = cmp.Or(e.spoilt, e.without)
	return e
}

// tried is an account with Services that have, get, change and lose an annotation.
type tried struct {
	*trial
	every
	away func() (back func()) // has the controller go, and come back as a new one; nil: it is there all the time
}

// The Services: one is made with the annotation, to the next one it is added, and one is made with a bad value.
const (
	early  = "early"
	late   = "late"
	broken = "broken"
)

// becomes waits until a reading of a Service is what is wanted, and for whatever else would come of it.
func (l *tried) becomes(why, service, want string) {
	l.Helper()
	for range 40 {
		l.pass(5 * time.Second)
		if l.reads(l, service) == want {
			break
		}
	}
	l.pass(30 * time.Second)
	if got := l.reads(l, service); got != want {
		l.Errorf("%s: %q is read, want %q; the Events of %s are\n%s", why, got, want, service, strings.Join(l.messages(service), "\n"))
	}
}

// messages are the Warning Events about a Service, with their reasons.
func (l *tried) messages(service string) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []string
	for _, e := range l.told {
		if e.InvolvedObject.Name == service && e.Type == corev1.EventTypeWarning {
			out = append(out, e.Reason+": "+e.Message)
		}
	}
	return out
}

// says requires a Warning about a Service with all the parts.
func (l *tried) says(why, service string, parts ...string) {
	l.Helper()
	if !slices.ContainsFunc(l.messages(service), func(m string) bool {
		return !slices.ContainsFunc(parts, func(part string) bool { return !strings.Contains(m, part) })
	}) {
		l.Errorf("%s: no Event about %s has %q; there are\n%s", why, service, parts, strings.Join(l.messages(service), "\n"))
	}
}

// of returns the CLB that serves a Service: the one of its tags, or one with a listener of its name. nil: none.
func (l *tried) of(service string) *admin.LoadBalancer {
	l.Helper()
	state, err := l.sim.State(l.Context())
	if err != nil {
		l.Fatal(err)
	}
	for _, lb := range state.LoadBalancers {
		if lb.Tags[lbsync.TagService] == service || slices.ContainsFunc(lb.Listeners, func(o admin.Listener) bool { return o.Name == lbsync.ListenerName(service) }) {
			return &lb
		}
	}
	return nil
}

// served are the listeners of a Service and the targets of each: "TCP:80 ins-00000001=10 …"; "nothing": it has no CLB.
func (l *tried) served(service string) string {
	l.Helper()
	lb := l.of(service)
	if lb == nil {
		return "nothing"
	}
	var out []string
	for _, listener := range lb.Listeners {
		if listener.Name != lbsync.ListenerName(service) {
			continue
		}
		all := listener.Targets
		for _, r := range listener.Rules {
			all = append(all, r.Targets...)
		}
		var targets []string
		for _, t := range all {
			targets = append(targets, fmt.Sprintf("%s=%d", cmp.Or(t.Instance, t.Address), t.Weight))
		}
		slices.Sort(targets)
		out = append(out, strings.TrimSpace(fmt.Sprintf("%s:%d %s", listener.Protocol, listener.Port, strings.Join(targets, " "))))
	}
	slices.Sort(out)
	return strings.Join(out, ", ")
}

// make puts a Service with an annotation into the cluster; value "": without.
func (l *tried) make(name, value string) {
	l.Helper()
	l.put(kubetest.Slice(name, l.endpoints...))
	mods := l.mods
	if l.set == nil {
		mods = append(slices.Clone(mods), annotate(l.name, value))
	} else {
		l.set(l, name, value)
	}
	l.put(kubetest.Service(name, mods...))
}

// give sets the annotation of a Service that lives; "" removes it.
func (l *tried) give(service, value string) {
	if l.away != nil {
		defer l.away()()
	}
	if l.set != nil {
		l.set(l, service, value)
		return
	}
	l.edit(service, annotate(l.name, value))
}

// Every annotation that is honoured: set at creation, added to a Service that lives, changed, removed, and with a bad value,
// which costs only what it touches. Nothing of that makes a second CLB or changes which one it is, and nothing is left when
// the Services are gone.
func TestEveryAnnotation(t *testing.T) {
	tryEvery(t, false)
}

// The same, where nobody looks while an annotation is added, changed or removed, and a controller that remembers nothing finds
// it so: what has to be undone is known from what is noted on the Service.
func TestEveryAnnotationThatChangesWhileNobodyLooks(t *testing.T) {
	tryEvery(t, true)
}

func tryEvery(t *testing.T, away bool) {
	for _, e := range everyAnnotation() {
		t.Run(e.String(), func(t *testing.T) {
			t.Parallel()
			e := e.complete()
			if e.endpoints == nil {
				e.endpoints = podsAt(1, 2)
			}
			inAccount(t, e.account, func(tr *trial) {
				l := &tried{trial: tr, every: e}
				if e.setup != nil {
					e.setup(l)
				}
				stop := l.begin()
				defer func() { stop() }()
				if away {
					l.away = func() func() {
						stop()
						return func() { stop = l.begin() }
					}
				}
				l.live()
			})
		})
	}
}

func (l *tried) live() {
	l.make(early, l.value)
	l.make(late, "")
	l.make(broken, l.bad)
	l.becomes("set at creation", early, l.with)
	l.becomes("without it", late, l.without)
	plain, ids := anyPort.ReplaceAllString(l.served(late), ":80"), map[string]string{early: l.id(early), late: l.id(late)}
	l.says("a bad value from the start", broken, l.name, fmt.Sprintf("%q", l.bad), l.right)
	if l.key().Blocking {
		l.want("a bad value stops the Service", l.of(broken) == nil, true)
	} else {
		l.becomes("a bad value from the start", broken, cmp.Or(l.fresh, l.without))
		if l.fresh == "" {
			l.want("and costs nothing else", anyPort.ReplaceAllString(l.served(broken), ":80"), plain)
		}
	}
	l.give(broken, "")

	l.give(late, l.value)
	l.becomes("added", late, l.added)
	l.staysAs("added", late, l.stays[0])
	if l.other != "" {
		l.give(early, l.other)
		l.becomes("changed", early, l.changed)
		l.staysAs("changed", early, l.stays[1])
	}
	if l.after != nil {
		l.after(l)
	}

	served := l.served(late)
	l.give(late, l.bad)
	l.becomes("a bad value", late, l.spoilt)
	l.says("a bad value", late, l.name, fmt.Sprintf("%q", l.bad), l.right)
	switch {
	case l.name == annotation.TKEMode || l.name == annotation.Mode: // Its author wants it to be left alone, one way or another.
		l.want("nothing changes while the value is bad", l.served(late), served)
		l.want("nor when a node goes", l.without3(late), served)
	case l.key().Blocking:
		l.want("nothing changes while the value is bad", l.served(late), served)
		if now := l.without3(late); strings.Count(now, "=") >= strings.Count(served, "=") {
			l.Errorf("when a node goes while the value is bad, the CLB has %q still, and had %q", now, served)
		}
		l.want("when it is back", l.served(late), served)
	case l.fresh != "":
		l.want("nothing else changes while the value is bad", l.served(late), served)
	default:
		l.want("a bad value costs nothing else", anyPort.ReplaceAllString(l.served(late), ":80"), plain)
	}
	l.give(early, "")
	l.becomes("removed", early, l.removed)
	l.staysAs("removed", early, l.stays[2])
	l.pass(16 * time.Minute) // all is read again by then
	l.want("what is read again", l.reads(l, late)+" and "+l.reads(l, early), l.spoilt+" and "+l.removed)
	if ids[early] != "" {
		l.want("the CLB of one is the same", l.id(early), ids[early])
	}
	if ids[late] != "" {
		l.want("the CLB of the other is the same", l.id(late), ids[late])
	}
	l.end()
}

// without3 takes a node away for a while, and returns what is served then.
func (l *tried) without3(service string) string {
	l.Helper()
	node := kubetest.Node(3)
	object, err := l.client.Tracker().Get(resourceOf(node), "", node.Name)
	if err != nil {
		l.Fatal(err)
	}
	l.remove(node)
	l.pass(3 * time.Minute)
	served := l.served(service)
	l.put(object)
	l.pass(3 * time.Minute)
	return served
}

// anyPort is the port of a listener; Services that share a CLB have others.
var anyPort = regexp.MustCompile(`:8[0-9]`)

func (l *tried) id(service string) string {
	if lb := l.of(service); lb != nil {
		return lb.ID
	}
	return ""
}

// staysAs requires an Event that says that what is taken at creation only stays as it is.
func (l *tried) staysAs(why, service, part string) {
	l.Helper()
	if part != "" {
		l.says(why, service, string(lbsync.CreateTimeOnly), part)
	}
}

// end removes what is left of the annotation, and the Services.
func (l *tried) end() {
	l.give(late, "")
	l.pass(2 * time.Minute)
	bought := 0
	for _, c := range l.calls() {
		if c.Action == "CreateLoadBalancer" && c.Code == "" {
			bought++
		}
	}
	state, err := l.sim.State(l.Context())
	if err != nil {
		l.Fatal(err)
	}
	ours := map[string]bool{}
	for _, lb := range state.LoadBalancers {
		if of := lb.Tags[lbsync.TagService]; of != "" && lb.Tags[lbsync.TagCluster] == "cls-demo" {
			ours[of] = true
		}
	}
	l.want("CLBs that were bought, one for each Service", bought, len(ours))
	for _, name := range []string{early, late, broken} {
		l.delete(name)
	}
	l.pass(5 * time.Minute)
	for _, name := range []string{early, late, broken} {
		if left := l.service(name).Finalizers; len(left) > 0 || l.of(name) != nil {
			l.Errorf("when %s is gone, %v and the CLB %q are left", cache.NewObjectName("default", name), left, l.id(name))
		}
	}
	if now := l.clbs(false); fmt.Sprint(now) != fmt.Sprint(l.theirs) {
		l.Errorf("what others have was %+v and is %+v", l.theirs, now)
	}
	if state, err = l.sim.State(l.Context()); err != nil {
		l.Fatal(err)
	}
	for _, g := range state.Groups {
		if g.Tags[lbsync.TagService] != "" {
			l.Errorf("security group %s is left", g.ID)
		}
	}
}
