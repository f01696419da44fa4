// SPDX-License-Identifier: Apache-2.0

// Package rig is a small cluster for comparing proxies: two nodes, their pods and a client outside, each a network
// namespace, and an API server that serves what the test puts into it. Real rules, real packets. The agent's tests call
// it; the proxy under test runs as a process on each node.
//
//	client .100 ──┐                        pods of n1: p1a .10, p1b .11, p1c .12 in 10.244.1.0/24
//	n1     .11  ──┼── 192.168.0.0/24       pods of n2: p2a .10, p2c .12 in 10.244.2.0/24
//	n2     .12  ──┘   fd00::/64            and the same in fd00:244:1::/64, fd00:244:2::/64
package rig

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/clbsync/clbsync/nodeagent/internal/nettest"
)

// PodPort is where every pod answers, on TCP and UDP.
const PodPort = 8080

// Machine is a namespace with its two addresses.
type Machine struct {
	*nettest.Namespace
	IPv4, IPv6 netip.Addr
}

// Rig is the cluster.
type Rig struct {
	API      *API
	Client   *Machine
	Nodes    map[string]*Machine // n1, n2
	Pods     map[string]*Machine // p1a, p1b, p1c, p2a, p2c
	names    map[netip.Addr]string
	Kubefile map[string]string // by node: a kubeconfig file
}

// New builds the cluster.
func New(t testing.TB) *Rig {
	t.Helper()
	r := &Rig{API: NewAPI(t), Nodes: map[string]*Machine{}, Pods: map[string]*Machine{}, names: map[netip.Addr]string{}, Kubefile: map[string]string{}}
	fabric := nettest.New(t, "fabric")
	fabric.Run(t, "ip", "link", "add", "br0", "type", "bridge")
	fabric.Run(t, "ip", "link", "set", "br0", "up")
	fabric.Run(t, "ip", "addr", "add", "192.168.0.1/24", "dev", "br0")
	r.Client = r.plug(t, fabric, "client", 100)
	for i, name := range []string{"n1", "n2"} {
		node := r.plug(t, fabric, name, 11+i)
		r.Nodes[name] = node
		// Without a default route the kernel does not answer the pods' ARP requests for their gateway.
		node.Run(t, "ip", "route", "add", "default", "via", "192.168.0.1")
		for _, s := range []string{"net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding", "net/ipv4/conf/all/route_localnet"} {
			node.Sysctl(t, s, "1")
		}
		for _, s := range []string{"net/ipv4/icmp_ratelimit", "net/ipv6/icmp/ratelimit", "net/ipv4/conf/all/rp_filter", "net/ipv4/conf/default/rp_filter"} {
			node.Sysctl(t, s, "0")
		}
		// A refusal by ICMP is to be a refusal each time: the kernel limits such errors, to all and to each client.
		node.Sysctl(t, "net/ipv4/icmp_msgs_per_sec", "100000")
		node.Sysctl(t, "net/ipv4/icmp_msgs_burst", "100000")
		kubeconfig := filepath.Join(t.TempDir(), name+".kubeconfig")
		if err := os.WriteFile(kubeconfig, []byte(r.API.Serve(t, node.Namespace, 6443)), 0o600); err != nil {
			t.Fatal(err)
		}
		r.Kubefile[name] = kubeconfig
	}
	r.Nodes["n1"].Run(t, "ip", "route", "add", "10.244.2.0/24", "via", "192.168.0.12")
	r.Nodes["n2"].Run(t, "ip", "route", "add", "10.244.1.0/24", "via", "192.168.0.11")
	r.Nodes["n1"].Run(t, "ip", "-6", "route", "add", "fd00:244:2::/64", "via", "fd00::12")
	r.Nodes["n2"].Run(t, "ip", "-6", "route", "add", "fd00:244:1::/64", "via", "fd00::11")
	for i, pod := range []string{"p1a", "p1b", "p1c", "p2a", "p2c"} {
		r.addPod(t, pod, i)
	}
	// Everybody learns his neighbours now: the kernel drops packets that wait too long for that.
	for _, node := range r.Nodes {
		for name, pod := range r.Pods {
			for _, address := range []netip.Addr{pod.IPv4, pod.IPv6} {
				nettest.Until(t, 10*time.Second, node.Name+" reaches "+name, func() bool {
					return strings.HasPrefix(Ask(node.Namespace, "tcp", netip.AddrPortFrom(address, PodPort).String(), time.Second), name)
				})
			}
		}
	}
	return r
}

