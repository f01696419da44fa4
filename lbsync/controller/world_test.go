// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/klog/v2"
	"k8s.io/klog/v2/ktesting"

	"github.com/clbsync/clbsync/internal/kubetest"
	"github.com/clbsync/clbsync/lbsync"
	"github.com/clbsync/clbsync/lbsync/annotation"
)

// world is a cluster, a cloud and a controller between them, in a bubble whose time passes at once.
type world struct {
	*testing.T
	client *fake.Clientset
	cloud  *fakeCloud
	config Config // what run starts
	now    *Controller
	stop   func() // of run
	seen   int    // actions of the client
	mu     sync.Mutex
	told   []*corev1.Event // what record has kept; under mu
}

// inWorld runs the test in a bubble with a cluster of three nodes and the objects, and ends with the
// promises that hold in every test.
func inWorld(t *testing.T, test func(w *world), objects ...runtime.Object) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &world{T: t, client: fake.NewClientset(), cloud: newFakeCloud(), stop: func() {}}
		settings := lbsync.DefaultSettings()
		settings.ClusterID, settings.VPCID = "cls-demo", "vpc-2ab3c4d5"
		w.config = Config{Client: w.client, Cloud: w.cloud, Settings: settings}
		for _, node := range kubetest.Nodes(3) {
			w.put(node)
		}
		for _, o := range objects {
			w.put(o)
		}
		w.record()
		w.identify()
		test(w)
		w.stop()
		if len(w.cloud.wrongs) > 0 {
			t.Errorf("the cloud was asked for what CLB refuses:\n%s", strings.Join(w.cloud.wrongs, "\n"))
		}
	})
}

// run starts a new controller, which knows nothing, and stops the one before.
func (w *world) run() {
	w.Helper()
	w.stop()
	w.start(true)
}

// start starts a new controller; its caches fill only with informers.
func (w *world) start(informed bool) {
	w.Helper()
	cfg := w.config
	cfg.Informers = informers.NewSharedInformerFactory(w.client, 0)
	c, err := New(cfg)
	if err != nil {
		w.Fatal(err)
	}
	logger := ktesting.NewLogger(w.T, ktesting.NewConfig(ktesting.Verbosity(2)))
	ctx, cancel := context.WithCancel(klog.NewContext(w.Context(), logger))
	done := make(chan struct{})
	go func() { c.Run(ctx); close(done) }()
	if informed {
		cfg.Informers.StartWithContext(ctx)
	}
	w.now = c
	w.stop = func() {
		cancel()
		<-done
		cfg.Informers.Shutdown()
		w.stop = func() {}
	}
}

// pass lets time pass, and everything that it brings happen.
func (w *world) pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

// soon is enough for anything that does not wait, and not enough for the first poll of health.
const soon = time.Second

// put creates an object, or replaces it, as somebody else in the cluster.
func (w *world) put(o runtime.Object) {
	w.Helper()
	if err := put(w.client, o); err != nil {
		w.Fatal(err)
	}
}

func put(client *fake.Clientset, o runtime.Object) error {
	resource, m, tracker := resourceOf(o), o.(metav1.Object), client.Tracker()
	if _, err := tracker.Get(resource, m.GetNamespace(), m.GetName()); err == nil {
		return tracker.Update(resource, o.DeepCopyObject(), m.GetNamespace())
	}
	return tracker.Create(resource, o.DeepCopyObject(), m.GetNamespace())
}

func (w *world) remove(o runtime.Object) {
	w.Helper()
	m := o.(metav1.Object)
	if err := w.client.Tracker().Delete(resourceOf(o), m.GetNamespace(), m.GetName()); err != nil {
		w.Fatal(err)
	}
}

func resourceOf(o runtime.Object) schema.GroupVersionResource {
	switch o.(type) {
	case *corev1.Service:
		return corev1.SchemeGroupVersion.WithResource("services")
	case *corev1.Node:
		return corev1.SchemeGroupVersion.WithResource("nodes")
	case *corev1.Pod:
		return corev1.SchemeGroupVersion.WithResource("pods")
	case *corev1.Secret:
		return corev1.SchemeGroupVersion.WithResource("secrets")
	case *discoveryv1.EndpointSlice:
		return discoveryv1.SchemeGroupVersion.WithResource("endpointslices")
	}
	panic(fmt.Sprintf("no resource for %T", o))
}

// service returns a Service as the API server has it.
func (w *world) service(name string) *corev1.Service {
	w.Helper()
	o, err := w.client.Tracker().Get(corev1.SchemeGroupVersion.WithResource("services"), "default", name)
	if err != nil {
		w.Fatal(err)
	}
	return o.(*corev1.Service).DeepCopy()
}

