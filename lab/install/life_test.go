// SPDX-License-Identifier: Apache-2.0

package install

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/clbsync/clbsync/clbsim/admin"
	"github.com/clbsync/clbsync/lab/build"
	"github.com/clbsync/clbsync/lab/cluster"
	"github.com/clbsync/clbsync/lab/e2e"
	"github.com/clbsync/clbsync/lab/install/rights"
)

var getOptions metav1.GetOptions

// excused are rights that a life of Services in the lab does not need, by who has them and with the reason.
var excused = map[account]map[string]string{
	controllerAccount: {
		"patch nodes/status": "addresses that change, for which the cloud-node-controller looks every five minutes",
	},
	agentAccount: {
		"patch events": "counts an Event that comes again, as a port does that is taken for long",
		"get daemonsets.apps clbsync-agent in clbsync": "asked at the agent's end, where the watch has not told",
	},
}

// poll waits for what nothing announces.
func (s *scene) poll(what string, check func(context.Context) error) {
	s.t.Helper()
	var last error
	err := wait.PollUntilContextTimeout(s.ctx, 200*time.Millisecond, 2*time.Minute, true, func(ctx context.Context) (bool, error) {
		last = check(ctx)
		return last == nil, nil
	})
	if err != nil {
		s.t.Fatalf("waiting until %s: %v", what, errors.Join(err, last))
	}
}

// life takes Services, pods and nodes through all that makes the two programs ask the API server for something, and then
// compares what they asked for with what they are granted.
func (s *scene) life() {
	// A node comes and is given its identity; its instance is shut down, and then ended behind Kubernetes' back.
	added, err := s.AddNode(s.ctx)
	s.must(err)
	_, err = s.AwaitNode(s.ctx, added.Name, "a providerID and no taint", e2e.Initialized)
	s.must(err)
	s.must(s.AwaitWeights(s.ctx, spread.UID, map[string]int{"n1": 10, "n2": 10, added.Name: 10}))

	s.loseInstance(added)
	s.must(s.AwaitWeights(s.ctx, spread.UID, map[string]int{"n1": 10, "n2": 10}))

	// Policies, pods and annotations change; one annotation is wrong, and so says an Event.
	_, err = s.ChangeService(s.ctx, shop, spread.Name, func(svc *corev1.Service) { weighted(svc) })
	s.must(err)
	s.must(s.AwaitWeights(s.ctx, spread.UID, pods))
	s.web(map[string]int32{"n1": 1})
	s.must(s.AwaitWeights(s.ctx, spread.UID, map[string]int{"n1": 1, "n2": 1}))
	_, err = s.ChangeService(s.ctx, shop, spread.Name, e2e.Annotate(e2e.Weighted, "perhaps"))
	s.must(err)
	_, err = s.AwaitEvent(s.ctx, shop, spread.Name, corev1.EventTypeWarning, "perhaps")
	s.must(err)
	_, err = s.ChangeService(s.ctx, shop, spread.Name, func(svc *corev1.Service) {
		delete(svc.Annotations, e2e.Weighted)
		delete(svc.Annotations, e2e.OnlyBind)
		svc.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyCluster
	})
	s.must(err)
	s.web(map[string]int32{"n1": 2})
	s.checkSpread(spread, "n1", "n2")
	s.checkKept(kept, pods)

	// Pods wait for their readiness gate.
	s.must(s.Deploy(s.ctx, e2e.Workload{Namespace: shop, App: "web", Replicas: 1, Mods: []func(*appsv1.Deployment){func(d *appsv1.Deployment) {
		d.Spec.Template.Spec.ReadinessGates = []corev1.PodReadinessGate{{ConditionType: "clbsync.io/target-health"}}
	}}}))
	s.must(s.Deploy(s.ctx, e2e.Workload{Namespace: shop, App: "web"}))

	// Services come and go; Prometheus asks.
	s.delete(s.service("passing", ""))
	s.configure()
	s.takeHealthPort()
	s.scrape()
	s.compare()
}

