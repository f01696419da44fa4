// SPDX-License-Identifier: Apache-2.0

// Package owner tells an agent that ends whether it ends for good: whether the DaemonSet that it runs for has been deleted. An
// update of the DaemonSet, a node that restarts and an agent that is evicted end it too, and then its rules have to stay; so
// everything that is not known for sure counts as that. The program clb-node-agent calls it; it never writes.
package owner

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
)

// patience bounds the last question to the API server, for which the end of the agent waits.
const patience = 3 * time.Second

// Owner is the DaemonSet. It is safe for concurrent use.
type Owner struct {
	client          kubernetes.Interface
	namespace, name string
	seen, gone      atomic.Bool
}

// Follow watches the DaemonSet NAMESPACE/NAME until ctx ends. It has to be watched while it is there: an uninstallation
// takes the right to ask away at about the same time as the DaemonSet, but a watch that is open goes on.
func Follow(ctx context.Context, client kubernetes.Interface, daemonset string) (*Owner, error) {
	namespace, name, ok := strings.Cut(daemonset, "/")
	if !ok || namespace == "" || name == "" || strings.Contains(name, "/") {
		return nil, fmt.Errorf("the DaemonSet is %q, want NAMESPACE/NAME", daemonset)
	}
	o := &Owner{client: client, namespace: namespace, name: name}
	factory := informers.NewSharedInformerFactoryWithOptions(client, 0, informers.WithNamespace(namespace),
		informers.WithTweakListOptions(func(l *metav1.ListOptions) {
			l.FieldSelector = fields.OneTermEqualSelector(metav1.ObjectNameField, name).String()
		}))
	informer := factory.Apps().V1().DaemonSets().Informer()
	if _, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    o.is,
		UpdateFunc: func(_, now any) { o.is(now) },
		DeleteFunc: func(last any) {
			if missed, ok := last.(cache.DeletedFinalStateUnknown); ok {
				last = missed.Obj
			}
			if d, ok := last.(*appsv1.DaemonSet); ok && o.ours(d) {
				o.gone.Store(true)
			}
		},
	}); err != nil {
		return nil, err
	}
	factory.StartWithContext(ctx)
	return o, nil
}

func (o *Owner) ours(d *appsv1.DaemonSet) bool { return d.Namespace == o.namespace && d.Name == o.name }

// is notes that the DaemonSet is there. One of the same name that was made anew takes over what the old one has left.
func (o *Owner) is(now any) {
	if d, ok := now.(*appsv1.DaemonSet); ok && o.ours(d) {
		o.seen.Store(true)
		o.gone.Store(d.DeletionTimestamp != nil)
	}
}

// Gone reports whether the DaemonSet was there and is deleted, or about to be. If that was not seen, it asks once more: the news
// may still be on its way.
func (o *Owner) Gone(ctx context.Context) bool {
	if o.gone.Load() || !o.seen.Load() {
		return o.gone.Load()
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	switch d, err := o.client.AppsV1().DaemonSets(o.namespace).Get(ctx, o.name, metav1.GetOptions{}); {
	case apierrors.IsNotFound(err):
		return true
	case err != nil:
		klog.FromContext(ctx).Error(err, "Leaving the rules as they are: whether the DaemonSet is still wanted cannot be found out", "daemonSet", klog.KRef(o.namespace, o.name))
		return o.gone.Load()
	default:
		return d.DeletionTimestamp != nil
	}
}
