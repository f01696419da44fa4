// SPDX-License-Identifier: Apache-2.0

package kubectl

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/clbsync/clbsync/lbsync"
)

// told is explain's answer for programs.
type told struct {
	Service    string         `json:"service"`
	Unread     string         `json:"unread,omitempty"` // why the rest says less than it could
	CLB        *toldCLB       `json:"clb,omitempty"`
	Listeners  []toldListener `json:"listeners,omitempty"`
	LeftOut    []toldSkip     `json:"leftOut,omitempty"`
	Changes    []string       `json:"changes,omitempty"` // that the next sync would begin with
	Failure    string         `json:"failure,omitempty"`
	Conditions []toldReason   `json:"conditions,omitempty"`
	Events     []toldReason   `json:"events,omitempty"`
}

type toldCLB struct {
	ID        string            `json:"id"`
	Name      string            `json:"name,omitempty"`
	Region    string            `json:"region,omitempty"` // if it is not the cluster's
	Internal  bool              `json:"internal"`
	Ours      bool              `json:"ours"` // its tags prove that it was made for the Service
	Addresses []string          `json:"addresses,omitempty"`
	Tags      map[string]string `json:"tags,omitempty"`
	Settings  string            `json:"settings,omitempty"`
}

type toldListener struct {
	Listener string       `json:"listener"`
	ID       string       `json:"id,omitempty"`
	Ours     bool         `json:"ours"`
	Check    string       `json:"check,omitempty"`
	ByRules  bool         `json:"byRules,omitempty"` // its rules have the targets
	Targets  []toldTarget `json:"targets,omitempty"`
}

type toldTarget struct {
	Target string `json:"target"`
	Node   string `json:"node,omitempty"`
	Weight int    `json:"weight"`
	Wanted *int   `json:"wanted"` // the weight that it should have; null: it should go
	Health string `json:"health,omitempty"`
}

type toldSkip struct {
	Object  string `json:"object"`
	Reason  string `json:"reason"`
	Message string `json:"message"`
}

type toldReason struct {
	Type, Status, Reason, Message string
	Count                         int32 `json:",omitempty"`
	At                            string
}

// value is the answer as a value.
func (a about) value() told {
	out := told{Service: a.service.Namespace + "/" + a.service.Name, Unread: a.unread}
	for _, c := range a.service.Status.Conditions {
		if slices.Contains(lbsync.ConditionTypes, c.Type) {
			out.Conditions = append(out.Conditions, toldReason{Type: c.Type, Status: string(c.Status), Reason: c.Reason, Message: c.Message, At: c.LastTransitionTime.UTC().Format(time.RFC3339)})
		}
	}
	for _, e := range a.recent() {
		out.Events = append(out.Events, toldReason{Type: e.Type, Reason: e.Reason, Message: e.Message, Count: e.Count, At: eventTime(e).UTC().Format(time.RFC3339)})
	}
	f := a.finding
	if !a.looked {
		return out
	}
	if f.Failure != nil {
		out.Failure = f.Failure.Error()
	}
	for _, s := range f.Skips {
		out.LeftOut = append(out.LeftOut, toldSkip{s.Object, string(s.Reason), s.Message})
	}
	out.Changes = lines(f.Plan.String())
	if f.Actual.Present {
		out.CLB, out.Listeners = a.balancer(), a.listeners()
	}
	return out
}

func (a about) balancer() *toldCLB {
	i := a.finding.Actual.Instance
	out := &toldCLB{ID: i.ID, Name: i.Name, Region: i.Region, Internal: i.Internal, Tags: i.Tags, Settings: i.Attributes.String(),
		Ours: a.finding.Desired.Instance.Owner.Owns(i.Tags)}
	for _, vip := range i.VIPs {
		out.Addresses = append(out.Addresses, vip.String())
	}
	if i.Domain != "" {
		out.Addresses = append(out.Addresses, i.Domain)
	}
	return out
}

func (a about) listeners() []toldListener {
	f := a.finding
	var out []toldListener
	for _, k := range slices.SortedFunc(maps.Keys(f.Actual.Listeners), func(a, b lbsync.ListenerKey) int {
		return cmp.Or(cmp.Compare(a.Port, b.Port), cmp.Compare(a.Protocol, b.Protocol), cmp.Compare(a.String(), b.String()))
	}) {
		l := f.Actual.Listeners[k]
		one := toldListener{Listener: k.String(), ID: l.ID, Ours: l.Ours(), Check: l.Check.String(), ByRules: !k.Rule() && (k.Protocol == lbsync.HTTP || k.Protocol == lbsync.HTTPS)}
		for b, weight := range f.Actual.Targets {
			if b.Listener != k {
				continue
			}
			t := toldTarget{Target: b.Target.String(), Node: f.Desired.Known[b.Target.Host()], Weight: weight}
			if want, stays := f.Desired.Targets[b]; stays {
				t.Wanted = &want
			}
			if a.health != nil && l.Check.On {
				t.Health = a.health[b].String()
			}
			one.Targets = append(one.Targets, t)
		}
		slices.SortFunc(one.Targets, func(a, b toldTarget) int { return cmp.Compare(a.Target, b.Target) })
		out = append(out, one)
	}
	return out
}

