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

// fill puts real ids into a body, so that fuzzing gets past the look-up.
func fill(body []byte, lb, listener string) []byte {
	body = bytes.ReplaceAll(body, []byte(`"lb-1"`), []byte(`"`+lb+`"`))
	return bytes.ReplaceAll(body, []byte(`"lbl-1"`), []byte(`"`+listener+`"`))
}
