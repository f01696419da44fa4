// SPDX-License-Identifier: Apache-2.0

package clb

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr/funcr"
	"k8s.io/component-base/metrics/testutil"
	"k8s.io/klog/v2"

	"github.com/clbsync/clbsync/lbsync"
)

func TestCall(t *testing.T) {
	quota := map[string]any{"QuotaSet": []any{map[string]any{"QuotaId": "TOTAL_LISTENER_QUOTA", "QuotaLimit": 50}}}
	for _, test := range []struct {
		name    string
		answers []any
		want    lbsync.Kind
		calls   int
	}{
		{"being throttled passes", []any{failure{"RequestLimitExceeded.UinLimitExceeded", "slow down"}, quota}, -1, 2},
		{"an internal error is told, not repeated", []any{failure{"InternalError", ""}}, lbsync.Unknown, 1},
		{"a lost connection is told, not repeated", []any{errors.New("EOF")}, lbsync.Unknown, 1},
		{"a gateway's page is told, not repeated", []any{plain(http.StatusServiceUnavailable, "<html>busy</html>")}, lbsync.Unknown, 1},
		{"JSON of somebody else is told", []any{plain(http.StatusBadGateway, `{"oops":1}`)}, lbsync.Unknown, 1},
		{"an answer without Response is told", []any{plain(http.StatusOK, `{}`)}, lbsync.Unknown, 1},
		{"an empty answer is told", []any{plain(http.StatusOK, ``)}, lbsync.Unknown, 1},
		{"missing rights are told", []any{failure{"UnauthorizedOperation", ""}}, lbsync.Denied, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, s := stubbed(t, inTurn(test.answers...))
				got, err := c.Quotas(t.Context())
				if n := len(s.actions()); n != test.calls {
					t.Errorf("%d requests, want %d", n, test.calls)
				}
				if test.want < 0 {
					if err != nil || got.Listeners != 50 {
						t.Errorf("got %+v, %v", got, err)
					}
					return
				}
				if e := asError(t, err); e.Kind != test.want || e.Action != "DescribeQuota" {
					t.Errorf("got %+v, want kind %s", e, test.want)
				}
			})
		})
	}
}

func TestCallEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _ := stubbed(t, inTurn(failure{"RequestLimitExceeded", ""}))
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		start := time.Now()
		_, err := c.Quotas(ctx)
		if took := time.Since(start); took > 2*time.Second {
			t.Errorf("it took %s", took)
		}
		if !errors.Is(err, context.DeadlineExceeded) || lbsync.KindOf(err) != lbsync.Throttled {
			t.Errorf("got %v, want both reasons", err)
		}
	})
}

// hanging is a server that takes a request and never answers.
type hanging struct{}

func (hanging) RoundTrip(req *http.Request) (*http.Response, error) {
	<-req.Context().Done()
	return nil, req.Context().Err()
}

func TestCallIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, err := New(t.Context(), Config{Region: "r", VPCID: "vpc-1", Credentials: Credentials{SecretID: "a", SecretKey: "b"}, Timeout: 6500 * time.Millisecond, Transport: hanging{}})
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		_, err = c.Quotas(t.Context())
		if took := time.Since(start); took != 6500*time.Millisecond || lbsync.KindOf(err) != lbsync.Unknown || err == nil {
			t.Errorf("got %v after %s, want Unknown after 6.5 s", err, took)
		}
	})
}

func TestRateLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, s := stubbed(t, func(string, map[string]any) any { return map[string]any{} })
		start := time.Now()
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				if _, err := c.Quotas(t.Context()); err != nil {
					t.Error(err)
				}
			})
			wg.Go(func() {
				if _, err := c.Health(t.Context(), []string{"lb-1"}); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if took := time.Since(start); took > 4*time.Second {
			t.Errorf("50 requests each of two actions took %s: an action waits for another", took)
		}
		for _, action := range []string{"DescribeQuota", "DescribeTargetHealth"} {
			var at []time.Time
			for _, call := range s.calls {
				if call.Action == action {
					at = append(at, call.At)
				}
			}
			slices.SortFunc(at, time.Time.Compare)
			most := 0
			for i := range at {
				n := 0
				for n < len(at)-i && at[i+n].Sub(at[i]) < time.Second {
					n++
				}
				most = max(most, n)
			}
			if most > 20 {
				t.Errorf("%s: %d requests in a second, CLB takes 20", action, most)
			}
			if most < 12 {
				t.Errorf("%s: at most %d requests in a second, the limit is 15", action, most)
			}
		}
	})
}

func TestRequestNamesItself(t *testing.T) {
	s := &stub{answer: func(string, map[string]any) any { return map[string]any{} }}
	c, err := New(t.Context(), Config{Region: "ap-guangzhou", VPCID: "vpc-1", Credentials: Credentials{SecretID: "a", SecretKey: "b", Token: "tok"}, UserAgent: "clbsync/v1.2+dirty", Transport: s})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Quotas(t.Context()); err != nil {
		t.Fatal(err)
	}
	h := s.calls[0].Header
	if got := h.Get("X-TC-RequestClient"); !strings.Contains(got, "clbsync-v1.2-dirty") {
		t.Errorf("X-TC-RequestClient is %q", got)
	}
	if got := h.Get("X-TC-Language"); got != "en-US" {
		t.Errorf("X-TC-Language is %q; an Event in another language helps few", got)
	}
	if h.Get("X-TC-Region") != "ap-guangzhou" || h.Get("X-TC-Token") != "tok" {
		t.Errorf("headers are %v", h)
	}
}

func TestLogAndMetrics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log strings.Builder
		var mu sync.Mutex
		logger := funcr.New(func(prefix, args string) {
			mu.Lock()
			defer mu.Unlock()
			log.WriteString(args + "\n")
		}, funcr.Options{Verbosity: 10})
		c, s := stubbed(t, inTurn(failure{"RequestLimitExceeded", "slow"}, failure{"LimitExceeded", "full"}))
		retries := apiRetries.WithLabelValues("DescribeQuota", "Throttled")
		before, err := testutil.GetCounterMetricValue(retries)
		if err != nil {
			t.Fatal(err)
		}
		failed := apiDuration.WithLabelValues("DescribeQuota", "LimitExceeded")
		countBefore, err := testutil.GetHistogramMetricCount(failed)
		if err != nil {
			t.Fatal(err)
		}
		requests := apiRequests.WithLabelValues("DescribeQuota", "LimitExceeded")
		requestsBefore, err := testutil.GetCounterMetricValue(requests)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Quotas(klog.NewContext(t.Context(), logger)); lbsync.KindOf(err) != lbsync.Quota {
			t.Fatal(err)
		}
		after, _ := testutil.GetCounterMetricValue(retries)
		countAfter, _ := testutil.GetHistogramMetricCount(failed)
		if after != before+1 || countAfter != countBefore+1 {
			t.Errorf("replays %v to %v, requests %d to %d; want one more of each", before, after, countBefore, countAfter)
		}
		if requestsAfter, _ := testutil.GetCounterMetricValue(requests); requestsAfter != requestsBefore+1 {
			t.Errorf("requests that were refused: %v to %v, want one more", requestsBefore, requestsAfter)
		}
		for _, want := range []string{`"action"="DescribeQuota"`, `"requestID"="req-1"`, `"code"="LimitExceeded"`, "Replaying"} {
			if !strings.Contains(log.String(), want) {
				t.Errorf("%s is not in the log:\n%s", want, log.String())
			}
		}
		for _, secret := range []string{"SECRETEXAMPLE", s.calls[0].Header.Get("Authorization")} {
			if strings.Contains(log.String(), secret) {
				t.Errorf("a secret is in the log:\n%s", log.String())
			}
		}
	})
}
