// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/klog/v2"

	"github.com/clbsync/clbsync/nodeagent"
)

type address = netip.Addr

// wayBack is how the answer of an endpoint on this node would leave to a client outside, and how the request came. Network
// plugins that give pods addresses of secondary network interfaces route by source: what comes in by eth0 is answered by
// eth1, where the network drops it, since the address in it is eth0's.
type wayBack struct {
	endpoint address
	uplink   string // the node's way to the world, where requests come in
	through  string // where the node reaches the endpoint
	leaves   string // where the endpoint's answers leave
}

const (
	returnPathMeans = "clients of Local NodePorts get no answer from these pods, while health checks say that all is well; Cluster NodePorts work"
	returnPathDo    = "have the network plugin send answers back by the way of the request (connmark on the primary interface and a rule for it before those by source), or use externalTrafficPolicy Cluster, or bind CLB to the pods"
)

// problem says what is wrong with the way back, "" if nothing is.
func (w wayBack) problem() string {
	switch {
	case w.through == w.uplink:
		return fmt.Sprintf("endpoint %s is reached by %s, like any host outside: its answers do not pass this node", w.endpoint, w.through)
	case w.leaves != w.uplink:
		return fmt.Sprintf("requests for endpoint %s come in by %s, its answers leave by %s", w.endpoint, w.uplink, w.leaves)
	}
	return ""
}

// waysMost bounds how many endpoints are looked at: they differ by the network plugin, not by themselves.
const waysMost = 64

// outside are addresses that stand for a client. They are documentation's: nothing is sent to them.
var outside = map[corev1.IPFamily]net.IP{corev1.IPv4Protocol: net.IPv4(203, 0, 113, 1), corev1.IPv6Protocol: net.ParseIP("2001:db8::1")}

// waysBack asks the kernel for the routes; it sends nothing. Endpoints of which the kernel says nothing, and those that
// are the node's own addresses, are left out.
func waysBack(family corev1.IPFamily, endpoints []address) []wayBack {
	client := outside[family]
	uplink, err := netlink.RouteGet(client)
	if err != nil || len(uplink) == 0 {
		return nil // a node without a way out has no clients outside
	}
	marks := rescuingMarks(family)
	var out []wayBack
	for _, e := range endpoints[:min(len(endpoints), waysMost)] {
		to, err := netlink.RouteGet(net.IP(e.AsSlice()))
		if err != nil || len(to) == 0 || to[0].Type == unix.RTN_LOCAL {
			continue
		}
		w := wayBack{endpoint: e, uplink: linkName(uplink[0].LinkIndex), through: linkName(to[0].LinkIndex)}
		for i, mark := range append([]uint32{0}, marks...) {
			back, err := netlink.RouteGetWithOptions(client, &netlink.RouteGetOptions{SrcAddr: net.IP(e.AsSlice()), IifIndex: to[0].LinkIndex, Mark: mark})
			if err == nil && len(back) > 0 && (i == 0 || back[0].LinkIndex == uplink[0].LinkIndex) {
				w.leaves = linkName(back[0].LinkIndex)
			}
		}
		if w.leaves != "" || w.through == w.uplink {
			out = append(out, w)
		}
	}
	return out
}

// rescuingMarks are the marks that policy routing knows: a network plugin that marks what came in by the primary interface
// has its answers leave there. That it does mark them is not to be seen in the routes, and is believed.
func rescuingMarks(family corev1.IPFamily) []uint32 {
	version := netlink.FAMILY_V4
	if family == corev1.IPv6Protocol {
		version = netlink.FAMILY_V6
	}
	rules, err := netlink.RuleList(version)
	if err != nil {
		return nil
	}
	var marks []uint32
	for _, r := range rules {
		if r.Mark != 0 && !slices.Contains(marks, r.Mark) {
			marks = append(marks, r.Mark)
		}
	}
	return marks
}

func linkName(index int) string {
	link, err := netlink.LinkByIndex(index)
	if err != nil {
		return fmt.Sprintf("interface %d", index)
	}
	return link.Attrs().Name
}

// returnPathLooks is how many times in a row the ways back must look different from what was told: the route to a pod that
// has just ended is gone some seconds before its endpoint is.
const returnPathLooks = 3

// returnPathShare bounds what the looks cost with thousands of Services: one part of the time in so many.
const returnPathShare = 100

// watchReturnPath looks at the ways back of the endpoints that Local NodePorts use, at the pace of the other checks:
// interfaces, rules and pods come and go. A change is an Event on the Node.
func (a *Agent) watchReturnPath(ctx context.Context) {
	told, lasted := map[string]bool{}, map[string]int{}
	for {
		start := time.Now()
		for _, f := range a.families {
			snapshot := nodeagent.Snapshot{NodeName: a.config.NodeName, Node: a.caches.node()}
			for _, svc := range a.caches.services() {
				if svc.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal {
					snapshot.Services = append(snapshot.Services, svc)
					snapshot.Slices = append(snapshot.Slices, a.caches.slicesOf(svc)...)
				}
			}
			local := localAddresses(nodeagent.Desired(snapshot, f.runner.Family), func(p nodeagent.ServicePort) bool { return p.Local })
			var problems []string
			for _, w := range waysBack(f.runner.Family, local) {
				if p := w.problem(); p != "" {
					problems = append(problems, p)
				}
			}
			a.metrics.noReturn.WithLabelValues(f.label()).Set(float64(len(problems)))
			bad := len(problems) > 0
			if lasted[f.label()]++; bad == told[f.label()] {
				lasted[f.label()] = 0
			}
			if lasted[f.label()] == returnPathLooks {
				lasted[f.label()] = 0
				told[f.label()] = bad
				a.tellReturnPath(ctx, f.label(), problems)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(max(a.config.CheckEvery, returnPathShare*time.Since(start))):
		}
	}
}

func (a *Agent) tellReturnPath(ctx context.Context, family string, problems []string) {
	logger := klog.FromContext(ctx).WithValues("family", family)
	if len(problems) == 0 {
		logger.Info("Answers of Local NodePorts leave by the way of the request again")
		a.nodeEvent(corev1.EventTypeNormal, "NodePortReturnPathWorks", "answers of Local NodePorts leave by the way of the request again ("+family+")")
		return
	}
	examples := strings.Join(problems[:min(len(problems), 3)], "; ")
	logger.Error(nil, "Answers of Local NodePorts do not leave by the way of the request", "endpoints", len(problems), "examples", examples)
	a.nodeEvent(corev1.EventTypeWarning, "NodePortReturnPathBroken", fmt.Sprintf("%s: %s; %s", examples, returnPathMeans, returnPathDo))
}
