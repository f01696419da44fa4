// SPDX-License-Identifier: Apache-2.0

package install

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/clbsync/clbsync/internal/helm"
	"github.com/clbsync/clbsync/lab/build"
	"github.com/clbsync/clbsync/lab/cluster"
	"github.com/clbsync/clbsync/lab/e2e"
	"github.com/clbsync/clbsync/lab/probe"
)

const (
	ours   = "clbsync.io/clb"
	others = "example.com/other"
)

// pods is how many pods each node has.
var pods = map[string]int{"n1": 2, "n2": 1}

// What a template makes is checked by the one who decides, with every option on as well.
func TestAPIServerAcceptsEveryObject(t *testing.T) {
	s := begin(t, 2*time.Minute)
	names, err := helm.Presets()
	s.must(err)
	s.namespace("pay", nil) // which everything.yaml names
	// A pod is admitted only if its ServiceAccount is there, which a dry run does not make.
	for _, release := range []string{Release, "clb"} {
		for _, component := range []string{"controller", "agent"} {
			name := release + "-" + component
			_, err := s.Kubectl(s.ctx, "create", "serviceaccount", name, "--namespace="+Namespace)
			s.must(err)
			defer func() {
				_, err := s.Kubectl(s.ctx, "delete", "serviceaccount", name, "--namespace="+Namespace)
				s.must(err)
			}()
		}
	}
	path, err := s.file(LabValues(build.ReleaseTag))
	s.must(err)
	for _, name := range names {
		if err := s.DryRun(s.ctx, "--values="+helm.Preset(name), "--values="+path); err != nil {
			t.Errorf("preset %s: %v", name, err)
		}
	}
	defer s.monitoringKinds()()
	if err := s.DryRun(s.ctx, "--values="+filepath.Join(helm.Root(), "charts", "testdata", "everything.yaml")); err != nil {
		t.Errorf("everything: %v", err)
	}
}

// monitoringKinds teaches the cluster ServiceMonitor and PodMonitor, whose schemas are in the Prometheus operator's module, and
// returns what unteaches it.
func (s *scene) monitoringKinds() (remove func()) {
	s.t.Helper()
	download := exec.CommandContext(s.ctx, "go", "mod", "download", "-json", "github.com/prometheus-operator/prometheus-operator@v0.85.0")
	download.Dir = s.t.TempDir() // outside of every module, none of which needs it
	out, err := download.Output()
	s.must(err)
	var module struct{ Dir string }
	s.must(json.Unmarshal(out, &module))
	var args []string
	for _, kinds := range []string{"servicemonitors", "podmonitors"} {
		args = append(args, "--filename="+filepath.Join(module.Dir, "example", "prometheus-operator-crd", "monitoring.coreos.com_"+kinds+".yaml"))
	}
	_, err = s.Kubectl(s.ctx, append([]string{"create"}, args...)...)
	s.must(err)
	_, err = s.Kubectl(s.ctx, "wait", "--for=condition=Established", "--timeout=30s", "crd/servicemonitors.monitoring.coreos.com", "crd/podmonitors.monitoring.coreos.com")
	s.must(err)
	return func() {
		_, err := s.Kubectl(s.ctx, append([]string{"delete"}, args...)...)
		s.must(err)
	}
}

// The presets are installed one after the other on the same cluster, as a user would who changes his mind. The order matters:
// the first one gives the nodes their identity, the second one takes over the CLBs that the first one has left.
func TestPresets(t *testing.T) {
	names, err := helm.Presets()
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		preset string
		run    func(*scene)
	}{
		{"full", (*scene).full},
		{"beside-ccm", (*scene).besideCCM},
		{"agent-only", (*scene).agentOnly},
		{"k3s", (*scene).k3s},
		{"beside-tke", (*scene).besideTKE},
	}
	for _, tc := range tests {
		names = slices.DeleteFunc(names, func(name string) bool { return name == tc.preset })
		if !t.Run(tc.preset, func(t *testing.T) {
			tc.run(begin(t, 8*time.Minute))
		}) {
			t.Fatal("the rest would find what this one has left")
		}
	}
	if len(names) > 0 {
		t.Errorf("nobody has tried the presets %v", names)
	}
}

