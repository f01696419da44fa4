// SPDX-License-Identifier: Apache-2.0

package provider_test

import (
	"context"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/fake"
	restclient "k8s.io/client-go/rest"
	cloudprovider "k8s.io/cloud-provider"
	cloudproviderapi "k8s.io/cloud-provider/api"
	cloudnode "k8s.io/cloud-provider/controllers/node"
	"k8s.io/cloud-provider/controllers/nodelifecycle"
	"k8s.io/cloud-provider/controllers/service"
	controllersmetrics "k8s.io/component-base/metrics/prometheus/controllers"

	"github.com/clbsync/clbsync/clbsim"
	"github.com/clbsync/clbsync/clbsim/admin"
	"github.com/clbsync/clbsync/internal/kubetest"
	"github.com/clbsync/clbsync/provider"
)

// Upstream's own controllers, through the plugin as a stock main opens it, over the real SDK, against the
// simulated CLB and CVM.

var register = sync.OnceFunc(func() { provider.Register(open) })

type world struct {
	cloud   cloudprovider.Interface
	client  kubernetes.Interface
	factory informers.SharedInformerFactory
	sim     *admin.Client
	metrics *controllersmetrics.ControllerManagerMetrics
}

func start(t *testing.T, objects ...runtime.Object) world {
	t.Helper()
	cfg := clbsim.Example()
	cfg.Tasks.Delay = clbsim.Duration(5 * time.Millisecond)
	cfg.Health.Speedup = 1000
	cfg.RateLimits.Default = 0
	cfg.Instances = []clbsim.Instance{
		{ID: "ins-00000001", PrivateIP: "10.0.0.1", Zone: "ap-guangzhou-3", Type: "S5.MEDIUM4"},
		{ID: "ins-00000002", PrivateIP: "10.0.0.2", Zone: "ap-guangzhou-4", Type: "S5.MEDIUM4"},
	}
	sim, err := clbsim.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(sim.Close)
	srv := httptest.NewServer(sim.Handler())
	t.Cleanup(srv.Close)
	file := filepath.Join(t.TempDir(), "cloud-config.yaml")
	text := fmt.Sprintf(`apiVersion: clbsync.io/v1alpha1
kind: CloudConfig
region: ap-guangzhou
vpcID: vpc-2ab3c4d5
clusterID: cls-demo
credentials: {secretID: AKIDEXAMPLE, secretKey: SECRETEXAMPLE}
endpoints: {clb: %[1]q, cvm: %[1]q, vpc: %[1]q, tag: %[1]q}
rateLimits: {default: 1000}
`, srv.URL)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	register()
	cloud, err := cloudprovider.InitCloudProvider("tencentcloud", file)
	if err != nil {
		t.Fatal(err)
	}
	client := fake.NewClientset(objects...)
	return world{cloud: cloud, client: client, factory: informers.NewSharedInformerFactory(client, 0), sim: sim.Admin(),
		metrics: controllersmetrics.NewControllerManagerMetrics("test")}
}

// builder is a client builder with one client.
type builder struct{ kubernetes.Interface }

func (b builder) Client(string) (kubernetes.Interface, error) { return b.Interface, nil }
func (b builder) ClientOrDie(string) kubernetes.Interface     { return b.Interface }
func (b builder) Config(string) (*restclient.Config, error)   { return &restclient.Config{}, nil }
func (b builder) ConfigOrDie(string) *restclient.Config       { return &restclient.Config{} }

// eventually fails the test if what is not so within half a minute.
func eventually(t *testing.T, what string, so func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.After(30 * time.Second); !so(); {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("not within 30 s: %s", what)
		}
	}
}

