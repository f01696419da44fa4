// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"crypto/sha256"
	"encoding/base32"
	"fmt"
	"net/netip"
	"strings"
)

// The network plan. Every lab has the same: its machines see only each other.
var (
	machineSubnet    = netip.MustParsePrefix("10.251.0.0/24")
	podRange         = netip.MustParsePrefix("10.251.64.0/18") // node i has 10.251.(64+i).0/24; see maxNodes
	serviceRange     = netip.MustParsePrefix("10.251.240.0/20")
	apiServiceIP     = netip.MustParseAddr("10.251.240.1")
	dnsServiceIP     = netip.MustParseAddr("10.251.240.10")
	clientGatewayIP  = netip.MustParseAddr("198.51.100.1")
	clientPrefixBits = 24
)

// VIPs is where public load balancers have their addresses. Clients and nodes have a route for it to the machine CLB.
var VIPs = netip.MustParsePrefix("203.0.113.0/24")

// InternalVIPs is where internal load balancers have theirs; it is routed to the machine CLB as well.
var InternalVIPs = netip.MustParsePrefix("10.251.1.0/24")

// ClientIPs are the addresses of the machine Client. They are outside the nodes' 10.251.0.0/16, since the upstream
// suite takes whoever is inside for a node or pod.
var ClientIPs = []netip.Addr{
	netip.MustParseAddr("198.51.100.2"),
	netip.MustParseAddr("198.51.100.3"),
	netip.MustParseAddr("198.51.100.4"),
	netip.MustParseAddr("198.51.100.5"),
}

// GatewayIP is the address of the machine CLB towards the nodes and the control plane.
var GatewayIP = netip.MustParseAddr("10.251.0.1")

// ControlPlaneIP is the address of the machine ControlPlane; the API server listens on its port 6443.
var ControlPlaneIP = netip.MustParseAddr("10.251.0.10")

const (
	apiPort = 6443

	region       = "ap-guangzhou"
	instanceType = "S5.MEDIUM4"

	maxNodes = 63 // as many /24 as podRange has, less the first
)

// Node is a node of the cluster. Its Node object and its machine have the same name.
type Node struct {
	Name       string       `json:"name"`
	InstanceID string       `json:"instanceID"` // ins-xxxxxxxx
	Zone       string       `json:"zone"`       // numeric, as TKE writes it
	IP         netip.Addr   `json:"ip"`
	PodCIDR    netip.Prefix `json:"podCIDR"`
	Proxy      ProxyKind    `json:"proxy"`
	Number     int          `json:"number"` // from 1
}

// ProviderID is what TKE writes into spec.providerID.
func (n Node) ProviderID() string { return fmt.Sprintf("qcloud:///%s/%s", n.Zone, n.InstanceID) }

func plannedNode(number int, proxy ProxyKind) Node {
	name := fmt.Sprintf("n%d", number)
	zones := [...]string{"100004", "100003"}
	return Node{
		Name:       name,
		Number:     number,
		InstanceID: InstanceID(name),
		Zone:       zones[number%2],
		IP:         nth(machineSubnet.Addr(), 0, 10+number),
		PodCIDR:    netip.PrefixFrom(nth(podRange.Addr(), number, 0), 24),
		Proxy:      proxy,
	}
}

// InstanceID is the CVM instance ID of the node of that name, the same in every lab.
func InstanceID(node string) string {
	sum := sha256.Sum256([]byte("clbsync lab node " + node))
	return "ins-" + strings.ToLower(base32.StdEncoding.EncodeToString(sum[:]))[:8]
}

// labels are what TKE puts on its Node objects, or what the cloud's node controller would.
func (n Node) labels() map[string]string {
	return map[string]string{
		"topology.kubernetes.io/zone":        n.Zone,
		"topology.kubernetes.io/region":      region,
		"node.kubernetes.io/instance-type":   instanceType,
		"cloud.tencent.com/node-instance-id": n.InstanceID,
	}
}

// nth adds to the last two bytes of an IPv4 address.
func nth(base netip.Addr, third, fourth int) netip.Addr {
	b := base.As4()
	b[2] += byte(third)
	b[3] += byte(fourth)
	return netip.AddrFrom4(b)
}
