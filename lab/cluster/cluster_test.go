// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/clbsync/clbsync/lab/build"
	"github.com/clbsync/clbsync/lab/machine"
	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

// ownerVariable makes the test program start a cluster and hold it until it is killed.
const ownerVariable = "CLUSTER_TEST_OWNER"

// labDir is what TestMain built.
var labDir build.Dir

func TestMain(m *testing.M) {
	var err error
	if labDir, err = build.Ensure(context.Background(), os.Stderr, build.Product); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if name, owner := os.LookupEnv(ownerVariable); owner {
		os.Exit(ownCluster(name))
	}
	os.Exit(m.Run())
}

func ownCluster(name string) int {
	if _, err := Start(context.Background(), Config{Name: name, Nodes: 1}); err != nil {
		fmt.Fprintln(os.Stdout, err)
		return 1
	}
	fmt.Fprintln(os.Stdout, "ready")
	select {}
}

func start(t *testing.T, config Config) *Cluster {
	t.Helper()
	config.Images = append(config.Images, labDir.Image("echo"))
	config.Progress = t.Output()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	c, err := Start(ctx, config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		wantNothingLeft(t, c.Name)
	})
	return c
}

func wantNothingLeft(t *testing.T, name string) {
	t.Helper()
	left, err := machine.Leftovers(name)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string(nil), left); diff != "" {
		t.Errorf("lab %s left (-want +got):\n%s", name, diff)
	}
}

func eventually(t *testing.T, within time.Duration, what string, check func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	if err := new(Cluster).until(ctx, what, check); err != nil {
		t.Fatal(err)
	}
}

// runEcho starts the pod program on a node and returns its address once it answers: with no probe a pod is ready when
// its process has been started, which on a busy machine is before it listens.
func runEcho(t *testing.T, c *Cluster, name, node string) netip.Addr {
	t.Helper()
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: metav1.NamespaceDefault, Labels: map[string]string{"app": "echo"}},
		Spec: corev1.PodSpec{
			NodeName: node,
			Containers: []corev1.Container{{
				Name: "echo", Image: build.EchoRef, Env: []corev1.EnvVar{{Name: "POD_NAME", Value: name}, {Name: "NODE_NAME", Value: node}},
				ReadinessProbe: &corev1.Probe{ProbeHandler: corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: echoTCP}}, PeriodSeconds: 1},
			}},
		},
	}
	pods := c.Clientset().CoreV1().Pods(pod.Namespace)
	if _, err := pods.Create(t.Context(), pod, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	var addr netip.Addr
	eventually(t, 30*time.Second, "pod "+name+" is ready", func(ctx context.Context) error {
		got, err := pods.Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		for _, condition := range got.Status.Conditions {
			if condition.Type == corev1.PodReady && condition.Status == corev1.ConditionTrue {
				addr, err = netip.ParseAddr(got.Status.PodIP)
				return err
			}
		}
		return fmt.Errorf("pod is %s: %v", got.Status.Phase, got.Status.ContainerStatuses)
	})
	return addr
}

