// SPDX-License-Identifier: Apache-2.0

package agent_test

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/runtime"

	"github.com/clbsync/clbsync/nodeagent/internal/nettest"
	"github.com/clbsync/clbsync/nodeagent/internal/rig"
)

// proxies are what is measured side by side; kube-proxy only if its binary is given.
func proxies(b *testing.B, fn func(b *testing.B, start func(*rig.Rig) *rig.Process, variant string)) {
	binary := agentBinary(b)
	for _, variant := range []string{"legacy", "nft"} {
		b.Run("agent/"+variant, func(b *testing.B) {
			fn(b, func(r *rig.Rig) *rig.Process {
				return r.Agent(b, binary, "n1", "--iptables="+variant, "--mode=standalone")
			}, variant)
		})
		if *kubeProxy != "" {
			b.Run("kube-proxy/"+variant, func(b *testing.B) {
				fn(b, func(r *rig.Rig) *rig.Process { return r.KubeProxy(b, *kubeProxy, "n1", variant, "") }, variant)
			})
		}
	}
}

const benchFirst = 20000

func fill(r *rig.Rig, services int) {
	objects := []runtime.Object{rig.Node("n1")}
	for i := range services {
		objects = append(objects, r.Service(fmt.Sprintf("s%05d", i), int32(benchFirst+i), i%2 == 1, []string{"p1a rs", "p1b rs"})...)
	}
	r.API.Put(objects...)
}

// until asks the last port again and again and returns how long it took to answer one of the pods.
func until(b *testing.B, r *rig.Rig, port int, pods ...string) time.Duration {
	b.Helper()
	start := time.Now()
	last := ""
	for time.Since(start) < 4*time.Minute {
		last = rig.Ask(r.Client.Namespace, "tcp4", fmt.Sprintf("192.168.0.11:%d", port), 200*time.Millisecond)
		if pod, _, found := strings.Cut(last, "<-"); found && slices.Contains(pods, pod) {
			return time.Since(start)
		}
	}
	b.Fatalf("port %d still answers %q, want %v", port, last, pods)
	return 0
}

// BenchmarkUpdates measures what a user waits for with 5,000 Services: from the write to the API server to the answer of
// the right pod.
func BenchmarkUpdates(b *testing.B) {
	const services = 5000
	proxies(b, func(b *testing.B, start func(*rig.Rig) *rig.Process, _ string) {
		r := rig.New(b)
		fill(r, services)
		p := start(r)
		last := benchFirst + services - 2 // policy Cluster
		b.ReportMetric(until(b, r, last, "p1a", "p1b").Seconds(), "s-cold-start")
		quiet(b, p)
		cpu := p.CPU(b)
		var moved, added []time.Duration
		for i := range 5 {
			pod := []string{"p1b", "p1a"}[i%2]
			r.API.Put(r.Slices(fmt.Sprintf("s%05d", services-2), []string{pod + " rs"})...)
			moved = append(moved, settledOn(b, r, last, pod))
			quiet(b, p)
			r.API.Put(r.Service(fmt.Sprintf("x%d", i), int32(benchFirst+services+i), false, []string{"p1a rs"})...)
			added = append(added, until(b, r, benchFirst+services+i, "p1a"))
			quiet(b, p)
		}
		slices.Sort(moved)
		slices.Sort(added)
		b.ReportMetric(moved[2].Seconds()*1000, "ms-endpoint")
		b.ReportMetric(added[2].Seconds()*1000, "ms-service")
		b.ReportMetric((p.CPU(b)-cpu).Seconds()*100, "ms-cpu/change")
		b.ReportMetric(float64(p.RSS(b))/(1<<20), "MiB")
		b.ReportMetric(0, "ns/op")
	})
}

// settledOn waits until the port has answered the pod four times in a row: before, either of two may.
func settledOn(b *testing.B, r *rig.Rig, port int, pod string) time.Duration {
	b.Helper()
	start := time.Now()
	streak, first := 0, start
	for time.Since(start) < 4*time.Minute {
		asked := time.Now()
		answer := rig.Ask(r.Client.Namespace, "tcp4", fmt.Sprintf("192.168.0.11:%d", port), 200*time.Millisecond)
		if !strings.HasPrefix(answer, pod+"<-") {
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
	b.Fatalf("port %d does not answer %s only", port, pod)
	return 0
}

// quiet waits until the process and its children have used next to no CPU for a second.
func quiet(b *testing.B, p *rig.Process) {
	ticker := time.NewTicker(1200 * time.Millisecond)
	defer ticker.Stop()
	for before := p.CPU(b); ; {
		<-ticker.C
		now := p.CPU(b)
		if now-before < 250*time.Millisecond {
			return
		}
		before = now
	}
}

// BenchmarkNewFlow measures what the first packet of a flow costs at the last of N NodePorts: from a raw socket through
// the node's rules into a pod that drops it.
func BenchmarkNewFlow(b *testing.B) {
	proxies(b, func(b *testing.B, start func(*rig.Rig) *rig.Process, variant string) {
		for _, ports := range []int{1, 100, 1000, 2768, 10000} {
			b.Run(strconv.Itoa(ports), func(b *testing.B) {
				r := rig.New(b)
				fill(r, ports)
				start(r)
				last := benchFirst + ports - 1
				if last%2 == 1 {
					last = max(last-1, benchFirst) // policy Cluster
				}
				until(b, r, last, "p1a", "p1b")
				for _, pod := range []string{"p1a", "p1b"} {
					r.Pods[pod].Run(b, "iptables-legacy", "-t", "raw", "-A", "PREROUTING", "-p", "udp", "-j", "DROP")
				}
				best := time.Hour
				for range 5 {
					r.Nodes["n1"].Run(b, "conntrack", "-F")
					best = min(best, flood(b, r.Client.Namespace, uint16(last), 10000))
				}
				b.ReportMetric(float64(best.Nanoseconds())/10000, "ns/flow")
				b.ReportMetric(0, "ns/op")
			})
		}
	})
}

// flood sends UDP packets to the node's port, each from another source, and returns how long that took.
func flood(b *testing.B, from *nettest.Namespace, port uint16, packets int) (took time.Duration) {
	var err error
	from.Do(func() {
		var socket int
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
