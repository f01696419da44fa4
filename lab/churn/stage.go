// SPDX-License-Identifier: Apache-2.0

package churn

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/clbsync/clbsync/clbsim/admin"
	"github.com/clbsync/clbsync/lab/e2e"
	"github.com/clbsync/clbsync/lab/probe"
	"github.com/clbsync/clbsync/lbsync"
)

const (
	app        = "web" // of the pods, and the Service's name
	generation = "churn.clbsync.io/generation"
	poll       = 100 * time.Millisecond
	clearing   = 90 * time.Second
)

// watched is the listener whose targets are looked at; the others are like it.
var watched = e2e.Listener{Protocol: "TCP", Port: 80}

// stage is one side of a situation while it lasts.
type stage struct {
	*e2e.Lab
	situation
	side    side
	run     int // number of the run that it belongs to
	share   int // see stockShare
	enough  int
	svc     *corev1.Service
	address string
	made    int      // generations of pods so far
	weights []string // see row
	began   time.Time
	passed  int // rounds so far
	tcp     *probe.Prober
	udp     *probe.Prober
}

func (s *stage) namespace() string { return namespace(s.situation.name, s.side, s.run) }

// workload is the stage's Deployment of so many pods. shape may say more than the situation does.
func (s *stage) workload(pods int32, shape func(*appsv1.Deployment)) e2e.Workload {
	return e2e.Workload{
		Namespace: s.namespace(), App: app, Replicas: pods, Args: []string{"--linger=" + s.grace.String()},
		Mods: []func(*appsv1.Deployment){func(d *appsv1.Deployment) {
			template := &d.Spec.Template
			template.Annotations = map[string]string{generation: strconv.Itoa(s.made)}
			// Programs that ask for nothing get the hundredth part of what others get of a busy node.
			template.Spec.Containers[0].Resources.Requests = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("60m")}
			// A program that is slow to answer the kubelet on a busy machine still serves.
			template.Spec.Containers[0].ReadinessProbe.FailureThreshold = 10
			template.Spec.TerminationGracePeriodSeconds = new(int64(s.grace/time.Second) + 30)
			s.situation.shape(d)
			if shape != nil {
				shape(d)
			}
		}},
	}
}

// set makes namespace, pods and Service, and returns when the load balancer sends to the right nodes.
func (s *stage) set(ctx context.Context) error {
	if err := s.Namespace(ctx, s.namespace()); err != nil {
		return err
	}
	if err := s.Deploy(ctx, s.workload(s.pods, nil)); err != nil {
		return err
	}
	svc := e2e.Service(s.namespace(), app, s.mods...)
	if s.side == ours {
		svc.Spec.LoadBalancerClass = new(lbsync.LoadBalancerClass)
	}
	var err error
	if s.svc, err = s.Client.CoreV1().Services(s.namespace()).Create(ctx, svc, metav1.CreateOptions{}); err != nil {
		return err
	}
	if s.address, err = s.AwaitAddress(ctx, s.namespace(), app); err != nil {
		return err
	}
	return s.settled(ctx)
}

// settled waits until new connections go to exactly the nodes that should have them: under Local those with ready pods,
// under Cluster all. Of our side, each of them is healthy and nothing else is bound, unless the Service says so.
func (s *stage) settled(ctx context.Context) error {
	want, err := s.nodes(ctx)
	if err != nil {
		return err
	}
	return s.targets(ctx, fmt.Sprintf("connections to %v only", want), func(targets []e2e.Target) bool {
		for _, t := range targets {
			// Receiving alone is not enough: while no target is healthy, all receive.
			if t.Receives && t.Status != "Alive" {
				return false
			}
		}
		return slices.Equal(e2e.Receivers(targets), want)
	})
}

