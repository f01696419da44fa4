// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Client speaks to an admin port. It is safe for concurrent use.
type Client struct {
	base string
	http *http.Client
}

// New returns a client of the admin port at a URL such as
// http://127.0.0.1:8091.
func New(baseURL string) *Client { return NewWithTransport(baseURL, nil) }

// NewWithTransport returns a client that sends its requests through rt; nil
// is http.DefaultTransport.
func NewWithTransport(baseURL string, rt http.RoundTripper) *Client {
	return &Client{base: strings.TrimSuffix(baseURL, "/"), http: &http.Client{Transport: rt}}
}

// longPoll is how long the server may keep a waiting request open.
const longPoll = 30 * time.Second

// Ready returns nil once clbsim answers.
func (c *Client) Ready(ctx context.Context) error {
	return c.do(ctx, http.MethodGet, "/healthz", nil, nil, nil)
}

// Calls returns every call with Seq > since, in order of arrival. Calls that
// are not answered yet have Done false.
func (c *Client) Calls(ctx context.Context, since int) ([]Call, error) {
	var out Calls
	err := c.do(ctx, http.MethodGet, "/calls", url.Values{"since": {strconv.Itoa(since)}}, nil, &out)
	return out.Calls, err
}

// WaitCall returns the first call after since, in order of arrival, that
// matches: at once if there is one, else as soon as there is one. A call is
// offered to match when it arrives and again when it is answered. The error
// is ctx's if it ends first.
func (c *Client) WaitCall(ctx context.Context, since int, match func(Call) bool) (Call, error) {
	version := 0
	for {
		var out Calls
		q := url.Values{"since": {strconv.Itoa(since)}, "version": {strconv.Itoa(version)}, "wait": {longPoll.String()}}
		if err := c.do(ctx, http.MethodGet, "/calls", q, nil, &out); err != nil {
			return Call{}, err
		}
		version = out.Version
		for _, call := range out.Calls {
			if match(call) {
				return call, nil
			}
		}
	}
}

// State returns everything that exists.
func (c *Client) State(ctx context.Context) (State, error) {
	var out State
	err := c.do(ctx, http.MethodGet, "/state", nil, nil, &out)
	return out, err
}

// WaitState returns the first state for which ok holds. It looks again after
// every change. The error is ctx's if it ends first, and comes with the last
// state that was seen.
func (c *Client) WaitState(ctx context.Context, ok func(State) bool) (State, error) {
	last := State{Version: -1}
	for {
		var now State
		q := url.Values{"version": {strconv.Itoa(last.Version)}, "wait": {longPoll.String()}}
		if err := c.do(ctx, http.MethodGet, "/state", q, nil, &now); err != nil {
			return last, err
		}
		if ok(now) {
			return now, nil
		}
		last = now
	}
}

// AddFault injects a fault and returns its id.
func (c *Client) AddFault(ctx context.Context, f Fault) (id string, err error) {
	var out struct{ ID string }
	err = c.do(ctx, http.MethodPost, "/faults", nil, f, &out)
	return out.ID, err
}

// Faults returns the faults that have not been used up or cleared.
func (c *Client) Faults(ctx context.Context) ([]Fault, error) {
	var out []Fault
	err := c.do(ctx, http.MethodGet, "/faults", nil, nil, &out)
	return out, err
}

// ClearFaults removes the named faults, or all without names. Calls that they
// hold go on, tasks that they keep from ending end.
func (c *Client) ClearFaults(ctx context.Context, ids ...string) error {
	return c.do(ctx, http.MethodDelete, "/faults", url.Values{"id": ids}, nil, nil)
}

// Console makes an edit as a user of the cloud's console makes it: any action
// with its API parameters, at once, without signature, lock, delay, rate limit
// or record in Calls. The request may be a struct of the SDK; response may be
// nil, or a pointer to a *ResponseParams of the SDK.
func (c *Client) Console(ctx context.Context, action string, request, response any) error {
	return c.do(ctx, http.MethodPost, "/console/"+url.PathEscape(action), nil, request, response)
}

// OverrideHealth forces the health of targets. It acts through the probes that
// follow.
func (c *Client) OverrideHealth(ctx context.Context, o Override) error {
	return c.do(ctx, http.MethodPut, "/health", nil, o, nil)
}

// ClearOverrides ends all overrides of health.
func (c *Client) ClearOverrides(ctx context.Context) error {
	return c.do(ctx, http.MethodDelete, "/health", nil, nil, nil)
}

// PutInstance adds an instance, or replaces the one with its id.
func (c *Client) PutInstance(ctx context.Context, i Instance) error {
	return c.do(ctx, http.MethodPost, "/instances", nil, i, nil)
}

// DeleteInstance terminates an instance.
func (c *Client) DeleteInstance(ctx context.Context, id string) error {
	return c.do(ctx, http.MethodDelete, "/instances/"+url.PathEscape(id), nil, nil, nil)
}

// PutLoadBalancer adds a CLB that nobody ordered through the API.
func (c *Client) PutLoadBalancer(ctx context.Context, lb ExistingLoadBalancer) error {
	return c.do(ctx, http.MethodPost, "/loadbalancers", nil, lb, nil)
}

// Isolate puts a CLB into isolation for arrears, or takes it out of it.
func (c *Client) Isolate(ctx context.Context, id string, isolated bool) error {
	return c.do(ctx, http.MethodPut, "/loadbalancers/"+url.PathEscape(id)+"/isolated", nil, Isolation{isolated}, nil)
}

// Error is what the admin port answers to a request that it refuses.
type Error struct {
	Status int    `json:"-"`
	Text   string `json:"error"`
}

func (e *Error) Error() string {
	return fmt.Sprintf("clbsim admin port: %s (HTTP %d)", e.Text, e.Status)
}

func (c *Client) do(ctx context.Context, method, path string, query url.Values, in, out any) error {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return fmt.Errorf("clbsim admin port: %s %s: %w", method, path, err)
		}
		body = bytes.NewReader(b)
	}
	u := c.base + path
	if len(query) > 0 {
		u += "?" + query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, method, u, body)
	if err != nil {
		return fmt.Errorf("clbsim admin port: %w", err)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return fmt.Errorf("clbsim admin port: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode/100 != 2 {
		e := &Error{Status: resp.StatusCode}
		if err := json.NewDecoder(resp.Body).Decode(e); err != nil {
			e.Text = errors.Join(errors.New(resp.Status), err).Error()
		}
		return e
	}
	if out == nil {
		return nil
	}
	if err := json.NewDecoder(resp.Body).Decode(out); err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return fmt.Errorf("clbsim admin port: %s %s: %w", method, path, err)
	}
	return nil
}