func TestCluster(t *testing.T) {
	host := hostState(t)
	c := start(t, Config{Nodes: 2, DNS: true})
	pods := map[string]netip.Addr{}
	for _, n := range c.Nodes() {
		pods[n.Name] = runEcho(t, c, "echo-"+n.Name, n.Name)
	}

	t.Run("nodes look like TKE's", func(t *testing.T) { nodesLookLikeTKE(t, c) })
	t.Run("pods have addresses of their node's range", func(t *testing.T) {
		for _, n := range c.Nodes() {
			if !n.PodCIDR.Contains(pods[n.Name]) {
				t.Errorf("pod on %s has %s, want one of %s", n.Name, pods[n.Name], n.PodCIDR)
			}
		}
	})
	t.Run("kubectl exec and logs work from the host", func(t *testing.T) {
		out, err := c.Kubectl(t.Context(), "exec", "echo-n2", "--", "/echo", "--help")
		if err != nil || !strings.Contains(string(out), "echo answers") {
			t.Errorf("exec: %s, %v", out, err)
		}
		eventually(t, 10*time.Second, "logs of echo-n1", func(ctx context.Context) error {
			out, err := c.Kubectl(ctx, "logs", "echo-n1")
			if err == nil && len(out) == 0 {
				return errors.New("nothing is logged")
			}
			return err
		})
	})
	t.Run("a NodePort of any node leads a client to a pod", func(t *testing.T) { nodePortWorks(t, c) })
	t.Run("RBAC is on: a ServiceAccount may do nothing at first", func(t *testing.T) { rbacIsOn(t, c) })
	t.Run("node authorization is on: a node does not read another's secrets", func(t *testing.T) { nodeAuthorizationIsOn(t, c) })
	t.Run("cluster DNS knows Services", func(t *testing.T) { dnsWorks(t, c) })
	t.Run("another process can open it", func(t *testing.T) {
		again, err := Open(c.Name)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(c.Nodes(), again.Nodes(), cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
			cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
			t.Errorf("nodes (-started +opened):\n%s", diff)
		}
		if _, err := again.Clientset().CoreV1().Nodes().List(t.Context(), metav1.ListOptions{}); err != nil {
			t.Error(err)
		}
	})
	t.Run("a second cluster beside it has the same addresses and its own pods", func(t *testing.T) {
		second := start(t, Config{Nodes: 1})
		list, err := second.Clientset().CoreV1().Pods("").List(t.Context(), metav1.ListOptions{})
		if err != nil || len(list.Items) != 0 {
			t.Errorf("pods of the second cluster: %v, %v", list.Items, err)
		}
		if addr := runEcho(t, second, "echo-n1", "n1"); addr != pods["n1"] {
			t.Errorf("first pod of n1 is %s in one cluster and %s in the other", pods["n1"], addr)
		}
	})
	t.Run("a node can be added, lose its kubelet, and be removed", func(t *testing.T) { nodesComeAndGo(t, c) })
	t.Run("the host's links, rules and sysctls are as before", func(t *testing.T) {
		if diff := cmp.Diff(host, hostState(t)); diff != "" {
			t.Errorf("host (-before +with a cluster):\n%s", diff)
		}
	})
}

func nodesLookLikeTKE(t *testing.T, c *Cluster) {
	list, err := c.Clientset().CoreV1().Nodes().List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, n := range list.Items {
		got[n.Name] = strings.Join([]string{n.Spec.ProviderID, n.Labels["topology.kubernetes.io/zone"],
			n.Labels["topology.kubernetes.io/region"], n.Labels["cloud.tencent.com/node-instance-id"], n.Spec.PodCIDR}, " ")
	}
	want := map[string]string{
		"n1": fmt.Sprintf("qcloud:///100003/%[1]s 100003 ap-guangzhou %[1]s 10.251.65.0/24", InstanceID("n1")),
		"n2": fmt.Sprintf("qcloud:///100004/%[1]s 100004 ap-guangzhou %[1]s 10.251.66.0/24", InstanceID("n2")),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("nodes (-want +got):\n%s", diff)
	}
}

// nodePortWorks asks through each node from each client address, and checks whom the pod saw.
func nodePortWorks(t *testing.T, c *Cluster) {
	service := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "echo", Namespace: metav1.NamespaceDefault},
		Spec: corev1.ServiceSpec{
			Type: corev1.ServiceTypeNodePort, Selector: map[string]string{"app": "echo"},
			ExternalTrafficPolicy: corev1.ServiceExternalTrafficPolicyLocal,
			Ports:                 []corev1.ServicePort{{Port: 80, Protocol: corev1.ProtocolTCP, TargetPort: echoTCP}},
		},
	}
	service, err := c.Clientset().CoreV1().Services(service.Namespace).Create(t.Context(), service, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range c.Nodes() {
		for _, from := range ClientIPs[:2] {
			target := netip.AddrPortFrom(n.IP, uint16(service.Spec.Ports[0].NodePort))
			eventually(t, 15*time.Second, fmt.Sprintf("%s answers %s", target, from), func(ctx context.Context) error {
				answer, err := ask(ctx, c, from, target)
				if err != nil {
					return err
				}
				if peer := netip.MustParseAddrPort(answer.Peer).Addr(); peer != from || answer.Node != n.Name {
					t.Errorf("pod on %s saw %s, want pod on %s to see %s", answer.Node, peer, n.Name, from)
				}
				return nil
			})
		}
	}
}

type echoAnswer struct{ Pod, Node, Peer string }

// echoTCP is the port of the pod program for TCP.
var echoTCP = intstr.FromInt32(9000)

