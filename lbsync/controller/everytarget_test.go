// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/clbsync/clbsync/internal/kubetest"
	"github.com/clbsync/clbsync/lbsync"
	"github.com/clbsync/clbsync/lbsync/annotation"
)

const trueOrFalse = `want "true" or "false"`

// held are removals that last: none in the tests of what is to be removed at once.
func unheld(l *tried) { l.config.Settings.Timing.RemovalHold = 0 }

func ofTargets() []every {
	local := kubetest.Local(31000)
	three := []discoveryv1.Endpoint{kubetest.Ready("n1", "10.1.1.1"), kubetest.Ready("n1", "10.1.1.2"), kubetest.Ready("n2", "10.1.2.1")}
	bound := []func(*corev1.Service){local, kubetest.Annotation(annotation.BindNodesOfPods, "true")}
	return []every{
		{name: annotation.BindNodesOfPods, mods: []func(*corev1.Service){local}, endpoints: at(1), value: "true", other: "false", bad: "True", right: trueOrFalse, reads: (*tried).served,
			without: nodesByID, with: "TCP:80 ins-00000001=10", changed: nodesByID},
		{name: annotation.WeightByPods, mods: bound, endpoints: three, value: "true", other: "false", bad: "1", right: trueOrFalse, reads: (*tried).served,
			without: "TCP:80 ins-00000001=10 ins-00000002=10", with: "TCP:80 ins-00000001=2 ins-00000002=1", changed: "TCP:80 ins-00000001=10 ins-00000002=10"},
		{name: annotation.Backends, setup: func(l *tried) {
			unheld(l)
			l.put(kubetest.Node(1, labelled("group", "a")))
			l.put(kubetest.Node(2, labelled("group", "b")))
		}, value: "group=a", other: "group in (b)", bad: "group=(a", right: "a label selector like", reads: (*tried).served,
			without: nodesByID, with: "TCP:80 ins-00000001=10", changed: "TCP:80 ins-00000002=10", after: func(l *tried) {
				l.edit(early, annotate(annotation.Backends, "group=nowhere"))
				l.becomes("a label that no node has", early, "TCP:80 ins-00000002=10")
				l.says("a label that no node has", early, "NodeNotSelected", "matches none of the 3 eligible nodes: the present targets stay")
				l.edit(early, annotate(annotation.Backends, "group in (b)"))
				l.put(kubetest.Node(3, labelled("group", "b")))
				l.becomes("a node that gets the label", early, "TCP:80 ins-00000002=10 ins-00000003=10")
				l.put(kubetest.Node(3))
				l.becomes("a node that loses it", early, "TCP:80 ins-00000002=10")
			}},
		{name: annotation.AllowRemoval, setup: func(l *tried) { l.config.Settings.NotReady = lbsync.RemoveNotReady }, value: "true", other: "false", bad: "yes", right: trueOrFalse, reads: removal,
			without: "held", with: "released", changed: "held"},
	}
}

// removal says what becomes of the targets of a Service when most nodes of the cluster are not ready any more.
func removal(l *tried, service string) string {
	for _, n := range []int{1, 2} {
		l.put(kubetest.Node(n, notReady))
	}
	l.pass(3 * time.Minute)
	got := l.served(service)
	for _, n := range []int{1, 2} {
		l.put(kubetest.Node(n))
	}
	l.pass(3 * time.Minute)
	switch got {
	case nodesByID:
		return "held"
	case "TCP:80 ins-00000003=10":
		return "released"
	}
	return got
}

func ofPods() []every {
	weights := func(text string) string {
		return `{"defaultWeight":20,"groups":[{"key":{"proto":"TCP","port":80},"statefulSets":[{"name":"web","weights":[{"weight":` + text + `,"podIndexes":[1]}]}]}]}`
	}
	pods := "TCP:80 10.1.0.1=10 10.1.0.2=10"
	mods := []func(*corev1.Service){direct}
	leaving := func(state func(node, address string) discoveryv1.Endpoint) func(*tried, string) string {
		return func(l *tried, service string) string {
			l.put(kubetest.Slice(service, podsAt(1, 2)...))
			l.pass(time.Minute)
			l.put(kubetest.Slice(service, of(2, kubetest.Ready), of(1, state)))
			l.pass(2 * time.Minute)
			got := l.served(service)
			l.put(kubetest.Slice(service, podsAt(1, 2)...))
			l.pass(time.Minute)
			return got
		}
	}
	return []every{
		{name: annotation.DirectAccess, setup: unheld, value: "true", other: "false", bad: "yes", right: trueOrFalse, reads: (*tried).served,
			without: nodesByID, with: pods, changed: nodesByID},
		{name: annotation.RSWeight, mods: mods, value: weights("5"), other: `{"defaultWeight":0,"groups":[{"key":{"proto":"TCP","port":80},"statefulSets":[{"name":"web","weights":[{"weight":100,"podIndexes":[2]}]}]}]}`,
			bad: weights("101"), right: "weight is 101, not 0 to 100", reads: (*tried).served,
			without: pods, with: "TCP:80 10.1.0.1=5 10.1.0.2=20", changed: "TCP:80 10.1.0.1=0 10.1.0.2=100"},
		{name: annotation.CustomWeight, mods: []func(*corev1.Service){direct, func(s *corev1.Service) { s.Spec.Selector = map[string]string{"app": s.Name} }}, set: weigh,
			value: "50", other: "0", bad: "101", right: "want a whole number, 0 to 100", reads: (*tried).served, without: pods, with: "TCP:80 10.1.0.1=50 10.1.0.2=10", changed: "TCP:80 10.1.0.1=0 10.1.0.2=10"},
		{name: annotation.GraceShutdown, mods: mods, value: "true", other: "false", bad: "perhaps", right: trueOrFalse, reads: leaving(ending),
			without: "TCP:80 10.1.0.2=10", with: "TCP:80 10.1.0.1=0 10.1.0.2=10", changed: "TCP:80 10.1.0.2=10"},
		{name: annotation.GraceShutdownAll, mods: mods, value: "true", other: "false", bad: "perhaps", right: trueOrFalse, reads: leaving(kubetest.Unready),
			without: "TCP:80 10.1.0.2=10", with: "TCP:80 10.1.0.1=0 10.1.0.2=10", changed: "TCP:80 10.1.0.2=10"},
	}
}

