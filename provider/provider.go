// SPDX-License-Identifier: Apache-2.0

// Package provider is the plugin "tencentcloud" of k8s.io/cloud-provider: it reads the cloud config, answers
// the node controllers' questions about CVM instances, and hands Services to the engine that keeps their CLBs.
//
// It decides what a cloud config may say and which instance a node is. It never decides what a CLB looks
// like, and never calls Tencent Cloud itself: main puts the clients behind the interfaces Instances and
// Engine. cmd/clb-cloud-controller-manager calls it, and so can any other cloud-controller-manager: see
// Register.
package provider

import (
	"errors"
	"fmt"
	"io"
	"sync"

	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	cloudprovider "k8s.io/cloud-provider"
)

// Name is what --cloud-provider has to say.
const Name = "tencentcloud"

// clientName is the service account of the engine's client under --use-service-account-credentials: that of
// the stock service controller, whose work it does.
const clientName = "service-controller"

// Backend is what stands behind the plugin.
type Backend struct {
	// Instances may be nil: then the node controllers do not start.
	Instances Instances
	// Engine makes the engine behind LoadBalancer; the caller starts the informers afterwards. It is called
	// once, and the engine's Run as well. nil: LoadBalancer is not supported, which is right in a program
	// that runs the engine as a controller of its own.
	Engine func(kubernetes.Interface, informers.SharedInformerFactory) (Engine, error)
}

// Register makes the plugin known to cloudprovider.InitCloudProvider, so that a cloud-controller-manager
// made of upstream's sample main can use it. open gets the cloud config, complete and checked. Call it once,
// before the command runs.
func Register(open func(CloudConfig) (Backend, error)) {
	cloudprovider.RegisterCloudProvider(Name, func(r io.Reader) (cloudprovider.Interface, error) {
		if r == nil {
			return nil, errors.New("--cloud-config is missing; give it a file like examples/cloud-config.yaml")
		}
		cfg, err := ReadConfig(r)
		if err != nil {
			return nil, err
		}
		b, err := open(cfg)
		if err != nil {
			return nil, err
		}
		return New(cfg, b), nil
	})
}

// Cloud is the plugin. It is safe for concurrent use.
type Cloud struct {
	config  CloudConfig
	backend Backend

	mu        sync.Mutex
	client    kubernetes.Interface
	stop      <-chan struct{}
	engine    Engine
	engineErr error // why there is no engine (yet)
}

var (
	_ cloudprovider.Interface    = (*Cloud)(nil)
	_ cloudprovider.InformerUser = (*Cloud)(nil)
)

// New returns the plugin.
func New(cfg CloudConfig, b Backend) *Cloud {
	return &Cloud{config: cfg, backend: b, engineErr: errors.New("the cloud provider is not initialized yet")}
}

// Initialize notes the client; the engine starts in SetInformers, which follows.
func (c *Cloud) Initialize(builder cloudprovider.ControllerClientBuilder, stop <-chan struct{}) {
	if c.backend.Engine == nil {
		return
	}
	client, err := builder.Client(clientName)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.client, c.stop = client, stop
	if err != nil {
		c.client, c.engineErr = nil, fmt.Errorf("client of the API server: %w", err)
	}
}

// SetInformers makes and starts the engine. What goes wrong shows in the answers of LoadBalancer: the
// interface leaves no other way.
func (c *Cloud) SetInformers(factory informers.SharedInformerFactory) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.backend.Engine == nil || c.client == nil || c.engine != nil {
		return
	}
	engine, err := c.backend.Engine(c.client, factory)
	if err != nil {
		c.engineErr = fmt.Errorf("engine of the load balancers: %w", err)
		return
	}
	c.engine, c.engineErr = engine, nil
	go engine.Run(wait.ContextForChannel(c.stop))
}

func (c *Cloud) running() (Engine, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.engine, c.engineErr
}

// LoadBalancer is supported if the Backend has an Engine.
func (c *Cloud) LoadBalancer() (cloudprovider.LoadBalancer, bool) {
	if c.backend.Engine == nil {
		return nil, false
	}
	return loadBalancers{settings: c.config.Settings, engine: c.running}, true
}

// InstancesV2 is supported if the Backend has Instances.
func (c *Cloud) InstancesV2() (cloudprovider.InstancesV2, bool) {
	if c.backend.Instances == nil {
		return nil, false
	}
	return instancesV2{region: c.config.Region, vpc: c.config.Settings.VPCID, cvm: c.backend.Instances}, true
}

// Instances is not supported: InstancesV2 replaced it.
func (c *Cloud) Instances() (cloudprovider.Instances, bool) { return nil, false }

// Zones is not supported: InstancesV2 replaced it.
func (c *Cloud) Zones() (cloudprovider.Zones, bool) { return nil, false }

// Clusters is not supported.
func (c *Cloud) Clusters() (cloudprovider.Clusters, bool) { return nil, false }

// Routes is not supported: the cluster's network plugin makes them.
func (c *Cloud) Routes() (cloudprovider.Routes, bool) { return nil, false }

// ProviderName returns Name.
func (c *Cloud) ProviderName() string { return Name }

// HasClusterID returns true: a cloud config without clusterID is refused.
func (c *Cloud) HasClusterID() bool { return true }
