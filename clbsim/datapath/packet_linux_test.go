// SPDX-License-Identifier: Apache-2.0

package datapath_test

import (
	"errors"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"

	"github.com/clbsync/clbsync/clbsim/cloud"
	"github.com/clbsync/clbsync/clbsim/datapath"
)

const nodePort = 30080

// to is node i as a target; weight 0 is drained.
func to(i, weight int) cloud.ForwardingTarget {
	return cloud.ForwardingTarget{Addr: netip.AddrPortFrom(nodeAddr(i), nodePort), Weight: weight, Drained: weight == 0}
}

func tcp(port uint16, targets ...cloud.ForwardingTarget) cloud.ForwardingListener {
	return cloud.ForwardingListener{ID: "lbl-tcp", VIP: vip, Port: port, Targets: targets}
}

func udp(port uint16, targets ...cloud.ForwardingTarget) cloud.ForwardingListener {
	return cloud.ForwardingListener{ID: "lbl-udp", UDP: true, VIP: vip, Port: port, Targets: targets}
}

// path is a data path in this test's gateway.
type path struct {
	t *testing.T
	p datapath.Path
}

// set makes these the listeners.
func (p *path) set(listeners ...cloud.ForwardingListener) {
	p.t.Helper()
	check(p.t, p.p.Forward(p.t.Context(), cloud.Forwarding{VIPs: []netip.Addr{vip}, Listeners: listeners}))
}

func TestConnectionsAreSharedExactlyByWeight(t *testing.T) {
	if !gateway(t) {
		return
	}
	l := newLab(t, 2)
	l.nodes[0].serve(nodePort)
	l.nodes[1].serve(nodePort)
	p := &path{t: t}
	p.set(tcp(80, to(1, 75), to(2, 25)))
	// The answers carry the address that the node saw: the client's own.
	want := map[string]int{"n1 198.51.100.2": 300, "n2 198.51.100.2": 100}
	if diff := cmp.Diff(want, l.count(400, 80)); diff != "" {
		t.Errorf("shares (-want +got):\n%s", diff)
	}
}

func TestWeight0GetsNothingNewAndKeepsWhatItHas(t *testing.T) {
	if !gateway(t) {
		return
	}
	l := newLab(t, 2)
	l.nodes[0].serve(nodePort)
	l.nodes[1].serve(nodePort)
	p := &path{t: t}
	p.set(tcp(80, to(1, 10)))
	old, err := l.client.dial("tcp", clientAddr, 80, patience)
	check(t, err)
	_, err = old.read(patience)
	check(t, err)
	p.set(tcp(80, to(1, 0), to(2, 10)))
	if diff := cmp.Diff(map[string]int{"n2 198.51.100.2": 20}, l.count(20, 80)); diff != "" {
		t.Errorf("new connections (-want +got):\n%s", diff)
	}
	if line, err := old.ask(patience); line != "n1 198.51.100.2" {
		t.Errorf("the old connection answers %q, %v", line, err)
	}
}

func TestWithoutReceiverNothingAnswers(t *testing.T) {
	if !gateway(t) {
		return
	}
	l := newLab(t, 1)
	l.nodes[0].serve(nodePort)
	p := &path{t: t}
	p.set(tcp(80, to(1, 0)))
	for _, port := range []int{80, 81} {
		if c, err := l.client.dial("tcp", clientAddr, port, impatience); err == nil {
			c.Close()
			t.Errorf("port %d of the VIP answers", port)
		}
	}
	if got := l.flow(53).ask(impatience); got != "" {
		t.Errorf("a UDP port without listener answers %q", got)
	}
}

// Deregistration stops established connections: silently, or with a reset if
// the listener says so.
func TestDeregistrationEndsConnections(t *testing.T) {
	if !gateway(t) {
		return
	}
	l := newLab(t, 2)
	l.nodes[0].serve(nodePort)
	l.nodes[1].serve(nodePort)
	p := &path{t: t}
	for _, reset := range []bool{false, true} {
		before := tcp(80, to(1, 10))
		before.Reset = reset
		p.set(before)
		c, err := l.client.dial("tcp", clientAddr, 80, patience)
		check(t, err)
		_, err = c.read(patience)
		check(t, err)
		after := tcp(80, to(2, 10))
		after.Reset = reset
		p.set(after)
		line, err := c.ask(impatience)
		switch {
		case line != "":
			t.Errorf("reset %v: it still answers %q", reset, line)
		case reset && !errors.Is(err, syscall.ECONNRESET):
			t.Errorf("reset: %v", err)
		case !reset && !errors.Is(err, os.ErrDeadlineExceeded):
			t.Errorf("silent: %v", err)
		}
		if got := l.get(clientAddr, 80); got != "n2 198.51.100.2" {
			t.Errorf("a new connection is answered by %q", got)
		}
	}
	// Without its listener a connection is over, too.
	p.set(tcp(80, to(2, 10)))
	c, err := l.client.dial("tcp", clientAddr, 80, patience)
	check(t, err)
	_, err = c.read(patience)
	check(t, err)
	p.set()
	if line, err := c.ask(impatience); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("after the listener is gone: %q, %v", line, err)
	}
}