func ask(ctx context.Context, c *Cluster, from netip.Addr, to netip.AddrPort) (echoAnswer, error) {
	var answer echoAnswer
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	conn, err := c.DialFrom(ctx, Client, from, "tcp", to.String())
	if err != nil {
		return answer, err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(2 * time.Second)); err != nil {
		return answer, err
	}
	return answer, json.NewDecoder(conn).Decode(&answer)
}

func rbacIsOn(t *testing.T, c *Cluster) {
	path, err := c.ServiceAccountKubeconfig(t.Context(), metav1.NamespaceDefault, "default")
	if err != nil {
		t.Fatal(err)
	}
	out, err := c.Output(t.Context(), ControlPlane, labDir.Bin("kubectl"), "--kubeconfig="+path, "--cache-dir="+t.TempDir(), "get", "nodes")
	if err == nil || !strings.Contains(string(out), `User "system:serviceaccount:default:default" cannot list resource "nodes"`) {
		t.Errorf("get nodes as ServiceAccount: %s, %v", out, err)
	}
}

func nodeAuthorizationIsOn(t *testing.T, c *Cluster) {
	config, err := clientcmd.BuildConfigFromFlags("", c.kubeconfigFile("system-node-n1"))
	if err != nil {
		t.Fatal(err)
	}
	config.Host = c.RESTConfig().Host // the file is for programs inside
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.CoreV1().Nodes().Get(t.Context(), "n1", metav1.GetOptions{}); err != nil {
		t.Errorf("n1 reads itself: %v", err)
	}
	_, err = client.CoreV1().Secrets(metav1.NamespaceDefault).List(t.Context(), metav1.ListOptions{})
	if !apierrors.IsForbidden(err) {
		t.Errorf("n1 lists secrets: %v, want forbidden", err)
	}
	patch := []byte(`{"metadata":{"labels":{"x":"y"}}}`)
	_, err = client.CoreV1().Nodes().Patch(t.Context(), "n2", "application/merge-patch+json", patch, metav1.PatchOptions{})
	if !apierrors.IsForbidden(err) {
		t.Errorf("n1 changes n2: %v, want forbidden", err)
	}
}

// dnsWorks asks the Service kube-dns from a node, so that the answer has come through kube-proxy.
func dnsWorks(t *testing.T, c *Cluster) {
	resolver := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return c.Dial(ctx, "n1", network, netip.AddrPortFrom(dnsServiceIP, dnsPort).String())
	}}
	for name, want := range map[string]string{
		"kubernetes.default.svc.cluster.local.":   apiServiceIP.String(),
		"kube-dns.kube-system.svc.cluster.local.": dnsServiceIP.String(),
	} {
		eventually(t, 10*time.Second, name+" is known", func(ctx context.Context) error {
			got, err := resolver.LookupHost(ctx, name)
			if err == nil && (len(got) != 1 || got[0] != want) {
				t.Errorf("%s is %v, want %s", name, got, want)
			}
			return err
		})
	}
	var unknown *net.DNSError
	if got, err := resolver.LookupHost(t.Context(), "nobody.default.svc.cluster.local."); !errors.As(err, &unknown) || !unknown.IsNotFound {
		t.Errorf("an unknown Service is %v, %v; want not found", got, err)
	}
}

func nodesComeAndGo(t *testing.T, c *Cluster) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	n, err := c.AddNode(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if n.Name != "n3" {
		t.Errorf("the added node is %s, want n3", n.Name)
	}
	pod := runEcho(t, c, "echo-n3", "n3")
	target := netip.AddrPortFrom(pod, uint16(echoTCP.IntVal))
	if _, err := ask(ctx, c, ClientIPs[0], target); err != nil {
		t.Errorf("pod on the added node: %v", err)
	}

	if err := c.StopKubelet(ctx, "n3"); err != nil {
		t.Fatal(err)
	}
	health := func(ctx context.Context) error { return kubeletHealth(ctx, c, "n3") }
	if health(ctx) == nil {
		t.Error("the kubelet answers though it is stopped")
	}
	if _, err := ask(ctx, c, ClientIPs[0], target); err != nil {
		t.Errorf("pod without its kubelet: %v", err)
	}
	if err := c.StartKubelet(ctx, "n3"); err != nil {
		t.Fatal(err)
	}
	eventually(t, 15*time.Second, "the kubelet answers again", health)

	if err := c.RemoveNode(ctx, "n3"); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Clientset().CoreV1().Nodes().Get(ctx, "n3", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("get node n3: %v, want not found", err)
	}
	if _, err := c.Machine("n3"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("machine n3: %v, want that it is gone", err)
	}
	wantNames := []string{"n1", "n2"}
	var names []string
	for _, n := range c.Nodes() {
		names = append(names, n.Name)
	}
	if diff := cmp.Diff(wantNames, names); diff != "" {
		t.Errorf("nodes (-want +got):\n%s", diff)
	}
}

