// SPDX-License-Identifier: Apache-2.0

package churn

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"syscall"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/clbsync/clbsync/lab/e2e"
	"github.com/clbsync/clbsync/lab/machine"
)

// leaves takes a node away as the cluster autoscaler does: taint and cordon, drain, end of the machine; its Node object goes
// after it.
func leaves(node string) func(context.Context, []*stage) error {
	return func(ctx context.Context, stages []*stage) error {
		lab := stages[0].Lab
		patch := `{"spec":{"unschedulable":true,"taints":[{"key":"ToBeDeletedByClusterAutoscaler","value":"1","effect":"NoSchedule"}]}}`
		if _, err := lab.Client.CoreV1().Nodes().Patch(ctx, node, types.MergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
			return err
		}
		err := together(stages, func(s *stage) error {
			if s.side == stock {
				return nil
			}
			return s.targets(ctx, node+" without new connections", func(targets []e2e.Target) bool { return open(targets, node) == "" })
		})
		if err != nil {
			return err
		}
		if err := together(stages, func(s *stage) error { return s.evict(ctx, node) }); err != nil {
			return err
		}
		if err := lab.RemoveNode(ctx, node); err != nil {
			return err
		}
		return together(stages, func(s *stage) error {
			return s.targets(ctx, node+" not bound", func(targets []e2e.Target) bool {
				return !slices.ContainsFunc(targets, func(t e2e.Target) bool { return t.Node == node })
			})
		})
	}
}

// open returns the node's name if it has a weight, or "".
func open(targets []e2e.Target, node string) string {
	for _, t := range targets {
		if t.Node == node && t.Weight > 0 {
			return node
		}
	}
	return ""
}

// evict drains the node of the stage's pods, and waits until they have ended.
func (s *stage) evict(ctx context.Context, node string) error {
	for {
		pods, err := s.podsNow(ctx)
		if err != nil {
			return err
		}
		pods = slices.DeleteFunc(pods, func(p corev1.Pod) bool { return p.Spec.NodeName != node })
		if len(pods) == 0 {
			return nil
		}
		for _, p := range pods {
			if p.DeletionTimestamp != nil {
				continue
			}
			err := s.Client.PolicyV1().Evictions(s.namespace()).Evict(ctx, &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Namespace: p.Namespace, Name: p.Name}})
			if err != nil && !apierrors.IsNotFound(err) {
				return err
			}
		}
		if err := s.more(ctx, 20); err != nil {
			return err
		}
	}
}

// left says that the node had connections before, and that it was drained before it went.
func left(node string) func(row) error {
	return func(r row) error {
		if r.policyIsLocal() && r.tcp.ByNode[node] == 0 {
			return fmt.Errorf("no pod of %s answered: %v", node, r.tcp.ByNode)
		}
		return drained(node)(r)
	}
}

// controllers are replicas of our controller of which one leads.
type controllers struct {
	lab      *e2e.Lab
	replicas []*machine.Process // the first one leads
	started  int
}

// settings are those of all replicas, and of a controller that is alone.
func settings() e2e.Settings { return e2e.CloudConfig() }

const (
	leaseNamespace = "kube-system"
	leaseName      = "clb-cloud-controller-manager"
	firstPort      = 10300 // of the replicas' /healthz; each has its own
)

// startControllers starts two replicas.
func startControllers(ctx context.Context, lab *e2e.Lab) (*controllers, error) {
	c := &controllers{lab: lab}
	if err := c.add(ctx); err != nil {
		return c, err
	}
	if _, err := c.leader(ctx, ""); err != nil {
		return c, err
	}
	return c, c.add(ctx)
}

func (c *controllers) add(ctx context.Context) error {
	c.started++
	p, err := c.lab.StartReplica(ctx, fmt.Sprintf("controller-%d", c.started), firstPort+c.started, settings(),
		append(slices.Clone(ourFlags), "--leader-elect=true")...)
	if p != nil {
		c.replicas = append(c.replicas, p)
	}
	return err
}

// leader waits until somebody other than before holds the lease, and returns who.
func (c *controllers) leader(ctx context.Context, before string) (who string, err error) {
	err = wait.PollUntilContextCancel(ctx, poll, true, func(ctx context.Context) (bool, error) {
		lease, err := c.lab.Client.CoordinationV1().Leases(leaseNamespace).Get(ctx, leaseName, metav1.GetOptions{})
		if err != nil || lease.Spec.HolderIdentity == nil {
			return false, nil
		}
		who = *lease.Spec.HolderIdentity
		return who != "" && who != before, nil
	})
	if err != nil {
		err = fmt.Errorf("nobody but %q holds the lease %s: %w", before, leaseName, context.Cause(ctx))
	}
	return who, err
}

// end ends the leader with the signal, waits for its successor and puts another replica behind that.
func (c *controllers) end(ctx context.Context, signal syscall.Signal) error {
	before, err := c.leader(ctx, "")
	if err != nil {
		return err
	}
	if err := c.replicas[0].Signal(signal); err != nil {
		return err
	}
	_ = c.replicas[0].Wait() // how it ended is known
	c.replicas = c.replicas[1:]
	if _, err := c.leader(ctx, before); err != nil {
		return err
	}
	return c.add(ctx)
}

// stop ends all replicas.
func (c *controllers) stop(ctx context.Context) error {
	var errs []error
	for _, p := range c.replicas {
		if err := p.Stop(ctx); err != nil && !errors.Is(err, os.ErrProcessDone) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// during moves the pod and lets what happens happen in the middle of the handover: the new node is bound, and the old one
// still has its connections. The stock side only moves.
func during(happens func(context.Context) error, midway *int) func(context.Context, *stage) error {
	return func(ctx context.Context, s *stage) error {
		if s.side == stock {
			return move(ctx, s)
		}
		from, to := "n2", "n3"
		if s.passed%2 == 1 {
			from, to = to, from
		}
		if _, err := s.Apply(ctx, s.workload(s.pods, on(to))); err != nil {
			return err
		}
		both := func(targets []e2e.Target) bool { return open(targets, from) != "" && open(targets, to) != "" }
		if err := s.targets(ctx, "both "+from+" and "+to+" open", both); err != nil {
			return err
		}
		if err := happens(ctx); err != nil {
			return err
		}
		*midway++
		if err := s.Deploy(ctx, s.workload(s.pods, on(to))); err != nil {
			return err
		}
		return s.settled(ctx)
	}
}
