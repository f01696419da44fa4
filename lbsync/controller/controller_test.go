// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"fmt"
	"net/netip"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/clbsync/clbsync/internal/kubetest"
	"github.com/clbsync/clbsync/lbsync"
	"github.com/clbsync/clbsync/lbsync/annotation"
)

func TestAServiceGetsItsCLB(t *testing.T) {
	inWorld(t, func(w *world) {
		w.run()
		w.pass(soon)
		w.wantCalls("calls", "CreateLoadBalancer web", "CreateListeners lb-1 TCP:80",
			"Register lb-1 TCP:80/ins-00000001:30080=10 TCP:80/ins-00000002:30080=10 TCP:80/ins-00000003:30080=10")
		svc := w.service("web")
		mode := corev1.LoadBalancerIPModeVIP
		w.want("status", svc.Status.LoadBalancer.Ingress, []corev1.LoadBalancerIngress{{IP: "203.0.113.1", IPMode: &mode}})
		w.want("annotation", svc.Annotations[annotation.LoadBalancerID], "lb-1")
		w.want("finalizers", svc.Finalizers, []string{"service.kubernetes.io/load-balancer-cleanup"})
		w.want("events", w.events("web"), []string{"EnsuringLoadBalancer", "EnsuredLoadBalancer"})
		w.want("the end is told with what was done", w.message("web", "EnsuredLoadBalancer"), "Ensured load balancer lb-1, CLB created: 1, listeners created: 1, targets registered: 3")
		w.want("writes", w.writes(), []string{"patch services/status", "patch services/status"})
	}, kubetest.Service("web"), kubetest.Slice("web", at(1)...))
}

func TestTheFinalizerComesBeforeTheCLB(t *testing.T) {
	inWorld(t, func(w *world) {
		w.cloud.fail(func(_ context.Context, text string) error {
			if text == "CreateLoadBalancer web" && len(w.service("web").Finalizers) == 0 {
				w.Error("a CLB is created for a Service that could go without it")
			}
			return nil
		})
		w.run()
		w.pass(soon)
		w.want("CLBs", w.cloud.created, 1)
	}, kubetest.Service("web"))
}

func TestAPodThatMovesCostsItsHandoverAndNoMore(t *testing.T) {
	inWorld(t, func(w *world) {
		w.run()
		w.pass(soon)
		w.wantCalls("creation", "CreateLoadBalancer web", "CreateListeners lb-1 TCP:80", "Register lb-1 TCP:80/ins-00000001:30080=10")
		w.writes()

		w.put(kubetest.Slice("web", at(2)...))
		w.pass(40 * time.Millisecond)
		w.wantCalls("within the gathering window")
		w.pass(20 * time.Millisecond)
		w.wantCalls("make", "Register lb-1 TCP:80/ins-00000002:30080=10")
		w.pass(10 * time.Second)
		w.wantCalls("the new target is not healthy yet")
		w.pass(10 * time.Second)
		w.wantCalls("drain", "Reweight lb-1 TCP:80/ins-00000001:30080=0")
		w.pass(time.Minute)
		w.wantCalls("break", "Deregister lb-1 TCP:80/ins-00000001:30080=0")
		w.want("writes to Kubernetes: waiting, draining, done", w.writes(), []string{"patch services/status", "patch services/status", "patch services/status"})
		w.want("events", w.events("web"), []string{"EnsuringLoadBalancer", "EnsuredLoadBalancer", "UpdatedLoadBalancer"})
	}, onlyBind("web"), kubetest.Slice("web", at(1)...))
}

func TestHealthIsReadOnlyWhileAHandoverWaitsForIt(t *testing.T) {
	inWorld(t, func(w *world) {
		w.run()
		w.pass(soon)
		w.cloud.take()
		w.put(kubetest.Slice("web", at(2)...))
		w.pass(soon)
		w.want("after registering", texts(w.cloud.take()), []string{"Register lb-1 TCP:80/ins-00000002:30080=10"})
		w.pass(3 * time.Second)
		w.want("polls of 2 s", texts(w.cloud.take()), []string{"Health lb-1"})
		w.pass(time.Minute)
		w.cloud.take()
		w.pass(time.Minute)
		w.want("in step", texts(w.cloud.take()), []string(nil))
	}, onlyBind("web"), kubetest.Slice("web", at(1)...))
}

func TestEndpointsThatChangeTogetherMakeOneBatch(t *testing.T) {
	inWorld(t, func(w *world) {
		w.run()
		w.pass(soon)
		w.cloud.take()
		for _, nodes := range [][]int{{1}, {1, 2}, {1, 2, 3}, {2, 3}, {1, 2, 3}} {
			w.put(kubetest.Slice("web", at(nodes...)...))
			w.pass(5 * time.Millisecond)
		}
		w.pass(soon)
		w.wantCalls("calls", "Register lb-1 TCP:80/ins-00000002:30080=10 TCP:80/ins-00000003:30080=10")
	}, onlyBind("web"), kubetest.Slice("web", at(1)...))
}

