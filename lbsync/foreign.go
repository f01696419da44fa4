// SPDX-License-Identifier: Apache-2.0

package lbsync

import "fmt"

// Foreign returns a Skip for each listener of desired whose place on the CLB is taken by one that this
// controller did not make. Such a listener is never touched, so the port stays out of the Service's reach.
func Foreign(actual, desired LoadBalancer) []Skip {
	var skips []Skip
	theirs := actual.foreigners()
	for _, k := range sortedListeners(desired.Listeners) {
		if l, taken := theirs[k.port()]; taken && !k.Rule() {
			skips = append(skips, Skip{Service: Whose(k, LoadBalancer{}, desired), Object: "listener " + k.String(), Reason: PortTaken, Warning: true,
				Message: fmt.Sprintf("Listener %s of CLB %s is left out: %s %q, which was not made by this controller, has its place (E4014 in TKE); delete it, or use another port", k, actual.Instance.ID, l.ID, l.Name)})
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
