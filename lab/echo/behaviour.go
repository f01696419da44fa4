// SPDX-License-Identifier: Apache-2.0

package echo

import (
	"flag"
	"fmt"
	"net/http"
	"time"
)

// Behaviour says how the program is to misbehave. Its flags are also the parameters of the control path, so that what
// can be set at the start can be changed later under the same name.
type Behaviour struct {
	Delay         time.Duration // before every answer
	Ready         bool          // what the readiness path says
	IgnoreSIGTERM bool          // serve on until SIGKILL
	Linger        time.Duration // serve on this long after SIGTERM, then exit
}

// Flags registers the behaviour's flags; what b holds is their default.
func (b *Behaviour) Flags(fs *flag.FlagSet) {
	fs.DurationVar(&b.Delay, "delay", b.Delay, "wait this long before every answer")
	fs.BoolVar(&b.Ready, "ready", b.Ready, "what /readyz says: 200 if true, 503 if false")
	fs.BoolVar(&b.IgnoreSIGTERM, "ignore-sigterm", b.IgnoreSIGTERM, "serve on after SIGTERM, until SIGKILL")
	fs.DurationVar(&b.Linger, "linger", b.Linger, "serve on this long after SIGTERM, then exit")
}

// report is what the control and stats paths answer.
type report struct {
	Pod           string `json:"pod"`
	Node          string `json:"node"`
	Delay         string `json:"delay"`
	Ready         bool   `json:"ready"`
	IgnoreSIGTERM bool   `json:"ignoreSIGTERM"`
	Linger        string `json:"linger"`
	Stats         Stats  `json:"stats"`
}

// Admin returns the handler of the admin port, which is no part of the service, so a slow server's kubelet probes and
// its operator are still answered at once:
//
//	GET  /healthz  200
//	GET  /readyz   200, or 503 if not ready
//	GET  /stats    behaviour and counts as JSON
//	POST /control  sets what its query names (delay, ready, ignore-sigterm, linger), answers as /stats
func (s *Server) Admin() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if !s.Behaviour().Ready {
			http.Error(w, "told to be unready", http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ok")
	})
	mux.HandleFunc("GET /stats", func(w http.ResponseWriter, _ *http.Request) { respond(w, s.report()) })
	mux.HandleFunc("POST /control", func(w http.ResponseWriter, r *http.Request) {
		if err := s.control(r); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		respond(w, s.report())
	})
	return mux
}

// control sets all that the query names, or nothing if any of it is wrong.
func (s *Server) control(r *http.Request) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	changed := s.behaviour
	fs := flag.NewFlagSet("control", flag.ContinueOnError)
	changed.Flags(fs)
	for name, values := range r.URL.Query() {
		for _, value := range values {
			if err := fs.Set(name, value); err != nil {
				return fmt.Errorf("%s=%s: %w; known are delay, ready, ignore-sigterm and linger", name, value, err)
			}
		}
	}
	s.behaviour = changed
	return nil
}

func (s *Server) report() report {
	b := s.Behaviour()
	return report{
		Pod: s.pod, Node: s.node,
		Delay: b.Delay.String(), Ready: b.Ready, IgnoreSIGTERM: b.IgnoreSIGTERM, Linger: b.Linger.String(),
		Stats: s.Stats(),
	}
}
