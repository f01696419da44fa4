// SPDX-License-Identifier: Apache-2.0

package cloud

import (
	"bytes"
	"encoding/json"
	"fmt"
	"testing"
	"time"
)

var testStart = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

var requests int

// do carries out a call that must succeed and returns its answer as JSON.
func (c *Cloud) do(t *testing.T, now time.Time, action, body string) map[string]any {
	t.Helper()
	out, err := c.try(now, action, body)
	if err != nil {
		t.Fatalf("%s %s: %v", action, body, err)
	}
	return out
}

// try carries out a call.
func (c *Cloud) try(now time.Time, action, body string) (map[string]any, *Error) {
	requests++
	c.Advance(now)
	reply, err := c.Do(Request{Action: actionByName(action), Region: "ap-guangzhou", ID: fmt.Sprint("request-", requests), Body: []byte(body), Now: now})
	if err != nil {
		return nil, err
	}
	b, _ := json.Marshal(reply.Body)
	out := map[string]any{}
	_ = json.Unmarshal(b, &out)
	return out, nil
}

func first(v any) string {
	list, _ := v.([]any)
	if len(list) == 0 {
		return ""
	}
	s, _ := list[0].(string)
	return s
}

// seed creates a CLB with a TCP listener.
func (c *Cloud) seed(t *testing.T, now time.Time) (lb, listener string) {
	t.Helper()
	lb = first(c.do(t, now, "CreateLoadBalancer", `{"LoadBalancerType":"OPEN"}`)["LoadBalancerIds"])
	listener = first(c.do(t, now, "CreateListener", `{"LoadBalancerId":"`+lb+`","Ports":[80],"Protocol":"TCP"}`)["ListenerIds"])
	return lb, listener
}

// seedRule creates an HTTPS listener with SNI that has the rule a.example/.
func (c *Cloud) seedRule(t *testing.T, now time.Time, lb string) (listener, location string) {
	t.Helper()
	listener = first(c.do(t, now, "CreateListener", `{"LoadBalancerId":"`+lb+`","Ports":[443],"Protocol":"HTTPS","SniSwitch":1}`)["ListenerIds"])
	location = first(c.do(t, now, "CreateRule", `{"LoadBalancerId":"`+lb+`","ListenerId":"`+listener+`","Rules":[{"Domain":"a.example","Url":"/","Certificate":{"CertId":"cert"}}]}`)["LocationIds"])
	return listener, location
}

// fill puts real ids into a body, so that fuzzing gets past the look-up.
func fill(body []byte, lb, listener string) []byte {
	body = bytes.ReplaceAll(body, []byte(`"lb-1"`), []byte(`"`+lb+`"`))
	return bytes.ReplaceAll(body, []byte(`"lbl-1"`), []byte(`"`+listener+`"`))
}

// cloudWith returns an account with two nodes and tasks of one second.
func cloudWith(t *testing.T, change ...func(*Config)) *Cloud {
	t.Helper()
	cfg := Example()
	cfg.Tasks.Delay = Duration(time.Second)
	cfg.Certificates = []Certificate{{ID: "cert"}}
	cfg.Instances = []Instance{{ID: "ins-aaaa0001", PrivateIP: "10.0.0.1"}, {ID: "ins-aaaa0002", PrivateIP: "10.0.0.10", Zone: "ap-guangzhou-4"}}
	for _, f := range change {
		f(&cfg)
	}
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	return New(cfg)
}

func instant(c *Config) { c.Tasks.Delay = 0 }

func after(seconds float64) time.Time {
	return testStart.Add(time.Duration(seconds * float64(time.Second)))
}

// wantCode fails unless a call is refused with a code.
func (c *Cloud) wantCode(t *testing.T, now time.Time, want, action, body string) {
	t.Helper()
	_, err := c.try(now, action, body)
	if got := codeOf(err); got != want {
		t.Fatalf("%s %s: answered %q, want %q (%v)", action, body, got, want, err)
	}
}

func codeOf(err *Error) string {
	if err == nil {
		return ""
	}
	return err.Code
}

func (c *Cloud) count(t *testing.T, now time.Time, action, body string) float64 {
	t.Helper()
	return c.do(t, now, action, body)["TotalCount"].(float64)
}

func (c *Cloud) taskStatus(t *testing.T, now time.Time, id any) (status float64, message string) {
	t.Helper()
	out := c.do(t, now, "DescribeTaskStatus", fmt.Sprintf(`{"TaskId":%q}`, id))
	return out["Status"].(float64), out["Message"].(string)
}
