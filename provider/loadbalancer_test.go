// SPDX-License-Identifier: Apache-2.0

package provider

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/fake"
	restclient "k8s.io/client-go/rest"
	cloudprovider "k8s.io/cloud-provider"

	"github.com/clbsync/clbsync/internal/kubetest"
	"github.com/clbsync/clbsync/lbsync"
)

// engineStub notes what it is asked, and answers with half: a CLB that is half there.
type engineStub struct {
	asked   []string
	err     error
	hang    bool
	running chan struct{}
}

func (e *engineStub) note(ctx context.Context, what string, svc *corev1.Service) error {
	e.asked = append(e.asked, what+" "+svc.Name)
	if e.hang {
		<-ctx.Done()
		return ctx.Err()
	}
	return e.err
}

func (e *engineStub) Get(ctx context.Context, svc *corev1.Service) (*corev1.LoadBalancerStatus, bool, error) {
	return &corev1.LoadBalancerStatus{}, true, e.note(ctx, "get", svc)
}

func (e *engineStub) Ensure(ctx context.Context, svc *corev1.Service) (*corev1.LoadBalancerStatus, error) {
	return &corev1.LoadBalancerStatus{Ingress: []corev1.LoadBalancerIngress{{IP: "203.0.113.1"}}}, e.note(ctx, "ensure", svc)
}

func (e *engineStub) Delete(ctx context.Context, svc *corev1.Service) error {
	return e.note(ctx, "delete", svc)
}

func (e *engineStub) Run(ctx context.Context) {
	close(e.running)
	<-ctx.Done()
}

// builder is the part of a client builder that a plugin uses.
type builder struct {
	client kubernetes.Interface
	err    error
}

func (b builder) Client(string) (kubernetes.Interface, error) { return b.client, b.err }
func (b builder) ClientOrDie(string) kubernetes.Interface     { return b.client }
func (b builder) Config(string) (*restclient.Config, error)   { return nil, errors.New("not here") }
func (b builder) ConfigOrDie(string) *restclient.Config       { return nil }

func withEngine(t *testing.T, e *engineStub, classOnly bool) cloudprovider.LoadBalancer {
	t.Helper()
	e.running = make(chan struct{})
	cfg := CloudConfig{Settings: lbsync.Settings{ClusterID: "cls-demo", ClassOnly: classOnly}}
	c := New(cfg, Backend{Engine: func(kubernetes.Interface, informers.SharedInformerFactory) (Engine, error) { return e, nil }})
	client := fake.NewClientset()
	c.Initialize(builder{client: client}, t.Context().Done())
	c.SetInformers(informers.NewSharedInformerFactory(client, 0))
	<-e.running
	lb, ok := c.LoadBalancer()
	if !ok {
		t.Fatal("LoadBalancer is not supported")
	}
	return lb
}

func TestServicesGoToTheEngine(t *testing.T) {
	e := &engineStub{}
	lb := withEngine(t, e, false)
	svc := kubetest.Service("web")
	if _, exists, err := lb.GetLoadBalancer(t.Context(), "kubernetes", svc); err != nil || !exists {
		t.Errorf("get: %v, %v", exists, err)
	}
	if status, err := lb.EnsureLoadBalancer(t.Context(), "kubernetes", svc, nil); err != nil || len(status.Ingress) != 1 {
		t.Errorf("ensure: %v, %v", status, err)
	}
	if err := lb.UpdateLoadBalancer(t.Context(), "kubernetes", svc, nil); err != nil {
		t.Errorf("update: %v", err)
	}
	if err := lb.EnsureLoadBalancerDeleted(t.Context(), "kubernetes", svc); err != nil {
		t.Errorf("delete: %v", err)
	}
	if got, want := strings.Join(e.asked, ", "), "get web, ensure web, delete web"; got != want {
		t.Errorf("the engine was asked to %s, want %s: nodes reach it without an update", got, want)
	}
	if got := lb.GetLoadBalancerName(t.Context(), "kubernetes", svc); got != "cls-demo_default_web" {
		t.Errorf("the name is %q", got)
	}
}

func TestErrorsOfTheEngineAreReturned(t *testing.T) {
	e := &engineStub{err: errors.New("no CLB today")}
	lb := withEngine(t, e, false)
	svc := kubetest.Service("web")
	_, _, get := lb.GetLoadBalancer(t.Context(), "", svc)
	_, ensure := lb.EnsureLoadBalancer(t.Context(), "", svc, nil)
	for _, err := range []error{get, ensure, lb.EnsureLoadBalancerDeleted(t.Context(), "", svc)} {
		if !errors.Is(err, e.err) {
			t.Errorf("got %v", err)
		}
	}
}

