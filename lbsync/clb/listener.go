// SPDX-License-Identifier: Apache-2.0

package clb

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	clbapi "github.com/tencentcloud/tencentcloud-sdk-go/tencentcloud/clb/v20180317"

	"github.com/clbsync/clbsync/lbsync"
)

// What one request takes.
const (
	portsPerCreate     = 49 // the documents say 50; 50 are refused
	listenersPerDelete = 20
)

const (
	fromVIP    = 0  // SourceIpType: probes come from the CLB's address
	fromProbes = 1  // 100.64.0.0/10, which no route or security group of a VPC has to know
	code2xx    = 2  // CLB's own default is 31: even 503 is healthy
	ownPort    = -1 // CheckPort: back to the target's port
	byWeight   = "WRR"
	mutual     = "MUTUAL"
	oneWay     = "UNIDIRECTIONAL"
)

// CreateListeners implements lbsync.API: one request for all listeners that differ in port and name alone, or for all rules of a
// listener, and one for each of them if CLB refuses that.
func (c *Client) CreateListeners(ctx context.Context, lb string, listeners []lbsync.Listener) ([]string, error) {
	ids := make([]string, len(listeners))
	var refused lbsync.Refusals
	for _, group := range groups(listeners) {
		create, most := c.createListeners, portsPerCreate
		if listeners[group[0]].Rule() {
			create, most = c.createRules, rulesPerCreate
		}
		for parts := slices.Collect(slices.Chunk(group, most)); len(parts) > 0; {
			part := parts[0]
			parts = parts[1:]
			made, err := create(ctx, lb, listeners, part)
			switch {
			case err == nil:
				for n, i := range part {
					ids[i] = made[n]
				}
			case !lbsync.Refusable(err):
				return nil, err
			case len(part) == 1:
				refused = append(refused, lbsync.Refusal{Listener: listeners[part[0]], Err: err})
			default:
				parts = append(slices.Collect(slices.Chunk(part, 1)), parts...)
			}
		}
	}
	return ids, unlessNone(refused)
}

// createListeners makes listeners of equal settings and returns their IDs in the order of part.
func (c *Client) createListeners(ctx context.Context, lb string, listeners []lbsync.Listener, part []int) ([]string, error) {
	first := listeners[part[0]]
	req := clbapi.NewCreateListenerRequest()
	req.LoadBalancerId = &lb
	req.Protocol = new(string(first.Protocol))
	if !layer7(first.Protocol) {
		req.HealthCheck = healthCheck(first, false)
		req.Scheduler = new(first.Scheduler.String())
	}
	if transparent(first.Protocol) {
		req.SessionExpireTime = new(int64(first.SessionExpire / time.Second))
	}
	if first.IdleTimeout > 0 {
		req.IdleConnectTimeout = new(int64(first.IdleTimeout / time.Second))
	}
	if first.SNI {
		req.SniSwitch = new(int64(1))
	}
	if first.KeepAlive {
		req.KeepaliveEnable = new(int64(1))
	}
	req.Certificate, req.MultiCertInfo = certificate(first.Certificate)
	for _, i := range part {
		req.Ports = append(req.Ports, new(int64(listeners[i].Port)))
		req.ListenerNames = append(req.ListenerNames, new(listeners[i].Name))
	}
	resp, err := change(ctx, c, lb, nil, "CreateListener", c.clb.CreateListenerWithContext, req)
	if err != nil {
		return nil, err
	}
	made := values(resp.Response.ListenerIds)
	if len(made) != len(part) {
		return nil, &lbsync.Error{Action: "CreateListener", RequestID: deref(resp.Response.RequestId),
			Err: fmt.Errorf("asked for %d listeners, the answer has the IDs %q", len(part), made)}
	}
	return made, nil
}

