// SPDX-License-Identifier: Apache-2.0

package clb

import (
	"context"
	"errors"
	"fmt"
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
	sourceProbes = 1  // 100.64.0.0/10, which no route or security group of a VPC has to know; 0 is the CLB's own VIP
	code2xx      = 2  // CLB's own default is 31: even 503 is healthy
	ownPort      = -1 // CheckPort: back to the target's port
	scheduler    = "WRR"
)

// settings are what listeners of one CreateListener request have in common.
type settings struct {
	protocol lbsync.Protocol
	check    lbsync.HealthCheck
	session  time.Duration
}

// CreateListeners implements lbsync.API: one request for all listeners that differ in port and name alone, and one for
// each of them if CLB refuses that.
func (c *Client) CreateListeners(ctx context.Context, lb string, listeners []lbsync.Listener) ([]string, error) {
	ids := make([]string, len(listeners))
	var refused lbsync.Refusals
	for _, group := range groups(listeners) {
		for parts := slices.Collect(slices.Chunk(group, portsPerCreate)); len(parts) > 0; {
			part := parts[0]
			parts = parts[1:]
			made, err := c.createListeners(ctx, lb, listeners, part)
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
	req.HealthCheck = healthCheck(first.Check, false)
	req.SessionExpireTime = new(int64(first.SessionExpire / time.Second))
	req.Scheduler = new(scheduler)
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

// groups returns the indices of listeners with equal settings, in the order of their first.
func groups(listeners []lbsync.Listener) [][]int {
	var out [][]int
	at := map[settings]int{}
	for i, l := range listeners {
		s := settings{l.Protocol, l.Check, l.SessionExpire}
		n, ok := at[s]
		if !ok {
			n = len(out)
			at[s], out = n, append(out, nil)
		}
		out[n] = append(out[n], i)
	}
	return out
}

// ModifyListener implements lbsync.API. It sends every setting: what is left out stays as it was.
func (c *Client) ModifyListener(ctx context.Context, lb string, to lbsync.Listener) error {
	if err := named("ModifyListener", to.ListenerKey, to.ID); err != nil {
		return err
	}
	req := clbapi.NewModifyListenerRequest()
	req.LoadBalancerId, req.ListenerId, req.ListenerName = &lb, &to.ID, &to.Name
	req.HealthCheck = healthCheck(to.Check, true)
	req.SessionExpireTime = new(int64(to.SessionExpire / time.Second))
	req.Scheduler = new(scheduler)
	_, err := change(ctx, c, lb, []string{to.ID}, "ModifyListener", c.clb.ModifyListenerWithContext, req)
	return err
}

// DeleteListeners implements lbsync.API. CLB refuses a request that names one listener that is gone, so the rest is asked
// for again without it.
func (c *Client) DeleteListeners(ctx context.Context, lb string, listeners []lbsync.Listener) error {
	ids := make([]string, 0, len(listeners))
	for _, l := range listeners {
		if err := named(actionDeleteListeners, l.ListenerKey, l.ID); err != nil {
			return err
		}
		ids = append(ids, l.ID)
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

// healthCheck is a check as CLB takes it. reset undoes what an earlier check may have set.
func healthCheck(h lbsync.HealthCheck, reset bool) *clbapi.HealthCheck {
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
		SourceIpType: new(int64(sourceProbes)),
	}
	switch {
	case h.Port != 0:
		out.CheckPort = new(int64(h.Port))
	case reset:
		out.CheckPort = new(int64(ownPort))
	}
	if h.Type == lbsync.CheckHTTP {
		out.HttpCode = new(int64(code2xx))
		out.HttpVersion = new("HTTP/1.1") // mandatory here, with the domain
		out.HttpCheckMethod = new("GET")  // HEAD is the default, which many a health handler does not answer
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
		Check:         check(l.HealthCheck, deref(l.Protocol)),
		SessionExpire: time.Duration(deref(l.SessionExpireTime)) * time.Second,
	}
	if out.Ours() {
		out.Odd = odd(l, healthCheck(out.Check, true))
	}
	return out
}

// odd names the settings that this controller never varies and that a listener has otherwise than sent, which is
// what would be written to it now. What CLB does not answer counts as it should be: it could never be mended.
func odd(l *clbapi.Listener, sent *clbapi.HealthCheck) string {
	have := l.HealthCheck
	if have == nil {
		have = &clbapi.HealthCheck{}
	}
	var names []string
	names = deviates(names, "HttpCode", have.HttpCode, sent.HttpCode)
	names = deviates(names, "HttpVersion", have.HttpVersion, sent.HttpVersion)
	names = deviates(names, "HttpCheckMethod", have.HttpCheckMethod, sent.HttpCheckMethod)
	names = deviates(names, "SourceIpType", have.SourceIpType, sent.SourceIpType)
	names = deviates(names, "Scheduler", l.Scheduler, new(scheduler))
	return strings.Join(names, ", ")
}

func deviates[T comparable](names []string, name string, have, sent *T) []string {
	if have == nil || sent == nil || *have == *sent || any(*have) == any("") {
		return names
	}
	return append(names, fmt.Sprintf("%s %v", name, *have))
}

func check(h *clbapi.HealthCheck, protocol string) lbsync.HealthCheck {
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
	}
	if out.Type == "" {
		out.Type = lbsync.CheckTCP
		if protocol == string(lbsync.UDP) {
			out.Type = lbsync.CheckPing
		}
	}
	if p := deref(h.CheckPort); p > 0 {
		out.Port = uint16(p)
	}
	if out.Type == lbsync.CheckHTTP { // what a former HTTP check leaves behind means nothing
		out.Path, out.Domain = deref(h.HttpCheckPath), deref(h.HttpCheckDomain)
	}
	return out
}