// Services of others are left to others in the one way that the stock service controller understands; only
// deletion is ours whatever the Service says now, since what it said before may have left a CLB.
func TestServicesOfOthersAreLeftToOthers(t *testing.T) {
	e := &engineStub{}
	lb := withEngine(t, e, true)
	svc := kubetest.Service("web")
	if _, err := lb.EnsureLoadBalancer(t.Context(), "", svc, nil); err != cloudprovider.ImplementedElsewhere { //nolint:errorlint // as the stock controller compares it
		t.Errorf("ensure: %v", err)
	}
	if err := lb.UpdateLoadBalancer(t.Context(), "", svc, nil); err != cloudprovider.ImplementedElsewhere { //nolint:errorlint // as the stock controller compares it
		t.Errorf("update: %v", err)
	}
	if err := lb.EnsureLoadBalancerDeleted(t.Context(), "", svc); err != nil || len(e.asked) != 1 {
		t.Errorf("delete: %v, %v", err, e.asked)
	}
}

func TestAServiceWithoutIdentityIsRefused(t *testing.T) {
	lb := withEngine(t, &engineStub{}, false)
	for want, svc := range map[string]*corev1.Service{
		"no Service is given":            nil,
		"Service default/web has no UID": kubetest.Service("web", func(s *corev1.Service) { s.UID = "" }),
	} {
		_, _, get := lb.GetLoadBalancer(t.Context(), "", svc)
		_, ensure := lb.EnsureLoadBalancer(t.Context(), "", svc, nil)
		for _, err := range []error{get, ensure, lb.UpdateLoadBalancer(t.Context(), "", svc, nil), lb.EnsureLoadBalancerDeleted(t.Context(), "", svc)} {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("got %v, want %q", err, want)
			}
		}
	}
}

// The stock service controller passes a context without end, and may have a single worker.
func TestWaitsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lb := withEngine(t, &engineStub{hang: true}, false)
		svc := kubetest.Service("web")
		begun := time.Now()
		if _, err := lb.EnsureLoadBalancer(context.Background(), "", svc, nil); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("ensure: %v", err)
		}
		if err := lb.EnsureLoadBalancerDeleted(context.Background(), "", svc); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("delete: %v", err)
		}
		if took := time.Since(begun); took != 2*engineWait {
			t.Errorf("two calls took %s, want %s", took, 2*engineWait)
		}
	})
}

// Where the interface leaves no way to fail, the answers say what went wrong.
func TestAnEngineThatDoesNotStartSaysWhy(t *testing.T) {
	broken := errors.New("it is broken")
	ok := func(kubernetes.Interface, informers.SharedInformerFactory) (Engine, error) { return &engineStub{}, nil }
	for want, start := range map[string]func(t *testing.T) *Cloud{
		"not initialized yet": func(*testing.T) *Cloud { return New(CloudConfig{}, Backend{Engine: ok}) },
		"engine of the load balancers: it is broken": func(t *testing.T) *Cloud {
			c := New(CloudConfig{}, Backend{Engine: func(kubernetes.Interface, informers.SharedInformerFactory) (Engine, error) { return nil, broken }})
			client := fake.NewClientset()
			c.Initialize(builder{client: client}, t.Context().Done())
			c.SetInformers(informers.NewSharedInformerFactory(client, 0))
			return c
		},
		"client of the API server: it is broken": func(t *testing.T) *Cloud {
			c := New(CloudConfig{}, Backend{Engine: ok})
			c.Initialize(builder{err: broken}, t.Context().Done())
			c.SetInformers(informers.NewSharedInformerFactory(fake.NewClientset(), 0))
			return c
		},
	} {
		lb, _ := start(t).LoadBalancer()
		if _, _, err := lb.GetLoadBalancer(t.Context(), "", kubetest.Service("web")); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

func TestWhatThePluginSupports(t *testing.T) {
	c := New(CloudConfig{}, Backend{})
	_, lb := c.LoadBalancer()
	_, v2 := c.InstancesV2()
	_, v1 := c.Instances()
	_, zones := c.Zones()
	_, clusters := c.Clusters()
	_, routes := c.Routes()
	if lb || v2 || v1 || zones || clusters || routes {
		t.Errorf("without a backend something is supported: %v %v %v %v %v %v", lb, v2, v1, zones, clusters, routes)
	}
	c.Initialize(builder{}, nil) // nothing to start
	c.SetInformers(nil)
	if c.ProviderName() != "tencentcloud" || !c.HasClusterID() {
		t.Errorf("got %q, %v", c.ProviderName(), c.HasClusterID())
	}
}
