// SPDX-License-Identifier: Apache-2.0

package chains

import (
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"github.com/clbsync/clbsync/nodeagent"
)

// Whatever came before, an Update ends in what a new renderer makes of the rules, and its change leads there.
func TestUpdateEqualsRenderingAnew(t *testing.T) {
	random := rand.New(rand.NewPCG(2, 8))
	for _, o := range []Options{options, {Mark: testMark, EndpointChains: true}, {Mark: testMark, Recent: true}, {Mark: testMark, CommentsMost: 20}} {
		r := NewRenderer(o)
		ports, set := randomServices(random, corev1.IPv4Protocol), settings
		kernel := map[Chain][]string{}
		for round := range 150 {
			ports = alter(random, ports)
			if random.IntN(20) == 0 {
				set = randomSettings(random)
			}
			health := []nodeagent.HealthPort{{Port: uint16(32000 + random.IntN(3))}}
			rules := nodeagent.NewRules(corev1.IPv4Protocol, nodeagent.Services{Ports: ports, Health: health}, set)
			change, known := r.Update(rules)
			want := Render(rules, o)
			if diff := cmp.Diff(want, r.Text()); diff != "" {
				t.Fatalf("round %d (-anew +updated):\n%s", round, diff)
			}
			full := Diff(Saved{Chains: kernel}, want)
			full.jumps = nil
			if !known {
				change = full
			}
			if change.String() != full.String() {
				t.Fatalf("round %d: the change is\n%swant\n%s", round, change, full)
			}
			kernel = want.Chains
		}
	}
}

// Above the bound no rule for a Service has a comment, at it all have.
func TestCommentsMost(t *testing.T) {
	rules := nodeagent.NewRules(corev1.IPv4Protocol, nodeagent.Services{Ports: []nodeagent.ServicePort{
		port("web", corev1.ProtocolTCP, 30080), port("none", corev1.ProtocolTCP, 30081), port("api", corev1.ProtocolTCP, 30082),
	}}, settings)
	for most, want := range map[int]int{0: 3, 2: 0, 3: 3} {
		if got := strings.Count(Render(rules, Options{Mark: testMark, CommentsMost: most}).String(), "ns/"); got != want {
			t.Errorf("CommentsMost %d: %d comments for 3 NodePorts, want %d", most, got, want)
		}
	}
}

// alter does to Services what happens to them: they come, go, move and change their endpoints.
func alter(r *rand.Rand, ports []nodeagent.ServicePort) []nodeagent.ServicePort {
	ports = slices.Clone(ports)
	fresh := randomServices(r, corev1.IPv4Protocol)
	for range r.IntN(4) {
		if len(ports) == 0 || len(fresh) == 0 {
			return fresh
		}
		i, f := r.IntN(len(ports)), fresh[r.IntN(len(fresh))]
		switch r.IntN(3) {
		case 0:
			ports = slices.Delete(ports, i, i+1)
		case 1:
			ports[i].ClusterEndpoints, ports[i].LocalEndpoints, ports[i].Local = f.ClusterEndpoints, f.LocalEndpoints, f.Local
			ports[i].Affinity = f.Affinity
		case 2:
			if !slices.ContainsFunc(ports, func(p nodeagent.ServicePort) bool {
				return p.Name == f.Name || p.NodePort == f.NodePort && p.Name.Protocol == f.Name.Protocol
			}) {
				ports = append(ports, f)
			}
		}
	}
	slices.SortFunc(ports, func(a, b nodeagent.ServicePort) int {
		if n := strings.Compare(string(a.Name.Protocol), string(b.Name.Protocol)); n != 0 {
			return n
		}
		return int(a.NodePort) - int(b.NodePort)
	})
	return ports
}

// Cut into small transactions a change ends in the same rules, and no transaction names more than it may. What a rule
// leads to exists when the rule is written, and nothing leads to a chain when it is removed.
func TestCutTransactionsAreSound(t *testing.T) {
	const most = 20
	random := rand.New(rand.NewPCG(4, 4))
	before := Text{Chains: map[Chain][]string{}}
	for round := range 40 {
		after := Render(nodeagent.NewRules(corev1.IPv4Protocol, nodeagent.Services{Ports: randomServices(random, corev1.IPv4Protocol)}, settings), options)
		kernel := maps.Clone(before.Chains)
		for _, section := range strings.SplitAfter(Diff(Saved{Chains: kernel, BuiltIn: ownJumps()}, after).Input(most), "COMMIT\n") {
			play(t, kernel, section, most)
		}
		if diff := cmp.Diff(after.Chains, kernel); diff != "" {
			t.Fatalf("round %d (-wanted +after all transactions):\n%s", round, diff)
		}
		before = after
	}
}

// play does with a transaction what the kernel does.
func play(t *testing.T, kernel map[Chain][]string, section string, most int) {
	t.Helper()
	table, names := "", 0
	for line := range strings.Lines(section) {
		word, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch {
		case word[0] == '*':
			table = word[1:]
		case word[0] == ':':
			kernel[Chain{table, word[1:]}] = []string{}
			names++
		case word == "-A":
			name, rule, _ := strings.Cut(rest, " ")
			c := Chain{table, name}
			target := rule[strings.LastIndex(rule, " ")+1:]
			if strings.HasPrefix(target, Prefix) && kernel[Chain{table, target}] == nil {
				t.Fatalf("%s leads to a chain that does not exist:\n%s", line, section)
			}
			kernel[c] = append(kernel[c], rule)
		case word == "-X":
			for c, rules := range kernel {
				for _, rule := range rules {
					if c.Table == table && strings.HasSuffix(rule, " "+rest) {
						t.Fatalf("%s is removed while %v leads there:\n%s", rest, c, section)
					}
				}
			}
			delete(kernel, Chain{table, rest})
		}
	}
	if names > most {
		t.Fatalf("a transaction names %d chains, want at most %d:\n%s", names, most, section)
	}
}
