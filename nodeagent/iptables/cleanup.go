// SPDX-License-Identifier: Apache-2.0

package iptables

import (
	"context"
	"errors"
	"os/exec"
	"time"

	"github.com/clbsync/clbsync/nodeagent/iptables/chains"
)

// RemoveChains removes the chains and jumps that are ours in this family and variant, and returns how many that were. Where
// the variant has no tables, or no programs, there are none, and it makes none. Address sets stay: the rules of either
// variant may refer to them.
func (r Runner) RemoveChains(ctx context.Context) (removed int, err error) {
	if r.Variant == Legacy && legacyTables(r.Family) == "" {
		return 0, nil
	}
	saved, err := r.Save(ctx, false)
	if errors.Is(err, exec.ErrNotFound) {
		return 0, nil // what cannot be run cannot have made rules
	}
	if err != nil {
		return 0, err
	}
	change := chains.Diff(saved, chains.Text{})
	if change.Empty() {
		return 0, nil
	}
	if _, _, err := r.Apply(ctx, change); err != nil {
		return 0, err
	}
	inChains, jumps := change.Size()
	return inChains + jumps, nil
}

// RemoveSets removes the address sets that are ours in this family, and returns how many. The chains that refer to them
// must have been removed, in both variants. Where there are any, it takes SetRest.
func (r Runner) RemoveSets(ctx context.Context) (removed int, err error) {
	sets, err := r.Sets(ctx)
	if err != nil || len(sets) == 0 {
		return 0, nil // a kernel without address sets has none of ours
	}
	select {
	case <-ctx.Done():
		return 0, ctx.Err()
	case <-time.After(SetRest):
	}
	var errs []error
	for _, set := range sets {
		if err := r.destroySoon(ctx, set); err != nil {
			errs = append(errs, err)
			continue
		}
		removed++
	}
	return removed, errors.Join(errs...)
}

// Serves tells whether the variant's rules lead packets for NodePorts to ours.
func (r Runner) Serves(ctx context.Context) bool {
	if r.Variant == Legacy && legacyTables(r.Family) == "" {
		return false
	}
	rules, err := r.Chain(ctx, chains.NAT)
	return err == nil && len(rules) > 0
}

// Other is the other variant of the same family.
func (r Runner) Other() Runner {
	if r.Variant == Legacy {
		return Runner{r.Family, NFT}
	}
	return Runner{r.Family, Legacy}
}
