// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"cmp"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/clbsync/clbsync/lbsync"
	"github.com/clbsync/clbsync/lbsync/annotation"
)

// service returns the Service that the CLB is for, as the cache has it; nil if it is gone.
func (c *Controller) service(k key) (*corev1.Service, error) {
	svc, err := c.services.Services(k.Namespace).Get(k.Name)
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	return svc, err
}

// gather returns all that decides about the CLB of a Service. It reads caches only. unsure is true while
// the instance of some node has never been answered. actual is what is known of the CLB, nil if nothing is.
func (c *Controller) gather(svc *corev1.Service, actual *lbsync.LoadBalancer) (snap lbsync.Snapshot, unsure bool, err error) {
	options, problems := annotation.Parse(svc.Annotations)
	service := lbsync.Service{Service: svc, Options: options, Problems: problems}
	// Before the nodes are read: a change of one that this reading misses finds who it concerns.
	c.memory.reaches(ownKey(svc), reachOf(c.settings, []lbsync.Service{service}, actual))
	return c.snapshot(actual, service)
}

// snapshot returns all that decides about the CLB of Services that have no Slices yet, as the caches have it now. actual
// is what is known of it, nil if nothing is.
func (c *Controller) snapshot(actual *lbsync.LoadBalancer, services ...lbsync.Service) (snap lbsync.Snapshot, unsure bool, err error) {
	hosts, unsure, err := c.allHosts()
	if err != nil {
		return snap, false, err
	}
	for i := range services {
		if services[i], err = c.withEndpoints(services[i]); err != nil {
			return snap, false, err
		}
	}
	return lbsync.Snapshot{
		Settings: c.settings,
		Services: services,
		Hosts:    hosts,
		CLB:      clbOf(actual),

		TargetQuota: int(c.quota.targets.Load()),
	}, unsure, nil
}

// withEndpoints returns the Service with what the caches have of its endpoints.
func (c *Controller) withEndpoints(service lbsync.Service) (lbsync.Service, error) {
	svc := service.Service
	found, err := c.slices.ByIndex(bySlice, svc.Namespace+"/"+svc.Name)
	if err != nil {
		return service, err
	}
	endpoints := make([]*discoveryv1.EndpointSlice, len(found))
	for i := range found {
		endpoints[i] = found[i].(*discoveryv1.EndpointSlice)
	}
	// The order of a cache is random. That of nodes does not matter; of two slices with one address the last counts.
	slices.SortFunc(endpoints, func(a, b *discoveryv1.EndpointSlice) int { return cmp.Compare(a.Name, b.Name) })
	if service.Config, err = c.configs.of(svc, service.Options); err != nil {
		return service, err
	}
	service.Secrets = c.secrets.of(svc.Namespace, lbsync.SecretNames(service.Options))
	service.Slices = endpoints
	direct := c.settings.Direct(service)
	if direct {
		service.PodsUnknown = !c.pods.known()
		service.PodWeights = c.pods.weights(svc.Namespace)
	}
	if (c.gates != nil || c.pods.listed && c.settings.Gate.Enabled) && (direct || c.settings.Gate.NodeAgent) {
		service.Gated = c.pods.admitted(svc.Namespace)
	}
	return service, nil
}

// companions returns a Service and those that share its CLB.
func (c *Controller) companions(svc *corev1.Service) ([]*corev1.Service, error) {
	k := keyOf(svc)
	all := []*corev1.Service{svc}
	if !shared(k) {
		return all, nil
	}
	found, err := c.members.ByIndex(byCLB, k.Name)
	if err != nil {
		return nil, err
	}
	for _, obj := range found {
		if other := obj.(*corev1.Service); other.UID != svc.UID && c.concerns(other) {
			all = append(all, other)
		}
	}
	return all, nil
}

// snapshotOf returns all that decides about the CLB of a Service, as the caches have it now, for others than the workers.
func (c *Controller) snapshotOf(svc *corev1.Service, actual lbsync.LoadBalancer) (snap lbsync.Snapshot, own lbsync.Service, unsure bool, err error) {
	k := keyOf(svc)
	all, err := c.companions(svc)
	if err != nil {
		return snap, own, false, err
	}
	services := make([]lbsync.Service, len(all))
	for i, one := range all {
		options, problems := annotation.Parse(one.Annotations)
		services[i] = lbsync.Service{Service: one, Options: options, Problems: problems}
	}
	slices.SortFunc(services, lbsync.ByClaim)
	if snap, unsure, err = c.snapshot(&actual, services...); err != nil {
		return snap, own, false, err
	}
	if shared(k) {
		snap.Existing, snap.Actual = k.Name, actual
	}
	for _, one := range snap.Services {
		if one.UID == svc.UID {
			own = one
		}
	}
	return snap, own, unsure, nil
}
