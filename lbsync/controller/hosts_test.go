// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"maps"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/clbsync/clbsync/internal/kubetest"
	"github.com/clbsync/clbsync/lbsync/annotation"
)

// dueNow returns the names of the Services whose CLB something has happened to since its last sync.
func (w *world) dueNow() []string {
	w.now.queue.mu.Lock()
	defer w.now.queue.mu.Unlock()
	var names []string
	for k := range maps.Keys(w.now.queue.due) {
		names = append(names, k.Name)
	}
	slices.Sort(names)
	return names
}

func TestANodeConcernsOnlyTheServicesThatItMayServe(t *testing.T) {
	chosen := kubetest.Service("chosen", kubetest.Local(31003), kubetest.Annotation(annotation.BindNodesOfPods, "true"), kubetest.Annotation(annotation.Backends, "pool=a"))
	inWorld(t, func(w *world) {
		w.config.Verify = 1000 * time.Hour
		for _, n := range []int{1, 2, 3} {
			w.put(kubetest.Node(n, labelled("pool", "a")))
		}
		w.run()
		w.pass(5 * time.Minute)
		// The second sync of each knows which targets it has.
		w.put(kubetest.Node(3, labelled("pool", "a"), notReady))
		w.pass(5 * time.Minute)
		w.put(kubetest.Slice("moved", at(2)...)) // its old target on n1 drains
		w.pass(25 * time.Second)
		for _, c := range []struct {
			name string
			node *corev1.Node
			want []string
		}{
			{"a node without pods is ready again", kubetest.Node(3, labelled("pool", "a")), []string{"chosen", "everywhere"}},
			{"a node with pods and an old target is not", kubetest.Node(1, labelled("pool", "a"), notReady), []string{"chosen", "everywhere", "here", "moved"}},
			{"a label that one Service chooses by", kubetest.Node(2, labelled("pool", "b")), []string{"chosen"}},
			{"a node comes", kubetest.Node(4), []string{"chosen", "everywhere"}},
		} {
			w.put(c.node)
			w.pass(10 * time.Millisecond)
			w.want(c.name, w.dueNow(), c.want)
			w.pass(soon)
		}
		w.remove(kubetest.Node(4))
		w.pass(10 * time.Millisecond)
		w.want("it goes", w.dueNow(), []string{"chosen", "everywhere"})
	}, kubetest.Service("everywhere"), kubetest.Slice("everywhere", at(1)...), onlyBind("here"), kubetest.Slice("here", at(1)...),
		onlyBind("moved"), kubetest.Slice("moved", at(1)...), chosen, kubetest.Slice("chosen", at(1)...))
}

func labelled(name, value string) func(*corev1.Node) {
	return func(n *corev1.Node) { n.Labels[name] = value }
}

func notReady(n *corev1.Node) { n.Status.Conditions[0].Status = corev1.ConditionFalse }
