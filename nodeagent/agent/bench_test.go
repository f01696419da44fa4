// SPDX-License-Identifier: Apache-2.0

package agent_test

import (
	"encoding/binary"
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/clbsync/clbsync/nodeagent/internal/nettest"
	"github.com/clbsync/clbsync/nodeagent/internal/rig"
	"github.com/clbsync/clbsync/nodeagent/iptables/chains"
)

var (
	benchServices = flag.Int("services", 5000, "Services in the benchmark of updates")
	benchPorts    = flag.String("ports", "1,100,1000,2768,10000", "numbers of NodePorts in the benchmark of new flows")
	benchLimit    = flag.Duration("limit", 5*time.Minute, "how long a proxy may take for a change before it is given up")
	benchVariants = flag.String("variants", "legacy,nft", "variants of iptables to measure")
)

// benchFirst is the first NodePort; there is room for ten thousand more below the ports that clients use.
const benchFirst = 20000

// BenchmarkBesideKubeProxy prints a table: what a user waits for and what a node pays, with the agent and, given its
// binary, with the real kube-proxy in the same variant, each in a cluster of namespaces of its own.
func BenchmarkBesideKubeProxy(b *testing.B) {
	agent := agentBinary(b)
	w := &table{out: os.Stdout}
	w.line("Load average before: %s", loadAverage(b))
	for variant := range strings.SplitSeq(*benchVariants, ",") {
		contestants := []contestant{{"clb-node-agent", func(b *testing.B, r *rig.Rig) *rig.Process {
			return r.Agent(b, agent, "n1", "--iptables="+variant, "--mode=standalone")
		}}}
		if *kubeProxy != "" {
			contestants = append(contestants, contestant{"kube-proxy", func(b *testing.B, r *rig.Rig) *rig.Process {
				return r.KubeProxy(b, *kubeProxy, "n1", variant, "")
			}})
		}
		var columns [][]figure
		var ran []contestant // -bench may choose one of them
		for _, c := range contestants {
			var column []figure
			b.Run(variant+"/"+c.name, func(b *testing.B) { column = append(newFlows(b, c), updates(b, c)...) })
			if len(column) > 0 {
				ran, columns = append(ran, c), append(columns, column)
			}
		}
		if len(ran) > 0 {
			w.print(variant, ran, columns)
		}
	}
	w.line("Load average after: %s", loadAverage(b))
}

type contestant struct {
	name  string
	start func(*testing.B, *rig.Rig) *rig.Process
}

type figure struct {
	what   string
	value  float64
	format string
}

// table writes Markdown.
type table struct{ out io.Writer }

func (w *table) line(format string, args ...any) { fmt.Fprintf(w.out, format+"\n", args...) }

func (w *table) print(variant string, contestants []contestant, columns [][]figure) {
	head, rule := "| iptables-"+variant, "| ---"
	for _, c := range contestants {
		head, rule = head+" | "+c.name, rule+" | ---"
	}
	w.line("\n%s | ratio |\n%s | --- |", head, rule)
	for i, f := range columns[0] {
		row := "| " + f.what
		for _, column := range columns {
			if math.IsNaN(column[i].value) {
				row += fmt.Sprintf(" | gave up after %v", *benchLimit)
			} else {
				row += " | " + fmt.Sprintf(column[i].format, column[i].value)
			}
		}
		ratio := ""
		if len(columns) == 2 && !math.IsNaN(columns[1][i].value) {
			ratio = fmt.Sprintf("%.1f ×", columns[1][i].value/f.value)
		}
		w.line("%s | %s |", row, ratio)
	}
	w.line("")
}

func loadAverage(b *testing.B) string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		b.Fatal(err)
	}
	return strings.TrimSpace(string(text))
}

// service is one Service of the benchmarks: one family, one port, two endpoints on this node.
func benchService(r *rig.Rig, name string, port int, local bool, protocol corev1.Protocol, endpoints ...string) []runtime.Object {
	word := strings.ToLower(string(protocol))
	objects := r.Service(name, int32(port), local, endpoints, func(s *corev1.Service) {
		single := corev1.IPFamilyPolicySingleStack
		s.Spec.IPFamilyPolicy, s.Spec.IPFamilies, s.Spec.ClusterIPs = &single, s.Spec.IPFamilies[:1], s.Spec.ClusterIPs[:1]
		s.Spec.Ports = slices.DeleteFunc(s.Spec.Ports, func(p corev1.ServicePort) bool { return p.Name != word })
	})
	slice := objects[1].(*discoveryv1.EndpointSlice)
	slice.Ports = slices.DeleteFunc(slice.Ports, func(p discoveryv1.EndpointPort) bool { return *p.Name != word })
	return objects[:2]
}

func benchName(i int) string { return fmt.Sprintf("s%05d", i) }

