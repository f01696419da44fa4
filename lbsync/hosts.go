// SPDX-License-Identifier: Apache-2.0

package lbsync

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
)

// Hosts is what load balancers see of the nodes of a cluster. It never changes, so that all Services share one: worked
// out for each Service anew, one node that comes to a cluster of 5,000 would cost 2,000 Services ten million looks at nodes.
type Hosts struct {
	nodes     []*corev1.Node
	instances map[string]string

	all      []*host
	byNode   map[string]*host // by the node's name
	known    map[string]string
	doubtful map[string]Reason
	skips    []Skip
}

// NewHosts returns what the settings make of nodes. instances is Snapshot.Instances. Neither may be changed afterwards.
func NewHosts(settings Settings, nodes []*corev1.Node, instances map[string]string) *Hosts {
	hs := &Hosts{nodes: nodes, instances: instances, all: make([]*host, 0, len(nodes)),
		byNode: make(map[string]*host, len(nodes)), known: make(map[string]string, len(nodes)), doubtful: map[string]Reason{}}
	for _, node := range nodes {
		v := settings.view(node)
		if v.instance == "" && !v.native {
			v.instance = instances[node.Name]
		}
		hs.add(settings, node, v)
	}
	return hs
}

// view is all that decides what a node is to load balancers, the labels that Services choose by apart. It is comparable.
type view struct {
	host
	native     bool
	address    string // that its instance is looked up by, and that a target may stand for
	ineligible Reason // "": it may be a target
	why        string // it is ineligible
	notReady   string // why it is not ready; "": it is
	going      string // why it is about to be deleted; "": it is not
}

// view returns what the node's own object says.
func (s Settings) view(node *corev1.Node) view {
	v := view{host: host{zone: node.Labels[corev1.LabelTopologyZone]}}
	if v.instance, v.native = InstanceID(node); v.instance == "" && v.native {
		v.ip, _ = internalIP(node)
	}
	if ip, ok := internalIP(node); ok {
		v.address = ip.String()
	}
	v.ineligible, v.why = s.ineligible(node)
	v.notReady, _ = notReady(node)
	v.going, _ = going(node)
	return v
}

// SameHost reports whether two states of a node are the same to load balancers, but for those of Services that choose
// nodes by label.
func (s Settings) SameHost(a, b *corev1.Node) bool {
	va, vb := s.view(a), s.view(b)
	return va == vb
}

// add takes in one node: as a host, or as a Skip that says why it is none, and a Skip if it is to get no new connections.
func (hs *Hosts) add(settings Settings, node *corev1.Node, v view) {
	skip := func(reason Reason, format string, args ...any) {
		hs.skips = append(hs.skips, Skip{Object: "node " + node.Name, Reason: reason, Message: fmt.Sprintf("Node %s ", node.Name) + fmt.Sprintf(format, args...)})
	}
	h := v.host
	h.node = node
	resolved := h.instance != "" || h.ip.IsValid()
	name := h.target(0).Host()
	if resolved {
		hs.known[name] = node.Name
	}
	if v.ineligible != "" {
		skip(v.ineligible, "%s", v.why)
		return
	}
	if !resolved {
		skip(NodeUnresolved, "has no known CVM instance: neither its providerID %q nor its label %s names one, and none in %s has its InternalIP",
			node.Spec.ProviderID, labelInstanceID, settings.VPCID)
		return
	}
	if v.notReady != "" && settings.NotReady != KeepNotReady {
		hs.doubtful[name] = NodeNotReady
		if settings.NotReady == RemoveNotReady {
			skip(NodeNotReady, "%s: it is no target", v.notReady)
			return
		}
		h.draining = NodeNotReady
		skip(NodeNotReady, "%s: it gets no new connections while other nodes can take them", v.notReady)
	}
	if v.going != "" {
		h.draining = NodeDraining
		skip(NodeDraining, "%s: it gets no new connections while other nodes can take them", v.going)
	}
	hs.all = append(hs.all, &h)
	hs.byNode[node.Name] = &h
}

// Names returns what targets that stand for a node may be called: its instance, as its object or a lookup names it, and
// its address. lookup may be "".
func Names(node *corev1.Node, lookup string) []string {
	var names []string
	if id, _ := InstanceID(node); id != "" {
		names = append(names, id)
	}
	if ip, ok := internalIP(node); ok {
		names = append(names, ip.String())
	}
	if lookup != "" {
		names = append(names, lookup)
	}
	return names
}

// shared returns the snapshot's Hosts.
func (s Snapshot) shared() *Hosts {
	if s.Hosts != nil {
		return s.Hosts
	}
	return NewHosts(s.Settings, s.Nodes, s.Instances)
}
