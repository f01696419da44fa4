// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"

	"github.com/clbsync/clbsync/lab/machine"
)

// bridge joins the nodes and the control plane, on the machine CLB.
const bridge = machine.LinkPrefix + "br"

// routerSysctls are for machines that pass on packets of others. Source addresses are checked nowhere: replies to a
// client whose address was kept go out another way than the connection came in. Filtering what a bridge passes on is
// right for a node: two of its pods that talk through a Service reach each other over the bridge, and unfiltered the
// reply would bypass the address translation. On CLB it would draw the traffic between nodes into the load balancer's
// rules.
func routerSysctls(filterBridge bool) map[string]string {
	filter := "0"
	if filterBridge {
		filter = "1"
	}
	return map[string]string{
		"net/ipv4/ip_forward":                  "1",
		"net/ipv4/conf/all/rp_filter":          "0",
		"net/ipv4/conf/default/rp_filter":      "0",
		"net/ipv4/conf/all/send_redirects":     "0",
		"net/ipv4/conf/default/send_redirects": "0",
		"net/bridge/bridge-nf-call-iptables":   filter,
		"net/bridge/bridge-nf-call-ip6tables":  filter,
		"net/bridge/bridge-nf-call-arptables":  "0",
	}
}

// wireGateway gives the machine CLB its bridge and connects the control plane and the client.
func (c *Cluster) wireGateway(ctx context.Context) error {
	err := c.ip(ctx, CLB,
		fmt.Sprintf("link add %s type bridge", bridge),
		fmt.Sprintf("addr add %s dev %s", netip.PrefixFrom(GatewayIP, machineSubnet.Bits()), bridge),
		fmt.Sprintf("link set %s up", bridge))
	if err != nil {
		return err
	}
	if err := c.wireToBridge(ctx, ControlPlane, ControlPlaneIP); err != nil {
		return err
	}
	return c.wireClient(ctx)
}

// wireToBridge gives a machine its eth0 on the bridge, with CLB as the default route.
func (c *Cluster) wireToBridge(ctx context.Context, name string, addr netip.Addr) error {
	m, err := c.machine(name)
	if err != nil {
		return err
	}
	link := machine.LinkPrefix + name
	err = c.ip(ctx, CLB,
		fmt.Sprintf("link add %s type veth peer name eth0 netns %d", link, m.PID()),
		fmt.Sprintf("link set %s master %s up", link, bridge))
	if err != nil {
		return err
	}
	return c.ip(ctx, name,
		fmt.Sprintf("addr add %s dev eth0", netip.PrefixFrom(addr, machineSubnet.Bits())),
		"link set eth0 up",
		fmt.Sprintf("route add default via %s", GatewayIP))
}

func (c *Cluster) wireClient(ctx context.Context) error {
	m, err := c.machine(Client)
	if err != nil {
		return err
	}
	link := machine.LinkPrefix + Client
	err = c.ip(ctx, CLB,
		fmt.Sprintf("link add %s type veth peer name eth0 netns %d", link, m.PID()),
		fmt.Sprintf("addr add %s dev %s", netip.PrefixFrom(clientGatewayIP, clientPrefixBits), link),
		fmt.Sprintf("link set %s up", link))
	if err != nil {
		return err
	}
	commands := make([]string, 0, len(ClientIPs)+2)
	for _, addr := range ClientIPs {
		commands = append(commands, fmt.Sprintf("addr add %s dev eth0", netip.PrefixFrom(addr, clientPrefixBits)))
	}
	return c.ip(ctx, Client, append(commands, "link set eth0 up",
		fmt.Sprintf("route add default via %s", clientGatewayIP))...)
}

// routePods adds the routes to node's pods everywhere, and the routes to everybody's pods on node, as VPC's route
// table does for a cluster whose pods are not in the VPC.
func (c *Cluster) routePods(ctx context.Context, node Node, others []Node) error {
	toNode := fmt.Sprintf("route replace %s via %s", node.PodCIDR, node.IP)
	own := make([]string, 0, len(others))
	for _, other := range others {
		own = append(own, fmt.Sprintf("route replace %s via %s", other.PodCIDR, other.IP))
		if err := c.ip(ctx, other.Name, toNode); err != nil {
			return err
		}
	}
	if err := c.ip(ctx, node.Name, own...); err != nil {
		return err
	}
	for _, name := range []string{CLB, ControlPlane} {
		if err := c.ip(ctx, name, toNode); err != nil {
			return err
		}
	}
	return nil
}

// unroutePods undoes routePods on the machines that are left.
func (c *Cluster) unroutePods(ctx context.Context, node Node, others []Node) error {
	names := []string{CLB, ControlPlane}
	for _, other := range others {
		names = append(names, other.Name)
	}
	for _, name := range names {
		err := c.ip(ctx, name, fmt.Sprintf("route del %s", node.PodCIDR))
		if err != nil && !errors.Is(err, os.ErrNotExist) { // a node that is off has no routes
			return err
		}
	}
	return nil
}

// ip runs iproute2 commands in a machine's network. It sees the host's process ids, by which a link's other end is
// put into another machine.
func (c *Cluster) ip(ctx context.Context, name string, commands ...string) error {
	if len(commands) == 0 {
		return nil
	}
	m, err := c.machine(name)
	if err != nil {
		return err
	}
	batch := strings.Join(commands, "\n") + "\n"
	_, err = m.NetOutput(ctx, []string{"ip", "-batch", "-"}, machine.Stdin(strings.NewReader(batch)))
	if err != nil {
		return fmt.Errorf("%w, in:\n%s", err, batch)
	}
	return nil
}

// overlayWorks reports whether containerd can stack image layers on the file system of dir. It cannot on an overlay,
// which is what a container's own disk is.
func overlayWorks(dir string) (bool, error) {
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return false, err
	}
	best, kind := "", ""
	for line := range strings.Lines(string(data)) {
		before, after, found := strings.Cut(line, " - ")
		fields := strings.Fields(before)
		if !found || len(fields) < 5 {
			continue
		}
		mount := strings.TrimSuffix(fields[4], "/")
		if strings.HasPrefix(dir+"/", mount+"/") && len(mount) >= len(best) {
			best, kind = mount, strings.Fields(after)[0]
		}
	}
	return kind != "overlay", nil
}