// until asks the port again and again and returns how long it took until one of the pods answered; gaveUp if none did.
func until(b *testing.B, r *rig.Rig, network string, port int, pods ...string) time.Duration {
	b.Helper()
	start := time.Now()
	last := ""
	for time.Since(start) < *benchLimit {
		asked := time.Now()
		last = rig.Ask(r.Client.Namespace, network, fmt.Sprintf("192.168.0.11:%d", port), 200*time.Millisecond)
		if pod, _, found := strings.Cut(last, "<-"); found && slices.Contains(pods, pod) {
			return asked.Sub(start)
		}
	}
	b.Logf("port %d still answers %q, want %v", port, last, pods)
	return gaveUp
}

const gaveUp time.Duration = -1

// seconds of a duration; not a number for gaveUp.
func seconds(d time.Duration) float64 {
	if d == gaveUp {
		return math.NaN()
	}
	return d.Seconds()
}

// settledOn waits until only this pod answers, and returns how long it took until then.
func settledOn(b *testing.B, r *rig.Rig, port int, pod string) time.Duration {
	b.Helper()
	start := time.Now()
	for streak, first := 0, start; time.Since(start) < *benchLimit; {
		asked := time.Now()
		if rig.Ask(r.Client.Namespace, "tcp4", fmt.Sprintf("192.168.0.11:%d", port), 200*time.Millisecond) != pod+"<-n1" {
			streak = 0
			continue
		}
		if streak++; streak == 1 {
			first = asked
		}
		if streak == 8 {
			return first.Sub(start)
		}
	}
	b.Logf("port %d does not answer %s only", port, pod)
	return gaveUp
}

// quiet waits until the process and its children have used next to no CPU for a second.
func quiet(b *testing.B, p *rig.Process) {
	ticker := time.NewTicker(1200 * time.Millisecond)
	defer ticker.Stop()
	for before := p.CPU(b); ; {
		<-ticker.C
		now := p.CPU(b)
		if now-before < 50*time.Millisecond {
			return
		}
		before = now
	}
}

// updates measures, from the write to the API server to the answer of the right pod.
func updates(b *testing.B, c contestant) []figure {
	n, rounds := *benchServices, 5
	r := rig.New(b)
	objects := []runtime.Object{rig.Node("n1")}
	for i := range n {
		objects = append(objects, benchService(r, benchName(i), benchFirst+i, i%2 == 1, corev1.ProtocolTCP, "p1a rs", "p1b rs")...)
	}
	r.API.Put(objects...)
	p := c.start(b, r)
	changed := benchFirst + (n-1)/2*2 // policy Cluster
	at := fmt.Sprintf(" at %d Services", n)
	cold := until(b, r, "tcp4", changed, "p1a", "p1b")
	if cold == gaveUp {
		figures := []figure{{"cold start" + at, math.NaN(), "%.2f s"}}
		for _, what := range []string{"one endpoint changed" + at, "one Service added" + at, "CPU of the cold start", "CPU of one change", "resident memory"} {
			figures = append(figures, figure{what, math.NaN(), ""})
		}
		return figures
	}
	quiet(b, p)
	atStart, cpu := p.CPU(b), p.CPU(b)
	var moved, added []time.Duration
	for i := range rounds {
		pod := []string{"p1b", "p1a"}[i%2]
		r.API.Put(benchService(r, benchName(changed-benchFirst), changed, false, corev1.ProtocolTCP, pod+" rs")[1])
		moved = append(moved, settledOn(b, r, changed, pod))
		quiet(b, p)
		r.API.Put(benchService(r, fmt.Sprintf("x%d", i), benchFirst+n+i, false, corev1.ProtocolTCP, "p1a rs")...)
		added = append(added, until(b, r, "tcp4", benchFirst+n+i, "p1a"))
		quiet(b, p)
	}
	slices.Sort(moved)
	slices.Sort(added)
	return []figure{
		{"cold start" + at, seconds(cold), "%.2f s"},
		{"one endpoint changed" + at, seconds(moved[rounds/2]) * 1000, "%.0f ms"},
		{"one Service added" + at, seconds(added[rounds/2]) * 1000, "%.0f ms"},
		{"CPU of the cold start", atStart.Seconds(), "%.2f s"},
		{"CPU of one change", (p.CPU(b) - cpu).Seconds() * 1000 / float64(2*rounds), "%.0f ms"},
		{"resident memory", float64(p.RSS(b)) / (1 << 20), "%.0f MiB"},
	}
}