// configure has a Service with a certificate from a Secret, and with a TkeServiceConfig that is made, extended and deleted.
func (s *scene) configure() {
	s.t.Helper()
	const auto = "service.cloud.tencent.com/tke-service-config-auto"
	_, err := s.Client.CoreV1().Secrets(shop).Create(s.ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "web-cert"}, StringData: map[string]string{"qcloud_cert_id": "labcert1"}}, metav1.CreateOptions{})
	s.must(err)
	svc := s.service("configured", "", e2e.Annotate(auto, "true"),
		e2e.Annotate("service.cloud.tencent.com/specify-protocol", `{"8080": {"protocol": ["HTTPS"], "hosts": {"www.example.com": {"tls": "web-cert"}}}}`))
	config := func(port string) error {
		out, err := s.Kubectl(s.ctx, "get", "tkeserviceconfigs", "--namespace="+shop, "configured-auto-service-config", "--ignore-not-found", "--output=jsonpath={.spec.loadBalancer.l4Listeners[*].port}")
		if err != nil || slices.Contains(strings.Fields(string(out)), port) {
			return err
		}
		return fmt.Errorf("it has the listeners %q", out)
	}
	s.poll("a TkeServiceConfig is made", func(context.Context) error { return config("80") })
	s.poll("the HTTPS listener has the Secret's certificate", func(context.Context) error {
		lb := e2e.Balancers(s.state(), svc.UID)
		if len(lb) == 1 && slices.ContainsFunc(lb[0].Listeners, func(l admin.Listener) bool {
			return l.Protocol == "HTTPS" && slices.Equal(l.Certificates, []string{"labcert1"})
		}) {
			return nil
		}
		return fmt.Errorf("the Service's CLBs are %+v", lb)
	})
	_, err = s.ChangeService(s.ctx, shop, svc.Name, func(svc *corev1.Service) {
		svc.Spec.Ports = append(svc.Spec.Ports, corev1.ServicePort{Name: "more", Protocol: corev1.ProtocolTCP, Port: 81})
	})
	s.must(err)
	s.poll("the TkeServiceConfig is extended", func(context.Context) error { return config("81") })
	_, err = s.ChangeService(s.ctx, shop, svc.Name, func(svc *corev1.Service) { delete(svc.Annotations, auto) })
	s.must(err)
	s.poll("the TkeServiceConfig is gone", func(ctx context.Context) error {
		if out, err := s.Kubectl(ctx, "get", "tkeserviceconfigs", "--namespace="+shop, "--output=name"); err != nil || len(out) > 0 {
			return errors.Join(err, fmt.Errorf("there is %q", out))
		}
		return nil
	})
	s.delete(svc)
}

// takeHealthPort has another program hold a Service's health check port on a node, of which that node's agent warns.
func (s *scene) takeHealthPort() {
	s.t.Helper()
	const port = 31999
	other, err := s.Listen(s.ctx, "n1", "tcp", fmt.Sprintf(":%d", port))
	s.must(err)
	defer other.Close()
	svc := s.service("taken", others, e2e.Local, func(svc *corev1.Service) { svc.Spec.HealthCheckNodePort = port })
	_, err = s.AwaitEvent(s.ctx, shop, svc.Name, corev1.EventTypeWarning, "n1", fmt.Sprint(port))
	s.must(err)
	s.delete(svc)
}

