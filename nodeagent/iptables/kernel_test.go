// SPDX-License-Identifier: Apache-2.0

package iptables

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"github.com/clbsync/clbsync/nodeagent"
	"github.com/clbsync/clbsync/nodeagent/internal/nettest"
	"github.com/clbsync/clbsync/nodeagent/iptables/chains"
)

var update = flag.Bool("update", false, "write the golden files anew")

var options = chains.Options{Mark: 0x2000}

// runners calls fn with each family and variant, in a fresh namespace whose lock file is its own.
func runners(t *testing.T, fn func(t *testing.T, r Runner)) {
	for _, variant := range []Variant{Legacy, NFT} {
		for _, family := range []corev1.IPFamily{corev1.IPv4Protocol, corev1.IPv6Protocol} {
			t.Run(fmt.Sprintf("%s %s", variant, family), func(t *testing.T) {
				t.Setenv("XTABLES_LOCKFILE", filepath.Join(t.TempDir(), "lock"))
				nettest.New(t, "node").Do(func() { fn(t, Runner{Family: family, Variant: variant}) })
			})
		}
	}
}

// goldenRules has one Service of each kind.
func goldenRules(family corev1.IPFamily) nodeagent.Rules {
	address := func(v4, v6 string) netip.AddrPort {
		if family == corev1.IPv6Protocol {
			return netip.MustParseAddrPort(v6)
		}
		return netip.MustParseAddrPort(v4)
	}
	here, away := address("10.244.1.10:8080", "[fd00:244:1::10]:8080"), address("10.244.2.10:8080", "[fd00:244:2::10]:8080")
	port := func(name string, protocol corev1.Protocol, nodePort uint16) nodeagent.ServicePort {
		p := nodeagent.ServicePort{NodePort: nodePort, ClusterEndpoints: []netip.AddrPort{here, away}}
		p.Name.Namespace, p.Name.Name, p.Name.Port, p.Name.Protocol = "shop", name, "web", protocol
		return p
	}
	cluster, local, faraway, none := port("cluster", corev1.ProtocolTCP, 30001), port("local", corev1.ProtocolTCP, 30002), port("faraway", corev1.ProtocolTCP, 30003), port("none", corev1.ProtocolTCP, 31000)
	alone := port("alone", corev1.ProtocolTCP, 30004)
	alone.Local, alone.ClusterEndpoints, alone.LocalEndpoints = true, []netip.AddrPort{here}, []netip.AddrPort{here}
	local.Local, local.LocalEndpoints = true, []netip.AddrPort{here}
	faraway.Local, faraway.ClusterEndpoints = true, []netip.AddrPort{away}
	none.ClusterEndpoints = nil
	sticky, sctp := port("sticky", corev1.ProtocolUDP, 30001), port("signalling", corev1.ProtocolSCTP, 30001)
	sticky.Affinity = 3 * time.Hour
	return nodeagent.NewRules(family, nodeagent.Services{
		Ports:  []nodeagent.ServicePort{sctp, cluster, local, faraway, alone, none, sticky},
		Health: []nodeagent.HealthPort{{Port: 32000}, {Port: 32001}},
	}, nodeagent.Settings{
		Pods:      nodeagent.PodTraffic{CIDRs: []netip.Prefix{netip.MustParsePrefix("10.244.0.0/16"), netip.MustParsePrefix("fd00:244::/32")}},
		Localhost: true, Forward: true, DropInvalid: true,
	})
}

