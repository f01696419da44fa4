// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/klog/v2"

	"github.com/clbsync/clbsync/nodeagent"
	"github.com/clbsync/clbsync/nodeagent/conntrack"
	"github.com/clbsync/clbsync/nodeagent/healthcheck"
	"github.com/clbsync/clbsync/nodeagent/iptables"
	"github.com/clbsync/clbsync/nodeagent/iptables/chains"
)

// family keeps one address family's rules in the kernel. Its loop is the only one that writes them; the other family
// has a loop of its own, and trouble with one does not touch the other.
type family struct {
	runner   iptables.Runner
	options  chains.Options
	health   *healthcheck.Server
	metrics  *metrics
	snapshot func() (nodeagent.Snapshot, nodeagent.Settings)
	wake     chan struct{} // holds at most one token: many events, one sync

	// What follows belongs to the loop.
	kernel  map[chains.Chain][]string // our chains as they are; nil when unknown
	builtIn map[chains.Chain][]string
	text    chains.Text
	sets    []string // that exist
	udp     conntrack.Ports
	// flowsDue: the last clean-up of UDP flows saw only part of them.
	flowsDue bool
	skips    []nodeagent.Skip

	mu      sync.Mutex
	pending time.Time // since when a sync has been due and not done; zero if none is
	synced  bool      // at least once
}

func (f *family) label() string { return strings.ToLower(string(f.runner.Family)) }

// trigger asks for a sync. It never blocks.
func (f *family) trigger() {
	f.mu.Lock()
	if f.pending.IsZero() {
		f.pending = time.Now()
	}
	f.mu.Unlock()
	f.nudge()
}

// nudge runs the loop once more without anything being due.
func (f *family) nudge() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// overdue returns for how long a sync has been due.
func (f *family) overdue(now time.Time) time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.pending.IsZero() {
		return 0
	}
	return now.Sub(f.pending)
}

func (f *family) ready() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.synced
}

// intervals are the loop's times.
type intervals struct {
	gather time.Duration // at least between two syncs
	check  time.Duration // between two looks at whether our jumps are still in place
	verify time.Duration // between two comparisons of all our chains with the kernel
}

// A failed sync is tried again after retryMin, and ever later up to retryMax.
const retryMin, retryMax = 250 * time.Millisecond, 30 * time.Second

// run syncs on every event, checks what others do to our rules, and tries again after a failure, until ctx ends.
func (f *family) run(ctx context.Context, every intervals) {
	logger := klog.FromContext(ctx).WithValues("family", f.label())
	ctx = klog.NewContext(ctx, logger)
	check, verify := time.NewTicker(every.check), time.NewTicker(every.verify)
	defer check.Stop()
	defer verify.Stop()
	retry, wait := time.NewTimer(0), retryMin
	<-retry.C
	defer retry.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-check.C:
			disturbed, took := f.disturbed(ctx)
			check.Reset(min(max(every.check, checkShare*took), checkMax))
			if !disturbed {
				continue
			}
		case <-verify.C:
			f.kernel = nil
		case <-f.wake:
		case <-retry.C:
		}
		if err := f.sync(ctx); err != nil && ctx.Err() == nil {
			f.metrics.failures.WithLabelValues(f.label()).Inc()
			logger.Error(err, "Sync failed", "retryIn", wait)
			retry.Reset(wait)
			wait = min(wait*2, retryMax)
		} else {
			wait = retryMin
		}
		select { // a burst of events becomes one sync
		case <-ctx.Done():
			return
		case <-time.After(every.gather):
		}
	}
}

// Checks cost next to nothing on small nodes. With iptables-legacy each one copies the whole table out of the kernel: on
// a node with ten thousand NodePorts they are made less often, so that they take no more than one part in checkShare.
const checkShare, checkMax = 20, 30 * time.Second

// disturbed tells whether somebody has removed or overtaken our jumps, or emptied our chains, and how long it took to see.
func (f *family) disturbed(ctx context.Context) (disturbed bool, took time.Duration) {
	start := time.Now()
	if f.kernel != nil && f.changedByOthers(ctx) { // nil: a retry is under way
		f.kernel = nil
		return true, time.Since(start)
	}
	return false, time.Since(start)
}

func (f *family) changedByOthers(ctx context.Context) bool {
	builtIn, err := f.runner.Jumps(ctx, f.text.Jumps)
	if err != nil {
		klog.FromContext(ctx).Error(err, "Check of the jumps failed")
		return false
	}
	rules, err := f.runner.Chain(ctx, chains.NodePorts)
	return err != nil || !slices.Equal(rules, f.kernel[chains.NodePorts]) ||
		!chains.Diff(chains.Saved{Chains: f.kernel, BuiltIn: builtIn}, f.text).Empty()
}

// sync makes the kernel follow the API server once. Losses are told to the health ports before, gains after
// the rules are in the kernel.
func (f *family) sync(ctx context.Context) error {
	f.mu.Lock()
	due := f.pending
	f.pending = time.Time{}
	f.mu.Unlock()
	err := f.program(ctx)
	f.mu.Lock()
	defer f.mu.Unlock()
	if err == nil {
		f.synced = true
	} else if !due.IsZero() {
		f.pending = due // it has been due since then, and still is
	}
	return err
}

