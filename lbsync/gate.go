// SPDX-License-Identifier: Apache-2.0

package lbsync

import (
	"cmp"
	"fmt"
	"net/netip"
	"strings"
	"time"
)

// Why the readiness gate of a pod is open, or not: the reasons of its condition.
const (
	GateHealthy        Reason = "TargetHealthy"    // the pod, or its node, is a healthy target everywhere
	GateWaiting        Reason = "WaitingForTarget" // the only one of a gate that is closed
	GateNoLoadBalancer Reason = "NoLoadBalancer"   // no Service of ours selects the pod
	GateNothing        Reason = "NothingToWaitFor" // the pod's node cannot become healthy before the pod is ready, or is to be no target
	GateDeadline       Reason = "DeadlineExceeded" // whatever is still not healthy
)

// GateSettings is what the cloud config says about readiness gates.
type GateSettings struct {
	Enabled bool // without, the gates stay closed
	// NodeAgent says that a node agent with --readiness-gate serves NodePorts on all nodes: a pod that only its
	// gate keeps from being ready is an endpoint of its node there, as it is for Desired.
	NodeAgent bool
	Deadline  time.Duration // how long a gate stays closed at most; 0: Timing.HealthDeadline
}

// GatedPod is a pod whose gate is closed.
type GatedPod struct {
	Node      string
	Addresses []netip.Addr // of each family
	Since     time.Time    // since when nothing but the gate has kept it from being ready
}

// GateService is a Service as the gates of its pods see it: computed once for all of them.
type GateService struct {
	Actual LoadBalancer       // its CLB; the zero value while there is none, or none is known
	Health map[Binding]Health // of Actual's targets; nil: not read

	name   string // "namespace/name"
	stuck  string // why nobody works on the CLB; "": somebody does
	unsure bool   // the instance of some node is not known yet
	naming naming
	hosts  *Hosts
	left   map[string]Skip // nodes that are left out, or drain
	ports  []gatePort
}

type gatePort struct {
	ListenerKey
	nodePort  uint16
	local     bool
	early     bool // gated pods are endpoints
	endpoints endpoints
	direct    bool
	pods      map[netip.Addr]Target // with direct, of all endpoints
	desired   map[Binding]int       // of the whole CLB
}

// GateService returns how the gates of the pods of a Service, one of the snapshot's, see it. unsure says that
// the instance of some node has never been answered.
func (s Snapshot) GateService(svc Service, actual LoadBalancer, unsure bool) GateService {
	v := GateService{Actual: actual, name: svc.Namespace + "/" + svc.Name, unsure: unsure, hosts: s.shared(), left: map[string]Skip{}}
	desired, skips := Desired(s)
	desired = Complete(actual, desired) // nobody waits for a listener that waits for its certificate
	version := svc.IPVersion(s.CLB)
	v.naming = s.naming(svc)
	for _, skip := range skips {
		if node, ok := strings.CutPrefix(skip.Object, "node "); ok {
			v.left[node] = skip
		}
		if skip.Blocking && v.stuck == "" && (skip.Service == "" || skip.Service == svc.UID) {
			v.stuck = skip.Message
		}
	}
	for _, port := range svc.Spec.Ports {
		listeners, _ := s.listeners(svc, port)
		if svc.Options.ProtocolUnknown(port.Port) {
			listeners = desired.at(svc, port)
		}
		for _, listener := range listeners {
			if desired.Listeners[listener.ListenerKey].Name != ListenerName(string(svc.UID)) || listener.Protocol.layer7() && !listener.Rule() {
				continue // left out, another Service's, or without targets
			}
			p := gatePort{ListenerKey: listener.ListenerKey, nodePort: uint16(port.NodePort), local: local(svc),
				early: local(svc) && s.Settings.Gate.NodeAgent, desired: desired.Targets, direct: s.Settings.Direct(svc)}
			if p.direct {
				p.pods = map[netip.Addr]Target{}
				pods, _ := podsOf(svc, port, version.family())
				for _, one := range pods {
					p.pods[one.target.IP] = one.target
				}
			} else {
				p.endpoints = endpointsOf(svc, port, version.family())
			}
			v.ports = append(v.ports, p)
		}
	}
	return v
}

// Gate is what becomes of a gate now.
type Gate struct {
	Open    bool
	Reason  Reason
	Message string        // for people
	Again   time.Duration // when to look again; 0 if Open
}

// DecideGate decides about the gate of a pod that the Services select. It opens once the pod's node, or the pod itself
// where pods are the targets, is a healthy target, with a weight, of every listener of each of them.
//
// It does not wait for what cannot come. Under Local a node without a ready pod answers CLB's health check
// with 503 and drops what comes to the NodePort: if the pod that waits is the only one there, its node would
// become healthy only after the pod became ready, and the pod only after the node. Under Cluster it is the
// same for the first pod of a Service. A node agent that serves such pods early breaks the circle for Local.
func DecideGate(pod GatedPod, services []GateService, now time.Time, s Settings) Gate {
	if len(services) == 0 {
		return Gate{Open: true, Reason: GateNoLoadBalancer, Message: "No Service of type LoadBalancer that this controller serves selects the pod"}
	}
	var healthy, nodes, nothing, waiting []string
	for _, svc := range services {
		switch state, why := svc.look(pod); state {
		case passes:
			if svc.ports[0].direct {
				healthy = append(healthy, fmt.Sprintf("The pod is a healthy target of %s", svc.name))
			} else {
				nodes = append(nodes, svc.name)
			}
		case pointless:
			nothing = append(nothing, why)
		default:
			waiting = append(waiting, why)
		}
	}
	if len(nodes) > 0 {
		healthy = append(healthy, fmt.Sprintf("Node %s is a healthy target of %s", pod.Node, strings.Join(nodes, ", ")))
	}
	deadline := cmp.Or(s.Gate.Deadline, s.Timing.HealthDeadline)
	left := deadline - now.Sub(pod.Since)
	switch {
	case len(waiting) > 0 && left > 0:
		return Gate{Reason: GateWaiting, Message: text(waiting), Again: min(s.Timing.Poll, left)}
	case len(waiting) > 0:
		return Gate{Open: true, Reason: GateDeadline, Message: fmt.Sprintf("Not waiting any longer than %s: %s", deadline, text(waiting))}
	case len(healthy) > 0:
		return Gate{Open: true, Reason: GateHealthy, Message: text(healthy)}
	}
	return Gate{Open: true, Reason: GateNothing, Message: text(nothing)}
}

