// SPDX-License-Identifier: Apache-2.0

package clb

import (
	"context"
	"maps"
	"net/netip"
	"slices"

	cvmapi "github.com/tencentcloud/tencentcloud-sdk-go/tencentcloud/cvm/v20170312"

	"github.com/clbsync/clbsync/lbsync"
)

// What one request of DescribeInstances takes.
const (
	idsPerRead       = 100
	addressesPerRead = 5
	instancesPage    = 100
)

const actionInstances = "DescribeInstances"

// Instance is a CVM instance.
type Instance struct {
	ID              string // "ins-…"
	Name            string // what people see; need not be unique
	Type            string // "SA5.MEDIUM4"
	Region          string // "ap-guangzhou"
	Zone            string // "ap-guangzhou-3"
	VPCID           string
	Addresses       []netip.Addr // private, the primary one first
	PublicAddresses []netip.Addr
	State           string // CVM's word, such as "RUNNING"
}

// Stopped reports whether the instance is shut down, or on its way there.
func (i Instance) Stopped() bool {
	return slices.Contains([]string{"STOPPED", "STOPPING", "SHUTDOWN", "TERMINATING"}, i.State)
}

// Instance returns the instance with the ID, false if there is none. What is younger than InstanceTTL comes from memory;
// so does what was known before if the API fails. Lookups at about the same time share a request.
func (c *Client) Instance(ctx context.Context, id string) (Instance, bool, error) {
	return c.byID.lookup(ctx, id)
}

// InstanceByAddress returns the instance of the VPC that has the private address; all else is as with Instance.
func (c *Client) InstanceByAddress(ctx context.Context, addr netip.Addr) (Instance, bool, error) {
	return c.byAddress.lookup(ctx, addr)
}

// instancesByID reads instances. CVM may refuse a request that names an instance that is gone, or a word that is no ID, so
// what is refused is asked for in halves: one bad node must not hide the others.
func (c *Client) instancesByID(ctx context.Context, ids []string) (map[string]Instance, error) {
	out := map[string]Instance{}
	for part := range slices.Chunk(ids, idsPerRead) {
		req := cvmapi.NewDescribeInstancesRequest()
		req.InstanceIds = pointers(part)
		req.Limit = new(int64(instancesPage))
		resp, _, err := call(ctx, c, actionInstances, c.cvm.DescribeInstancesWithContext, req)
		switch k := lbsync.KindOf(err); {
		case err == nil:
			for _, raw := range resp.Response.InstanceSet {
				i := c.instance(raw)
				out[i.ID] = i
			}
		case k != lbsync.NotFound && k != lbsync.Invalid:
			return nil, err
		case len(part) > 1:
			for half := range slices.Chunk(part, (len(part)+1)/2) {
				found, err := c.instancesByID(ctx, half)
				if err != nil {
					return nil, err
				}
				maps.Copy(out, found)
			}
		case k == lbsync.Invalid:
			return nil, err
		}
	}
	return out, nil
}

// instancesByAddress reads the instances of the VPC that have private addresses. The filter matches 10.0.0.1 with
// 10.0.0.11 too, so what it finds is compared in full.
func (c *Client) instancesByAddress(ctx context.Context, addrs []netip.Addr) (map[netip.Addr]Instance, error) {
	out := map[netip.Addr]Instance{}
	for part := range slices.Chunk(addrs, addressesPerRead) {
		values := make([]*string, len(part))
		for n, a := range part {
			values[n] = new(a.String())
		}
		req := cvmapi.NewDescribeInstancesRequest()
		req.Filters = []*cvmapi.Filter{
			{Name: new("private-ip-address"), Values: values},
			{Name: new("vpc-id"), Values: []*string{&c.cfg.VPCID}},
		}
		req.Limit = new(int64(instancesPage))
		for offset := int64(0); ; offset += instancesPage {
			req.Offset = new(offset)
			resp, _, err := call(ctx, c, actionInstances, c.cvm.DescribeInstancesWithContext, req)
			if err != nil {
				return nil, err
			}
			for _, raw := range resp.Response.InstanceSet {
				c.addByAddress(out, c.instance(raw), part)
			}
			if len(resp.Response.InstanceSet) < instancesPage {
				break
			}
		}
	}
	return out, nil
}

// addByAddress notes the instance under those of the addresses that it has. An address may be listed twice, with the
// instance that has it and one that had it and is being destroyed.
func (c *Client) addByAddress(out map[netip.Addr]Instance, i Instance, addrs []netip.Addr) {
	if i.VPCID != c.cfg.VPCID {
		return
	}
	for _, a := range i.Addresses {
		if other, taken := out[a]; slices.Contains(addrs, a) && (!taken || other.Stopped() && !i.Stopped()) {
			out[a] = i
		}
	}
}

func (c *Client) instance(raw *cvmapi.Instance) Instance {
	i := Instance{
		ID:              deref(raw.InstanceId),
		Name:            deref(raw.InstanceName),
		Type:            deref(raw.InstanceType),
		Region:          c.cfg.Region,
		Addresses:       addresses(raw.PrivateIpAddresses),
		PublicAddresses: addresses(raw.PublicIpAddresses),
		State:           deref(raw.InstanceState),
	}
	if raw.Placement != nil {
		i.Zone = deref(raw.Placement.Zone)
	}
	if raw.VirtualPrivateCloud != nil {
		i.VPCID = deref(raw.VirtualPrivateCloud.VpcId)
	}
	return i
}

func addresses(list []*string) []netip.Addr {
	var out []netip.Addr
	for _, s := range values(list) {
		if a, err := netip.ParseAddr(s); err == nil {
			out = append(out, a)
		}
	}
	return out
}
