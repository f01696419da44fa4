// SPDX-License-Identifier: Apache-2.0

package lbsync

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/clbsync/clbsync/internal/kubetest"
	"github.com/clbsync/clbsync/lbsync/annotation"
)

// directSnapshot is a Service with so many pods as targets, of some ports, in slices of 100 endpoints as Kubernetes makes them, on
// 500 nodes. Those before them, ending in number, still serve and are going.
func directSnapshot(ports, ending, pods int) Snapshot {
	svc := Service{Service: kubetest.Service("web"), Options: annotation.Options{DirectAccess: new(true)}}
	svc.Spec.Ports = nil
	var numbers []discoveryv1.EndpointPort
	for i := range ports {
		name := fmt.Sprintf("p%d", i)
		svc.Spec.Ports = append(svc.Spec.Ports, corev1.ServicePort{Name: name, Protocol: corev1.ProtocolTCP, Port: int32(8000 + i)})
		numbers = append(numbers, discoveryv1.EndpointPort{Name: &name, Port: new(int32(9000 + i)), Protocol: new(corev1.ProtocolTCP)})
	}
	for begin := 0; begin < ending+pods; begin += 100 {
		var endpoints []discoveryv1.Endpoint
		for i := begin; i < min(begin+100, ending+pods); i++ {
			endpoint := kubetest.Ready
			if i < ending {
				endpoint = kubetest.Terminating
			}
			endpoints = append(endpoints, endpoint(fmt.Sprintf("n%d", 1+i%500), netip.AddrFrom4([4]byte{10, byte(16 + i>>16), byte(i >> 8), byte(i)}).String()))
		}
		slice := kubetest.Slice("web", endpoints...)
		slice.Name, slice.Ports = fmt.Sprintf("web-%d", begin), numbers
		svc.Slices = append(svc.Slices, slice)
	}
	settings := DefaultSettings()
	settings.ClusterID, settings.VPCID = "cls-demo", "vpc-2ab3c4d5"
	return Snapshot{Settings: settings, Services: []Service{svc}, Hosts: NewHosts(settings, kubetest.Nodes(500), nil)}
}

// BenchmarkDirect is what one sync decides for a Service with pods as targets: what is wanted, and the next step of a rollout that
// has replaced a tenth of the pods and waits for the new ones to become healthy.
func BenchmarkDirect(b *testing.B) {
	for _, size := range []struct{ ports, pods int }{{1, 1000}, {1, 10_000}, {10, 1000}, {10, 10_000}} {
		of := fmt.Sprintf("ports=%d/pods=%d", size.ports, size.pods)
		old, now := directSnapshot(size.ports, 0, size.pods), directSnapshot(size.ports, size.pods/10, size.pods)
		actual, _ := Desired(old)
		actual.Instance.ID = "lb-00000001"
		desired, _ := Desired(now)
		at := time.Unix(10_000, 0)
		memory := Memory(nil).Update(actual, desired, at.Add(-time.Hour))
		var fresh []Binding
		begun := Next(actual, desired, Observation{Now: at, Memory: memory}, now.Settings.Timing)
		for _, c := range begun.Plan.Register {
			actual.Targets[c.Binding] = c.Weight
			fresh = append(fresh, c.Binding)
		}
		memory = memory.Update(actual, desired, at)
		seen := Observation{Now: at.Add(time.Second), Memory: memory, Health: map[Binding]Health{}}
		for t := range actual.Targets {
			seen.Health[t] = Healthy
		}
		for _, t := range fresh {
			delete(seen.Health, t)
		}
		b.Run("Desired/"+of, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if lb, _ := Desired(now); len(lb.Targets) != size.ports*size.pods*11/10 {
					b.Fatal(len(lb.Targets))
				}
			}
		})
		b.Run("Memory/"+of, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if m := memory.Update(actual, desired, seen.Now); len(m) != len(actual.Targets) {
					b.Fatal(len(m))
				}
			}
		})
		b.Run("Next/"+of, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if step := Next(actual, desired, seen, now.Settings.Timing); len(step.Waits) != size.ports*size.pods/10 {
					b.Fatal(len(step.Waits))
				}
			}
		})
		b.Run("InStep/"+of, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if step := Next(desired, desired, seen, now.Settings.Timing); !step.Plan.Empty() || len(step.Waits) > 0 {
					b.Fatal(step)
				}
			}
		})
		b.Run("Plan/"+of, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if text := begun.Plan.String(); len(text) < 10*size.pods/10 {
					b.Fatal(text)
				}
			}
		})
	}
}
