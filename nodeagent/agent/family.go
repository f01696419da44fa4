// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"fmt"
	"maps"
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
	model    *nodeagent.Model
	renderer *chains.Renderer
	// inStep: the kernel has what the renderer last rendered. If not, the kernel is read before it is written.
	inStep bool
	// anew: all rules are other than before because of the node's settings or the number of NodePorts, and the kernel has not taken
	// them yet: that it has others is no trace of another program.
	anew bool
	seen iptables.Generation // of the tables, when our rules were last known to be as they should be; zero if not known
	// digests are those of our chains when they were last as they should be, as far as they are known. nil: not known at all,
	// and with iptables-legacy.
	digests iptables.Digests
	// looked is what the kernel has, if disturbed has just found out.
	looked   *chains.Saved
	readTook time.Duration        // the last time that all rules were read
	sets     map[string]time.Time // address sets that exist, and since when no rule has named each; zero while one does
	setsDue  time.Time            // when the loop looks at those again that no rule names
	udp      conntrack.Ports
	// flowsDue: the last clean-up of UDP flows saw only part of them.
	flowsDue bool
	skips    []nodeagent.Skip
	alone    bool // the other variant of iptables has no rules of ours

	mu      sync.Mutex
	pending time.Time // since when a sync has been due and not begun; zero if none is
	begun   time.Time // since when the sync that runs was due; zero if none runs
	blind   time.Time // since when nobody has been able to see what is in the kernel; zero if somebody is
	synced  bool      // at least once
}

func newFamily(runner iptables.Runner, options chains.Options, m *metrics, snapshot func() (nodeagent.Snapshot, nodeagent.Settings)) *family {
	return &family{
		runner: runner, options: options, metrics: m, snapshot: snapshot, wake: make(chan struct{}, 1),
		model: nodeagent.NewModel(runner.Family), renderer: chains.NewRenderer(options), sets: map[string]time.Time{},
	}
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

// overdue returns for how long it has not been known that the rules are as they should be: a sync is due, or looks fail.
func (f *family) overdue(now time.Time) time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	var longest time.Duration
	for _, since := range []time.Time{f.pending, f.begun, f.blind} {
		if !since.IsZero() {
			longest = max(longest, now.Sub(since))
		}
	}
	return longest
}