// groups returns the indices of listeners with equal settings, and of rules of one listener, in the order of their first.
func groups(listeners []lbsync.Listener) [][]int {
	var out [][]int
	at := map[lbsync.Listener]int{}
	for i, l := range listeners {
		// What is left is what one request has in common.
		l.Port, l.Name = 0, ""
		if l.Rule() {
			l = lbsync.Listener{ID: l.ID, ListenerKey: lbsync.ListenerKey{Domain: "any"}}
		}
		n, ok := at[l]
		if !ok {
			n = len(out)
			at[l], out = n, append(out, nil)
		}
		out[n] = append(out[n], i)
	}
	return out
}

func layer7(p lbsync.Protocol) bool { return p == lbsync.HTTP || p == lbsync.HTTPS }

// transparent reports whether a listener ends no TLS and knows no requests: CLB has some settings for those alone.
func transparent(p lbsync.Protocol) bool { return p == lbsync.TCP || p == lbsync.UDP }

// ModifyListener implements lbsync.API. It sends every setting: what is left out stays as it was. Not so the idle timeout, which
// some accounts may not set: it is sent if it is to be another one.
func (c *Client) ModifyListener(ctx context.Context, lb string, ch lbsync.ListenerChange) error {
	to := ch.To
	if err := named("ModifyListener", to.ListenerKey, to.ID); err != nil {
		return err
	}
	if to.Rule() {
		return c.modifyRule(ctx, lb, ch)
	}
	req := clbapi.NewModifyListenerRequest()
	req.LoadBalancerId, req.ListenerId, req.ListenerName = &lb, &to.ID, &to.Name
	if !layer7(to.Protocol) {
		req.HealthCheck = healthCheck(to, true)
		req.Scheduler = new(to.Scheduler.String())
	} else if to.KeepAlive != ch.From.KeepAlive {
		req.KeepaliveEnable = new(number(to.KeepAlive))
	}
	if transparent(to.Protocol) {
		req.SessionExpireTime = new(int64(to.SessionExpire / time.Second))
	}
	if to.IdleTimeout != ch.From.IdleTimeout {
		req.IdleConnectTimeout = new(int64(cmp.Or(to.IdleTimeout, to.Protocol.IdleDefault()) / time.Second))
	}
	if to.SNI {
		req.SniSwitch = new(int64(1))
	}
	req.Certificate, req.MultiCertInfo = certificate(to.Certificate)
	_, err := change(ctx, c, lb, []string{to.ID}, "ModifyListener", c.clb.ModifyListenerWithContext, req)
	return err
}

func number(is bool) int64 {
	if is {
		return 1
	}
	return 0
}

// certificate is what a certificate is sent as: one, or several of different algorithms; nil for none.
func certificate(c lbsync.Certificate) (*clbapi.CertificateInput, *clbapi.MultiCertInfo) {
	if c.IDs == "" {
		return nil, nil
	}
	mode, ids := oneWay, strings.Split(c.IDs, ",")
	if c.CA != "" {
		mode = mutual
	}
	if len(ids) == 1 {
		one := &clbapi.CertificateInput{SSLMode: &mode, CertId: &ids[0]}
		if c.CA != "" {
			one.CertCaId = &c.CA
		}
		return one, nil
	}
	many := &clbapi.MultiCertInfo{SSLMode: &mode}
	if c.CA != "" {
		ids = append(ids, c.CA)
	}
	for i := range ids {
		many.CertList = append(many.CertList, &clbapi.CertInfo{CertId: &ids[i]})
	}
	return nil, many
}

// certificateOf is a certificate in lbsync's words.
func certificateOf(c *clbapi.CertificateOutput) lbsync.Certificate {
	if c == nil || deref(c.CertId) == "" {
		return lbsync.Certificate{}
	}
	out := lbsync.Certificate{IDs: strings.Join(append([]string{*c.CertId}, values(c.ExtCertIds)...), ",")}
	if deref(c.SSLMode) == mutual {
		out.CA = deref(c.CertCaId)
	}
	return out
}

