// SPDX-License-Identifier: Apache-2.0

package clb

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/clbsync/clbsync/lbsync"
)

// stub answers requests as a test says, for what clbsim cannot do: answers that no API gives, and bytes that are not its
// own. It is reached without a socket, so that time can be testing/synctest's.
type stub struct {
	answer func(action string, params map[string]any) any // a failure, an *http.Response, an error, or Response's fields

	mu    sync.Mutex
	calls []stubCall
}

type stubCall struct {
	Action string
	At     time.Time
	Params map[string]any
	Header http.Header
}

// failure is an Error of the API.
type failure struct{ Code, Message string }

func (s *stub) RoundTrip(req *http.Request) (*http.Response, error) {
	if err := req.Context().Err(); err != nil {
		return nil, err
	}
	action := req.Header.Get("X-TC-Action")
	if action == "" {
		action = req.URL.String()
	}
	params := map[string]any{}
	if req.Body != nil {
		if err := json.NewDecoder(req.Body).Decode(&params); err != nil {
			return nil, err
		}
	}
	s.mu.Lock()
	s.calls = append(s.calls, stubCall{action, time.Now(), params, req.Header.Clone()})
	s.mu.Unlock()
	switch a := s.answer(action, params).(type) {
	case *http.Response:
		return a, nil
	case error:
		return nil, a
	case failure:
		return answered(map[string]any{"Error": map[string]any{"Code": a.Code, "Message": a.Message}, "RequestId": "req-1"}), nil
	case map[string]any:
		if _, ok := a["RequestId"]; !ok {
			a["RequestId"] = "req-1"
		}
		return answered(a), nil
	default:
		return answered(a), nil
	}
}

func answered(response any) *http.Response {
	body, err := json.Marshal(map[string]any{"Response": response})
	if err != nil {
		panic(err)
	}
	return plain(http.StatusOK, string(body))
}

func plain(status int, body string) *http.Response {
	return &http.Response{StatusCode: status, Status: http.StatusText(status), Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(bytes.NewBufferString(body))}
}

// actions returns the actions that were asked for, in order.
func (s *stub) actions() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []string
	for _, c := range s.calls {
		out = append(out, c.Action)
	}
	return out
}

// done is the answer of a task that ended well.
var done = map[string]any{"Status": taskDone}

// stubbed returns a client whose requests are answered by answer.
func stubbed(t testing.TB, answer func(action string, params map[string]any) any) (*Client, *stub) {
	t.Helper()
	s := &stub{answer: answer}
	c, err := New(t.Context(), Config{Region: "ap-guangzhou", VPCID: "vpc-2ab3c4d5", Credentials: Credentials{SecretID: "AKIDEXAMPLE", SecretKey: "SECRETEXAMPLE"}, Transport: s})
	if err != nil {
		t.Fatal(err)
	}
	return c, s
}

// in turn returns answers one after the other, the last one for ever.
func inTurn(answers ...any) func(string, map[string]any) any {
	n := -1
	return func(string, map[string]any) any {
		n = min(n+1, len(answers)-1)
		return answers[n]
	}
}

// asError returns err as what every failed call is.
func asError(t testing.TB, err error) *lbsync.Error {
	t.Helper()
	e, ok := errors.AsType[*lbsync.Error](err)
	if !ok {
		t.Fatalf("error is a %T (%v), want *lbsync.Error", err, err)
	}
	return e
}

func key(p lbsync.Protocol, port uint16) lbsync.ListenerKey {
	return lbsync.ListenerKey{Protocol: p, Port: port}
}

func onInstance(id string, port uint16) lbsync.Target {
	return lbsync.Target{Instance: id, Port: port}
}

func onAddress(addr string, port uint16) lbsync.Target {
	return lbsync.Target{IP: netip.MustParseAddr(addr), Port: port}
}