func TestOnlyWhatMattersCausesASync(t *testing.T) {
	inWorld(t, func(w *world) {
		w.config.Verify = time.Hour * 1000
		w.run()
		w.pass(soon)
		w.cloud.take()
		syncs := func() int {
			w.now.queue.mu.Lock()
			defer w.now.queue.mu.Unlock()
			return len(w.now.queue.due)
		}
		node := kubetest.Node(1)
		node.Status.Conditions[0].LastHeartbeatTime = metav1.Now()
		node.Status.Conditions = append(node.Status.Conditions, corev1.NodeCondition{Type: corev1.NodeMemoryPressure, Status: corev1.ConditionTrue})
		slice := kubetest.Slice("web", at(1)...)
		zone := "other"
		slice.Endpoints[0].Zone = &zone
		slice.Annotations = map[string]string{corev1.EndpointsLastChangeTriggerTime: time.Now().Format(time.RFC3339Nano)}
		w.put(node)
		w.put(slice)
		w.edit("web", func(s *corev1.Service) {
			s.Labels = map[string]string{"a": "b"}
			s.Status.Conditions = []metav1.Condition{{Type: "Other"}}
		})
		other := kubetest.Slice("other", at(1)...)
		w.put(other)
		w.pass(10 * time.Millisecond)
		w.want("due after noise", syncs(), 0)
		node.Spec.Taints = []corev1.Taint{{Key: "a"}}
		node.Labels["a"] = "b"
		w.put(node)
		w.pass(10 * time.Millisecond)
		w.want("due after a taint and a label that nobody looks at", syncs(), 0)
		node.Spec.Taints = []corev1.Taint{{Key: "ToBeDeletedByClusterAutoscaler"}}
		w.put(node)
		w.pass(10 * time.Millisecond)
		w.want("due after a taint that drains", syncs(), 1)
	}, kubetest.Service("web"), kubetest.Slice("web", at(1)...))
}

func TestNodesComeAndGo(t *testing.T) {
	inWorld(t, func(w *world) {
		w.run()
		w.pass(soon)
		w.cloud.take()
		w.put(kubetest.Node(4))
		w.pass(soon)
		w.wantCalls("a node joins", "Register lb-1 TCP:80/ins-00000004:30080=10")
		w.put(kubetest.Node(3, func(n *corev1.Node) {
			n.Labels[corev1.LabelNodeExcludeBalancers] = ""
		}))
		w.pass(soon)
		w.wantCalls("a node is excluded, the newest is not healthy yet")
		w.pass(time.Minute)
		w.wantCalls("it drains and goes", "Reweight lb-1 TCP:80/ins-00000003:30080=0", "Deregister lb-1 TCP:80/ins-00000003:30080=0")
		w.remove(kubetest.Node(2))
		w.pass(time.Minute)
		w.wantCalls("a node is gone", "Reweight lb-1 TCP:80/ins-00000002:30080=0", "Deregister lb-1 TCP:80/ins-00000002:30080=0")
	}, kubetest.Service("web"), kubetest.Slice("web", at(1)...))
}

func TestPortsAndPolicyFollowTheManifest(t *testing.T) {
	inWorld(t, func(w *world) {
		w.run()
		w.pass(time.Minute)
		w.cloud.take()
		w.edit("web", kubetest.Local(31000))
		w.pass(soon)
		w.wantCalls("Local asks the node", "ModifyListener lb-1 TCP:80 check HTTP:31000/healthz")
		w.edit("web", func(s *corev1.Service) { s.Spec.ExternalTrafficPolicy, s.Spec.HealthCheckNodePort = "Cluster", 0 })
		w.pass(soon)
		w.wantCalls("Cluster connects", "ModifyListener lb-1 TCP:80 check TCP")
		w.edit("web", func(s *corev1.Service) { s.Spec.Ports[0].Port = 81 })
		w.pass(soon)
		w.wantCalls("another number for the port", "DeleteListeners lb-1 TCP:80", "CreateListeners lb-1 TCP:81",
			"Register lb-1 TCP:81/ins-00000001:30080=10 TCP:81/ins-00000002:30080=10 TCP:81/ins-00000003:30080=10")
		w.want("events", w.events("web"), []string{"EnsuringLoadBalancer x4", "EnsuredLoadBalancer", "EnsuredLoadBalancer x2", "EnsuredLoadBalancer"})
	}, kubetest.Service("web"), kubetest.Slice("web", at(1)...))
}

