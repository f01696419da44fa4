// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"

	"github.com/clbsync/clbsync/lab/machine"
)

// ProxyKind says who programs a node's Service rules. It is a flag.Value.
type ProxyKind string

// Who serves what on a node.
const (
	// NodeAgent: clb-node-agent has all NodePorts and health check ports. kube-proxy runs beside it for addresses
	// of Services, restricted so that it has no rule for a NodePort and holds no health check port: what answers there
	// can only be the agent.
	NodeAgent ProxyKind = "agent"
	KubeProxy ProxyKind = "kube-proxy" // kube-proxy has everything
	// Restricted is NodeAgent without the agent: whoever serves NodePorts, such as a DaemonSet, is the caller's.
	Restricted ProxyKind = "restricted"
	NoProxy    ProxyKind = "none" // nobody; whoever wants to be it then runs there
)

// Set reads a flag.
func (k *ProxyKind) Set(text string) error {
	switch kind := ProxyKind(text); kind {
	case NodeAgent, KubeProxy, Restricted, NoProxy:
		*k = kind
		return nil
	}
	return fmt.Errorf("want %s, %s, %s or %s", NodeAgent, KubeProxy, Restricted, NoProxy)
}

func (k *ProxyKind) String() string { return string(*k) }

// Everywhere gives every node this proxy, for Config.Proxy.
func (k ProxyKind) Everywhere() func(node int) ProxyKind { return func(int) ProxyKind { return k } }

const (
	proxyProcess = "kube-proxy"
	agentProcess = "clb-node-agent"

	proxyHealthPort = 10256
	agentHealthPort = 10356

	// agentAccount is who the agents are to the API server. They show a certificate with this name, which, unlike a
	// token, is valid for as long as a lab may run.
	agentAccount = "system:serviceaccount:" + productNamespace + ":clbsync-" + AgentComponent
)

// noNodePorts is the agent's own advice to operators: no node has such an address. With 127.0.0.0/8 kube-proxy would hold
// the health check ports on loopback, and nobody else could open them everywhere.
var noNodePorts = []string{"192.0.2.0/24", "100::/64"}

// gateRight is what the chart adds to the agent's rights with agent.readinessGate, for the flag --readiness-gate.
const gateRight = `---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata:
  name: clbsync-agent-readiness-gate
rules:
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata:
  name: clbsync-agent-readiness-gate
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: ClusterRole
  name: clbsync-agent-readiness-gate
subjects:
- kind: ServiceAccount
  name: clbsync-agent
  namespace: kube-system
`

// runsKubeProxy tells whether kube-proxy is one of the node's programs.
func (n Node) runsKubeProxy() bool { return n.Proxy != NoProxy }

// kubeProxyAddresses is what kube-proxy's nodePortAddresses is, null for all, in JSON.
func (n Node) kubeProxyAddresses() string {
	if n.Proxy == KubeProxy {
		return "null"
	}
	return `["` + strings.Join(noNodePorts, `","`) + `"]`
}

// wantAgent prepares the cluster for agents, if one of the nodes is to have one. The API server must be ready.
func (c *Cluster) wantAgent(ctx context.Context, nodes ...Node) error {
	for _, n := range nodes {
		if n.Proxy == NodeAgent {
			return c.grantAgent(ctx)
		}
	}
	return nil
}

func (c *Cluster) grantAgent(ctx context.Context) error {
	if _, err := os.Stat(c.bin(agentProcess)); err != nil {
		return fmt.Errorf("the node agent is not built yet: %w: run `go run ./cmd/lab build --product` in lab/", err)
	}
	rights, err := ProductRights(c.dir.Root(), AgentComponent)
	if err != nil {
		return err
	}
	apply := c.KubectlCommand(ctx, "apply", "-f", "-")
	apply.Stdin = strings.NewReader(rights + gateRight)
	if out, err := apply.CombinedOutput(); err != nil {
		return fmt.Errorf("rights of the node agent: %w\n%s", err, out)
	}
	_, err = c.UserKubeconfig(agentAccount, "system:serviceaccounts", "system:serviceaccounts:kube-system")
	return err
}

// startProxy starts what the node has for Services and waits until rules are written. Its Node object must have its pod
// range.
func (c *Cluster) startProxy(ctx context.Context, n Node) error {
	if !n.runsKubeProxy() {
		return nil
	}
	if err := c.startKubeProxy(ctx, n); err != nil || n.Proxy != NodeAgent {
		return err
	}
	return c.startAgent(ctx, n)
}

