// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"

	"github.com/clbsync/clbsync/lbsync"
	"github.com/clbsync/clbsync/lbsync/annotation"
)

// podPatience is for the first list of pods, which the first plans look at where node agents serve gated pods.
const podPatience = 10 * time.Second

// pods knows the pods with our gate, and those with a weight of their own. It watches from the beginning if gates are
// worked on, and else from when the first Service has pods as targets: a watch of all pods is what a large cluster
// notices most.
type pods struct {
	informer cache.SharedIndexInformer
	synced   <-chan struct{} // closed when the handler has seen all pods that there were
	needed   chan struct{}   // a Service has pods as targets; nil: the informer runs in any case
	once     sync.Once
	listed   bool // those that matter were read, and none is watched
}

func newPods(c *Controller, cfg Config) (*pods, error) {
	always := cfg.Settings.Gate.Enabled && !cfg.DryRun
	informer, err := podInformer(cfg, always)
	if err != nil {
		return nil, err
	}
	p := &pods{informer: informer}
	if !always {
		p.needed = make(chan struct{})
	}
	registration, err := informer.AddEventHandler(podHandler(c.podChanged))
	if err != nil {
		return nil, fmt.Errorf("watch pods: %w", err)
	}
	p.synced = registration.HasSyncedChecker().Done()
	return p, nil
}

// read lists the pods that a Service selects, in the place of run: it is for a program that asks once.
func (p *pods) read(ctx context.Context, client kubernetes.Interface, svc *corev1.Service) error {
	if len(svc.Spec.Selector) > 0 {
		found, err := client.CoreV1().Pods(svc.Namespace).List(ctx, metav1.ListOptions{LabelSelector: labels.SelectorFromValidatedSet(svc.Spec.Selector).String(), ResourceVersion: "0"})
		if err != nil {
			return fmt.Errorf("pods of Service %s/%s: %w", svc.Namespace, svc.Name, err)
		}
		for i := range found.Items {
			kept, err := keepOfPod(&found.Items[i])
			if err == nil {
				err = p.informer.GetIndexer().Add(kept)
			}
			if err != nil {
				return fmt.Errorf("pod %s/%s: %w", svc.Namespace, found.Items[i].Name, err)
			}
		}
	}
	p.listed = true
	return nil
}

// known reports whether the pods have been seen, and has them looked for if nobody did so far.
func (p *pods) known() bool {
	if p.listed {
		return true
	}
	if p.needed != nil {
		p.once.Do(func() { close(p.needed) })
	}
	select {
	case <-p.synced:
		return true
	default:
		return false
	}
}

// run works until ctx ends: it watches as soon as that is needed, and has the CLBs of pods looked at once they are known.
func (p *pods) run(ctx context.Context, c *Controller) {
	var watch sync.WaitGroup
	defer watch.Wait()
	if p.needed != nil {
		select {
		case <-p.needed:
		case <-ctx.Done():
			return
		}
		watch.Go(func() { p.informer.RunWithContext(ctx) })
	}
	report := time.NewTicker(syncReport)
	defer report.Stop()
	for {
		select {
		case <-p.synced:
			c.each(func(k key, r reach) bool { return r.pods })
			return
		case <-ctx.Done():
			return
		case <-report.C:
			klog.FromContext(ctx).Error(nil, "Still waiting for the pods, readiness gates and the weights of pods stay as they are: may this controller list and watch pods?")
		}
	}
}

// first waits a while for the pods where plans depend on them: a node that was bound early for a pod should not
// be let go for the time that a new controller needs to see the pod. What cannot be had stops no CLB.
func (p *pods) first(ctx context.Context, s lbsync.Settings) {
	if p.needed != nil || !s.Gate.NodeAgent {
		return
	}
	select {
	case <-p.synced:
	case <-ctx.Done():
	case <-time.After(podPatience):
		klog.FromContext(ctx).Error(nil, "Beginning without the pods: may this controller list and watch them?", "waited", podPatience)
	}
}

// admitted returns the pods of a namespace that count as endpoints though they may not be ready.
func (p *pods) admitted(namespace string) map[types.UID]bool {
	found, err := p.informer.GetIndexer().ByIndex(byNamespace, namespace)
	if err != nil || len(found) == 0 {
		return nil // the index exists
	}
	out := make(map[types.UID]bool, len(found))
	for _, obj := range found {
		out[obj.(*keptPod).uid] = true
	}
	return out
}

// weights returns what the pods of a namespace say of their weights.
func (p *pods) weights(namespace string) map[types.UID]string {
	found, err := p.informer.GetIndexer().ByIndex(byWeight, namespace)
	if err != nil || len(found) == 0 {
		return nil // the index exists
	}
	out := make(map[types.UID]string, len(found))
	for _, obj := range found {
		out[obj.(*keptPod).uid] = obj.(*keptPod).weight
	}
	return out
}

// podChanged has the CLBs looked at of pods that came to be endpoints, or no longer are, or have another weight.
func (c *Controller) podChanged(before, after *keptPod) {
	c.gates.changed(before, after)
	same := before != nil && after != nil && before.uid == after.uid
	admitted := before.admitted() != after.admitted() || before.admitted() && !same
	weighted := before.ownWeight() != after.ownWeight() || before.ownWeight() != "" && !same
	if !admitted && !weighted {
		return
	}
	for _, p := range []*keptPod{before, after} {
		if p == nil {
			continue
		}
		for _, svc := range c.selecting(p) {
			options, _ := annotation.Parse(svc.Annotations)
			direct := c.settings.Direct(lbsync.Service{Service: svc, Options: options})
			if direct || admitted && c.settings.Gate.NodeAgent {
				c.queue.add(keyOf(svc), c.gathering, due{priority: c.since(lbsync.Normal)})
			}
		}
	}
}
