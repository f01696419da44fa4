// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/go-logr/logr"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	watchtools "k8s.io/client-go/tools/watch"
	"k8s.io/klog/v2"
)

// await watches the objects that a field selector picks until ok holds for one of them. ok sees nil for an object that
// is gone or was never there. The error names what was waited for and the object as it was last seen.
func await[T runtime.Object](ctx context.Context, client rest.Interface, resource, namespace string, selector fields.Selector, example T, what string, ok func(T) bool) (T, error) {
	var last, none T
	lw := cache.NewListWatchFromClient(client, resource, namespace, selector)
	absent := func(store cache.Store) (bool, error) { return len(store.List()) == 0 && ok(none), nil }
	// The informer logs that its watch was cancelled, which is how every wait here ends.
	quiet := klog.NewContext(ctx, logr.Discard())
	_, err := watchtools.UntilWithSync(quiet, lw, example, absent, func(e watch.Event) (bool, error) {
		object, is := e.Object.(T)
		if !is {
			return false, fmt.Errorf("unexpected %T in a watch of %s", e.Object, resource)
		}
		if e.Type == watch.Deleted {
			last = none
		} else {
			last = object
		}
		return ok(last), nil
	})
	if err != nil {
		err = fmt.Errorf("%s %s/%s: wanted %s: %w", resource, namespace, selector, what, errors.Join(err, context.Cause(ctx)))
	}
	return last, err
}

func named(name string) fields.Selector { return fields.OneTermEqualSelector("metadata.name", name) }

// AwaitService waits until ok holds for the Service; ok sees nil when the Service is gone. What says in words what is
// waited for, for the error.
func (l *Lab) AwaitService(ctx context.Context, namespace, name, what string, ok func(*corev1.Service) bool) (*corev1.Service, error) {
	svc, err := await(ctx, l.Client.CoreV1().RESTClient(), "services", namespace, named(name), &corev1.Service{}, what, ok)
	if err != nil {
		err = fmt.Errorf("%w\nEvents of the Service:\n%s", err, l.events(ctx, namespace, name))
	}
	return svc, err
}

// AwaitAddress waits until the Service has a load balancer address and returns it.
func (l *Lab) AwaitAddress(ctx context.Context, namespace, name string) (string, error) {
	svc, err := l.AwaitService(ctx, namespace, name, "an address in status.loadBalancer", func(svc *corev1.Service) bool {
		return svc != nil && len(svc.Status.LoadBalancer.Ingress) > 0 && svc.Status.LoadBalancer.Ingress[0].IP != ""
	})
	if err != nil {
		return "", err
	}
	return svc.Status.LoadBalancer.Ingress[0].IP, nil
}

// AwaitEvent waits for an Event about the Service whose type is as given and whose message holds all the parts.
func (l *Lab) AwaitEvent(ctx context.Context, namespace, service, eventType string, parts ...string) (*corev1.Event, error) {
	selector := fields.AndSelectors(
		fields.OneTermEqualSelector("involvedObject.kind", "Service"),
		fields.OneTermEqualSelector("involvedObject.name", service),
		fields.OneTermEqualSelector("type", eventType),
	)
	what := fmt.Sprintf("an Event of type %s that says %q", eventType, parts)
	event, err := await(ctx, l.Client.CoreV1().RESTClient(), "events", namespace, selector, &corev1.Event{}, what, func(e *corev1.Event) bool {
		for _, part := range parts {
			if e == nil || !strings.Contains(e.Message, part) {
				return false
			}
		}
		return e != nil
	})
	if err != nil {
		err = fmt.Errorf("%w\nEvents of the Service:\n%s", err, l.events(ctx, namespace, service))
	}
	return event, err
}

// AwaitNode waits until ok holds for the Node; ok sees nil when it is gone.
func (l *Lab) AwaitNode(ctx context.Context, name, what string, ok func(*corev1.Node) bool) (*corev1.Node, error) {
	return await(ctx, l.Client.CoreV1().RESTClient(), "nodes", metav1.NamespaceAll, named(name), &corev1.Node{}, what, ok)
}

// awaitReplicas waits for the pods of a generation of a workload, or of a later one. A watch may begin with the object as
// it was before the last write, and that one's pods are all ready: a rollout once looked done 120 ms after it began.
func (l *Lab) awaitReplicas(ctx context.Context, w Workload, generation int64) error {
	what := fmt.Sprintf("%d ready pods of its latest template and no others", w.Replicas)
	_, err := await(ctx, l.Client.AppsV1().RESTClient(), "deployments", w.Namespace, named(w.name()), &appsv1.Deployment{}, what, func(d *appsv1.Deployment) bool {
		return d != nil && d.Status.ObservedGeneration >= max(generation, d.Generation) &&
			d.Status.Replicas == w.Replicas && d.Status.UpdatedReplicas == w.Replicas && d.Status.AvailableReplicas == w.Replicas
	})
	return err
}

// events prints the Events about a Service, for error messages: they are where the controller says what is wrong.
func (l *Lab) events(ctx context.Context, namespace, service string) string {
	// The context of the wait that failed has ended; this read has its own bound.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), shortCall)
	defer cancel()
	list, err := l.Client.CoreV1().Events(namespace).List(ctx, metav1.ListOptions{FieldSelector: "involvedObject.name=" + service})
	if err != nil {
		return "  " + err.Error()
	}
	var b strings.Builder
	for _, e := range list.Items {
		fmt.Fprintf(&b, "  %s %s (%d×): %s\n", e.Type, e.Reason, e.Count, e.Message)
	}
	if len(list.Items) == 0 {
		return "  none"
	}
	return strings.TrimRight(b.String(), "\n")
}
