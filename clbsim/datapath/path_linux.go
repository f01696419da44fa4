// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"sync"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	"k8s.io/klog/v2"

	"github.com/clbsync/clbsync/clbsim/cloud"
	"github.com/clbsync/clbsync/clbsim/proxy"
)

// Path keeps the table of this network namespace. Its methods must not be
// called at the same time.
type Path struct {
	loaded  bool
	rules   Ruleset
	kept    map[Flow]bool
	pending map[Flow]bool // ended flows that are still to be cut
	proxy   proxy.Proxy
	told    map[string]bool // listeners of which the log says that they are not carried

	mu      sync.Mutex
	clients map[netip.Addr]bool // of TCP_SSL listeners, whose addresses targets see
}

// Forward makes the table say what the listeners say, in one transaction, and
// then cuts the UDP flows that must not go on. The order matters: a flow that
// is cut while the old rules stand would be sent to the same target again.
// After an error the next call tries everything that is missing.
func (p *Path) Forward(ctx context.Context, f cloud.Forwarding) error {
	p.proxy.Mark, p.proxy.Borrow = true, p.borrow
	ports, err := p.proxy.Forward(ctx, f)
	if err != nil {
		return fmt.Errorf("proxy: %w", err)
	}
	p.tell(f.Idle)
	f.Sources = append(slices.Clone(f.Sources), p.borrowed()...)
	rules, kept := Render(f, ports), Kept(f)
	script := rules.Script()
	if p.loaded {
		script = Diff(p.rules, rules)
	}
	if script != "" {
		if err := nft(ctx, script); err != nil {
			p.loaded = false // what is there is not known: replace it next time
			return err
		}
	}
	if p.pending == nil {
		p.pending = map[Flow]bool{}
	}
	for flow := range Ended(p.kept, kept) {
		p.pending[flow] = true
	}
	p.loaded, p.rules, p.kept = true, rules, kept
	for flow := range kept {
		delete(p.pending, flow)
	}
	return p.cut()
}

// tell says of each listener once that no packet will follow it.
func (p *Path) tell(idle []string) {
	if p.told == nil {
		p.told = map[string]bool{}
	}
	for _, id := range idle {
		if !p.told[id] {
			p.told[id] = true
			klog.Background().Info("Listener is not carried by the data path: it is of QUIC or IPv6", "listener", id)
		}
	}
}

// maxClients bounds how many addresses of clients are in the table.
const maxClients = 4096

// borrow makes the mark of a client's address stand for it. The next Forward
// has it in its rules, too.
func (p *Path) borrow(ctx context.Context, client netip.Addr) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.clients[client]:
		return nil
	case !client.Is4() || len(p.clients) >= maxClients:
		return errTooMany
	}
	if err := nft(ctx, fmt.Sprintf("add element %s probe_source { %s }\n", table, sourceElement(client))); err != nil {
		return err
	}
	if p.clients == nil {
		p.clients = map[netip.Addr]bool{}
	}
	p.clients[client] = true
	return nil
}

var errTooMany = errors.New("no room for the client's address")

func (p *Path) borrowed() []netip.Addr {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Collect(maps.Keys(p.clients))
}

// Close takes the table away, and the connections of proxies.
func (p *Path) Close(ctx context.Context) error {
	p.loaded = false
	p.proxy.Close()
	return nft(ctx, Remove)
}

func nft(ctx context.Context, script string) error {
	cmd := exec.CommandContext(ctx, "nft", "-f", "-")
	cmd.Stdin = strings.NewReader(script)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("nft refused the rules: %w\n%s", err, stderr.String())
	}
	return nil
}

// cut removes the entries of ended UDP flows from connection tracking, so that
// the next packet of their clients is sent to another target.
func (p *Path) cut() error {
	if len(p.pending) == 0 {
		return nil
	}
	if _, err := netlink.ConntrackDeleteFilters(netlink.ConntrackTable, netlink.InetFamily(unix.AF_INET), endedFlows(p.pending)); err != nil {
		return fmt.Errorf("cut UDP flows: %w", err)
	}
	p.pending = nil
	return nil
}

type endedFlows map[Flow]bool

// MatchConntrackFlow implements netlink.CustomConntrackFilter.
func (e endedFlows) MatchConntrackFlow(c *netlink.ConntrackFlow) bool {
	if c.Forward.Protocol != unix.IPPROTO_UDP {
		return false
	}
	vip, ok := netip.AddrFromSlice(c.Forward.DstIP.To4())
	target, okToo := netip.AddrFromSlice(c.Reverse.SrcIP.To4())
	return ok && okToo && e[Flow{netip.AddrPortFrom(vip, c.Forward.DstPort), netip.AddrPortFrom(target, c.Reverse.SrcPort)}]
}