// A flow that connection tracking has forgotten is not sent to whoever is next
// in turn: that target would reset it.
func TestAForgottenConnectionIsOver(t *testing.T) {
	if !gateway(t) {
		return
	}
	l := newLab(t, 2)
	l.nodes[0].serve(nodePort)
	l.nodes[1].serve(nodePort)
	p := &path{t: t}
	p.set(tcp(80, to(1, 10)))
	c, err := l.client.dial("tcp", clientAddr, 80, patience)
	check(t, err)
	_, err = c.read(patience)
	check(t, err)
	p.set(tcp(80, to(1, 0), to(2, 10)))
	check(t, netlink.ConntrackTableFlush(netlink.ConntrackTable))
	if line, err := c.ask(impatience); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("it is answered by %q, %v; want silence", line, err)
	}
}

func TestUDPFlows(t *testing.T) {
	if !gateway(t) {
		return
	}
	l := newLab(t, 2)
	l.nodes[0].serve(nodePort)
	l.nodes[1].serve(nodePort)
	p := &path{t: t}
	p.set(udp(53, to(1, 10)))
	f := l.flow(53)
	ask := func(want, when string) {
		t.Helper()
		if got := f.ask(patience); got != want {
			t.Errorf("%s the flow is answered by %q, want %q", when, got, want)
		}
	}
	ask("n1 198.51.100.2", "at first")
	p.set(udp(53, to(1, 10), to(2, 90)))
	ask("n1 198.51.100.2", "while its target is there")
	p.set(udp(53, to(1, 0), to(2, 90)))
	ask("n1 198.51.100.2", "while its target drains")
	p.set(udp(53, to(2, 90)))
	ask("n2 198.51.100.2", "when its target has left")
	rescheduled := udp(53, to(1, 10), to(2, 0))
	rescheduled.MoveUDP = true
	p.set(rescheduled)
	ask("n1 198.51.100.2", "when its target drains and the listener reschedules")
}

// The sequence of a listener goes on where it was when another one changes.
func TestAChangeLeavesOtherListenersAlone(t *testing.T) {
	if !gateway(t) {
		return
	}
	l := newLab(t, 3)
	for _, n := range l.nodes {
		n.serve(nodePort)
	}
	p := &path{t: t}
	steady := tcp(80, to(1, 3), to(2, 1))
	steady.ID = "lbl-steady"
	got := map[string]int{}
	for i := range 40 {
		p.set(steady, tcp(81, to(3, i+1)), udp(81, to(i%3+1, 1)))
		got[l.get(clientAddr, 80)]++
	}
	if diff := cmp.Diff(map[string]int{"n1 198.51.100.2": 30, "n2 198.51.100.2": 10}, got); diff != "" {
		t.Errorf("shares (-want +got):\n%s", diff)
	}
}

func TestStickyClientsKeepTheirTarget(t *testing.T) {
	if !gateway(t) {
		return
	}
	l := newLab(t, 3)
	for _, n := range l.nodes {
		n.serve(nodePort)
	}
	p := &path{t: t}
	sticky := func(targets ...cloud.ForwardingTarget) cloud.ForwardingListener {
		s := tcp(80, targets...)
		s.Sticky = 30 * time.Second
		return s
	}
	p.set(sticky(to(1, 10), to(2, 10)))
	mine, others := l.get(clientAddr, 80), l.get(otherClient, 80)
	if mine[:2] == others[:2] {
		t.Errorf("two clients in turn are both sent to %s", mine[:2])
	}
	for range 5 {
		if got := l.get(clientAddr, 80); got != mine {
			t.Errorf("the client moved from %q to %q", mine, got)
		}
	}
	p.set(sticky(to(1, 10), to(2, 10), to(3, 100)))
	if a, b := l.get(clientAddr, 80), l.get(otherClient, 80); a != mine || b != others {
		t.Errorf("when a target came, clients moved from %q and %q to %q and %q", mine, others, a, b)
	}
	p.set(sticky(to(2, 10)))
	if got := l.get(clientAddr, 80); got != "n2 198.51.100.2" {
		t.Errorf("when its target left, the client is answered by %q", got)
	}
}

func TestOnlyAllowedSourcesEnter(t *testing.T) {
	if !gateway(t) {
		return
	}
	l := newLab(t, 1)
	l.nodes[0].serve(nodePort)
	p := &path{t: t}
	guarded := tcp(80, to(1, 10))
	guarded.Allow = []netip.Prefix{netip.PrefixFrom(otherClient, 32)}
	p.set(guarded)
	if got := l.get(otherClient, 80); got != "n1 198.51.100.3" {
		t.Errorf("the allowed client is answered by %q", got)
	}
	if c, err := l.client.dial("tcp", clientAddr, 80, impatience); err == nil {
		c.Close()
		t.Error("the other one gets in")
	}
}

