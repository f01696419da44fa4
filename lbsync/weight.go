// SPDX-License-Identifier: Apache-2.0

package lbsync

import (
	"fmt"

	"k8s.io/apimachinery/pkg/labels"

	"github.com/clbsync/clbsync/lbsync/annotation"
)

// choice is the hosts that a Service may be bound to.
type choice struct {
	naming naming
	all    []*host
	byNode map[string]*host // may have hosts that all lacks, of other names
}

// bound is who a Service port is bound to, with the weight.
type bound struct {
	*candidate
	weight  int
	serving bool // it takes new connections, and others of its kind may not
}

// naming returns how targets of the Service's CLB name nodes. A CLB stays where it is, whatever the annotations say later.
func (s Snapshot) naming(svc Service) naming {
	afar := svc.Options.CrossRegion != "" || svc.Options.CrossVPC != ""
	if c := s.CLB; c != nil {
		afar = c.Region != "" || c.VPCID != "" && c.VPCID != s.Settings.VPCID
	}
	switch {
	case svc.IPVersion(s.CLB) == IPv6:
		return byIPv6
	case afar:
		return byIPv4
	case svc.Options.Hybrid:
		return byHybrid
	}
	return byInstance
}

// selected returns the hosts that the Service's selector matches: all of them without one.
func (hs *Hosts) selected(svc Service, naming naming) (choice, []Skip) {
	selector, err := labels.Parse(svc.Options.Backends)
	everyone := err != nil || selector.Empty() // a selector that cannot be read is a Problem of the annotation
	if everyone && naming == byInstance {
		return choice{naming, hs.all, hs.byNode}, nil
	}
	var skips []Skip
	out := choice{naming: naming, byNode: map[string]*host{}}
	for _, list := range [][]*host{hs.all, hs.others} {
		for _, h := range list {
			switch {
			case h.at[naming].target == Target{}:
				if naming == byIPv6 {
					skips = append(skips, Skip{Object: "node " + h.node.Name, Reason: NodeNoAddress, Message: fmt.Sprintf("Node %s has no IPv6 InternalIP", h.node.Name)})
				}
			case everyone || selector.Matches(labels.Set(h.node.Labels)):
				out.all = append(out.all, h)
				out.byNode[h.node.Name] = h
			}
		}
	}
	if len(out.all) == 0 && !everyone {
		skips = append(skips, Skip{Object: "annotation " + annotation.Backends, Reason: NodeNotSelected, Warning: true,
			Message: fmt.Sprintf("Annotation %s is %q, which matches none of the %d eligible nodes: the present targets stay; mend the selector, or label a node", annotation.Backends, svc.Options.Backends, len(hs.all)+len(hs.others))})
	}
	return out, skips
}

// byPods reports whether a listener is bound only to nodes with pods: because the Service says so, or because CLB cannot
// ask the nodes which of them have some. It can for TCP alone, nor for any listener of an IPv6 CLB.
func byPods(svc Service, protocol Protocol, v IPVersion) bool {
	return local(svc) && (svc.Options.BindNodesOfPods || !protocol.asksNode() || v == IPv6)
}

// Spread reports whether any node may matter to the Service, which has the CLB, or none if that is nil: without it, only those with its endpoints, or among the
// present targets, do.
func (s Service) Spread(settings Settings, clb *Instance) bool {
	if settings.Direct(s) {
		return false
	}
	if s.Options.Backends != "" {
		return true
	}
	for _, port := range s.Spec.Ports {
		if s.everyNode(port, settings, clb) {
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
func weights(svc Service, protocol Protocol, v IPVersion, nodes endpoints, hosts choice) []bound {
	onlyPods := byPods(svc, protocol, v)
	if onlyPods {
		hosts.all = nodes.hosts(hosts)
	}
	full, drained := make([]bound, 0, len(hosts.all)), []bound(nil)
	for _, h := range hosts.all {
		ready := nodes.ready[h.node.Name]
		b := bound{candidate: &h.at[hosts.naming], weight: ready, serving: local(svc) && ready > 0}
		switch {
		case h.draining != "", onlyPods && ready == 0:
			b.weight = max(ready, nodes.serving[h.node.Name])
			drained = append(drained, b)
		default:
			full = append(full, b)
		}
	}
	if len(full) == 0 {
		full, drained = drained, nil
	}
	scale(full, local(svc) && svc.Options.WeightByPods && svc.Options.BindNodesOfPods)
	for _, b := range drained {
		b.weight = 0
		full = append(full, b)
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