func (r *Rig) plug(t testing.TB, fabric *nettest.Namespace, name string, host int) *Machine {
	m := &Machine{Namespace: nettest.New(t, name), IPv4: netip.AddrFrom4([4]byte{192, 168, 0, byte(host)}), IPv6: netip.MustParseAddr(fmt.Sprintf("fd00::%d", host))}
	nettest.Connect(t, fabric, name, m.Namespace, "eth0")
	fabric.Run(t, "ip", "link", "set", name, "master", "br0")
	m.Run(t, "ip", "addr", "add", m.IPv4.String()+"/24", "dev", "eth0")
	m.Run(t, "ip", "addr", "add", m.IPv6.String()+"/64", "dev", "eth0", "nodad")
	r.names[m.IPv4], r.names[m.IPv6] = name, name
	return m
}

// addPod makes a pod as a routing network plugin does: a cable of its own, the node as gateway, no bridge.
func (r *Rig) addPod(t testing.TB, name string, index int) {
	node, number := r.Nodes["n"+name[1:2]], map[byte]int{'a': 10, 'b': 11, 'c': 12}[name[2]]
	m := &Machine{
		Namespace: nettest.New(t, name),
		IPv4:      netip.MustParseAddr(fmt.Sprintf("10.244.%c.%d", name[1], number)),
		IPv6:      netip.MustParseAddr(fmt.Sprintf("fd00:244:%c::%d", name[1], number)),
	}
	veth := fmt.Sprintf("veth%d", index)
	nettest.Connect(t, node.Namespace, veth, m.Namespace, "eth0")
	m.Run(t, "ip", "addr", "add", m.IPv4.String()+"/32", "dev", "eth0")
	m.Run(t, "ip", "addr", "add", m.IPv6.String()+"/128", "dev", "eth0", "nodad")
	m.Run(t, "ip", "route", "add", "169.254.1.1", "dev", "eth0", "scope", "link")
	m.Run(t, "ip", "route", "add", "default", "via", "169.254.1.1", "dev", "eth0")
	node.Sysctl(t, "net/ipv4/conf/"+veth+"/proxy_arp", "1")
	node.Run(t, "ip", "route", "add", m.IPv4.String()+"/32", "dev", veth)
	node.Run(t, "ip", "addr", "add", "fe80::1/64", "dev", veth, "nodad")
	m.Run(t, "ip", "-6", "route", "add", "default", "via", "fe80::1", "dev", "eth0")
	node.Run(t, "ip", "-6", "route", "add", m.IPv6.String()+"/128", "dev", veth)
	r.Pods[name] = m
	r.names[m.IPv4], r.names[m.IPv6] = name, name
	r.answer(t, name, m)
}

// answer has the pod say its name and whom it takes the client for.
func (r *Rig) answer(t testing.TB, name string, m *Machine) {
	var listener net.Listener
	var packets net.PacketConn
	var err1, err2 error
	m.Do(func() {
		listener, err1 = net.Listen("tcp", fmt.Sprintf("[::]:%d", PodPort))
		packets, err2 = net.ListenPacket("udp", fmt.Sprintf("[::]:%d", PodPort))
	})
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close(); packets.Close() })
	say := func(peer net.Addr) []byte {
		return []byte(name + "<-" + r.Name(netip.MustParseAddrPort(peer.String()).Addr()) + "\n")
	}
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				// Each line is answered, so that a connection can be kept and asked again.
				for lines := bufio.NewScanner(c); lines.Scan(); {
					if _, err := c.Write(say(c.RemoteAddr())); err != nil {
						return
					}
				}
			}()
		}
	}()
	go func() {
		buffer := make([]byte, 64)
		for {
			_, peer, err := packets.ReadFrom(buffer)
			if err != nil {
				return
			}
			if _, err := packets.WriteTo(say(peer), peer); err != nil {
				return
			}
		}
	}()
}

// Name is who has the address, or the address itself.
func (r *Rig) Name(a netip.Addr) string {
	if name := r.names[a.Unmap()]; name != "" {
		return name
	}
	return a.Unmap().String()
}

// What a probe says when nobody answers.
const (
	Refused = "REFUSED"
	Timeout = "TIMEOUT"
)

