// SPDX-License-Identifier: Apache-2.0

package chains

import (
	"maps"
	"reflect"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/clbsync/clbsync/nodeagent"
)

// Renderer turns the rules of a node into chains, again and again: a frontend that is as it was keeps its chains, and
// what is new is found without a look at the others' text. It is not safe for concurrent use.
type Renderer struct {
	options   Options
	family    corev1.IPFamily
	settings  nodeagent.Settings
	fragments map[nodeagent.ServicePortName]*fragment
	bare      bool // no comments: there are too many NodePorts
	trees     map[Chain]*tree
	text      Text
	round     uint64
}

// NewRenderer returns a renderer that has rendered nothing.
func NewRenderer(options Options) *Renderer { return &Renderer{options: options} }

// Text returns the chains for the rules of the last Update. It is valid until the next.
func (r *Renderer) Text() Text { return r.text }

// Update renders the rules and returns the change from those of the Update before. known is false when that cannot be
// told: for the first rules, when the settings have changed, and when comments come or go. Then the change is empty, and Diff finds it.
func (r *Renderer) Update(rules nodeagent.Rules) (change Change, known bool) {
	r.round++
	bare := r.options.CommentsMost > 0 && len(rules.Frontends) > r.options.CommentsMost
	if known = r.text.Chains != nil && r.family == rules.Family && r.bare == bare && reflect.DeepEqual(r.settings, rules.Settings); !known {
		r.family, r.settings, r.bare = rules.Family, rules.Settings, bare
		r.fragments, r.trees = map[nodeagent.ServicePortName]*fragment{}, map[Chain]*tree{NodePorts: {}, NoEP: {}, Health: {}}
		r.text = Text{Chains: map[Chain][]string{}, Sets: map[string]bool{}}
		r.text.addHost(rules, r.options)
	}
	before := map[Chain][]string{} // of the chains that are touched; nil for one that did not exist
	r.updateFrontends(rules, before)
	r.updateTrees(rules, before)
	if !known {
		return Change{}, false
	}
	return r.since(before), true
}

// put replaces chains, and notes what they were before.
func (r *Renderer) put(chains map[Chain][]string, before map[Chain][]string) {
	for c, rules := range chains {
		r.note(c, before)
		r.text.Chains[c] = rules
	}
}

func (r *Renderer) drop(c Chain, before map[Chain][]string) {
	r.note(c, before)
	delete(r.text.Chains, c)
}

func (r *Renderer) note(c Chain, before map[Chain][]string) {
	if _, noted := before[c]; !noted {
		before[c] = r.text.Chains[c]
	}
}

func (r *Renderer) since(before map[Chain][]string) Change {
	c := Change{write: map[Chain][]string{}}
	for chain, old := range before {
		now, exists := r.text.Chains[chain]
		switch {
		case !exists && old != nil:
			c.remove = append(c.remove, chain)
		case exists && (old == nil || !slices.Equal(old, now)):
			c.write[chain] = now
		}
	}
	slices.SortFunc(c.remove, Chain.compare)
	return c
}

func (r *Renderer) updateFrontends(rules nodeagent.Rules, before map[Chain][]string) {
	remove := func(n *fragment) {
		for c := range n.chains {
			r.drop(c, before)
		}
		for _, set := range n.sets {
			delete(r.text.Sets, set)
		}
	}
	var fresh []*fragment
	for _, f := range rules.Frontends {
		n := r.fragments[f.Name]
		if n == nil || !same(n.frontend, f) {
			if n != nil {
				remove(n)
			}
			n = newFragment(f, rules.Settings.Pods, r.options, r.bare)
			r.fragments[f.Name] = n
			fresh = append(fresh, n)
		}
		n.seen = r.round
	}
	if len(r.fragments) > len(rules.Frontends) {
		maps.DeleteFunc(r.fragments, func(_ nodeagent.ServicePortName, n *fragment) bool {
			if n.seen == r.round {
				return false
			}
			remove(n)
			return true
		})
	}
	for _, n := range fresh {
		r.put(n.chains, before)
		for _, set := range n.sets {
			r.text.Sets[set] = true
		}
	}
}

// same tells whether two frontends give the same chains. Most of those that do share their endpoints' memory, and then
// nobody looks at the endpoints.
func same(a, b nodeagent.Frontend) bool {
	return a.Port == b.Port && a.Otherwise == b.Otherwise && a.Affinity == b.Affinity && a.Name == b.Name &&
		equal(a.Steps, b.Steps) && equal(a.Cluster, b.Cluster) && equal(a.Local, b.Local)
}

func equal[T comparable](a, b []T) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0] || slices.Equal(a, b))
}

func (r *Renderer) updateTrees(rules nodeagent.Rules, before map[Chain][]string) {
	leaves := map[Chain][]leaf{}
	leaves[NodePorts] = make([]leaf, 0, len(rules.Frontends))
	for _, f := range rules.Frontends {
		n := r.fragments[f.Name]
		if n.dispatch != "" {
			leaves[NodePorts] = append(leaves[NodePorts], leaf{f.Name.Protocol, f.Port, n.dispatch})
		}
		if n.refuse != "" {
			leaves[NoEP] = append(leaves[NoEP], leaf{f.Name.Protocol, f.Port, n.refuse})
		}
	}
	for _, port := range rules.Health {
		leaves[Health] = append(leaves[Health], leaf{corev1.ProtocolTCP, port, " -j ACCEPT"})
	}
	for root, t := range r.trees {
		sortLeaves(leaves[root])
		if t.chains != nil && slices.Equal(t.leaves, leaves[root]) {
			continue
		}
		old := t.chains
		*t = newTree(root, leaves[root])
		for c := range old {
			if _, still := t.chains[c]; !still {
				r.drop(c, before)
			}
		}
		r.put(t.chains, before)
	}
}