// loseInstance shuts a node's instance down and waits until the controller has tainted the Node; then it ends the instance
// without Kubernetes being told, and waits until the controller has deleted the Node.
func (s *scene) loseInstance(n cluster.Node) {
	s.t.Helper()
	instances := s.state().Instances
	i := slices.IndexFunc(instances, func(i admin.Instance) bool { return i.ID == n.InstanceID })
	stopped := instances[i]
	stopped.State = "STOPPED"
	s.must(s.CLB.PutInstance(s.ctx, stopped))
	s.must(s.PowerOff(s.ctx, n.Name))
	// What the controller manager says after 50 seconds.
	node, err := s.Client.CoreV1().Nodes().Get(s.ctx, n.Name, getOptions)
	s.must(err)
	for i := range node.Status.Conditions {
		if node.Status.Conditions[i].Type == corev1.NodeReady {
			node.Status.Conditions[i].Status = corev1.ConditionUnknown
		}
	}
	_, err = s.Client.CoreV1().Nodes().UpdateStatus(s.ctx, node, metav1.UpdateOptions{})
	s.must(err)
	_, err = s.AwaitNode(s.ctx, n.Name, "the taint of a node that is shut down", func(n *corev1.Node) bool {
		return n != nil && slices.ContainsFunc(n.Spec.Taints, func(t corev1.Taint) bool { return t.Key == "node.cloudprovider.kubernetes.io/shutdown" })
	})
	s.must(err)
	s.must(s.CLB.DeleteInstance(s.ctx, n.InstanceID))
	_, err = s.AwaitNode(s.ctx, n.Name, "that it is gone", func(n *corev1.Node) bool { return n == nil })
	s.must(err)
	s.must(s.Cluster.RemoveNode(s.ctx, n.Name)) // what is left of it: routes to its pods
}

// scrape reads the controllers' metrics as Prometheus does, with a token of an account that may, and looks which build runs.
func (s *scene) scrape() {
	s.t.Helper()
	token, err := s.Client.CoreV1().ServiceAccounts(shop).CreateToken(s.ctx, "default", &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	s.must(err)
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			return s.Dial(ctx, cluster.ControlPlane, network, addr)
		},
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, // the controller's certificate is its own, made at start
	}}
	list, err := s.Client.CoreV1().Pods(Namespace).List(s.ctx, metav1.ListOptions{LabelSelector: "app.kubernetes.io/instance=" + Release})
	s.must(err)
	for _, pod := range list.Items {
		if _, there := s.Node(pod.Spec.NodeName); !there {
			continue // the agent of the node that is gone; Kubernetes takes a while to forget it
		}
		var url string
		switch component := pod.Labels["app.kubernetes.io/component"]; component {
		case "controller":
			url = fmt.Sprintf("https://%s:10258/metrics", pod.Status.PodIP)
		case "agent":
			url = fmt.Sprintf("http://%s:10356/metrics", pod.Status.PodIP)
		default:
			continue
		}
		request, err := http.NewRequestWithContext(s.ctx, http.MethodGet, url, nil)
		s.must(err)
		request.Header.Set("Authorization", "Bearer "+token.Status.Token)
		answer, err := client.Do(request)
		s.must(err)
		body, err := io.ReadAll(answer.Body)
		s.must(errors.Join(err, answer.Body.Close()))
		if answer.StatusCode != http.StatusOK || !hasBuild(body) {
			s.t.Errorf("%s of %s: %s, want clbsync_build_info with the version and commit that was built", url, pod.Name, answer.Status)
		}
	}
}

func hasBuild(metrics []byte) bool {
	for line := range bytes.Lines(metrics) {
		text := string(line)
		if strings.HasPrefix(text, "clbsync_build_info{") && strings.Contains(text, `version="`+build.ReleaseVersion+`"`) && strings.Contains(text, `commit="`+build.ReleaseCommit+`"`) {
			return true
		}
	}
	return false
}

// compare holds what the two programs asked for against what their roles give them, and looks whether the audit log tells
// which build asked.
func (s *scene) compare() {
	s.t.Helper()
	for a, reasons := range excused {
		requests := s.requests(a)
		unused := map[string]bool{}
		for _, r := range rights.Unused(s.grants(a), requests) {
			unused[r.String()] = true
			if reasons[r.String()] == "" {
				s.t.Errorf("%s may %s, and never did: take the right away, or say in excused why it is needed", a, r)
			}
		}
		for right := range reasons {
			if !unused[right] {
				s.t.Logf("%s: %s is in use or not granted, and need not be excused", a, right)
			}
		}
		agents := map[string]int{}
		for _, r := range requests {
			agents[r.UserAgent]++
		}
		for agent := range agents {
			if !strings.Contains(agent, "/"+build.ReleaseVersion+" ") {
				s.t.Errorf("%s calls itself %q, which does not tell its version %s", a, agent, build.ReleaseVersion)
			}
		}
		s.t.Logf("%s: %d requests, as %v", a, len(requests), agents)
	}
}