// Ask opens a new flow from a machine and returns "pod<-client", Refused or Timeout.
func Ask(from *nettest.Namespace, network, address string, patience time.Duration) string {
	c, err := Dial(from, network, address, patience)
	if err != nil {
		return outcome(err)
	}
	defer c.Close()
	return AskAgain(c, patience)
}

// Dial opens a flow that can be kept.
func Dial(from *nettest.Namespace, network, address string, patience time.Duration) (net.Conn, error) {
	var c net.Conn
	var err error
	from.Do(func() { c, err = (&net.Dialer{Timeout: patience}).Dial(network, address) })
	return c, err
}

// AskAgain asks over an open flow. A UDP question that gets no answer is sent three times.
func AskAgain(c net.Conn, patience time.Duration) string {
	questions := 1
	if _, isUDP := c.(*net.UDPConn); isUDP {
		questions = 3
	}
	result := ""
	for range questions {
		if result = askOnce(c, patience/time.Duration(questions)); result != Timeout {
			return result
		}
	}
	return result
}

func askOnce(c net.Conn, patience time.Duration) string {
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		return outcome(err)
	}
	if _, err := c.Write([]byte("who\n")); err != nil {
		return outcome(err)
	}
	buffer := make([]byte, 128)
	n, err := c.Read(buffer)
	if err != nil {
		return outcome(err)
	}
	return strings.TrimSpace(string(buffer[:n]))
}

func outcome(err error) string {
	var timeout net.Error
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return Refused
	case errors.As(err, &timeout) && timeout.Timeout():
		return Timeout
	}
	return err.Error()
}

// Process is a program on a machine.
type Process struct {
	cmd  *exec.Cmd
	log  string
	done chan struct{}
}

// Start starts a program on a machine; it is killed when the test ends, and its log shown if the test failed.
func Start(t testing.TB, on *nettest.Namespace, env []string, argv ...string) *Process {
	t.Helper()
	p := &Process{cmd: exec.Command(argv[0], argv[1:]...), log: filepath.Join(t.TempDir(), "log"), done: make(chan struct{})}
	file, err := os.Create(p.log)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	p.cmd.Stdout, p.cmd.Stderr, p.cmd.Env = file, file, env
	// Its children (iptables-restore, say) are to go with it, and it with a test that is killed.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := on.Start(p.cmd); err != nil {
		t.Fatal(err)
	}
	go func() { p.cmd.Wait(); close(p.done) }() //nolint:errcheck // it is killed
	t.Cleanup(func() {
		p.Kill()
		text, err := os.ReadFile(p.log)
		if bytes.Contains(text, []byte("WARNING: DATA RACE")) {
			t.Error("the program's race detector has found something")
		}
		if t.Failed() {
			if err == nil {
				t.Logf("log of %s on %s:\n%s", filepath.Base(argv[0]), on.Name, text[max(0, len(text)-8000):])
			}
		}
	})
	return p
}

// Kill ends the program and its children at once.
func (p *Process) Kill() {
	// ESRCH: it has ended by itself.
	if err := syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL); err == nil || errors.Is(err, syscall.ESRCH) {
		<-p.done
	}
}

// Stop asks the program to end and waits.
func (p *Process) Stop(ctx context.Context) error {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	select {
	case <-p.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Pid is the program's process id.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// Log is what the program has printed.
func (p *Process) Log() string {
	text, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// CPU is the processor time that the program and its ended children have used.
func (p *Process) CPU(t testing.TB) time.Duration {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.Pid()))
	if err != nil {
		t.Fatal(err)
	}
	// After the name in parentheses: state is field 3; user, system and the children's both are 14 to 17.
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	var ticks int64
	for _, f := range fields[11:15] {
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		ticks += n
	}
	const perSecond = 100 // USER_HZ, the same on all Linux systems that Go runs on
	return time.Duration(ticks) * time.Second / perSecond
}

// RSS is the program's resident memory in bytes.
func (p *Process) RSS(t testing.TB) int64 {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.Pid()))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if value, found := strings.CutPrefix(line, "VmRSS:"); found {
			kib, err := strconv.ParseInt(strings.Fields(value)[0], 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return kib << 10
		}
	}
	t.Fatal("no VmRSS: the program has ended")
	return 0
}
