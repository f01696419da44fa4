// SPDX-License-Identifier: Apache-2.0

package provider_test

import (
	"context"
	"net/netip"
	"os"

	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	cloudprovider "k8s.io/cloud-provider"
	"k8s.io/cloud-provider/app"
	"k8s.io/cloud-provider/app/config"
	"k8s.io/cloud-provider/names"
	"k8s.io/cloud-provider/options"
	"k8s.io/component-base/cli"
	cliflag "k8s.io/component-base/cli/flag"
	"k8s.io/klog/v2"

	"github.com/clbsync/clbsync/lbsync/clb"
	"github.com/clbsync/clbsync/lbsync/controller"
	"github.com/clbsync/clbsync/provider"
)

// A cloud-controller-manager of one's own: upstream's main and its stock controllers, with
// --cloud-provider=tencentcloud. The engine runs beside the stock service controller and follows
// EndpointSlices, which that one does not look at.
func ExampleRegister() {
	provider.Register(open)

	opts, err := options.NewCloudControllerManagerOptions()
	if err != nil {
		klog.Fatal(err)
	}
	initialize := func(c *config.CompletedConfig) cloudprovider.Interface {
		given := c.ComponentConfig.KubeCloudShared.CloudProvider
		cloud, err := cloudprovider.InitCloudProvider(given.Name, given.CloudConfigFile)
		if err != nil {
			klog.Fatal(err)
		}
		return cloud
	}
	os.Exit(cli.Run(app.NewCloudControllerManagerCommand(opts, initialize, app.DefaultInitFuncConstructors,
		names.CCMControllerAliases(), cliflag.NamedFlagSets{}, wait.NeverStop)))
}

// open puts the clients behind the plugin.
func open(cfg provider.CloudConfig) (provider.Backend, error) {
	client, err := clb.New(context.Background(), clb.Config{
		Region:      cfg.Region,
		VPCID:       cfg.Settings.VPCID,
		Credentials: clb.Credentials(cfg.Credentials),
		Endpoints:   clb.Endpoints(cfg.Endpoints),
		RateLimits:  clb.RateLimits(cfg.RateLimits),
		UserAgent:   "my-cloud-controller-manager",
	})
	if err != nil {
		return provider.Backend{}, err
	}
	return provider.Backend{
		Instances: instances{client},
		Engine: func(kube kubernetes.Interface, factory informers.SharedInformerFactory) (provider.Engine, error) {
			return controller.New(controller.Config{
				Client: kube, Informers: factory, Cloud: client, Settings: cfg.Settings, Gather: cfg.Gather, Verify: cfg.VerifyInterval,
				Regions: func(region string) (controller.Cloud, error) { return client.In(region) },
				Instances: func(ctx context.Context, addr netip.Addr) (string, bool, error) {
					i, found, err := client.InstanceByAddress(ctx, addr)
					return i.ID, found, err
				},
				TargetQuota: func(ctx context.Context) (int, error) {
					q, err := client.Quotas(ctx)
					return q.Targets, err
				},
			})
		},
	}, nil
}

// instances puts CVM behind the plugin's interface.
type instances struct{ client *clb.Client }

func (i instances) Instance(ctx context.Context, id string) (provider.Instance, bool, error) {
	found, ok, err := i.client.Instance(ctx, id)
	return provider.Instance(found), ok, err
}

func (i instances) InstanceByAddress(ctx context.Context, addr netip.Addr) (provider.Instance, bool, error) {
	found, ok, err := i.client.InstanceByAddress(ctx, addr)
	return provider.Instance(found), ok, err
}
