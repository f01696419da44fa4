// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"encoding/json"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"

	"github.com/clbsync/clbsync/internal/readinessgate"
	"github.com/clbsync/clbsync/lbsync"
)

const (
	gateWriters = 8                // patches of pods at once; the client's own limit paces them
	gateRewrite = 30 * time.Second // until what was written is written again, if the pod still lacks it
)

// gates opens the readiness gates of pods. While pods wait it looks at them, and reads the health of their CLBs,
// each Timing.Poll; else it does nothing. A gate that was opened is never closed: the pod serves, and closing
// would take it out of every other path to it, too.
type gates struct {
	c    *Controller
	pods *pods
	wake chan struct{} // a pod has begun to wait

	// What follows belongs to run.
	written map[types.UID]gateNote // of pods that wait, as far as the cache knows
}

// gateNote is what was last decided about a pod that waits.
type gateNote struct {
	reason lbsync.Reason // of the condition, if it was written
	at     time.Time     // of the writing; zero: it was not
}

func newGates(c *Controller) *gates {
	return &gates{c: c, pods: c.pods, wake: make(chan struct{}, 1), written: map[types.UID]gateNote{}}
}

// changed wakes run for a pod that waits. g may be nil.
func (g *gates) changed(before, after *keptPod) {
	if g == nil || !after.waits() || before.waits() && before.uid == after.uid {
		return
	}
	select {
	case g.wake <- struct{}{}:
	default:
	}
}

// run works until no further step is to be begun; ctx is that of its calls.
func (g *gates) run(ctx context.Context) {
	if !g.waitForPods(ctx) {
		return
	}
	poll := time.NewTimer(0)
	<-poll.C
	polling := false
	for {
		select {
		case <-g.c.stopping:
			return
		case <-g.wake:
			select { // pods come in crowds
			case <-g.c.stopping:
				return
			case <-time.After(g.c.gathering):
			}
			if polling {
				g.round(ctx, false)
				continue
			}
		case <-poll.C:
		}
		again := g.round(ctx, true)
		if polling = again > 0; polling {
			poll.Reset(again)
		}
	}
}

func (g *gates) waitForPods(ctx context.Context) bool {
	report := time.NewTicker(syncReport)
	defer report.Stop()
	for {
		select {
		case <-g.pods.synced:
			return true
		case <-g.c.stopping:
			return false
		case <-report.C:
			klog.FromContext(ctx).Error(nil, "Still waiting for the pods, all readiness gates stay as they are: may this controller list and watch pods?")
		}
	}
}

// round decides about the pods that wait: with read about all of them, else about those that no round has seen,
// and as far as no health is needed, so that health is read at the pace of the poll alone. It returns when to look
// again; 0: nobody waits.
func (g *gates) round(ctx context.Context, read bool) time.Duration {
	begun := time.Now()
	found, err := g.pods.informer.GetIndexer().ByIndex(byWaiting, waiting)
	if err != nil {
		return 0 // the index exists
	}
	gatesWaiting.Set(float64(len(found)))
	notes := map[types.UID]gateNote{}
	r := gateRound{gates: g, views: map[key]*lbsync.GateService{}}
	for _, obj := range found {
		p := obj.(*keptPod)
		note, seen := g.written[p.uid]
		notes[p.uid] = note
		if !read && seen {
			continue
		}
		services, err := r.servicesOf(p)
		if err != nil {
			klog.FromContext(ctx).Error(err, "Gathering what a readiness gate waits for", "pod", p.namespace+"/"+p.name)
			continue
		}
		r.pods = append(r.pods, gateWork{pod: p, services: services})
	}
	g.written = notes
	if read {
		r.readHealth(ctx)
	}
	again := r.decide(time.Now(), read)
	r.write(ctx)
	switch {
	case len(found) == 0:
		return 0
	case again > 0 && again < g.c.settings.Timing.Poll:
		return again
	}
	return max(untilPoll(begun, g.c.settings.Timing.Poll)-time.Since(begun), atOnce)
}

// gateRound is one look at pods that wait, with what they share.
type gateRound struct {
	*gates
	pods  []gateWork
	views map[key]*lbsync.GateService
}

type gateWork struct {
	pod      *keptPod
	services []*lbsync.GateService
	gate     lbsync.Gate
	write    bool
}

// servicesOf returns the Services that select the pod, with their CLBs as they are known.
func (r *gateRound) servicesOf(p *keptPod) ([]*lbsync.GateService, error) {
	var out []*lbsync.GateService
	for _, svc := range r.c.selecting(p) {
		view := r.views[ownKey(svc)]
		if view == nil {
			actual := r.c.memory.lastActual(keyOf(svc))
			snap, own, unsure, err := r.c.snapshotOf(svc, actual)
			if err != nil {
				return nil, err
			}
			v := snap.GateService(own, actual, unsure)
			view = &v
			r.views[ownKey(svc)] = view
		}
		out = append(out, view)
	}
	return out, nil
}

