// SPDX-License-Identifier: Apache-2.0

package cloud

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	cvm "github.com/tencentcloud/tencentcloud-sdk-go/tencentcloud/cvm/v20170312"
)

// Codes of the CVM service.
const (
	codeInstanceID     = "InvalidInstanceId.Malformed"
	codeCVMFilter      = "InvalidFilter"
	codeFilterValues   = "InvalidFilterValue.LimitExceeded"
	codeCVMLimit       = "InvalidParameterValue.LimitExceeded"
	codeCVMValue       = "InvalidParameterValue"
	codeAddressForm    = "InvalidParameterValue.IPAddressMalformed"
	codeVPCForm        = "InvalidParameterValue.VpcIdMalformed"
	maxInstanceFilters = 10
	maxFilterValues    = 5
)

// PutInstance adds an instance or replaces the one with its id.
func (c *Cloud) PutInstance(i Instance, now time.Time) error {
	if err := c.cfg.completeInstance(&i); err != nil {
		return err
	}
	r := c.regionOf(i.VPC)
	for _, o := range r.instances {
		if o.ID != i.ID && o.VPC == i.VPC && o.PrivateIP == i.PrivateIP {
			return fmt.Errorf("privateIP: %s is in use by %s", i.PrivateIP, o.ID)
		}
	}
	r.instances[i.ID] = &i
	c.version++
	c.wakeProbes(now)
	return nil
}

// DeleteInstance terminates an instance. What becomes of its targets is an
// assumption.
func (c *Cloud) DeleteInstance(id string, now time.Time) error {
	for _, name := range c.cfg.Regions {
		r := c.regions[name]
		if r.instances[id] == nil {
			continue
		}
		delete(r.instances, id)
		c.version++
		if c.cfg.Assumptions.TerminatedInstance == Unbind {
			for _, lb := range r.byAge {
				for _, p := range lb.pools() {
					p.unregister(func(t *target) bool { return t.instance == id })
				}
			}
		}
		c.wakeProbes(now)
		return nil
	}
	return fmt.Errorf("instance %s does not exist", id)
}

func describeInstances(k *call, in *cvm.DescribeInstancesRequest) (*cvm.DescribeInstancesResponseParams, *Error) {
	offset, limit := value(in.Offset), int64(20)
	if in.Limit != nil {
		limit = *in.Limit
	}
	switch {
	case len(in.InstanceIds) > 0 && len(in.Filters) > 0:
		return nil, errorf(codeInvalid, "InstanceIds and Filters cannot be given together.")
	case len(in.InstanceIds) > 100:
		return nil, errorf(codeCVMLimit, "The length of InstanceIds is %d, it should be at most 100.", len(in.InstanceIds))
	case limit < 1 || limit > 100:
		return nil, errorf(codeCVMLimit, "The value of Limit is %d, it should be 1 to 100.", limit)
	case offset < 0:
		return nil, errorf(codeCVMValue, "The value of Offset is %d, it should not be negative.", offset)
	}
	for _, id := range in.InstanceIds {
		if !instanceID.MatchString(value(id)) {
			return nil, errorf(codeInstanceID, "The instance id %q is malformed.", value(id))
		}
	}
	match, err := k.cloud.filterInstances(in.Filters)
	if err != nil {
		return nil, err
	}
	var found []*Instance
	for _, id := range slices.Sorted(maps.Keys(k.instances)) {
		i := k.instances[id]
		if (len(in.InstanceIds) == 0 || slices.Contains(values(in.InstanceIds), id)) && match(i) {
			found = append(found, i)
		}
	}
	out := &cvm.DescribeInstancesResponseParams{TotalCount: new(int64(len(found))), InstanceSet: []*cvm.Instance{}}
	for _, i := range slice(found, int(min(offset, 1<<20)), int(limit)) {
		out.InstanceSet = append(out.InstanceSet, i.wire())
	}
	return out, nil
}

// instanceFilters are the filters that clbsim knows, as predicates on one value.
var instanceFilters = map[string]func(i *Instance, v string) bool{
	"vpc-id":            func(i *Instance, v string) bool { return i.VPC == v },
	"subnet-id":         func(i *Instance, v string) bool { return i.Subnet == v },
	"zone":              func(i *Instance, v string) bool { return i.Zone == v },
	"instance-id":       func(i *Instance, v string) bool { return i.ID == v },
	"instance-name":     func(i *Instance, v string) bool { return strings.Contains(i.Name, v) },
	"instance-state":    func(i *Instance, v string) bool { return i.State == v },
	"public-ip-address": func(i *Instance, v string) bool { return i.PublicIP == v },
	"tag-key":           func(i *Instance, v string) bool { _, ok := i.Tags[v]; return ok },
	"tag-value":         func(i *Instance, v string) bool { return slices.Contains(slices.Collect(maps.Values(i.Tags)), v) },
}

