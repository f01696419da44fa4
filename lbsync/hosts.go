// SPDX-License-Identifier: Apache-2.0

package lbsync

import (
	"fmt"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// Hosts is what load balancers see of the nodes of a cluster. It never changes, so that all Services share one: worked
// out for each Service anew, one node that comes to a cluster of 5,000 would cost 2,000 Services ten million looks at nodes.
type Hosts struct {
	nodes     []*corev1.Node
	instances map[string]string

	all      []*host          // that can be bound byInstance
	others   []*host          // that can be bound by their addresses alone
	byNode   map[string]*host // all and others, by the node's name
	known    map[string]string
	doubtful map[string]Reason
	notReady map[string]bool // nodes by name
	skips    []Skip
}

// NewHosts returns what the settings make of nodes. instances is Snapshot.Instances. Neither may be changed afterwards.
func NewHosts(settings Settings, nodes []*corev1.Node, instances map[string]string) *Hosts {
	hs := &Hosts{nodes: nodes, instances: instances, all: make([]*host, 0, len(nodes)),
		byNode: make(map[string]*host, len(nodes)), known: make(map[string]string, len(nodes)), doubtful: map[string]Reason{}, notReady: map[string]bool{}}
	for _, node := range nodes {
		v := settings.view(node)
		answered := false
		if v.instance == "" && !v.native {
			v.instance, answered = instances[node.Name]
		}
		hs.add(settings, node, v, answered && v.instance == "")
	}
	return hs
}

// view is all that decides what a node is to load balancers, the labels that Services choose by apart. It is comparable.
type view struct {
	instance   string
	zone       string
	native     bool       // bound by its address, in place of an instance
	foreign    bool       // its object says that it is of no cloud, or of another one
	ip, ip6    netip.Addr // its InternalIPs, that its instance is looked up by, and that targets may stand for
	ineligible Reason     // "": it may be a target
	why        string     // it is ineligible
	notReady   string     // why it is not ready; "": it is
	going      string     // why it is about to be deleted; "": it is not
}

// view returns what the node's own object says.
func (s Settings) view(node *corev1.Node) view {
	v := view{zone: node.Labels[corev1.LabelTopologyZone], foreign: foreign(node)}
	v.instance, v.native = InstanceID(node)
	v.ip, v.ip6 = internalIPs(node)
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
// missing says that a lookup found no instance.
func (hs *Hosts) add(settings Settings, node *corev1.Node, v view, missing bool) {
	skip := func(reason Reason, format string, args ...any) {
		hs.skips = append(hs.skips, Skip{Object: "node " + node.Name, Reason: reason, Message: fmt.Sprintf("Node %s ", node.Name) + fmt.Sprintf(format, args...)})
	}
	h := &host{node: node, zone: v.zone}
	h.name(v, missing)
	var names []string
	for _, c := range h.at {
		if c.target != (Target{}) && !slices.Contains(names, c.target.Host()) {
			names = append(names, c.target.Host())
			hs.known[c.target.Host()] = node.Name
		}
	}
	if v.notReady != "" {
		hs.notReady[node.Name] = true
	}
	if v.ineligible != "" {
		skip(v.ineligible, "%s", v.why)
		return
	}
	resolved := h.at[byInstance].target != Target{}
	if !resolved {
		skip(NodeUnresolved, "has no known CVM instance: neither its providerID %q nor its label %s names one, and none in %s has its InternalIP",
			node.Spec.ProviderID, labelInstanceID, settings.VPCID)
	}
	if len(names) == 0 {
		return
	}
	if v.notReady != "" && settings.NotReady != KeepNotReady {
		for _, name := range names {
			hs.doubtful[name] = NodeNotReady
		}
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
	if resolved {
		hs.all = append(hs.all, h)
	} else {
		hs.others = append(hs.others, h)
	}
	hs.byNode[node.Name] = h
}

// Names returns what targets that stand for a node may be called: its instance, as its object or a lookup names it, and
// its addresses. lookup may be "".
func Names(node *corev1.Node, lookup string) []string {
	var names []string
	if id, _ := InstanceID(node); id != "" {
		names = append(names, id)
	}
	ip, ip6 := internalIPs(node)
	for _, a := range []netip.Addr{ip, ip6} {
		if a.IsValid() {
			names = append(names, a.String())
		}
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
