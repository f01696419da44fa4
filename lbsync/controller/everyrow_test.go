// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/clbsync/clbsync/internal/kubetest"
	"github.com/clbsync/clbsync/lbsync/annotation"
)

// Every row of the table that is honoured is tried, and nothing is tried that has no row. Of those that the controller writes
// there is something to copy from another Service; those that are refused are tried as the table has them.
func TestEveryRowIsTried(t *testing.T) {
	tried, reads := map[string]bool{}, map[string]bool{}
	for _, e := range everyAnnotation() {
		tried[e.name] = true
		key := e.key()
		e = e.complete()
		switch oneWord := strings.Count(key.Value.Type, `"`) == 2; {
		case key.Name == "" || key.Refused != "" || key.ReadOnly:
			t.Errorf("%s: tried as one that is honoured, and no row says so", e)
		case e.value == "" || e.bad == "" || e.right == "" || e.reads == nil || (e.other == "") != oneWord || e.other == e.value:
			t.Errorf("%s: a value, another one (there is none of one word alone), a bad one and what is right are not all given: %+v", e, e)
		case (e.with == e.without) != (e.inert != ""):
			t.Errorf("%s: with it %q is read, and without it %q: what does it decide?", e, e.with, e.without)
		case (key.Fixed || key.Name == annotation.ExistingID) == (e.stays == [3]string{}):
			t.Errorf("%s: what is taken at creation only, and nothing else, has Events that say so: %q", e, e.stays)
		case reads[e.String()]:
			t.Errorf("%s stands twice", e)
		}
		reads[e.String()] = true
	}
	for _, k := range slices.Concat(annotation.Keys, annotation.PodKeys) {
		_, copied := written()[k.Name]
		if honoured := k.Refused == "" && !k.ReadOnly; honoured != tried[k.Name] || k.ReadOnly != copied {
			t.Errorf("%s: honoured %v and tried %v, written by a controller %v and copied %v", k.Name, honoured, tried[k.Name], k.ReadOnly, copied)
		}
	}
	for name := range written() {
		if !slices.ContainsFunc(annotation.Keys, func(k annotation.Key) bool { return k.Name == name }) {
			t.Errorf("%s: there is no such row", name)
		}
	}
}

// What is not possible is said: from the start and of a Service that lives. It costs nothing else, unless the table says that
// it stops the Service, and what it asked for is forgotten when it goes.
func TestEveryRefusedAnnotationIsToldAndCostsNothingElse(t *testing.T) {
	for _, key := range annotation.Keys {
		if key.Refused == "" {
			continue
		}
		t.Run(key.Name, func(t *testing.T) {
			t.Parallel()
			inTrial(t, func(tr *trial) {
				l := &tried{trial: tr, every: every{name: key.Name, endpoints: podsAt(1, 2)}}
				l.make(early, "x")
				l.make(late, "")
				l.pass(time.Minute)
				reason := key.Refused[:min(len(key.Refused), 200)]
				l.says("from the start", early, "BadAnnotation", key.Name, `"x"`, reason)
				want := nodesByID
				if key.Blocking {
					want = "nothing"
				}
				l.want("what is served from the start", l.served(early), want)
				l.want("and without it", l.served(late), nodesByID)
				l.give(late, "x")
				l.pass(time.Minute)
				l.says("added", late, "BadAnnotation", key.Name, `"x"`, reason)
				l.want("added", l.served(late), nodesByID)
				l.give(early, "")
				l.pass(time.Minute)
				l.want("removed", l.served(early), nodesByID)
			})
		})
	}
}

// copied is an annotation that a controller has written, in the manifest of another Service.
type copied struct {
	value string                  // that was copied
	mods  []func(*corev1.Service) // so that there is something to write here
	want  func(l *tried) string   // what is written here; nil: nobody reads or writes it, so it stays
}

func nothing(*tried) string { return "" }

func text(s string) func(*tried) string { return func(*tried) string { return s } }

