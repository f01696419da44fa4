// SPDX-License-Identifier: Apache-2.0

package cloud

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	clb "github.com/tencentcloud/tencentcloud-sdk-go/tencentcloud/clb/v20180317"

	"github.com/clbsync/clbsync/clbsim/health"
)

// target is one backend of a listener or of a rule.
type target struct {
	pool       *pool
	instance   string // if bound by InstanceId
	addr       netip.Addr
	port       int64
	weight     int64
	tag        string
	registered time.Time
	health     health.Target
	turn       int       // counts the schedules of its probe; see event
	probeAt    time.Time // when the probe of this turn is due
}

// defaultWeight is that of a target whose weight is left out. It is a trap:
// a client that means 0 must say so.
const defaultWeight = 10

// targetRef is a target as a request names it.
type targetRef struct {
	instance string
	eni      netip.Addr
	port     int64
	weight   *int64
	tag      string
}

func (r targetRef) String() string {
	if r.instance != "" {
		return fmt.Sprintf("%s:%d", r.instance, r.port)
	}
	return fmt.Sprintf("%s:%d", r.eni, r.port)
}

// parseTarget checks what can be checked without looking at any state.
func parseTarget(path string, port *int64, instance, eni *string, weight *int64, tag *string) (targetRef, *Error) {
	r := targetRef{instance: value(instance), port: value(port), weight: weight, tag: value(tag)}
	ip := value(eni)
	switch {
	case port == nil:
		return r, missing(path + ".Port")
	case r.port < 1 || r.port > 65535:
		return r, errorf(codeValue, "The value of %s.Port is %d, it should be 1 to 65535.", path, r.port)
	case r.instance != "" && ip != "":
		return r, errorf(codeValue, "%s has both InstanceId and EniIp, only one of them is allowed.", path)
	case r.instance == "" && ip == "":
		return r, errorf(codeValue, "%s has neither InstanceId nor EniIp, one of them is required.", path)
	}
	if ip != "" {
		a, err := netip.ParseAddr(ip)
		if err != nil || a.Zone() != "" || a.Is4In6() {
			return r, errorf(codeValue, "The value of %s.EniIp is %q, it should be an IP address.", path, ip)
		}
		r.eni = a
	}
	return r, checkWeight(path, weight)
}

func checkWeight(path string, w *int64) *Error {
	if w != nil && (*w < 0 || *w > 100) {
		return errorf(codeValue, "The value of %s.Weight is %d, it should be 0 to 100.", path, *w)
	}
	return nil
}

// parseTargets reads the Targets of the actions that work on one listener.
func parseTargets(path string, in []*clb.Target, atMost int, weight *int64) ([]targetRef, *Error) {
	switch {
	case len(in) == 0:
		return nil, missing(path)
	case len(in) > atMost:
		return nil, errorf(codeLength, "The length of %s is %d, it should be at most %d.", path, len(in), atMost)
	}
	refs := make([]targetRef, len(in))
	for i, t := range in {
		at := fmt.Sprintf("%s.%d", path, i)
		r, err := parseTarget(at, t.Port, t.InstanceId, t.EniIp, t.Weight, t.Tag)
		if err != nil {
			return nil, err
		}
		if r.weight == nil {
			r.weight = weight
		}
		refs[i] = r
	}
	return refs, nil
}

// bound finds the target that a request names. Whether one that was bound by
// InstanceId answers to its address, too, is an assumption.
func (k *call) bound(p *pool, r targetRef) *target {
	loose := k.cloud.cfg.Assumptions.TargetIdentity == ByAddress
	for _, t := range p.targets {
		if t.port != r.port {
			continue
		}
		switch {
		case r.instance != "" && t.instance == r.instance,
			r.instance == "" && t.addr == r.eni && (t.instance == "" || loose):
			return t
		case r.instance != "" && t.instance == "" && loose:
			if i := k.instances[r.instance]; i != nil && i.PrivateIP == t.addr.String() {
				return t
			}
		}
	}
	return nil
}

// bind checks that targets can be registered with a listener and returns the
// registration.
func (k *call) bind(p *pool, refs []targetRef) (func(now time.Time) string, *Error) {
	if p.listener.endPort != 0 {
		return nil, errorf(codeUnsupported, "clbsim does not simulate targets of port ranges: %s has the ports %d to %d.", p.listener.id, p.listener.port, p.listener.endPort)
	}
	a := k.cloud.cfg.Assumptions
	made := make([]*target, 0, len(refs))
	added := int64(0)
	for i, r := range refs {
		addr, err := k.address(p, r)
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(made, func(t *target) bool { return t.addr == addr && t.port == r.port }) {
			return nil, errorf(codeDuplicate, "The target %s is given twice.", refs[i])
		}
		if p.at(addr, r.port) == nil {
			added++
		} else if a.RegisterBound == Duplicate {
			return nil, errorf(codeDuplicate, "The target %s is bound to %s already.", r, p.id())
		}
		if other := p.rival(addr, r.port); other != nil && a.UniqueBackend {
			return nil, errorf(codeDuplicate, "The target %s is bound to the listener %s of the same protocol.", r, other.id)
		}
		w := int64(defaultWeight)
		set(&w, r.weight)
		made = append(made, &target{pool: p, instance: r.instance, addr: addr, port: r.port, weight: w, tag: r.tag})
	}
	if err := overQuota("targets of "+p.id(), int64(len(p.targets)), added, k.quota(QuotaTargets)); err != nil {
		return nil, err
	}
	return func(now time.Time) string {
		if !p.exists() {
			return "Listener or rule not exist: " + p.id()
		}
		for _, t := range made {
			p.register(t, now)
		}
		return ""
	}, nil
}

