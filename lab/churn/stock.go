// SPDX-License-Identifier: Apache-2.0

package churn

import (
	"context"
	"fmt"
	"io"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	"k8s.io/client-go/informers"
	cloudprovider "k8s.io/cloud-provider"
	"k8s.io/cloud-provider/controllers/service"
	controllersmetrics "k8s.io/component-base/metrics/prometheus/controllers"
	"k8s.io/klog/v2"

	"github.com/clbsync/clbsync/lab/e2e"
	"github.com/clbsync/clbsync/lbsync"
	"github.com/clbsync/clbsync/lbsync/clb"
)

// stockCluster keeps the CLBs of the stock controller apart from those of ours.
const stockCluster = "cls-stock001"

// startStock runs Kubernetes' own service controller, unchanged, in this process, over a provider that does what the
// usual ones do: every node that the controller names is a target, with CLB's own health check on the node port, and what
// differs is changed at once. It serves Services without a class. stop waits for its end.
func startStock(ctx context.Context, lab *e2e.Lab) (stop func(), err error) {
	client, err := lab.APIClient(ctx)
	if err != nil {
		return nil, err
	}
	klog.LogToStderr(false) // it logs each sync as if somebody watched
	klog.SetOutput(io.Discard)
	factory := informers.NewSharedInformerFactory(lab.Client, 0)
	core := factory.Core().V1()
	c, err := service.New(provider{balancer: balancer{client}}, lab.Client, core.Services(), core.Nodes(), stockCluster, utilfeature.DefaultFeatureGate)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx)) // ctx bounds the start
	factory.Start(ctx.Done())
	var running sync.WaitGroup
	running.Go(func() { c.Run(ctx, 8, controllersmetrics.NewControllerManagerMetrics("stock")) })
	return func() { cancel(); running.Wait() }, nil
}

// provider is a cloud provider as the stock controller needs it.
type provider struct {
	cloudprovider.Interface
	balancer balancer
}

func (p provider) LoadBalancer() (cloudprovider.LoadBalancer, bool) { return p.balancer, true }
func (p provider) HasClusterID() bool                               { return true }

// balancer implements cloudprovider.LoadBalancer without any of lbsync.Next's care.
type balancer struct{ client *clb.Client }

func (b balancer) owner(svc *corev1.Service) lbsync.Owner {
	return lbsync.Owner{ClusterID: stockCluster, ServiceUID: string(svc.UID)}
}

func (b balancer) GetLoadBalancerName(_ context.Context, _ string, svc *corev1.Service) string {
	return cloudprovider.DefaultLoadBalancerName(svc)
}

func (b balancer) GetLoadBalancer(ctx context.Context, _ string, svc *corev1.Service) (*corev1.LoadBalancerStatus, bool, error) {
	found, err := b.client.Find(ctx, b.owner(svc))
	if err != nil || len(found) == 0 {
		return nil, false, err
	}
	return &corev1.LoadBalancerStatus{Ingress: lbsync.Ingress(found[0], "")}, true, nil
}

func (b balancer) EnsureLoadBalancer(ctx context.Context, _ string, svc *corev1.Service, nodes []*corev1.Node) (*corev1.LoadBalancerStatus, error) {
	now, err := b.apply(ctx, svc, b.desired(svc, nodes))
	if err != nil {
		return nil, err
	}
	return &corev1.LoadBalancerStatus{Ingress: lbsync.Ingress(now.Instance, "")}, nil
}

func (b balancer) UpdateLoadBalancer(ctx context.Context, _ string, svc *corev1.Service, nodes []*corev1.Node) error {
	_, err := b.apply(ctx, svc, b.desired(svc, nodes))
	return err
}

func (b balancer) EnsureLoadBalancerDeleted(ctx context.Context, _ string, svc *corev1.Service) error {
	_, err := b.apply(ctx, svc, lbsync.LoadBalancer{Instance: lbsync.Instance{Owner: b.owner(svc)}})
	return err
}

// apply carries out the whole difference at once.
func (b balancer) apply(ctx context.Context, svc *corev1.Service, desired lbsync.LoadBalancer) (lbsync.LoadBalancer, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	found, err := b.client.Find(ctx, b.owner(svc))
	if err != nil {
		return lbsync.LoadBalancer{}, err
	}
	var actual lbsync.LoadBalancer
	if len(found) > 0 {
		if actual, err = b.client.Observe(ctx, found[0].ID); err != nil {
			return actual, err
		}
	}
	return lbsync.Diff(actual, desired).Apply(ctx, b.client, actual)
}

// desired binds every node that it is given to each port, equally.
func (b balancer) desired(svc *corev1.Service, nodes []*corev1.Node) lbsync.LoadBalancer {
	defaults := lbsync.DefaultSettings()
	lb := lbsync.LoadBalancer{
		Present:   true,
		Instance:  lbsync.Instance{Name: fmt.Sprintf("stock_%s_%s", svc.Namespace, svc.Name), Owner: b.owner(svc)},
		Listeners: map[lbsync.ListenerKey]lbsync.Listener{},
		Targets:   map[lbsync.Binding]int{},
	}
	for _, port := range svc.Spec.Ports {
		key := lbsync.ListenerKey{Protocol: lbsync.Protocol(port.Protocol), Port: uint16(port.Port)}
		check := defaults.Check
		check.Type = lbsync.CheckTCP
		if key.Protocol == lbsync.UDP {
			check.Type = lbsync.CheckPing
		}
		lb.Listeners[key] = lbsync.Listener{ListenerKey: key, Name: lbsync.ListenerName(string(svc.UID)), Check: check}
		for _, node := range nodes {
			if id, _ := lbsync.InstanceID(node); id != "" {
				lb.Targets[lbsync.Binding{Listener: key, Target: lbsync.Target{Instance: id, Port: uint16(port.NodePort)}}] = lbsync.WeightDefault
			}
		}
	}
	return lb
}