// DeleteListeners implements lbsync.API. CLB refuses a request that names one listener, or rule, that is gone, so the rest is
// asked for again without it.
func (c *Client) DeleteListeners(ctx context.Context, lb string, listeners []lbsync.Listener) error {
	var ids, rules []string
	for _, l := range listeners {
		if err := named(actionDeleteListeners, l.ListenerKey, l.ID); err != nil {
			return err
		}
		if l.Rule() {
			rules = append(rules, l.ID)
		} else {
			ids = append(ids, l.ID)
		}
	}
	if err := c.deleteRules(ctx, lb, rules); err != nil {
		return err
	}
	for part := range slices.Chunk(ids, listenersPerDelete) {
		if err := c.deleteListeners(ctx, lb, part); err != nil {
			return err
		}
	}
	return nil
}

const actionDeleteListeners = "DeleteLoadBalancerListeners"

func (c *Client) deleteListeners(ctx context.Context, lb string, ids []string) error {
	for len(ids) > 0 { // a request without IDs deletes every listener of the CLB
		req := clbapi.NewDeleteLoadBalancerListenersRequest()
		req.LoadBalancerId, req.ListenerIds = &lb, pointers(ids)
		_, err := change(ctx, c, lb, ids, actionDeleteListeners, c.clb.DeleteLoadBalancerListenersWithContext, req)
		if k := lbsync.KindOf(err); err == nil || k != lbsync.NotFound && k != lbsync.Invalid {
			return err
		}
		have, readErr := c.listeners(ctx, lb)
		if readErr != nil {
			if lbsync.KindOf(readErr) == lbsync.NotFound {
				return nil
			}
			return errors.Join(err, readErr)
		}
		left := slices.DeleteFunc(slices.Clone(ids), func(id string) bool { return !contains(have, []string{id}) })
		if len(left) == len(ids) {
			return err // none of them is gone: it is something else
		}
		ids = left
	}
	return nil
}

// named refuses a listener without ID before CLB takes the lack of it for another request.
func named(action string, key lbsync.ListenerKey, id string) error {
	if id != "" {
		return nil
	}
	return &lbsync.Error{Kind: lbsync.NotFound, Action: action, Err: fmt.Errorf("listener %s has no ID: it has not been created", key)}
}

// listeners reads all listeners of a CLB; the API has no pages for them.
func (c *Client) listeners(ctx context.Context, lb string) ([]*clbapi.Listener, error) {
	req := clbapi.NewDescribeListenersRequest()
	req.LoadBalancerId = &lb
	resp, _, err := call(ctx, c, "DescribeListeners", c.clb.DescribeListenersWithContext, req)
	if err != nil {
		return nil, err
	}
	have, total := resp.Response.Listeners, resp.Response.TotalCount
	if total != nil && *total != uint64(len(have)) {
		// A list that is cut off would have the rest created once more.
		return nil, &lbsync.Error{Action: "DescribeListeners", RequestID: deref(resp.Response.RequestId), Err: fmt.Errorf("%s has %d listeners, the answer has %d", lb, *total, len(have))}
	}
	return have, nil
}

// healthCheck is a listener's or rule's check as CLB takes it. reset undoes what an earlier check may have set.
func healthCheck(l lbsync.Listener, reset bool) *clbapi.HealthCheck {
	h := l.Check
	if !h.On {
		return &clbapi.HealthCheck{HealthSwitch: new(int64(0))}
	}
	out := &clbapi.HealthCheck{
		HealthSwitch: new(int64(1)),
		CheckType:    new(string(h.Type)),
		IntervalTime: new(int64(h.Interval / time.Second)),
		TimeOut:      new(int64(h.Timeout / time.Second)),
		HealthNum:    new(int64(h.Healthy)),
		UnHealthNum:  new(int64(h.Unhealthy)),
		SourceIpType: new(int64(fromProbes)),
	}
	if h.FromVIP {
		out.SourceIpType = new(int64(fromVIP))
	}
	switch {
	case h.Port != 0:
		out.CheckPort = new(int64(h.Port))
	case reset && transparent(l.Protocol):
		out.CheckPort = new(int64(ownPort))
	}
	if h.Type == lbsync.CheckHTTP || h.Type == lbsync.CheckHTTPS {
		out.HttpCode = new(int64(cmp.Or(h.Codes, code2xx)))
		out.HttpCheckMethod = new("GET") // HEAD is CLB's default, which many a health handler does not answer
		if h.Head {
			out.HttpCheckMethod = new("HEAD")
		}
		if !l.Rule() { // mandatory there, with the domain
			out.HttpVersion = new("HTTP/1.1")
			if h.HTTP10 {
				out.HttpVersion = new("HTTP/1.0")
			}
		}
	}
	if h.Type != lbsync.CheckTCP && h.Type != lbsync.CheckPing {
		out.HttpCheckPath, out.HttpCheckDomain = &h.Path, &h.Domain
	}
	return out
}

