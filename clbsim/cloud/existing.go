// SPDX-License-Identifier: Apache-2.0

package cloud

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"regexp"
	"time"
)

// ExistingLoadBalancer is a CLB that was there before: of another owner, of
// the classic kind, isolated for arrears, or simply for a client to adopt.
type ExistingLoadBalancer struct {
	ID            string            `json:"id"`             // lb-xxxxxxxx
	Name          string            `json:"name,omitempty"` // default: the id
	Type          string            `json:"type,omitempty"` // default: OPEN
	VPC           string            `json:"vpc,omitempty"`  // default: the first VPC
	Subnet        string            `json:"subnet,omitempty"`
	VIP           netip.Addr        `json:"vip,omitzero"`            // default: the next one of the subnet, or of publicVIPs
	Classic       bool              `json:"classic,omitempty"`       // Forward 0: of the kind that has no listeners of this API
	Isolated      bool              `json:"isolated,omitempty"`      // for arrears
	DeleteProtect bool              `json:"deleteProtect,omitempty"` //
	Tags          map[string]string `json:"tags,omitempty"`

	Listeners []ExistingListener `json:"listeners,omitempty"`
}

// ExistingListener is a listener of an ExistingLoadBalancer. Those of a range
// of ports exist in no other way, and take no targets: CLB makes them for
// accounts that asked for it, and here they are only in the way of others.
type ExistingListener struct {
	Name     string `json:"name,omitempty"`
	Protocol string `json:"protocol,omitempty"` // default: TCP
	Port     int64  `json:"port"`
	EndPort  int64  `json:"endPort,omitempty"` // of a range, TCP or UDP: more than port
}

// completeListener fills the defaults. Errors start with the field's name.
func completeListener(l *ExistingListener, others []ExistingListener) error {
	l.Protocol = cmp.Or(l.Protocol, TCP)
	layer4 := l.Protocol == TCP || l.Protocol == UDP
	switch {
	case !layer4:
		return fmt.Errorf("protocol: %q is not one of TCP, UDP", l.Protocol)
	case l.Port < 1 || l.Port > 65535:
		return fmt.Errorf("port: %d is not 1 to 65535", l.Port)
	case l.EndPort != 0 && (l.EndPort <= l.Port || l.EndPort > 65535):
		return fmt.Errorf("endPort: %d is not %d to 65535", l.EndPort, l.Port+1)
	}
	for _, o := range others {
		if o.Protocol == l.Protocol && o.Port <= max(l.Port, l.EndPort) && l.Port <= max(o.Port, o.EndPort) {
			return fmt.Errorf("port: %d is taken by another of the listeners", max(l.Port, o.Port))
		}
	}
	return nil
}

var loadBalancerID = regexp.MustCompile(`^lb-[a-z0-9]{8}$`)

// completeLoadBalancer fills the defaults. Errors start with the field's name.
func (c *Config) completeLoadBalancer(e *ExistingLoadBalancer) error {
	e.Name, e.Type = cmp.Or(e.Name, e.ID), cmp.Or(e.Type, TypePublic)
	if len(c.VPCs) > 0 {
		e.VPC = cmp.Or(e.VPC, c.VPCs[0].ID)
	}
	subnet := c.subnet(e.Subnet)
	switch {
	case !loadBalancerID.MatchString(e.ID):
		return fmt.Errorf("id: %q does not look like lb-xxxxxxxx (8 lower-case letters or digits)", e.ID)
	case e.Type != TypePublic && e.Type != TypeInternal:
		return fmt.Errorf("type: %q is not one of OPEN, INTERNAL", e.Type)
	case c.vpc(e.VPC) == nil:
		return fmt.Errorf("vpc: %q is not in vpcs", e.VPC)
	case e.Type == TypeInternal && (subnet == nil || subnet.VPC != e.VPC):
		return fmt.Errorf("subnet: %q is not in subnets of %s", e.Subnet, e.VPC)
	case e.VIP.IsValid() && !e.VIP.Is4():
		return fmt.Errorf("vip: %s is not an IPv4 address", e.VIP)
	case e.Classic && len(e.Listeners) > 0:
		return fmt.Errorf("listeners: a classic load balancer has none of this API")
	}
	for i := range e.Listeners {
		if err := completeListener(&e.Listeners[i], e.Listeners[:i]); err != nil {
			return fmt.Errorf("listeners[%d].%w", i, err)
		}
	}
	return nil
}

// PutLoadBalancer adds a CLB that nobody ordered.
func (c *Cloud) PutLoadBalancer(e ExistingLoadBalancer, now time.Time) error {
	if err := c.cfg.completeLoadBalancer(&e); err != nil {
		return err
	}
	r := c.regionOf(e.VPC)
	if r.lbs[e.ID] != nil {
		return fmt.Errorf("id: %s exists", e.ID)
	}
	if e.VIP.IsValid() && c.addressInUse(e.VIP) {
		return fmt.Errorf("vip: %s is in use", e.VIP)
	}
	lb := &loadBalancer{
		id: e.ID, name: e.Name, kind: e.Type, vpc: e.VPC, subnet: e.Subnet, targetVPC: e.VPC, targetRegion: r.name, vip: e.VIP, running: true, listed: true,
		created: now, changed: now, isp: "BGP", tags: map[string]string{}, deleteProtect: e.DeleteProtect, classic: e.Classic, isolated: e.Isolated,
	}
	maps.Copy(lb.tags, e.Tags)
	ranges := c.cfg.PublicVIPs
	if lb.kind == TypeInternal {
		s := c.cfg.subnet(e.Subnet)
		ranges, lb.isp, lb.zone = []netip.Prefix{s.CIDR}, "INTERNAL", s.Zone
	} else {
		lb.chargeType, lb.bandwidth = "TRAFFIC_POSTPAID_BY_HOUR", 10
	}
	if lb.vip.IsValid() {
		r.reserveVIP(lb.vip)
	} else {
		a, err := r.takeVIP(ranges)
		if err != nil {
			return fmt.Errorf("vip: %w", err)
		}
		lb.vip = a
	}
	for _, l := range e.Listeners {
		one := &listener{
			lb: lb, cloud: c, name: l.Name, protocol: l.Protocol, port: l.Port, endPort: l.EndPort, created: now, settings: newSettings(lb.kindOf(l.Protocol)),
			id: newID("lbl-", func(id string) bool { return lb.listener(id) != nil }),
		}
		one.pool.listener = one
		lb.listeners = append(lb.listeners, one)
	}
	r.names[lb.name], r.lbs[lb.id] = true, lb
	r.byAge = append(r.byAge, lb)
	c.version++
	return nil
}

// Isolate puts a CLB into isolation, as arrears do, or takes it out of it.
func (c *Cloud) Isolate(id string, isolated bool) error {
	for _, name := range c.cfg.Regions {
		if lb := c.regions[name].lbs[id]; lb != nil {
			lb.isolated = isolated
			c.version++
			return nil
		}
	}
	return fmt.Errorf("load balancer %s does not exist", id)
}

// classicActions are those of this API that know load balancers of the classic
// kind.
var classicActions = map[string]bool{
	"DeleteLoadBalancer": true, "ModifyLoadBalancerAttributes": true,
	"SetLoadBalancerSecurityGroups": true, "SetSecurityGroupForLoadbalancers": true,
}

func (lb *loadBalancer) forward() uint64 {
	if lb.classic {
		return 0
	}
	return 1
}
