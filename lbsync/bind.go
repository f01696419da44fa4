// SPDX-License-Identifier: Apache-2.0

package lbsync

import (
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/clbsync/clbsync/lbsync/annotation"
)

// bind adds the targets of a listener of a Service port to lb, with what is known about who answers behind them.
func (s Snapshot) bind(lb *LoadBalancer, svc Service, port corev1.ServicePort, k ListenerKey, choice choice, hosts *Hosts) []Skip {
	v := svc.IPVersion(s.CLB)
	pods, former := podsOf(svc, port, v.family())
	a := Answering{Port: uint16(port.NodePort), Direct: s.Settings.Direct(svc), Pods: answers(slices.Concat(pods, former), hosts), Former: addresses(former)}
	nodes := endpointsOf(svc, port, v.family())
	if local(svc) {
		a.Nodes = nodes.answering()
	}
	lb.Answering[k] = a
	if a.Direct {
		return s.direct(lb, svc, port, k, pods, hosts)
	}
	if nodes.none() {
		lb.Idle[k] = true
	}
	bound, skips := s.within(svc, port, weights(svc, k.Protocol, v, nodes, choice), "nodes",
		fmt.Sprintf(", or choose nodes with the annotation %s", annotation.Backends))
	for _, b := range bound {
		t := b.target
		t.Port = uint16(port.NodePort)
		lb.Targets[Binding{Listener: k, Target: t}] = b.weight
	}
	return skips
}

// within returns as many of the bound as the quota has room for.
func (s Snapshot) within(svc Service, port corev1.ServicePort, all []bound, what, else_ string) ([]bound, []Skip) {
	quota := s.TargetQuota
	if quota <= 0 || len(all) <= quota {
		return all, nil
	}
	return subset(all, quota, string(svc.UID)), []Skip{{Object: portName(port), Reason: QuotaExceeded, Warning: true, Message: fmt.Sprintf(
		"Port %s is bound to %d of %d %s, since CLB takes %d targets per listener (quota TOTAL_TARGET_BIND_QUOTA); ask for a larger quota%s",
		portName(port), quota, len(all), what, quota, else_)}}
}

// direct is bind for pods.
func (s Snapshot) direct(lb *LoadBalancer, svc Service, port corev1.ServicePort, k ListenerKey, pods []pod, hosts *Hosts) []Skip {
	var skips []Skip
	warn := func(reason Reason, format string, args ...any) {
		skips = append(skips, Skip{Object: portName(port), Reason: reason, Warning: true, Message: fmt.Sprintf("Port "+portName(port)+" "+format, args...)})
	}
	d := bindPods(svc, k, pods, hosts)
	lb.Idle[k] = d.idle && len(lb.Answering[k].Former) == 0
	all, other := lb.free(svc, k, d.bound)
	switch {
	case len(all) < len(d.bound):
		warn(TargetTaken, "is not bound to %d of its pods: CLB binds an address and port to one listener of a protocol, and %s has them; give the ports of the Service different target ports, or use node ports (%s: \"false\")",
			len(d.bound)-len(all), other, annotation.DirectAccess)
	case d.onHost > 0:
		warn(PodOnHost, "is not bound to %d of its %s: they are in the network of their node (hostNetwork), whose address is no pod's; direct access needs pods with addresses of their own", d.onHost, plural(len(pods), "pod"))
	}
	if len(all) == 0 && d.served > 0 && len(skips) == 0 {
		warn(NoDirectTarget, "has no pod that could be bound (TKE's code for it is E4033)")
	}
	bound, more := s.within(svc, port, all, "pods", "")
	for _, b := range bound {
		lb.Targets[Binding{Listener: k, Target: b.target}] = b.weight
	}
	return append(skips, more...)
}

// free returns those of a Service's bound that no other listener has, and the listener that has the last of the others.
func (l LoadBalancer) free(svc Service, k ListenerKey, all []bound) (free []bound, other ListenerKey) {
	free = all
	if k.Protocol.layer7() {
		return free, other // Rules may share targets.
	}
	ports := svc.targetPorts(k.Port)
	for _, o := range slices.SortedFunc(maps.Keys(l.Answering), ListenerKey.compare) { // of those that come before
		if o == k || o.Protocol != k.Protocol || !l.Answering[o].Direct || !meet(ports, svc.targetPorts(o.Port)) {
			continue // Looking at each pod for each pair of ports would be in vain but for a mistake.
		}
		left := free[:0:0]
		for _, b := range free {
			if _, taken := l.Targets[Binding{Listener: o, Target: b.target}]; taken {
				other = o
			} else {
				left = append(left, b)
			}
		}
		free = left
	}
	return free, other
}

// targetPorts returns the ports of the pods behind the Service's ports of a number.
func (s Service) targetPorts(number uint16) map[uint16]bool {
	out := map[uint16]bool{}
	for _, port := range s.Spec.Ports {
		if uint16(port.Port) != number {
			continue
		}
		for _, slice := range s.Slices {
			out[portIn(slice, port)] = true
		}
	}
	return out
}

func meet(a, b map[uint16]bool) bool {
	for port := range a {
		if b[port] {
			return true
		}
	}
	return false
}

// answering returns the nodes on which somebody serves.
func (e endpoints) answering() map[string]bool {
	out := map[string]bool{}
	for _, counts := range []map[string]int{e.ready, e.serving} {
		for node := range counts {
			out[node] = true
		}
	}
	return out
}
