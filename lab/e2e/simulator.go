// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/yaml"

	"github.com/clbsync/clbsync/clbsim/admin"
	"github.com/clbsync/clbsync/lab/cluster"
	"github.com/clbsync/clbsync/lbsync/clb"
)

// What the simulated cloud knows. The controller is configured with the same.
const (
	ClusterID = "cls-lab00001"
	SubnetID  = "subnet-lab00001" // of internal load balancers

	region       = "ap-guangzhou"
	vpcID        = "vpc-lab00001"
	secretID     = "AKIDEXAMPLE"
	secretKey    = "SECRETEXAMPLE"
	instanceType = "S5.MEDIUM4"
	serviceTag   = "tke-lb-serviceuuid"

	apiAddress   = "10.251.0.1:8090" // cluster.GatewayIP
	adminAddress = "10.251.0.1:8091"
)

// What the examples of the product name, beside what the controller is configured with.
const (
	exampleSubnet = "subnet-2ab3c4d5"
	exampleGroup  = "sg-2ab3c4d5" // lets the first of the clients in, and nobody else
	otherRegion   = "ap-shanghai"
	otherVPC      = "vpc-9xy8z7w6" // of otherRegion
	otherSubnet   = "subnet-9xy8z7w6"
)

// lowerHalf and upperHalf share a range of addresses between two subnets.
func lowerHalf(p netip.Prefix) netip.Prefix { return netip.PrefixFrom(p.Masked().Addr(), p.Bits()+1) }

func upperHalf(p netip.Prefix) netip.Prefix {
	a := p.Masked().Addr().As4()
	a[p.Bits()/8] |= 0x80 >> (p.Bits() % 8)
	return netip.PrefixFrom(netip.AddrFrom4(a), p.Bits()+1)
}

// Speedup is how many times as fast as on CLB health checks run, if nobody says otherwise.
const Speedup = 20

// taskDelay is how long an asynchronous task of the simulated CLB takes.
const taskDelay = 50 * time.Millisecond

// zoneNames are CLB's and CVM's names of the zones that Node objects carry by number.
var zoneNames = map[string]string{"100003": "ap-guangzhou-3", "100004": "ap-guangzhou-4"}

// startSimulator starts clbsim in the machine that is the nodes' gateway, with the cluster's nodes as instances.
func (l *Lab) startSimulator(ctx context.Context, speedup int) error {
	var instances, zones []map[string]any
	for _, n := range l.Nodes() {
		instances = append(instances, instance(n))
	}
	for _, id := range slices.Sorted(maps.Keys(zoneNames)) {
		zones = append(zones, map[string]any{"id": id, "name": zoneNames[id]})
	}
	content, err := yaml.Marshal(map[string]any{
		"regions":     []string{region, otherRegion},
		"credentials": []map[string]any{{"secretID": secretID, "secretKey": secretKey}},
		"zones":       zones,
		"vpcs": []map[string]any{
			{"id": vpcID, "cidrs": []string{"10.251.0.0/16"}},
			{"id": otherVPC, "region": otherRegion, "cidrs": []string{"10.252.0.0/16"}},
		},
		"subnets": []map[string]any{
			{"id": SubnetID, "vpc": vpcID, "cidr": lowerHalf(cluster.InternalVIPs).String(), "zone": "ap-guangzhou-3"},
			{"id": otherSubnet, "vpc": otherVPC, "cidr": "10.252.1.0/24", "zone": "ap-guangzhou-3"},
			{"id": exampleSubnet, "vpc": vpcID, "cidr": upperHalf(cluster.InternalVIPs).String(), "zone": "ap-guangzhou-3"},
		},
		"securityGroups": []map[string]any{{"id": exampleGroup, "allow": []string{cluster.ClientIPs[0].String() + "/32"}}},
		"certificates": []map[string]any{
			{"id": "labcert1", "domains": []string{"www.example.com"}}, {"id": "labcert2", "domains": []string{"shop.example.com"}},
		},
		"instances":  instances,
		"publicVIPs": []string{cluster.VIPs.String()},
		"tasks":      map[string]any{"delay": taskDelay.String()},
		"health":     map[string]any{"probe": "real", "speedup": speedup},
		// Of CLB's 30 deletions in 5 minutes: a test makes a load balancer and deletes it within seconds.
		"assumptions": map[string]any{"deleteFrequencyWindow": "30s"},
	})
	if err != nil {
		return err
	}
	config, err := l.file("clbsim.yaml", content)
	if err != nil {
		return err
	}
	p, err := l.Run(cluster.CLB, "clbsim", []string{
		l.dir.Bin("clbsim"), "--listen", apiAddress, "--admin", adminAddress, "--config", config, "--datapath",
	})
	if err != nil {
		return err
	}
	l.CLB = admin.NewWithTransport("http://"+adminAddress, &http.Transport{DialContext: l.dialer(cluster.CLB)})
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := up(ctx, p, l.CLB.Ready); err != nil {
		return fmt.Errorf("clbsim: %w", err)
	}
	return nil
}

