// SPDX-License-Identifier: Apache-2.0

// Package cluster starts a real Kubernetes cluster on this machine and removes it again: etcd, API server, controller
// manager and scheduler on one machine of lab/machine, and containerd, kubelet, kube-proxy and the product's
// clb-node-agent on one machine per node, with RBAC and node authorization on. Two more machines are the load balancer's place, which is the nodes' gateway,
// and the clients' place.
//
// It decides how these programs are configured and connected, and when the cluster is ready. It never builds anything
// (lab/build has done that), never changes the host's network, and knows nothing of CLB: what runs on the machine CLB
// is the caller's. Tests, the demo and cmd/lab call it.
package cluster

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/clbsync/clbsync/lab/build"
	"github.com/clbsync/clbsync/lab/machine"
	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// The machines that every lab has besides its nodes, n1, n2 and so on.
const (
	ControlPlane = "cp"     // ControlPlaneIP: etcd, API server and the rest; the cloud controller belongs here
	CLB          = "clb"    // GatewayIP: router between nodes, clients and VIPs; its packet filter is the caller's
	Client       = "client" // ClientIPs: where requests from outside the cluster come from
)

// defaultNodes is how many nodes a cluster has if nobody says.
const defaultNodes = 3

// Config says what cluster to start. The zero value is three nodes with the node agent.
type Config struct {
	Name  string                   // up to 24 of a-z, 0-9 and inner '-'; "" is a random one
	Nodes int                      // 0 is 3
	Proxy func(node int) ProxyKind // by node number, from 1; nil is NodeAgent for all

	ExternalCloudProvider bool // kubelets wait for a cloud controller, which also sets the labels of zone, region and type
	OmitProviderID        bool // Node objects start without spec.providerID
	DNS                   bool // a DNS server for Services
	Audit                 bool // the API server writes what ServiceAccounts ask of it to AuditLog

	Images   []string  // docker-archive tars to load on every node, besides pause
	Detached bool      // the cluster outlives this process; else it is removed when the process ends, however it ends
	LogDir   string    // where logs go and stay; "" is a directory that Close removes
	Progress io.Writer // gets a line per step; nil is quiet
}

func (c Config) proxy(node int) ProxyKind {
	if c.Proxy == nil {
		return NodeAgent
	}
	return c.Proxy(node)
}

// Cluster is a running cluster. Its methods may be called concurrently.
type Cluster struct {
	Name                string
	Kubeconfig          string // the administrator's, for programs on the host
	InClusterKubeconfig string // the administrator's, for programs on the lab's machines

	config Config
	dir    build.Dir
	lab    *machine.Lab
	pki    *authority
	fail   context.CancelCauseFunc // ends Start; does nothing later

	mu        sync.Mutex
	state     state
	processes map[string]*machine.Process // by machine/name
	rest      *rest.Config
	client    kubernetes.Interface
}

// state is what another process needs to use the cluster.
type state struct {
	Kubeconfig            string    `json:"kubeconfig"`
	InClusterKubeconfig   string    `json:"inClusterKubeconfig"`
	LogDir                string    `json:"logDir"`
	Build                 build.Dir `json:"build"`
	Nodes                 []Node    `json:"nodes"`
	LastNode              int       `json:"lastNode"`
	ExternalCloudProvider bool      `json:"externalCloudProvider"`
	OmitProviderID        bool      `json:"omitProviderID"`
	Images                []string  `json:"images"`
}

// Start starts a cluster and returns when all nodes are Ready. If it fails, it leaves nothing but logs in
// config.LogDir. ctx bounds the start, not the life of the cluster.
func Start(ctx context.Context, config Config) (*Cluster, error) {
	if config.Nodes == 0 {
		config.Nodes = defaultNodes
	}
	if config.Nodes < 0 || config.Nodes > maxNodes {
		return nil, fmt.Errorf("Nodes is %d: a lab has addresses for up to %d nodes", config.Nodes, maxNodes)
	}
	config.Images = slices.Clone(config.Images)
	if config.Name == "" {
		config.Name = randomName()
	}
	for i, image := range config.Images { // programs on a machine have another working directory
		abs, err := filepath.Abs(image)
		if err != nil {
			return nil, err
		}
		config.Images[i] = abs
	}
	dir, err := build.Find()
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(dir.Bin("kube")); err != nil {
		return nil, fmt.Errorf("the lab is not built yet: %w: run `go run ./cmd/lab build` in lab/", err)
	}
	lab, err := machine.Create(config.Name, machine.Options{Helper: dir.Bin("labinit"), Detached: config.Detached}) //nolint:contextcheck // what it made goes if it fails, also after ctx has ended
	if err != nil {
		return nil, err
	}
	c := newCluster(lab, dir, config)
	if err := c.start(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("start lab %s: %w", c.Name, err), c.Close()) //nolint:contextcheck // what was made goes, also after ctx has ended
	}
	return c, nil
}

func randomName() string { return strings.ToLower(rand.Text()[:8]) }

func newCluster(lab *machine.Lab, dir build.Dir, config Config) *Cluster {
	return &Cluster{
		Name: lab.Name, config: config, dir: dir, lab: lab, fail: func(error) {},
		processes: map[string]*machine.Process{},
	}
}

