// SPDX-License-Identifier: Apache-2.0

package cloud

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	clb "github.com/tencentcloud/tencentcloud-sdk-go/tencentcloud/clb/v20180317"
)

// The ways in which a load balancer can have an IPv6 address.
const (
	modeNAT64     = "IPv6Nat64"     // clients have IPv6, targets IPv4
	modeFullChain = "IPv6FullChain" // both have IPv6
)

// versions of AddressIPVersion, in lower case, and what they stand for.
var ipModes = map[string]string{"": "", "ipv4": "", "ipv6": modeNAT64, "ipv6fullchain": modeFullChain}

// ipMode reads AddressIPVersion; "" is IPv4.
func ipMode(in *clb.CreateLoadBalancerRequest) string {
	return ipModes[strings.ToLower(value(in.AddressIPVersion))]
}

func checkIPVersion(in *clb.CreateLoadBalancerRequest) *Error {
	if _, ok := ipModes[strings.ToLower(value(in.AddressIPVersion))]; !ok {
		return errorf(codeValue, "The value of AddressIPVersion is %q, it should be IPV4, IPV6 or IPv6FullChain.", *in.AddressIPVersion)
	}
	mode := ipMode(in)
	switch {
	case mode == "":
		return nil
	case *in.LoadBalancerType != TypePublic:
		return errorf(codeInvalid, "AddressIPVersion %s is for public load balancers.", *in.AddressIPVersion)
	case in.ZoneId != nil || in.MasterZoneId != nil || in.SlaveZoneId != nil:
		return errorf(codeInvalid, "ZoneId, MasterZoneId and SlaveZoneId are for public load balancers of IPv4.")
	case mode == modeNAT64 && in.Vip != nil:
		return errorf(codeInvalid, "Vip is not supported with AddressIPVersion IPV6.")
	}
	return nil
}

// fullChain tells whether a load balancer is IPv6 to its targets.
func (lb *loadBalancer) fullChain() bool { return lb.ipv6Mode == modeFullChain }

// snatIP is an address from which a load balancer with SnatPro reaches targets
// outside of its own network.
type snatIP struct {
	subnet string
	ip     netip.Addr
}

// takeSnatIPs reserves the addresses that a request asks for.
func (k *call) takeSnatIPs(lb *loadBalancer, in []*clb.SnatIp, number int) ([]snatIP, *Error) {
	var out []snatIP
	release := func(err *Error) ([]snatIP, *Error) {
		k.release(out)
		return nil, err
	}
	for i, s := range in {
		path := fmt.Sprintf("SnatIps.%d", i)
		subnet := k.cloud.cfg.subnet(value(s.SubnetId))
		switch {
		case value(s.SubnetId) == "":
			return release(missing(path + ".SubnetId"))
		case subnet == nil || subnet.VPC != lb.vpc:
			return release(errorf(codeValue, "%s: the subnet %s does not exist in %s.", path, *s.SubnetId, lb.vpc))
		case value(s.Ip) != "" && number > 1:
			return release(errorf(codeInvalid, "%s.Ip and Number cannot be given together.", path))
		}
		for range number {
			var a netip.Addr
			var err *Error
			if value(s.Ip) != "" {
				a, err = k.chosenVIP(*s.Ip, []netip.Prefix{subnet.CIDR})
			} else {
				a, err = k.takeVIP([]netip.Prefix{subnet.CIDR})
			}
			if err != nil {
				return release(err)
			}
			out = append(out, snatIP{subnet.ID, a})
		}
	}
	return out, overSnatQuota(k, lb, out)
}

func overSnatQuota(k *call, lb *loadBalancer, more []snatIP) *Error {
	err := overQuota("SNAT addresses of "+lb.id, int64(len(lb.snatIPs)), int64(len(more)), k.quota(QuotaSnatIPs))
	if err != nil {
		k.release(more)
	}
	return err
}

// release gives SNAT addresses back.
func (r *region) release(ips []snatIP) {
	for _, s := range ips {
		delete(r.vips, s.ip)
	}
}

func createSnatIPs(k *call, in *clb.CreateLoadBalancerSnatIpsRequest) (*clb.CreateLoadBalancerSnatIpsResponseParams, *Error) {
	number := 1
	if in.Number != nil {
		number = int(*in.Number)
	}
	switch {
	case len(in.SnatIps) == 0:
		return nil, missing("SnatIps")
	case number < 1 || number > 20:
		return nil, errorf(codeValue, "The value of Number is %d, it should be 1 to 20.", number)
	}
	lb, err := k.locked(in.LoadBalancerId)
	if err != nil {
		return nil, err
	}
	ips, err := k.takeSnatIPs(lb, in.SnatIps, number)
	if err != nil {
		return nil, err
	}
	k.start([]*loadBalancer{lb}, func(time.Time) string {
		lb.snatPro, lb.snatIPs = true, append(lb.snatIPs, ips...)
		return ""
	}).onFailure = func() { k.release(ips) }
	return &clb.CreateLoadBalancerSnatIpsResponseParams{}, nil
}