// readHealth reads the health of the CLBs that some pod has to wait for. Without it a pod goes on waiting, until
// its deadline.
func (r *gateRound) readHealth(ctx context.Context) {
	needed := map[*lbsync.GateService]bool{}
	for i := range r.pods {
		if r.decideOne(i, time.Now()); r.pods[i].gate.Open && r.pods[i].gate.Reason != lbsync.GateDeadline {
			continue
		}
		for _, v := range r.pods[i].services {
			needed[v] = v.Actual.Instance.ID != ""
		}
	}
	var ids []string
	for v, is := range needed {
		if is {
			ids = append(ids, v.Actual.Instance.ID)
		}
	}
	found, err := r.c.healths.ofAll(ctx, ids)
	if err != nil {
		klog.FromContext(ctx).Error(err, "Reading health for readiness gates", "clbs", len(ids))
	}
	for v := range needed {
		v.Health = found[v.Actual.Instance.ID]
	}
}

func (r *gateRound) decideOne(i int, now time.Time) {
	services := make([]lbsync.GateService, len(r.pods[i].services))
	for n, v := range r.pods[i].services {
		services[n] = *v
	}
	p := r.pods[i].pod
	r.pods[i].gate = lbsync.DecideGate(lbsync.GatedPod{Node: p.node, Addresses: p.addresses, Since: p.since}, services, now, r.c.settings)
}

// decide says what is to be written, and when a gate has to be looked at again; 0: at no moment of its own.
func (r *gateRound) decide(now time.Time, read bool) (again time.Duration) {
	for i := range r.pods {
		r.decideOne(i, now)
		w := &r.pods[i]
		again = soonest(again, w.gate.Again)
		if needsHealth := !w.gate.Open || w.gate.Reason == lbsync.GateDeadline; needsHealth && !read {
			continue
		}
		note := r.written[w.pod.uid]
		told := w.gate.Reason == note.reason && now.Sub(note.at) < gateRewrite
		w.write = w.gate.Open && !told || !w.gate.Open && w.gate.Reason != w.pod.reason && !told
	}
	return again
}

// write writes what was decided.
func (r *gateRound) write(ctx context.Context) {
	work := slices.DeleteFunc(slices.Clone(r.pods), func(w gateWork) bool { return !w.write })
	var writers sync.WaitGroup
	var mu sync.Mutex
	next := make(chan gateWork)
	for range min(gateWriters, len(work)) {
		writers.Go(func() {
			for w := range next {
				if r.patch(ctx, w.pod, w.gate) {
					mu.Lock()
					r.written[w.pod.uid] = gateNote{w.gate.Reason, time.Now()}
					mu.Unlock()
				}
			}
		})
	}
	for _, w := range work {
		if r.c.stopped() {
			break
		}
		next <- w
	}
	close(next)
	writers.Wait()
}

// patch writes one condition of one pod, and nothing to another one that has taken its name. It reports whether
// that is done; if not, the next round tries again.
func (r *gateRound) patch(ctx context.Context, p *keptPod, gate lbsync.Gate) bool {
	status := corev1.ConditionFalse
	if gate.Open {
		status = corev1.ConditionTrue
	}
	body, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"uid": p.uid},
		"status": map[string]any{"conditions": []map[string]any{{
			"type": readinessgate.Condition, "status": status, "reason": gate.Reason, "message": gate.Message, "lastTransitionTime": metav1.Now(),
		}}},
	})
	if err != nil {
		return false // texts marshal
	}
	logger := klog.FromContext(ctx).WithValues("pod", p.namespace+"/"+p.name, "reason", gate.Reason)
	_, err = r.c.client.CoreV1().Pods(p.namespace).Patch(ctx, p.name, types.StrategicMergePatchType, body, metav1.PatchOptions{}, "status")
	switch {
	case apierrors.IsNotFound(err), apierrors.IsConflict(err):
		logger.V(2).Info("Pod is gone before its readiness gate opened")
		return true
	case err != nil:
		logger.Error(err, "Writing a readiness gate")
		return false
	}
	logger.V(2).Info("Wrote a readiness gate", "open", gate.Open, "message", gate.Message)
	if gate.Open {
		gateSeconds.WithLabelValues(string(gate.Reason)).Observe(max(time.Since(p.since), 0).Seconds())
	}
	if gate.Reason == lbsync.GateDeadline {
		r.c.recorder.Event(p.reference(), corev1.EventTypeWarning, string(gate.Reason), gate.Message)
	}
	return true
}
