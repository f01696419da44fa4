// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/clbsync/clbsync/clbsim/admin"
	"github.com/clbsync/clbsync/lab/cluster"
	"github.com/clbsync/clbsync/lab/probe"
)

// exampleCLB is the CLB that somebody made and that examples share.
const exampleCLB = "lb-2ab3c4d5"

// promise is what the documentation of an example's annotations promises, as far as the state of the CLB shows it.
type promise struct {
	holds func(lb admin.LoadBalancer) string // "": it does; else what is wrong
	ask   probe.Protocol                     // "": no request
	port  int
}

// targets returns host and weight of each, sorted.
func targetsOf(list []admin.Target) string {
	var out []string
	for _, t := range list {
		host := t.Instance
		if host == "" {
			host = "by address"
		}
		if strings.HasPrefix(host, "ins-") {
			host = "node"
		}
		out = append(out, fmt.Sprintf("%s×%d", host, t.Weight))
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

// listens fails unless the CLB has exactly these listeners, each "PROTOCOL:port targets", rules as "domain targets" behind.
func listens(lb admin.LoadBalancer, want ...string) string {
	var have []string
	for _, l := range lb.Listeners {
		text := strings.TrimSpace(fmt.Sprintf("%s:%d %s", l.Protocol, l.Port, targetsOf(l.Targets)))
		var rules []string
		for _, r := range l.Rules {
			rules = append(rules, strings.TrimSpace(fmt.Sprintf("%s%s %s %s", strings.Join(r.Domains, ","), r.URL, strings.Join(r.Certificates, ","), targetsOf(r.Targets))))
		}
		slices.Sort(rules)
		for _, r := range rules {
			text += "; " + strings.Join(strings.Fields(r), " ")
		}
		have = append(have, text)
	}
	slices.Sort(have)
	if !slices.Equal(have, want) {
		return fmt.Sprintf("listeners %q, want %q", have, want)
	}
	return ""
}

func all(problems ...string) string {
	return strings.Join(slices.DeleteFunc(problems, func(s string) bool { return s == "" }), "; ")
}

func unless(ok bool, format string, args ...any) string {
	if ok {
		return ""
	}
	return fmt.Sprintf(format, args...)
}

const everyNode = "node×10 node×10 node×10"

// promises is what each example of the product is to lead to where the StatefulSet web has three pods. service-ipv6 needs what this
// network has not, and service-skip, service-cluster, service-local and service-local-weighted have tests of their own.
var promises = map[string]promise{
	"service-internal": {ask: probe.HTTP, port: 80, holds: func(lb admin.LoadBalancer) string {
		return all(unless(lb.Type == "INTERNAL" && lb.Subnet == exampleSubnet, "type %s in %s", lb.Type, lb.Subnet), listens(lb, "TCP:80 "+everyNode))
	}},
	"service-existing-clb": {ask: probe.HTTP, port: 80, holds: func(lb admin.LoadBalancer) string {
		return all(unless(lb.ID == exampleCLB && lb.Tags["tke-clusterId"] == ClusterID && lb.Tags["tke-createdBy-flag"] == "", "%s with tags %v", lb.ID, lb.Tags), listens(lb, "TCP:80 "+everyNode))
	}},
	"service-shared-clb": {ask: probe.TCP, port: 53, holds: func(lb admin.LoadBalancer) string {
		return all(unless(lb.ID == exampleCLB, "it is %s", lb.ID), listens(lb, "TCP:53 "+everyNode, "UDP:53 "+everyNode))
	}},
	"service-bandwidth": {ask: probe.HTTP, port: 80, holds: func(lb admin.LoadBalancer) string {
		return unless(lb.Bandwidth == 10 && lb.ChargeType == "TRAFFIC_POSTPAID_BY_HOUR", "%d Mbps, %s", lb.Bandwidth, lb.ChargeType)
	}},
	"service-create-parameters": {ask: probe.HTTP, port: 80, holds: func(lb admin.LoadBalancer) string {
		return unless(lb.Name == "shop-front" && lb.Tags["team"] == "shop", "name %s, tags %v", lb.Name, lb.Tags)
	}},
	"service-security-groups": {ask: probe.HTTP, port: 80, holds: func(lb admin.LoadBalancer) string {
		return unless(slices.Equal(lb.SecurityGroups, []string{exampleGroup}) && lb.PassToTarget, "groups %v, pass to target %v", lb.SecurityGroups, lb.PassToTarget)
	}},
	"service-source-ranges": {ask: probe.HTTP, port: 80, holds: func(lb admin.LoadBalancer) string {
		return unless(len(lb.SecurityGroups) == 1, "groups %v", lb.SecurityGroups)
	}},
	"service-backends-label": {ask: probe.HTTP, port: 80, holds: func(lb admin.LoadBalancer) string {
		return listens(lb, "TCP:80 node×10 node×10")
	}},
	"service-direct-access": {ask: probe.HTTP, port: 80, holds: func(lb admin.LoadBalancer) string {
		return listens(lb, "TCP:80 by address×10 by address×10 by address×10")
	}},
	"service-direct-weights": {ask: probe.HTTP, port: 80, holds: func(lb admin.LoadBalancer) string {
		return listens(lb, "TCP:80 by address×10 by address×10 by address×5")
	}},
	"service-tcp-ssl": {holds: func(lb admin.LoadBalancer) string {
		return all(listens(lb, "TCP_SSL:443 "+everyNode), unless(len(lb.Listeners) == 1 && slices.Equal(lb.Listeners[0].Certificates, []string{"labcert1"}), "certificates are not those of the Secret"))
	}},
	"service-quic": {holds: func(lb admin.LoadBalancer) string {
		return all(listens(lb, "QUIC:443 "+everyNode), unless(len(lb.Listeners) == 1 && slices.Equal(lb.Listeners[0].Certificates, []string{"labcert1"}), "certificates are not those of the Secret"))
	}},
	"service-tcp-and-udp": {ask: probe.UDP, port: 53, holds: func(lb admin.LoadBalancer) string {
		const everyPod = "by address×10 by address×10 by address×10"
		return listens(lb, "TCP:53 "+everyPod, "UDP:53 "+everyPod)
	}},
	"service-http": {ask: probe.HTTP, port: 80, holds: func(lb admin.LoadBalancer) string {
		return listens(lb, "HTTP:80; www.example.com/ "+everyNode)
	}},
	"service-https": {holds: func(lb admin.LoadBalancer) string {
		return listens(lb, "HTTPS:443; shop.example.com/ labcert2 "+everyNode+"; www.example.com/ labcert1 "+everyNode)
	}},
	"service-service-config": {ask: probe.HTTP, port: 80, holds: func(lb admin.LoadBalancer) string {
		l := lb.Listeners
		return all(listens(lb, "TCP:80 "+everyNode), unless(len(l) == 1 && l[0].Scheduler == "LEAST_CONN" && l[0].SessionExpire == 60 && lb.Bandwidth == 50, "listeners %+v, %d Mbps", l, lb.Bandwidth))
	}},
	"service-service-config-auto": {ask: probe.HTTP, port: 80, holds: func(lb admin.LoadBalancer) string {
		return listens(lb, "TCP:80 "+everyNode)
	}},
	"service-cross-region": {holds: func(lb admin.LoadBalancer) string {
		return all(unless(lb.Region == otherRegion && lb.VPC == otherVPC, "in %s %s", lb.Region, lb.VPC), listens(lb, "TCP:80 by address×10 by address×10 by address×10"))
	}},
}

// Each example of the product is applied as it stands, with the IDs that it has, and ends in what is promised; what asks for
// requests answers them; when it is deleted nothing of it stays, and what was there before does.
func TestExamplesDoWhatTheDocumentationPromises(t *testing.T) {
	s := begin(t)
	s.labelled("group", "access-layer", "n1", "n2")
	s.statefulSet()
	for secret, id := range map[string]string{"web-cert": "labcert1", "shop-cert": "labcert2"} {
		_, err := s.Client.CoreV1().Secrets(s.ns).Create(s.ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: secret}, StringData: map[string]string{"qcloud_cert_id": id}}, metav1.CreateOptions{})
		s.must(err)
	}
	s.must(s.CLB.PutLoadBalancer(s.ctx, admin.ExistingLoadBalancer{ID: exampleCLB}))
	for _, name := range slices.Sorted(maps.Keys(promises)) {
		t.Run(name, func(t *testing.T) {
			s := *s
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			s.t, s.ctx = t, ctx
			s.example(name, promises[name])
		})
	}
	for _, lb := range s.state().LoadBalancers {
		if lb.ID == exampleCLB && (len(lb.Listeners) > 0 || lb.Tags["tke-clusterId"] != "") {
			t.Errorf("the CLB that somebody made is left with listeners %v and tags %v", lb.Listeners, lb.Tags)
		}
	}
}

