// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"maps"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/dynamic"
	cloudprovider "k8s.io/cloud-provider"
	"k8s.io/cloud-provider/app"
	"k8s.io/cloud-provider/app/config"
	"k8s.io/cloud-provider/names"
	componentconfig "k8s.io/component-base/config"
	genericapp "k8s.io/controller-manager/app"
	"k8s.io/controller-manager/controller"
	"k8s.io/klog/v2"

	"github.com/clbsync/clbsync/lbsync"
	"github.com/clbsync/clbsync/lbsync/clb"
	lbcontroller "github.com/clbsync/clbsync/lbsync/controller"
	"github.com/clbsync/clbsync/provider"
)

// initializers returns upstream's controllers with ours under the name of the stock service controller, so
// that --controllers, leader election and health checks work as people know them.
func (p *program) initializers() map[string]app.ControllerInitFuncConstructor {
	all := maps.Clone(app.DefaultInitFuncConstructors)
	for _, node := range []string{names.CloudNodeController, names.CloudNodeLifecycleController} {
		stock := all[node]
		stock.Constructor = p.unlessDryRun(node, stock.Constructor)
		all[node] = stock
	}
	ours := all[names.ServiceLBController]
	ours.Constructor = p.loadBalancers
	all[names.ServiceLBController] = ours
	for controller, c := range all {
		c.Constructor = p.lead(c.Constructor)
		all[controller] = c
	}
	// The cluster's network plugin makes the routes. The name stays known, so that -node-route-controller,
	// which is in many manifests, is not an error.
	app.ControllersDisabledByDefault.Insert(names.NodeRouteController)
	return all
}

// unlessDryRun keeps a controller that knows no dry run from writing in one.
func (p *program) unlessDryRun(name string, stock app.InitFuncConstructor) app.InitFuncConstructor {
	return func(ic app.ControllerInitContext, cc *config.CompletedConfig, cloud cloudprovider.Interface) app.InitFunc {
		if !p.dryRun {
			return stock(ic, cc, cloud)
		}
		return func(ctx context.Context, _ genericapp.ControllerContext) (controller.Interface, bool, error) {
			klog.FromContext(ctx).Info("Not started in a dry run, since it writes Nodes", "controller", name)
			return nil, false, nil
		}
	}
}

// lead notes, before the first of the controllers starts, that this process has become the leader.
func (p *program) lead(stock app.InitFuncConstructor) app.InitFuncConstructor {
	return func(ic app.ControllerInitContext, cc *config.CompletedConfig, cloud cloudprovider.Interface) app.InitFunc {
		start := stock(ic, cc, cloud)
		return func(ctx context.Context, in genericapp.ControllerContext) (controller.Interface, bool, error) {
			if e := cc.ComponentConfig.Generic.LeaderElection; e.LeaderElect {
				p.leading.Do(func() {
					if err := p.lease.hold(ctx, cc.VersionedClient, e.ResourceNamespace, e.ResourceName); err != nil {
						klog.FromContext(ctx).Error(err, "The lease will run out by itself when this program ends, the next leader has to wait for that")
					}
				})
			}
			return start(ctx, in)
		}
	}
}

// loadBalancers starts lbsync/controller.
func (p *program) loadBalancers(ic app.ControllerInitContext, cc *config.CompletedConfig, _ cloudprovider.Interface) app.InitFunc {
	return func(ctx context.Context, _ genericapp.ControllerContext) (controller.Interface, bool, error) {
		client, err := cc.ClientBuilder.Client(ic.ClientName)
		if err != nil {
			return nil, false, err
		}
		if p.deleteOf != "" {
			if err := p.mayRelease(ctx, client); err != nil {
				return nil, false, err
			}
		}
		access, err := cc.ClientBuilder.Config(ic.ClientName)
		if err != nil {
			return nil, false, err
		}
		objects, err := dynamic.NewForConfig(access)
		if err != nil {
			return nil, false, err
		}
		c, err := lbcontroller.New(lbcontroller.Config{
			Client:    client,
			Informers: cc.SharedInformers,
			Dynamic:   objects,
			Cloud:     p.client,
			Regions:   func(region string) (lbcontroller.Cloud, error) { return p.client.In(region) },
			Settings:  p.config.Settings,
			Instances: func(ctx context.Context, addr netip.Addr) (string, bool, error) {
				i, found, err := p.client.InstanceByAddress(ctx, addr)
				return i.ID, found, err
			},
			TargetQuota: func(ctx context.Context) (int, error) {
				q, err := p.client.Quotas(ctx)
				return q.Targets, err
			},
			Owned: func(ctx context.Context, region string) ([]lbsync.Owned, error) {
				there, err := p.client.In(region)
				if err != nil {
					return nil, err
				}
				return there.Owned(ctx, p.config.Settings.ClusterID)
			},
			About:   leaseOf(cc.ComponentConfig.Generic.LeaderElection),
			Workers: int(cc.ComponentConfig.ServiceController.ConcurrentServiceSyncs),
			Gather:  p.config.Gather,
			Verify:  p.config.VerifyInterval,
			DryRun:  p.dryRun,
		})
		if err != nil {
			return nil, false, err
		}
		// Upstream's context lives until the process ends, which would cut off calls in flight.
		ctx, cancel := context.WithCancel(ctx)
		context.AfterFunc(p.stop, cancel) //nolint:contextcheck // two contexts end it
		p.running.Go(func() {
			defer cancel()
			c.Run(ctx)
		})
		if p.deleteOf != "" {
			p.running.Go(func() { p.awaitRelease(ctx, c, cc.SharedInformers.Core().V1().Services().Informer().HasSynced) })
		}
		return nil, true, nil
	}
}

// leaseOf is what Events are about that concern the whole cluster: the leader's Lease, where people look for what becomes
// of this program; nil without leader election.
func leaseOf(e componentconfig.LeaderElectionConfiguration) *corev1.ObjectReference {
	if !e.LeaderElect {
		return nil
	}
	return &corev1.ObjectReference{APIVersion: "coordination.k8s.io/v1", Kind: "Lease", Namespace: e.ResourceNamespace, Name: e.ResourceName}
}

// instances puts the client behind the interface of the provider.
type instances struct{ client *clb.Client }

func (i instances) Instance(ctx context.Context, id string) (provider.Instance, bool, error) {
	found, ok, err := i.client.Instance(ctx, id)
	return provider.Instance(found), ok, err
}

func (i instances) InstanceByAddress(ctx context.Context, addr netip.Addr) (provider.Instance, bool, error) {
	found, ok, err := i.client.InstanceByAddress(ctx, addr)
	return provider.Instance(found), ok, err
}
