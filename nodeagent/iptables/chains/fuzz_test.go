// SPDX-License-Identifier: Apache-2.0

package chains

import (
	"math/rand/v2"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"github.com/clbsync/clbsync/nodeagent"
)

// Whatever a Service is called, its rules are lines of the form that Parse reads back to the same, and no line has
// anything in it that iptables-restore could take for another.
func FuzzRender(f *testing.F) {
	f.Add(uint64(1), "shop", "web", "http")
	f.Add(uint64(2), "a\"b", "-j ACCEPT\n-A INPUT", "\\")
	f.Add(uint64(3), strings.Repeat("n", 63), strings.Repeat("s", 253), strings.Repeat("ü", 63))
	f.Fuzz(func(t *testing.T, seed uint64, namespace, name, portName string) {
		r := rand.New(rand.NewPCG(seed, 1))
		family := []corev1.IPFamily{corev1.IPv4Protocol, corev1.IPv6Protocol}[seed%2]
		ports := randomServices(r, family)
		for i := range ports {
			if i%3 == 0 {
				ports[i].Name.Namespace, ports[i].Name.Name = namespace, name
				ports[i].Name.Port = portName + ports[i].Name.Port + string(rune('a'+i%26)) + strings.Repeat("x", i/26)
			}
		}
		o := Options{Mark: 1 << (seed % 32), Recent: seed%3 == 0, EndpointChains: seed%5 == 0}
		text := Render(nodeagent.NewRules(family, nodeagent.Services{Ports: ports}, randomSettings(r)), o)
		for c, rules := range text.Chains {
			if len(c.Name) > 28 {
				t.Errorf("chain %s is longer than iptables allows", c.Name)
			}
			for _, rule := range rules {
				if strings.ContainsAny(rule, "\n\r\x00") || !utf8.ValidString(rule) || strings.Count(rule, `"`)%2 != 0 {
					t.Errorf("%s: the rule %q is not one line", c.Name, rule)
				}
			}
		}
		var input strings.Builder // as iptables-save would print it: without the commands on built-in chains
		for line := range strings.Lines(text.String()) {
			if !strings.HasPrefix(line, "-I ") {
				input.WriteString(line)
			}
		}
		saved, err := Parse([]byte(input.String()))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(text.Chains, saved.Chains); diff != "" {
			t.Errorf("chains (-rendered +read back):\n%s", diff)
		}
	})
}
