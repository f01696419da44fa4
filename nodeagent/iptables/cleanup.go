// SPDX-License-Identifier: Apache-2.0

package iptables

import (
	"context"
	"errors"

	"github.com/clbsync/clbsync/nodeagent/iptables/chains"
)

// CleanUp removes all that is ours in this family and variant: chains, jumps, and address sets unless the other variant
// still refers to them. It returns how much that was. Where the variant has no tables it makes none.
func (r Runner) CleanUp(ctx context.Context) (removed int, err error) {
	if r.Variant == NFT || legacyTables(r.Family) != "" {
		saved, err := r.Save(ctx, false)
		if err != nil {
			return 0, err
		}
		change := chains.Diff(saved, chains.Text{})
		if !change.Empty() {
			if err := r.Apply(ctx, change); err != nil {
				return 0, err
			}
			inChains, jumps := change.Size()
			removed += inChains + jumps
		}
	}
	sets, err := r.Sets(ctx)
	if err != nil {
		return removed, nil // a kernel without address sets has none of ours
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
