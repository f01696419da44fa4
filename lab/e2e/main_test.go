// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/signal"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/clbsync/clbsync/clbsim/admin"
	"github.com/clbsync/clbsync/lab/cluster"
	"github.com/clbsync/clbsync/lab/probe"
)

// shared is the lab of all tests here: three nodes n1, n2, n3 and one controller. Tests run one after the other, in
// namespaces of their own, and leave no load balancer behind.
var shared *Lab

// proxy is who serves NodePorts on the nodes; CLBSYNC_E2E_PROXY is another than the node agent.
var proxy = cluster.NodeAgent

// TestMain keeps the logs of all programs in the directory CLBSYNC_E2E_LOGS, if that is set. A test run that is
// interrupted does not come to Close: the lab is removed then because its owner is gone.
func TestMain(m *testing.M) {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	code := 1
	if chosen := os.Getenv("CLBSYNC_E2E_PROXY"); chosen != "" {
		if err := proxy.Set(chosen); err != nil {
			fmt.Fprintf(os.Stderr, "CLBSYNC_E2E_PROXY is %q: %v\n", chosen, err)
			os.Exit(code)
		}
	}
	lab, err := Start(ctx, Config{Cluster: cluster.Config{Proxy: proxy.Everywhere(), Progress: os.Stderr, LogDir: os.Getenv("CLBSYNC_E2E_LOGS")}})
	stop()
	if err == nil {
		shared = lab
		code = m.Run()
		err = lab.Close()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// scene is one test's view of the lab.
type scene struct {
	*Lab
	t   *testing.T
	ctx context.Context
	ns  string
}

// the client's address as pods see it under Local.
var clientIP = cluster.ClientIPs[0]

// begin makes a namespace for the test and bounds its time. What the test leaves is deleted and must go.
func begin(t *testing.T) *scene {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	name := regexp.MustCompile(`[^a-z0-9]+`).ReplaceAllString(strings.ToLower(t.Name()), "-")
	s := &scene{Lab: shared, t: t, ctx: ctx, ns: strings.Trim(name[:min(60, len(name))], "-")}
	s.must(s.Namespace(ctx, s.ns))
	t.Cleanup(s.clear)
	return s
}

// clear removes the test's Services, checks that no load balancer stays, and lets Kubernetes remove the rest by itself.
func (s *scene) clear() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if s.t.Failed() {
		s.t.Logf("end of the controller's log:\n%s", s.ControllerLog(60))
	}
	services := s.Client.CoreV1().Services(s.ns)
	list, err := services.List(ctx, metav1.ListOptions{})
	if err != nil {
		s.t.Error(err)
		return
	}
	for _, svc := range list.Items {
		if err := services.Delete(ctx, svc.Name, metav1.DeleteOptions{}); err != nil {
			s.t.Error(err)
		}
		if err := s.AwaitGone(ctx, svc.UID); err != nil {
			s.t.Error(err)
		}
	}
	if err := s.Client.CoreV1().Namespaces().Delete(ctx, s.ns, metav1.DeleteOptions{}); err != nil {
		s.t.Error(err)
	}
}

func (s *scene) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// deploy runs so many echo programs of the app "web" on a node, and waits until they are ready.
func (s *scene) deploy(node string, replicas int32, args ...string) {
	s.t.Helper()
	s.must(s.Deploy(s.ctx, Workload{Namespace: s.ns, App: "web", Node: node, Replicas: replicas, Args: args}))
}

// create makes the Service "web" and returns it with the address of its load balancer.
func (s *scene) create(mods ...func(*corev1.Service)) (*corev1.Service, string) {
	s.t.Helper()
	svc, err := s.Client.CoreV1().Services(s.ns).Create(s.ctx, Service(s.ns, "web", mods...), metav1.CreateOptions{})
	s.must(err)
	address, err := s.AwaitAddress(s.ctx, s.ns, svc.Name)
	s.must(err)
	return svc, address
}

// ports are the targets behind an address, as Service makes them, by protocol.
func ports(address string) []probe.Target {
	return []probe.Target{
		{Protocol: probe.TCP, Addr: address + ":80"},
		{Protocol: probe.UDP, Addr: address + ":80"},
		{Protocol: probe.HTTP, Addr: address + ":8080"},
	}
}

// ask makes n requests from the client's machine and fails the test if any is lost.
func (s *scene) ask(target probe.Target, n int) probe.Report {
	s.t.Helper()
	r := s.Probe(2*time.Second).Share(s.ctx, target, n)
	if r.Asked != n || r.Answered != n {
		s.t.Errorf("%s: %s, want every request answered", target, r)
		for _, lost := range r.Lost[:min(3, len(r.Lost))] {
			s.t.Logf("lost: %v", lost.Err)
		}
	}
	return r
}

// sawOnly fails the test unless every answer came from a pod that saw the one address.
func (s *scene) sawOnly(target probe.Target, r probe.Report, want netip.Addr) {
	s.t.Helper()
	if len(r.Peers) != 1 || r.Peers[want] == 0 {
		s.t.Errorf("%s: pods saw %v, want only %s", target, r.Peers, want)
	}
}

// weights waits until each listener has exactly these targets, settled.
func (s *scene) weights(service types.UID, want map[string]int) {
	s.t.Helper()
	s.must(s.AwaitWeights(s.ctx, service, want))
}

// mark returns the number of the last call so far, to look only at later ones.
func (s *scene) mark() int {
	s.t.Helper()
	since, err := s.LastCall(s.ctx)
	s.must(err)
	return since
}

// state returns what the simulated CLB has now.
func (s *scene) state() admin.State {
	s.t.Helper()
	state, err := s.CLB.State(s.ctx)
	s.must(err)
	return state
}

func (s *scene) delete(name string) {
	s.t.Helper()
	s.must(s.Client.CoreV1().Services(s.ns).Delete(s.ctx, name, metav1.DeleteOptions{}))
}

// gone waits until neither the Service nor its load balancer exists.
func (s *scene) gone(svc *corev1.Service) {
	s.t.Helper()
	_, err := s.AwaitService(s.ctx, s.ns, svc.Name, "that it is gone", func(svc *corev1.Service) bool { return svc == nil })
	s.must(err)
	if left := Balancers(s.state(), svc.UID); len(left) > 0 {
		s.t.Errorf("the Service is gone and its load balancer is not: %v: the finalizer was taken too early", left)
	}
}
