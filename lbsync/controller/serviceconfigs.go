// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"

	"github.com/clbsync/clbsync/lbsync"
	"github.com/clbsync/clbsync/lbsync/annotation"
	"github.com/clbsync/clbsync/lbsync/serviceconfig"
)

const (
	configsLook     = 30 * time.Second // how often a cluster is asked whether it knows TkeServiceConfigs by now
	configsPatience = 10 * time.Second // how long Run waits for them; after that, Services that name none do not wait any more
)

var configResource = schema.GroupVersionResource{Group: serviceconfig.Group, Version: serviceconfig.Version, Resource: serviceconfig.Resource}

// configs knows the TkeServiceConfigs of the cluster. The kind may be absent, and may come: until it is there nothing is watched.
// Nil is a controller that does not follow them.
type configs struct {
	client    dynamic.Interface
	discovery discovery.DiscoveryInterfaceWithContext
	changed   func(namespace, name string)
	settled   chan struct{} // closed when it is known that there is no such kind, or all objects are known

	mu     sync.Mutex
	lister cache.GenericLister // nil: the cluster does not know the kind
	synced <-chan struct{}
}

func newConfigs(c *Controller, cfg Config) *configs {
	if cfg.Dynamic == nil {
		return nil
	}
	f := &configs{client: cfg.Dynamic, discovery: discovery.ToDiscoveryInterfaceWithContext(cfg.Client.Discovery()), settled: make(chan struct{})}
	f.changed = func(namespace, name string) {
		all, err := c.services.Services(namespace).List(labels.Everything())
		if err != nil {
			return // a lister over a cache has no error to give
		}
		for _, svc := range all {
			if configNamed(svc) == name && c.settings.Wants(svc) {
				c.queue.add(keyOf(svc), c.gathering, due{changed: true, priority: c.since(lbsync.Normal)})
			}
		}
	}
	return f
}

// configNamed returns the name of the TkeServiceConfig that a Service asks for; "" if it asks for none.
func configNamed(svc *corev1.Service) string {
	options, _ := annotation.Parse(map[string]string{
		annotation.ServiceConfig: svc.Annotations[annotation.ServiceConfig], annotation.ServiceConfigNew: svc.Annotations[annotation.ServiceConfigNew],
	})
	return nameOfConfig(svc, options)
}

func nameOfConfig(svc *corev1.Service, o annotation.Options) string {
	if o.ConfigAuto {
		return autoName(svc)
	}
	return o.ConfigName
}

func autoName(svc *corev1.Service) string { return svc.Name + annotation.AutoConfigSuffix }

// first waits until the objects are known, or for so long that only Services that name one should wait any longer.
func (f *configs) first(ctx context.Context) {
	if f == nil {
		return
	}
	select {
	case <-f.settled:
	case <-time.After(configsPatience):
		klog.FromContext(ctx).Error(nil, "TkeServiceConfigs are not known yet, nothing is done for Services that name one: may this controller list and watch them?")
	case <-ctx.Done():
	}
}

// run looks for the kind and watches its objects, until ctx ends.
func (f *configs) run(ctx context.Context) {
	if f == nil {
		return
	}
	for settled := false; ; {
		known, err := f.served(ctx)
		switch {
		case err != nil:
			klog.FromContext(ctx).Error(err, "It is not known whether there are TkeServiceConfigs, so nothing is done for Services that name one: trying again", "again", configsLook)
		case known:
			f.watch(ctx, settled)
			return
		case !settled:
			settled = true
			klog.FromContext(ctx).Info("The cluster does not know TkeServiceConfigs; looking again now and then", "every", configsLook)
			close(f.settled)
		}
		select {
		case <-time.After(configsLook):
		case <-ctx.Done():
			return
		}
	}
}

// read looks up the objects that Services name, one by one and by name, in the place of run: it is for a program that asks once.
func (f *configs) read(ctx context.Context, services []*corev1.Service) error {
	named := map[types.NamespacedName]bool{}
	for _, svc := range services {
		if name := configNamed(svc); name != "" {
			named[types.NamespacedName{Namespace: svc.Namespace, Name: name}] = true
		}
	}
	if f == nil || len(named) == 0 {
		return nil
	}
	known, err := f.served(ctx)
	switch {
	case err != nil:
		return fmt.Errorf("whether the cluster knows TkeServiceConfigs: %w", err)
	case !known:
		close(f.settled)
		return nil
	}
	found := cache.NewIndexer(cache.MetaNamespaceKeyFunc, cache.Indexers{cache.NamespaceIndex: cache.MetaNamespaceIndexFunc})
	for at := range named {
		object, err := f.client.Resource(configResource).Namespace(at.Namespace).Get(ctx, at.Name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			continue
		}
		if err == nil {
			err = found.Add(object)
		}
		if err != nil {
			return fmt.Errorf("TkeServiceConfig %s: %w", at, err)
		}
	}
	synced := make(chan struct{})
	close(synced)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lister, f.synced = cache.NewGenericLister(found, configResource.GroupResource()), synced
	return nil
}

// served reports whether the cluster knows the kind.
func (f *configs) served(ctx context.Context) (bool, error) {
	list, err := f.discovery.ServerResourcesForGroupVersionWithContext(ctx, configResource.GroupVersion().String())
	switch {
	case apierrors.IsNotFound(err):
		return false, nil
	case err != nil:
		return false, err
	}
	for _, r := range list.APIResources {
		if r.Name == configResource.Resource {
			return true, nil
		}
	}
	return false, nil
}

