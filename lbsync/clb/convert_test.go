// SPDX-License-Identifier: Apache-2.0

package clb

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/clbsync/clbsync/lbsync"
)

var (
	tcpCheck  = lbsync.HealthCheck{On: true, Type: lbsync.CheckTCP, Interval: 5 * time.Second, Timeout: 2 * time.Second, Healthy: 3, Unhealthy: 3}
	httpCheck = lbsync.HealthCheck{On: true, Type: lbsync.CheckHTTP, Port: 30999, Path: "/healthz", Domain: "clbsync.local", Interval: 3 * time.Second, Timeout: 2 * time.Second, Healthy: 2, Unhealthy: 4}
	pingCheck = lbsync.HealthCheck{On: true, Type: lbsync.CheckPing, Interval: 5 * time.Second, Timeout: 2 * time.Second, Healthy: 3, Unhealthy: 3}
)

func TestHealthCheckOnTheWire(t *testing.T) {
	for _, test := range []struct {
		name  string
		check lbsync.HealthCheck
		reset bool
		want  string
	}{
		{"none is an explicit 0, since left out it is on", lbsync.HealthCheck{}, false, `{"HealthSwitch":0}`},
		{"connect", tcpCheck, false, `{"HealthSwitch":1,"TimeOut":2,"IntervalTime":5,"HealthNum":3,"UnHealthNum":3,"CheckType":"TCP","SourceIpType":1}`},
		{"connect, after a check of another port", tcpCheck, true, `{"HealthSwitch":1,"TimeOut":2,"IntervalTime":5,"HealthNum":3,"UnHealthNum":3,"CheckPort":-1,"CheckType":"TCP","SourceIpType":1}`},
		{"HTTP, with only 2xx healthy", httpCheck, false, `{"HealthSwitch":1,"TimeOut":2,"IntervalTime":3,"HealthNum":2,"UnHealthNum":4,"HttpCode":2,"HttpCheckPath":"/healthz","HttpCheckDomain":"clbsync.local","HttpCheckMethod":"GET","CheckPort":30999,"CheckType":"HTTP","HttpVersion":"HTTP/1.1","SourceIpType":1}`},
		{"ping", pingCheck, false, `{"HealthSwitch":1,"TimeOut":2,"IntervalTime":5,"HealthNum":3,"UnHealthNum":3,"CheckType":"PING","SourceIpType":1}`},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := json.Marshal(healthCheck(lbsync.Listener{ListenerKey: key(lbsync.TCP, 80), Check: test.check}, test.reset))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, string(got)); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
		})
	}
	t.Run("what an HTTP check leaves behind is not read as part of the next one", func(t *testing.T) {
		left := healthCheck(lbsync.Listener{ListenerKey: key(lbsync.TCP, 80), Check: httpCheck}, false)
		left.CheckType, left.CheckPort = new("TCP"), new(int64(-1))
		got := check(left, key(lbsync.TCP, 80))
		if got.Path != "" || got.Domain != "" || got.Port != 0 || got.Type != lbsync.CheckTCP {
			t.Errorf("got %+v", got)
		}
		left.HealthSwitch = new(int64(0))
		if got := check(left, key(lbsync.TCP, 80)); got != (lbsync.HealthCheck{}) {
			t.Errorf("a check that is off reads as %+v", got)
		}
	})
}

// many returns changes of n targets spread over listeners listeners.
func many(n, listeners int) []lbsync.Change {
	out := make([]lbsync.Change, n)
	for i := range out {
		l := i * listeners / n
		out[i] = lbsync.Change{
			Binding:    lbsync.Binding{Listener: key(lbsync.TCP, uint16(80+l)), Target: onInstance(fmt.Sprintf("ins-%08d", i), 30080)},
			ListenerID: fmt.Sprintf("lbl-%08d", l),
			Weight:     i % 101,
		}
	}
	return out
}

