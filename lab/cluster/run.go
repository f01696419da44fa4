// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/clbsync/clbsync/lab/machine"
	"k8s.io/apimachinery/pkg/util/wait"
)

// pollInterval is how often a condition is looked at that nothing announces.
const pollInterval = 100 * time.Millisecond

// Run starts a program on a machine and returns. argv[0] is a path, or a name in PATH. Its output is appended to
// MACHINE-NAME.log in LogDir, so that a program started again under the same name continues its log.
func (c *Cluster) Run(machineName, name string, argv []string, options ...machine.Option) (*machine.Process, error) {
	m, err := c.machine(machineName)
	if err != nil {
		return nil, err
	}
	p, err := m.Run(name, filepath.Join(c.config.LogDir, machineName+"-"+name+".log"), argv, options...)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.processes[machineName+"/"+name] = p
	return p, nil
}

// Output runs a program on a machine to its end and returns what it printed, errors included.
func (c *Cluster) Output(ctx context.Context, machineName string, argv ...string) ([]byte, error) {
	m, err := c.machine(machineName)
	if err != nil {
		return nil, err
	}
	return m.Output(ctx, argv)
}

// KubectlCommand is a call of kubectl on the host as the administrator, ready to be given inputs and outputs and run.
func (c *Cluster) KubectlCommand(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, c.bin("kubectl"), args...)
	// Its cache would outlive the lab in the caller's home.
	cmd.Env = append(os.Environ(), "KUBECONFIG="+c.Kubeconfig, "KUBECACHEDIR="+filepath.Join(c.lab.Dir(), "kubectl"))
	return cmd
}

// Kubectl runs kubectl on the host as the administrator and returns what it printed, errors included.
func (c *Cluster) Kubectl(ctx context.Context, args ...string) ([]byte, error) {
	out, err := c.KubectlCommand(ctx, args...).CombinedOutput()
	if err != nil {
		return out, fmt.Errorf("kubectl %v: %w: %s", args, err, out)
	}
	return out, nil
}

// Dial connects from a machine. addr is IP:port.
func (c *Cluster) Dial(ctx context.Context, machineName, network, addr string) (net.Conn, error) {
	return c.DialFrom(ctx, machineName, netip.Addr{}, network, addr)
}

// DialFrom is like Dial, from one of the machine's addresses, for instance one of ClientIPs.
func (c *Cluster) DialFrom(ctx context.Context, machineName string, local netip.Addr, network, addr string) (net.Conn, error) {
	m, err := c.machine(machineName)
	if err != nil {
		return nil, err
	}
	var d net.Dialer
	if local.IsValid() {
		switch network {
		case "udp", "udp4", "udp6":
			d.LocalAddr = net.UDPAddrFromAddrPort(netip.AddrPortFrom(local, 0))
		default:
			d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(local, 0))
		}
	}
	return m.Dial(ctx, d, network, addr)
}

// Listen listens for TCP connections on a machine.
func (c *Cluster) Listen(ctx context.Context, machineName, network, addr string) (net.Listener, error) {
	m, err := c.machine(machineName)
	if err != nil {
		return nil, err
	}
	return m.Listen(ctx, network, addr)
}

// ListenPacket listens for datagrams on a machine.
func (c *Cluster) ListenPacket(ctx context.Context, machineName, network, addr string) (net.PacketConn, error) {
	m, err := c.machine(machineName)
	if err != nil {
		return nil, err
	}
	return m.ListenPacket(ctx, network, addr)
}

// HTTPClient returns a client that connects from a machine; URLs name hosts by IP address.
func (c *Cluster) HTTPClient(machineName string) (*http.Client, error) {
	m, err := c.machine(machineName)
	if err != nil {
		return nil, err
	}
	return m.HTTPClient(), nil
}

// InNetNS calls fn on an OS thread of its own in a machine's network namespace; see machine.Machine.InNetNS.
func (c *Cluster) InNetNS(machineName string, fn func() error) error {
	m, err := c.machine(machineName)
	if err != nil {
		return err
	}
	return m.InNetNS(fn)
}

// Machine returns a running machine of the cluster; one that is off, or that never was, is os.ErrNotExist.
func (c *Cluster) Machine(name string) (*machine.Machine, error) { return c.machine(name) }

func (c *Cluster) machine(name string) (*machine.Machine, error) { return c.lab.Machine(name) }

func (c *Cluster) boot(spec machine.Spec) error {
	_, err := c.lab.Boot(spec)
	return err
}

func (c *Cluster) process(machineName, name string) *machine.Process {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.processes[machineName+"/"+name]
}

func ended(p *machine.Process) bool {
	select {
	case <-p.Done():
		return true
	default:
		return false
	}
}

// essential runs a program without which Start cannot succeed: its end ends Start, with the last lines of its log.
func (c *Cluster) essential(ctx context.Context, machineName, name string, argv []string) error {
	p, err := c.Run(machineName, name, argv)
	if err != nil {
		return err
	}
	go func() {
		select {
		case <-p.Done():
			c.fail(fmt.Errorf("%s on %s ended: %v; the end of its log:\n%s", name, machineName, p.Wait(), p.Tail(15))) //nolint:errorlint // wrapped, it would pass for the end of a program that a person ran on a machine
		case <-ctx.Done():
		}
	}()
	return nil
}

// until polls check until it returns nil, and reports its last error if ctx ends before.
func (c *Cluster) until(ctx context.Context, what string, check func(context.Context) error) error {
	var last error
	err := wait.PollUntilContextCancel(ctx, pollInterval, true, func(ctx context.Context) (bool, error) {
		last = check(ctx)
		return last == nil, nil
	})
	if err != nil {
		return errors.Join(fmt.Errorf("waiting until %s: %w", what, context.Cause(ctx)), last)
	}
	return nil
}