func TestARestartOfAnUnchangedClusterWritesNothing(t *testing.T) {
	inWorld(t, func(w *world) {
		w.run()
		w.pass(time.Minute)
		w.cloud.take()
		w.writes()
		before := w.events("web")
		w.run()
		w.pass(time.Minute)
		w.want("calls: one read for each CLB", texts(w.cloud.take()), []string{"Observe lb-1"})
		w.want("writes", w.writes(), []string(nil))
		w.want("events", w.events("web"), before)
	}, kubetest.Service("web"), kubetest.Slice("web", at(1)...))
}

func TestNothingIsComputedBeforeTheCachesHaveSynced(t *testing.T) {
	inWorld(t, func(w *world) {
		w.run()
		w.pass(time.Minute)
		w.stop()
		w.cloud.take()
		w.writes()
		w.start(false)
		w.pass(time.Hour)
		w.want("calls", texts(w.cloud.take()), []string(nil))
		w.want("writes", w.writes(), []string(nil))
		w.want("missing", w.now.missing(), []string{"endpointslices.discovery.k8s.io", "nodes", "services"})
	}, kubetest.Service("web"), kubetest.Slice("web", at(1)...))
}

func TestABadAnnotationStopsItsServiceOnly(t *testing.T) {
	bad := kubetest.Service("bad", kubetest.Annotation(annotation.InternalSubnet, "my subnet"))
	inWorld(t, func(w *world) {
		w.run()
		w.pass(time.Hour)
		w.wantCloud("the other Service has its CLB, this one has none", `
lb-1 of web
  TCP:80 check TCP
  TCP:80 ins-00000001:30080 weight 10
  TCP:80 ins-00000002:30080 weight 10
  TCP:80 ins-00000003:30080 weight 10
`)
		w.want("events, once", w.events("bad"), []string{"BadAnnotation"})
		w.want("nothing was put on it", w.service("bad").Finalizers, []string(nil))
		w.put(kubetest.Node(4))
		w.pass(soon)
		w.want("not again", w.events("bad"), []string{"BadAnnotation"})
		w.edit("bad", kubetest.Annotation(annotation.InternalSubnet, "subnet-2ab3c4d5"))
		w.pass(soon)
		w.want("mended", w.cloud.created, 2)
	}, bad, kubetest.Service("web"), kubetest.Slice("web", at(1)...))
}

func TestOneSlowCLBDelaysNoOther(t *testing.T) {
	inWorld(t, func(w *world) {
		w.cloud.fail(func(c context.Context, text string) error {
			if text == "CreateLoadBalancer slow" {
				<-c.Done()
				return c.Err()
			}
			return nil
		})
		w.config.Workers = 2
		w.config.Grace = time.Millisecond
		w.run()
		w.pass(soon)
		w.put(kubetest.Service("web"))
		w.pass(soon)
		w.want("status", len(w.service("web").Status.LoadBalancer.Ingress), 1)
	}, kubetest.Service("slow"))
}

func TestASkippedNodeIsToldOnceAndOnlyIfNothingIsLeft(t *testing.T) {
	exclude := func(n *corev1.Node) { n.Labels[corev1.LabelNodeExcludeBalancers] = "" }
	inWorld(t, func(w *world) {
		w.put(kubetest.Node(1, exclude))
		w.run()
		w.pass(soon)
		w.want("two nodes are left", w.events("web"), []string{"EnsuringLoadBalancer", "EnsuredLoadBalancer"})
		w.put(kubetest.Node(2, exclude))
		w.put(kubetest.Node(3, exclude))
		w.pass(time.Hour)
		w.want("none is left", w.events("web"), []string{"EnsuringLoadBalancer", "EnsuredLoadBalancer", "UnAvailableLoadBalancer"})
		w.want("message", w.message("web", "UnAvailableLoadBalancer"), "There are no available nodes for LoadBalancer, NodeExcluded: 3")
		w.wantCloud("the old targets stay", `
lb-1 of web
  TCP:80 check TCP
  TCP:80 ins-00000002:30080 weight 10
  TCP:80 ins-00000003:30080 weight 10
`)
	}, kubetest.Service("web"), kubetest.Slice("web", at(2)...))
}

func TestWhatCanOnlyBeSetAtCreationIsToldWhenItChanges(t *testing.T) {
	inWorld(t, func(w *world) {
		w.run()
		w.pass(time.Minute)
		w.cloud.take()
		w.edit("web", kubetest.Annotation(annotation.InternalSubnet, "subnet-2ab3c4d5"))
		w.pass(time.Minute)
		w.wantCalls("the CLB stays")
		w.want("events", w.events("web"), []string{"EnsuringLoadBalancer", "EnsuredLoadBalancer", "CreateTimeOnly"})
	}, kubetest.Service("web"), kubetest.Slice("web", at(1)...))
}

