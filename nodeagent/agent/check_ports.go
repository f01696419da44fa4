// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/clbsync/clbsync/nodeagent"
	"github.com/clbsync/clbsync/nodeagent/healthcheck"
	"github.com/clbsync/clbsync/nodeagent/sockets"
)

// owner is what a port belongs to.
type owner struct {
	service string
	health  bool
}

// ports looks who listens on ports that belong to Services. Without Services it looks at the whole range.
func ports(ctx context.Context, mode Mode, services []nodeagent.Services) []Finding {
	var listening []listener
	owned := owners(services)
	for _, s := range sockets.Listening() {
		l := listener{protocolPort{s.Protocol, s.Port}, s.Owner}
		if owned[l.protocolPort].health {
			l.who = func() string { return holder(ctx, "127.0.0.1", s.Port, s.Owner()) }
		}
		listening = append(listening, l)
	}
	return portFindings(mode, owned, services != nil, listening)
}

// holder names who holds a health check port, of which the process that listens is known. A pod cannot look into the processes of
// its node, and would take the agent itself, or kube-proxy, for somebody in the way; and in k3s kube-proxy is a part of another
// program. Who answers tells. What it says of kube-proxy begins with that name.
func holder(ctx context.Context, host string, port uint16, process string) string {
	who := speaker(ctx, host, port)
	switch {
	case who == "":
	case strings.HasPrefix(process, sockets.Unnamed):
		return who
	case who == proxyByAnswer && !strings.HasPrefix(process, "kube-proxy "):
		return who + " in " + process
	}
	return process
}

// speaker asks a health check port who answers there. It is empty if nobody that we know does.
func speaker(ctx context.Context, host string, port uint16) string {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+net.JoinHostPort(host, fmt.Sprint(port))+"/", nil)
	if err != nil {
		return ""
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return ""
	}
	defer answer.Body.Close()
	switch server := answer.Header.Get("Server"); {
	case server == healthcheck.Name:
		return healthcheck.Name + " (by its answer)"
	case server == "" && answer.Header.Get(healthcheck.Weight) != "":
		return proxyByAnswer
	}
	return ""
}

// proxyByAnswer is what speaker says of kube-proxy.
const proxyByAnswer = "kube-proxy (by its answer)"

// listener is a process that listens; who it is costs a look at all processes, and is asked only for those that matter.
type listener struct {
	protocolPort
	who func() string
}

func owners(services []nodeagent.Services) map[protocolPort]owner {
	all := map[protocolPort]owner{}
	for _, s := range services {
		for _, p := range s.Ports {
			all[protocolPort{p.Name.Protocol, p.NodePort}] = owner{service: p.Name.String()}
		}
		for _, h := range s.Health {
			all[protocolPort{corev1.ProtocolTCP, h.Port}] = owner{service: h.Service.String(), health: true}
		}
	}
	return all
}

func portFindings(mode Mode, owners map[protocolPort]owner, known bool, listening []listener) []Finding {
	var out []Finding
	seen := map[protocolPort]bool{}
	slices.SortStableFunc(listening, func(a, b listener) int {
		return cmp.Or(cmp.Compare(a.port, b.port), cmp.Compare(a.protocol, b.protocol))
	})
	for _, l := range listening {
		inRange := l.port >= nodePortFirst && l.port <= nodePortLast
		o, owned := owners[l.protocolPort]
		if seen[l.protocolPort] || !owned && (known || !inRange) {
			continue
		}
		seen[l.protocolPort] = true
		who, port := l.who(), fmt.Sprintf("%d/%s", l.port, l.protocol)
		ours := strings.HasPrefix(who, "clb-node-agent ") || mode == Override && strings.HasPrefix(who, "kube-proxy ")
		switch {
		case owned && o.health && ours:
			out = append(out, fine("port %s, the healthCheckNodePort of Service %s, is answered by %s", port, o.service, who))
		case owned && o.health:
			out = append(out, Finding{true, fmt.Sprintf("port %s, the healthCheckNodePort of Service %s, is held by %s", port, o.service, who),
				"the load balancer hears that program in place of the agent, and sends to this node, or does not, for the wrong reason", freePort(who)})
		case owned:
			out = append(out, Finding{true, fmt.Sprintf("port %s, a NodePort of Service %s, is held by %s", port, o.service, who),
				"the Service gets the packets; that program hears nothing at the addresses of this node", "give the program another port, or the Service another nodePort"})
		case !ours && !strings.HasPrefix(who, "kube-proxy "):
			out = append(out, Finding{true, fmt.Sprintf("port %s, in the range of NodePorts, is held by %s", port, who),
				"if the API server hands the port to a Service, that Service gets the packets, and that program nothing", "move the program to a port below the range"})
		}
	}
	if len(seen) == 0 {
		out = append(out, fine("no other program listens on ports of Services"))
	}
	return out
}

func freePort(holder string) string {
	if strings.HasPrefix(holder, "kube-proxy ") {
		return "run kube-proxy with " + RestrictFlag + ", or this agent with --mode=override"
	}
	return "stop that program or move it; the agent opens the port within ten seconds"
}
