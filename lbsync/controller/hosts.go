// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"maps"
	"sync"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/clbsync/clbsync/lbsync"
)

// byNode is the index of EndpointSlices by the nodes of their endpoints.
const byNode = "clbsync/node"

func nodesOf(slice *discoveryv1.EndpointSlice) []string {
	var names []string
	seen := map[string]bool{}
	for _, e := range slice.Endpoints {
		if e.NodeName != nil && !seen[*e.NodeName] {
			seen[*e.NodeName] = true
			names = append(names, *e.NodeName)
		}
	}
	return names
}

// hosts holds what load balancers see of all nodes, worked out once for each change of a node and not for each CLB.
type hosts struct {
	mu     sync.Mutex
	now    *lbsync.Hosts // nil: something has changed since it was worked out
	unsure bool          // the instance of some node has never been answered
}

func (h *hosts) renew() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.now = nil
}

// allHosts returns the hosts as the caches have them, and whether the instance of some node has never been answered.
func (c *Controller) allHosts() (*lbsync.Hosts, bool, error) {
	c.hosts.mu.Lock()
	defer c.hosts.mu.Unlock()
	if c.hosts.now != nil {
		return c.hosts.now, c.hosts.unsure, nil
	}
	nodes, err := c.nodes.List(labels.Everything())
	if err != nil {
		return nil, false, err
	}
	ids, unsure := c.instances.known()
	c.hosts.now, c.hosts.unsure = lbsync.NewHosts(c.settings, nodes, ids), unsure
	return c.hosts.now, unsure, nil
}

// reach is which nodes matter to a CLB, as its last sync found it. The zero value is all of them.
type reach struct {
	bound    bool            // only nodes with endpoints of its Service, and hosts, matter
	selected bool            // its Service chooses nodes by label
	pods     bool            // they are the targets of its Service
	hosts    map[string]bool // of its targets
}

// reachOf returns the reach of the CLB of Services; while its targets are not known (nil), any node matters.
func reachOf(settings lbsync.Settings, services []lbsync.Service, actual *lbsync.LoadBalancer) reach {
	out := reach{bound: actual != nil}
	for _, svc := range services {
		out.bound = out.bound && !svc.Spread(settings, clbOf(actual))
		out.selected = out.selected || svc.Options.Backends != ""
		out.pods = out.pods || settings.Direct(svc)
	}
	if out.bound {
		out.hosts = make(map[string]bool, len(actual.Targets))
		for b := range actual.Targets {
			out.hosts[b.Target.Host()] = true
		}
	}
	return out
}

// clbOf returns the CLB itself, nil if there is none, or none is known.
func clbOf(actual *lbsync.LoadBalancer) *lbsync.Instance {
	if actual == nil || !actual.Present {
		return nil
	}
	return &actual.Instance
}

func (c *Controller) nodeChanged(before, after *corev1.Node) {
	if before != nil && after != nil && sameNode(before, after) {
		return
	}
	node := after
	if after == nil {
		node = before
	}
	names := map[string]bool{}
	lookup := c.instances.of(node.Name)
	for _, n := range []*corev1.Node{before, after} {
		if n != nil {
			for _, name := range lbsync.Names(n, lookup) {
				names[name] = true
			}
		}
	}
	if after == nil {
		c.instances.forget(before.Name)
	} else {
		c.instances.look(after)
	}
	c.hosts.renew()
	if before != nil && after != nil && c.settings.SameHost(before, after) {
		if !maps.Equal(before.Labels, after.Labels) {
			c.each(func(_ key, r reach) bool { return r.selected })
		}
		return
	}
	c.hostChanged(node.Name, names)
}

// instanceFound makes due what the answer to the lookup of a node's instance concerns: a CLB that it is a target of, or
// should be; all of them if it was the last answer, since none gives up targets before.
func (c *Controller) instanceFound(node string, ids ...string) {
	c.hosts.renew()
	if _, unsure := c.instances.known(); !unsure {
		c.all()
		return
	}
	names := map[string]bool{}
	for _, id := range ids {
		names[id] = true
	}
	c.hostChanged(node, names)
}

// hostChanged makes due each CLB that a node matters to: under Local with the nodes of pods only, that is few or none,
// and it is what makes nodes free of charge there.
func (c *Controller) hostChanged(node string, names map[string]bool) {
	serving := map[key]bool{}
	found, err := c.slices.ByIndex(byNode, node)
	if err != nil {
		return // an index that is there has no error to give
	}
	for _, o := range found {
		slice := o.(*discoveryv1.EndpointSlice)
		if svc, err := c.services.Services(slice.Namespace).Get(serviceOf(slice)); err == nil {
			serving[keyOf(svc)] = true
		}
	}
	c.each(func(k key, r reach) bool {
		if !r.bound || serving[k] {
			return true
		}
		for name := range names {
			if r.hosts[name] {
				return true
			}
		}
		return false
	})
}

// all makes each CLB due: what changed concerns them all.
func (c *Controller) all() { c.each(func(key, reach) bool { return true }) }

// each makes the CLBs due that are concerned.
func (c *Controller) each(concerned func(key, reach) bool) {
	all, err := c.services.List(labels.Everything())
	if err != nil {
		return // a lister over a cache has no error to give
	}
	for _, svc := range all {
		if k := keyOf(svc); c.settings.Wants(svc) && concerned(k, c.memory.reach(k)) {
			c.queue.add(k, c.gathering, due{priority: c.since(lbsync.Normal)})
		}
	}
}