// spread and kept are the Services of the first preset, for the second one.
var spread, kept *corev1.Service

// full is the cluster's cloud-controller-manager: nodes wait for it, and an upgrade comes while traffic flows.
func (s *scene) full() {
	values := LabValues(build.ReleaseTag).Merge(Values{
		"agent":      Values{"readinessGate": true},
		"controller": Values{"metrics": Values{"readers": []Values{{"namespace": shop, "name": "default"}}}},
	})
	s.step("install", func() { s.must(s.Install(s.ctx, "full", values)) })
	s.step("nodes have their identity", func() {
		for _, n := range s.Nodes() {
			_, err := s.AwaitNode(s.ctx, n.Name, "a providerID and no taint", e2e.Initialized)
			s.must(err)
		}
	})
	s.rules(true)
	s.step("Services work", func() {
		s.web(map[string]int32{"n1": 2, "n2": 1})
		spread, kept = s.service("spread", ""), s.service("kept", "", weighted)
		s.checkSpread(spread, "n1", "n2")
		s.checkKept(kept, pods)
	})
	s.step("helm test", s.test)
	s.step("a whole life of Services and nodes", s.life)
	s.step("the agent's image is pulled first", s.pull)
	s.step("upgrade under load", func() { s.upgrade("full", values, s.through(spread, kept)) })
	s.step("uninstall", s.uninstall)
	// What the controller has made outlives it: clients must not notice that somebody changes how it is installed.
	for _, svc := range []*corev1.Service{spread, kept} {
		s.balancer(svc.UID)
		if now, err := s.Client.CoreV1().Services(shop).Get(s.ctx, svc.Name, getOptions); err != nil || len(now.Status.LoadBalancer.Ingress) == 0 || !slices.Contains(now.Finalizers, e2e.Finalizer) {
			s.t.Errorf("after helm uninstall Service %s has status %v and finalizers %v, %v; want both kept", svc.Name, now.Status.LoadBalancer, now.Finalizers, err)
		}
	}
}

// pull does what docs/install.md says of the new image of the agents, as it stands there.
func (s *scene) pull() {
	s.t.Helper()
	page, err := os.ReadFile(filepath.Join(helm.Root(), "docs", "install.md"))
	s.must(err)
	_, manifest, found := strings.Cut(string(page), "$ kubectl -n kube-system apply -f - <<EOF\n")
	manifest, _, ended := strings.Cut(manifest, "\nEOF\n")
	if !found || !ended {
		s.t.Fatal("docs/install.md has no manifest that pulls an image")
	}
	kubectl := func(verb string) {
		cmd := s.KubectlCommand(s.ctx, "--namespace="+Namespace, verb, "-f", "-")
		cmd.Stdin = strings.NewReader(strings.ReplaceAll(manifest, ":NEW", ":"+NextTag))
		if out, err := cmd.CombinedOutput(); err != nil {
			s.t.Fatalf("kubectl %s: %v\n%s", verb, err, out)
		}
	}
	kubectl("apply")
	s.poll("the image has run on every node", func(ctx context.Context) error {
		list, err := s.Client.CoreV1().Pods(Namespace).List(ctx, metav1.ListOptions{LabelSelector: "app=clbsync-pull"})
		if err != nil {
			return err
		}
		ran := map[string]bool{}
		for _, pod := range list.Items {
			for _, c := range pod.Status.ContainerStatuses {
				now, before := c.State.Terminated, c.LastTerminationState.Terminated
				ran[pod.Spec.NodeName] = now != nil && now.ExitCode == 0 || before != nil && before.ExitCode == 0
			}
		}
		for _, n := range s.Nodes() {
			if !ran[n.Name] {
				return fmt.Errorf("not on %s: %v", n.Name, ran)
			}
		}
		return nil
	})
	kubectl("delete")
}

