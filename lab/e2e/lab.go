// SPDX-License-Identifier: Apache-2.0

// Package e2e runs the whole product on a lab: a real cluster, the simulated CLB with its data path in the machine
// that is the nodes' gateway, and clb-cloud-controller-manager in the control plane's machine, with an identity and
// rights of its own.
//
// It decides nothing about what is right and it fakes nothing: tests (this package's), the demo, the benchmark and the
// upstream suite's runner start a Lab, change objects, ask through the load balancer and compare. Only one Lab per
// process is meant; several processes do not collide.
package e2e

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"k8s.io/client-go/kubernetes"

	"github.com/clbsync/clbsync/clbsim/admin"
	"github.com/clbsync/clbsync/lab/build"
	"github.com/clbsync/clbsync/lab/cluster"
	"github.com/clbsync/clbsync/lab/machine"
	"github.com/clbsync/clbsync/lab/probe"
)

const (
	shortCall = 10 * time.Second // a single call to a server that is up
	patience  = 60 * time.Second // for a process of ours to come up
)

// Config says what Lab to start. The zero value is three nodes, quietly.
type Config struct {
	Cluster  cluster.Config // that kubelets leave their identity to the controller, and the echo image, is set by Start
	Sets     []build.Set    // to build besides what every Lab needs
	Images   []string       // by name, to load on every node besides the echo program's
	Settings Settings       // of the controller; nil: CloudConfig
	Speedup  int            // how many times as fast as on CLB health checks run; 0: Speedup

	// WithoutController leaves the controller and its rights to the caller, and nodes without their identity.
	WithoutController bool
}

// Lab is a running cluster with the simulated CLB and the controller. Its methods may be called concurrently, except
// those that start and stop the controller.
type Lab struct {
	*cluster.Cluster
	Client kubernetes.Interface
	CLB    *admin.Client // the simulated CLB's admin port

	dir        build.Dir
	identity   string           // kubeconfig of the controller
	controller *machine.Process // nil after it was stopped
	log        string           // the controller's, over all its starts
	lastNode   int              // the highest number that a node ever had
	flows      atomic.Uint32    // UDP requests so far
}

// Start builds what is missing and starts a Lab. It returns when every node is ready, the simulated CLB answers and the
// controller works. On error nothing is left behind. ctx bounds the start only.
func Start(ctx context.Context, cfg Config) (_ *Lab, err error) {
	config := cfg.Cluster
	if config.Progress == nil {
		config.Progress = io.Discard
	}
	dir, err := build.Ensure(ctx, config.Progress, append([]build.Set{build.Product}, cfg.Sets...)...)
	if err != nil {
		return nil, err
	}
	for _, name := range append([]string{"echo"}, cfg.Images...) {
		config.Images = append(config.Images, dir.Image(name))
	}
	config.ExternalCloudProvider, config.OmitProviderID = true, true
	c, err := cluster.Start(ctx, config)
	if err != nil {
		return nil, err
	}
	l := &Lab{Cluster: c, Client: c.Clientset(), dir: dir}
	defer func() { //nolint:contextcheck // what was made goes, also after ctx has ended
		if err != nil {
			err = errors.Join(err, l.Close())
		}
	}()
	if err := l.startSimulator(ctx, cmp.Or(cfg.Speedup, Speedup)); err != nil {
		return nil, err
	}
	if cfg.WithoutController {
		return l, nil
	}
	if err := l.grant(ctx); err != nil {
		return nil, err
	}
	if cfg.Settings == nil {
		cfg.Settings = CloudConfig()
	}
	if err := l.StartController(ctx, cfg.Settings); err != nil {
		return nil, err
	}
	return l, l.awaitInitialized(ctx)
}

// Leftovers lists what of the lab is still there after Close: nothing, one hopes.
func (l *Lab) Leftovers() ([]string, error) { return machine.Leftovers(l.Name) }

// Probe returns a client in the machine outside the cluster, with addresses that no node or pod has.
func (l *Lab) Probe(timeout time.Duration) probe.Client {
	return l.ProbeFrom(cluster.ClientIPs[0], timeout)
}

// ProbeFrom is Probe with one of cluster.ClientIPs as source address.
func (l *Lab) ProbeFrom(source netip.Addr, timeout time.Duration) probe.Client {
	return probe.Client{Timeout: timeout, Dial: func(ctx context.Context, network, addr string) (net.Conn, error) {
		if network != "udp" {
			return l.DialFrom(ctx, cluster.Client, source, network, addr)
		}
		client, err := l.Machine(cluster.Client)
		if err != nil {
			return nil, err
		}
		return client.Dial(ctx, net.Dialer{LocalAddr: l.freshPort(source)}, network, addr)
	}}
}

// freshPort returns a source for one UDP request. A load balancer keeps a UDP flow on its target, by the source port; of
// the ports that the kernel would draw, some were in use a minute ago, and their requests would go where those went.
func (l *Lab) freshPort(source netip.Addr) *net.UDPAddr {
	const first, last = 10_000, 60_000
	port := first + (l.flows.Add(1)-1)%(last-first)
	return net.UDPAddrFromAddrPort(netip.AddrPortFrom(source, uint16(port)))
}

// NodeOf names the node that has the address, as its own or, towards its pods, as the first of its pod range; masquerading
// uses either. It is "" if no node has it.
func (l *Lab) NodeOf(addr netip.Addr) string {
	for _, n := range l.Nodes() {
		if addr == n.IP || addr == n.PodCIDR.Masked().Addr().Next() {
			return n.Name
		}
	}
	return ""
}

// Bin is the path of a program that was built.
func (l *Lab) Bin(name string) string { return l.dir.Bin(name) }

// file writes a configuration file for a process of the lab, among the lab's own so that it goes with it.
func (l *Lab) file(name string, content []byte) (string, error) {
	path := filepath.Join(filepath.Dir(l.InClusterKubeconfig), name)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		return "", fmt.Errorf("configuration of a program in the lab: %w", err)
	}
	return path, nil
}
