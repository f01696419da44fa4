// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"maps"
	"slices"
	"time"

	"golang.org/x/sys/unix"
	"k8s.io/klog/v2"

	"github.com/clbsync/clbsync/nodeagent/iptables"
	"github.com/clbsync/clbsync/nodeagent/iptables/chains"
)

// Checks cost next to nothing while nobody writes rules. Where others do, and the tables are large, each one takes long,
// and so they are made less often: they take no more than one part in checkShare of a processor, if that is enough for one in
// checkMax.
const checkShare, checkMax = 20, 15 * time.Second

// slowRead: where reading all rules takes longer (iptables-nft-save needs half a minute for those of a large kube-proxy), no
// update is to wait for that, and digests tell as much.
const slowRead = time.Second

// disturbed tells whether somebody has removed or overtaken our jumps, or changed our chains, and what it took to see, in
// processor time: on a busy node all takes long, and that is no reason to look away.
func (f *family) disturbed(ctx context.Context) (disturbed bool, took time.Duration) {
	before := programsTook()
	if !f.inStep { // a retry is under way
		return false, 0
	}
	if now, err := f.runner.Generation(); err == nil && now == f.seen {
		f.saw(nil)
		return false, 0
	}
	disturbed = f.changedByOthers(ctx)
	return disturbed, programsTook() - before
}

// programsTook is the processor time of all programs that the agent has run so far.
func programsTook() time.Duration {
	var usage unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_CHILDREN, &usage); err != nil {
		return 0
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// changedByOthers looks at our chains and jumps in the kernel. If they are not as they should be, f is not in step any more.
func (f *family) changedByOthers(ctx context.Context) bool {
	now, errNow := f.runner.Generation()
	actual, err := f.look(ctx)
	f.saw(err)
	if err != nil {
		if ctx.Err() == nil {
			f.metrics.failures.WithLabelValues(f.label()).Inc()
			klog.FromContext(ctx).Error(err, "Check of the rules failed")
		}
		return false
	}
	if f.seen = now; errNow != nil {
		f.seen = iptables.Generation{}
	}
	if !chains.Diff(actual, f.renderer.Text()).Empty() {
		f.inStep, f.looked = false, &actual
		return true
	}
	return false
}

// lookMost bounds the chains that look reads one by one, each with a program; for more it is quicker to read all.
const lookMost = 32

// look returns what the kernel has of our chains and jumps. Where it can it does not read them, but asks for digests;
// chains whose digest is another than it was are left out, as if they did not exist.
func (f *family) look(ctx context.Context) (chains.Saved, error) {
	text := f.renderer.Text()
	if f.digests == nil {
		return f.runner.Save(ctx, false)
	}
	builtIn, err := f.runner.Jumps(ctx, text.Jumps)
	if err != nil {
		return chains.Saved{}, err
	}
	now, err := f.runner.Digests()
	if err != nil {
		return chains.Saved{}, err
	}
	saved := chains.Saved{Chains: maps.Clone(text.Chains), BuiltIn: builtIn}
	var unsure []chains.Chain
	for c := range text.Chains {
		known, ok := f.digests[c]
		if !ok && len(text.Chains[c]) > 0 {
			unsure = append(unsure, c)
		} else if now[c] != known {
			delete(saved.Chains, c)
		}
	}
	if len(unsure) > lookMost || len(text.Chains)-len(saved.Chains) > lookMost {
		if saved, err = f.runner.Save(ctx, false); err == nil {
			f.digests = now
		}
		return saved, err
	}
	for _, c := range unsure {
		rules, err := f.runner.Chain(ctx, c)
		if err != nil || !slices.Equal(rules, text.Chains[c]) {
			delete(saved.Chains, c)
		} else {
			f.digests[c] = now[c]
		}
	}
	return saved, nil
}

// note remembers the digests of the chains that were just written. If others have written at the same time they are not
// known, and look will read those chains.
func (f *family) note(written []chains.Chain, alone bool) {
	if f.digests == nil {
		return
	}
	if !alone {
		for _, c := range written {
			delete(f.digests, c)
		}
		return
	}
	var now iptables.Digests
	var err error
	if len(written) > lookMost {
		now, err = f.runner.Digests()
	} else if len(written) > 0 {
		now, err = f.runner.Digests(written...)
	}
	if err != nil {
		f.digests = nil
		return
	}
	for _, c := range written {
		f.digests[c] = now[c]
	}
}
