// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/util/retry"

	"github.com/clbsync/clbsync/lab/build"
)

// Annotations and finalizer of a Service, as users see them.
const (
	OnlyBind       = "service.kubernetes.io/local-svc-only-bind-node-with-pod"
	Weighted       = "service.cloud.tencent.com/local-svc-weighted-balance"
	InternalSubnet = "service.kubernetes.io/qcloud-loadbalancer-internal-subnetid"
	LoadBalancerID = "service.kubernetes.io/loadbalance-id"
	Finalizer      = "service.kubernetes.io/load-balancer-cleanup"
)

// Ports of the echo program in a pod.
const (
	echoStream   = 9000 // TCP and UDP
	echoHTTP     = 8080
	echoAdmin    = 8081
	hostnameNode = "kubernetes.io/hostname"
)

// Service returns a Service of type LoadBalancer over the pods labelled app=<name>: TCP and UDP on port 80, HTTP on
// port 8080. Mods change it before it is created.
func Service(namespace, name string, mods ...func(*corev1.Service)) *corev1.Service {
	port := func(name string, protocol corev1.Protocol, port, target int32) corev1.ServicePort {
		return corev1.ServicePort{Name: name, Protocol: protocol, Port: port, TargetPort: intstr.FromInt32(target)}
	}
	svc := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Annotations: map[string]string{}},
		Spec: corev1.ServiceSpec{
			Type:     corev1.ServiceTypeLoadBalancer,
			Selector: map[string]string{"app": name},
			Ports: []corev1.ServicePort{
				port("tcp", corev1.ProtocolTCP, 80, echoStream),
				port("udp", corev1.ProtocolUDP, 80, echoStream),
				port("http", corev1.ProtocolTCP, 8080, echoHTTP),
			},
		},
	}
	for _, mod := range mods {
		mod(svc)
	}
	return svc
}

// Local sets externalTrafficPolicy Local.
func Local(svc *corev1.Service) {
	svc.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal
}

// Annotate returns a mod that sets an annotation.
func Annotate(key, value string) func(*corev1.Service) {
	return func(svc *corev1.Service) { metav1.SetMetaDataAnnotation(&svc.ObjectMeta, key, value) }
}

// Workload is a Deployment of echo programs, on one node or wherever they go.
type Workload struct {
	Namespace string
	App       string // the label app, by which a Service selects the pods
	Node      string // every pod runs here; "": the scheduler decides, and the Deployment has the app's name
	Replicas  int32
	Args      []string                   // of the echo program
	Mods      []func(*appsv1.Deployment) // change it before it is written
}

// name tells the Deployments of one app apart: there is one per node.
func (w Workload) name() string {
	if w.Node == "" {
		return w.App
	}
	return w.App + "-" + w.Node
}

func (w Workload) deployment() *appsv1.Deployment {
	labels := map[string]string{"app": w.App, "workload": w.name()}
	fromField := func(name, path string) corev1.EnvVar {
		return corev1.EnvVar{Name: name, ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: path}}}
	}
	probe := corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/readyz", Port: intstr.FromInt32(echoAdmin)}}
	d := &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.Namespace, Name: w.name()},
		Spec: appsv1.DeploymentSpec{
			Replicas: &w.Replicas,
			Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"workload": w.name()}},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec: corev1.PodSpec{
					Containers: []corev1.Container{{
						Name:            "echo",
						Image:           build.EchoRef,
						ImagePullPolicy: corev1.PullNever, // there is no registry to pull from
						Args:            w.Args,
						Env:             []corev1.EnvVar{fromField("POD_NAME", "metadata.name"), fromField("NODE_NAME", "spec.nodeName")},
						ReadinessProbe:  &corev1.Probe{ProbeHandler: probe, PeriodSeconds: 1, FailureThreshold: 1},
					}},
				},
			},
		},
	}
	if w.Node != "" {
		d.Spec.Template.Spec.NodeSelector = map[string]string{hostnameNode: w.Node}
	}
	for _, mod := range w.Mods {
		mod(d)
	}
	return d
}

// Deploy creates or changes the workload and returns when exactly its replicas run and are ready.
func (l *Lab) Deploy(ctx context.Context, w Workload) error {
	generation, err := l.Apply(ctx, w)
	if err != nil {
		return err
	}
	return l.awaitReplicas(ctx, w, generation)
}

// Apply creates or changes the workload and does not wait for its pods. It returns the generation of the Deployment that
// it wrote.
func (l *Lab) Apply(ctx context.Context, w Workload) (generation int64, err error) {
	api := l.Client.AppsV1().Deployments(w.Namespace)
	want := w.deployment()
	written, err := api.Create(ctx, want, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		err = retry.RetryOnConflict(retry.DefaultRetry, func() error {
			have, err := api.Get(ctx, want.Name, metav1.GetOptions{})
			if err != nil {
				return err
			}
			have.Spec = want.Spec
			written, err = api.Update(ctx, have, metav1.UpdateOptions{})
			return err
		})
	}
	if err != nil {
		return 0, fmt.Errorf("deploy %s/%s: %w", w.Namespace, want.Name, err)
	}
	return written.Generation, nil
}

// ChangeService applies a change to a Service, again if somebody else wrote it meanwhile.
func (l *Lab) ChangeService(ctx context.Context, namespace, name string, change func(*corev1.Service)) (*corev1.Service, error) {
	var changed *corev1.Service
	err := retry.RetryOnConflict(retry.DefaultRetry, func() error {
		svc, err := l.Client.CoreV1().Services(namespace).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		change(svc)
		changed, err = l.Client.CoreV1().Services(namespace).Update(ctx, svc, metav1.UpdateOptions{})
		return err
	})
	return changed, err
}

// Namespace creates a namespace. It goes with the lab.
func (l *Lab) Namespace(ctx context.Context, name string) error {
	_, err := l.Client.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
	return err
}
