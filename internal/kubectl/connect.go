// SPDX-License-Identifier: Apache-2.0

package kubectl

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"os"

	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/clbsync/clbsync/internal/version"
	"github.com/clbsync/clbsync/lbsync"
	"github.com/clbsync/clbsync/lbsync/clb"
	"github.com/clbsync/clbsync/lbsync/controller"
	"github.com/clbsync/clbsync/provider"
)

// configVariable names the cloud config if no flag does.
const configVariable = "CLBSYNC_CLOUD_CONFIG"

// kube reads the kubeconfig in the way of kubectl.
func kube(place Place) (Cluster, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = place.Kubeconfig
	overrides := &clientcmd.ConfigOverrides{CurrentContext: place.Context}
	overrides.Context.Namespace = place.Namespace
	loader := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, overrides)
	namespace, _, err := loader.Namespace()
	if err != nil {
		return Cluster{}, fmt.Errorf("kubeconfig: %w", err)
	}
	cfg, err := loader.ClientConfig()
	if err != nil {
		return Cluster{}, fmt.Errorf("kubeconfig: %w", err)
	}
	cfg.UserAgent = "kubectl-clb/" + version.Version()
	cfg.QPS, cfg.Burst = 50, 100
	client, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		return Cluster{}, fmt.Errorf("kubeconfig: %w", err)
	}
	configs, err := dynamic.NewForConfig(cfg)
	return Cluster{Client: client, Dynamic: configs, Namespace: namespace}, err
}

// open connects to the cloud of a cloud config, in the way of the controller.
func open(ctx context.Context, file string) (Cloud, lbsync.Settings, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, lbsync.Settings{}, fmt.Errorf("--cloud-config: %w", err)
	}
	defer f.Close()
	cfg, err := provider.ReadConfig(f)
	if err != nil {
		return nil, lbsync.Settings{}, fmt.Errorf("%s: %w", file, err)
	}
	client, err := clb.New(ctx, clb.Config{
		Region: cfg.Region, VPCID: cfg.Settings.VPCID, Credentials: clb.Credentials(cfg.Credentials), Endpoints: clb.Endpoints(cfg.Endpoints),
		RateLimits: clb.RateLimits(cfg.RateLimits), UserAgent: "kubectl-clb " + version.Version(),
	})
	if err != nil {
		return nil, lbsync.Settings{}, fmt.Errorf("%s: %w", file, err)
	}
	return Client{client}, cfg.Settings, nil
}

// Client is the cloud's client as the commands see it.
type Client struct{ *clb.Client }

// Quota returns how many targets a listener may have, 0 if CLB does not say.
func (c Client) Quota(ctx context.Context) (int, error) {
	q, err := c.Quotas(ctx)
	return q.Targets, err
}

// Instances finds the instance of a node by its address.
func (c Client) Instances() controller.Instances {
	return func(ctx context.Context, addr netip.Addr) (string, bool, error) {
		i, found, err := c.InstanceByAddress(ctx, addr)
		return i.ID, found, err
	}
}

// Region returns the client for CLBs in another region, the same for the same one.
func (c Client) Region(region string) (Cloud, error) {
	there, err := c.In(region)
	return Client{there}, err
}

// config returns the path of the cloud config, "" if nobody says where it is.
func (r *run) config() string { return cmp.Or(r.cloudConfig, os.Getenv(configVariable)) }

// cloud connects to the cloud, which the command cannot do without.
func (r *run) cloud(ctx context.Context) (Cloud, lbsync.Settings, error) {
	file := r.config()
	if file == "" {
		return nil, lbsync.Settings{}, usage("--cloud-config is missing: give it the file that the controller has, or a copy with credentials that may read (see docs/kubectl-clb.md)")
	}
	return r.Open(ctx, file)
}
