// SPDX-License-Identifier: Apache-2.0

package cloud

import (
	"fmt"
	"slices"
	"time"

	clb "github.com/tencentcloud/tencentcloud-sdk-go/tencentcloud/clb/v20180317"
)

// listener is one port of a load balancer.
type listener struct {
	pool     // of layer 4; at layer 7 the rules have their own
	lb       *loadBalancer
	cloud    *Cloud
	id, name string
	protocol string
	port     int64
	endPort  int64 // of a range of ports; 0: it has one
	created  time.Time
	settings settings
	rules    []*rule // of layer 7, oldest first
}

// maxPorts is not documented: the API has been seen to answer "should be less
// than 50".
const maxPorts = 49

func createListener(k *call, in *clb.CreateListenerRequest) (*clb.CreateListenerResponseParams, *Error) {
	if err := checkPorts(in); err != nil {
		return nil, err
	}
	protocol, err := checkProtocol(in.Protocol)
	if err != nil {
		return nil, err
	}
	for i, name := range in.ListenerNames {
		if err := checkName(fmt.Sprintf("ListenerNames.%d", i), name); err != nil {
			return nil, err
		}
	}
	lb, err := k.loadBalancer(in.LoadBalancerId)
	if err != nil {
		return nil, err
	}
	conf, err := newSettings(lb.kindOf(protocol)).with(createOptions(in), lb.kindOf(protocol), k.cloud)
	if err != nil {
		return nil, err
	}
	if err := k.lock(lb); err != nil {
		return nil, err
	}
	for _, p := range in.Ports {
		if l := lb.listenerOn(protocol, *p); l != nil {
			return nil, errorf(codePortConflict, "The port %d/%s is in use by the listener %s.", *p, protocol, l.id)
		}
	}
	if err := overQuota("listeners of "+lb.id, int64(len(lb.listeners)), int64(len(in.Ports)), k.quota(QuotaListeners)); err != nil {
		return nil, err
	}
	var made []*listener
	var ids []string
	for i, p := range in.Ports {
		l := &listener{
			lb: lb, cloud: k.cloud, protocol: protocol, port: *p, settings: conf,
			id: newID("lbl-", func(id string) bool { return lb.listener(id) != nil || slices.Contains(ids, id) }),
		}
		l.pool.listener = l
		if i < len(in.ListenerNames) {
			l.name = *in.ListenerNames[i]
		}
		made, ids = append(made, l), append(ids, l.id)
	}
	k.start([]*loadBalancer{lb}, func(now time.Time) string {
		if k.lbs[lb.id] != lb {
			return "LB not exist: " + lb.id
		}
		for _, l := range made {
			if other := lb.listenerOn(l.protocol, l.port); other != nil {
				return fmt.Sprintf("The port %d/%s is in use by the listener %s.", l.port, l.protocol, other.id)
			}
		}
		for _, l := range made {
			l.created = now
			lb.listeners = append(lb.listeners, l)
		}
		return ""
	})
	return &clb.CreateListenerResponseParams{ListenerIds: pointers(ids)}, nil
}

func checkPorts(in *clb.CreateListenerRequest) *Error {
	switch {
	case len(in.Ports) == 0:
		return missing("Ports")
	case len(in.Ports) > maxPorts:
		return errorf(codeLength, "The length of Ports is %d, it should be less than 50.", len(in.Ports))
	case in.EndPort != nil || len(in.FullEndPorts) > 0:
		return errorf(codeUnsupported, "clbsim does not make listeners of port ranges (EndPort, FullEndPorts): only an existing CLB may have them.")
	case len(in.ListenerNames) > 0 && len(in.ListenerNames) != len(in.Ports):
		return errorf(codeValue, "%d ListenerNames for %d Ports: the numbers should be the same.", len(in.ListenerNames), len(in.Ports))
	}
	seen := map[int64]bool{}
	for _, p := range in.Ports {
		switch {
		case *p < 1 || *p > 65535:
			return errorf(codeValue, "The port %d is out of range, it should be 1 to 65535.", *p)
		case seen[*p]:
			return errorf(codeValue, "The port %d is given twice.", *p)
		}
		seen[*p] = true
	}
	return nil
}

func (lb *loadBalancer) listener(id string) *listener {
	for _, l := range lb.listeners {
		if l.id == id {
			return l
		}
	}
	return nil
}

// listenerOn returns the listener that has a port, for a new one of a protocol.
// TCP, TCP_SSL, HTTP and HTTPS share one space of ports, UDP and QUIC another.
func (lb *loadBalancer) listenerOn(protocol string, port int64) *listener {
	for _, l := range lb.listeners {
		if transport(l.protocol) == transport(protocol) && l.port <= port && port <= max(l.port, l.endPort) {
			return l
		}
	}
	return nil
}

// listener finds a listener by the ListenerId of a request.
func (k *call) listener(lb *loadBalancer, field string, id *string) (*listener, *Error) {
	if value(id) == "" {
		return nil, missing(field)
	}
	if l := lb.listener(*id); l != nil {
		return l, nil
	}
	return nil, errorf(codeListenerNotFound, "Listener not exist: %s of %s.", *id, lb.id)
}

