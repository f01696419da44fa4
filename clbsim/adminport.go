// SPDX-License-Identifier: Apache-2.0

package clbsim

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"k8s.io/apimachinery/pkg/util/uuid"

	"github.com/clbsync/clbsync/clbsim/admin"
	"github.com/clbsync/clbsync/clbsim/cloud"
)

// maxWait bounds a long poll.
const maxWait = time.Minute

// AdminHandler is the admin port; README.md describes its requests.
func (s *Sim) AdminHandler() http.Handler {
	mux := http.NewServeMux()
	handle := func(pattern string, f func(r *http.Request) (any, error)) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) { answer(w, r, f) })
	}
	handle("GET /healthz", s.adminHealth)
	handle("GET /state", s.adminState)
	handle("GET /calls", s.adminCalls)
	handle("GET /faults", func(*http.Request) (any, error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.faults.all(), nil
	})
	handle("POST /faults", s.adminAddFault)
	handle("DELETE /faults", s.adminClearFaults)
	handle("POST /console/{action}", s.adminConsole)
	handle("PUT /health", func(r *http.Request) (any, error) {
		var o cloud.Override
		return nil, s.edit(r, &o, func(now time.Time) error { return s.cloud.SetOverride(o, now) })
	})
	handle("DELETE /health", func(*http.Request) (any, error) {
		s.change(s.cloud.ClearOverrides)
		return nil, nil
	})
	handle("POST /instances", func(r *http.Request) (any, error) {
		var i cloud.Instance
		return nil, s.edit(r, &i, func(now time.Time) error { return s.cloud.PutInstance(i, now) })
	})
	handle("DELETE /instances/{id}", func(r *http.Request) (any, error) {
		var err error
		s.change(func(now time.Time) { err = s.cloud.DeleteInstance(r.PathValue("id"), now) })
		return nil, err
	})
	handle("POST /loadbalancers", func(r *http.Request) (any, error) {
		var e cloud.ExistingLoadBalancer
		return nil, s.edit(r, &e, func(now time.Time) error { return s.cloud.PutLoadBalancer(e, now) })
	})
	handle("PUT /loadbalancers/{id}/isolated", func(r *http.Request) (any, error) {
		var in admin.Isolation
		return nil, s.edit(r, &in, func(time.Time) error { return s.cloud.Isolate(r.PathValue("id"), in.Isolated) })
	})
	return mux
}

// answer writes what f returns as JSON; an error is a 400 that says why.
func answer(w http.ResponseWriter, r *http.Request, f func(*http.Request) (any, error)) {
	w.Header().Set("Content-Type", "application/json")
	out, err := f(r)
	if raw, ok := out.(json.RawMessage); ok && err == nil {
		_, _ = w.Write(raw)
		return
	}
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		out = admin.Error{Text: err.Error()}
	}
	if out == nil {
		out = struct{}{}
	}
	b, err := json.MarshalIndent(out, "", "  ")
	if err != nil {
		b = fmt.Appendf(nil, `{"error":%q}`, err)
	}
	_, _ = w.Write(append(b, '\n'))
}

// read decodes a request body; unknown fields are errors that name the field.
func read(r *http.Request, into any) error {
	d := json.NewDecoder(io.LimitReader(r.Body, maxBody))
	d.DisallowUnknownFields()
	return d.Decode(into)
}

// edit decodes a request body and changes the state.
func (s *Sim) edit(r *http.Request, into any, change func(now time.Time) error) error {
	if err := read(r, into); err != nil {
		return err
	}
	var err error
	s.change(func(now time.Time) { err = change(now) })
	return err
}

func (s *Sim) adminHealth(*http.Request) (any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken != nil {
		return nil, fmt.Errorf("data path: %w", s.broken)
	}
	return map[string]string{"status": "ok"}, nil
}

// longPoll reads the parameters of a long poll: the version that the caller
// has, and how long to wait for another. Without wait the context has ended.
func (s *Sim) longPoll(r *http.Request) (ctx context.Context, cancel func(), version int, err error) {
	q := r.URL.Query()
	var wait time.Duration
	if text := q.Get("wait"); text != "" {
		if wait, err = time.ParseDuration(text); err != nil {
			return nil, nil, 0, fmt.Errorf("wait: %w", err)
		}
	}
	if text := q.Get("version"); text != "" {
		if version, err = strconv.Atoi(text); err != nil {
			return nil, nil, 0, fmt.Errorf("version: %w", err)
		}
	}
	ctx, stop := context.WithTimeout(r.Context(), min(wait, maxWait))
	unhook := context.AfterFunc(s.ctx, stop)
	return ctx, func() { unhook(); stop() }, version, nil
}

func (s *Sim) adminState(r *http.Request) (any, error) {
	ctx, cancel, version, err := s.longPoll(r)
	if err != nil {
		return nil, err
	}
	defer cancel()
	for {
		s.mu.Lock()
		s.advance(time.Now())
		if s.published != version || ctx.Err() != nil {
			defer s.mu.Unlock()
			return s.cloud.Snapshot(), nil
		}
		changed := s.changed
		s.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
		}
	}
}

func (s *Sim) adminCalls(r *http.Request) (any, error) {
	since := 0
	if text := r.URL.Query().Get("since"); text != "" {
		var err error
		if since, err = strconv.Atoi(text); err != nil {
			return nil, fmt.Errorf("since: %w", err)
		}
	}
	ctx, cancel, version, err := s.longPoll(r)
	if err != nil {
		return nil, err
	}
	defer cancel()
	s.calls.wait(ctx, version)
	return s.calls.since(since), nil
}

func (s *Sim) adminAddFault(r *http.Request) (any, error) {
	var f admin.Fault
	if err := read(r, &f); err != nil {
		return nil, err
	}
	if err := checkFault(f); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return map[string]string{"id": s.faults.add(f)}, nil
}

func (s *Sim) adminClearFaults(r *http.Request) (any, error) {
	var err error
	s.change(func(now time.Time) {
		var tasks []string
		tasks, err = s.faults.clear(r.URL.Query()["id"])
		s.cloud.Release(tasks, now)
	})
	return nil, err
}

// adminConsole carries out an action for a user of the console.
func (s *Sim) adminConsole(r *http.Request) (any, error) {
	action, ok := cloud.Named(r.PathValue("action"))
	if !ok {
		return nil, fmt.Errorf("action %q: clbsim has %v", r.PathValue("action"), cloud.Actions())
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, maxBody))
	if err != nil {
		return nil, err
	}
	if len(body) == 0 {
		body = []byte("{}")
	}
	region := r.URL.Query().Get("region")
	if region == "" {
		region = s.cfg.Regions[0]
	}
	reply, _, failure := s.do(cloud.Request{Action: action, Region: region, ID: string(uuid.NewUUID()), Body: body, Console: true})
	if failure != nil {
		return nil, failure
	}
	var wrapped struct{ Response json.RawMessage }
	if err := json.Unmarshal(reply, &wrapped); err != nil {
		return nil, err
	}
	return wrapped.Response, nil
}
