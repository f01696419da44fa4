// SPDX-License-Identifier: Apache-2.0

package lbsync

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"

	"github.com/clbsync/clbsync/lbsync/annotation"
)

const nameMax = 80

// Desired returns the CLB that the snapshot's Services should have, and what was left out or changed, and
// why. It is total: whatever is wrong with a manifest becomes a Skip and costs only what it touches. If
// Blocked(skips), the CLB is not to be changed at all. There may be no Services on a CLB that somebody made: while the API server
// refuses what is written to them, say.
func Desired(s Snapshot) (LoadBalancer, []Skip) {
	first := Service{Service: &corev1.Service{}}
	if len(s.Services) > 0 {
		first = s.Services[0]
	}
	instance, skips := s.instance(first)
	lb := LoadBalancer{
		Instance:  instance,
		Listeners: map[ListenerKey]Listener{},
		Targets:   map[Binding]int{},
		Idle:      map[ListenerKey]bool{},
		Answering: map[ListenerKey]Answering{},

		TargetQuota:    s.TargetQuota,
		RemovalAllowed: first.Options.AllowRemoval,
	}
	if s.Existing != "" {
		lb.Present, lb.Instance, skips = true, Instance{ID: s.Existing}, nil
		lb.RemovalAllowed = false // of each Service by itself
	}
	var hosts *Hosts
	var parts []part
	uses := false
	for _, svc := range s.Services {
		if svc.Leaving || !s.Settings.Wants(svc.Service) {
			if s.Existing != "" && (svc.Options.Skip || svc.Options.PlanOnly) {
				parts = append(parts, part{svc, s.Actual.Of(svc.UID, LoadBalancer{})})
			}
			continue
		}
		if hosts == nil {
			lb.Present = true
			hosts = s.shared()
			lb.Known, lb.Doubtful = hosts.known, hosts.doubtful
			skips = append(skips, hosts.skips...)
		}
		if s.Existing == "" {
			skips = append(skips, s.service(&lb, svc, hosts)...)
			continue
		}
		p := part{svc, LoadBalancer{Listeners: map[ListenerKey]Listener{}, Targets: map[Binding]int{}, Idle: map[ListenerKey]bool{}, Answering: map[ListenerKey]Answering{}, RemovalAllowed: svc.Options.AllowRemoval}}
		switch own, stays := s.stays(svc); {
		case stays:
			p.lb = s.Actual.Of(svc.UID, LoadBalancer{})
			skips = append(skips, own...)
		default:
			uses = true
			skips = append(skips, of(svc, append(s.service(&p.lb, svc, hosts), s.adoption(svc)...))...)
			p.lb.AccessInDoubt = s.accessInDoubt(svc)
			p.lb = p.lb.keepUnclear(s.Actual).opensNothing(s.Actual)
		}
		parts = append(parts, p)
	}
	if s.Existing != "" {
		skips = append(skips, s.share(&lb, parts)...)
		lb.Instance.UsedBy = s.usedBy(lb, uses)
	}
	switch doubt := s.accessInDoubt(first); {
	case !lb.Present || s.theirs(first):
	case doubt && s.CLB != nil:
		lb.AccessInDoubt = true
		lb.Instance.Access, lb.Instance.SecurityGroups, lb.Instance.PassToTarget = nil, nil, nil
	default:
		ranges, _ := SourceRanges(first)
		lb.Instance.Access = access(ranges, lb.Listeners, lb.Unclear)
	}
	return lb, skips
}

// service adds what one Service asks for to lb.
func (s Snapshot) service(lb *LoadBalancer, svc Service, hosts *Hosts) []Skip {
	ranges, wrong := SourceRanges(svc)
	skips := append(manifestSkips(svc, s.served(svc)), rangeSkips(svc, ranges, wrong, s.served(svc), s.theirs(svc))...)
	skips = append(skips, svc.Config.skips()...)
	skips = append(skips, s.bandwidthSkips(svc)...)
	skips = append(skips, familySkips(svc, s.CLB)...)
	skips = append(skips, ignoredSkips(svc, s.Settings.Direct(svc))...)
	var choice choice
	if s.Settings.Direct(svc) {
		skips = append(skips, podSkips(svc)...)
	} else {
		var notSelected []Skip
		choice, notSelected = hosts.selected(svc, s.naming(svc))
		skips = append(skips, notSelected...)
	}
	for _, port := range svc.Spec.Ports {
		if svc.Options.ProtocolUnknown(port.Port) {
			skips = append(skips, s.unclear(lb, svc, port, choice, hosts)...)
			continue
		}
		listeners, portSkips := s.listeners(svc, port)
		skips = append(skips, portSkips...)
		for _, listener := range listeners {
			skips = append(skips, s.add(lb, svc, port, listener, choice, hosts)...)
		}
	}
	return skips
}

