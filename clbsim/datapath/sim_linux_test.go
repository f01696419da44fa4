// SPDX-License-Identifier: Apache-2.0

package datapath_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	clb "github.com/tencentcloud/tencentcloud-sdk-go/tencentcloud/clb/v20180317"

	"github.com/clbsync/clbsync/clbsim"
	"github.com/clbsync/clbsync/clbsim/admin"
	"github.com/clbsync/clbsync/clbsim/datapath"
	"github.com/clbsync/clbsync/clbsim/probe"
)

// rig is a whole simulator in the gateway: API, real probes, real packets.
type rig struct {
	*lab
	ctx context.Context
	adm *admin.Client
	lb  string
}

func newRig(t *testing.T, nodes int) *rig {
	t.Helper()
	l := newLab(t, nodes)
	cfg := clbsim.Example()
	cfg.Tasks.Delay = 0
	cfg.Health.Probe, cfg.Health.Speedup = "real", 50 // 5 s are 100 ms
	cfg.PublicVIPs = []netip.Prefix{netip.PrefixFrom(vip, 24)}
	cfg.Certificates = []clbsim.Certificate{{ID: "certtest", Domains: []string{"a.example"}}}
	cfg.SecurityGroups = append(cfg.SecurityGroups, clbsim.SecurityGroup{ID: "sg-other001", Allow: []netip.Prefix{netip.PrefixFrom(otherClient, 32)}})
	for i := range nodes {
		cfg.Instances = append(cfg.Instances, clbsim.Instance{ID: fmt.Sprintf("ins-aaaa000%d", i+1), PrivateIP: nodeAddr(i + 1).String()})
	}
	path := &datapath.Path{}
	cfg.Forwarder, cfg.Prober = path, probe.Prober{Mark: true}
	sim, err := clbsim.New(cfg)
	check(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(func() { cancel(); sim.Close(); check(t, path.Close(context.Background())) })
	r := &rig{lab: l, ctx: ctx, adm: sim.Admin()}
	var created clb.CreateLoadBalancerResponseParams
	r.console("CreateLoadBalancer", map[string]any{"LoadBalancerType": "OPEN", "Vip": vip.String()}, &created)
	r.lb = *created.LoadBalancerIds[0]
	return r
}

func (r *rig) console(action string, in, out any) {
	r.t.Helper()
	check(r.t, r.adm.Console(r.ctx, action, in, out))
}

// listen creates a listener and binds nodes 1 to n with weight 10.
func (r *rig) listen(protocol string, port, n int, health map[string]any) (id string) {
	r.t.Helper()
	var made clb.CreateListenerResponseParams
	r.console("CreateListener", map[string]any{"LoadBalancerId": r.lb, "Protocol": protocol, "Ports": []int{port}, "HealthCheck": health}, &made)
	id = *made.ListenerIds[0]
	for i := 1; i <= n; i++ {
		r.console("RegisterTargets", map[string]any{"LoadBalancerId": r.lb, "ListenerId": id, "Targets": []any{r.target(i)}}, nil)
	}
	return id
}

func (r *rig) target(node int) map[string]any {
	return map[string]any{"InstanceId": fmt.Sprintf("ins-aaaa000%d", node), "Port": nodePort}
}

// await waits until the targets of a listener have these states.
func (r *rig) await(listener string, states ...string) {
	r.t.Helper()
	var last []string
	_, err := r.adm.WaitState(r.ctx, func(s admin.State) bool {
		last = nil
		for _, l := range s.LoadBalancers[0].Listeners {
			for _, t := range l.Targets {
				if l.ID == listener {
					last = append(last, t.Status)
				}
			}
		}
		return slices.Equal(last, states)
	})
	if err != nil {
		r.t.Fatalf("the targets are %v, not %v: %v", last, states, err)
	}
}

func TestTrafficFollowsHealth(t *testing.T) {
	if !gateway(t) {
		return
	}
	r := newRig(t, 2)
	stop := r.nodes[0].serve(nodePort)
	r.nodes[1].serve(nodePort)
	id := r.listen("TCP", 80, 2, map[string]any{})
	r.await(id, "Alive", "Alive")
	if diff := cmp.Diff(map[string]int{"n1 198.51.100.2": 10, "n2 198.51.100.2": 10}, r.count(20, 80)); diff != "" {
		t.Errorf("with both alive (-want +got):\n%s", diff)
	}
	stop()
	r.await(id, "Dead", "Alive")
	if diff := cmp.Diff(map[string]int{"n2 198.51.100.2": 10}, r.count(10, 80)); diff != "" {
		t.Errorf("with n1 dead (-want +got):\n%s", diff)
	}
	r.nodes[0].serve(nodePort)
	r.await(id, "Alive", "Alive")
	if diff := cmp.Diff(map[string]int{"n1 198.51.100.2": 5, "n2 198.51.100.2": 5}, r.count(10, 80)); diff != "" {
		t.Errorf("with n1 back (-want +got):\n%s", diff)
	}
}

// health answers HTTP checks on a port of a node with a status that can be
// changed, and notes who asked and how.
type health struct {
	status atomic.Int32
	asked  chan string
}

func (m *machine) health(port, status int) *health {
	m.t.Helper()
	h := &health{asked: make(chan string, 1)}
	h.status.Store(int32(status))
	var l net.Listener
	m.do(func() {
		var err error
		l, err = net.Listen("tcp4", fmt.Sprint(":", port))
		check(m.t, err)
	})
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case h.asked <- fmt.Sprintf("%s %s %s %s from %s", r.Method, r.URL.Path, r.Proto, r.Host, netip.MustParseAddrPort(r.RemoteAddr).Addr()):
		default:
		}
		w.WriteHeader(int(h.status.Load()))
	})}
	go func() { _ = srv.Serve(l) }()
	m.t.Cleanup(func() { srv.Close() })
	return h
}

