// SPDX-License-Identifier: Apache-2.0

package cloud

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
)

var (
	instanceID  = regexp.MustCompile(`^ins-[a-z0-9]{8}$`)
	probeRange  = netip.MustParsePrefix("100.64.0.0/10")
	proxyRange  = netip.MustParsePrefix("100.127.0.0/16")
	knownQuotas = []string{QuotaPublic, QuotaInternal, QuotaListeners, QuotaTargets, QuotaRules,
		QuotaSnatIPs, "TOTAL_ISP_CLB_QUOTA", "TOTAL_FULL_PORT_RANGE_LISTENER_QUOTA"}
)

// problems collects everything that is wrong, each with its key, so that a
// user corrects a file once and not once per run.
type problems []error

func (p *problems) add(format string, args ...any) { *p = append(*p, fmt.Errorf(format, args...)) }

func (p *problems) oneOf(key, value string, allowed ...string) {
	if !slices.Contains(allowed, value) {
		p.add("%s: %q is not one of %s", key, value, strings.Join(allowed, ", "))
	}
}

// Validate fills what has a documented default in place and reports every
// other mistake at once, each with its key.
func (c *Config) Validate() error {
	var p problems
	if len(c.Regions) == 0 {
		p.add("regions: want at least one, such as ap-guangzhou")
		return errors.Join(p...)
	}
	if c.Uin == "" {
		p.add("uin: want the account id, such as 100000000001")
	}
	if len(c.Zones) == 0 {
		p.add("zones: want at least one, such as {name: ap-guangzhou-3, id: \"100003\"}")
	}
	c.validateNetwork(&p)
	for i := range c.Instances {
		key := fmt.Sprintf("instances[%d]", i)
		if err := c.completeInstance(&c.Instances[i]); err != nil {
			p.add("%s.%w", key, err)
		}
		for j := range i {
			if c.Instances[j].ID == c.Instances[i].ID {
				p.add("%s.id: %s is also instances[%d]", key, c.Instances[i].ID, j)
			}
		}
	}
	c.validateCertificates(&p)
	c.validateLimits(&p)
	c.Assumptions.validate(&p)
	return errors.Join(p...)
}

func (c *Config) validateNetwork(p *problems) {
	for i := range c.VPCs {
		v := &c.VPCs[i]
		if v.Region == "" {
			v.Region = c.Regions[0]
		}
		if !strings.HasPrefix(v.ID, "vpc-") {
			p.add("vpcs[%d].id: %q does not look like vpc-xxxxxxxx", i, v.ID)
		}
		p.oneOf(fmt.Sprintf("vpcs[%d].region", i), v.Region, c.Regions...)
		if len(v.CIDRs) == 0 {
			p.add("vpcs[%d].cidrs: want at least one range, such as 10.0.0.0/8", i)
		}
	}
	c.validateSubnets(p)
	for i, r := range c.PublicVIPs {
		if !r.IsValid() || !r.Addr().Is4() {
			p.add("publicVIPs[%d]: want an IPv4 range, such as 203.0.113.0/24", i)
		}
	}
	for i, r := range c.PublicIPv6VIPs {
		if !r.IsValid() || !r.Addr().Is6() {
			p.add("publicIPv6VIPs[%d]: want an IPv6 range, such as 2001:db8:64::/64", i)
		}
	}
	c.validateLoadBalancers(p)
	for i := range c.SecurityGroups {
		g := &c.SecurityGroups[i]
		g.Region = cmp.Or(g.Region, c.Regions[0])
		p.oneOf(fmt.Sprintf("securityGroups[%d].region", i), g.Region, c.Regions...)
		if !strings.HasPrefix(g.ID, "sg-") {
			p.add("securityGroups[%d].id: %q does not look like sg-xxxxxxxx", i, g.ID)
		}
	}
}

func (c *Config) validateSubnets(p *problems) {
	for i, s := range c.Subnets {
		v := c.vpc(s.VPC)
		switch {
		case !strings.HasPrefix(s.ID, "subnet-"):
			p.add("subnets[%d].id: %q does not look like subnet-xxxxxxxx", i, s.ID)
		case v == nil:
			p.add("subnets[%d].vpc: %q is not in vpcs", i, s.VPC)
		case !s.CIDR.IsValid() || !s.CIDR.Addr().Is4():
			p.add("subnets[%d].cidr: want an IPv4 range, such as 10.0.200.0/24", i)
		case !v.contains(s.CIDR.Addr()):
			p.add("subnets[%d].cidr: %s lies outside of %s", i, s.CIDR, v.ID)
		case s.IPv6CIDR.IsValid() && (!s.IPv6CIDR.Addr().Is6() || !v.contains(s.IPv6CIDR.Addr())):
			p.add("subnets[%d].ipv6CIDR: want an IPv6 range inside of %s", i, v.ID)
		}
	}
}

func (c *Config) validateLoadBalancers(p *problems) {
	for i := range c.LoadBalancers {
		if err := c.completeLoadBalancer(&c.LoadBalancers[i]); err != nil {
			p.add("loadBalancers[%d].%w", i, err)
		}
		for j := range i {
			if c.LoadBalancers[j].ID == c.LoadBalancers[i].ID {
				p.add("loadBalancers[%d].id: %s is also loadBalancers[%d]", i, c.LoadBalancers[i].ID, j)
			}
			if vip := c.LoadBalancers[i].VIP; vip.IsValid() && c.LoadBalancers[j].VIP == vip {
				p.add("loadBalancers[%d].vip: %s is also that of loadBalancers[%d]", i, vip, j)
			}
		}
	}
}

