// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"net/netip"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/klog/v2"

	"github.com/clbsync/clbsync/lbsync"
)

const (
	lookups       = 16              // at once: the cloud client makes few requests of them
	lookupRetry   = 2 * time.Second // after the first failure
	lookupRest    = 5 * time.Minute // the longest time between two tries
	lookupMissing = time.Minute     // until a node without an instance is looked up again
)

// instances knows the CVM instances of the nodes whose objects do not name theirs. Lookups are calls, so they
// run beside the syncs, which only ever read what is known. A node keeps its last known instance whatever
// later lookups say, until its object names one or is gone.
type instances struct {
	find    Instances
	node    func(name string) (*corev1.Node, error)
	changed func(node string, ids ...string) // called after an answer that was news, with the instance before it and since

	queue workqueue.TypedRateLimitingInterface[string] // of node names
	mu    sync.Mutex
	nodes map[string]instance
}

// instance is what is known of one node that has to be looked up.
type instance struct {
	addr     netip.Addr
	id       string // "" if there is none, as far as is known
	answered bool   // there was an answer, of whatever address
}

func newInstances(find Instances, node func(string) (*corev1.Node, error), changed func(node string, ids ...string)) *instances {
	return &instances{
		find: find, node: node, changed: changed, nodes: map[string]instance{},
		queue: workqueue.NewTypedRateLimitingQueueWithConfig(
			workqueue.NewTypedItemExponentialFailureRateLimiter[string](lookupRetry, lookupRest),
			workqueue.TypedRateLimitingQueueConfig[string]{Name: "instances"}),
	}
}

// look makes sure that the node's instance is, or becomes, known.
func (i *instances) look(node *corev1.Node) {
	addr, needed := lbsync.LookupAddress(node)
	if !needed || i.find == nil {
		i.forget(node.Name)
		return
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	known, ok := i.nodes[node.Name]
	if ok && known.addr == addr {
		return
	}
	known.addr = addr
	i.nodes[node.Name] = known
	i.queue.Add(node.Name)
}

func (i *instances) forget(name string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	delete(i.nodes, name)
}

// known returns instance IDs by node name, "" of nodes that have none, and whether a node is left that was never answered.
func (i *instances) known() (ids map[string]string, unsure bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for name, n := range i.nodes {
		unsure = unsure || !n.answered
		if n.answered {
			if ids == nil {
				ids = map[string]string{}
			}
			ids[name] = n.id
		}
	}
	return ids, unsure
}

// of returns the instance that was looked up for a node, "" if none was.
func (i *instances) of(node string) string {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.nodes[node].id
}

// run works until the queue is shut down.
func (i *instances) run(ctx context.Context) {
	var workers sync.WaitGroup
	for range lookups {
		workers.Go(func() {
			for i.next(ctx) {
			}
		})
	}
	<-ctx.Done()
	i.queue.ShutDown()
	workers.Wait()
}

func (i *instances) next(ctx context.Context) bool {
	name, shutdown := i.queue.Get()
	if shutdown {
		return false
	}
	defer i.queue.Done(name)
	if ctx.Err() != nil {
		return true
	}
	node, err := i.node(name)
	if err != nil { // gone
		i.queue.Forget(name)
		return true
	}
	addr, needed := lbsync.LookupAddress(node)
	if !needed {
		i.queue.Forget(name)
		return true
	}
	id, found, err := i.find(ctx, addr)
	if err != nil {
		klog.FromContext(ctx).Error(err, "Looking up the instance of a node", "node", name, "address", addr)
		i.queue.AddRateLimited(name)
		return true
	}
	i.queue.Forget(name)
	if !found {
		id = ""
		i.queue.AddAfter(name, lookupMissing)
	}
	if before, after, news := i.answer(name, addr, id); news {
		klog.FromContext(ctx).Info("Looked up the instance of a node", "node", name, "address", addr, "instance", id)
		i.changed(name, before, after)
	}
	return true
}

// answer notes what a lookup found. It returns the instance before and since, and whether there is any news.
func (i *instances) answer(name string, addr netip.Addr, id string) (was, is string, news bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	before, ok := i.nodes[name]
	if !ok || before.addr != addr {
		return "", "", false // The node is gone, or was queued again with its new address.
	}
	after := instance{addr: addr, id: id, answered: true}
	if id == "" {
		after.id = before.id
	}
	i.nodes[name] = after
	return before.id, after.id, after != before
}