// Until the annotation goes nothing happens in the cloud, and the Service says why.
func TestExampleOfModeSkip(t *testing.T) {
	s := begin(t)
	text, err := os.ReadFile(filepath.Join(s.dir.Root(), "examples", "service-skip.yaml"))
	s.must(err)
	s.kubectl(string(text), "apply")
	svc, err := s.Client.CoreV1().Services(s.ns).Get(s.ctx, "web-skip", metav1.GetOptions{})
	s.must(err)
	_, err = s.AwaitEvent(s.ctx, s.ns, svc.Name, corev1.EventTypeWarning, "service.cloud.tencent.com/mode", "skip")
	s.must(err)
	if made := Balancers(s.state(), svc.UID); len(made) > 0 {
		t.Errorf("a CLB was made all the same: %+v", made)
	}
	s.kubectl(string(text), "delete")
	s.must(s.AwaitGone(s.ctx, svc.UID))
}

func (s *scene) example(name string, p promise) {
	s.t.Helper()
	text, err := os.ReadFile(filepath.Join(s.dir.Root(), "examples", name+".yaml"))
	s.must(err)
	s.kubectl(string(text), "apply")
	services, err := s.Client.CoreV1().Services(s.ns).List(s.ctx, metav1.ListOptions{})
	s.must(err)
	var address string
	for _, svc := range services.Items {
		address, err = s.AwaitAddress(s.ctx, s.ns, svc.Name)
		s.must(err)
	}
	last := ""
	_, err = s.CLB.WaitState(s.ctx, func(state admin.State) bool {
		for _, lb := range state.LoadBalancers {
			if lb.VIP == address {
				last = p.holds(lb)
				return last == ""
			}
		}
		last = "there is no CLB with the address " + address
		return false
	})
	if err != nil {
		s.t.Fatalf("%s: %v\n%s", last, err, s.ControllerLog(20))
	}
	if p.ask != "" {
		for _, svc := range services.Items {
			s.settled(svc)
		}
		s.ask(probe.Target{Protocol: p.ask, Addr: fmt.Sprintf("%s:%d", address, p.port)}, 6)
	}
	if name == "service-source-ranges" {
		s.must(s.excluded(address))
	}
	if name == "service-service-config-auto" {
		out, err := s.Kubectl(s.ctx, "get", "tkeserviceconfig", "-n", s.ns, "web-service-config-auto-auto-service-config", "-o", "jsonpath={.spec.loadBalancer.l4Listeners[*].port}")
		if err != nil || strings.TrimSpace(string(out)) != "80" {
			s.t.Errorf("the TkeServiceConfig that is to be edited has ports %q: %v", out, err)
		}
	}
	s.kubectl(string(text), "delete")
	for _, svc := range services.Items {
		s.must(s.AwaitGone(s.ctx, svc.UID))
	}
}