func (c *Config) validateCertificates(p *problems) {
	for i := range c.Certificates {
		x := &c.Certificates[i]
		if x.ID == "" {
			p.add("certificates[%d].id: want an id, such as cert0001", i)
		}
		if c.certificate(x.ID) != x {
			p.add("certificates[%d].id: %s is given twice", i, x.ID)
		}
		x.Algorithm = cmp.Or(x.Algorithm, "RSA")
		p.oneOf(fmt.Sprintf("certificates[%d].algorithm", i), x.Algorithm, "RSA", "ECC", "SM2")
	}
}

func (c *Config) validateLimits(p *problems) {
	for id, n := range c.Quotas {
		p.oneOf("quotas", id, knownQuotas...)
		if n < 0 {
			p.add("quotas.%s: %d is negative", id, n)
		}
	}
	for action, d := range c.Tasks.Actions {
		if a := actionByName(action); a == nil || !a.Write {
			p.add("tasks.actions: %q is not an action that changes something", action)
		}
		if d < 0 {
			p.add("tasks.actions.%s: negative", action)
		}
	}
	if c.Tasks.Delay < 0 {
		p.add("tasks.delay: negative")
	}
	p.oneOf("health.probe", c.Health.Probe, ProbeSimulated, ProbeReal)
	if c.Health.Speedup <= 0 {
		p.add("health.speedup: %v, want more than 0 (1 is real time)", c.Health.Speedup)
	}
	if !proxyRange.Contains(c.Health.Proxy) {
		p.add("health.proxy: %s is not in %s, where CLB's connections to targets come from", c.Health.Proxy, proxyRange)
	}
	if !probeRange.Contains(c.Health.Source) {
		p.add("health.source: %s is not in %s, where CLB probes come from", c.Health.Source, probeRange)
	}
}

func (a Assumptions) validate(p *problems) {
	p.oneOf("assumptions.batchTargets", a.BatchTargets, Sync, Async)
	p.oneOf("assumptions.batchFailure", a.BatchFailure, PerListener, WholeRequest)
	p.oneOf("assumptions.registerBound", a.RegisterBound, Duplicate, Reweight, Rebind)
	p.oneOf("assumptions.deregisterUnbound", a.DeregisterUnbound, Refuse, Ignore)
	p.oneOf("assumptions.targetIdentity", a.TargetIdentity, Strict, ByAddress)
	p.oneOf("assumptions.createListed", a.CreateListed, AtOnce, AtEnd)
	p.oneOf("assumptions.domainStyle", a.DomainStyle, Asked, EveryPublic)
	p.oneOf("assumptions.lockCode", a.LockCode, Always, Listed)
	p.oneOf("assumptions.terminatedInstance", a.TerminatedInstance, Unbind, Keep)
	p.oneOf("assumptions.defaultDomain", a.DefaultDomain, Required, Moves)
	p.oneOf("assumptions.ipv6Address", a.IPv6Address, InField, InBoth)
	p.oneOf("assumptions.privateIPFilter", a.PrivateIPFilter, Fuzzy, Exact)
}

// completeInstance fills the defaults of an instance. Errors start with the
// field's name.
func (c *Config) completeInstance(i *Instance) error {
	fill := func(field *string, v string) {
		if *field == "" {
			*field = v
		}
	}
	if len(c.Zones) > 0 {
		fill(&i.Zone, c.Zones[0].Name)
	}
	fill(&i.Type, "S5.MEDIUM4")
	fill(&i.State, "RUNNING")
	if len(c.VPCs) > 0 {
		fill(&i.VPC, c.VPCs[0].ID)
	}
	for _, s := range c.Subnets {
		if s.VPC == i.VPC {
			fill(&i.Subnet, s.ID)
		}
	}
	vpc := c.vpc(i.VPC)
	addr, err := netip.ParseAddr(i.PrivateIP)
	switch {
	case !instanceID.MatchString(i.ID):
		return fmt.Errorf("id: %q does not look like ins-xxxxxxxx (8 lower-case letters or digits)", i.ID)
	case vpc == nil:
		return fmt.Errorf("vpc: %q is not in vpcs", i.VPC)
	case err != nil || !addr.Is4():
		return fmt.Errorf("privateIP: %q is not an IPv4 address", i.PrivateIP)
	case !vpc.contains(addr):
		return fmt.Errorf("privateIP: %s lies outside of %s", addr, vpc.ID)
	case !slices.ContainsFunc(c.Zones, func(z Zone) bool { return z.Name == i.Zone }):
		return fmt.Errorf("zone: %q is not in zones", i.Zone)
	}
	return nil
}

func (c *Config) vpc(id string) *VPC {
	for i := range c.VPCs {
		if c.VPCs[i].ID == id {
			return &c.VPCs[i]
		}
	}
	return nil
}

func (c *Config) subnet(id string) *Subnet {
	for i := range c.Subnets {
		if c.Subnets[i].ID == id {
			return &c.Subnets[i]
		}
	}
	return nil
}

func (v *VPC) contains(a netip.Addr) bool {
	return slices.ContainsFunc(v.CIDRs, func(p netip.Prefix) bool { return p.Contains(a) })
}