// text joins sentences and bounds them, as conditions' messages are.
func text(sentences []string) string {
	joined := strings.Join(sentences, "; ")
	if len(joined) > conditionMax {
		return strings.ToValidUTF8(joined[:conditionMax], "") + "…"
	}
	return joined
}

// gateState says whether a pod on a node has to wait for a Service.
type gateState int

const (
	mustWait  gateState = iota
	passes              // what there is to wait for has come
	pointless           // it will not come before the gate opens
)

// look says whether the pod has to wait for the Service, and why, or why not. It waits as long as
// one listener has it wait; a Service passes if one listener does and the others have nothing to wait for.
func (v GateService) look(pod GatedPod) (gateState, string) {
	switch {
	case v.stuck != "":
		return pointless, fmt.Sprintf("the CLB of Service %s is not changed until this is mended: %s", v.name, v.stuck)
	case len(v.ports) == 0:
		return pointless, fmt.Sprintf("Service %s has no port that CLB could serve", v.name)
	}
	state, because := pointless, ""
	for _, p := range v.ports {
		look := v.node
		if p.direct {
			look = v.pod
		}
		switch s, why := look(p, pod); {
		case s == mustWait:
			return mustWait, why
		case s == passes:
			state = passes
		case because == "":
			because = why
		}
	}
	return state, because
}

// pod is look for one listener whose targets are pods.
func (v GateService) pod(p gatePort, pod GatedPod) (gateState, string) {
	var target Target
	for _, a := range pod.Addresses {
		if t, is := p.pods[a]; is {
			target = t
		}
	}
	if target == (Target{}) {
		return mustWait, fmt.Sprintf("the pod is no endpoint of Service %s yet", v.name)
	}
	weight, wanted := p.desired[Binding{Listener: p.ListenerKey, Target: target}]
	switch {
	case !wanted:
		return pointless, fmt.Sprintf("%s is to be no target of %s of Service %s", target, p.ListenerKey, v.name)
	case weight == 0:
		return pointless, fmt.Sprintf("%s is to get no new connections of Service %s", target, v.name)
	}
	return v.healthy(p, target)
}

// node is look for one listener whose targets are nodes.
func (v GateService) node(p gatePort, pod GatedPod) (gateState, string) {
	host, left := v.hosts.byNode[pod.Node], v.left[pod.Node]
	var target Target
	if host != nil {
		target = host.at[v.naming].target
	}
	switch {
	case target == Target{} && v.unsure && (left.Reason == "" || left.Reason == NodeUnresolved):
		return mustWait, fmt.Sprintf("the instance of node %s is not known yet", pod.Node)
	case target == Target{}:
		return pointless, cmp.Or(left.Message, fmt.Sprintf("node %s is not known", pod.Node))
	}
	target.Port = p.nodePort
	return v.port(p, pod.Node, target)
}

// port is node for a target.
func (v GateService) port(p gatePort, node string, target Target) (gateState, string) {
	b := Binding{Listener: p.ListenerKey, Target: target}
	weight, wanted := p.desired[b]
	unserved := p.local && p.endpoints.ready[node] == 0
	switch {
	case unserved && !p.early:
		return pointless, fmt.Sprintf("node %s has no other ready pod of Service %s, so nothing answers CLB there before this pod is ready", node, v.name)
	case !p.local && len(p.endpoints.ready)+len(p.endpoints.serving) == 0:
		return pointless, fmt.Sprintf("Service %s has no ready pod yet, so no node answers CLB before this pod is ready", v.name)
	case wanted && weight == 0:
		return pointless, cmp.Or(v.left[node].Message, fmt.Sprintf("node %s is to get no new connections of Service %s", node, v.name))
	case !wanted && unserved:
		return mustWait, fmt.Sprintf("the pod is no endpoint of Service %s yet", v.name)
	case !wanted:
		return pointless, cmp.Or(v.left[node].Message, fmt.Sprintf("node %s is to be no target of %s of Service %s", node, p.ListenerKey, v.name))
	}
	return v.healthy(p, target)
}

// healthy says whether a target that is wanted has come.
func (v GateService) healthy(p gatePort, target Target) (gateState, string) {
	b := Binding{Listener: p.ListenerKey, Target: target}
	if v.Actual.Targets[b] == 0 {
		return mustWait, fmt.Sprintf("%s is not a target of %s of Service %s yet", target, p.ListenerKey, v.name)
	}
	if health := v.Health[b]; health != Healthy && health != HealthOff {
		return mustWait, fmt.Sprintf("target %s of %s of Service %s is not healthy yet", target, p.ListenerKey, v.name)
	}
	return passes, ""
}
