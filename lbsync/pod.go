// SPDX-License-Identifier: Apache-2.0

package lbsync

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/clbsync/clbsync/lbsync/annotation"
)

// Direct reports whether the Service's targets are its pods, by their addresses, in place of nodes.
func (s Settings) Direct(svc Service) bool {
	if d := svc.Options.DirectAccess; d != nil {
		return *d
	}
	return s.DirectAccess
}

// podState is what an endpoint is good for, the best first.
type podState int

const (
	podReady   podState = iota // takes new connections
	podServing                 // is going and still serves
	podWaiting                 // is not ready, and not going: it starts, or fails its probe, or cannot be reached for now
	podEnding                  // is going and does not serve any more
)

// pod is an endpoint of a Service port.
type pod struct {
	candidate
	node  string // "" if it is not known
	uid   types.UID
	state podState
}

// podsOf reads the slices of a family for one port of a Service. An endpoint that stands in two slices counts once, in
// its best state: while a pod moves from slice to slice, both are there for a moment. One that our own readiness
// gate alone holds up counts as ready: it has to be bound and healthy before the gate opens. former are the pods, without
// a port, that only slices have which are out of date: at which port they serve is not known.
func podsOf(svc Service, port corev1.ServicePort, family discoveryv1.AddressType) (out, former []pod) {
	at := map[Target]int{}
	known := map[netip.Addr]bool{}
	for _, slice := range svc.Slices {
		number := portIn(slice, port)
		if slice.AddressType != family || number == 0 && !svc.outdated(slice, port) {
			continue
		}
		for _, e := range slice.Endpoints {
			p, ok := svc.podOf(e, number)
			if !ok {
				continue
			}
			if number == 0 {
				former = append(former, p)
				continue
			}
			known[p.target.IP] = true
			if i, twin := at[p.target]; !twin {
				at[p.target] = len(out)
				out = append(out, p)
			} else if p.state <= out[i].state {
				out[i] = p
			}
		}
	}
	return out, slices.DeleteFunc(former, func(p pod) bool { return known[p.target.IP] })
}

func (s Service) podOf(e discoveryv1.Endpoint, port uint16) (pod, bool) {
	if len(e.Addresses) == 0 {
		return pod{}, false
	}
	ip, err := netip.ParseAddr(e.Addresses[0])
	if err != nil {
		return pod{}, false
	}
	p := pod{candidate: candidate{target: Target{IP: ip.Unmap(), Port: port}, name: e.Addresses[0]}}
	if e.NodeName != nil {
		p.node = *e.NodeName
	}
	if e.Zone != nil {
		p.zone = *e.Zone
	}
	if ref := e.TargetRef; ref != nil && ref.Kind == "Pod" {
		p.uid, p.name = ref.UID, ref.Name
	}
	terminating := isTrue(e.Conditions.Terminating, false)
	switch {
	case isTrue(e.Conditions.Ready, true), s.admits(e):
		p.state = podReady
	case terminating && isTrue(e.Conditions.Serving, true):
		p.state = podServing
	case terminating:
		p.state = podEnding
	default:
		p.state = podWaiting
	}
	return p, true
}

// answers returns what is known of the addresses of endpoints.
func answers(pods []pod, hosts *Hosts) map[netip.Addr]Answer {
	out := make(map[netip.Addr]Answer, len(pods))
	for _, p := range pods {
		answer := Silent
		switch {
		case p.state <= podServing:
			answer = Answers
		case p.state == podWaiting && hosts.notReady[p.node]:
			answer = Unknowns
		}
		if before, twice := out[p.target.IP]; !twice || answer == Answers || before == Silent {
			out[p.target.IP] = answer
		}
	}
	return out
}

// addresses returns the addresses of pods; nil for none.
func addresses(pods []pod) map[netip.Addr]bool {
	var out map[netip.Addr]bool
	for _, p := range pods {
		if out == nil {
			out = map[netip.Addr]bool{}
		}
		out[p.target.IP] = true
	}
	return out
}

// directBound is what comes of the pods of a port.
type directBound struct {
	bound  []bound
	idle   bool // nobody serves, and nobody is there who could; or what is there is to get nothing
	onHost int  // pods that are left out since they are in the network of their node
	served int  // pods that serve, those that are left out among them
}

// bindPods returns the pods that a listener is bound to, with their weights.
//
// A pod that is going, or whose node is about to be deleted, has weight 0: it keeps its connections and gets no new
// ones. If that leaves nobody, it keeps its weight: a pod that is going is better than none. A pod that is not ready is
// no target, or one of weight 0 if the Service wants that. One that somebody gave weight 0 keeps it in any case.
func bindPods(svc Service, k ListenerKey, pods []pod, hosts *Hosts) directBound {
	out := directBound{bound: make([]bound, 0, len(pods))}
	var full, drained, closed []bound
	waiting := false
	for i := range pods {
		p := &pods[i]
		if p.state <= podServing {
			out.served++
		}
		if _, node := hosts.known[p.target.Host()]; node {
			out.onHost++
			continue
		}
		b := bound{candidate: &p.candidate, weight: svc.weight(p, k)}
		h := hosts.byNode[p.node]
		switch {
		case p.state == podWaiting:
			waiting = true
			if svc.Options.DrainNotReady {
				closed = append(closed, b)
			}
		case p.state == podEnding:
			if svc.Options.DrainTerminating || svc.Options.DrainNotReady {
				closed = append(closed, b)
			}
		case b.weight == 0:
			closed = append(closed, b)
		case p.state == podServing, h != nil && h.draining == NodeDraining:
			drained = append(drained, b)
		default:
			full = append(full, b)
		}
	}
	if len(full) == 0 {
		full, drained = drained, nil
	}
	out.idle = len(full) == 0 && !waiting && out.onHost == 0
	out.bound = append(out.bound, full...)
	for _, b := range append(drained, closed...) {
		b.weight = 0
		out.bound = append(out.bound, b)
	}
	return out
}

