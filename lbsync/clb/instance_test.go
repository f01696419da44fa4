// SPDX-License-Identifier: Apache-2.0

package clb

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/clbsync/clbsync/lbsync"
)

func rawInstance(id, vpc, state string, addrs ...string) map[string]any {
	return map[string]any{"InstanceId": id, "InstanceName": "n-" + id, "InstanceType": "S5.MEDIUM4", "InstanceState": state,
		"Placement": map[string]any{"Zone": "ap-guangzhou-3"}, "VirtualPrivateCloud": map[string]any{"VpcId": vpc}, "PrivateIpAddresses": addrs}
}

func instanceSet(list ...any) map[string]any {
	return map[string]any{"InstanceSet": list, "TotalCount": len(list)}
}

// strict answers DescribeInstances for IDs like the region that refuses a request with one unknown ID.
func strict(exist func(id string) bool) func(string, map[string]any) any {
	return func(_ string, params map[string]any) any {
		var out []any
		for _, id := range params["InstanceIds"].([]any) {
			if !exist(id.(string)) {
				return failure{"InvalidInstanceId.NotFound", "no " + id.(string)}
			}
			out = append(out, rawInstance(id.(string), "vpc-2ab3c4d5", "RUNNING", "10.0.0.1"))
		}
		return instanceSet(out...)
	}
}

func TestInstance(t *testing.T) {
	t.Run("lookups at the same time share requests of at most 100 IDs", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c, s := stubbed(t, strict(func(string) bool { return true }))
			lookup := func() {
				var wg sync.WaitGroup
				for n := range 250 {
					wg.Go(func() {
						id := fmt.Sprintf("ins-%d", n)
						if i, ok, err := c.Instance(t.Context(), id); err != nil || !ok || i.ID != id {
							t.Errorf("%s: got %+v, %v, %v", id, i, ok, err)
						}
					})
				}
				wg.Wait()
			}
			lookup()
			if n := len(s.actions()); n != 3 {
				t.Errorf("250 lookups made %d requests, want 3", n)
			}
			for _, call := range s.calls {
				if n := len(call.Params["InstanceIds"].([]any)); n > 100 {
					t.Errorf("a request has %d IDs", n)
				}
			}
			lookup()
			if n := len(s.actions()); n != 3 {
				t.Errorf("%d requests after looking again at once, want none more", n)
			}
			<-time.After(instanceTTL)
			lookup()
			if n := len(s.actions()); n != 6 {
				t.Errorf("%d requests after the memory was old, want 6", n)
			}
		})
	})
	t.Run("one that is gone hides no other, and is not remembered as gone", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			missing := true
			c, s := stubbed(t, strict(func(id string) bool { return id != "ins-13" || !missing }))
			var wg sync.WaitGroup
			for n := range 40 {
				wg.Go(func() {
					id := fmt.Sprintf("ins-%d", n)
					if _, ok, err := c.Instance(t.Context(), id); err != nil || ok != (n != 13) {
						t.Errorf("%s: got %v, %v", id, ok, err)
					}
				})
			}
			wg.Wait()
			if n := len(s.actions()); n > 15 {
				t.Errorf("%d requests to find one of 40", n)
			}
			missing = false
			if _, ok, err := c.Instance(t.Context(), "ins-13"); err != nil || !ok {
				t.Errorf("after it came: %v, %v", ok, err)
			}
		})
	})
	t.Run("what was known stays while the API fails", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			var broken any
			ok200 := strict(func(string) bool { return true })
			c, _ := stubbed(t, func(action string, params map[string]any) any {
				if broken != nil {
					return broken
				}
				return ok200(action, params)
			})
			if _, ok, err := c.Instance(t.Context(), "ins-1"); !ok || err != nil {
				t.Fatal(ok, err)
			}
			broken = failure{"InternalError", ""}
			<-time.After(30 * time.Minute)
			if i, ok, err := c.Instance(t.Context(), "ins-1"); !ok || err != nil || i.ID != "ins-1" {
				t.Errorf("got %+v, %v, %v", i, ok, err)
			}
			if _, ok, err := c.Instance(t.Context(), "ins-2"); ok || err == nil {
				t.Errorf("one that was never seen: %v, %v, want an error", ok, err)
			}
			broken = instanceSet()
			if _, ok, err := c.Instance(t.Context(), "ins-1"); ok || err != nil {
				t.Errorf("after the API says that it is gone: %v, %v", ok, err)
			}
			broken = failure{"InternalError", ""}
			if _, ok, err := c.Instance(t.Context(), "ins-1"); ok || err == nil {
				t.Errorf("one that went is remembered: %v, %v", ok, err)
			}
		})
	})
	t.Run("who gives up does not take the others along", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c, _ := stubbed(t, strict(func(string) bool { return true }))
			ctx, cancel := context.WithCancel(t.Context())
			var wg sync.WaitGroup
			wg.Go(func() {
				if _, _, err := c.Instance(ctx, "ins-1"); !errors.Is(err, context.Canceled) {
					t.Errorf("got %v", err)
				}
			})
			synctest.Wait()
			wg.Go(func() {
				if _, ok, err := c.Instance(t.Context(), "ins-2"); !ok || err != nil {
					t.Errorf("got %v, %v", ok, err)
				}
			})
			synctest.Wait()
			cancel()
			wg.Wait()
		})
	})
	t.Run("an entry that nobody asks for is dropped", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c, _ := stubbed(t, strict(func(string) bool { return true }))
			for n := range 5 {
				if _, _, err := c.Instance(t.Context(), fmt.Sprintf("ins-%d", n)); err != nil {
					t.Fatal(err)
				}
				<-time.After(45 * time.Minute)
			}
			if n := len(c.byID.known); n > 3 {
				t.Errorf("%d entries after hours", n)
			}
		})
	})
}