func TestTheStockServiceControllerIsServed(t *testing.T) {
	w := start(t, kubetest.Service("web"))
	ctx := t.Context()
	// The order of upstream's app.
	w.cloud.Initialize(builder{w.client}, ctx.Done())
	w.cloud.(cloudprovider.InformerUser).SetInformers(w.factory)
	stock, err := service.New(w.cloud, w.client, w.factory.Core().V1().Services(), w.factory.Core().V1().Nodes(), "kubernetes", utilfeature.DefaultFeatureGate)
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	stopped, stop := context.WithCancel(ctx)
	defer running.Wait()
	defer stop()
	running.Go(func() { stock.Run(stopped, 1, w.metrics) })
	w.factory.Start(stopped.Done())

	services := w.client.CoreV1().Services("default")
	var svc *corev1.Service
	eventually(t, "the Service has an address and a finalizer", func() bool {
		svc, err = services.Get(ctx, "web", metav1.GetOptions{})
		return err == nil && len(svc.Status.LoadBalancer.Ingress) == 1 && len(svc.Finalizers) == 1
	})
	// The nodes come when the Service is at rest: the stock controller reads its cache of Services without
	// its lock when a node changes.
	for i := range 2 {
		if _, err := w.client.CoreV1().Nodes().Create(ctx, kubetest.Node(i+1), metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	state, err := w.sim.WaitState(ctx, func(s admin.State) bool {
		return len(s.LoadBalancers) == 1 && len(s.LoadBalancers[0].Listeners) == 1 && len(s.LoadBalancers[0].Listeners[0].Targets) == 2
	})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := state.LoadBalancers[0].VIP, svc.Status.LoadBalancer.Ingress[0].IP; got != want {
		t.Errorf("the CLB has the address %s, the Service says %s", got, want)
	}

	now := metav1.Now()
	svc.DeletionTimestamp = &now
	if _, err := services.Update(ctx, svc, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the Service is let go", func() bool {
		svc, err := services.Get(ctx, "web", metav1.GetOptions{})
		return apierrors.IsNotFound(err) || err == nil && len(svc.Finalizers) == 0
	})
	state, err = w.sim.State(ctx)
	if err != nil || len(state.LoadBalancers) > 0 {
		t.Errorf("the Service went before its CLB: %v, %v", state.LoadBalancers, err)
	}
}

func uninitialized(n *corev1.Node) {
	n.Spec.ProviderID, n.Labels = "", nil
	n.Spec.Taints = []corev1.Taint{{Key: cloudproviderapi.TaintExternalCloudProvider, Value: "true", Effect: corev1.TaintEffectNoSchedule}}
}

func TestTheStockNodeControllerIsServed(t *testing.T) {
	foreign := kubetest.Node(9, func(n *corev1.Node) { n.Spec.ProviderID = "k3s://n9" })
	w := start(t, kubetest.Node(1, uninitialized), kubetest.Node(8, uninitialized), foreign)
	nodes := w.client.CoreV1().Nodes()
	c, err := cloudnode.NewCloudNodeController(w.factory.Core().V1().Nodes(), w.client, w.cloud, 20*time.Millisecond, 1, 1)
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	ctx, stop := context.WithCancel(t.Context())
	defer running.Wait()
	defer stop()
	running.Go(func() { c.Run(ctx.Done(), w.metrics) })
	w.factory.Start(ctx.Done())

	var n *corev1.Node
	eventually(t, "n1 is initialized", func() bool {
		n, err = nodes.Get(ctx, "n1", metav1.GetOptions{})
		return err == nil && len(n.Spec.Taints) == 0 && len(n.Status.Addresses) == 2
	})
	type identity struct{ ProviderID, Type, Zone, Region, Address string }
	want := identity{"qcloud:///100003/ins-00000001", "S5.MEDIUM4", "ap-guangzhou-3", "ap-guangzhou", "10.0.0.1"}
	got := identity{n.Spec.ProviderID, n.Labels[corev1.LabelInstanceTypeStable], n.Labels[corev1.LabelTopologyZone], n.Labels[corev1.LabelTopologyRegion], n.Status.Addresses[0].Address}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for _, address := range []string{"10.0.0.8", "10.0.0.9"} {
		if _, err := w.sim.WaitCall(ctx, 0, func(c admin.Call) bool { return c.Done && strings.Contains(string(c.Parameters), address) }); err != nil {
			t.Fatal(err)
		}
	}
	if n, err := nodes.Get(ctx, "n8", metav1.GetOptions{}); err != nil || len(n.Spec.Taints) != 1 {
		t.Errorf("n8, whose address nobody has, is %v, %v; want it to wait", n.Spec, err)
	}
	// The loop over addresses has met the foreign node by now, and would have crashed on nil.
	if n, err := nodes.Get(ctx, "n9", metav1.GetOptions{}); err != nil || !cmp.Equal(n.Spec, foreign.Spec) || !cmp.Equal(n.Status, foreign.Status) {
		t.Errorf("k3s's own node has changed: %v, %v", n, err)
	}
}

func notReady(n *corev1.Node) { n.Status.Conditions[0].Status = corev1.ConditionUnknown }

func TestTheStockLifecycleControllerDeletesOnlyWhatIsGone(t *testing.T) {
	id := func(s string) func(*corev1.Node) { return func(n *corev1.Node) { n.Spec.ProviderID = s } }
	w := start(t,
		kubetest.Node(1, notReady), // exists
		kubetest.Node(3, notReady), // does not
		kubetest.Node(4),           // does not, but is ready
		kubetest.Node(5, notReady, id("k3s://n5")),
		kubetest.Node(6, notReady, id("tencentcloud://kn-00000006")),
		kubetest.Node(7, notReady, id("qcloud:///800003/ins-00000007")), // of another region
	)
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	defer running.Wait()
	defer stop()
	fault, err := w.sim.AddFault(ctx, admin.Fault{Action: "DescribeInstances", Kind: "error", Code: "InternalError", Count: -1})
	if err != nil {
		t.Fatal(err)
	}
	c, err := nodelifecycle.NewCloudNodeLifecycleController(w.factory.Core().V1().Nodes(), w.client, w.cloud, 20*time.Millisecond, 1)
	if err != nil {
		t.Fatal(err)
	}
	w.factory.Start(ctx.Done())
	w.factory.WaitForCacheSync(ctx.Done())
	running.Go(func() { c.Run(ctx, w.metrics) })

	names := func() string {
		list, err := w.client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, n := range list.Items {
			names = append(names, n.Name)
		}
		return strings.Join(names, " ")
	}
	for seq := range 3 {
		if _, err := w.sim.WaitCall(ctx, seq*4, func(c admin.Call) bool { return c.Done && c.Action == "DescribeInstances" && c.Code != "" }); err != nil {
			t.Fatal(err)
		}
	}
	if got := names(); got != "n1 n3 n4 n5 n6 n7" {
		t.Fatalf("while the API fails, only %s are left", got)
	}
	if err := w.sim.ClearFaults(ctx, fault); err != nil {
		t.Fatal(err)
	}
	eventually(t, "n3 is deleted", func() bool { return !strings.Contains(names(), "n3") })
	if got := names(); got != "n1 n4 n5 n6 n7" {
		t.Errorf("%s are left, want n1 n4 n5 n6 n7", got)
	}
}
