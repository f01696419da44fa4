// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/clbsync/clbsync/lab/machine"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	kubeletProcess    = "kubelet"
	containerdProcess = "containerd"

	podsCgroup = "pods" // below the machine's

	// kubeletStop is how long a kubelet may take to end; it has little to do at its end.
	kubeletStop = 10 * time.Second
)

// nodeMachine describes a node's machine. The kubelet insists on some settings of the whole host, which are masked:
// the host keeps its own.
func nodeMachine(n Node) machine.Spec {
	return machine.Spec{
		Name:    n.Name,
		Private: []string{"kubelet", "containerd", "cni"},
		Sysctls: routerSysctls(true),
		Cgroups: []string{podsCgroup},
		Masks: map[string]string{
			"vm/overcommit_memory":      "1",
			"vm/panic_on_oom":           "0",
			"kernel/panic":              "10",
			"kernel/panic_on_oops":      "1",
			"kernel/keys/root_maxkeys":  "1000000",
			"kernel/keys/root_maxbytes": "25000000",
		},
	}
}

// prepareNode boots the node's machine, connects it and starts its container runtime. It needs no API server.
func (c *Cluster) prepareNode(ctx context.Context, n Node, others []Node) error {
	if err := c.boot(nodeMachine(n)); err != nil {
		return err
	}
	if err := c.wireToBridge(ctx, n.Name, n.IP); err != nil {
		return err
	}
	if err := c.routePods(ctx, n, others); err != nil {
		return err
	}
	if err := c.writeNodeFiles(n); err != nil {
		return err
	}
	return c.essential(ctx, n.Name, containerdProcess, []string{"containerd", "--config=" + c.nodeFile(n, "containerd.toml")})
}

// importImages loads the images into the node's containerd, once that answers.
func (c *Cluster) importImages(ctx context.Context, n Node) error {
	m, err := c.machine(n.Name)
	if err != nil {
		return err
	}
	ctr := []string{"ctr", "--address=" + containerdSocket, "--namespace=k8s.io"}
	err = c.until(ctx, "containerd of "+n.Name+" answers", func(ctx context.Context) error {
		_, err := m.Output(ctx, append(slices.Clone(ctr), "version"))
		return err
	})
	if err != nil {
		return err
	}
	for _, image := range append([]string{c.image("pause")}, c.config.Images...) {
		if _, err := m.Output(ctx, append(slices.Clone(ctr), "images", "import", image)); err != nil {
			return fmt.Errorf("image %s on %s: %w", image, n.Name, err)
		}
	}
	return nil
}

// admit waits until the node is Ready, and then until its Service rules are written. It also gives the Node object its
// pod range, in place of the controller manager, which would choose one.
func (c *Cluster) admit(ctx context.Context, n Node) error {
	err := c.until(ctx, "node "+n.Name+" is Ready", func(ctx context.Context) error {
		return c.admitNode(ctx, n)
	})
	if err != nil {
		return err
	}
	return c.startProxy(ctx, n)
}

// StartKubelet starts the node's kubelet; one that runs is left alone.
func (c *Cluster) StartKubelet(ctx context.Context, node string) error {
	n, found := c.Node(node)
	if !found {
		return c.unknownNode(node)
	}
	if p := c.process(node, kubeletProcess); p != nil && !ended(p) {
		return nil
	}
	argv := []string{
		c.bin("kubelet"),
		"--config=" + c.nodeFile(n, "kubelet.yaml"),
		"--kubeconfig=" + c.kubeconfigFile("system-node-"+n.Name),
		"--hostname-override=" + n.Name,
		"--node-ip=" + n.IP.String(),
		"--v=2",
	}
	if c.config.ExternalCloudProvider {
		argv = append(argv, "--cloud-provider=external")
	} else {
		argv = append(argv, "--node-labels="+labelFlag(n.labels()))
	}
	return c.essential(ctx, node, kubeletProcess, argv)
}

// StopKubelet stops the node's kubelet; its pods keep running. It can be stopped only by the process that started it.
func (c *Cluster) StopKubelet(ctx context.Context, node string) error {
	if _, found := c.Node(node); !found {
		return c.unknownNode(node)
	}
	p := c.process(node, kubeletProcess)
	if p == nil {
		return fmt.Errorf("the kubelet of %s was started by another process", node)
	}
	ctx, cancel := context.WithTimeout(ctx, kubeletStop)
	defer cancel()
	return p.Stop(ctx)
}

// AddNode adds a node and waits until it is Ready. Numbers of removed nodes are not used again.
func (c *Cluster) AddNode(ctx context.Context) (Node, error) {
	c.mu.Lock()
	c.state.LastNode++
	number := c.state.LastNode
	c.mu.Unlock()
	if number > maxNodes {
		return Node{}, fmt.Errorf("node %d: a lab has addresses for %d nodes", number, maxNodes)
	}
	n := plannedNode(number, c.config.proxy(number))
	others := c.Nodes()
	if err := c.prepareNode(ctx, n, others); err != nil {
		return Node{}, err
	}
	if err := c.importImages(ctx, n); err != nil {
		return Node{}, err
	}
	if err := c.keepNodes(append(others, n)); err != nil {
		return Node{}, err
	}
	if err := errors.Join(c.wantAgent(ctx, n), c.StartKubelet(ctx, n.Name)); err != nil {
		return Node{}, err
	}
	return n, c.admit(ctx, n)
}

// PowerOff ends the node's machine and its pods at once. The Node object stays and becomes NotReady when the
// controller manager has missed it for long enough (50 s).
func (c *Cluster) PowerOff(ctx context.Context, node string) error {
	if _, found := c.Node(node); !found {
		return c.unknownNode(node)
	}
	m, err := c.machine(node)
	if err != nil {
		return err
	}
	return m.PowerOff(ctx)
}

// RemoveNode ends the node's machine and deletes its Node object.
func (c *Cluster) RemoveNode(ctx context.Context, node string) error {
	n, found := c.Node(node)
	if !found {
		return c.unknownNode(node)
	}
	if err := c.PowerOff(ctx, node); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	others := slices.DeleteFunc(c.Nodes(), func(other Node) bool { return other.Name == node })
	if err := c.keepNodes(others); err != nil {
		return err
	}
	if err := c.unroutePods(ctx, n, others); err != nil {
		return err
	}
	err := c.Clientset().CoreV1().Nodes().Delete(ctx, node, metav1.DeleteOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

func (c *Cluster) unknownNode(node string) error {
	return fmt.Errorf("lab %s has no node %q", c.Name, node)
}

func (c *Cluster) nodeFile(n Node, name string) string {
	return filepath.Join(c.lab.Dir(), n.Name, name)
}