func deleteSnatIPs(k *call, in *clb.DeleteLoadBalancerSnatIpsRequest) (*clb.DeleteLoadBalancerSnatIpsResponseParams, *Error) {
	switch n := len(in.Ips); {
	case n == 0:
		return nil, missing("Ips")
	case n > 20:
		return nil, errorf(codeLimit, "The length of Ips is %d, it should be at most 20.", n)
	}
	lb, err := k.locked(in.LoadBalancerId)
	if err != nil {
		return nil, err
	}
	gone := func(s snatIP) bool { return slices.Contains(values(in.Ips), s.ip.String()) }
	for _, ip := range in.Ips {
		if !slices.ContainsFunc(lb.snatIPs, func(s snatIP) bool { return s.ip.String() == *ip }) {
			return nil, errorf(codeValue, "%s is not a SNAT address of %s.", *ip, lb.id)
		}
	}
	if !slices.ContainsFunc(lb.snatIPs, func(s snatIP) bool { return !gone(s) }) && k.hasFarTargets(lb) {
		return nil, errorf(codeFailed, "%s has targets outside of %s and needs a SNAT address.", lb.id, lb.vpc)
	}
	k.start([]*loadBalancer{lb}, func(time.Time) string {
		lb.snatIPs = slices.DeleteFunc(lb.snatIPs, func(s snatIP) bool {
			if gone(s) {
				delete(k.vips, s.ip)
				return true
			}
			return false
		})
		return ""
	})
	return &clb.DeleteLoadBalancerSnatIpsResponseParams{}, nil
}

// hasFarTargets tells whether a target lies outside of the load balancer's
// own network, so that SnatPro is needed.
func (k *call) hasFarTargets(lb *loadBalancer) bool {
	for _, p := range lb.pools() {
		for _, t := range p.targets {
			if lb.far(k.cloud, t.addr) {
				return true
			}
		}
	}
	return false
}

// far tells whether an address lies outside of the network of the targets.
func (lb *loadBalancer) far(c *Cloud, a netip.Addr) bool { return !c.cfg.vpc(lb.targetVPC).contains(a) }

// address finds out where a target of a request is, or why it cannot be bound.
func (k *call) address(p *pool, r targetRef) (netip.Addr, *Error) {
	lb, a := p.listener.lb, r.eni
	if r.instance != "" {
		var err *Error
		if a, err = k.instanceAddress(lb, r); err != nil {
			return a, err
		}
	}
	mixed := lb.fullChain() && lb.mixIPTarget && layer7(p.listener.protocol)
	switch {
	case a.Is6() && !lb.fullChain():
		return a, errorf(codeValue, "The target %s has an IPv6 address, which only IPv6FullChain load balancers take; %s is not one.", r, lb.id)
	case a.Is4() && lb.fullChain() && !mixed:
		return a, errorf(codeValue, "The target %s has an IPv4 address, %s is IPv6FullChain: it takes EniIp with an IPv6 address (or, at layer 7, MixIpTarget).", r, lb.id)
	case !lb.far(k.cloud, a):
		return a, nil
	case !lb.snatPro || len(lb.snatIPs) == 0:
		return a, errorf(codeValue, "The address %s is not in the network %s of the load balancer, and %s has no SnatPro with a SNAT address.", a, lb.targetVPC, lb.id)
	case !k.cloud.cfg.reachable(a):
		return a, errorf(codeValue, "The address %s is in no network that %s reaches.", a, lb.vpc)
	}
	return a, nil
}

// instanceAddress is the primary address of an instance, which has to be in
// the load balancer's own network.
func (k *call) instanceAddress(lb *loadBalancer, r targetRef) (netip.Addr, *Error) {
	i := k.instances[r.instance]
	switch {
	case lb.targetVPC != lb.vpc:
		return netip.Addr{}, errorf(codeValue, "The targets of %s are in %s: they are bound by EniIp, not by InstanceId.", lb.id, lb.targetVPC)
	case i == nil:
		return netip.Addr{}, errorf(codeValue, "The instance %s does not exist.", r.instance)
	case i.VPC != lb.vpc:
		return netip.Addr{}, errorf(codeValue, "The instance %s is in %s, not in the network %s of the load balancer.", r.instance, i.VPC, lb.vpc)
	case i.State == "SHUTDOWN" || i.State == "TERMINATING" || i.State == "LAUNCH_FAILED":
		return netip.Addr{}, errorf(codeValue, "The instance %s is %s.", r.instance, i.State)
	}
	return netip.MustParseAddr(i.PrivateIP), nil
}

// reachable tells whether any network has an address: all are taken to be
// joined by one CCN.
func (c *Config) reachable(a netip.Addr) bool {
	return slices.ContainsFunc(c.VPCs, func(v VPC) bool { return v.contains(a) })
}

func modifyMixIPTarget(k *call, in *clb.ModifyLoadBalancerMixIpTargetRequest) (*clb.ModifyLoadBalancerMixIpTargetResponseParams, *Error) {
	switch n := len(in.LoadBalancerIds); {
	case n == 0:
		return nil, missing("LoadBalancerIds")
	case n > 20:
		return nil, errorf(codeLength, "The length of LoadBalancerIds is %d, it should be at most 20.", n)
	case in.MixIpTarget == nil:
		return nil, missing("MixIpTarget")
	}
	var lbs []*loadBalancer
	for _, id := range in.LoadBalancerIds {
		lb, err := k.locked(id)
		switch {
		case err != nil:
			return nil, err
		case !lb.fullChain():
			return nil, errorf(codeInvalid, "MixIpTarget is for IPv6FullChain load balancers, %s is not one.", lb.id)
		}
		lbs = append(lbs, lb)
	}
	for _, lb := range lbs {
		k.startSync(lb, func(time.Time) string {
			lb.mixIPTarget = *in.MixIpTarget
			return ""
		})
	}
	return &clb.ModifyLoadBalancerMixIpTargetResponseParams{}, nil
}

func (lb *loadBalancer) snatWire() []*clb.SnatIp {
	out := []*clb.SnatIp{}
	for _, s := range lb.snatIPs {
		out = append(out, &clb.SnatIp{SubnetId: new(s.subnet), Ip: new(s.ip.String())})
	}
	return out
}
