// SPDX-License-Identifier: Apache-2.0

package lbsync

import "fmt"

// Foreign returns a Skip for each listener of desired whose place on the CLB is taken by one that this
// controller did not make. Such a listener is never touched, so the port stays out of the Service's reach.
func Foreign(actual, desired LoadBalancer) []Skip {
	var skips []Skip
	for _, k := range sortedListeners(desired.Listeners) {
		if l, ok := actual.Listeners[k]; ok && !l.Ours() {
			skips = append(skips, Skip{Service: Whose(k, LoadBalancer{}, desired), Object: "listener " + k.String(), Reason: PortTaken, Warning: true,
				Message: fmt.Sprintf("Listener %s of CLB %s is left out: %s %q, which was not made by this controller, has its place (E4014 in TKE); delete it, or use another port", k, actual.Instance.ID, l.ID, l.Name)})
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
		if !wanted && listener && !hosts[b.Target.Host()] {
			out.Targets[b] = weight
		}
	}
	return out
}