func load(t *testing.T, r Runner, change chains.Change, sets map[string]bool) {
	t.Helper()
	for set := range sets {
		if err := r.CreateSet(set); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := r.Apply(context.Background(), change); err != nil {
		t.Fatalf("%v\n%s", err, change)
	}
}

func save(t *testing.T, r Runner) chains.Saved {
	t.Helper()
	saved, err := r.Save(context.Background(), false)
	if err != nil {
		t.Fatal(err)
	}
	return saved
}

func TestGoldenTextIsWhatTheKernelShows(t *testing.T) {
	runners(t, func(t *testing.T, r Runner) {
		text := chains.Render(goldenRules(r.Family), options)
		golden := filepath.Join("testdata", strings.ToLower(string(r.Family))+".rules")
		if *update {
			if err := os.WriteFile(golden, []byte(text.String()), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(golden)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), text.String()); diff != "" {
			t.Fatalf("rules (-%s +rendered); go test -update writes it anew:\n%s", golden, diff)
		}
		load(t, r, chains.Diff(save(t, r), text), text.Sets)
		if diff := cmp.Diff(text.Chains, save(t, r).Chains); diff != "" {
			t.Errorf("chains (-rendered +iptables-save):\n%s", diff)
		}
		if again := chains.Diff(save(t, r), text); !again.Empty() {
			t.Errorf("a restarted agent would write:\n%s", again)
		}
	})
}

func TestCleanUpLeavesNothing(t *testing.T) {
	runners(t, func(t *testing.T, r Runner) {
		text := chains.Render(goldenRules(r.Family), options)
		foreign := "*nat\n:KUBE-SERVICES - [0:0]\n-A PREROUTING -j KUBE-SERVICES\nCOMMIT\n*filter\n:KUBE-FORWARD - [0:0]\n-A FORWARD -j KUBE-FORWARD\nCOMMIT\n"
		if err := r.Restore(context.Background(), foreign); err != nil {
			t.Fatal(err)
		}
		before := save(t, r)
		load(t, r, chains.Diff(before, text), text.Sets)
		load(t, r, chains.Diff(save(t, r), chains.Text{}), nil)
		for set := range text.Sets {
			if err := r.destroySoon(context.Background(), set); err != nil {
				t.Error(err)
			}
		}
		if diff := cmp.Diff(before, save(t, r)); diff != "" {
			t.Errorf("tables (-before +after clean-up):\n%s", diff)
		}
		if sets, err := r.Sets(context.Background()); err != nil || len(sets) > 0 {
			t.Errorf("address sets left: %v (%v), want none", sets, err)
		}
	})
}

// randomRules makes rule sets of the kind that the agent meets over time.
func randomRules(random *rand.Rand, family corev1.IPFamily) nodeagent.Rules {
	var ports []nodeagent.ServicePort
	for i := range random.IntN(80) {
		p := nodeagent.ServicePort{NodePort: uint16(30000 + 7*i + random.IntN(7)), Local: random.IntN(2) == 0}
		p.Name.Namespace, p.Name.Name, p.Name.Protocol = "ns", fmt.Sprintf("s%d", i), corev1.ProtocolTCP
		for e := range random.IntN(6) {
			address := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 244, 1, byte(10 + e)}), 8080)
			if family == corev1.IPv6Protocol {
				address = netip.MustParseAddrPort(fmt.Sprintf("[fd00::%d]:8080", 10+e))
			}
			p.ClusterEndpoints = append(p.ClusterEndpoints, address)
			if p.Local && random.IntN(2) == 0 {
				p.LocalEndpoints = append(p.LocalEndpoints, address)
			}
		}
		if random.IntN(4) == 0 {
			p.Affinity = time.Duration(1+random.IntN(86400)) * time.Second
		}
		ports = append(ports, p)
	}
	var health []nodeagent.HealthPort
	for i := range random.IntN(40) {
		health = append(health, nodeagent.HealthPort{Port: uint16(32000 + i)})
	}
	return nodeagent.NewRules(family, nodeagent.Services{Ports: ports, Health: health},
		nodeagent.Settings{Localhost: random.IntN(2) == 0, Forward: random.IntN(2) == 0, DropInvalid: random.IntN(2) == 0})
}

// From any rule set to any other: the kernel takes the change and shows the second.
func TestKernelFollowsRandomChanges(t *testing.T) {
	runners(t, func(t *testing.T, r Runner) {
		random := rand.New(rand.NewPCG(7, 7))
		for round := range 12 {
			text := chains.Render(randomRules(random, r.Family), options)
			load(t, r, chains.Diff(save(t, r), text), text.Sets)
			if again := chains.Diff(save(t, r), text); !again.Empty() {
				t.Fatalf("round %d: after the change there is still to do:\n%s", round, again)
			}
		}
	})
}