func TestBatches(t *testing.T) {
	t.Run("registrations go in requests of 500, in order, with explicit weights", func(t *testing.T) {
		c, s := stubbed(t, func(string, map[string]any) any { return map[string]any{} })
		if err := c.Register(t.Context(), "lb-1", many(1201, 3)); err != nil {
			t.Fatal(err)
		}
		var sizes []int
		n := 0
		for _, call := range s.calls {
			list := call.Params["Targets"].([]any)
			sizes = append(sizes, len(list))
			for _, target := range list {
				m := target.(map[string]any)
				if m["InstanceId"] != fmt.Sprintf("ins-%08d", n) || m["Weight"] != float64(n%101) || m["EniIp"] != nil {
					t.Fatalf("target %d is %v", n, m)
				}
				n++
			}
		}
		if diff := cmp.Diff([]int{500, 500, 201}, sizes); diff != "" {
			t.Errorf("-want +got\n%s", diff)
		}
	})
	t.Run("weights go in lists of 50 targets, 100 lists and 500 targets at most", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c, s := stubbed(t, statuses(done))
			if err := c.Reweight(t.Context(), "lb-1", many(700, 140)); err != nil {
				t.Fatal(err)
			}
			seen := 0
			for _, call := range s.calls {
				if call.Action != actionReweight {
					continue
				}
				rules, sum := call.Params["ModifyList"].([]any), 0
				for _, r := range rules {
					n := len(r.(map[string]any)["Targets"].([]any))
					sum += n
					if n > 50 {
						t.Errorf("a list has %d targets", n)
					}
				}
				if len(rules) > 100 || sum > 500 {
					t.Errorf("a request has %d lists with %d targets", len(rules), sum)
				}
				seen += sum
			}
			if seen != 700 {
				t.Errorf("%d weights were sent, want 700", seen)
			}
		})
	})
	t.Run("more than 100 listeners need another request for fewer than 500 targets", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c, s := stubbed(t, statuses(done))
			if err := c.Reweight(t.Context(), "lb-1", many(240, 120)); err != nil {
				t.Fatal(err)
			}
			if n := len(slices.DeleteFunc(s.actions(), func(a string) bool { return a != actionReweight })); n != 2 {
				t.Errorf("%d requests, want 2", n)
			}
		})
	})
	t.Run("an address goes by address", func(t *testing.T) {
		c, s := stubbed(t, func(string, map[string]any) any { return map[string]any{} })
		ch := lbsync.Change{Binding: lbsync.Binding{Listener: key(lbsync.UDP, 53), Target: onAddress("10.0.0.7", 53)}, ListenerID: "lbl-1"}
		if err := c.Deregister(t.Context(), "lb-1", []lbsync.Change{ch}); err != nil {
			t.Fatal(err)
		}
		want := map[string]any{"ListenerId": "lbl-1", "EniIp": "10.0.0.7", "Port": 53.0}
		if diff := cmp.Diff(want, s.calls[0].Params["Targets"].([]any)[0]); diff != "" {
			t.Errorf("-want +got\n%s", diff)
		}
	})
	t.Run("of a listener that failed the halves are asked for, and the batches after it still go out", func(t *testing.T) {
		failed := map[string]any{"FailListenerIdSet": []string{"lbl-00000000"}, "Message": "backend is strange"}
		c, s := stubbed(t, inTurn(failed, map[string]any{}, map[string]any{}, map[string]any{}))
		if err := c.Register(t.Context(), "lb-1", many(600, 2)); err != nil {
			t.Errorf("got %v", err)
		}
		var sizes []int
		for _, call := range s.calls {
			sizes = append(sizes, len(call.Params["Targets"].([]any)))
		}
		if want := []int{500, 150, 150, 100}; !slices.Equal(sizes, want) {
			t.Errorf("requests for %d targets, want %d", sizes, want)
		}
	})
	t.Run("a refusal does not hide that the rest has an unknown outcome", func(t *testing.T) {
		no := failure{"InvalidParameterValue", "no such backend"}
		c, _ := stubbed(t, inTurn(no, no, failure{"InternalError", ""}))
		err := c.Register(t.Context(), "lb-1", many(2, 1))
		if r, only := lbsync.OnlyRefused(err); only || lbsync.KindOf(err) != lbsync.Unknown || err == nil {
			t.Errorf("got %v, refusals %v: want an error that has the CLB read again", err, r)
		}
	})
	t.Run("a target that failed is named", func(t *testing.T) {
		c, _ := stubbed(t, inTurn(map[string]any{"FailListenerIdSet": []string{"lbl-00000000"}, "Message": "backend is strange"}))
		err := c.Register(t.Context(), "lb-1", many(1, 1))
		if r, ok := lbsync.OnlyRefused(err); !ok || len(r) != 1 || !strings.Contains(err.Error(), "TCP:80 (lbl-00000000): backend is strange") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("a partial failure is never replayed, even if it sounds like busy", func(t *testing.T) {
		c, s := stubbed(t, inTurn(map[string]any{"FailListenerIdSet": []string{"lbl-00000000"}, "Message": "Your task is working"}))
		if err := c.Register(t.Context(), "lb-1", many(1, 1)); lbsync.KindOf(err) != lbsync.Unknown || err == nil || len(s.actions()) != 1 {
			t.Errorf("got %v after %v", err, s.actions())
		}
	})
	t.Run("a listener without ID is refused here", func(t *testing.T) {
		c, s := stubbed(t, inTurn(map[string]any{}))
		ch := many(1, 1)
		ch[0].ListenerID = ""
		if err := c.Register(t.Context(), "lb-1", ch); lbsync.KindOf(err) != lbsync.NotFound || len(s.actions()) != 0 {
			t.Errorf("got %v after %v", err, s.actions())
		}
	})
	t.Run("nothing to do makes no request, above all no deletion of every listener", func(t *testing.T) {
		c, s := stubbed(t, inTurn(map[string]any{}))
		for _, err := range []error{c.Register(t.Context(), "lb-1", nil), c.Reweight(t.Context(), "lb-1", nil), c.Deregister(t.Context(), "lb-1", nil), c.DeleteListeners(t.Context(), "lb-1", nil)} {
			if err != nil {
				t.Error(err)
			}
		}
		if err := c.DeleteListeners(t.Context(), "lb-1", []lbsync.Listener{{ListenerKey: key(lbsync.TCP, 80)}}); lbsync.KindOf(err) != lbsync.NotFound {
			t.Errorf("a listener without ID: %v", err)
		}
		if len(s.actions()) != 0 {
			t.Errorf("requests: %v", s.actions())
		}
	})
}

func TestGroups(t *testing.T) {
	web := func(port uint16, p lbsync.Protocol, h lbsync.HealthCheck) lbsync.Listener {
		return lbsync.Listener{ListenerKey: key(p, port), Check: h}
	}
	got := groups([]lbsync.Listener{web(80, lbsync.TCP, tcpCheck), web(53, lbsync.UDP, pingCheck), web(443, lbsync.TCP, tcpCheck), web(81, lbsync.TCP, httpCheck), web(54, lbsync.UDP, pingCheck)})
	if diff := cmp.Diff([][]int{{0, 2}, {1, 4}, {3}}, got); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}

func TestToken(t *testing.T) {
	uid := "6c1b2d4e-0000-4000-8000-000000000001"
	seen := map[string]bool{}
	for _, u := range []string{uid, strings.Repeat("x", 100), "雨", "with space"} {
		for n := 1; n <= tokens; n++ {
			tok := token(u, n)
			if len(tok) > 64 || len(tok) == 0 || strings.ContainsFunc(tok, func(r rune) bool { return r < '!' || r > '~' }) || seen[tok] {
				t.Errorf("token %d of %q is %q", n, u, tok)
			}
			seen[tok] = true
			if tok != token(u, n) {
				t.Errorf("token %d of %q differs from time to time", n, u)
			}
		}
	}
	if token(uid, 1) != uid || token(uid, 2) != uid+"-2" {
		t.Errorf("tokens are %q, %q", token(uid, 1), token(uid, 2))
	}
}

func TestListCutOff(t *testing.T) {
	c, _ := stubbed(t, inTurn(map[string]any{"Listeners": []any{map[string]any{"ListenerId": "lbl-1"}}, "TotalCount": 2}))
	if _, err := c.listeners(t.Context(), "lb-1"); err == nil || !strings.Contains(err.Error(), "has 2 listeners, the answer has 1") {
		t.Errorf("got %v", err)
	}
}

func BenchmarkRegisterOnTheWire(b *testing.B) {
	changes := many(500, 10)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := json.Marshal(batchTargets(changes, true)); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkReweightOnTheWire(b *testing.B) {
	changes := many(500, 10)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := json.Marshal(weightRules(changes)); err != nil {
			b.Fatal(err)
		}
	}
}
