// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"

	lbcontroller "github.com/clbsync/clbsync/lbsync/controller"
)

// mayRelease makes sure, when this process has become the leader, that nothing is deleted under a controller that is installed:
// the manifests of an uninstallation may have been applied by mistake.
func (p *program) mayRelease(ctx context.Context, client kubernetes.Interface) error {
	if p.unlessDeployment == "" {
		return nil
	}
	namespace, deployment, _ := strings.Cut(p.unlessDeployment, "/")
	switch d, err := client.AppsV1().Deployments(namespace).Get(ctx, deployment, metav1.GetOptions{}); {
	case apierrors.IsNotFound(err), err == nil && d.DeletionTimestamp != nil:
		return nil
	case err != nil:
		return fmt.Errorf("--unless-deployment=%s: %w", p.unlessDeployment, err)
	}
	return fmt.Errorf("no CLB is deleted: the Deployment %s is still installed", p.unlessDeployment)
}

// awaitRelease ends the program when no Service has a CLB of ours any more.
func (p *program) awaitRelease(ctx context.Context, c *lbcontroller.Controller, synced cache.InformerSynced) {
	logger := klog.FromContext(ctx)
	if !cache.WaitForCacheSync(ctx.Done(), synced) {
		return
	}
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for before := []string{""}; ; {
		left, err := c.Remaining()
		switch {
		case err != nil:
			logger.Error(err, "Cannot tell what is left to delete")
		case len(left) == 0:
			logger.Info("All CLBs of the cluster are deleted", "cluster", p.deleteOf)
			p.finish()
			return
		case !slices.Equal(left, before):
			logger.Info("Deleting the CLBs of the cluster", "cluster", p.deleteOf, "left", len(left), "services", strings.Join(left[:min(len(left), 20)], " "))
			before = left
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}
