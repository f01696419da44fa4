// SPDX-License-Identifier: Apache-2.0

package clb

import (
	"context"
	"fmt"
	"slices"

	clbapi "github.com/tencentcloud/tencentcloud-sdk-go/tencentcloud/clb/v20180317"

	"github.com/clbsync/clbsync/lbsync"
)

// Owned lists the CLBs and security groups of this region whose tags prove that they were made for a Service of the
// cluster, whether or not there still is one. Of an account that may not read security groups it lists none.
func (c *Client) Owned(ctx context.Context, cluster string) ([]lbsync.Owned, error) {
	if cluster == "" {
		return nil, &lbsync.Error{Kind: lbsync.Invalid, Action: actionDescribe, Err: fmt.Errorf("the ID of the cluster is empty, which would list what is everybody's")}
	}
	var out []lbsync.Owned
	req := clbapi.NewDescribeLoadBalancersRequest()
	req.Filters = []*clbapi.Filter{{Name: new("tag:" + lbsync.TagCluster), Values: []*string{&cluster}}}
	req.Limit = new(int64(pageSize))
	for offset := int64(0); ; offset += pageSize {
		req.Offset = new(offset)
		resp, _, err := call(ctx, c, actionDescribe, c.clb.DescribeLoadBalancersWithContext, req)
		if err != nil {
			return nil, err
		}
		for _, lb := range resp.Response.LoadBalancerSet {
			of := lbsync.OwnerOf(tags(lb))
			if of.ClusterID != cluster || !of.Owns(tags(lb)) { // the filter matches parts of values
				continue
			}
			owned := lbsync.Owned{Kind: lbsync.OwnedCLB, ID: deref(lb.LoadBalancerId), Name: deref(lb.LoadBalancerName), Owner: of, Region: c.cfg.away, Created: deref(lb.CreateTime), Address: deref(lb.LoadBalancerDomain)}
			if vips := values(lb.LoadBalancerVips); len(vips) > 0 {
				owned.Address = vips[0]
			}
			out = append(out, owned)
		}
		if len(resp.Response.LoadBalancerSet) < pageSize {
			break
		}
	}
	groups, err := c.readableGroups(ctx, lbsync.Owner{ClusterID: cluster})
	if err != nil {
		return nil, err
	}
	for _, g := range groups {
		out = append(out, lbsync.Owned{Kind: lbsync.OwnedSecurityGroup, ID: deref(g.SecurityGroupId), Name: deref(g.SecurityGroupName), Owner: lbsync.OwnerOf(groupTags(g)), Region: c.cfg.away, Created: deref(g.CreatedTime)})
	}
	return slices.Clip(out), nil
}

const actionDescribe = "DescribeLoadBalancers"