// written is what is tried of those that a controller writes.
func written() map[string]copied {
	return map[string]copied{
		annotation.LoadBalancerID:                                 {value: "lb-theirs01", want: func(l *tried) string { return l.id(early) }},
		annotation.Applied:                                        {value: annotation.DeleteProtection, mods: []func(*corev1.Service){kubetest.Annotation(annotation.PassToTarget, "true")}, want: text(annotation.PassToTarget)},
		annotation.Region:                                         {value: "ap-shanghai", want: nothing},
		annotation.Ordered:                                        {value: `{"VipIsp":"CTCC"}`, mods: []func(*corev1.Service){kubetest.Annotation(annotation.CreateParams, `{"ProjectId":7}`)}, want: text(`{"ProjectId":7}`)},
		annotation.NatIPv6:                                        {value: "2001:db8::1", want: nothing},
		annotation.Plan:                                           {value: "- clb lb-theirs01", want: nothing},
		annotation.ClientToken:                                    {value: "web"},
		"service.cloud.tencent.com/sync-begin-time":               {value: "2026-01-01T00:00:00Z"},
		"service.cloud.tencent.com/sync-end-time":                 {value: "2026-01-01T00:00:00Z"},
		"service.cloud.tencent.com/status.conditions":             {value: `[{"type":"Ready","status":"True"}]`},
		"service.cloud.tencent.com/loadbalancer-source-endpoints": {value: `{"name":"other"}`},
	}
}

// What a controller has written of one Service does nothing for another one into whose manifest it was copied: that has a CLB
// of its own, and what is written there is its own. It goes when the Service is no load balancer any more.
func TestEveryAnnotationThatAControllerWritesMayBeCopied(t *testing.T) {
	for name, c := range written() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inAccount(t, elsewhere, func(tr *trial) {
				l := &tried{trial: tr, every: every{name: name, mods: c.mods, endpoints: podsAt(1, 2)}}
				reachRegions(l)
				defer l.begin()()
				l.make(late, "")
				l.pass(time.Minute)
				l.make(early, c.value)
				l.pass(2 * time.Minute)
				l.want("what is served", l.served(early), nodesByID)
				l.want("and of the other", l.served(late), nodesByID)
				if l.id(early) == l.id(late) || l.id(early) == "" {
					t.Errorf("one has CLB %q, and the other %q", l.id(early), l.id(late))
				}
				want := c.value
				if c.want != nil {
					want = c.want(l)
				}
				l.want("what it says here", l.service(early).Annotations[name], want)
				l.want("what it costs", l.messages(early), []string(nil))
				id := l.id(early)
				l.edit(early, annotate(name, c.value))
				l.pass(20 * time.Minute)
				l.want("what is served after somebody wrote there", l.id(early)+" "+l.served(early), id+" "+nodesByID)
				if name != annotation.Ordered { // which nothing but this note knows, and which decides about Events alone
					l.want("what it says after somebody wrote there", l.service(early).Annotations[name], want)
					l.want("what that costs", l.messages(early), []string(nil))
				}
				l.edit(early, clusterIP)
				l.pass(5 * time.Minute)
				if c.want != nil {
					want = ""
				}
				l.want("what it says in the end", l.service(early).Annotations[name], want)
				l.want("CLB of the other in the end", l.served(late), nodesByID)
			})
		})
	}
}

// What the controller writes in other networks and modes.
func TestEveryAnnotationThatTheControllerWritesSaysWhatIs(t *testing.T) {
	inAccount(t, elsewhere, func(tr *trial) {
		l := &tried{trial: tr, every: every{endpoints: podsAt(1, 2)}}
		reachRegions(l)
		defer l.begin()()
		l.put(kubetest.Service("far", kubetest.Annotation(annotation.CrossRegion, "ap-shanghai")))
		l.put(kubetest.Service("nat", kubetest.Annotation(annotation.CreateParams, `{"AddressIPVersion":"IPV6"}`)))
		l.put(kubetest.Service("planned", kubetest.Annotation(annotation.Mode, "plan")))
		l.pass(time.Minute)
		l.want("region", l.service("far").Annotations[annotation.Region], "ap-shanghai")
		l.want("address", l.service("nat").Annotations[annotation.NatIPv6], l.of("nat").VIP)
		if plan := l.service("planned").Annotations[annotation.Plan]; !strings.HasPrefix(plan, "+ clb ") {
			t.Errorf("the plan is %q", plan)
		}
		l.edit("planned", annotate(annotation.Mode, ""))
		l.pass(time.Minute)
		l.want("plan of one that is carried out", l.service("planned").Annotations[annotation.Plan], "")
	})
}
