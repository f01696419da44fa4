// SPDX-License-Identifier: Apache-2.0

package install

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/clbsync/clbsync/clbsim/admin"
	"github.com/clbsync/clbsync/lab/cluster"
	"github.com/clbsync/clbsync/lab/e2e"
	"github.com/clbsync/clbsync/lab/install/rights"
	"github.com/clbsync/clbsync/lab/probe"
)

// shared is the lab of all tests here: two nodes, on which nothing of the product runs but what a test installs. Tests
// run one after the other, and each uninstalls what it installed.
var shared *Site

// shop is the namespace of those who use the cluster.
const shop = "shop"

// TestMain keeps the logs of all programs in the directory CLBSYNC_E2E_LOGS, if that is set.
func TestMain(m *testing.M) {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	code := 1
	site, err := Start(ctx, cluster.Config{Nodes: 2, Progress: os.Stderr, LogDir: os.Getenv("CLBSYNC_E2E_LOGS")})
	stop()
	if err == nil {
		shared = site
		code = m.Run()
		err = site.Close()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// scene is one test's view of the lab.
type scene struct {
	*Site
	t     *testing.T
	ctx   context.Context
	since map[account]int // requests before it
}

func begin(t *testing.T, limit time.Duration) *scene {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	t.Cleanup(cancel)
	s := &scene{Site: shared, t: t, ctx: ctx}
	for _, name := range []string{Namespace, shop} {
		s.namespace(name, nil)
	}
	s.since = s.mark()
	return s
}

func (s *scene) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// step logs how long a part of a test took: the whole is meant to stay short.
func (s *scene) step(what string, do func()) {
	s.t.Helper()
	begin := time.Now()
	do()
	s.t.Logf("%5.1fs %s", time.Since(begin).Seconds(), what)
}

// namespace makes a namespace of that name, with labels, if there is none.
func (s *scene) namespace(name string, labels map[string]string) {
	s.t.Helper()
	manifest := fmt.Sprintf(`{"apiVersion":"v1","kind":"Namespace","metadata":{"name":%q}}`, name)
	apply := s.KubectlCommand(s.ctx, "apply", "--filename=-")
	apply.Stdin = strings.NewReader(manifest)
	if out, err := apply.CombinedOutput(); err != nil {
		s.t.Fatalf("namespace %s: %v\n%s", name, err, out)
	}
	for key, value := range labels {
		_, err := s.Kubectl(s.ctx, "label", "--overwrite", "namespace", name, key+"="+value)
		s.must(err)
	}
}

// web runs the pods that Services of the tests lead to: so many on each node.
func (s *scene) web(replicas map[string]int32) {
	s.t.Helper()
	for _, node := range slices.Sorted(func(yield func(string) bool) {
		for node := range replicas {
			if !yield(node) {
				return
			}
		}
	}) {
		s.must(s.Deploy(s.ctx, e2e.Workload{Namespace: shop, App: "web", Node: node, Replicas: replicas[node], Args: []string{"--linger=5s"}}))
	}
}

// service makes a Service over those pods. class is its loadBalancerClass; empty: none.
func (s *scene) service(name, class string, mods ...func(*corev1.Service)) *corev1.Service {
	s.t.Helper()
	svc := e2e.Service(shop, name, mods...)
	svc.Spec.Selector = map[string]string{"app": "web"}
	if class != "" {
		svc.Spec.LoadBalancerClass = &class
	}
	made, err := s.Client.CoreV1().Services(shop).Create(s.ctx, svc, metav1.CreateOptions{})
	s.must(err)
	return made
}

// weighted is a Service under Local whose nodes have weights by their pods.
func weighted(svc *corev1.Service) {
	e2e.Local(svc)
	e2e.Annotate(e2e.OnlyBind, "true")(svc)
	e2e.Annotate(e2e.Weighted, "true")(svc)
}

// delete deletes the Services and waits until their load balancers are gone.
func (s *scene) delete(services ...*corev1.Service) {
	s.t.Helper()
	for _, svc := range services {
		s.must(s.Client.CoreV1().Services(shop).Delete(s.ctx, svc.Name, metav1.DeleteOptions{}))
	}
	for _, svc := range services {
		_, err := s.AwaitService(s.ctx, shop, svc.Name, "that it is gone", func(svc *corev1.Service) bool { return svc == nil })
		s.must(err)
		s.must(s.AwaitGone(s.ctx, svc.UID))
	}
}

func (s *scene) state() admin.State {
	s.t.Helper()
	state, err := s.CLB.State(s.ctx)
	s.must(err)
	return state
}

// balancer returns the ID of the Service's load balancer.
func (s *scene) balancer(service types.UID) string {
	s.t.Helper()
	balancers := e2e.Balancers(s.state(), service)
	if len(balancers) != 1 {
		s.t.Fatalf("the Service has %d load balancers, want one", len(balancers))
	}
	return balancers[0].ID
}

// ports are the targets behind an address, as e2e.Service makes them.
func ports(address string) []probe.Target {
	return []probe.Target{
		{Protocol: probe.TCP, Addr: address + ":80"},
		{Protocol: probe.UDP, Addr: address + ":80"},
		{Protocol: probe.HTTP, Addr: address + ":8080"},
	}
}

// ask makes n requests from outside and fails the test if any is lost.
func (s *scene) ask(target probe.Target, n int) probe.Report {
	s.t.Helper()
	r := s.Probe(5*time.Second).Share(s.ctx, target, n)
	if r.Answered != n {
		s.t.Errorf("%s: %s, want every request answered", target, r)
		for _, lost := range r.Lost[:min(3, len(r.Lost))] {
			s.t.Logf("lost: %v", lost.Err)
		}
	}
	return r
}

// checkSpread asks through a Service under Cluster: every node is a target, and shows the pods its own address.
func (s *scene) checkSpread(svc *corev1.Service, nodes ...string) {
	s.t.Helper()
	want := map[string]int{}
	for _, n := range nodes {
		want[n] = 10
	}
	address, err := s.AwaitAddress(s.ctx, shop, svc.Name)
	s.must(err)
	s.must(s.AwaitWeights(s.ctx, svc.UID, want))
	for _, target := range ports(address) {
		for peer := range s.ask(target, 30).Peers {
			if s.NodeOf(peer) == "" {
				s.t.Errorf("%s: a pod saw %s, which is no node's address", target, peer)
			}
		}
	}
}

// checkKept asks through a weighted Service under Local: nodes have weights by their pods, and pods see the client.
func (s *scene) checkKept(svc *corev1.Service, pods map[string]int) {
	s.t.Helper()
	address, err := s.AwaitAddress(s.ctx, shop, svc.Name)
	s.must(err)
	s.must(s.AwaitWeights(s.ctx, svc.UID, pods))
	for _, target := range ports(address) {
		s.checkClient(target, s.ask(target, 60), pods)
	}
}

// checkClient looks at answers under Local.
func (s *scene) checkClient(target probe.Target, r probe.Report, pods map[string]int) {
	s.t.Helper()
	if client := cluster.ClientIPs[0]; len(r.Peers) != 1 || r.Peers[client] == 0 {
		s.t.Errorf("%s: pods saw %v, want only the client, %s", target, r.Peers, client)
	}
	all := 0
	for _, n := range pods {
		all += n
	}
	for node, n := range pods {
		// Half of the share that weights give, and half more: chance is far from either.
		if share := float64(r.Asked*n) / float64(all); float64(r.ByNode[node]) < share/2 || float64(r.ByNode[node]) > share*2 {
			s.t.Errorf("%s: %d of %d answers from %s, want about %.0f for %d of %d pods", target, r.ByNode[node], r.Asked, node, share, n, all)
		}
	}
}

// nodePorts are the targets behind a node's own address.
func nodePorts(svc *corev1.Service, node netip.Addr) []probe.Target {
	targets := ports(node.String())
	for i, p := range svc.Spec.Ports {
		targets[i].Addr = fmt.Sprintf("%s:%d", node, p.NodePort)
	}
	return targets
}

// rules looks for the agents' rules on every node: they must be there, or nowhere.
func (s *scene) rules(want bool) {
	s.t.Helper()
	for _, n := range s.Nodes() {
		have, err := s.OurRules(s.ctx, n.Name)
		s.must(err)
		if want != (len(have) > 0) {
			s.t.Errorf("node %s has %d lines of the agent's rules, want them there: %t\n%s", n.Name, len(have), want, strings.Join(have[:min(5, len(have))], "\n"))
		}
	}
}

// test runs helm test.
func (s *scene) test() {
	s.t.Helper()
	if out, err := s.Helm.Test(s.ctx, Release, Namespace); err != nil {
		s.t.Errorf("helm test: %v\n%s\n%s", err, out, s.explain(s.ctx))
	}
}

// uninstall removes the installation; nothing of it may stay, in the cluster or on a node. Up to then no right may have lacked:
// later, rights go before the programs that have them.
func (s *scene) uninstall() {
	s.t.Helper()
	s.forbidden()
	out, err := s.Helm.Uninstall(s.ctx, Release, Namespace)
	// helm 4 ends its wait as soon as one thing is gone of which it heard before all others, and says then that all is, or that
	// what is terminating "still exists". So this waits itself.
	if err != nil && !strings.Contains(err.Error()+out, "still exists") {
		s.t.Fatalf("helm uninstall: %v\n%s\n%s", err, out, s.explain(s.ctx))
	}
	s.poll("nothing is left of what helm uninstalled", func(ctx context.Context) error {
		kinds := "clusterroles,clusterrolebindings,roles,rolebindings,deployments,daemonsets,pods,secrets,configmaps,serviceaccounts"
		left, err := s.Kubectl(ctx, "get", kinds, "--all-namespaces", "--selector=app.kubernetes.io/instance="+Release, "--output=name")
		if err == nil && len(left) > 0 {
			err = fmt.Errorf("there still is %s", left)
		}
		return err
	})
	s.rules(false)
}

// account is a ServiceAccount of the installation.
type account string

const (
	controllerAccount account = "clbsync-controller"
	agentAccount      account = "clbsync-agent"
)

func (a account) user() string { return "system:serviceaccount:" + Namespace + ":" + string(a) }

// requests returns what an account asked of the API server so far.
func (s *scene) requests(a account) []rights.Request {
	s.t.Helper()
	file, err := os.Open(s.AuditLog())
	s.must(err)
	requests, err := rights.ReadAudit(file, a.user())
	s.must(errors.Join(err, file.Close()))
	return requests
}

// forbidden fails the test for each kind of request that was refused for want of a right, since the test began.
func (s *scene) forbidden() {
	s.t.Helper()
	for _, a := range []account{controllerAccount, agentAccount} {
		seen := map[string]bool{}
		for _, r := range s.requests(a)[s.since[a]:] {
			if what := r.Verb + " " + r.What(); r.Forbidden() && !seen[what] {
				seen[what] = true
				s.t.Errorf("forbidden: %s", r)
			}
		}
	}
}

// mark counts the requests so far.
func (s *scene) mark() map[account]int {
	s.t.Helper()
	return map[account]int{controllerAccount: len(s.requests(controllerAccount)), agentAccount: len(s.requests(agentAccount))}
}

// grants are what roles give an account.
func (s *scene) grants(a account) []rights.Grant {
	s.t.Helper()
	isOurs := func(subjects []rbacv1.Subject) bool {
		return slices.ContainsFunc(subjects, func(sub rbacv1.Subject) bool {
			return sub.Kind == rbacv1.ServiceAccountKind && sub.Namespace == Namespace && sub.Name == string(a)
		})
	}
	api := s.Client.RbacV1()
	var grants []rights.Grant
	everywhere, err := api.ClusterRoleBindings().List(s.ctx, metav1.ListOptions{})
	s.must(err)
	for _, b := range everywhere.Items {
		if isOurs(b.Subjects) {
			role, err := api.ClusterRoles().Get(s.ctx, b.RoleRef.Name, metav1.GetOptions{})
			s.must(err)
			grants = append(grants, rights.Grant{Rules: role.Rules})
		}
	}
	somewhere, err := api.RoleBindings("").List(s.ctx, metav1.ListOptions{})
	s.must(err)
	for _, b := range somewhere.Items {
		if !isOurs(b.Subjects) {
			continue
		}
		g := rights.Grant{Namespace: b.Namespace}
		if b.RoleRef.Kind == "ClusterRole" {
			role, err := api.ClusterRoles().Get(s.ctx, b.RoleRef.Name, metav1.GetOptions{})
			s.must(err)
			g.Rules = role.Rules
		} else {
			role, err := api.Roles(b.Namespace).Get(s.ctx, b.RoleRef.Name, metav1.GetOptions{})
			s.must(err)
			g.Rules = role.Rules
		}
		grants = append(grants, g)
	}
	return grants
}

func TestValuesMerge(t *testing.T) {
	got := Values{"a": Values{"b": 1, "c": 2}, "d": 3}.Merge(Values{"a": Values{"c": 4}, "e": 5})
	if diff := cmp.Diff(Values{"a": Values{"b": 1, "c": 4}, "d": 3, "e": 5}, got); diff != "" {
		t.Error(diff)
	}
}