// weigh gives the first pod of a Service a weight of its own.
func weigh(l *tried, service, value string) {
	pod := weighing(1, value)
	pod.Name, pod.UID, pod.Labels["app"] = service+"-1", types.UID(service+"-1"), service
	if value == "" {
		pod.Annotations = nil
	}
	l.put(pod)
	l.put(kubetest.Slice(service, kubetest.OfPod(kubetest.Ready("n2", "10.1.0.1"), service+"-1"), of(2, kubetest.Ready)))
}

func ofTheController() []every {
	// follows says whether what its author changes of a Service comes to its listener.
	follows := func(l *tried, service string) string {
		was := l.sticky(service)
		l.edit(service, func(s *corev1.Service) {
			s.Spec.SessionAffinity = corev1.ServiceAffinityClientIP
			if was == "60" {
				s.Spec.SessionAffinity = corev1.ServiceAffinityNone
			}
			s.Spec.SessionAffinityConfig = &corev1.SessionAffinityConfig{ClientIP: &corev1.ClientIPConfig{TimeoutSeconds: new(int32(60))}}
		})
		l.pass(time.Minute)
		switch l.sticky(service) {
		case "":
			return "no CLB"
		case was:
			return "left alone"
		}
		return "follows"
	}
	planned := func(l *tried, service string) string {
		got := follows(l, service)
		if l.service(service).Annotations[annotation.Plan] != "" {
			got += " and planned"
		}
		return got
	}
	return []every{
		{name: annotation.TKEMode, value: "skip", bad: "skipped", right: `want "skip"`, reads: follows, without: "follows", with: "no CLB", added: "left alone"},
		{name: annotation.Mode, value: "plan", bad: "planned", right: `want "plan"`, reads: planned, without: "follows", with: "no CLB and planned", added: "left alone and planned", spoilt: "left alone"},
		{name: annotation.IPMode, value: "Proxy", other: "VIP", bad: "proxy", right: `want "VIP" or "Proxy"`, reads: func(l *tried, service string) string {
			var out []string
			for _, in := range l.service(service).Status.LoadBalancer.Ingress {
				if in.IPMode != nil {
					out = append(out, string(*in.IPMode))
				}
			}
			return strings.Join(out, " ")
		}, without: "VIP", with: "Proxy", changed: "VIP"},
		{name: annotation.Drift, setup: func(l *tried) { l.config.Verify = time.Minute }, value: "report", other: "repair", bad: "reports", right: `want "repair" or "report"`, reads: drifts,
			without: "repaired and told", with: "left and told", changed: "repaired and told"},
	}
}

// sticky is how long the listener of a Service keeps a client at its target, in seconds; "": there is none.
func (l *tried) sticky(service string) string {
	if lb := l.of(service); lb != nil && len(lb.Listeners) == 1 {
		return fmt.Sprint(lb.Listeners[0].SessionExpire)
	}
	return ""
}

// drifts changes the weight of a target in the console, and says what becomes of it.
func drifts(l *tried, service string) string {
	lb := l.of(service)
	if lb == nil || len(lb.Listeners) != 1 || len(lb.Listeners[0].Targets) != 3 {
		return "not served"
	}
	told := len(l.events(service))
	weight := 3
	if lb.Listeners[0].Targets[0].Weight == 3 {
		weight = 4
	}
	request := map[string]any{"LoadBalancerId": lb.ID, "ListenerId": lb.Listeners[0].ID,
		"Targets": []map[string]any{{"InstanceId": lb.Listeners[0].Targets[0].Instance, "Port": 30080, "Weight": weight}}}
	if err := l.sim.Console(l.Context(), "ModifyTargetWeight", request, nil); err != nil {
		l.Fatal(err)
	}
	l.pass(4 * time.Minute)
	got := "repaired"
	for _, t := range l.of(service).Listeners[0].Targets {
		if t.Weight == weight {
			got = "left"
		}
	}
	if len(l.events(service)) > told || strings.Contains(strings.Join(l.events(service), " "), "DriftDetected x") {
		got += " and told"
	}
	return got
}