// kubeletHealth asks the kubelet's health port, which is on the node's loopback.
func kubeletHealth(ctx context.Context, c *Cluster, node string) error {
	client, err := c.HTTPClient(node)
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://127.0.0.1:10248/healthz", nil)
	if err != nil {
		return err
	}
	answer, err := client.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	_, err = io.Copy(io.Discard, answer.Body)
	return err
}

// hostState is what a lab must not change on the host.
func hostState(t *testing.T) map[string]string {
	t.Helper()
	state := map[string]string{}
	for name, argv := range map[string][]string{
		"links":     {"ip", "-o", "link", "show"},
		"addresses": {"ip", "-o", "-4", "addr", "show"},
		"routes":    {"ip", "route", "show", "table", "all"},
		"rules":     {"nft", "list", "ruleset"},
		"mounts":    {"sh", "-c", "cut -d' ' -f5- /proc/self/mountinfo"},
		"sysctls": {"sh", "-c", "cd /proc/sys && grep -r . vm/overcommit_memory vm/panic_on_oom kernel/panic kernel/panic_on_oops" +
			" kernel/keys net/ipv4/ip_forward net/ipv4/conf/all net/netfilter/nf_conntrack_max"},
	} {
		out, err := exec.Command(argv[0], argv[1:]...).Output()
		if err != nil {
			t.Fatalf("%v: %v", argv, err)
		}
		state[name] = string(out)
	}
	return state
}

func TestExternalCloudProvider(t *testing.T) {
	c := start(t, Config{Nodes: 1, ExternalCloudProvider: true, OmitProviderID: true, Proxy: NoProxy.Everywhere()})
	n, err := c.Clientset().CoreV1().Nodes().Get(t.Context(), "n1", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if n.Spec.ProviderID != "" {
		t.Errorf("providerID = %q, want none", n.Spec.ProviderID)
	}
	if zone, set := n.Labels["topology.kubernetes.io/zone"]; set {
		t.Errorf("zone label = %q, want none: the cloud controller sets it", zone)
	}
	waits := false
	for _, taint := range n.Spec.Taints {
		waits = waits || taint.Key == "node.cloudprovider.kubernetes.io/uninitialized"
	}
	if !waits {
		t.Errorf("taints = %v, want one that says that the node waits for a cloud controller", n.Spec.Taints)
	}
	rules, err := c.Output(t.Context(), "n1", "nft", "list", "ruleset")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(rules), "KUBE-NODEPORTS") {
		t.Error("the node has kube-proxy's rules, want none")
	}
}

func TestOwnerKilled(t *testing.T) {
	name := randomName()
	owner := exec.Command(os.Args[0])
	owner.Env = append(os.Environ(), ownerVariable+"="+name)
	out, err := owner.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := owner.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || line != "ready\n" {
		t.Fatalf("owner said %q, %v", line, err)
	}
	if err := owner.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := owner.Wait(); err == nil {
		t.Fatal("the owner ended by itself")
	}
	eventually(t, 30*time.Second, "nothing is left", func(context.Context) error {
		left, err := machine.Leftovers(name)
		if err == nil && len(left) > 0 {
			err = errors.New(strings.Join(left, "\n"))
		}
		return err
	})
}

func TestStartThatFailsLeavesNothing(t *testing.T) {
	name := randomName()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second) // not even the API server is up by then
	defer cancel()
	c, err := Start(ctx, Config{Name: name, Nodes: 1})
	if err == nil {
		t.Fatal(errors.Join(errors.New("a cluster was ready within 2 s"), c.Close()))
	}
	if !strings.Contains(err.Error(), "waiting until") {
		t.Errorf("error does not say what was waited for: %v", err)
	}
	wantNothingLeft(t, name)
}