// newFlows measures what the first packet of a flow costs at the worst of N NodePorts: from a raw socket through the
// node's rules into a pod that drops it.
func newFlows(b *testing.B, c contestant) []figure {
	r := rig.New(b)
	r.API.Put(rig.Node("n1"))
	p := c.start(b, r)
	var figures []figure
	have := 0
	for word := range strings.SplitSeq(*benchPorts, ",") {
		n, err := strconv.Atoi(word)
		if err != nil {
			b.Fatalf("-ports: %v", err)
		}
		var objects []runtime.Object
		for ; have < n; have++ {
			objects = append(objects, benchService(r, benchName(have), benchFirst+have, false, corev1.ProtocolUDP, "p1a rs", "p1b rs")...)
		}
		r.API.Put(objects...)
		what := fmt.Sprintf("new flow, last of %d NodePorts", n)
		if until(b, r, "udp4", benchFirst+n-1, "p1a", "p1b") == gaveUp {
			figures = append(figures, figure{what, math.NaN(), "%.1f µs"})
			continue
		}
		quiet(b, p)
		port := worst(b, r, n)
		for _, pod := range []string{"p1a", "p1b"} {
			r.Pods[pod].Run(b, "iptables-legacy", "-t", "raw", "-A", "PREROUTING", "-p", "udp", "-j", "DROP")
		}
		best, end := time.Hour, time.Now().Add(15*time.Second)
		for range 300 { // short ones: on a busy machine few of them go undisturbed
			var err error
			if r.Nodes["n1"].Do(func() { err = netlink.ConntrackTableFlush(netlink.ConntrackTable) }); err != nil {
				b.Fatal(err)
			}
			best = min(best, flood(b, r.Client.Namespace, uint16(port), flows))
			if time.Now().After(end) {
				break
			}
		}
		for _, pod := range []string{"p1a", "p1b"} {
			r.Pods[pod].Run(b, "iptables-legacy", "-t", "raw", "-F")
		}
		figures = append(figures, figure{what, best.Seconds() * 1e6 / flows, "%.1f µs"})
	}
	return figures
}

// flows is how many new flows one measurement has.
const flows = 500

// worst is the port of the benchmark whose packets are tested against the most rules: of kube-proxy's list the last; in the
// agent's tree the deepest, as its chains say.
func worst(b *testing.B, r *rig.Rig, n int) int {
	for _, variant := range []string{"legacy", "nft"} {
		out, err := r.Nodes["n1"].Try("", "iptables-"+variant, "-w", "-t", "nat", "-S", "KUBE-NODEPORTS")
		if i := strings.LastIndex(out, "--dport "); err == nil && i >= 0 {
			port, err := strconv.Atoi(strings.Fields(out[i:])[1])
			if err != nil {
				b.Fatal(err)
			}
			return port
		}
	}
	for _, variant := range []string{"legacy", "nft"} {
		saved, err := chains.Parse([]byte(r.Nodes["n1"].Run(b, "iptables-"+variant+"-save", "-t", "nat")))
		if err != nil {
			b.Fatal(err)
		}
		if _, ours := saved.Chains[chains.NodePorts]; !ours {
			continue
		}
		port, most := 0, 0
		for p := benchFirst; p < benchFirst+n; p++ {
			if met := tests(b, saved, chains.NodePorts, p); met > most {
				port, most = p, met
			}
		}
		b.Logf("of %d NodePorts %d is tested against the most rules, %d", n, port, most)
		return port
	}
	b.Fatal("nobody has rules for NodePorts")
	return 0
}

// tests counts the rules of the agent's tree that a packet for the port is tested against. In the benchmark all are UDP's.
func tests(b *testing.B, saved chains.Saved, c chains.Chain, port int) int {
	for i, rule := range saved.Chains[c] {
		_, match, _ := strings.Cut(rule, "--dport ")
		var first, last int
		if n, _ := fmt.Sscanf(match, "%d:%d", &first, &last); n == 1 {
			last = first
		}
		if port < first || port > last {
			continue
		}
		target := rule[strings.LastIndex(rule, " ")+1:]
		if below := (chains.Chain{Table: c.Table, Name: target}); strings.HasPrefix(target, chains.NodePorts.Name+"-") {
			return i + 1 + tests(b, saved, below, port)
		}
		return i + 1
	}
	b.Fatalf("no rule of %s is for port %d", c.Name, port)
	return 0
}

// flood sends UDP packets to the node's port, each from another source, and returns how long that took.
func flood(b *testing.B, from *nettest.Namespace, port uint16, packets int) (took time.Duration) {
	var err error
	from.Do(func() {
		var socket int
		// Other work on the machine must not count: this thread goes before all that is not in real time. It takes some
		// milliseconds.
		realTime, usual := &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_FIFO, Priority: 1}, &unix.SchedAttr{Size: unix.SizeofSchedAttr}
		if err = unix.SchedSetAttr(0, realTime, 0); err != nil {
			return
		}
		defer unix.SchedSetAttr(0, usual, 0) //nolint:errcheck // to lower it is always allowed
		if socket, err = syscall.Socket(syscall.AF_INET, syscall.SOCK_RAW, syscall.IPPROTO_RAW); err != nil {
			return
		}
		defer syscall.Close(socket)
		p := []byte{0x45, 0, 0, 29, 0, 0, 0, 0, 64, 17, 0, 0, 192, 168, 0, 100, 192, 168, 0, 11, 0, 0, 0, 0, 0, 9, 0, 0, 'x'}
		binary.BigEndian.PutUint16(p[22:], port)
		to := &syscall.SockaddrInet4{Addr: [4]byte{192, 168, 0, 11}}
		start := time.Now()
		for i := range packets {
			binary.BigEndian.PutUint16(p[20:], uint16(2000+i))
			if err = syscall.Sendto(socket, p, 0, to); err != nil {
				return
			}
		}
		took = time.Since(start)
	})
	if err != nil {
		b.Fatal(err)
	}
	return took
}