func (f *family) program(ctx context.Context) error {
	start := time.Now()
	snapshot, settings := f.snapshot()
	services := nodeagent.Desired(snapshot, f.runner.Family)
	text := chains.Render(nodeagent.NewRules(f.runner.Family, services, settings), f.options)
	kind, repairing := "delta", false
	if f.kernel == nil {
		kind, repairing = "full", f.ready()
		if err := f.readBack(ctx); err != nil {
			return err
		}
	}
	change := chains.Diff(chains.Saved{Chains: f.kernel, BuiltIn: f.builtIn}, text)
	if repairing && !chains.Diff(chains.Saved{Chains: f.kernel, BuiltIn: f.builtIn}, f.text).Empty() {
		f.metrics.repairs.WithLabelValues(f.label()).Inc()
		klog.FromContext(ctx).Info("Repairing rules that another program changed", "jumpsOnly", change.JumpsOnly())
	}
	if err := f.apply(ctx, change, text); err != nil {
		return err
	}
	f.health.Programmed(services.Health) //nolint:contextcheck // its listeners outlive the sync
	f.metrics.sync.WithLabelValues(f.label(), kind).Observe(time.Since(start).Seconds())
	f.report(ctx, services, change, kind, time.Since(start))
	f.forgetFlows(ctx, conntrack.Of(services))
	return nil
}

// readBack learns what is in the kernel: from a former agent, or left by whoever disturbed us.
func (f *family) readBack(ctx context.Context) error {
	saved, err := f.runner.Save(ctx, false)
	if err != nil {
		return fmt.Errorf("read back: %w", err)
	}
	if f.udp == nil {
		// Ports that a former agent served and that are gone by now still have flows.
		f.udp = conntrack.Ports{}
		for _, port := range saved.NodePorts(corev1.ProtocolUDP) {
			f.udp[port] = nil
		}
	}
	if !f.options.Recent {
		if f.sets, err = f.runner.Sets(ctx); err != nil {
			return fmt.Errorf("read back: %w", err)
		}
	}
	f.kernel, f.builtIn = saved.Chains, saved.BuiltIn
	return nil
}

// apply makes the change. After an error the kernel's state is unknown and will be read.
func (f *family) apply(ctx context.Context, change chains.Change, text chains.Text) error {
	for _, set := range text.Sets {
		if !slices.Contains(f.sets, set) {
			if err := f.runner.CreateSet(set); err != nil {
				return err
			}
			f.sets = append(f.sets, set)
		}
	}
	if !change.Empty() {
		if err := f.runner.Restore(ctx, change.String()); err != nil {
			f.kernel = nil
			return err
		}
		f.kernel = change.After(f.kernel)
		f.builtIn = map[chains.Chain][]string{}
		for _, j := range text.Jumps {
			f.builtIn[j.From] = []string{j.Rule()}
		}
	}
	f.text = text
	f.sets = slices.DeleteFunc(f.sets, func(set string) bool {
		// The kernel may hold a set a moment longer than the rules that named it; the next sync tries again.
		return !slices.Contains(text.Sets, set) && f.runner.DestroySet(set) == nil
	})
	return nil
}

// forgetFlows removes stale UDP flows if the endpoints of UDP ports have changed. That it did not get through is no
// failure of the sync: on a busy node the kernel interrupts the listing again and again, and health answers of 503 on
// all ports would be the worse harm. It is tried again.
func (f *family) forgetFlows(ctx context.Context, now conntrack.Ports) {
	if !f.flowsDue && reflect.DeepEqual(now, f.udp) {
		return
	}
	wanted := maps.Clone(now)
	for port := range f.udp {
		if _, still := wanted[port]; !still {
			wanted[port] = nil
		}
	}
	deleted, err := conntrack.CleanUp(f.runner.Family, wanted)
	f.metrics.flows.WithLabelValues(f.label()).Add(float64(deleted))
	f.flowsDue = err != nil
	if err != nil {
		klog.FromContext(ctx).Error(err, "Not all stale UDP flows could be found", "retryIn", flowsRetry)
		f.udp = wanted // with the ports that are gone
		time.AfterFunc(flowsRetry, f.nudge)
		return
	}
	if deleted > 0 {
		klog.FromContext(ctx).V(2).Info("Forgot UDP flows", "flows", deleted)
	}
	f.udp = now
}

const flowsRetry = time.Second

func (f *family) report(ctx context.Context, services nodeagent.Services, change chains.Change, kind string, took time.Duration) {
	logger := klog.FromContext(ctx)
	counts := map[string]int{}
	for c, rules := range f.kernel {
		counts[c.Table] += len(rules)
	}
	for _, table := range []string{"filter", "nat"} {
		f.metrics.rules.WithLabelValues(f.label(), table).Set(float64(counts[table]))
	}
	changed, jumps := change.Size()
	f.metrics.written.WithLabelValues(f.label()).Add(float64(changed))
	f.metrics.skips.WithLabelValues(f.label()).Set(float64(len(services.Skips)))
	for _, s := range services.Skips {
		if !slices.Contains(f.skips, s) {
			logger.Info("Skipped", "object", s.Object, "reason", s.Reason)
		}
	}
	f.skips = services.Skips
	if !change.Empty() {
		logger.V(2).Info("Synced", "kind", kind, "chains", changed, "jumps", jumps, "ports", len(services.Ports), "took", took)
	}
}
