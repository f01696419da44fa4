// SPDX-License-Identifier: Apache-2.0

package lbsync

import (
	"fmt"

	"k8s.io/apimachinery/pkg/labels"

	"github.com/clbsync/clbsync/lbsync/annotation"
)

// choice is the hosts that a Service may be bound to.
type choice struct {
	all    []*host
	byNode map[string]*host
}

// bound is a host that a Service port is bound to, with its weight.
type bound struct {
	*host
	weight int
}

// selected returns the hosts that the Service's selector matches: all of them without one.
func (hs *Hosts) selected(svc Service) (choice, []Skip) {
	selector, err := labels.Parse(svc.Options.Backends)
	if err != nil || selector.Empty() {
		return choice{hs.all, hs.byNode}, nil // a selector that cannot be read is a Problem of the annotation
	}
	out := choice{byNode: map[string]*host{}}
	for _, h := range hs.all {
		if selector.Matches(labels.Set(h.node.Labels)) {
			out.all = append(out.all, h)
			out.byNode[h.node.Name] = h
		}
	}
	if len(out.all) == 0 {
		return out, []Skip{{Object: "annotation " + annotation.Backends, Reason: NodeNotSelected, Warning: true,
			Message: fmt.Sprintf("Annotation %s is %q, which matches none of the %d eligible nodes: the present targets stay; mend the selector, or label a node", annotation.Backends, svc.Options.Backends, len(hs.all))}}
	}
	return out, nil
}

// byPods reports whether a listener is bound only to nodes with pods.
func byPods(svc Service, protocol Protocol) bool {
	return local(svc) && (svc.Options.BindNodesOfPods || !protocol.asksNode())
}

// Spread reports whether any node may matter to the Service: without it, only those with its endpoints, or among the
// present targets, do.
func (s Service) Spread() bool {
	if s.Options.Backends != "" {
		return true
	}
	for _, port := range s.Spec.Ports {
		if s.everyNode(port) {
			return true
		}
	}
	return false
}

// weights returns the hosts that a Service port is bound to, with their weights, in no order.
//
// Under Cluster every host serves. Under Local every host is bound too, and the health check keeps traffic
// off those without pods, unless the Service asks for the hosts of its pods only, or the listener cannot
// ask (UDP): then traffic to a host without a pod would be lost in silence.
//
// A host that drains, or whose pods are all terminating but still serve, has weight 0: it keeps its
// connections and gets no new ones. If that leaves nobody, it keeps its weight: a pod that is going is
// better than none.
func weights(svc Service, protocol Protocol, nodes endpoints, hosts choice) []bound {
	onlyPods := byPods(svc, protocol)
	if onlyPods {
		hosts.all = nodes.hosts(hosts.byNode)
	}
	full, drained := make([]bound, 0, len(hosts.all)), []bound(nil)
	for _, h := range hosts.all {
		ready := nodes.ready[h.node.Name]
		switch {
		case h.draining != "", onlyPods && ready == 0:
			drained = append(drained, bound{h, max(ready, nodes.serving[h.node.Name])})
		default:
			full = append(full, bound{h, ready})
		}
	}
	if len(full) == 0 {
		full, drained = drained, nil
	}
	scale(full, local(svc) && svc.Options.WeightByPods && svc.Options.BindNodesOfPods)
	for _, b := range drained {
		full = append(full, bound{b.host, 0})
	}
	return full
}

// scale turns pods into weights, in place. Only ratios matter to CLB, so the numbers themselves are exact while
// they fit; above 100 the largest becomes 100 and the others keep their share, but never less than 1, since 0
// would cut a node off.
func scale(pods []bound, weighted bool) {
	most := 0
	for _, b := range pods {
		most = max(most, b.weight)
	}
	for i, n := range pods {
		switch {
		case !weighted:
			pods[i].weight = WeightDefault
		case most <= WeightMax:
			pods[i].weight = max(n.weight, 1)
		default:
			pods[i].weight = max((n.weight*WeightMax+most/2)/most, 1)
		}
	}
}
