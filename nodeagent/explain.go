// SPDX-License-Identifier: Apache-2.0

package nodeagent

import (
	"fmt"
	"net/netip"
	"strings"
)

// Explain says in words what the rules do with packets for a port, "" if it is nobody's. Each line is
// indented by two blanks.
func Explain(services Services, rules Rules, port uint16) string {
	var b strings.Builder
	for i, f := range rules.Frontends {
		if f.Port != port {
			continue
		}
		p := services.Ports[i] // NewRules keeps their order
		fmt.Fprintf(&b, "  %d/%s is a NodePort of Service %s, externalTrafficPolicy %s\n", port, f.Name.Protocol, f.Name, policy(p))
		for _, e := range p.Endpoints {
			fmt.Fprintf(&b, "    endpoint %s: %s\n", e.Address, state(e))
		}
		for _, from := range []struct {
			who    string
			source Source
		}{{"a client outside", Anyone}, {"a process on this node", ThisNode}, {"a pod of this cluster", Pods}} {
			fmt.Fprintf(&b, "  from %s: %s\n", from.who, f.words(from.source, rules))
		}
	}
	for _, h := range services.Health {
		if h.Port == port {
			fmt.Fprintf(&b, "  %d is the healthCheckNodePort of Service %s: %s\n", port, h.Service, healthWords(h))
		}
	}
	return b.String()
}

func policy(p ServicePort) string {
	if p.Local {
		return "Local"
	}
	return "Cluster"
}

func state(e Endpoint) string {
	where := "on another node"
	if e.Local {
		where = "on this node"
	}
	switch {
	case e.Ready:
		return where + ", ready"
	case e.Gated:
		return where + ", waiting for its readiness gate alone (used by Local, so that the load balancer can find this node healthy)"
	case e.servingTerminating():
		return where + ", terminating but still serving (used only if none is ready)"
	case e.Terminating:
		return where + ", terminating (not used)"
	}
	return where + ", not ready (not used)"
}

// words follows the steps for a source. A client outside matches only steps for anyone; pods that are not known
// are clients outside.
func (f Frontend) words(source Source, rules Rules) string {
	for _, step := range f.Steps {
		if step.From != Anyone && step.From != source {
			continue
		}
		seen := "the endpoint sees the client's address"
		if step.Masquerade {
			seen = "the endpoint sees this node's address"
		}
		pool := "any usable endpoint"
		if step.To == Local {
			pool = "the endpoints on this node"
		}
		return fmt.Sprintf("forwarded to %s (%s); %s", pool, join(f.Pool(step.To)), seen)
	}
	unknown := ""
	if source == Pods && !rules.Settings.Pods.Known(rules.Family) {
		unknown = " (pods cannot be told from other clients on this node: see --pods)"
	}
	if f.Otherwise == Reject {
		return "refused: no endpoint of the Service is usable anywhere"
	}
	return "dropped: policy Local, and no usable endpoint is on this node; the load balancer is to send elsewhere" + unknown
}

func join(list []netip.AddrPort) string {
	var words []string
	for _, a := range list {
		words = append(words, a.String())
	}
	return strings.Join(words, ", ")
}

func healthWords(h HealthPort) string {
	if len(h.Addresses) == 0 {
		return "503, no ready endpoint is on this node"
	}
	return fmt.Sprintf("200, %d ready endpoint addresses are on this node, once the rules are in the kernel", len(h.Addresses))
}