// rival is another listener of the same protocol on the same CLB that has the
// backend: at layer 4 VIP, protocol, backend address and port must be unique.
func (p *pool) rival(a netip.Addr, port int64) *listener {
	for _, o := range p.listener.lb.listeners {
		if p.rule == nil && o != p.listener && o.protocol == p.listener.protocol && o.at(a, port) != nil {
			return o
		}
	}
	return nil
}

// unbind checks that targets can be deregistered and returns the
// deregistration.
func (k *call) unbind(p *pool, refs []targetRef) (func(now time.Time) string, *Error) {
	var gone []*target
	for _, r := range refs {
		t := k.bound(p, r)
		switch {
		case t != nil && !slices.Contains(gone, t):
			gone = append(gone, t)
		case t != nil:
			return nil, errorf(codeDuplicate, "The target %s is given twice.", r)
		case k.cloud.cfg.Assumptions.DeregisterUnbound == Refuse:
			return nil, errorf(codeValue, "The target %s is not bound to %s.", r, p.id())
		}
	}
	return func(time.Time) string {
		p.unregister(func(t *target) bool { return slices.Contains(gone, t) })
		return ""
	}, nil
}

// reweigh checks that weights can be changed and returns the change.
func (k *call) reweigh(p *pool, refs []targetRef) (func(now time.Time) string, *Error) {
	type change struct {
		t *target
		w int64
	}
	var changes []change
	for _, r := range refs {
		t := k.bound(p, r)
		switch {
		case t == nil:
			return nil, errorf(codeValue, "The target %s is not bound to %s.", r, p.id())
		case slices.ContainsFunc(changes, func(c change) bool { return c.t == t }):
			return nil, errorf(codeDuplicate, "The target %s is given twice.", r)
		}
		w := int64(defaultWeight)
		set(&w, r.weight)
		changes = append(changes, change{t, w})
	}
	return func(time.Time) string {
		for _, c := range changes {
			c.t.weight = c.w
		}
		return ""
	}, nil
}

// onListener is the frame of the three actions on the targets of one listener
// or rule.
func (k *call) onListener(lbID, listenerID, location, domain, url *string, refs []targetRef,
	change func(*pool, []targetRef) (func(time.Time) string, *Error),
) *Error {
	lb, err := k.locked(lbID)
	if err != nil {
		return err
	}
	l, err := k.listener(lb, "ListenerId", listenerID)
	if err != nil {
		return err
	}
	p, err := l.poolOf(location, domain, url)
	if err != nil {
		return err
	}
	effect, err := change(p, refs)
	if err != nil {
		return err
	}
	k.start([]*loadBalancer{lb}, effect)
	return nil
}

func registerTargets(k *call, in *clb.RegisterTargetsRequest) (*clb.RegisterTargetsResponseParams, *Error) {
	refs, err := parseTargets("Targets", in.Targets, 20, nil)
	if err == nil {
		err = k.onListener(in.LoadBalancerId, in.ListenerId, in.LocationId, in.Domain, in.Url, refs, k.bind)
	}
	return &clb.RegisterTargetsResponseParams{}, err
}

func deregisterTargets(k *call, in *clb.DeregisterTargetsRequest) (*clb.DeregisterTargetsResponseParams, *Error) {
	refs, err := parseTargets("Targets", in.Targets, 20, nil)
	if err == nil {
		err = k.onListener(in.LoadBalancerId, in.ListenerId, in.LocationId, in.Domain, in.Url, refs, k.unbind)
	}
	return &clb.DeregisterTargetsResponseParams{}, err
}

// maxWeights is not documented for ModifyTargetWeight; its siblings take 20.
const maxWeights = 20

func modifyTargetWeight(k *call, in *clb.ModifyTargetWeightRequest) (*clb.ModifyTargetWeightResponseParams, *Error) {
	refs, err := parseTargets("Targets", in.Targets, maxWeights, in.Weight)
	if err == nil {
		err = checkWeight("the request", in.Weight)
	}
	if err == nil {
		err = k.onListener(in.LoadBalancerId, in.ListenerId, in.LocationId, in.Domain, in.Url, refs, k.reweigh)
	}
	return &clb.ModifyTargetWeightResponseParams{}, err
}