// As under externalTrafficPolicy Local: the check asks a port of its own over
// HTTP, and only 2xx will do.
func TestHTTPChecksAskTheHealthPort(t *testing.T) {
	if !gateway(t) {
		return
	}
	r := newRig(t, 2)
	var answers []*health
	for _, n := range r.nodes {
		n.serve(nodePort)
		answers = append(answers, n.health(32000, http.StatusOK))
	}
	answers[0].status.Store(http.StatusServiceUnavailable)
	check := map[string]any{
		"CheckType": "HTTP", "CheckPort": 32000, "HttpCheckPath": "/healthz", "HttpCheckDomain": "node", "HttpVersion": "HTTP/1.1",
		"HttpCheckMethod": "GET", "HttpCode": 2, "SourceIpType": 1,
	}
	id := r.listen("TCP", 80, 2, check)
	r.await(id, "Dead", "Alive")
	if got, want := <-answers[0].asked, "GET /healthz HTTP/1.1 node from 100.64.10.1"; got != want {
		t.Errorf("the probe is %q, want %q", got, want)
	}
	if diff := cmp.Diff(map[string]int{"n2 198.51.100.2": 6}, r.count(6, 80)); diff != "" {
		t.Errorf("with 503 from n1 (-want +got):\n%s", diff)
	}
	answers[1].status.Store(http.StatusServiceUnavailable)
	r.await(id, "Dead", "Dead")
	if diff := cmp.Diff(map[string]int{"n1 198.51.100.2": 3, "n2 198.51.100.2": 3}, r.count(6, 80)); diff != "" {
		t.Errorf("with all dead (-want +got):\n%s", diff)
	}
	// With the mask of CLB's default any answer is a good one. Probes from the
	// VIP come from the VIP.
	check["HttpCode"], check["SourceIpType"], check["HttpVersion"], check["HttpCheckMethod"] = 31, 0, "HTTP/1.0", "HEAD"
	r.console("ModifyListener", map[string]any{"LoadBalancerId": r.lb, "ListenerId": id, "HealthCheck": check}, nil)
	r.await(id, "Alive", "Alive")
	<-answers[0].asked // from before the change, perhaps
	for want := "HEAD /healthz HTTP/1.0 node from " + vip.String(); ; {
		select {
		case got := <-answers[0].asked:
			if got == want {
				return
			}
		case <-r.ctx.Done():
			t.Fatalf("no probe is %q", want)
		}
	}
}