// listener is a listener in lbsync's words: equal to the one it was made from.
func listener(l *clbapi.Listener) lbsync.Listener {
	out := lbsync.Listener{
		ListenerKey:   lbsync.ListenerKey{Protocol: lbsync.Protocol(deref(l.Protocol)), Port: uint16(deref(l.Port))},
		ID:            deref(l.ListenerId),
		Name:          deref(l.ListenerName),
		SessionExpire: time.Duration(deref(l.SessionExpireTime)) * time.Second,
		Scheduler:     schedulerOf(l.Scheduler),
		SNI:           deref(l.SniSwitch) == 1,
		KeepAlive:     deref(l.KeepaliveEnable) == 1,
		Certificate:   certificateOf(l.Certificate),
	}
	if end := deref(l.EndPort); end > int64(out.Port) && end <= math.MaxUint16 {
		out.EndPort = uint16(end)
	}
	if !layer7(out.Protocol) {
		out.Check = check(l.HealthCheck, out.ListenerKey)
	}
	if idle := time.Duration(deref(l.IdleConnectTimeout)) * time.Second; transparent(out.Protocol) && idle != out.Protocol.IdleDefault() {
		out.IdleTimeout = idle
	}
	return out
}

func schedulerOf(s *string) lbsync.Scheduler {
	if deref(s) == byWeight {
		return ""
	}
	return lbsync.Scheduler(deref(s))
}

// check is a check in lbsync's words. What CLB does not answer counts as it should be: it could never be mended.
func check(h *clbapi.HealthCheck, of lbsync.ListenerKey) lbsync.HealthCheck {
	if h == nil || deref(h.HealthSwitch) == 0 {
		return lbsync.HealthCheck{} // CLB still answers with the settings of a check that is off
	}
	out := lbsync.HealthCheck{
		On:        true,
		Type:      lbsync.CheckType(deref(h.CheckType)),
		Interval:  time.Duration(deref(h.IntervalTime)) * time.Second,
		Timeout:   time.Duration(deref(h.TimeOut)) * time.Second,
		Healthy:   int(deref(h.HealthNum)),
		Unhealthy: int(deref(h.UnHealthNum)),
		FromVIP:   h.SourceIpType != nil && *h.SourceIpType == fromVIP,
	}
	if out.Type == "" {
		out.Type = lbsync.CheckTCP
		switch {
		case of.Protocol == lbsync.UDP:
			out.Type = lbsync.CheckPing
		case of.Rule():
			out.Type = lbsync.CheckHTTP
		}
	}
	if p := deref(h.CheckPort); p > 0 && transparent(of.Protocol) {
		out.Port = uint16(p)
	}
	// What a former HTTP check leaves behind means nothing to another.
	if out.Type != lbsync.CheckTCP && out.Type != lbsync.CheckPing {
		out.Path, out.Domain = deref(h.HttpCheckPath), deref(h.HttpCheckDomain)
	}
	if out.Type == lbsync.CheckHTTP || out.Type == lbsync.CheckHTTPS {
		if code := int(deref(h.HttpCode)); code != code2xx {
			out.Codes = code
		}
		out.Head = deref(h.HttpCheckMethod) == "HEAD"
		out.HTTP10 = deref(h.HttpVersion) == "HTTP/1.0" && !of.Rule()
	}
	return out
}