// add adds a listener of a Service port to lb, with its targets.
func (s Snapshot) add(lb *LoadBalancer, svc Service, port corev1.ServicePort, listener wanted, choice choice, hosts *Hosts) []Skip {
	if other, taken := lb.taken(listener.Listener); taken {
		if listener.Rule() {
			return nil // said of its parent
		}
		return []Skip{{Object: portName(port), Reason: PortTaken, Warning: true,
			Message: fmt.Sprintf("Port %s of %s/%s is left out: the CLB's listener %s belongs to %s", portName(port), svc.Namespace, svc.Name, other.ListenerKey, other.Name)}}
	}
	lb.Listeners[listener.ListenerKey] = listener.Listener
	if listener.waits {
		if lb.Waiting == nil {
			lb.Waiting = map[ListenerKey]bool{}
		}
		lb.Waiting[listener.ListenerKey] = true
	}
	if listener.Protocol.layer7() && !listener.Rule() {
		return nil // its rules have the targets
	}
	return s.bind(lb, svc, port, listener.ListenerKey, choice, hosts)
}

// taken returns the listener that has the place of a new one: the port, in its transport. The place of a rule is taken if its
// parent found its own taken.
func (l LoadBalancer) taken(by Listener) (Listener, bool) {
	if by.Rule() {
		parent, there := l.Listeners[by.Parent()]
		return parent, !there || parent.Name != by.Name
	}
	for _, p := range protocols {
		k := ListenerKey{Protocol: p, Port: by.Port}
		if other, there := l.Listeners[k]; there && k.port() == by.port() {
			return other, true
		}
	}
	return Listener{}, false
}

// served reports whether there is a CLB that serves the Service. What is wrong with the annotations that say which CLB to make is
// no reason then to leave its targets as they are while its pods move on.
func (s Snapshot) served(svc Service) bool {
	if s.Existing != "" {
		return s.Actual.Has(svc.UID)
	}
	return s.CLB != nil
}

// theirs reports whether the Service's CLB is, or is to be, one that somebody made.
func (s Snapshot) theirs(svc Service) bool {
	return s.Existing != "" || svc.Options.ExistingID != "" && s.CLB == nil
}

// What is left as it is where an annotation cannot be followed.
const (
	leavesAll   = "nothing is created or changed for the Service until it is mended"
	leavesCLB   = "the CLB stays as it is, and its listeners and targets go on"
	leavesDoors = "the CLB lets in whom it let in before, and no port is opened that is not open yet, until it is mended; everything else goes on"
)

// manifestSkips returns what is wrong with the Service as a whole; served: see Snapshot.served.
func manifestSkips(svc Service, served bool) []Skip {
	skips := handsOff(svc)
	for _, p := range svc.Problems {
		skip := Skip{Object: "annotation " + p.Name, Reason: BadAnnotation, Warning: true, Blocking: p.Blocking, Creation: p.Creation || p.Access}
		effect := "it has no effect"
		switch {
		case p.Access && served:
			effect, skip.Blocking = leavesDoors, false
		case p.Creation && served:
			effect, skip.Blocking = leavesCLB, false
		case p.Blocking:
			effect = leavesAll
		case p.Name == annotation.SpecifyProtocol:
			effect = "a port of which it cannot be followed keeps the listener that it has, and gets none where there is none"
		}
		skip.Message = fmt.Sprintf("Annotation %s has the value %q: %s; %s", p.Name, p.Value, p.Reason, effect)
		skips = append(skips, skip)
	}
	return skips
}

func local(svc Service) bool {
	return svc.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal
}

func portName(port corev1.ServicePort) string {
	if port.Name != "" {
		return port.Name
	}
	return fmt.Sprintf("%d/%s", port.Port, port.Protocol)
}

// instanceName is what people see in the console. CLB takes 80 characters.
func instanceName(cluster string, svc *corev1.Service) string {
	name := fmt.Sprintf("%s_%s_%s", cluster, svc.Namespace, svc.Name)
	return name[:min(len(name), nameMax)]
}