// Open finds a running cluster, such as one that `lab up` left.
func Open(name string) (*Cluster, error) {
	lab, err := machine.Open(name)
	if err != nil {
		return nil, err
	}
	c := newCluster(lab, "", Config{})
	if err := lab.LoadState("cluster", &c.state); err != nil {
		return nil, fmt.Errorf("lab %s has no cluster that is ready: %w", name, err)
	}
	s := c.state
	c.Kubeconfig, c.InClusterKubeconfig, c.dir = s.Kubeconfig, s.InClusterKubeconfig, s.Build
	c.config = Config{
		Name: name, ExternalCloudProvider: s.ExternalCloudProvider, OmitProviderID: s.OmitProviderID,
		Images: s.Images, LogDir: s.LogDir,
	}
	if len(s.Nodes) > 0 {
		like := s.Nodes[len(s.Nodes)-1].Proxy // a function cannot be kept; nodes added now are like the last one
		c.config.Proxy = like.Everywhere()
	}
	if c.pki, err = openAuthority(filepath.Join(lab.Dir(), "pki")); err != nil {
		return nil, err
	}
	return c, c.connect()
}

// Close removes the cluster and every trace of it. It may be called more than once.
func (c *Cluster) Close() error { return c.lab.Remove() }

func (c *Cluster) start(ctx context.Context) error {
	ctx, c.fail = context.WithCancelCause(ctx)
	defer c.fail(nil)
	begin := time.Now()
	step := func(what string) {
		if c.config.Progress != nil {
			fmt.Fprintf(c.config.Progress, "  %5.1fs  %s\n", time.Since(begin).Seconds(), what)
		}
	}
	if err := c.prepare(ctx); err != nil {
		return err
	}
	step("network and certificates of lab " + c.Name)

	nodes := make([]Node, c.config.Nodes)
	for i := range nodes {
		nodes[i] = plannedNode(i+1, c.config.proxy(i+1))
	}
	if err := c.keepNodes(nodes); err != nil {
		return err
	}
	together, groupCtx := errgroup.WithContext(ctx)
	together.Go(func() error { return c.startControlPlane(groupCtx) })
	for i, n := range nodes {
		// Routes lead from each node to those before it, so the machines are made one after the other.
		if err := c.prepareNode(groupCtx, n, nodes[:i]); err != nil {
			return errors.Join(err, together.Wait())
		}
		together.Go(func() error { return c.importImages(groupCtx, n) })
	}
	if err := together.Wait(); err != nil {
		return err
	}
	step("control plane, and containerd with images on each node")

	for _, n := range nodes {
		if err := c.StartKubelet(ctx, n.Name); err != nil {
			return err
		}
	}
	if err := c.wantAgent(ctx, nodes...); err != nil {
		return err
	}
	var admitted errgroup.Group // ctx ends with a program that must not, also later in Start
	for _, n := range nodes {
		admitted.Go(func() error { return c.admit(ctx, n) })
	}
	if err := admitted.Wait(); err != nil {
		return err
	}
	if err := c.finish(ctx); err != nil {
		return err
	}
	step(fmt.Sprintf("%d nodes Ready", len(nodes)))
	return nil
}

// prepare makes what everything else stands on: machines, their links, certificates.
func (c *Cluster) prepare(ctx context.Context) error {
	if c.config.LogDir == "" {
		c.config.LogDir = filepath.Join(c.lab.Dir(), "logs")
	}
	var err error
	if c.config.LogDir, err = filepath.Abs(c.config.LogDir); err != nil {
		return err
	}
	if err := os.MkdirAll(c.config.LogDir, 0o755); err != nil {
		return err
	}
	if err := c.issueCertificates(); err != nil {
		return err
	}
	gateway := machine.Spec{Name: CLB, Sysctls: routerSysctls(false)}
	for _, spec := range []machine.Spec{gateway, {Name: ControlPlane}, {Name: Client}} {
		if err := c.boot(spec); err != nil {
			return err
		}
	}
	if err := c.wireGateway(ctx); err != nil {
		return err
	}
	if err := c.forwardAPI(); err != nil {
		return err
	}
	return c.connect()
}

// connect makes the administrator's client.
func (c *Cluster) connect() error {
	var err error
	if c.rest, err = clientcmd.BuildConfigFromFlags("", c.Kubeconfig); err != nil {
		return err
	}
	c.rest.QPS = -1
	c.client, err = kubernetes.NewForConfig(c.rest)
	return err
}

// RESTConfig is the administrator's configuration for clients in this process, without a rate limit.
func (c *Cluster) RESTConfig() *rest.Config { return rest.CopyConfig(c.rest) }

// Clientset is the administrator's client.
func (c *Cluster) Clientset() kubernetes.Interface { return c.client }

// Nodes returns the nodes in order of their numbers.
func (c *Cluster) Nodes() []Node {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.state.Nodes)
}

// Node returns the node of that name.
func (c *Cluster) Node(name string) (Node, bool) {
	for _, n := range c.Nodes() {
		if n.Name == name {
			return n, true
		}
	}
	return Node{}, false
}

// keepNodes sets the list of nodes, for this process and for those that Open the cluster.
func (c *Cluster) keepNodes(nodes []Node) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.state.Nodes = slices.Clone(nodes)
	for _, n := range nodes {
		c.state.LastNode = max(c.state.LastNode, n.Number)
	}
	s := &c.state
	s.Kubeconfig, s.InClusterKubeconfig, s.Build, s.LogDir = c.Kubeconfig, c.InClusterKubeconfig, c.dir, c.config.LogDir
	s.ExternalCloudProvider, s.OmitProviderID, s.Images = c.config.ExternalCloudProvider, c.config.OmitProviderID, c.config.Images
	return c.lab.SaveState("cluster", s)
}

// LogDir is where the logs of all programs are, as MACHINE-PROGRAM.log.
func (c *Cluster) LogDir() string { return c.config.LogDir }

func (c *Cluster) bin(name string) string   { return c.dir.Bin(name) }
func (c *Cluster) image(name string) string { return c.dir.Image(name) }
