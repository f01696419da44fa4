// SPDX-License-Identifier: Apache-2.0

package cloud

import (
	"hash/fnv"
	"slices"
	"strconv"

	clb "github.com/tencentcloud/tencentcloud-sdk-go/tencentcloud/clb/v20180317"

	"github.com/clbsync/clbsync/clbsim/health"
)

func describeTargets(k *call, in *clb.DescribeTargetsRequest) (*clb.DescribeTargetsResponseParams, *Error) {
	if len(in.ListenerIds) > 20 {
		return nil, errorf(codeLength, "The length of ListenerIds is %d, it should be at most 20.", len(in.ListenerIds))
	}
	match, err := filterTargets(in.Filters)
	if err != nil {
		return nil, err
	}
	lb, err := k.loadBalancer(in.LoadBalancerId)
	if err != nil {
		return nil, err
	}
	out := &clb.DescribeTargetsResponseParams{Listeners: []*clb.ListenerBackend{}}
	for _, l := range lb.listeners {
		if !l.selected(in.ListenerIds, in.Protocol, in.Port) {
			continue
		}
		b := &clb.ListenerBackend{ListenerId: &l.id, Protocol: &l.protocol, Port: &l.port, EndPort: new(l.endPort)}
		if layer7(l.protocol) {
			b.Rules = []*clb.RuleTargets{}
			for _, r := range l.rules {
				b.Rules = append(b.Rules, &clb.RuleTargets{
					LocationId: &r.id, Domain: new(r.site.domains[0]), Url: new(r.url), FunctionTargets: []*clb.FunctionTarget{}, Targets: r.backends(k, match),
				})
			}
		} else {
			b.Targets = l.backends(k, match)
		}
		out.Listeners = append(out.Listeners, b)
	}
	return out, nil
}

// backends are the targets of a pool that match.
func (p *pool) backends(k *call, match func(*target) bool) []*clb.Backend {
	out := []*clb.Backend{}
	for _, t := range p.targets {
		if match(t) {
			out = append(out, t.wire(k))
		}
	}
	return out
}

func filterTargets(filters []*clb.Filter) (func(*target) bool, *Error) {
	if err := checkFilters(filters); err != nil {
		return nil, err
	}
	for _, f := range filters {
		if !slices.Contains([]string{"location-id", "private-ip-address", "tag"}, *f.Name) {
			return nil, errorf(codeFilter, "The filter %s is unknown.", *f.Name)
		}
	}
	return func(t *target) bool {
		for _, f := range filters {
			field := map[string]string{"private-ip-address": t.addr.String(), "tag": t.tag, "location-id": t.location()}[*f.Name]
			if !slices.Contains(values(f.Values), field) {
				return false
			}
		}
		return true
	}, nil
}

// wire is what DescribeTargets shows. A target that was bound by address has
// an interface instead of an instance: its address is its only identity.
func (t *target) wire(k *call) *clb.Backend {
	b := &clb.Backend{
		Type: new("ENI"), InstanceId: new(""), Port: &t.port, Weight: new(t.weight), PrivateIpAddresses: []*string{new(t.addr.String())},
		PublicIpAddresses: []*string{}, RegisteredTime: wireTime(t.registered), Tag: &t.tag,
	}
	if t.instance == "" && t.pool.listener.lb.far(k.cloud, t.addr) {
		b.Type = new("CCN")
		return b
	}
	if t.instance == "" {
		b.EniId = new(interfaceID(t.addr.String()))
		return b
	}
	b.Type, b.InstanceId = new("CVM"), &t.instance
	if i := k.instances[t.instance]; i != nil {
		b.InstanceName, b.Zone = new(i.Name), new(i.Zone)
		if i.PublicIP != "" {
			b.PublicIpAddresses = []*string{new(i.PublicIP)}
		}
	}
	return b
}

// interfaceID makes up the id of the network interface that has an address.
func interfaceID(addr string) string {
	h := fnv.New64a()
	h.Write([]byte(addr))
	s := "00000000" + strconv.FormatUint(h.Sum64(), 36)
	return "eni-" + s[len(s)-8:]
}

func describeTargetHealth(k *call, in *clb.DescribeTargetHealthRequest) (*clb.DescribeTargetHealthResponseParams, *Error) {
	switch n := len(in.LoadBalancerIds); {
	case n == 0:
		return nil, missing("LoadBalancerIds")
	case n > 30:
		return nil, errorf(codeLength, "The length of LoadBalancerIds is %d, it should be at most 30.", n)
	}
	out := &clb.DescribeTargetHealthResponseParams{LoadBalancers: []*clb.LoadBalancerHealth{}}
	for _, id := range in.LoadBalancerIds {
		lb, err := k.loadBalancer(id)
		if err != nil {
			return nil, err
		}
		h := &clb.LoadBalancerHealth{LoadBalancerId: &lb.id, LoadBalancerName: new(lb.name), Listeners: []*clb.ListenerHealth{}}
		for _, l := range lb.listeners {
			if l.selected(in.ListenerIds, nil, nil) {
				h.Listeners = append(h.Listeners, l.healthWire())
			}
		}
		out.LoadBalancers = append(out.LoadBalancers, h)
	}
	return out, nil
}

// healthWire puts the targets of a layer 4 listener into one rule without id,
// as the API does.
func (l *listener) healthWire() *clb.ListenerHealth {
	out := &clb.ListenerHealth{ListenerId: &l.id, ListenerName: new(l.name), Protocol: &l.protocol, Port: &l.port, Rules: []*clb.RuleHealth{}}
	for _, p := range l.pools() {
		rule := &clb.RuleHealth{LocationId: new(""), Targets: p.healthWire()}
		if r := p.rule; r != nil {
			rule.LocationId, rule.Domain, rule.Url = &r.id, new(r.site.domains[0]), new(r.url)
		}
		out.Rules = append(out.Rules, rule)
	}
	return out
}

func (p *pool) healthWire() []*clb.TargetHealth {
	out := []*clb.TargetHealth{}
	for _, t := range p.targets {
		status := string(t.health.Status)
		out = append(out, &clb.TargetHealth{
			IP: new(t.addr.String()), Port: &t.port, TargetId: new(t.id()), Weight: new(uint64(t.weight)),
			HealthStatus:       new(t.health.Status == health.Alive || t.health.Status == health.Closed),
			HealthStatusDetail: &status, HealthStatusDetial: &status, //nolint:staticcheck // the API still sends the misspelt field
		})
	}
	return out
}

// location is the id of the rule that a target is bound to, or "".
func (t *target) location() string {
	if t.pool.rule == nil {
		return ""
	}
	return t.pool.rule.id
}

// id is the TargetId of DescribeTargetHealth.
func (t *target) id() string {
	if t.instance != "" {
		return t.instance
	}
	return interfaceID(t.addr.String())
}