func describeListeners(k *call, in *clb.DescribeListenersRequest) (*clb.DescribeListenersResponseParams, *Error) {
	if len(in.ListenerIds) > 100 {
		return nil, errorf(codeLength, "The length of ListenerIds is %d, it should be at most 100.", len(in.ListenerIds))
	}
	lb, err := k.loadBalancer(in.LoadBalancerId)
	if err != nil {
		return nil, err
	}
	out := &clb.DescribeListenersResponseParams{Listeners: []*clb.Listener{}}
	for _, l := range lb.listeners {
		if l.selected(in.ListenerIds, in.Protocol, in.Port) {
			out.Listeners = append(out.Listeners, l.wire())
		}
	}
	out.TotalCount = new(uint64(len(out.Listeners)))
	return out, nil
}

// selected applies the three parameters by which listeners are chosen.
func (l *listener) selected(ids []*string, protocol *string, port *int64) bool {
	return (len(ids) == 0 || slices.ContainsFunc(ids, func(id *string) bool { return value(id) == l.id })) &&
		equal(protocol, l.protocol) && equal(port, l.port)
}

func modifyListener(k *call, in *clb.ModifyListenerRequest) (*clb.ModifyListenerResponseParams, *Error) {
	if err := checkName("ListenerName", in.ListenerName); err != nil {
		return nil, err
	}
	lb, err := k.locked(in.LoadBalancerId)
	if err != nil {
		return nil, err
	}
	l, err := k.listener(lb, "ListenerId", in.ListenerId)
	if err != nil {
		return nil, err
	}
	after, err := l.settings.with(modifyOptions(in), lb.kindOf(l.protocol), k.cloud)
	if err != nil {
		return nil, err
	}
	k.start([]*loadBalancer{lb}, func(now time.Time) string {
		if lb.listener(l.id) != l {
			return "Listener not exist: " + l.id
		}
		set(&l.name, in.ListenerName)
		before := l.settings
		l.settings = after
		if l.settings.sni && !before.sni {
			l.handDownCertificate()
		}
		l.recheck(before.check, now)
		return ""
	})
	return &clb.ModifyListenerResponseParams{}, nil
}

func deleteListener(k *call, in *clb.DeleteListenerRequest) (*clb.DeleteListenerResponseParams, *Error) {
	lb, err := k.locked(in.LoadBalancerId)
	if err != nil {
		return nil, err
	}
	l, err := k.listener(lb, "ListenerId", in.ListenerId)
	if err != nil {
		return nil, err
	}
	k.startDeletion(lb, []*listener{l})
	return &clb.DeleteListenerResponseParams{}, nil
}

// deleteLoadBalancerListeners has a trap: without ids it deletes every
// listener, also those of others on a shared CLB.
func deleteLoadBalancerListeners(k *call, in *clb.DeleteLoadBalancerListenersRequest) (*clb.DeleteLoadBalancerListenersResponseParams, *Error) {
	if len(in.ListenerIds) > 20 {
		return nil, errorf(codeLength, "The length of ListenerIds is %d, it should be at most 20.", len(in.ListenerIds))
	}
	lb, err := k.locked(in.LoadBalancerId)
	if err != nil {
		return nil, err
	}
	var doomed []*listener
	for _, id := range in.ListenerIds {
		l, err := k.listener(lb, "ListenerIds", id)
		if err != nil {
			return nil, err
		}
		doomed = append(doomed, l)
	}
	if len(doomed) == 0 {
		doomed = slices.Clone(lb.listeners)
	}
	k.startDeletion(lb, doomed)
	return &clb.DeleteLoadBalancerListenersResponseParams{}, nil
}

func (k *call) startDeletion(lb *loadBalancer, doomed []*listener) {
	k.start([]*loadBalancer{lb}, func(time.Time) string {
		for _, l := range doomed {
			for _, p := range l.pools() {
				p.drop()
			}
		}
		lb.listeners = slices.DeleteFunc(lb.listeners, func(l *listener) bool { return slices.Contains(doomed, l) })
		return ""
	})
}

func (l *listener) wire() *clb.Listener {
	s := l.settings
	out := &clb.Listener{
		ListenerId: &l.id, ListenerName: new(l.name), Protocol: &l.protocol, Port: &l.port, CreateTime: wireTime(l.created), EndPort: new(l.endPort),
		SniSwitch: new(int64(0)), TargetType: new("NODE"), KeepaliveEnable: new(s.keepalive), DeregisterTargetRst: new(s.deregisterRst),
		AttrFlags: s.attributes(), MaxConn: new(s.maxConn), MaxCps: new(s.maxCps), Certificate: s.certificate.wire(),
		RescheduleStartTime: new(s.rescheduleStart), RescheduleInterval: new(uint64(s.rescheduleInterval)),
	}
	if s.sni {
		out.SniSwitch = new(int64(1))
	}
	if layer7(l.protocol) {
		out.Rules, out.DataCompressMode = []*clb.RuleOutput{}, new(s.compress)
		for _, r := range l.rules {
			out.Rules = append(out.Rules, r.wire())
		}
		return out
	}
	out.HealthCheck, out.Scheduler = s.check.wire(l.protocol), new(s.scheduler)
	out.SessionExpireTime, out.SessionType, out.IdleConnectTimeout = new(s.sessionExpire), new(s.sessionType), new(s.idleTimeout)
	return out
}