// watch follows the objects until ctx ends.
func (f *configs) watch(ctx context.Context, settled bool) {
	informer := dynamicinformer.NewFilteredDynamicInformer(f.client, configResource, metav1.NamespaceAll, 0, cache.Indexers{cache.NamespaceIndex: cache.MetaNamespaceIndexFunc}, nil)
	registration, err := informer.Informer().AddEventHandler(handler(func(before, after *unstructured.Unstructured) {
		for _, o := range []*unstructured.Unstructured{before, after} {
			if o != nil {
				f.changed(o.GetNamespace(), o.GetName())
				return
			}
		}
	}))
	if err != nil {
		klog.FromContext(ctx).Error(err, "TkeServiceConfigs cannot be watched")
		return
	}
	synced := registration.HasSyncedChecker().Done()
	f.mu.Lock()
	f.lister, f.synced = informer.Lister(), synced
	f.mu.Unlock()
	done := make(chan struct{})
	go func() { informer.Informer().RunWithContext(ctx); close(done) }()
	if !settled {
		select {
		case <-synced:
			close(f.settled)
		case <-ctx.Done():
		}
	}
	<-done
}

// get returns an object; served is false if the cluster does not know the kind. It fails while that, or the objects, are still
// being read: that a thing is not there is only said of what is known.
func (f *configs) get(namespace, name string) (o *unstructured.Unstructured, served bool, err error) {
	if f == nil {
		return nil, false, nil
	}
	f.mu.Lock()
	lister, synced := f.lister, f.synced
	f.mu.Unlock()
	if lister == nil {
		select {
		case <-f.settled:
			return nil, false, nil
		default:
			return nil, false, errors.New("it is not known yet whether the cluster has TkeServiceConfigs")
		}
	}
	select {
	case <-synced:
	default:
		return nil, true, errors.New("TkeServiceConfigs are still being read: may the controller list and watch them?")
	}
	found, err := lister.ByNamespace(namespace).Get(name)
	switch {
	case apierrors.IsNotFound(err):
		return nil, true, nil
	case err != nil:
		return nil, true, err
	}
	o, ok := found.(*unstructured.Unstructured)
	if !ok {
		return nil, true, fmt.Errorf("TkeServiceConfig %s/%s is a %T", namespace, name, found)
	}
	return o, true, nil
}

// of returns what a Service's TkeServiceConfig says.
func (f *configs) of(svc *corev1.Service, o annotation.Options) (lbsync.ServiceConfig, error) {
	out := lbsync.ServiceConfig{Name: nameOfConfig(svc, o)}
	if out.Name == "" {
		return out, nil
	}
	object, served, err := f.get(svc.Namespace, out.Name)
	switch {
	case err != nil:
		return out, err
	case !served:
		out.Unserved = true
	case object == nil:
		out.Absent = !o.ConfigAuto // that one is on its way
	default:
		spec, _ := object.Object["spec"].(map[string]any)
		out.Config, out.Problems = serviceconfig.Parse(spec)
	}
	return out, nil
}

// auto makes, extends or deletes the TkeServiceConfig that is made for a Service. It has what people wrote, so it goes only when the
// annotation is gone or says "false", not when that cannot be followed. listeners are the Service's.
func (f *configs) auto(ctx context.Context, svc *corev1.Service, wanted bool, listeners []serviceconfig.Listener) error {
	object, served, err := f.get(svc.Namespace, autoName(svc))
	if err != nil || !served {
		return err
	}
	name := fmt.Sprintf("TkeServiceConfig %s/%s", svc.Namespace, autoName(svc))
	client := f.client.Resource(configResource).Namespace(svc.Namespace)
	owner := metav1.OwnerReference{APIVersion: "v1", Kind: "Service", Name: svc.Name, UID: svc.UID, Controller: new(true)}
	switch {
	case !wanted:
		_, problems := annotation.Parse(svc.Annotations)
		if object == nil || !metav1.IsControlledBy(object, svc) || annotation.Unfollowed(problems, annotation.ServiceConfigNew) {
			return nil
		}
		uid := object.GetUID()
		err := client.Delete(ctx, object.GetName(), metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &uid}})
		if err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("%s: delete: %w", name, err)
		}
		return nil
	case object == nil:
		made := &unstructured.Unstructured{Object: map[string]any{"spec": serviceconfig.Auto(nil, listeners)}}
		made.SetGroupVersionKind(configResource.GroupVersion().WithKind(serviceconfig.Kind))
		made.SetNamespace(svc.Namespace)
		made.SetName(autoName(svc))
		made.SetOwnerReferences([]metav1.OwnerReference{owner})
		if _, err := client.Create(ctx, made, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
			return fmt.Errorf("%s: create: %w", name, err)
		}
		return nil
	}
	if other := metav1.GetControllerOf(object); other != nil && other.UID != svc.UID {
		return fmt.Errorf("%s belongs to %s %s (%s), not to this Service: delete it", name, strings.ToLower(other.Kind), other.Name, other.UID)
	}
	was, _ := object.Object["spec"].(map[string]any)
	now := serviceconfig.Auto(was, listeners)
	if metav1.IsControlledBy(object, svc) && serviceconfig.Same(was, now) {
		return nil
	}
	changed := object.DeepCopy()
	changed.Object["spec"] = now
	if !metav1.IsControlledBy(object, svc) {
		changed.SetOwnerReferences(append(changed.GetOwnerReferences(), owner))
	}
	if _, err := client.Update(ctx, changed, metav1.UpdateOptions{}); err != nil && !apierrors.IsConflict(err) {
		return fmt.Errorf("%s: update: %w", name, err) // after a conflict the change that won is seen, and looked at
	}
	return nil
}