// upgrade replaces every pod of the installation while clients ask, and loses nothing.
func (s *scene) upgrade(preset string, values Values, targets []probe.Target) {
	s.t.Helper()
	next := Values{}
	for _, component := range []string{"controller", "agent"} {
		if values[component] != nil {
			next[component] = Values{"image": Values{"tag": NextTag}}
		}
	}
	load := probe.Load{Every: 50 * time.Millisecond, Count: 5000, For: 250 * time.Second}
	var probers []*probe.Prober
	for _, target := range targets {
		// Long, so that a busy machine loses nothing: a packet that was dropped shows in what was sent again.
		p, err := s.Probe(10*time.Second).Start(s.ctx, target, load)
		s.must(err)
		probers = append(probers, p)
	}
	s.must(s.Install(s.ctx, preset, values.Merge(next)))
	list, err := s.Client.CoreV1().Pods(Namespace).List(s.ctx, metav1.ListOptions{LabelSelector: "app.kubernetes.io/component in (controller,agent)"})
	s.must(err)
	for _, pod := range list.Items {
		// The agent of a node that has left is there until Kubernetes forgets it.
		if _, there := s.Node(pod.Spec.NodeName); there && pod.DeletionTimestamp == nil && !strings.HasSuffix(pod.Spec.Containers[0].Image, ":"+NextTag) {
			s.t.Errorf("after the upgrade pod %s on %s runs %s, want the tag %s", pod.Name, pod.Spec.NodeName, pod.Spec.Containers[0].Image, NextTag)
		}
	}
	for i, p := range probers {
		r := p.Stop()
		s.t.Logf("%s: %s", targets[i], r)
		if len(r.Lost)+len(r.Resent) > 0 || r.Asked < 50 {
			s.t.Errorf("%s while the chart was upgraded: %s, want no request lost, and some asked", targets[i], r)
		}
	}
}

// through are the targets behind the Services' addresses.
func (s *scene) through(services ...*corev1.Service) (targets []probe.Target) {
	s.t.Helper()
	for _, svc := range services {
		address, err := s.AwaitAddress(s.ctx, shop, svc.Name)
		s.must(err)
		targets = append(targets, ports(address)...)
	}
	return targets
}

// besideCCM takes over what the one before has left: the same CLBs, no new ones.
func (s *scene) besideCCM() {
	before := map[string]string{spread.Name: s.balancer(spread.UID), kept.Name: s.balancer(kept.UID)}
	values := LabValues(build.ReleaseTag)
	s.step("install", func() { s.must(s.Install(s.ctx, "beside-ccm", values)) })
	s.rules(true)
	s.step("Services work", func() {
		s.web(map[string]int32{"n1": 2, "n2": 1})
		s.checkSpread(spread, "n1", "n2")
		s.checkKept(kept, pods)
	})
	for _, svc := range []*corev1.Service{spread, kept} {
		if id := s.balancer(svc.UID); id != before[svc.Name] {
			s.t.Errorf("Service %s had %s before and has %s now: its clients have lost their address", svc.Name, before[svc.Name], id)
		}
	}
	s.step("helm test", s.test)
	s.step("upgrade under load", func() { s.upgrade("beside-ccm", values, s.through(spread, kept)) })
	s.step("delete Services", func() { s.delete(spread, kept) })
	s.step("uninstall", s.uninstall)
}

// byClass serves Services of one class, and no others.
func (s *scene) byClass(preset string, values Values, agents bool) (served []*corev1.Service) {
	values = LabValues(build.ReleaseTag).Merge(values)
	s.step("install", func() { s.must(s.Install(s.ctx, preset, values)) })
	s.rules(agents)
	s.step("Services work", func() {
		foreign := s.service("foreign", "")
		spread, kept := s.service("spread", ours), s.service("kept", ours, weighted)
		s.checkSpread(spread, "n1", "n2")
		s.checkKept(kept, pods)
		if left := e2e.Balancers(s.state(), foreign.UID); len(left) > 0 {
			s.t.Errorf("a Service without a class has a load balancer, and is another controller's: %+v", left)
		}
		s.delete(foreign)
		served = []*corev1.Service{spread, kept}
	})
	s.step("helm test", s.test)
	s.step("upgrade under load", func() { s.upgrade(preset, values, s.through(served...)) })
	return served
}

