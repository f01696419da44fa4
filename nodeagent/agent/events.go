// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/scheme"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/tools/record"
	"k8s.io/klog/v2"

	"github.com/clbsync/clbsync/nodeagent/healthcheck"
	"github.com/clbsync/clbsync/nodeagent/sockets"
)

func startEvents(ctx context.Context, config Config) (recorder record.EventRecorder, stop func()) {
	broadcaster := record.NewBroadcaster(record.WithContext(ctx))
	broadcaster.StartRecordingToSink(&typedcorev1.EventSinkImpl{Interface: config.Client.CoreV1().Events("")})
	recorder = broadcaster.NewRecorder(scheme.Scheme, corev1.EventSource{Component: "clb-node-agent", Host: config.NodeName})
	return recorder, broadcaster.Shutdown
}

func (a *Agent) nodeEvent(kind, reason, message string) {
	a.recorder.Event(&corev1.ObjectReference{Kind: "Node", Name: a.config.NodeName, UID: types.UID(a.config.NodeName)}, kind, reason, message)
}

// serviceEvent names the Service by its UID too: kubectl describe shows no Event without it.
func (a *Agent) serviceEvent(service types.NamespacedName, kind, reason, message string) {
	about := &corev1.ObjectReference{APIVersion: "v1", Kind: "Service", Namespace: service.Namespace, Name: service.Name}
	if object, exists, err := a.caches.service.GetStore().GetByKey(service.String()); err == nil && exists {
		about.UID = object.(*corev1.Service).UID
	}
	a.recorder.Event(about, kind, reason, message)
}

// bindChanged tells the owner of a Service that its health port is taken, by whom, and when it no longer is.
func (a *Agent) bindChanged(f *family, c healthcheck.BindChange) {
	logger := klog.Background().WithValues("service", c.Service.String(), "port", c.Port, "family", f.label())
	if c.Err == nil {
		a.metrics.unbound.WithLabelValues(f.label()).Dec()
		logger.Info("Health check port is open after all")
		a.serviceEvent(c.Service, corev1.EventTypeNormal, "StartedServiceHealthcheck",
			fmt.Sprintf("node %s answers on healthCheckNodePort %d (%s) again", a.config.NodeName, c.Port, f.runner.Family))
		return
	}
	a.metrics.unbound.WithLabelValues(f.label()).Inc()
	loopback := "127.0.0.1"
	if f.runner.Family == corev1.IPv6Protocol {
		loopback = "::1"
	}
	who := holder(context.Background(), loopback, c.Port, sockets.Holder(c.Port))
	isProxy := strings.HasPrefix(who, "kube-proxy ")
	if a.mode == Override && isProxy {
		return // it is to hold the port, and does after all
	}
	if who == "" {
		who = "nobody that listens on TCP"
	}
	hint := ""
	if isProxy {
		hint = "; run kube-proxy with " + RestrictFlag + ", or this agent with --mode=override"
	}
	logger.Error(c.Err, "Health check port cannot be opened and is tried again", "heldBy", who)
	a.serviceEvent(c.Service, corev1.EventTypeWarning, "FailedToStartServiceHealthcheck",
		fmt.Sprintf("node %s cannot answer on healthCheckNodePort %d (%s): held by %s%s: %v", a.config.NodeName, c.Port, f.runner.Family, who, hint, c.Err))
}