func TestWeightsOfARolloutAreDamped(t *testing.T) {
	pods := func(n int) *discoveryv1.EndpointSlice {
		all := at(1, 2)
		for i := range n {
			all = append(all, kubetest.Ready("n1", fmt.Sprintf("10.1.1.%d", 10+i)))
		}
		return kubetest.Slice("web", all...)
	}
	inWorld(t, func(w *world) {
		w.run()
		w.pass(time.Minute)
		w.cloud.take()
		for i := range 4 {
			w.put(pods(i + 1))
			w.pass(time.Second)
		}
		w.wantCalls("within the damping of 5 s", "Reweight lb-1 TCP:80/ins-00000001:30080=2")
		w.pass(5 * time.Second)
		w.wantCalls("the rest in one", "Reweight lb-1 TCP:80/ins-00000001:30080=5")
	}, kubetest.Service("web", kubetest.Local(31000), kubetest.Annotation(annotation.BindNodesOfPods, "true"), kubetest.Annotation(annotation.WeightByPods, "true")), pods(0))
}

func TestVerificationRepairsWhatSomebodyElseChanged(t *testing.T) {
	inWorld(t, func(w *world) {
		w.run()
		w.pass(time.Minute)
		w.cloud.take()
		gone := lbsync.Binding{Listener: lbsync.ListenerKey{Protocol: lbsync.TCP, Port: 80}, Target: lbsync.Target{Instance: "ins-00000002", Port: 30080}}
		w.cloud.edit("lb-1", func(lb *lbsync.LoadBalancer) { delete(lb.Targets, gone) })
		w.edit("web", func(s *corev1.Service) { s.Status, s.Annotations = corev1.ServiceStatus{}, nil })
		w.pass(3 * time.Minute)
		w.want("not yet", texts(w.cloud.take()), []string(nil))
		w.pass(15 * time.Minute)
		w.wantCalls("repaired", "Register lb-1 TCP:80/ins-00000002:30080=10")
		w.want("status", len(w.service("web").Status.LoadBalancer.Ingress), 1)
	}, kubetest.Service("web"), kubetest.Slice("web", at(1)...))
}

func TestACLBThatIsGoneIsMadeAnew(t *testing.T) {
	inWorld(t, func(w *world) {
		w.run()
		w.pass(time.Minute)
		w.cloud.mu.Lock()
		delete(w.cloud.clbs, "lb-1")
		w.cloud.mu.Unlock()
		w.put(kubetest.Node(4))
		w.pass(soon)
		w.want("CLBs", w.cloud.created, 2)
		w.want("annotation", w.service("web").Annotations[annotation.LoadBalancerID], "lb-2")
		w.want("address", w.service("web").Status.LoadBalancer.Ingress[0].IP, "203.0.113.2")
	}, kubetest.Service("web"), kubetest.Slice("web", at(1)...))
}

func TestACopiedAnnotationLeadsToNobodyElsesCLB(t *testing.T) {
	inWorld(t, func(w *world) {
		w.run()
		w.pass(soon)
		w.put(kubetest.Service("copy", kubetest.Annotation(annotation.LoadBalancerID, "lb-1")))
		w.put(kubetest.Service("garbage", kubetest.Annotation(annotation.LoadBalancerID, "what?")))
		w.pass(soon)
		w.want("annotation", w.service("copy").Annotations[annotation.LoadBalancerID] != "lb-1", true)
		w.want("CLBs", w.cloud.created, 3)
	}, kubetest.Service("web"))
}

func TestASecondCLBOfTheSameOwnerIsToldAndGoesWithTheService(t *testing.T) {
	inWorld(t, func(w *world) {
		for range 2 {
			w.cloud.created++
			id := []string{"", "lb-1", "lb-2"}[w.cloud.created]
			w.cloud.clbs[id] = &lbsync.LoadBalancer{Present: true, Targets: map[lbsync.Binding]int{}, Listeners: map[lbsync.ListenerKey]lbsync.Listener{},
				Instance: lbsync.Instance{ID: id, Tags: lbsync.Owner{ClusterID: "cls-demo", ServiceUID: "web"}.Tags(), VIPs: []netip.Addr{netip.MustParseAddr("203.0.113.9")}}}
			w.cloud.since[id] = map[lbsync.Binding]time.Time{}
		}
		w.run()
		w.pass(soon)
		w.want("events", w.events("web"), []string{"DuplicateLoadBalancer", "EnsuringLoadBalancer", "EnsuredLoadBalancer"})
		w.want("the older is used", w.service("web").Annotations[annotation.LoadBalancerID], "lb-1")
		w.edit("web", func(s *corev1.Service) { s.Spec.Type = corev1.ServiceTypeClusterIP })
		w.pass(soon)
		w.wantCloud("both are gone", "")
	}, kubetest.Service("web"))
}