// weight is what a pod gets of a listener's new connections: what its own annotation says counts over what the Service
// says of its StatefulSet and ordinal, and that over the Service's default.
func (s Service) weight(p *pod, k ListenerKey) int {
	if text, set := s.PodWeights[p.uid]; set {
		if w, ok := customWeight(text); ok {
			return w
		}
	}
	o := s.Options.PodWeights
	if o == nil {
		return WeightDefault
	}
	for _, g := range o.Groups {
		if g.Key.Proto != string(k.Protocol) || g.Key.Port != int(k.Port) {
			continue
		}
		for _, set := range g.StatefulSets {
			ordinal, is := ordinalIn(set.Name, p.name)
			for _, w := range set.Weights {
				if is && slices.Contains(w.PodIndexes, ordinal) {
					return *w.Weight
				}
			}
		}
	}
	if o.DefaultWeight != nil {
		return *o.DefaultWeight
	}
	return WeightDefault
}

// ordinalIn returns the ordinal of a pod of a StatefulSet: its name says it.
func ordinalIn(set, pod string) (int, bool) {
	text, is := strings.CutPrefix(pod, set+"-")
	n, err := strconv.Atoi(text)
	return n, is && err == nil && n >= 0 && strconv.Itoa(n) == text
}

// customWeight reads the annotation of a pod.
func customWeight(text string) (int, bool) {
	n, err := strconv.Atoi(text)
	return n, err == nil && n >= 0 && n <= WeightMax && strconv.Itoa(n) == text
}

// podSkips returns what is wrong with the annotations of a Service's pods, in one Skip however many they are: pods of a
// Deployment are wrong all alike.
func podSkips(svc Service) []Skip {
	wrong := map[string]string{}
	for _, slice := range svc.Slices {
		for _, e := range slice.Endpoints {
			if e.TargetRef == nil {
				continue
			}
			if text, set := svc.PodWeights[e.TargetRef.UID]; set {
				if _, ok := customWeight(text); !ok {
					wrong[e.TargetRef.Name] = text
				}
			}
		}
	}
	first := ""
	for name := range wrong {
		if first == "" || cmp.Less(name, first) {
			first = name
		}
	}
	if first == "" {
		return nil
	}
	message := fmt.Sprintf("Pod %s has the annotation %s with the value %q: want a whole number, 0 to %d; the pod has the weight that it would have without", first, annotation.CustomWeight, wrong[first], WeightMax)
	if more := len(wrong) - 1; more > 0 {
		message += fmt.Sprintf("; the same holds for %s", many(more, "other pod", "other pods"))
	}
	return []Skip{{Object: "pod " + first, Reason: BadAnnotation, Warning: true, Message: message}}
}

// ignoredSkips returns a Skip for the annotations that have no effect, since they are about nodes and pods are the
// targets, or the other way round.
func ignoredSkips(svc Service, direct bool) []Skip {
	o := svc.Options
	var names []string
	for _, a := range []struct {
		name   string
		set    bool
		direct bool
	}{
		{annotation.RSWeight, o.PodWeights != nil, true},
		{annotation.GraceShutdown, o.DrainTerminating, true},
		{annotation.GraceShutdownAll, o.DrainNotReady, true},
		{annotation.BindNodesOfPods, o.BindNodesOfPods, false},
		{annotation.WeightByPods, o.WeightByPods, false},
		{annotation.Backends, o.Backends != "", false},
	} {
		if a.set && a.direct != direct {
			names = append(names, a.name)
		}
	}
	var skips []Skip
	if !direct && o.WeightByPods && (!local(svc) || !o.BindNodesOfPods) {
		skips = append(skips, Skip{Object: "annotation " + annotation.WeightByPods, Reason: WeightsIgnored, Warning: true,
			Message: fmt.Sprintf("Annotation %s has no effect: it needs externalTrafficPolicy: Local and %s: \"true\"", annotation.WeightByPods, annotation.BindNodesOfPods)})
	}
	if len(names) == 0 {
		return skips
	}
	message := "%s is about pods as targets, and has no effect: the targets are nodes, without %s: \"true\""
	if direct {
		message = "%s is about nodes as targets, and has no effect: with %s the targets are pods"
	}
	return append(skips, Skip{Object: "annotation " + names[0], Reason: AnnotationIgnored, Warning: true,
		Message: "Annotation " + fmt.Sprintf(message, strings.Join(names, ", "), annotation.DirectAccess)})
}