// nodes names those to which connections should go now, sorted.
func (s *stage) nodes(ctx context.Context) ([]string, error) {
	svc, err := s.Client.CoreV1().Services(s.namespace()).Get(ctx, app, metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	nodes := map[string]bool{}
	if svc.Spec.ExternalTrafficPolicy != corev1.ServiceExternalTrafficPolicyLocal {
		for _, n := range s.Nodes() {
			nodes[n.Name] = true
		}
		return slices.Sorted(maps.Keys(nodes)), nil
	}
	pods, err := s.podsNow(ctx)
	for _, p := range pods {
		for _, c := range p.Status.Conditions {
			if c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue && p.DeletionTimestamp == nil {
				nodes[p.Spec.NodeName] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(nodes)), err
}

func (s *stage) podsNow(ctx context.Context) ([]corev1.Pod, error) {
	list, err := s.Client.CoreV1().Pods(s.namespace()).List(ctx, metav1.ListOptions{LabelSelector: "app=" + app})
	if err != nil {
		return nil, err
	}
	return list.Items, nil
}

// targets waits until ok holds for the watched listener's targets.
func (s *stage) targets(ctx context.Context, what string, ok func([]e2e.Target) bool) error {
	_, err := s.AwaitTable(ctx, s.svc.UID, what, func(table map[e2e.Listener][]e2e.Target) bool {
		targets, there := table[watched]
		return there && ok(targets)
	})
	return err
}

// load begins to ask.
func (s *stage) load(ctx context.Context, d *dialer, p pace) error {
	const never = 1 << 30
	p.rate, p.datagram = p.rate/s.share, p.datagram/s.share
	var err error
	s.began = time.Now()
	s.tcp, err = probe.Client{Timeout: patience, Dial: d.dial}.Start(ctx, probe.Target{Protocol: probe.TCP, Addr: s.address + ":80"},
		probe.Load{Every: time.Second / time.Duration(p.rate), Count: never, For: p.limit})
	if err != nil {
		return err
	}
	s.udp, err = probe.Client{Timeout: patience / 2, Dial: d.dial}.Start(ctx, probe.Target{Protocol: probe.UDP, Addr: s.address + ":80"},
		probe.Load{Every: time.Second / time.Duration(p.datagram), Count: never, For: p.limit})
	return err
}

// asked waits until so many TCP requests were started in all.
func (s *stage) asked(ctx context.Context, n int) error {
	err := wait.PollUntilContextCancel(ctx, poll, true, func(context.Context) (bool, error) { return s.tcp.Asked() >= n, nil })
	if err != nil {
		return fmt.Errorf("%d requests asked, want %d: %w", s.tcp.Asked(), n, context.Cause(ctx))
	}
	return nil
}

// more waits until so many TCP requests more were started: a while, in requests.
func (s *stage) more(ctx context.Context, n int) error { return s.asked(ctx, s.tcp.Asked()+n) }

// rounds lets the situation's change happen again and again until enough was asked; twice at least, or once.
func (s *stage) rounds(ctx context.Context, once bool) error {
	if s.round == nil {
		return nil
	}
	least := 2
	if once {
		least = 1
	}
	for s.passed < least || !once && s.tcp.Asked() < s.enough {
		if err := s.departed(ctx); err != nil {
			return err
		}
		if err := s.round(ctx, s); err != nil {
			return fmt.Errorf("round %d: %w", s.passed+1, err)
		}
		s.passed++
	}
	// So that those who came last answer too.
	return s.more(ctx, 100)
}

// departed waits until no pod is left that is to end. A pod that moves back to a node where its predecessor still ends, and
// leaves again, leaves two behind that end. kube-proxy sends to both while no other is there, and for up to a second after the first has gone:
// a second that no load balancer knows of.
func (s *stage) departed(ctx context.Context) error {
	err := wait.PollUntilContextCancel(ctx, poll, true, func(ctx context.Context) (bool, error) {
		pods, err := s.Client.CoreV1().Pods(s.namespace()).List(ctx, metav1.ListOptions{})
		if err != nil {
			return false, err
		}
		return !slices.ContainsFunc(pods.Items, func(p corev1.Pod) bool { return p.DeletionTimestamp != nil }), nil
	})
	if err != nil {
		return fmt.Errorf("waiting for pods to end: %w", err)
	}
	return nil
}

// end stops the load, and returns what came of it.
func (s *stage) end() row {
	took := time.Since(s.began)
	return row{situation: s.situation, side: s.side, rounds: s.passed, took: took, tcp: s.tcp.Stop(), udp: s.udp.Stop()}
}

// silence stops what asks.
func (s *stage) silence() {
	for _, p := range []*probe.Prober{s.tcp, s.udp} {
		if p != nil {
			p.Stop()
		}
	}
}

// clear removes the Service and the pods.
func (s *stage) clear() error {
	ctx, cancel := context.WithTimeout(context.Background(), clearing)
	defer cancel()
	if s.svc != nil {
		if err := s.Client.CoreV1().Services(s.namespace()).Delete(ctx, app, metav1.DeleteOptions{}); err != nil {
			return err
		}
		if err := s.AwaitGone(ctx, s.svc.UID); err != nil {
			return err
		}
	}
	// Nobody uses the pods any more: the next phase needs the room now.
	now := metav1.DeleteOptions{GracePeriodSeconds: new(int64(0))}
	if err := s.Client.AppsV1().Deployments(s.namespace()).Delete(ctx, app, metav1.DeleteOptions{}); err != nil {
		return err
	}
	if err := s.Client.CoreV1().Pods(s.namespace()).DeleteCollection(ctx, now, metav1.ListOptions{}); err != nil {
		return err
	}
	return s.Client.CoreV1().Namespaces().Delete(ctx, s.namespace(), metav1.DeleteOptions{})
}

// record notes the weights that the simulated CLB has for each stage, whenever they change, until ctx ends.
func record(ctx context.Context, lab *e2e.Lab, stages []*stage) {
	_, _ = lab.CLB.WaitState(ctx, func(state admin.State) bool {
		for _, s := range stages {
			now := weights(lab.Table(state, s.svc.UID)[watched])
			if len(s.weights) == 0 || s.weights[len(s.weights)-1] != now {
				s.weights = append(s.weights, now)
			}
		}
		return false
	})
}

// weights prints the targets with their weights: "n1:10 n2:0".
func weights(targets []e2e.Target) string {
	var parts []string
	for _, t := range targets {
		parts = append(parts, fmt.Sprintf("%s:%d", t.Node, t.Weight))
	}
	return strings.Join(parts, " ")
}