// APIClient returns a client of the simulated CLB's API for this process, with the controller's own credentials.
func (l *Lab) APIClient(ctx context.Context) (*clb.Client, error) {
	m, err := l.Machine(cluster.CLB)
	if err != nil {
		return nil, err
	}
	at, err := m.Forward(netip.MustParseAddrPort(apiAddress))
	if err != nil {
		return nil, err
	}
	endpoint := "http://" + at.String()
	return clb.New(ctx, clb.Config{
		Region: region, VPCID: vpcID, Credentials: clb.Credentials{SecretID: secretID, SecretKey: secretKey},
		Endpoints: clb.Endpoints{CLB: endpoint, CVM: endpoint, VPC: endpoint},
	})
}

func instance(n cluster.Node) map[string]any {
	return map[string]any{
		"id": n.InstanceID, "name": n.Name, "privateIP": n.IP.String(), "zone": zoneNames[n.Zone], "type": instanceType,
	}
}

func (l *Lab) dialer(machine string) func(ctx context.Context, network, addr string) (net.Conn, error) {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		return l.Dial(ctx, machine, network, addr)
	}
}

// Listener names a listener of a load balancer.
type Listener struct {
	Protocol string // TCP or UDP
	Port     int
}

func (k Listener) String() string { return fmt.Sprintf("%s:%d", k.Protocol, k.Port) }

// Target is a node behind a listener, as the simulated CLB has it.
type Target struct {
	Node     string
	Port     int
	Weight   int
	Status   string // of its health check: Alive, Dead, Unknown or Close
	Receives bool   // new connections go to it
}

// Balancers returns the load balancers whose tags say that they are the Service's.
func Balancers(s admin.State, service types.UID) []admin.LoadBalancer {
	var out []admin.LoadBalancer
	for _, lb := range s.LoadBalancers {
		if lb.Tags[serviceTag] == string(service) {
			out = append(out, lb)
		}
	}
	return out
}

// Table returns the targets of each listener of the Service's load balancer, sorted by node; nil if there is not exactly
// one load balancer.
func (l *Lab) Table(s admin.State, service types.UID) map[Listener][]Target {
	balancers := Balancers(s, service)
	if len(balancers) != 1 {
		return nil
	}
	nodes := map[string]string{}
	for _, n := range l.Nodes() {
		nodes[n.InstanceID] = n.Name
	}
	table := map[Listener][]Target{}
	for _, listener := range balancers[0].Listeners {
		targets := []Target{}
		for _, t := range listener.Targets {
			targets = append(targets, Target{
				Node: cmp.Or(nodes[t.Instance], t.Instance), Port: t.Port, Weight: t.Weight, Status: t.Status, Receives: t.Receives,
			})
		}
		slices.SortFunc(targets, func(a, b Target) int { return strings.Compare(a.Node, b.Node) })
		table[Listener{listener.Protocol, listener.Port}] = targets
	}
	return table
}

// Receivers names the nodes to which new connections go.
func Receivers(targets []Target) []string {
	var nodes []string
	for _, t := range targets {
		if t.Receives {
			nodes = append(nodes, t.Node)
		}
	}
	return nodes
}