// Names and numbers of endpoints as nobody should choose them: the kernel takes all that is rendered, and shows it as it
// was written.
func TestKernelTakesOddRules(t *testing.T) {
	names := []string{"a\"b", "-j ACCEPT\n-A INPUT", "\\", "$(reboot)", "%s", "'", "\t", "ü", strings.Repeat("n", 300), "#", "*nat", "COMMIT", ":x", "--", "!"}
	runners(t, func(t *testing.T, r Runner) {
		random := rand.New(rand.NewPCG(9, 9))
		for _, o := range []chains.Options{{Mark: 1}, {Mark: 1 << 31, EndpointChains: true}, {Mark: 0x2000, Recent: true}} {
			rules := randomRules(random, r.Family)
			for i := range rules.Frontends {
				n := &rules.Frontends[i].Name
				n.Namespace, n.Name, n.Port = names[random.IntN(len(names))], fmt.Sprint(i), names[random.IntN(len(names))]
			}
			if len(rules.Frontends) > 0 {
				f := &rules.Frontends[0]
				many := nodeagent.ServicePort{Name: f.Name, NodePort: f.Port}
				for i := range 1000 {
					address := netip.AddrFrom4([4]byte{10, 1, byte(i / 250), byte(i % 250)})
					if r.Family == corev1.IPv6Protocol {
						address = netip.MustParseAddr(fmt.Sprintf("fd00::1:%x", i))
					}
					many.ClusterEndpoints = append(many.ClusterEndpoints, netip.AddrPortFrom(address, 8080))
				}
				*f = nodeagent.NewRules(r.Family, nodeagent.Services{Ports: []nodeagent.ServicePort{many}}, nodeagent.Settings{}).Frontends[0]
			}
			text := chains.Render(rules, o)
			load(t, r, chains.Diff(save(t, r), text), text.Sets)
			if diff := cmp.Diff(text.Chains, save(t, r).Chains); diff != "" {
				t.Fatalf("options %+v: chains (-rendered +iptables-save):\n%s", o, diff[:min(len(diff), 3000)])
			}
		}
	})
}

func TestJumpsShowAFlush(t *testing.T) {
	runners(t, func(t *testing.T, r Runner) {
		text := chains.Render(goldenRules(r.Family), options)
		load(t, r, chains.Diff(save(t, r), text), text.Sets)
		check := func() chains.Change {
			builtIn, err := r.Jumps(context.Background(), text.Jumps)
			if err != nil {
				t.Fatal(err)
			}
			return chains.Diff(chains.Saved{Chains: text.Chains, BuiltIn: builtIn}, text)
		}
		if c := check(); !c.Empty() {
			t.Errorf("nothing happened, but there is to do:\n%s", c)
		}
		if _, err := r.run(context.Background(), "", r.program(""), "-w", "-t", "nat", "-F", "PREROUTING"); err != nil {
			t.Fatal(err)
		}
		if c := check(); !c.JumpsOnly() {
			t.Errorf("after iptables -F PREROUTING: got %q, want the jump back", c)
		}
	})
}

func TestRestoreNamesTheOffendingLine(t *testing.T) {
	runners(t, func(t *testing.T, r Runner) {
		err := r.Restore(context.Background(), "*nat\n:CLBN-X - [0:0]\n-A CLBN-X -j NO-SUCH-CHAIN\nCOMMIT\n")
		if err == nil || !strings.Contains(err.Error(), "-A CLBN-X -j NO-SUCH-CHAIN") {
			t.Errorf("got %v, want an error with the line that is wrong", err)
		}
	})
}

func TestRestoreWaitsForTheLock(t *testing.T) {
	lock := filepath.Join(t.TempDir(), "lock")
	t.Setenv("XTABLES_LOCKFILE", lock)
	file, err := os.Create(lock)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	nettest.New(t, "node").Do(func() {
		r := Runner{Family: corev1.IPv4Protocol, Variant: Legacy}
		// The lock is free again only after iptables-restore has given up once: -w 5 alone is not enough.
		release := time.AfterFunc(6*time.Second, func() { file.Close() })
		defer release.Stop()
		if err := r.Restore(context.Background(), "*nat\n:CLBN-X - [0:0]\nCOMMIT\n"); err != nil {
			t.Errorf("got %v, want the rules loaded once the lock was free", err)
		}
	})
}

