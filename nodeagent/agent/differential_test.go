// SPDX-License-Identifier: Apache-2.0

package agent_test

import (
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/clbsync/clbsync/nodeagent/internal/nettest"
	"github.com/clbsync/clbsync/nodeagent/internal/rig"
)

var (
	kubeProxy = flag.String("kube-proxy", "", "the real kube-proxy v1.37: compare the recorded answers with it, and run the agent beside it")
	update    = flag.Bool("update", false, "record the answers of -kube-proxy anew")
)

// answersFile holds what the real kube-proxy v1.37.2 answered in iptables mode.
const answersFile = "testdata/kube-proxy-answers.txt"

var networks = []string{"tcp4", "udp4", "tcp6", "udp6"}

// built is the directory of the agent's binary once a test has asked for it.
var built string

// raced: these tests are built with -race.
var raced bool

// build builds the agent once for all tests.
var build = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "clb-node-agent")
	if err != nil {
		return "", err
	}
	built = dir
	binary := filepath.Join(dir, "clb-node-agent")
	args := []string{"build", "-o", binary}
	if raced {
		args = append(args, "-race") // the loops that could race are in that program, not in this one
	}
	out, err := exec.Command("go", append(args, "../../cmd/clb-node-agent")...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%w\n%s", err, out)
	}
	return binary, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	if built != "" {
		os.RemoveAll(built)
	}
	os.Exit(code)
}

func agentBinary(t testing.TB) string {
	t.Helper()
	binary, err := build()
	if err != nil {
		t.Fatal(err)
	}
	return binary
}

// settled waits until both nodes serve the first and refuse the third situation in both families.
func settled(t *testing.T, r *rig.Rig) {
	t.Helper()
	for _, host := range []string{"192.168.0.11", "192.168.0.12", "fd00::11", "fd00::12"} {
		for port, want := range map[int]string{rig.FirstPort: "<-", rig.FirstPort + 2: rig.Refused, rig.FirstPort + len(rig.Situations) - 1: "p1"} {
			if port == rig.FirstPort+len(rig.Situations)-1 && strings.HasSuffix(host, "2") {
				continue // Local, and no endpoint there
			}
			address := net.JoinHostPort(host, fmt.Sprint(port))
			// Linux only notes an ICMPv6 error that comes while connect() still has the socket, as it does between namespaces
			// on an idle machine: kube-proxy's refusal counts when the SYN is sent again, after a second.
			nettest.Until(t, 30*time.Second, address+" answers "+want, func() bool {
				return strings.Contains(rig.Ask(r.Client.Namespace, "tcp", address, patience), want)
			})
		}
	}
}

func recorded(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile(answersFile)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSpace(string(text)), "\n")
}

func compare(t *testing.T, r *rig.Rig) {
	t.Helper()
	got := r.Matrix(networks...)
	if diff := cmp.Diff(recorded(t), got); diff != "" {
		t.Errorf("%d cases (-kube-proxy +agent):\n%s", len(got), diff)
	}
}

// TestKubeProxyAnswers checks the record against the real thing, in both variants.
func TestKubeProxyAnswers(t *testing.T) {
	if *kubeProxy == "" {
		if got := len(recorded(t)); got != len(networks)*98 {
			t.Fatalf("the record has %d cases, want %d", got, len(networks)*98)
		}
		return // nothing to compare the record with; the agent is compared with it below
	}
	for _, variant := range []string{"legacy", "nft"} {
		t.Run(variant, func(t *testing.T) {
			r := rig.New(t)
			r.PutSituations()
			for _, node := range []string{"n1", "n2"} {
				r.KubeProxy(t, *kubeProxy, node, variant, "")
			}
			settled(t, r)
			got := r.Matrix(networks...)
			if *update && variant == "legacy" {
				if err := os.WriteFile(answersFile, []byte(strings.Join(got, "\n")+"\n"), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if diff := cmp.Diff(recorded(t), got); diff != "" {
				t.Errorf("%d cases (-recorded +kube-proxy):\n%s", len(got), diff)
			}
		})
	}
}

// TestAgentAnswersLikeKubeProxy: all cases equal, alone and, given the binary, beside kube-proxy in both arrangements.
func TestAgentAnswersLikeKubeProxy(t *testing.T) {
	binary := agentBinary(t)
	for _, variant := range []string{"legacy", "nft"} {
		t.Run("standalone "+variant, func(t *testing.T) {
			r := rig.New(t)
			r.PutSituations()
			for _, node := range []string{"n1", "n2"} {
				r.Agent(t, binary, node, "--iptables="+variant, "--mode=standalone", "--localhost-nodeports")
			}
			settled(t, r)
			compare(t, r)
		})
		if *kubeProxy == "" {
			continue
		}
		t.Run("companion "+variant, func(t *testing.T) { beside(t, binary, variant, "companion", "[192.0.2.0/24, 100::/64]") })
		t.Run("override "+variant, func(t *testing.T) { beside(t, binary, variant, "override", "") })
	}
}

// beside runs the agent beside the real kube-proxy; the mode and the variant are left to the agent to detect.
func beside(t *testing.T, binary, variant, mode, nodePortAddresses string) {
	r := rig.New(t)
	r.PutSituations()
	for _, node := range []string{"n1", "n2"} {
		r.KubeProxy(t, *kubeProxy, node, variant, nodePortAddresses)
		n := r.Nodes[node]
		nettest.Until(t, 30*time.Second, "kube-proxy has its rules", func() bool {
			out, err := n.Try("", "iptables-"+variant+"-save", "-t", "nat")
			return err == nil && strings.Contains(out, "KUBE-SVC-")
		})
	}
	agents := map[string]*rig.Process{}
	for _, node := range []string{"n1", "n2"} {
		agents[node] = r.Agent(t, binary, node, "--localhost-nodeports")
	}
	for node, a := range agents {
		nettest.Until(t, 30*time.Second, "the agent on "+node+" detects "+mode+" and "+variant, func() bool {
			return strings.Contains(a.Log(), `mode="`+mode+`"`) && strings.Contains(a.Log(), `iptables="`+variant+`"`)
		})
		nettest.Until(t, 30*time.Second, "the agent has its rules", func() bool {
			return strings.Contains(r.Nodes[node].Run(t, "iptables-"+variant+"-save", "-t", "nat"), "-I") ||
				strings.Contains(r.Nodes[node].Run(t, "iptables-"+variant, "-w", "-t", "nat", "-S", "PREROUTING"), "CLBN-NAT")
		})
	}
	settled(t, r)
	compare(t, r)
	counted := r.Nodes["n1"].Run(t, "iptables-"+variant, "-w", "-t", "nat", "-L", "CLBN-NP", "-v", "-n", "-x")
	packets := 0
	for line := range strings.Lines(counted) {
		if fields := strings.Fields(line); len(fields) > 0 {
			n, _ := strconv.Atoi(fields[0]) // headings count for nothing
			packets += n
		}
	}
	if packets < 98 { // the cases send thousands
		t.Errorf("the agent's rules were met by %d packets:\n%s", packets, counted)
	}
}