func TestUDPChecks(t *testing.T) {
	if !gateway(t) {
		return
	}
	r := newRig(t, 3)
	r.nodes[0].serve(nodePort) // n2 has nothing on the port: it is refused
	r.nodes[2].do(func() {     // n3 drops what comes, as kube-proxy does without local endpoint
		nft(t, "add table ip t\nadd chain ip t in { type filter hook input priority 0; }\nadd rule ip t in udp dport 30080 drop\n")
	})
	id := r.listen("UDP", 53, 3, map[string]any{})
	r.await(id, "Alive", "Dead", "Alive")
	custom := map[string]any{"CheckType": "CUSTOM", "ContextType": "TEXT", "SendContext": "ping", "RecvContext": "n1 "}
	r.console("ModifyListener", map[string]any{"LoadBalancerId": r.lb, "ListenerId": id, "HealthCheck": custom}, nil)
	r.await(id, "Alive", "Dead", "Dead")
	if got := r.flow(53).ask(patience); got != "n1 198.51.100.2" {
		t.Errorf("a new flow is answered by %q", got)
	}
}

// When a task is reported as done, packets follow it: a test that waits for
// the API may count connections at once.
func TestPacketsFollowTheAPI(t *testing.T) {
	if !gateway(t) {
		return
	}
	r := newRig(t, 2)
	r.nodes[0].serve(nodePort)
	r.nodes[1].serve(nodePort)
	id := r.listen("TCP", 80, 1, map[string]any{"HealthSwitch": 0})
	for i := range 10 {
		gone, come := i%2+1, (i+1)%2+1
		r.console("RegisterTargets", map[string]any{"LoadBalancerId": r.lb, "ListenerId": id, "Targets": []any{r.target(come)}}, nil)
		r.console("DeregisterTargets", map[string]any{"LoadBalancerId": r.lb, "ListenerId": id, "Targets": []any{r.target(gone)}}, nil)
		if got, want := r.get(clientAddr, 80), fmt.Sprintf("n%d 198.51.100.2", come); got != want {
			t.Errorf("round %d: answered by %q, want %q", i, got, want)
		}
	}
	r.console("DeleteLoadBalancer", map[string]any{"LoadBalancerIds": []string{r.lb}}, nil)
	if c, err := r.client.dial("tcp", clientAddr, 80, impatience); err == nil {
		c.Close()
		t.Error("the VIP of a deleted CLB answers")
	}
}

func TestSecurityGroupsFilterClients(t *testing.T) {
	if !gateway(t) {
		return
	}
	r := newRig(t, 1)
	r.nodes[0].serve(nodePort)
	r.listen("TCP", 80, 1, map[string]any{"HealthSwitch": 0})
	r.console("SetLoadBalancerSecurityGroups", map[string]any{"LoadBalancerId": r.lb, "SecurityGroups": []string{"sg-demo0001"}}, nil)
	if got := r.get(clientAddr, 80); got != "n1 198.51.100.2" {
		t.Errorf("with a group that allows all, %q answers", got)
	}
	r.console("SetLoadBalancerSecurityGroups", map[string]any{"LoadBalancerId": r.lb, "SecurityGroups": []string{"sg-other001"}}, nil)
	if got := r.get(otherClient, 80); got != "n1 198.51.100.3" {
		t.Errorf("with a group that allows it, the other client is answered by %q", got)
	}
	if c, err := r.client.dial("tcp", clientAddr, 80, impatience); err == nil {
		c.Close()
		t.Error("the client gets past a group that does not allow it")
	}
}