func TestRestoreSaysThatTheLockWasHeld(t *testing.T) {
	lock := filepath.Join(t.TempDir(), "lock")
	t.Setenv("XTABLES_LOCKFILE", lock)
	file, err := os.Create(lock)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	nettest.New(t, "node").Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5500*time.Millisecond)
		defer cancel()
		err := Runner{Family: corev1.IPv4Protocol, Variant: Legacy}.Restore(ctx, "*nat\n:CLBN-X - [0:0]\nCOMMIT\n")
		if !errors.Is(err, ErrLocked) {
			t.Errorf("got %v, want ErrLocked", err)
		}
	})
}

func TestProbesWorkAndLeaveNothing(t *testing.T) {
	runners(t, func(t *testing.T, r Runner) {
		before := save(t, r)
		if err := r.SetsWork(context.Background()); err != nil {
			t.Fatal(err)
		}
		if err := r.ComparingWorks(context.Background()); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(before, save(t, r)); diff != "" {
			t.Errorf("the probe left something (-before +after):\n%s", diff)
		}
	})
}

// Whoever reads rules while an agent begins gets them.
func TestProbeDisturbsNoReader(t *testing.T) {
	for _, variant := range []Variant{Legacy, NFT} {
		t.Run(string(variant), func(t *testing.T) {
			t.Setenv("XTABLES_LOCKFILE", filepath.Join(t.TempDir(), "lock"))
			node, r := nettest.New(t, "node"), Runner{Family: corev1.IPv4Protocol, Variant: variant}
			done := make(chan struct{})
			go func() {
				defer close(done)
				node.Do(func() {
					for range 50 {
						if err := r.SetsWork(context.Background()); err != nil {
							t.Error(err)
						}
					}
				})
			}()
			node.Do(func() {
				for {
					select {
					case <-done:
						return
					default:
						if _, err := r.Save(context.Background(), false); err != nil {
							t.Error(err)
						}
					}
				}
			})
		})
	}
}

func TestExamineAndChoose(t *testing.T) {
	hint := "*mangle\n:KUBE-IPTABLES-HINT - [0:0]\nCOMMIT\n"
	serving := "*nat\n:KUBE-SERVICES - [0:0]\n:KUBE-NODEPORTS - [0:0]\n-A KUBE-SERVICES -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS\nCOMMIT\n"
	restricted := "*nat\n:KUBE-SERVICES - [0:0]\n:KUBE-NODEPORTS - [0:0]\nCOMMIT\n"
	for _, test := range []struct {
		name        string
		legacy, nft string
		want        Variant
		nodePorts   bool
	}{
		{"nothing there: nft", "", "", NFT, false},
		{"hint in legacy", hint, "", Legacy, false},
		{"hint in both: nft", hint, hint, NFT, false},
		{"kube-proxy outweighs the hint", serving, hint, Legacy, true},
		{"kube-proxy in nft", hint, serving, NFT, true},
		{"kube-proxy in IPVS mode", strings.ReplaceAll(serving, "KUBE-NODEPORTS", "KUBE-NODE-PORT"), "", Legacy, true},
		{"kube-proxy in both, one restricted: the one that serves", serving, restricted, Legacy, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Setenv("XTABLES_LOCKFILE", filepath.Join(t.TempDir(), "lock"))
			nettest.New(t, "node").Do(func() {
				ctx := context.Background()
				for variant, input := range map[Variant]string{Legacy: test.legacy, NFT: test.nft} {
					if input == "" {
						continue
					}
					if err := (Runner{Family: corev1.IPv4Protocol, Variant: variant}).Restore(ctx, input); err != nil {
						t.Fatal(err)
					}
				}
				found := map[Variant]Evidence{Legacy: Examine(ctx, Legacy), NFT: Examine(ctx, NFT)}
				got, why := Choose(found[Legacy], found[NFT])
				if got != test.want || found[got].NodePorts != test.nodePorts {
					t.Errorf("got %s (%s), NodePorts %v; want %s, %v", got, why, found[got].NodePorts, test.want, test.nodePorts)
				}
				if tables := legacyTables(corev1.IPv4Protocol); test.legacy == "" && tables != "" {
					t.Errorf("looking made the legacy tables %q", tables)
				}
			})
		})
	}
}