// Processes beside the simulator reach the VIP, too, given a route.
func TestTheGatewayItselfReachesTheVIP(t *testing.T) {
	if !gateway(t) {
		return
	}
	l := newLab(t, 1)
	l.nodes[0].serve(nodePort)
	link, err := netlink.LinkByName("to-n1")
	check(t, err)
	check(t, netlink.RouteAdd(&netlink.Route{LinkIndex: link.Attrs().Index, Gw: nodeAddr(1).AsSlice()}))
	p := &path{t: t}
	p.set(tcp(80, to(1, 10)))
	here, err := netns.Get()
	check(t, err)
	defer here.Close()
	self := &machine{t: t, name: "gateway", ns: here}
	c, err := self.dial("tcp", netip.MustParseAddr("10.0.1.1"), 80, patience)
	check(t, err)
	if line, err := c.read(patience); line != "n1 10.0.1.1" {
		t.Errorf("answered %q, %v", line, err)
	}
}

func TestOtherTablesAreLeftAlone(t *testing.T) {
	if !gateway(t) {
		return
	}
	nft(t, "add table ip mine\nadd chain ip mine c\nadd rule ip mine c counter\nadd table inet clbsim\n")
	before := list(t)
	p := &path{t: t}
	p.set(tcp(80, to(1, 10)))
	if !strings.Contains(list(t), "table ip clbsim") {
		t.Error("our table is not there")
	}
	check(t, p.p.Close(t.Context()))
	if diff := cmp.Diff(before, list(t)); diff != "" {
		t.Errorf("rules of others (-before +after):\n%s", diff)
	}
}

// A table that someone damaged is replaced as soon as a change runs into it.
func TestADamagedTableIsReplaced(t *testing.T) {
	if !gateway(t) {
		return
	}
	l := newLab(t, 1)
	l.nodes[0].serve(nodePort)
	p := &path{t: t}
	p.set(tcp(80, to(1, 10)))
	nft(t, "delete table ip clbsim\n")
	f := cloud.Forwarding{VIPs: []netip.Addr{vip}, Listeners: []cloud.ForwardingListener{tcp(81, to(1, 10))}}
	if err := p.p.Forward(t.Context(), f); err == nil {
		t.Error("the damage is not noticed")
	}
	check(t, p.p.Forward(t.Context(), f))
	if got := l.get(clientAddr, 81); got != "n1 198.51.100.2" {
		t.Errorf("answered by %q", got)
	}
}

// Going step by step from one random set of listeners to the next ends in the
// same rules as loading the last one afresh. The kernel is the judge.
func TestStepsEndWhereAFreshStartEnds(t *testing.T) {
	if !gateway(t) {
		return
	}
	r := rand.New(rand.NewPCG(1, 2))
	var stepwise datapath.Path
	for i := range 40 {
		f := randomForwarding(r)
		check(t, stepwise.Forward(t.Context(), f))
		got := list(t)
		var fresh datapath.Path
		check(t, fresh.Forward(t.Context(), f))
		if diff := cmp.Diff(list(t), got); diff != "" {
			t.Fatalf("step %d (-fresh +stepwise):\n%s", i, diff)
		}
	}
}

func randomForwarding(r *rand.Rand) cloud.Forwarding {
	f := cloud.Forwarding{VIPs: []netip.Addr{vip}, Sources: []netip.Addr{netip.MustParseAddr("100.64.10.1"), vip}[:1+r.IntN(2)]}
	for i := range 5 {
		if r.IntN(3) == 0 {
			continue
		}
		l := cloud.ForwardingListener{ID: "lbl-" + string(rune('a'+i)), UDP: i%2 == 0, VIP: vip, Port: uint16(80 + i), Reset: r.IntN(2) == 0}
		if r.IntN(3) == 0 {
			l.Sticky = time.Minute
		}
		if r.IntN(3) == 0 {
			l.Allow = []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24"), netip.MustParsePrefix("10.0.0.0/8")}[:r.IntN(3)]
		}
		for n := range r.IntN(5) {
			l.Targets = append(l.Targets, to(n+1, r.IntN(4)))
		}
		f.Listeners = append(f.Listeners, l)
	}
	return f
}

func nft(t *testing.T, script string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "nft", "-f", "-")
	cmd.Stdin = strings.NewReader(script)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("nft: %v\n%s", err, out)
	}
}

// list returns what the kernel has: chains and sets sorted by name, since nft
// lists them in order of their creation, each with its content in order.
func list(t *testing.T) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "nft", "list", "ruleset").CombinedOutput()
	check(t, err)
	blocks := strings.Split(strings.ReplaceAll(string(out), "\t}\n}\n", "\t}\n\n}\n"), "\n\n")
	slices.Sort(blocks)
	return strings.Join(blocks, "\n\n")
}
