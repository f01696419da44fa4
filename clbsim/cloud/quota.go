// SPDX-License-Identifier: Apache-2.0

package cloud

import (
	"maps"
	"slices"

	clb "github.com/tencentcloud/tencentcloud-sdk-go/tencentcloud/clb/v20180317"
)

// describeQuota reports what is used where a region has one number for it;
// quotas per CLB or per listener have none, and say null.
func describeQuota(k *call, _ *clb.DescribeQuotaRequest) (*clb.DescribeQuotaResponseParams, *Error) {
	used := map[string]int64{QuotaPublic: 0, QuotaInternal: 0}
	for _, lb := range k.byAge {
		if lb.kind == TypePublic {
			used[QuotaPublic]++
		} else {
			used[QuotaInternal]++
		}
	}
	out := &clb.DescribeQuotaResponseParams{QuotaSet: []*clb.Quota{}}
	for _, id := range slices.Sorted(maps.Keys(k.cloud.cfg.Quotas)) {
		q := &clb.Quota{QuotaId: &id, QuotaLimit: new(k.quota(id))}
		if n, ok := used[id]; ok {
			q.QuotaCurrent = &n
		}
		out.QuotaSet = append(out.QuotaSet, q)
	}
	return out, nil
}