// k3s has a kube-proxy that nobody has restricted: the agents stand before it. It is uninstalled with the wish that its CLBs are
// deleted, which names the cluster.
func (s *scene) k3s() {
	s.kubeProxy()
	served := s.byClass("k3s", Values{"uninstall": Values{"deleteLoadBalancersOf": e2e.ClusterID}}, true)
	// kube-proxy is to hold the health ports, and a pod cannot see whose processes they are.
	events, err := s.Client.CoreV1().Events(shop).List(s.ctx, metav1.ListOptions{FieldSelector: "reason=FailedToStartServiceHealthcheck,involvedObject.uid=" + string(served[1].UID)})
	s.must(err)
	for _, e := range events.Items {
		s.t.Errorf("beside kube-proxy an agent warns: %s", e.Message)
	}
	s.step("uninstall", s.uninstall)
	for _, svc := range served {
		if left := e2e.Balancers(s.state(), svc.UID); len(left) > 0 {
			s.t.Errorf("CLBs of Service %s are left after an uninstallation that was to delete them: %+v", svc.Name, left)
		}
	}
	s.delete(served...) // nothing holds them any more
}

// kubeProxy has kube-proxy serve all NodePorts, on every node.
func (s *scene) kubeProxy() {
	s.t.Helper()
	for _, n := range s.Nodes() {
		if n.Proxy != cluster.KubeProxy {
			s.must(s.SetProxy(s.ctx, n.Name, cluster.KubeProxy))
		}
	}
}

// besideTKE has no agents: kube-proxy serves the NodePorts, as TKE has it. Its namespace takes nothing but what Pod Security
// calls restricted.
func (s *scene) besideTKE() {
	s.kubeProxy()
	s.namespace(Namespace, map[string]string{"pod-security.kubernetes.io/enforce": "restricted"})
	served := s.byClass("beside-tke", nil, false)
	s.delete(served...)
	s.step("uninstall", s.uninstall)
}

// agentOnly serves NodePorts and health check ports, for whichever controller of load balancers there is.
func (s *scene) agentOnly() {
	values := Values{"agent": LabValues(build.ReleaseTag)["agent"]}
	s.step("install", func() { s.must(s.Install(s.ctx, "agent-only", values)) })
	s.rules(true)
	spread, kept := s.service("spread", others), s.service("kept", others, e2e.Local)
	n1, _ := s.Node("n1")
	s.step("NodePorts work", func() {
		s.web(map[string]int32{"n2": 0})
		for _, n := range s.Nodes() {
			s.awaitHealthPort(kept, n, n.Name == "n1")
			for _, target := range nodePorts(spread, n.IP) {
				s.ask(target, 10)
			}
		}
		for _, target := range nodePorts(kept, n1.IP) {
			s.checkClient(target, s.ask(target, 10), map[string]int{"n1": 1})
		}
	})
	s.step("upgrade under load", func() {
		s.upgrade("agent-only", values, slices.Concat(nodePorts(spread, n1.IP), nodePorts(kept, n1.IP)))
	})
	s.delete(spread, kept)
	s.web(map[string]int32{"n2": 1})
	s.step("helm test", s.test)
	s.step("uninstall", s.uninstall)
}

// awaitHealthPort waits until a node says on the Service's health check port whether it has a pod of it.
func (s *scene) awaitHealthPort(svc *corev1.Service, n cluster.Node, local bool) {
	s.t.Helper()
	client, err := s.HTTPClient(cluster.Client)
	s.must(err)
	want := http.StatusServiceUnavailable
	if local {
		want = http.StatusOK
	}
	url := fmt.Sprintf("http://%s:%d/healthz", n.IP, svc.Spec.HealthCheckNodePort)
	s.poll(fmt.Sprintf("%s answers %d", url, want), func(ctx context.Context) error {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		answer, err := client.Do(request)
		if err != nil {
			return err
		}
		defer answer.Body.Close()
		if answer.StatusCode != want {
			return fmt.Errorf("it answers %s", answer.Status)
		}
		return nil
	})
}
