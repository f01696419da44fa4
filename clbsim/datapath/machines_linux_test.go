// SPDX-License-Identifier: Apache-2.0

package datapath_test

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

// The address plan. The test's own process is the gateway, which is where the
// data path works; everyone else is a network namespace of his own:
//
//	client 198.51.100.2, .3 ── 198.51.100.1 [gateway] 10.0.1.1 ── n1 10.0.1.2
//	                                                  10.0.2.1 ── n2 10.0.2.2
//	                                                  10.0.3.1 ── n3 10.0.3.2
var (
	clientAddr  = netip.MustParseAddr("198.51.100.2")
	otherClient = netip.MustParseAddr("198.51.100.3")
	vip         = netip.MustParseAddr("203.0.113.1")
)

func nodeAddr(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, 0, byte(i), 2}) }

const reexec = "CLBSIM_TEST_GATEWAY"

// gateway runs the rest of the test in a process of its own whose network is
// empty, and returns true there. In the first process it waits for the second
// and returns false: the test is over. Whatever the test leaves behind goes
// with its namespaces.
func gateway(t *testing.T) bool {
	t.Helper()
	if os.Getenv(reexec) != "" {
		return true
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0], "-test.run=^"+regexp.QuoteMeta(t.Name())+"$", "-test.v")
	cmd.Env = append(os.Environ(), reexec+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	if os.Geteuid() != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	runtime.LockOSThread() // Pdeathsig is about the thread that starts the process
	defer runtime.UnlockOSThread()
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Errorf("in a network of its own (needs root or user namespaces): %v\n%s", err, out)
	}
	return false
}

// lab is the machines around the gateway.
type lab struct {
	t      *testing.T
	client *machine
	nodes  []*machine // n1 is nodes[0]
}

func newLab(t *testing.T, nodes int) *lab {
	t.Helper()
	if err := os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0); err != nil {
		t.Fatal(err)
	}
	lo, err := netlink.LinkByName("lo")
	check(t, err)
	check(t, netlink.LinkSetUp(lo))
	l := &lab{t: t, client: newMachine(t, "client", "198.51.100.1/24", clientAddr.String()+"/24", otherClient.String()+"/24")}
	for i := 1; i <= nodes; i++ {
		l.nodes = append(l.nodes, newMachine(t, fmt.Sprint("n", i), fmt.Sprintf("10.0.%d.1/24", i), nodeAddr(i).String()+"/24"))
	}
	return l
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// machine is a network namespace that routes everything through the gateway.
type machine struct {
	t    *testing.T
	name string
	ns   netns.NsHandle
}

func newMachine(t *testing.T, name, gatewayAddr string, addrs ...string) *machine {
	t.Helper()
	m := &machine{t: t, name: name}
	created := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlock: the thread ends with its goroutine
		var err error
		m.ns, err = netns.New()
		created <- err
	}()
	check(t, <-created)
	t.Cleanup(func() { m.ns.Close() })

	outer := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "to-" + name}, PeerName: "eth0", PeerNamespace: netlink.NsFd(m.ns)}
	check(t, netlink.LinkAdd(outer))
	addr, err := netlink.ParseAddr(gatewayAddr)
	check(t, err)
	check(t, netlink.AddrAdd(outer, addr))
	check(t, netlink.LinkSetUp(outer))
	m.do(func() {
		for _, link := range []string{"lo", "eth0"} {
			l, err := netlink.LinkByName(link)
			check(t, err)
			check(t, netlink.LinkSetUp(l))
		}
		eth0, err := netlink.LinkByName("eth0")
		check(t, err)
		for _, a := range addrs {
			inner, err := netlink.ParseAddr(a)
			check(t, err)
			check(t, netlink.AddrAdd(eth0, inner))
		}
		check(t, netlink.RouteAdd(&netlink.Route{LinkIndex: eth0.Attrs().Index, Gw: addr.IP}))
	})
	return m
}

// do runs f on a thread in the machine's namespace. Sockets that f makes stay
// there.
func (m *machine) do(f func()) {
	m.t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		err := netns.Set(m.ns)
		if err == nil {
			f()
		}
		done <- err
	}()
	check(m.t, <-done)
}

