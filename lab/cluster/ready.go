// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// admitNode gives the Node object its pod range if it has none, and returns nil once the node is Ready and takes pods.
// A node that still waits for a cloud controller counts as Ready: Start cannot wait for what its caller starts.
func (c *Cluster) admitNode(ctx context.Context, n Node) error {
	nodes := c.Clientset().CoreV1().Nodes()
	object, err := nodes.Get(ctx, n.Name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	if object.Spec.PodCIDR == "" {
		patch := fmt.Sprintf(`{"spec":{"podCIDR":%q,"podCIDRs":[%q]}}`, n.PodCIDR, n.PodCIDR)
		_, err := nodes.Patch(ctx, n.Name, types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{})
		if err != nil {
			return err
		}
	}
	for _, condition := range object.Status.Conditions {
		if condition.Type == corev1.NodeReady && condition.Status != corev1.ConditionTrue {
			return fmt.Errorf("node %s is not Ready: %s", n.Name, condition.Message)
		}
	}
	if len(object.Status.Conditions) == 0 {
		return fmt.Errorf("node %s has no conditions yet", n.Name)
	}
	for _, taint := range object.Spec.Taints {
		if taint.Key == corev1.TaintNodeNotReady {
			return fmt.Errorf("node %s still has taint %s", n.Name, taint.Key)
		}
	}
	return nil
}

// finish waits for what pods need besides nodes.
func (c *Cluster) finish(ctx context.Context) error {
	err := c.until(ctx, "pods can be created in namespace default", func(ctx context.Context) error {
		_, err := c.Clientset().CoreV1().ServiceAccounts(metav1.NamespaceDefault).Get(ctx, "default", metav1.GetOptions{})
		return err
	})
	if err != nil || !c.config.DNS {
		return err
	}
	return c.startDNS(ctx)
}
