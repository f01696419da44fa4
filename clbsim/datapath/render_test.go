// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/clbsync/clbsync/clbsim/cloud"
)

var vip = netip.MustParseAddr("203.0.113.1")

func to(addr string, weight int) cloud.ForwardingTarget {
	return cloud.ForwardingTarget{Addr: netip.MustParseAddrPort(addr), Weight: weight, Drained: weight == 0}
}

func listener(id string, port uint16, targets ...cloud.ForwardingTarget) cloud.ForwardingListener {
	return cloud.ForwardingListener{ID: id, VIP: vip, Port: port, Targets: targets}
}

func forwarding(ls ...cloud.ForwardingListener) cloud.Forwarding {
	return cloud.Forwarding{VIPs: []netip.Addr{vip}, Listeners: ls}
}

func TestRules(t *testing.T) {
	a, b := to("10.0.0.1:30080", 3), to("10.0.0.2:30080", 1)
	for _, tc := range []struct {
		name   string
		change func(*cloud.ForwardingListener)
		want   string
	}{
		{"two targets share by weight", func(*cloud.ForwardingListener) {},
			"meta l4proto tcp dnat ip to numgen inc mod 4 map { 0 : 10.0.0.1 . 30080, 1 : 10.0.0.1 . 30080, 2 : 10.0.0.2 . 30080, 3 : 10.0.0.1 . 30080 }\ndrop"},
		{"one target needs no numbers", func(l *cloud.ForwardingListener) { l.Targets = []cloud.ForwardingTarget{a, to("10.0.0.2:30080", 0)} },
			"meta l4proto tcp dnat ip to 10.0.0.1:30080\ndrop"},
		{"without a receiver everything is dropped", func(l *cloud.ForwardingListener) { l.Targets = nil }, "drop"},
		{"sources are checked first, each range once", func(l *cloud.ForwardingListener) {
			l.Targets = []cloud.ForwardingTarget{a}
			l.Allow = []netip.Prefix{netip.MustParsePrefix("198.51.100.7/32"), netip.MustParsePrefix("198.51.100.9/24"), netip.MustParsePrefix("10.0.0.0/8")}
		}, "ip saddr != { 10.0.0.0/8, 198.51.100.0/24 } drop\nmeta l4proto tcp dnat ip to 10.0.0.1:30080\ndrop"},
		{"a group that allows all checks nothing", func(l *cloud.ForwardingListener) {
			l.Targets, l.Allow = []cloud.ForwardingTarget{a}, []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")}
		}, "meta l4proto tcp dnat ip to 10.0.0.1:30080\ndrop"},
		{"a group that allows nobody drops", func(l *cloud.ForwardingListener) { l.Targets, l.Allow = nil, []netip.Prefix{} }, "drop\ndrop"},
		{"sticky clients are looked up before the turn", func(l *cloud.ForwardingListener) { l.Sticky = time.Minute },
			"ip saddr @lbl-1/10.0.0.1/30080 goto lbl-1/10.0.0.1/30080\nip saddr @lbl-1/10.0.0.2/30080 goto lbl-1/10.0.0.2/30080\n" +
				"numgen inc mod 4 vmap { 0 : goto lbl-1/10.0.0.1/30080, 1 : goto lbl-1/10.0.0.1/30080, 2 : goto lbl-1/10.0.0.2/30080, 3 : goto lbl-1/10.0.0.1/30080 }\ndrop"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l := listener("lbl-1", 80, a, b)
			tc.change(&l)
			got := strings.Join(Render(forwarding(l), nil).chains["lbl-1"].rules, "\n")
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("rules (-want +got):\n%s", diff)
			}
		})
	}
}

// What a target no longer gets, it may still finish: weight 0 stays bound.
func TestDrainedTargetsStayBound(t *testing.T) {
	r := Render(forwarding(listener("lbl-1", 80, to("10.0.0.1:1", 0), to("10.0.0.2:1", 1))), nil)
	if diff := cmp.Diff([]string{"203.0.113.1 . 80 . 10.0.0.1 . 1", "203.0.113.1 . 80 . 10.0.0.2 . 1"}, r.sets["bound_tcp"].elements); diff != "" {
		t.Errorf("bound (-want +got):\n%s", diff)
	}
}

func TestDiffTouchesOnlyWhatDiffers(t *testing.T) {
	before := forwarding(listener("lbl-1", 80, to("10.0.0.1:1", 1)), listener("lbl-2", 81, to("10.0.0.1:2", 1), to("10.0.0.2:2", 1)))
	if script := Diff(Render(before, nil), Render(before, nil)); script != "" {
		t.Errorf("no change gives:\n%s", script)
	}
	after := before
	after.Listeners = slices.Clone(before.Listeners)
	after.Listeners[0] = listener("lbl-1", 80, to("10.0.0.1:1", 1), to("10.0.0.3:1", 0))
	want := "add element ip clbsim bound_tcp { 203.0.113.1 . 80 . 10.0.0.3 . 1 }\n"
	if diff := cmp.Diff(want, Diff(Render(before, nil), Render(after, nil))); diff != "" {
		t.Errorf("a drained target comes (-want +got):\n%s", diff)
	}
	after.Listeners = after.Listeners[:1]
	want = `flush chain ip clbsim lbl-2
delete element ip clbsim bound_tcp { 203.0.113.1 . 81 . 10.0.0.1 . 2, 203.0.113.1 . 81 . 10.0.0.2 . 2 }
add element ip clbsim bound_tcp { 203.0.113.1 . 80 . 10.0.0.3 . 1 }
delete element ip clbsim listeners { tcp . 203.0.113.1 . 81 }
delete chain ip clbsim lbl-2
`
	if diff := cmp.Diff(want, Diff(Render(before, nil), Render(after, nil))); diff != "" {
		t.Errorf("a listener goes (-want +got):\n%s", diff)
	}
}

func TestKeptUDPFlows(t *testing.T) {
	udp := func(change func(*cloud.ForwardingListener), targets ...cloud.ForwardingTarget) cloud.Forwarding {
		l := listener("lbl-1", 53, targets...)
		l.UDP = true
		change(&l)
		return forwarding(l)
	}
	plain := func(*cloud.ForwardingListener) {}
	drained, dead := to("10.0.0.1:1", 0), cloud.ForwardingTarget{Addr: netip.MustParseAddrPort("10.0.0.1:1")}
	flow := Flow{netip.AddrPortFrom(vip, 53), netip.MustParseAddrPort("10.0.0.1:1")}
	for _, tc := range []struct {
		name string
		f    cloud.Forwarding
		kept bool
	}{
		{"to a receiver", udp(plain, to("10.0.0.1:1", 1)), true},
		{"to a target that left", udp(plain), false},
		{"to a target of weight 0", udp(plain, drained), true},
		{"to a target of weight 0, rescheduled", udp(func(l *cloud.ForwardingListener) { l.MoveUDP = true }, drained), false},
		{"to a dead target", udp(plain, dead), true},
		{"to a dead target, rescheduled", udp(func(l *cloud.ForwardingListener) { l.MoveDead = true }, dead), false},
		{"to a dead target, rescheduled at weight 0 only", udp(func(l *cloud.ForwardingListener) { l.MoveUDP = true }, dead), true},
		{"of TCP, which is not cut this way", forwarding(listener("lbl-1", 53, to("10.0.0.1:1", 1))), false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := Kept(tc.f)[flow]; got != tc.kept {
				t.Errorf("kept is %v, want %v", got, tc.kept)
			}
		})
	}
}