// settled waits until each target that is to get requests does.
func (s *scene) settled(svc corev1.Service) {
	s.t.Helper()
	_, err := s.CLB.WaitState(s.ctx, func(state admin.State) bool {
		for _, lb := range state.LoadBalancers {
			for _, l := range lb.Listeners {
				if !strings.HasSuffix(l.Name, string(svc.UID)) {
					continue
				}
				targets := l.Targets
				for _, r := range l.Rules {
					targets = append(targets, r.Targets...)
				}
				for _, t := range targets {
					if t.Status == "Unknown" {
						return false
					}
				}
				return len(targets) > 0
			}
		}
		return false
	})
	s.must(err)
}

// excluded fails if a client that the ranges do not name gets an answer. The ranges of the example name the network of all
// clients here, so they are narrowed to one of them first.
func (s *scene) excluded(address string) error {
	_, err := s.ChangeService(s.ctx, s.ns, "web-source-ranges", func(svc *corev1.Service) {
		svc.Spec.LoadBalancerSourceRanges = []string{cluster.ClientIPs[0].String() + "/32"}
	})
	if err != nil {
		return err
	}
	_, err = s.CLB.WaitState(s.ctx, func(state admin.State) bool {
		for _, g := range state.Groups {
			for _, rule := range g.Ingress {
				if rule.CIDR == cluster.ClientIPs[0].String()+"/32" && g.Tags["tke-clusterId"] == ClusterID {
					return true
				}
			}
		}
		return false
	})
	if err != nil {
		return err
	}
	target := probe.Target{Protocol: probe.HTTP, Addr: address + ":80"}
	s.ask(target, 3)
	if r := s.ProbeFrom(cluster.ClientIPs[1], shortWait).Share(s.ctx, target, 2); r.Answered > 0 {
		return fmt.Errorf("%s, which the ranges leave out, got %d answers", cluster.ClientIPs[1], r.Answered)
	}
	return nil
}