func (c *Cluster) startKubeProxy(ctx context.Context, n Node) error {
	argv := []string{c.bin("kube-proxy"), "--config=" + c.nodeFile(n, "kube-proxy.yaml")}
	if err := c.essential(ctx, n.Name, proxyProcess, argv); err != nil {
		return err
	}
	return c.awaitProxy(ctx, n, "kube-proxy of "+n.Name+" is healthy", proxyHealthPort, "/healthz")
}

// startAgent comes after kube-proxy and the kubelet, whose traces say which iptables the node uses.
func (c *Cluster) startAgent(ctx context.Context, n Node) error {
	argv := []string{
		// Root, but with no more than the capabilities that the product's manifest gives it.
		"setpriv", "--bounding-set=-all,+net_admin,+net_raw",
		c.bin(agentProcess), "run",
		"--kubeconfig=" + c.kubeconfigFile(strings.ReplaceAll(agentAccount, ":", "-")),
		"--node-name=" + n.Name,
		"--mode=companion",
		"--pods=cidr:" + podRange.String(), // as kube-proxy beside it knows them
		"--readiness-gate",
		fmt.Sprintf("--address=:%d", agentHealthPort),
		"-v=2",
	}
	if err := c.essential(ctx, n.Name, agentProcess, argv); err != nil {
		return err
	}
	return c.awaitProxy(ctx, n, "the node agent of "+n.Name+" has its rules in the kernel", agentHealthPort, "/readyz")
}

func (c *Cluster) awaitProxy(ctx context.Context, n Node, what string, port uint16, path string) error {
	m, err := c.machine(n.Name)
	if err != nil {
		return err
	}
	client := m.HTTPClient()
	url := "http://" + netip.AddrPortFrom(n.IP, port).String() + path
	return c.until(ctx, what, func(ctx context.Context) error { return ok(ctx, client, url) })
}

// SetProxy changes who serves the NodePorts of a node, between KubeProxy and Restricted: it writes kube-proxy's
// configuration anew and starts it again. It works only in the process that started the cluster.
func (c *Cluster) SetProxy(ctx context.Context, node string, kind ProxyKind) error {
	n, found := c.Node(node)
	switch {
	case !found:
		return c.unknownNode(node)
	case kind != KubeProxy && kind != Restricted || n.Proxy != KubeProxy && n.Proxy != Restricted:
		return fmt.Errorf("node %s cannot change from %s to %s: want %s and %s", node, n.Proxy, kind, KubeProxy, Restricted)
	case n.Proxy == kind:
		return nil
	}
	nodes := c.Nodes()
	for i := range nodes {
		if nodes[i].Name == node {
			nodes[i].Proxy = kind
			n = nodes[i]
		}
	}
	if err := c.keepNodes(nodes); err != nil {
		return err
	}
	if err := c.writeNodeFiles(n); err != nil {
		return err
	}
	if p := c.process(node, proxyProcess); p != nil && !ended(p) {
		if err := p.Stop(ctx); err != nil {
			return err
		}
	}
	return c.startKubeProxy(ctx, n)
}

// KillNodePorts ends the program that serves the node's NodePorts as a crash does, with SIGKILL; what it has told the
// kernel stays. It can be killed only by the process that started it.
func (c *Cluster) KillNodePorts(node string) error {
	_, p, err := c.servesNodePorts(node)
	if err != nil {
		return err
	}
	if p == nil {
		return fmt.Errorf("what serves the NodePorts of %s was started by another process", node)
	}
	return p.Kill()
}

// StartNodePorts starts it again, and returns when it says that its rules are written. One that runs is left alone.
func (c *Cluster) StartNodePorts(ctx context.Context, node string) error {
	n, p, err := c.servesNodePorts(node)
	if err != nil || p != nil && !ended(p) {
		return err
	}
	if n.Proxy == KubeProxy {
		return c.startKubeProxy(ctx, n)
	}
	return c.startAgent(ctx, n)
}

// servesNodePorts returns the process for the node's NodePorts, nil if this process did not start it.
func (c *Cluster) servesNodePorts(node string) (Node, *machine.Process, error) {
	n, found := c.Node(node)
	switch {
	case !found:
		return n, nil, c.unknownNode(node)
	case n.Proxy == NodeAgent:
		return n, c.process(node, agentProcess), nil
	case n.Proxy == KubeProxy:
		return n, c.process(node, proxyProcess), nil
	}
	return n, nil, errors.New("nobody serves NodePorts on " + node)
}