// saw notes whether a look at the kernel succeeded. A repair that is never begun must not leave the health ports at 200.
func (f *family) saw(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err == nil {
		f.blind = time.Time{}
	} else if f.blind.IsZero() {
		f.blind = time.Now()
	}
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
			if f.digests == nil || f.readTook < slowRead || !f.inStep {
				f.inStep = false
			} else if !f.changedByOthers(ctx) {
				verify.Reset(every.verify)
				continue
			}
		case <-f.wake:
		case <-retry.C:
		}
		start, full := time.Now(), !f.inStep
		err := f.sync(ctx)
		if full {
			verify.Reset(max(every.verify, checkShare*time.Since(start)))
		}
		if err != nil && ctx.Err() == nil {
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

// sync makes the kernel follow the API server once. Losses are told to the health ports before, gains after
// the rules are in the kernel.
func (f *family) sync(ctx context.Context) error {
	f.mu.Lock()
	if f.begun = f.pending; f.begun.IsZero() {
		f.begun = time.Now() // a repair
	}
	f.pending = time.Time{}
	f.mu.Unlock()
	err := f.program(ctx)
	f.mu.Lock()
	defer f.mu.Unlock()
	if err == nil {
		f.synced = true
	} else {
		f.pending = f.begun // it has been due since then, and still is
	}
	f.begun = time.Time{}
	return err
}

func (f *family) program(ctx context.Context) error {
	start := time.Now()
	snapshot, settings := f.snapshot()
	kind, repairing := "delta", false
	var saved chains.Saved
	if !f.inStep {
		kind = "full"
		if f.looked != nil {
			saved, f.looked = *f.looked, nil
		} else if err := f.readBack(ctx, &saved); err != nil {
			return err
		}
		repairing = !f.anew && f.ready() && !chains.Diff(saved, f.renderer.Text()).Empty()
	}
	services := f.model.Desired(snapshot)
	change, known := f.renderer.Update(nodeagent.NewRules(f.runner.Family, services, settings))
	if kind == "delta" && !known {
		f.inStep, f.anew = false, true
		return f.program(ctx)
	}
	if kind == "full" {
		change = chains.Diff(saved, f.renderer.Text())
	}
	if repairing {
		f.metrics.repairs.WithLabelValues(f.label()).Inc()
		klog.FromContext(ctx).Info("Repairing rules that another program changed", "jumpsOnly", change.JumpsOnly())
	}
	f.inStep = false // until the kernel has taken all
	if err := f.apply(ctx, change); err != nil {
		return err
	}
	f.inStep, f.anew = true, false
	f.removeLeftovers(ctx)
	f.health.Programmed(services.Health) //nolint:contextcheck // its listeners outlive the sync
	f.metrics.sync.WithLabelValues(f.label(), kind).Observe(time.Since(start).Seconds())
	f.report(ctx, services, change, kind, time.Since(start))
	f.forgetFlows(ctx, conntrack.Of(services))
	return nil
}

// removeLeftovers removes, once, what a former agent has left in the other variant: its rules would meet the same packets, and
// lead some of them to endpoints that are long gone.
func (f *family) removeLeftovers(ctx context.Context) {
	other := f.runner.Other()
	if f.alone || !other.Serves(ctx) {
		f.alone = true
		return
	}
	removed, err := other.RemoveChains(ctx)
	f.alone = err == nil
	if err != nil {
		klog.FromContext(ctx).Error(err, "Rules of a former agent in the other variant of iptables could not be removed", "iptables", other.Variant)
		return
	}
	klog.FromContext(ctx).Info("Removed rules of a former agent in the other variant of iptables", "iptables", other.Variant, "chainsAndJumps", removed)
}

// readBack learns what is in the kernel: from a former agent, or left by whoever disturbed us.
func (f *family) readBack(ctx context.Context, saved *chains.Saved) (err error) {
	start := time.Now()
	// First the generation and the digests: who changes a rule after that is found out by them.
	if f.seen, err = f.runner.Generation(); err != nil {
		klog.FromContext(ctx).Error(err, "The rules will be looked at again and again")
	}
	if f.digests, err = f.runner.Digests(); err != nil && f.runner.Variant == iptables.NFT {
		klog.FromContext(ctx).Error(err, "All rules will be read to see whether others changed some")
	}
	*saved, err = f.runner.Save(ctx, false)
	f.saw(err)
	if err != nil {
		return fmt.Errorf("read back: %w", err)
	}
	f.readTook = time.Since(start)
	if f.udp == nil {
		// Ports that a former agent served and that are gone by now still have flows.
		f.udp = conntrack.Ports{}
		for _, port := range saved.NodePorts(corev1.ProtocolUDP) {
			f.udp[port] = nil
		}
	}
	if !f.options.Recent {
		sets, err := f.runner.Sets(ctx)
		if err != nil {
			return fmt.Errorf("read back: %w", err)
		}
		found := map[string]time.Time{}
		for _, set := range sets {
			found[set] = f.sets[set]
		}
		f.sets = found
	}
	return nil
}

// apply makes the change. After an error the kernel's state is unknown and will be read.
func (f *family) apply(ctx context.Context, change chains.Change) error {
	wanted := f.renderer.Text().Sets
	for set := range wanted {
		if _, exists := f.sets[set]; !exists {
			if err := f.runner.CreateSet(set); err != nil {
				return err
			}
			f.sets[set] = time.Time{}
		}
	}
	if !change.Empty() {
		before, after, err := f.runner.Apply(ctx, change)
		if err != nil {
			return err
		}
		f.note(change.Written(), after != iptables.Generation{})
		if before != f.seen {
			after = iptables.Generation{} // others have written since, and nobody has looked what
		}
		f.seen = after
	}
	f.destroySets(wanted, time.Now())
	return nil
}

// destroySets destroys the sets that no rule has named for long enough. The kernel may hold one a while longer still.
func (f *family) destroySets(wanted map[string]bool, now time.Time) {
	resting := false
	for set, since := range f.sets {
		switch {
		case wanted[set]:
			f.sets[set] = time.Time{}
		case since.IsZero():
			f.sets[set], resting = now, true
		case now.Sub(since) >= iptables.SetRest && f.runner.DestroySet(set) == nil:
			delete(f.sets, set)
		default:
			resting = true
		}
	}
	if resting && !now.Before(f.setsDue) { // one timer at a time, also where a rule of somebody else holds a set for ever
		f.setsDue = now.Add(iptables.SetRest)
		time.AfterFunc(iptables.SetRest, f.nudge)
	}
}

// forgetFlows removes stale UDP flows if the endpoints of UDP ports have changed. That it did not get through is no
// failure of the sync: on a busy node the kernel interrupts the listing again and again, and health answers of 503 on
// all ports would be the worse harm. It is tried again.
func (f *family) forgetFlows(ctx context.Context, now conntrack.Ports) {
	if !f.flowsDue && now.Equal(f.udp) {
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
	changed, jumps := change.Size()
	if !change.Empty() {
		counts := map[string]int{}
		for c, rules := range f.renderer.Text().Chains {
			counts[c.Table] += len(rules)
		}
		for _, table := range []string{"filter", "nat"} {
			f.metrics.rules.WithLabelValues(f.label(), table).Set(float64(counts[table]))
		}
	}
	f.metrics.written.WithLabelValues(f.label()).Add(float64(changed))
	f.metrics.skips.WithLabelValues(f.label()).Set(float64(len(services.Skips)))
	for _, s := range services.Skips { // both lists are sorted
		if _, known := slices.BinarySearchFunc(f.skips, s, nodeagent.Skip.Compare); !known {
			logger.Info("Skipped", "object", s.Object, "reason", s.Reason)
		}
	}
	f.skips = services.Skips
	if !change.Empty() {
		logger.V(2).Info("Synced", "kind", kind, "chains", changed, "jumps", jumps, "ports", len(services.Ports), "took", took)
	}
}
