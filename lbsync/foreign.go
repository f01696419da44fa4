// SPDX-License-Identifier: Apache-2.0

package lbsync

import (
	"fmt"
	"slices"
)

// foreigners are the listeners of a CLB that are not ours.
type foreigners struct {
	own    map[ListenerKey]Listener // all listeners
	single map[ListenerKey]Listener // by their place among CLB's ports
	ranges []Listener               // those that have several ports
}

func (l LoadBalancer) foreigners() foreigners {
	out := foreigners{own: l.Listeners}
	for k, one := range l.Listeners {
		switch {
		case one.Ours() || k.Rule():
			continue
		case one.EndPort != 0:
			out.ranges = append(out.ranges, one)
		}
		if out.single == nil {
			out.single = map[ListenerKey]Listener{}
		}
		out.single[k.port()] = one
	}
	slices.SortFunc(out.ranges, func(a, b Listener) int { return a.compare(b.ListenerKey) })
	return out
}

// at returns the listener that has the place of k. One that is ours has its place, whatever ranges there are.
func (f foreigners) at(k ListenerKey) (Listener, bool) {
	if l, taken := f.single[k.port()]; taken {
		return l, true
	}
	if f.own[k.Parent()].Ours() {
		return Listener{}, false
	}
	i := slices.IndexFunc(f.ranges, func(l Listener) bool { return l.covers(k) })
	if i < 0 {
		return Listener{}, false
	}
	return f.ranges[i], true
}

// covers reports whether a listener has the place of k among CLB's ports.
func (l Listener) covers(k ListenerKey) bool {
	return l.Protocol.Transport() == k.Protocol.Transport() && l.Port <= k.Port && k.Port <= max(l.Port, l.EndPort)
}

// Foreign returns a Skip for each listener of desired whose place on the CLB is taken by one that this
// controller did not make. Such a listener is never touched, so the port stays out of the Service's reach.
func Foreign(actual, desired LoadBalancer) []Skip {
	var skips []Skip
	theirs := actual.foreigners()
	for _, k := range sortedListeners(desired.Listeners) {
		if l, taken := theirs.at(k); taken && !k.Rule() {
			which := ""
			if l.EndPort != 0 {
				which = fmt.Sprintf(" and has the ports %d to %d", l.Port, l.EndPort)
			}
			skips = append(skips, Skip{Service: Whose(k, LoadBalancer{}, desired), Object: "listener " + k.String(), Reason: PortTaken, Warning: true,
				Message: fmt.Sprintf("Listener %s of CLB %s is left out: %s %q, which was not made by this controller%s, has its place (E4014 in TKE); delete it, or use another port", k, actual.Instance.ID, l.ID, l.Name, which)})
		}
	}
	return skips
}

// Replaced returns a Skip for each listener that has to go before another protocol can have its port: CLB cannot change
// the protocol of a listener, and has one listener for a port of each transport.
func Replaced(actual, desired LoadBalancer) []Skip {
	var skips []Skip
	for _, k := range sortedListeners(desired.Listeners) {
		if _, there := actual.Listeners[k]; there || k.Rule() {
			continue
		}
		for _, old := range sortedListeners(actual.Listeners) {
			_, stays := desired.Listeners[old]
			if !old.Rule() && !stays && old.port() == k.port() && actual.Listeners[old].Ours() {
				skips = append(skips, Skip{Service: Whose(k, LoadBalancer{}, desired), Object: "listener " + k.String(), Reason: ProtocolChanged, Warning: true,
					Message: fmt.Sprintf("Listener %s of CLB %s is deleted and %s made in its place: CLB cannot change the protocol of a listener, so connections through it end", old, actual.Instance.ID, k)})
			}
		}
	}
	return skips
}

// Keep returns desired with those targets of actual, at their weight, whose host is no node's. It is for the
// time in which the instance of some node is not known yet: after a restart each such target may be that
// node's, and taking it away would cut off a node that serves.
func (s Snapshot) Keep(actual, desired LoadBalancer) LoadBalancer {
	all := s.shared()
	hosts := map[string]bool{}
	for _, node := range all.nodes {
		for _, name := range Names(node, all.instances[node.Name]) {
			hosts[name] = true
		}
	}
	out := desired.Clone()
	for b, weight := range actual.Targets {
		_, wanted := desired.Targets[b]
		_, listener := desired.Listeners[b.Listener]
		if a := desired.Answering[b.Listener]; a.Direct {
			continue // What pods there are is known.
		}
		if !wanted && listener && !hosts[b.Target.Host()] {
			out.Targets[b] = weight
		}
	}
	return out
}

// KeepPods returns desired with the weights of actual for pods, and with those pods of actual that are endpoints in any
// state. It is for the time in which the pods themselves have not been seen: each may have a weight of its own, or
// wait for its gate alone. It returns desired itself if they have.
func (s Snapshot) KeepPods(actual, desired LoadBalancer) LoadBalancer {
	unknown := false
	for _, svc := range s.Services {
		unknown = unknown || svc.PodsUnknown
	}
	if !unknown {
		return desired
	}
	out := desired.Clone()
	for b, weight := range actual.Targets {
		a := desired.Answering[b.Listener]
		if !a.Direct || !a.pod(b.Target, desired.Known) {
			continue
		}
		want, wanted := desired.Targets[b]
		if _, there := a.Pods[b.Target.IP]; wanted && want > 0 && weight > 0 || !wanted && there {
			out.Targets[b] = weight
		}
	}
	return out
}