func (c *Cloud) filterInstances(filters []*cvm.Filter) (func(*Instance) bool, *Error) {
	if len(filters) > maxInstanceFilters {
		return nil, errorf(codeCVMFilter, "The length of Filters is %d, it should be at most %d.", len(filters), maxInstanceFilters)
	}
	matches := make([]func(*Instance, string) bool, len(filters))
	for i, f := range filters {
		name, want := value(f.Name), values(f.Values)
		tag, isTag := strings.CutPrefix(name, "tag:")
		switch {
		case len(want) == 0:
			return nil, errorf(codeCVMFilter, "The filter %q has no Values.", name)
		case len(want) > maxFilterValues:
			return nil, errorf(codeFilterValues, "The filter %s has %d Values, it should have at most %d.", name, len(want), maxFilterValues)
		case name == "private-ip-address":
			if err := c.checkAddresses(want); err != nil {
				return nil, err
			}
			matches[i] = c.matchAddress
		case name == "vpc-id" && slices.ContainsFunc(want, func(v string) bool { return !strings.HasPrefix(v, "vpc-") }):
			return nil, errorf(codeVPCForm, "A VPC id in %q is malformed.", want)
		case isTag:
			matches[i] = func(n *Instance, v string) bool { have, ok := n.Tags[tag]; return ok && have == v }
		case instanceFilters[name] == nil:
			return nil, errorf(codeCVMFilter, "The filter %q is unknown.", name)
		default:
			matches[i] = instanceFilters[name]
		}
	}
	return func(n *Instance) bool {
		for i, f := range filters {
			if !slices.ContainsFunc(f.Values, func(v *string) bool { return matches[i](n, *v) }) {
				return false
			}
		}
		return true
	}, nil
}

// matchAddress is fuzzy unless set otherwise: asking for 10.0.0.1 also brings
// 10.0.0.10, and whoever takes the first result has the wrong node.
func (c *Cloud) matchAddress(i *Instance, v string) bool {
	if c.cfg.Assumptions.PrivateIPFilter == Exact {
		return i.PrivateIP == v
	}
	return strings.Contains(i.PrivateIP, v)
}

func (c *Cloud) checkAddresses(want []string) *Error {
	for _, v := range want {
		_, err := netip.ParseAddr(v)
		partial := v != "" && strings.Trim(v, "0123456789.") == "" && c.cfg.Assumptions.PrivateIPFilter == Fuzzy
		if err != nil && !partial {
			return errorf(codeAddressForm, "The address %q is malformed.", v)
		}
	}
	return nil
}

func (i *Instance) wire() *cvm.Instance {
	out := &cvm.Instance{
		Placement: &cvm.Placement{Zone: new(i.Zone), ProjectId: new(int64(0))}, InstanceId: new(i.ID), InstanceType: new(i.Type), InstanceName: new(i.Name),
		InstanceState: new(i.State), RestrictState: new("NORMAL"), InstanceChargeType: new("POSTPAID_BY_HOUR"),
		PrivateIpAddresses: []*string{new(i.PrivateIP)}, VirtualPrivateCloud: &cvm.VirtualPrivateCloud{VpcId: new(i.VPC), SubnetId: new(i.Subnet)},
		Tags: []*cvm.Tag{},
	}
	if i.PublicIP != "" {
		out.PublicIpAddresses = []*string{new(i.PublicIP)}
	}
	for _, key := range slices.Sorted(maps.Keys(i.Tags)) {
		out.Tags = append(out.Tags, &cvm.Tag{Key: new(key), Value: new(i.Tags[key])})
	}
	return out
}

func describeZones(k *call, _ *cvm.DescribeZonesRequest) (*cvm.DescribeZonesResponseParams, *Error) {
	out := &cvm.DescribeZonesResponseParams{ZoneSet: []*cvm.ZoneInfo{}}
	for _, z := range k.cloud.cfg.Zones {
		if strings.HasPrefix(z.Name, k.name+"-") {
			out.ZoneSet = append(out.ZoneSet, &cvm.ZoneInfo{Zone: new(z.Name), ZoneId: new(z.ID), ZoneName: new(z.Name), ZoneState: new("AVAILABLE")})
		}
	}
	out.TotalCount = new(uint64(len(out.ZoneSet)))
	return out, nil
}