// recent are the latest Events.
func (a about) recent() []corev1.Event {
	const most = 10
	return a.events[max(len(a.events)-most, 0):]
}

// text is the answer for people.
func (a about) text(now time.Time) string {
	v := a.value()
	var b strings.Builder
	fmt.Fprintf(&b, "Service %s\n", v.Service)
	if v.Unread != "" {
		fmt.Fprintf(&b, "  Only half of the answer: %s.\n", v.Unread)
	}
	if v.Failure != "" {
		fmt.Fprintf(&b, "  What the cloud has could not be read: %s\n", v.Failure)
	}
	v.aboutCLB(&b, a)
	v.aboutListeners(&b)
	section(&b, len(v.LeftOut), "Left out, or otherwise than the manifests say", func(w *tabwriter.Writer) {
		for _, s := range v.LeftOut {
			fmt.Fprintf(w, "  %s\t%s\t%s\n", s.Object, s.Reason, s.Message)
		}
	})
	section(&b, len(v.Changes), "What would be changed now (kubectl clb plan says when it is safe)", func(w *tabwriter.Writer) {
		for _, c := range v.Changes {
			fmt.Fprintf(w, "  %s\n", c)
		}
	})
	section(&b, len(v.Conditions), "Conditions", func(w *tabwriter.Writer) {
		for _, c := range v.Conditions {
			at, _ := time.Parse(time.RFC3339, c.At)
			fmt.Fprintf(w, "  %s\t%s\t%s\t%s\t%s\n", c.Type, c.Status, age(at, now), c.Reason, c.Message)
		}
	})
	section(&b, len(v.Events), "Latest Events", func(w *tabwriter.Writer) {
		for _, e := range v.Events {
			at, _ := time.Parse(time.RFC3339, e.At)
			times := ""
			if e.Count > 1 {
				times = fmt.Sprintf("x%d", e.Count)
			}
			fmt.Fprintf(w, "  %s\t%s\t%s\t%s\t%s\n", age(at, now), times, e.Type, e.Reason, e.Message)
		}
	})
	return b.String()
}

// section writes a heading and a table, if there is anything in it.
func section(b *strings.Builder, n int, heading string, rows func(w *tabwriter.Writer)) {
	if n == 0 {
		return
	}
	fmt.Fprintf(b, "%s:\n", heading)
	w := tabwriter.NewWriter(b, 0, 0, 2, ' ', 0)
	rows(w)
	_ = w.Flush()
}

func (v told) aboutCLB(b *strings.Builder, a about) {
	switch {
	case v.CLB != nil:
		kind := "public"
		if v.CLB.Internal {
			kind = "internal"
		}
		if v.CLB.Region != "" {
			kind += " in " + v.CLB.Region
		}
		whose := "made for this Service, and goes with it"
		if !v.CLB.Ours {
			whose = "not made for this Service: its settings are left as they are, and it stays when the Service goes"
		}
		fmt.Fprintf(b, "  CLB %s %q, %s, at %s: %s\n", v.CLB.ID, v.CLB.Name, kind, cmp.Or(strings.Join(v.CLB.Addresses, ", "), "no address"), whose)
		fmt.Fprintf(b, "  with %s\n", v.CLB.Settings)
	case a.looked && v.Failure == "":
		fmt.Fprintf(b, "  It has no CLB.\n")
	case !a.looked:
		var at []string
		for _, in := range a.service.Status.LoadBalancer.Ingress {
			at = append(at, in.IP+in.Hostname)
		}
		fmt.Fprintf(b, "  CLB %s, at %s\n", cmp.Or(a.service.Annotations[loadBalancerID], "none"), cmp.Or(strings.Join(at, ", "), "no address"))
	}
}

func (v told) aboutListeners(b *strings.Builder) {
	for _, l := range v.Listeners {
		if !l.Ours {
			fmt.Fprintf(b, "Listener %s (%s): somebody else's, never touched\n", l.Listener, l.ID)
			continue
		}
		if l.ByRules {
			fmt.Fprintf(b, "Listener %s (%s), by its rules:\n", l.Listener, l.ID)
			continue
		}
		fmt.Fprintf(b, "Listener %s (%s), health check %s:\n", l.Listener, l.ID, l.Check)
		if len(l.Targets) == 0 {
			fmt.Fprintf(b, "  no targets\n")
		}
		w := tabwriter.NewWriter(b, 0, 0, 2, ' ', 0)
		for _, t := range l.Targets {
			note := ""
			switch {
			case t.Wanted == nil:
				note = "is to go"
			case *t.Wanted != t.Weight:
				note = fmt.Sprintf("is to have weight %d", *t.Wanted)
			case t.Weight == 0:
				note = "gets no new connections"
			}
			fmt.Fprintf(w, "  %s\t%s\tweight %d\t%s\t%s\n", t.Target, t.Node, t.Weight, t.Health, note)
		}
		_ = w.Flush()
	}
}
