// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"

	"github.com/clbsync/clbsync/internal/readinessgate"
)

// podPatience is how long the first rules wait for the pods of the node. Without them the node serves all that is ready,
// which is what most nodes need.
const podPatience = 10 * time.Second

// pod is what is kept of a pod of the node.
type pod struct {
	metav1.ObjectMeta      // name, namespace, UID and version
	gated             bool // nothing but our gate keeps it from being ready, or nothing any more
}

// keepOfPod is the transformation of the pods' cache.
func keepOfPod(object any) (any, error) {
	p, ok := object.(*corev1.Pod)
	if !ok {
		return object, nil
	}
	return &pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: p.Namespace, Name: p.Name, UID: p.UID, ResourceVersion: p.ResourceVersion},
		gated:      readinessgate.In(p) && !readinessgate.Since(p).IsZero(),
	}, nil
}

func (c *caches) watchPods(client kubernetes.Interface, changed func()) {
	c.pods = informers.NewSharedInformerFactoryWithOptions(client, 0, informers.WithTransform(keepOfPod), informers.WithTweakListOptions(func(o *metav1.ListOptions) {
		o.FieldSelector = fields.OneTermEqualSelector("spec.nodeName", c.nodeName).String()
	})).Core().V1().Pods().Informer()
	gated := func(object any) bool {
		p, ok := object.(*pod)
		return ok && p.gated
	}
	c.add(c.pods, cache.ResourceEventHandlerFuncs{
		AddFunc: func(now any) {
			if gated(now) {
				changed()
			}
		},
		UpdateFunc: func(old, now any) {
			if gated(old) != gated(now) || gated(now) && old.(*pod).UID != now.(*pod).UID {
				changed()
			}
		},
		DeleteFunc: func(object any) {
			if gone, ok := object.(cache.DeletedFinalStateUnknown); ok {
				object = gone.Obj
			}
			if gated(object) {
				changed()
			}
		},
	})
}

// startPods runs the pods' cache, if there is one, and waits a while for it: a node whose pods cannot be listed must
// serve all the same.
func (c *caches) startPods(ctx context.Context) {
	if c.pods == nil {
		return
	}
	go c.pods.RunWithContext(ctx)
	patience, cancel := context.WithTimeout(ctx, podPatience)
	defer cancel()
	if !cache.WaitForCacheSync(patience.Done(), c.pods.HasSynced) && ctx.Err() == nil {
		klog.FromContext(ctx).Error(nil, "Beginning without the pods of this node, so that those that wait for their readiness gate do not serve yet: may the agent list and watch pods?", "waited", podPatience)
	}
}

// gated returns the pods of the node that wait for their gate alone, or for nothing any more; nil if there is none.
func (c *caches) gated() map[types.UID]bool {
	if c.pods == nil {
		return nil
	}
	var out map[types.UID]bool
	for _, p := range list[*pod](c.pods) {
		if !p.gated {
			continue
		}
		if out == nil {
			out = map[types.UID]bool{}
		}
		out[p.UID] = true
	}
	return out
}
