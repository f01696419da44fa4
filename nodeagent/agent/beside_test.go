// SPDX-License-Identifier: Apache-2.0

package agent_test

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/clbsync/clbsync/nodeagent/internal/nettest"
	"github.com/clbsync/clbsync/nodeagent/internal/rig"
)

// These tests hold what the agent does better than kube-proxy v1.37.2 in iptables mode. Given -kube-proxy they show also
// that it does: when it fails here, it has been mended, and a deviation can be struck off the list.

func clientIP(svc *corev1.Service) {
	seconds := int32(600)
	svc.Spec.SessionAffinity = corev1.ServiceAffinityClientIP
	svc.Spec.SessionAffinityConfig = &corev1.SessionAffinityConfig{ClientIP: &corev1.ClientIPConfig{TimeoutSeconds: &seconds}}
}

// contestants runs fn with the agent, and with kube-proxy if its binary is given.
func contestants(t *testing.T, fn func(t *testing.T, s *scene, agent bool), mods ...func(*corev1.Service)) {
	variants(t, func(t *testing.T, variant string) {
		t.Run("agent", func(t *testing.T) { fn(t, newScene(t, variant, mods...), true) })
		if *kubeProxy == "" {
			return
		}
		t.Run("kube-proxy", func(t *testing.T) {
			s := &scene{Rig: rig.New(t), mods: mods}
			s.API.Put(rig.Node("n1"))
			s.agent = s.KubeProxy(t, *kubeProxy, "n1", variant, "")
			fn(t, s, false)
		})
	})
}

// Three hundred clients of one endpoint pair: each stays where it was. A list of the kernel's "recent" match, which
// kube-proxy uses, forgets two hundred of them, and of those every second finds another pod.
func TestAffinityOfThreeHundredClients(t *testing.T) {
	contestants(t, func(t *testing.T, s *scene, agent bool) {
		const clients = 300
		s.Client.Run(t, "ip", "route", "add", "local", "198.18.0.0/22", "dev", "lo")
		s.Nodes["n1"].Run(t, "ip", "route", "add", "198.18.0.0/22", "via", s.Client.IPv4.String())
		s.put(false, "p1a rs", "p1b rs")
		nettest.Until(t, 20*time.Second, "the Service answers", func() bool { return strings.HasPrefix(s.ask("tcp4"), "p1") })
		askFrom := func(i int) (answer string) {
			s.Client.Do(func() {
				local := &net.TCPAddr{IP: net.IPv4(198, 18, byte(i/200), byte(1+i%200))}
				c, err := (&net.Dialer{LocalAddr: local, Timeout: forgiving}).Dial("tcp4", fmt.Sprintf("192.168.0.11:%d", nodePort))
				if err != nil {
					answer = err.Error()
					return
				}
				defer c.Close()
				answer = rig.AskAgain(c, forgiving)
			})
			return answer
		}
		first, seen, moved := make([]string, clients), map[string]int{}, 0
		for i := range clients {
			first[i] = askFrom(i)
			seen[first[i]]++
		}
		for i := range clients {
			if askFrom(i) != first[i] {
				moved++
			}
		}
		t.Logf("%d of %d clients moved", moved, clients)
		if agent != (moved == 0) || seen["p1a<-n1"] < clients/4 || seen["p1b<-n1"] < clients/4 {
			t.Errorf("%d of %d clients moved, endpoints were chosen %v; want both chosen, none moved by the agent and some by kube-proxy", moved, clients, seen)
		}
	}, clientIP)
}

// A UDP flow that a client keeps alive ends when the Service has no endpoint any more, and when it is deleted. With
// kube-proxy it goes on to a pod that serves no longer.
func TestUDPFlowsEndWithTheirService(t *testing.T) {
	end := map[string]func(s *scene){
		"scaled to zero": func(s *scene) { s.put(false) },
		"deleted":        func(s *scene) { s.API.Delete(s.Service("web", nodePort, false, []string{"p1a rs"})...) },
	}
	contestants(t, func(t *testing.T, s *scene, agent bool) {
		for what, do := range end {
			s.put(false, "p1a rs")
			nettest.Until(t, 20*time.Second, "the Service answers", func() bool { return s.ask("udp4") == "p1a<-n1" })
			flow, err := rig.Dial(s.Client.Namespace, "udp4", fmt.Sprintf("192.168.0.11:%d", nodePort), patience)
			if err != nil {
				t.Fatal(err)
			}
			defer flow.Close()
			if got := rig.AskAgain(flow, patience); got != "p1a<-n1" {
				t.Fatalf("%s: before, the flow answers %q", what, got)
			}
			do(s)
			// New flows are refused once the sync is through; the old one has ended by then, or with the next moment.
			nettest.Until(t, 20*time.Second, what+": a new flow is refused", func() bool { return s.ask("udp4") == rig.Refused })
			if agent {
				nettest.Until(t, 2*time.Second, what+": the old flow is refused", func() bool { return rig.AskAgain(flow, patience) == rig.Refused })
				continue
			}
			for range 10 {
				if got := rig.AskAgain(flow, patience); got != "p1a<-n1" {
					t.Fatalf("%s: with kube-proxy the old flow answers %q; it was known to go on", what, got)
				}
			}
		}
	})
}
