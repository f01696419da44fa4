// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"

	"github.com/clbsync/clbsync/clbsim/cloud"
)

// grpc makes a call with an empty message over HTTP/2 without TLS and looks at
// its status.
func (b Prober) grpc(ctx context.Context, p cloud.Probe) error {
	var protocols http.Protocols
	protocols.SetUnencryptedHTTP2(true)
	transport := &http.Transport{
		Protocols:   &protocols,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return b.dial(ctx, "tcp", p) },
	}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+p.Target.String()+p.Check.HTTPPath, bytes.NewReader(make([]byte, 5)))
	if err != nil {
		return err
	}
	req.Host = cmp.Or(p.Check.HTTPDomain, p.Target.String())
	req.Header.Set("Content-Type", "application/grpc")
	req.Header.Set("Te", "trailers")
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, io.LimitReader(resp.Body, 1<<20)); err != nil {
		return err
	}
	status := cmp.Or(resp.Trailer.Get("Grpc-Status"), resp.Header.Get("Grpc-Status"))
	if !grpcHealthy(cmp.Or(p.Check.GRPCCode, "12"), status) {
		return fmt.Errorf("gRPC status %q is not among %s", status, cmp.Or(p.Check.GRPCCode, "12"))
	}
	return nil
}

// grpcHealthy tells whether a status is one of codes: 12, or 20,25, or 0-99.
func grpcHealthy(codes, status string) bool {
	n, err := strconv.Atoi(status)
	if err != nil {
		return false
	}
	for part := range strings.SplitSeq(codes, ",") {
		from, to, isRange := strings.Cut(part, "-")
		if !isRange {
			to = from
		}
		a, errA := strconv.Atoi(from)
		z, errZ := strconv.Atoi(to)
		if errA == nil && errZ == nil && a <= n && n <= z {
			return true
		}
	}
	return false
}