func (s *scene) kubectl(manifest string, verb string) {
	s.t.Helper()
	cmd := s.KubectlCommand(s.ctx, verb, "--namespace="+s.ns, "-f", "-")
	cmd.Stdin = strings.NewReader(manifest)
	if out, err := cmd.CombinedOutput(); err != nil {
		s.t.Fatalf("%s: %v\n%s", verb, err, out)
	}
}

// labelled gives nodes a label for the time of the test.
func (s *scene) labelled(key, value string, nodes ...string) {
	s.t.Helper()
	for _, n := range nodes {
		if out, err := s.Kubectl(s.ctx, "label", "node", n, key+"="+value); err != nil {
			s.t.Fatalf("%v\n%s", err, out)
		}
	}
	s.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), shortCall)
		defer cancel()
		for _, n := range nodes {
			if out, err := s.Kubectl(ctx, "label", "node", n, key+"-"); err != nil {
				s.t.Errorf("%v\n%s", err, out)
			}
		}
	})
}

// statefulSet runs three pods web-0 to web-2 and waits until they are ready.
func (s *scene) statefulSet() {
	s.t.Helper()
	d := Workload{Namespace: s.ns, App: "web", Replicas: 3}.deployment()
	set := &appsv1.StatefulSet{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.ns, Name: "web"},
		Spec:       appsv1.StatefulSetSpec{Replicas: new(int32(3)), Selector: d.Spec.Selector, Template: d.Spec.Template, PodManagementPolicy: appsv1.ParallelPodManagement},
	}
	_, err := s.Client.AppsV1().StatefulSets(s.ns).Create(s.ctx, set, metav1.CreateOptions{})
	s.must(err)
	if out, err := s.Kubectl(s.ctx, "rollout", "status", "--namespace="+s.ns, "statefulset/web", "--timeout=60s"); err != nil {
		s.t.Fatalf("%v\n%s", err, out)
	}
}