// AwaitTable waits until ok holds for the Service's targets and returns them. what says in words what is waited for.
func (l *Lab) AwaitTable(ctx context.Context, service types.UID, what string, ok func(map[Listener][]Target) bool) (map[Listener][]Target, error) {
	var last map[Listener][]Target
	_, err := l.CLB.WaitState(ctx, func(s admin.State) bool {
		last = l.Table(s, service)
		return ok(last)
	})
	if err != nil {
		return last, fmt.Errorf("load balancer of Service %s: wanted %s, have %v: %w\nController's log:\n%s",
			service, what, last, err, l.ControllerLog(15))
	}
	return last, nil
}

// AwaitWeights waits until every listener has exactly these nodes as targets with these weights, and those with a weight
// are healthy and receive connections. Receiving alone is not enough: while no target is healthy, all receive.
func (l *Lab) AwaitWeights(ctx context.Context, service types.UID, want map[string]int) error {
	what := fmt.Sprintf("weights %v in each listener, and all but 0 healthy", want)
	_, err := l.AwaitTable(ctx, service, what, func(table map[Listener][]Target) bool {
		for _, targets := range table {
			if !settled(targets, want) {
				return false
			}
		}
		return len(table) > 0
	})
	return err
}

func settled(targets []Target, want map[string]int) bool {
	have := map[string]int{}
	for _, t := range targets {
		if t.Weight > 0 && (t.Status != "Alive" || !t.Receives) {
			return false
		}
		have[t.Node] = t.Weight
	}
	return maps.Equal(have, want)
}

// AwaitGone waits until no load balancer is the Service's.
func (l *Lab) AwaitGone(ctx context.Context, service types.UID) error {
	_, err := l.CLB.WaitState(ctx, func(s admin.State) bool { return len(Balancers(s, service)) == 0 })
	if err != nil {
		return fmt.Errorf("load balancer of Service %s: wanted none: %w\nController's log:\n%s", service, err, l.ControllerLog(15))
	}
	return nil
}

// LastCall returns the number of the last call that the simulated CLB had, to look only at later ones.
func (l *Lab) LastCall(ctx context.Context) (int, error) {
	calls, err := l.CLB.Calls(ctx, 0)
	if err != nil || len(calls) == 0 {
		return 0, err
	}
	return calls[len(calls)-1].Seq, nil
}

// AddNode adds a machine to the cluster, and to the simulated cloud before, as a cloud has an instance before
// Kubernetes has a node.
func (l *Lab) AddNode(ctx context.Context) (cluster.Node, error) {
	next := l.upcoming()
	err := l.CLB.PutInstance(ctx, admin.Instance{
		ID: next.InstanceID, Name: next.Name, PrivateIP: next.IP.String(), Zone: zoneNames[next.Zone], Type: instanceType,
	})
	if err != nil {
		return cluster.Node{}, err
	}
	n, err := l.Cluster.AddNode(ctx)
	if err == nil && (n.InstanceID != next.InstanceID || n.IP != next.IP) {
		err = fmt.Errorf("the next node is %s %s at %s, not %s at %s as expected", n.Name, n.InstanceID, n.IP, next.InstanceID, next.IP)
	}
	l.lastNode = next.Number
	return n, err
}

// upcoming is what the next node will be: addresses follow from the number, and numbers are not used twice.
func (l *Lab) upcoming() cluster.Node {
	nodes := l.Nodes()
	next := nodes[0]
	for _, n := range nodes {
		l.lastNode = max(l.lastNode, n.Number)
	}
	for next.Number <= l.lastNode {
		next.Number++
		next.IP = next.IP.Next()
	}
	for _, n := range nodes {
		if n.Number%2 == next.Number%2 { // nodes are in two zones by turns
			next.Zone = n.Zone
		}
	}
	next.Name = fmt.Sprintf("n%d", next.Number)
	next.InstanceID = cluster.InstanceID(next.Name)
	return next
}

// RemoveNode takes a machine away, from Kubernetes and from the simulated cloud.
func (l *Lab) RemoveNode(ctx context.Context, name string) error {
	if err := l.Cluster.RemoveNode(ctx, name); err != nil {
		return err
	}
	return l.CLB.DeleteInstance(ctx, cluster.InstanceID(name))
}
