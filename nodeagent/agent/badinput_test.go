// SPDX-License-Identifier: Apache-2.0

package agent_test

import (
	"context"
	"fmt"
	"math"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/clbsync/clbsync/nodeagent/internal/nettest"
	"github.com/clbsync/clbsync/nodeagent/internal/rig"
)

// absurd are Services and slices that no API server would take, and some that it would.
func (s *scene) absurd() []runtime.Object {
	var objects []runtime.Object
	bad := func(name string, mod func(*corev1.Service)) {
		objects = append(objects, s.Service(name, 31900, false, []string{"p1a rs"}, mod)...)
	}
	for i, port := range []int32{-1, math.MinInt32, 65536, math.MaxInt32} {
		bad(fmt.Sprintf("port%d", i), func(svc *corev1.Service) { svc.Spec.Ports[0].NodePort = port })
	}
	bad("thief", func(svc *corev1.Service) { svc.Name = "zz-thief"; svc.Spec.Ports[0].NodePort = nodePort })
	bad("twins", func(svc *corev1.Service) { svc.Spec.Ports[1] = svc.Spec.Ports[0]; svc.Spec.Ports[1].NodePort = 31901 })
	bad("protocol", func(svc *corev1.Service) { svc.Spec.Ports[0].Protocol = "\"; -j ACCEPT" })
	bad("health", func(svc *corev1.Service) {
		balancer(svc)
		svc.Spec.ExternalTrafficPolicy, svc.Spec.HealthCheckNodePort = corev1.ServiceExternalTrafficPolicyLocal, -5
	})
	long := s.Service(strings.Repeat("x", 63), 31902, false, []string{"p1b rs"}, func(svc *corev1.Service) { svc.Spec.Ports[0].Name = longPort })
	*long[1].(*discoveryv1.EndpointSlice).Ports[0].Name = longPort
	objects = append(objects, long...)
	// A thousand endpoints, of which one is true.
	many := s.Service("many", 31903, false, []string{"p1a rs"})
	slice := many[1].(*discoveryv1.EndpointSlice)
	yes, node := true, "n9"
	for i := range 999 {
		slice.Endpoints = append(slice.Endpoints, discoveryv1.Endpoint{Addresses: []string{fmt.Sprintf("10.250.%d.%d", i/250, 1+i%250)},
			NodeName: &node, Conditions: discoveryv1.EndpointConditions{Ready: &yes, Serving: &yes}})
	}
	objects = append(objects, many...)
	lies := s.Service("lies", 31904, false, []string{"p1b rs"})
	lie := lies[1].(*discoveryv1.EndpointSlice)
	for _, address := range []string{"127.0.0.1", "0.0.0.0", "::1", "not an address", "224.0.0.5", "255.255.255.255", "fd00::1", "10.244.1.11\n-A INPUT -j DROP"} {
		lie.Endpoints = append(lie.Endpoints, discoveryv1.Endpoint{Addresses: []string{address}, Conditions: discoveryv1.EndpointConditions{Ready: &yes}})
	}
	lie.Endpoints = append(lie.Endpoints, discoveryv1.Endpoint{})
	lie.Ports = append(lie.Ports, discoveryv1.EndpointPort{})
	return append(objects, lies...)
}

var longPort = strings.Repeat("y", 63)

func TestBadInputHurtsNobodyElse(t *testing.T) {
	variants(t, func(t *testing.T, variant string) {
		s := newScene(t, variant)
		s.put(false, "p1a rs", "p2a rs")
		nettest.Until(t, 10*time.Second, "the Service answers", func() bool { return strings.Contains(s.ask("tcp4"), "<-n1") })
		l := startTraffic(t, s)
		s.API.Put(s.absurd()...)
		s.synced(t)
		l.goesOn(t, "bad Services and slices came")
		for port, want := range map[int]string{31902: "p1b<-n1", 31904: "p1b<-n1"} {
			if got := rig.Ask(s.Client.Namespace, "tcp4", fmt.Sprintf("192.168.0.11:%d", port), patience); got != want {
				t.Errorf("port %d says %q, want %q: what is good of bad input is used", port, got, want)
			}
		}
		chain := ""
		for line := range strings.Lines(s.Nodes["n1"].Run(t, "iptables-"+variant+"-save", "-t", "nat")) {
			if strings.Contains(line, "--dport 31903 ") && strings.Contains(line, "tcp") {
				fields := strings.Fields(line)
				chain = fields[len(fields)-1]
			}
		}
		if got := strings.Count(s.Nodes["n1"].Run(t, "iptables-"+variant, "-w", "-t", "nat", "-S", chain), "--to-destination"); got != 1000 {
			t.Errorf("%d rules lead to endpoints of a Service that has 1000", got)
		}
		for _, want := range []string{"nodePort -1 of port", "nodePort 65536", "belongs to rig/web:tcp", "is none of TCP, UDP, SCTP", "is no usable IPv4 address", "healthCheckNodePort -5"} {
			if !strings.Contains(s.agent.Log(), want) {
				t.Errorf("the log says nothing of %q", want)
			}
		}
	})
}

// A thousand changes per second: whoever changes among them waits for the sync that is under way and for one of his own.
func TestThousandChangesPerSecond(t *testing.T) {
	variants(t, func(t *testing.T, variant string) {
		const services = 100
		s := newScene(t, variant)
		s.put(false, "p1a rs")
		s.becomes(t, "tcp4", "p1a<-n1")
		var noise [services][2][]runtime.Object
		for i := range services {
			name := fmt.Sprintf("noise%02d", i)
			s.API.Put(s.Service(name, int32(31000+i), false, []string{"p1a rs"})...)
			noise[i] = [2][]runtime.Object{s.Slices(name, []string{"p1a rs"})[:1], s.Slices(name, []string{"p1b rs"})[:1]}
		}
		s.synced(t)
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		var changes atomic.Int64
		var wait sync.WaitGroup
		wait.Go(func() {
			ticker := time.NewTicker(10 * time.Millisecond)
			defer ticker.Stop()
			for n := 0; ctx.Err() == nil; n++ {
				<-ticker.C
				for i := range 10 {
					s.API.Put(noise[(10*n+i)%services][n/10%2]...)
					changes.Add(1)
				}
			}
		})
		start := time.Now()
		for round := range 5 {
			pod := []string{"p1b", "p2a"}[round%2]
			changed := time.Now()
			s.put(false, pod+" rs")
			// The agent gathers for 100 ms and a sync of this size takes a tenth of that; the rest is for a busy machine.
			nettest.Until(t, 3*time.Second, "a change among many reaches the kernel", func() bool { return s.ask("tcp4") == pod+"<-n1" })
			t.Logf("round %d: %v", round, time.Since(changed))
		}
		rate := float64(changes.Load()) / time.Since(start).Seconds()
		cancel()
		wait.Wait()
		if rate < 300 {
			t.Errorf("%.0f changes per second are not what was to be tested", rate)
		}
		// Nothing is lost: the last word of each Service counts.
		for i := range services {
			s.API.Put(noise[i][i%2]...)
		}
		s.synced(t)
		for i := range services {
			want := []string{"p1a<-n1", "p1b<-n1"}[i%2]
			if got := rig.Ask(s.Client.Namespace, "tcp4", fmt.Sprintf("192.168.0.11:%d", 31000+i), forgiving); got != want {
				t.Errorf("Service %d answers %q, want %q", i, got, want)
			}
		}
	})
}
