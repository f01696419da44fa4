// SPDX-License-Identifier: Apache-2.0

package clbsim

import (
	"bytes"
	"cmp"
	"errors"
	"io"
	"net/http"
)

// transport answers requests by calling a handler in the caller's goroutine:
// no socket, so that a testing/synctest bubble sees everything that waits.
type transport struct{ handler http.Handler }

// RoundTrip implements http.RoundTripper. A handler that aborts closes the
// connection, as far as the caller can tell.
func (t transport) RoundTrip(r *http.Request) (resp *http.Response, err error) {
	in := r.Clone(r.Context())
	in.RequestURI = r.URL.RequestURI()
	if in.Host == "" {
		in.Host = r.URL.Host
	}
	if in.Body == nil {
		in.Body = http.NoBody
	}
	defer in.Body.Close()
	defer func() {
		v := recover()
		if v == nil {
			return
		}
		if e, ok := v.(error); !ok || !errors.Is(e, http.ErrAbortHandler) {
			panic(v)
		}
		resp, err = nil, cmp.Or(r.Context().Err(), io.ErrUnexpectedEOF)
	}()
	w := &recorder{header: http.Header{}, status: http.StatusOK}
	t.handler.ServeHTTP(w, in)
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	return &http.Response{
		Status: http.StatusText(w.status), StatusCode: w.status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: w.header, Body: io.NopCloser(&w.body), ContentLength: int64(w.body.Len()), Request: r,
	}, nil
}

type recorder struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (w *recorder) Header() http.Header         { return w.header }
func (w *recorder) WriteHeader(status int)      { w.status = status }
func (w *recorder) Write(b []byte) (int, error) { return w.body.Write(b) }
