// SPDX-License-Identifier: Apache-2.0

package owner

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
)

func daemonSet(name string) *appsv1.DaemonSet {
	return &appsv1.DaemonSet{ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: name}}
}

func TestOnlyADaemonSetThatWasDeletedIsGone(t *testing.T) {
	// unwatched lets no event through any more: what the API server says has to be asked for.
	forbid := func(c *fake.Clientset) {
		c.PrependReactor("get", "daemonsets", func(clienttesting.Action) (bool, runtime.Object, error) {
			return true, nil, errors.New("forbidden: the binding is deleted already")
		})
	}
	deleteIt := func(t *testing.T, c *fake.Clientset) {
		if err := c.AppsV1().DaemonSets("kube-system").Delete(t.Context(), "agent", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	for _, test := range []struct {
		name  string
		there []runtime.Object
		then  func(t *testing.T, c *fake.Clientset)
		want  bool
	}{
		{"one that is there", []runtime.Object{daemonSet("agent")}, func(*testing.T, *fake.Clientset) {}, false},
		{"one that is updated", []runtime.Object{daemonSet("agent")}, func(t *testing.T, c *fake.Clientset) {
			d := daemonSet("agent")
			d.Generation = 2
			if _, err := c.AppsV1().DaemonSets("kube-system").Update(t.Context(), d, metav1.UpdateOptions{}); err != nil {
				t.Fatal(err)
			}
		}, false},
		{"one that is deleted", []runtime.Object{daemonSet("agent")}, deleteIt, true},
		{"one that is deleted together with the right to ask", []runtime.Object{daemonSet("agent")}, func(t *testing.T, c *fake.Clientset) {
			deleteIt(t, c)
			forbid(c)
		}, true},
		{"one that waits for its pods to end", []runtime.Object{daemonSet("agent")}, func(t *testing.T, c *fake.Clientset) {
			d := daemonSet("agent")
			d.DeletionTimestamp, d.Finalizers = new(metav1.Now()), []string{"foregroundDeletion"}
			if _, err := c.AppsV1().DaemonSets("kube-system").Update(t.Context(), d, metav1.UpdateOptions{}); err != nil {
				t.Fatal(err)
			}
		}, true},
		{"one that is deleted and made anew", []runtime.Object{daemonSet("agent")}, func(t *testing.T, c *fake.Clientset) {
			deleteIt(t, c)
			synctest.Wait()
			if _, err := c.AppsV1().DaemonSets("kube-system").Create(t.Context(), daemonSet("agent"), metav1.CreateOptions{}); err != nil {
				t.Fatal(err)
			}
		}, false},
		{"one that never was", nil, func(*testing.T, *fake.Clientset) {}, false},
		{"another one that is deleted", []runtime.Object{daemonSet("agent"), daemonSet("other")}, func(t *testing.T, c *fake.Clientset) {
			if err := c.AppsV1().DaemonSets("kube-system").Delete(t.Context(), "other", metav1.DeleteOptions{}); err != nil {
				t.Fatal(err)
			}
		}, false},
		{"one that nobody may ask about", []runtime.Object{daemonSet("agent")}, func(_ *testing.T, c *fake.Clientset) { forbid(c) }, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client := fake.NewClientset(test.there...)
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				o, err := Follow(ctx, client, "kube-system/agent")
				if err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				test.then(t, client)
				synctest.Wait()
				if got := o.Gone(ctx); got != test.want {
					t.Errorf("gone: %v, want %v", got, test.want)
				}
			})
		})
	}
}

// The news of the deletion may come after the end has begun.
func TestTheAPIServerIsAskedOnceMore(t *testing.T) {
	client := fake.NewClientset()
	o := &Owner{client: client, namespace: "kube-system", name: "agent"}
	if o.Gone(t.Context()) {
		t.Error("one that was never seen is taken for gone")
	}
	o.is(daemonSet("agent"))
	if !o.Gone(t.Context()) {
		t.Error("one that was seen, and is not there any more, is not taken for gone")
	}
}

func TestANameThatIsNone(t *testing.T) {
	for _, name := range []string{"", "agent", "/agent", "kube-system/", "a/b/c"} {
		if _, err := Follow(t.Context(), fake.NewClientset(), name); err == nil || !strings.Contains(err.Error(), "NAMESPACE/NAME") {
			t.Errorf("%q: %v", name, err)
		}
	}
}