// serve answers on a port of the machine with "<name> <peer's address>": each
// TCP connection with one line, and each line that follows with the same line
// again; each UDP datagram with one. It returns how to stop.
func (m *machine) serve(port int) (stop func()) {
	m.t.Helper()
	var tcp net.Listener
	var udp net.PacketConn
	m.do(func() {
		var err error
		tcp, err = net.Listen("tcp4", fmt.Sprint(":", port))
		check(m.t, err)
		udp, err = net.ListenPacket("udp4", fmt.Sprint(":", port))
		check(m.t, err)
	})
	go func() {
		for {
			c, err := tcp.Accept()
			if err != nil {
				return
			}
			go m.answer(c)
		}
	}()
	go func() {
		buf := make([]byte, 1500)
		for {
			n, peer, err := udp.ReadFrom(buf)
			if err != nil {
				return
			}
			if n > 0 { // an empty datagram is a probe
				_, _ = udp.WriteTo([]byte(m.line(peer)), peer)
			}
		}
	}()
	stop = sync.OnceFunc(func() { tcp.Close(); udp.Close() })
	m.t.Cleanup(stop)
	return stop
}

func (m *machine) line(peer net.Addr) string {
	return m.name + " " + netip.MustParseAddrPort(peer.String()).Addr().String()
}

func (m *machine) answer(c net.Conn) {
	defer c.Close()
	lines := bufio.NewScanner(c)
	for {
		if _, err := fmt.Fprintln(c, m.line(c.RemoteAddr())); err != nil || !lines.Scan() {
			return
		}
	}
}

// patience is how long an answer may take; impatience, how long to wait for one
// that must not come.
const (
	patience   = 5 * time.Second
	impatience = 300 * time.Millisecond
)

// conn is a connection from the client's machine.
type conn struct {
	net.Conn
	lines *bufio.Scanner
}

// dial connects from an address of the machine to a port of the VIP.
func (m *machine) dial(network string, from netip.Addr, port int, wait time.Duration) (c *conn, err error) {
	m.t.Helper()
	m.do(func() {
		d := net.Dialer{Timeout: wait}
		if network == "udp" {
			d.LocalAddr = net.UDPAddrFromAddrPort(netip.AddrPortFrom(from, 0))
		} else {
			d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, 0))
		}
		var nc net.Conn
		if nc, err = d.Dial(network, netip.AddrPortFrom(vip, uint16(port)).String()); err == nil {
			c = &conn{Conn: nc, lines: bufio.NewScanner(nc)}
		}
	})
	return c, err
}

// read returns the next line, or the error that came instead.
func (c *conn) read(wait time.Duration) (string, error) {
	_ = c.SetReadDeadline(time.Now().Add(wait))
	if !c.lines.Scan() {
		return "", c.lines.Err()
	}
	return c.lines.Text(), nil
}

// ask sends a line and returns the answer.
func (c *conn) ask(wait time.Duration) (string, error) {
	if _, err := fmt.Fprintln(c, "again"); err != nil {
		return "", err
	}
	return c.read(wait)
}

// get makes one new TCP connection and returns who answered it.
func (l *lab) get(from netip.Addr, port int) string {
	l.t.Helper()
	c, err := l.client.dial("tcp", from, port, patience)
	check(l.t, err)
	defer c.Close()
	line, err := c.read(patience)
	check(l.t, err)
	return line
}

// count makes n connections and counts who answered.
func (l *lab) count(n, port int) map[string]int {
	l.t.Helper()
	out := map[string]int{}
	for range n {
		out[l.get(clientAddr, port)]++
	}
	return out
}

// datagrams is one UDP flow: one source port.
type datagrams struct{ net.Conn }

func (l *lab) flow(port int) datagrams {
	l.t.Helper()
	c, err := l.client.dial("udp", clientAddr, port, patience)
	check(l.t, err)
	l.t.Cleanup(func() { c.Close() })
	return datagrams{c.Conn}
}

// ask sends a datagram and returns the answer, or "" if none comes.
func (d datagrams) ask(wait time.Duration) string {
	_, _ = d.Write([]byte("hello"))
	_ = d.SetReadDeadline(time.Now().Add(wait))
	buf := make([]byte, 1500)
	n, err := d.Read(buf)
	if err != nil {
		return ""
	}
	return string(buf[:n])
}