// edit changes a Service as its author does.
func (w *world) edit(name string, changes ...func(*corev1.Service)) {
	w.Helper()
	svc := w.service(name)
	for _, change := range changes {
		change(svc)
	}
	w.put(svc)
}

// writes returns what was written to the API server since the last time, Events left out.
func (w *world) writes() []string {
	var all []string
	actions := w.client.Actions()
	for _, a := range actions[w.seen:] {
		if verb := a.GetVerb(); verb != "get" && verb != "list" && verb != "watch" && a.GetResource().Resource != "events" {
			all = append(all, strings.TrimSuffix(verb+" "+a.GetResource().Resource+"/"+a.GetSubresource(), "/"))
		}
	}
	w.seen = len(actions)
	return all
}

// record keeps the Events that reach the API server, in their order. The fake one cannot: it refuses the
// second of two Events about one object at one moment, which is when they happen here.
func (w *world) record() {
	w.client.PrependReactor("*", "events", func(action clienttesting.Action) (bool, runtime.Object, error) {
		w.mu.Lock()
		defer w.mu.Unlock()
		switch a := action.(type) {
		case clienttesting.CreateAction:
			e := a.GetObject().(*corev1.Event).DeepCopy()
			e.Name = fmt.Sprintf("event-%d", len(w.told))
			w.told = append(w.told, e)
			return true, e, nil
		case clienttesting.PatchAction:
			for _, e := range w.told {
				if e.Name == a.GetName() {
					e.Count++
					return true, e.DeepCopy(), nil
				}
			}
		}
		return false, nil, nil
	})
}

// identify refuses patches of Services and Pods that do not say which one they mean: by its UID, since a name can be
// somebody else's by the time the patch arrives.
func (w *world) identify() {
	w.client.PrependReactor("patch", "*", func(action clienttesting.Action) (bool, runtime.Object, error) {
		a := action.(clienttesting.PatchAction)
		if a.GetResource().Resource == "events" {
			return false, nil, nil
		}
		var named struct{ Metadata struct{ UID string } }
		if err := json.Unmarshal(a.GetPatch(), &named); err != nil || named.Metadata.UID == "" {
			w.Errorf("a patch of %s %s has no UID: %s", a.GetResource().Resource, a.GetName(), a.GetPatch())
		}
		return false, nil, nil
	})
}

// events returns the reasons of all Events about a Service, in the order of their making; a repetition is counted.
func (w *world) events(name string) []string {
	synctest.Wait()
	var reasons []string
	for _, e := range w.told {
		if e.InvolvedObject.Name != name {
			continue
		}
		reason := e.Reason
		if e.Count > 1 {
			reason += fmt.Sprintf(" x%d", e.Count)
		}
		reasons = append(reasons, reason)
	}
	return reasons
}

// message returns the message of the only Event with the reason.
func (w *world) message(name, reason string) string {
	w.Helper()
	synctest.Wait()
	var found []string
	for _, e := range w.told {
		if e.InvolvedObject.Name == name && e.Reason == reason {
			found = append(found, e.Message)
		}
	}
	if len(found) != 1 {
		w.Fatalf("%d Events %s about %s, want one: %q", len(found), reason, name, found)
	}
	return found[0]
}

// wantCalls compares the calls since the last time, searches and reads of health left out.
func (w *world) wantCalls(why string, want ...string) {
	w.Helper()
	w.want(why, texts(w.cloud.take("Find", "Observe", "Health")), want)
}

func (w *world) want(why string, got, want any) {
	w.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		w.Errorf("%s (-want +got):\n%s", why, diff)
	}
}

func (w *world) wantCloud(why, want string) {
	w.Helper()
	if diff := cmp.Diff(strings.TrimLeft(want, "\n"), w.cloud.text()); diff != "" {
		w.Errorf("%s (-want +got):\n%s", why, diff)
	}
}

func texts(calls []call) []string {
	var all []string
	for _, c := range calls {
		all = append(all, c.text)
	}
	return all
}

// onlyBind is a Service under Local that binds the nodes of its pods.
func onlyBind(name string) *corev1.Service {
	return kubetest.Service(name, kubetest.Local(31000), kubetest.Annotation(annotation.BindNodesOfPods, "true"))
}

// at returns a ready endpoint on each node.
func at(nodes ...int) []discoveryv1.Endpoint {
	var all []discoveryv1.Endpoint
	for _, n := range nodes {
		all = append(all, kubetest.Ready(fmt.Sprintf("n%d", n), fmt.Sprintf("10.1.%d.1", n)))
	}
	return all
}