func TestInstanceByAddress(t *testing.T) {
	addr := netip.MustParseAddr("10.0.0.1")
	t.Run("the fuzzy filter's other finds are left out", func(t *testing.T) {
		c, s := stubbed(t, func(string, map[string]any) any {
			return instanceSet(
				rawInstance("ins-longer", "vpc-2ab3c4d5", "RUNNING", "10.0.0.11"),
				rawInstance("ins-elsewhere", "vpc-other", "RUNNING", "10.0.0.1"),
				rawInstance("ins-going", "vpc-2ab3c4d5", "TERMINATING", "10.0.0.1"),
				rawInstance("ins-right", "vpc-2ab3c4d5", "RUNNING", "10.0.0.9", "10.0.0.1"),
			)
		})
		i, ok, err := c.InstanceByAddress(t.Context(), addr)
		if err != nil || !ok || i.ID != "ins-right" || i.Zone != "ap-guangzhou-3" || i.Name != "n-ins-right" || i.Type != "S5.MEDIUM4" || i.Region != "ap-guangzhou" {
			t.Errorf("got %+v, %v, %v", i, ok, err)
		}
		if got := fmt.Sprint(s.calls[0].Params["Filters"]); !strings.Contains(got, "vpc-2ab3c4d5") || !strings.Contains(got, "private-ip-address") {
			t.Errorf("filters are %s", got)
		}
	})
	t.Run("nobody has it", func(t *testing.T) {
		c, _ := stubbed(t, func(string, map[string]any) any {
			return instanceSet(rawInstance("ins-longer", "vpc-2ab3c4d5", "RUNNING", "10.0.0.11"))
		})
		if i, ok, err := c.InstanceByAddress(t.Context(), addr); ok || err != nil {
			t.Errorf("got %+v, %v, %v", i, ok, err)
		}
	})
	t.Run("a request has at most five addresses, and every page is read", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c, s := stubbed(t, func(_ string, params map[string]any) any {
				if params["Offset"].(float64) > 0 {
					return instanceSet(rawInstance("ins-right", "vpc-2ab3c4d5", "RUNNING", "10.0.0.1"))
				}
				var page []any
				for n := range 100 {
					page = append(page, rawInstance(fmt.Sprintf("ins-%d", n), "vpc-2ab3c4d5", "RUNNING", fmt.Sprintf("10.0.0.1%02d", n)))
				}
				return instanceSet(page...)
			})
			var wg sync.WaitGroup
			for n := range 12 {
				wg.Go(func() {
					a := netip.AddrFrom4([4]byte{10, 0, 0, byte(1 + n)})
					i, ok, err := c.InstanceByAddress(t.Context(), a)
					if err != nil || ok != (n == 0) || ok && i.ID != "ins-right" {
						t.Errorf("%s: got %+v, %v, %v", a, i, ok, err)
					}
				})
			}
			wg.Wait()
			if n := len(s.actions()); n != 6 {
				t.Errorf("%d requests, want two pages for each of 3 groups", n)
			}
			for _, call := range s.calls {
				for _, f := range call.Params["Filters"].([]any) {
					if n := len(f.(map[string]any)["Values"].([]any)); n > 5 {
						t.Errorf("a filter has %d values", n)
					}
				}
			}
		})
	})
	t.Run("an error is the API's", func(t *testing.T) {
		c, _ := stubbed(t, inTurn(failure{"UnauthorizedOperation", ""}))
		if _, _, err := c.InstanceByAddress(t.Context(), addr); lbsync.KindOf(err) != lbsync.Denied {
			t.Errorf("got %v", err)
		}
	})
}
