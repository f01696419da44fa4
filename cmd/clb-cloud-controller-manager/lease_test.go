// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

// held is the lease as a leader on this host leaves it.
func held(t *testing.T, by string) *coordinationv1.Lease {
	t.Helper()
	now := metav1.NowMicro()
	return &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: name},
		Spec: coordinationv1.LeaseSpec{HolderIdentity: &by, LeaseDurationSeconds: new(int32(3600)), AcquireTime: &now, RenewTime: &now}}
}

func ourselves(t *testing.T) string {
	t.Helper()
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	return host + "_6c1b2d4e"
}

func holder(t *testing.T, client *fake.Clientset) string {
	t.Helper()
	l, err := client.CoordinationV1().Leases("kube-system").Get(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return holderOf(l)
}

// The lease is good for an hour, so a next leader that comes at once comes because it was given back.
func TestTheNextLeaderNeedNotWaitForTheLeaseToRunOut(t *testing.T) {
	client := fake.NewClientset(held(t, ourselves(t)))
	var l lease
	if err := l.hold(t.Context(), client, "kube-system", name); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	leading := make(chan struct{})
	next, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Lock: &resourcelock.LeaseLock{LeaseMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: name}, Client: client.CoordinationV1(),
			LockConfig: resourcelock.ResourceLockConfig{Identity: "next"}},
		LeaseDuration: time.Hour, RenewDeadline: time.Minute, RetryPeriod: 50 * time.Millisecond,
		Callbacks: leaderelection.LeaderCallbacks{OnStartedLeading: func(context.Context) { close(leading) }, OnStoppedLeading: func() {}},
	})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { next.Run(ctx); close(done) }()
	defer func() { cancel(); <-done }()
	select {
	case <-leading:
		t.Fatal("the next one leads though the lease is held")
	case <-time.After(500 * time.Millisecond):
	}
	if err := l.release(t.Context()); err != nil {
		t.Fatal(err)
	}
	select {
	case <-leading:
	case <-ctx.Done():
		t.Fatalf("nobody has taken over: the lease is held by %q", holder(t, client))
	}
}

func TestALeaseOfSomebodyElseIsLeftAlone(t *testing.T) {
	t.Run("one that another host holds is not taken for ours", func(t *testing.T) {
		var l lease
		if err := l.hold(t.Context(), fake.NewClientset(held(t, "elsewhere_1")), "kube-system", name); err == nil || !strings.Contains(err.Error(), `"elsewhere_1"`) {
			t.Errorf("error %v, want one that names the holder", err)
		}
		if err := l.release(t.Context()); err != nil {
			t.Errorf("release of nothing: %v", err)
		}
	})
	t.Run("one that another has taken over stays with it", func(t *testing.T) {
		client := fake.NewClientset(held(t, ourselves(t)))
		var l lease
		if err := l.hold(t.Context(), client, "kube-system", name); err != nil {
			t.Fatal(err)
		}
		if _, err := client.CoordinationV1().Leases("kube-system").Update(t.Context(), held(t, "elsewhere_1"), metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
		if err := l.release(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := holder(t, client); got != "elsewhere_1" {
			t.Errorf("holder %q", got)
		}
	})
	t.Run("the update names the version that was read", func(t *testing.T) {
		mine := held(t, ourselves(t))
		mine.ResourceVersion = "42"
		client := fake.NewClientset(mine)
		var l lease
		if err := l.hold(t.Context(), client, "kube-system", name); err != nil {
			t.Fatal(err)
		}
		seen := ""
		client.PrependReactor("update", "leases", func(a clienttesting.Action) (bool, runtime.Object, error) {
			seen = a.(clienttesting.UpdateAction).GetObject().(*coordinationv1.Lease).ResourceVersion
			return false, nil, nil
		})
		if err := l.release(t.Context()); err != nil {
			t.Fatal(err)
		}
		if seen != "42" || holder(t, client) != "" {
			t.Errorf("version %q, holder %q; want 42 and nobody", seen, holder(t, client))
		}
	})
}

// The manifests of an uninstallation may have been applied by mistake.
func TestNothingIsDeletedUnderAControllerThatIsInstalled(t *testing.T) {
	deployment := func(mods ...func(*appsv1.Deployment)) *appsv1.Deployment {
		d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: "clbsync-controller"}}
		for _, mod := range mods {
			mod(d)
		}
		return d
	}
	for name, c := range map[string]struct {
		client *fake.Clientset
		want   string
	}{
		"it is installed":       {fake.NewClientset(deployment()), "the Deployment kube-system/clbsync-controller is still installed"},
		"it is gone":            {fake.NewClientset(), ""},
		"it waits for its pods": {fake.NewClientset(deployment(func(d *appsv1.Deployment) { d.DeletionTimestamp = new(metav1.Now()) })), ""},
	} {
		t.Run(name, func(t *testing.T) {
			err := (&program{unlessDeployment: "kube-system/clbsync-controller"}).mayRelease(t.Context(), c.client)
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
	t.Run("who may not ask deletes nothing", func(t *testing.T) {
		client := fake.NewClientset()
		client.PrependReactor("get", "deployments", func(clienttesting.Action) (bool, runtime.Object, error) { return true, nil, errors.New("forbidden") })
		if err := (&program{unlessDeployment: "a/b"}).mayRelease(t.Context(), client); err == nil {
			t.Error("no error")
		}
	})
}
