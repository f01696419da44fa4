// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/klog/v2"
)

// leasePatience bounds how long the end of the program waits for the API server.
const leasePatience = 3 * time.Second

// lease is the leader's, while this process holds it. Upstream never gives it back: whoever comes next would
// wait until it runs out, 15 s in which no Service is served, at each rolling update of this program. The zero
// value is held by nobody here.
type lease struct {
	client          kubernetes.Interface
	namespace, name string
	holder          string // who holds it: this process, in words that upstream made up
}

// hold remembers the lease. It is to be called when this process has just become the leader, which is the only way to
// learn under what name.
func (l *lease) hold(ctx context.Context, client kubernetes.Interface, namespace, name string) error {
	now, err := client.CoordinationV1().Leases(namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("read the lease %s/%s: %w", namespace, name, err)
	}
	host, err := os.Hostname()
	if err != nil {
		return err
	}
	holder := holderOf(now)
	if !strings.HasPrefix(holder, host+"_") {
		return fmt.Errorf("the lease %s/%s is held by %q, not by this process on %s", namespace, name, holder, host)
	}
	*l = lease{client: client, namespace: namespace, name: name, holder: holder}
	return nil
}

// release gives the lease back, if this process still holds it: the next leader need not wait until it runs out. It is for
// the very end, when nothing is written any more: until the process is gone upstream may still renew the lease.
func (l *lease) release(ctx context.Context) error {
	if l.holder == "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, leasePatience)
	defer cancel()
	leases := l.client.CoordinationV1().Leases(l.namespace)
	now, err := leases.Get(ctx, l.name, metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("read the lease %s/%s to give it back: %w", l.namespace, l.name, err)
	}
	if holderOf(now) != l.holder {
		return nil // somebody has taken over already
	}
	// Its resource version makes the update fail if it has changed hands in between.
	at := metav1.NowMicro()
	now.Spec.HolderIdentity, now.Spec.LeaseDurationSeconds, now.Spec.RenewTime, now.Spec.AcquireTime = new(""), new(int32(1)), &at, &at
	if _, err := leases.Update(ctx, now, metav1.UpdateOptions{}); err != nil {
		return fmt.Errorf("give the lease %s/%s back: %w", l.namespace, l.name, err)
	}
	l.holder = ""
	klog.FromContext(ctx).Info("Gave the lease back", "lease", l.namespace+"/"+l.name)
	return nil
}

// release gives the leader's lease back, if this process is the leader.
func (p *program) release() error {
	p.leading.Do(func() {}) // Whoever is about to lead now comes too late, and is waited for if it has begun.
	return p.lease.release(context.Background())
}

func holderOf(l *coordinationv1.Lease) string {
	if l.Spec.HolderIdentity == nil {
		return ""
	}
	return *l.Spec.HolderIdentity
}
