// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/clbsync/clbsync/clbsim/admin"
	"github.com/clbsync/clbsync/lab/e2e"
)

const (
	namespace = "bench"
	name      = "bench"
)

// bench is a Service without a selector, whose EndpointSlice is ours to write.
type bench struct {
	lab      *e2e.Lab
	service  *corev1.Service
	balancer string
	slice    *discoveryv1.EndpointSlice
}

// prepare makes the Service with one endpoint on n1, and waits until its load balancer is settled.
func (b *bench) prepare(ctx context.Context) error {
	if err := b.lab.Namespace(ctx, namespace); err != nil {
		return err
	}
	return b.create(ctx, name)
}

// create makes the Service under a name, in the namespace that is there.
func (b *bench) create(ctx context.Context, name string) error {
	svc := e2e.Service(namespace, name, e2e.Local, e2e.Annotate(e2e.OnlyBind, "true"), e2e.Annotate(e2e.Weighted, "true"))
	svc.Spec.Selector = nil
	svc.Spec.Ports = svc.Spec.Ports[:1]
	var err error
	b.slice = &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: map[string]string{discoveryv1.LabelServiceName: name}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports:       []discoveryv1.EndpointPort{{Name: &svc.Spec.Ports[0].Name, Protocol: &svc.Spec.Ports[0].Protocol, Port: &svc.Spec.Ports[0].TargetPort.IntVal}},
		Endpoints:   b.endpoints(map[string]int{"n1": 1}),
	}
	if b.slice, err = b.lab.Client.DiscoveryV1().EndpointSlices(namespace).Create(ctx, b.slice, metav1.CreateOptions{}); err != nil {
		return err
	}
	if b.service, err = b.lab.Client.CoreV1().Services(namespace).Create(ctx, svc, metav1.CreateOptions{}); err != nil {
		return err
	}
	if _, err := b.lab.AwaitAddress(ctx, namespace, name); err != nil {
		return err
	}
	if err := b.lab.AwaitWeights(ctx, b.service.UID, map[string]int{"n1": 1}); err != nil {
		return err
	}
	state, err := b.lab.CLB.State(ctx)
	if err != nil {
		return err
	}
	b.balancer = e2e.Balancers(state, b.service.UID)[0].ID
	return nil
}

// endpoints returns ready endpoints, so many per node, with addresses that no pod has.
func (b *bench) endpoints(perNode map[string]int) []discoveryv1.Endpoint {
	var all []discoveryv1.Endpoint
	ready := true
	for _, n := range b.lab.Nodes() {
		addr := lastOf(n.PodCIDR)
		for range perNode[n.Name] {
			addr = addr.Prev()
			all = append(all, discoveryv1.Endpoint{
				Addresses:  []string{addr.String()},
				NodeName:   &n.Name,
				Conditions: discoveryv1.EndpointConditions{Ready: &ready},
			})
		}
	}
	return all
}

// lastOf returns the last address of a /24.
func lastOf(p netip.Prefix) netip.Addr {
	b := p.Addr().As4()
	b[3] = 255
	return netip.AddrFrom4(b)
}

// measure makes the changes one by one, each after CLB has settled from the one before.
func (b *bench) measure(ctx context.Context, samples int) ([]result, error) {
	weight := result{change: "one more pod on a node, or one fewer"}
	come := result{change: "first pod on a node"}
	leave := result{change: "last pod of a node gone"}
	for i := range samples {
		if err := b.sample(ctx, &weight, map[string]int{"n1": 2 - i%2}); err != nil {
			return nil, err
		}
	}
	if err := b.sample(ctx, &result{}, map[string]int{"n1": 3}); err != nil {
		return nil, err
	}
	for range samples / 4 {
		if err := b.sample(ctx, &come, map[string]int{"n1": 3, "n2": 1}); err != nil {
			return nil, err
		}
		if err := b.sample(ctx, &leave, map[string]int{"n1": 3}); err != nil {
			return nil, err
		}
	}
	return []result{weight, come, leave}, nil
}

// sample writes the slice and adds the time until the first request to change the load balancer arrives.
func (b *bench) sample(ctx context.Context, r *result, pods map[string]int) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	since, err := b.lab.LastCall(ctx)
	if err != nil {
		return err
	}
	b.slice.Endpoints = b.endpoints(pods)
	begin := time.Now()
	if b.slice, err = b.lab.Client.DiscoveryV1().EndpointSlices(namespace).Update(ctx, b.slice, metav1.UpdateOptions{}); err != nil {
		return err
	}
	call, err := b.lab.CLB.WaitCall(ctx, since, func(c admin.Call) bool {
		return c.Write && bytes.Contains(c.Parameters, []byte(b.balancer))
	})
	if err != nil {
		return fmt.Errorf("no request arrived for endpoints %v: %w", pods, err)
	}
	r.took = append(r.took, call.Time.Sub(begin))
	return b.lab.AwaitWeights(ctx, b.service.UID, pods)
}
