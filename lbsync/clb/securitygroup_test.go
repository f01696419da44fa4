// SPDX-License-Identifier: Apache-2.0

package clb

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/clbsync/clbsync/clbsim"
	"github.com/clbsync/clbsync/clbsim/admin"
	"github.com/clbsync/clbsync/lbsync"
)

// restricted is a CLB with listeners that only some may use.
func restricted(listeners []lbsync.Listener, ranges ...string) lbsync.LoadBalancer {
	lb := desired(listeners, onInstance("ins-00000000", 30080))
	lb.Instance.Access = []lbsync.AccessRule{}
	for _, r := range ranges {
		for _, l := range listeners {
			protocol := l.Protocol
			lb.Instance.Access = append(lb.Instance.Access, lbsync.AccessRule{From: netip.MustParsePrefix(r), Protocol: protocol, Port: l.Port})
		}
	}
	return lb
}

// made is the owner's CLB as it is before anything else: attributes are changed in a step of their own.
func (w world) made() lbsync.LoadBalancer {
	w.t.Helper()
	return w.observe(w.create(public()).ID)
}

// group is the only group that was made for the owner, as text; "" if there is none.
func (w world) group() string {
	w.t.Helper()
	var out []string
	for _, g := range w.state().Groups {
		if !owner.Owns(g.Tags) {
			continue
		}
		var rules []string
		for _, p := range g.Ingress {
			rules = append(rules, fmt.Sprintf("%s %s %s:%s", p.Action, p.CIDR+p.IPv6CIDR, p.Protocol, p.Port))
		}
		slices.Sort(rules)
		out = append(out, strings.Join(rules, ", "))
	}
	return strings.Join(out, " and ")
}

func (w world) bound(id string) []string {
	w.t.Helper()
	for _, lb := range w.state().LoadBalancers {
		if lb.ID == id {
			return lb.SecurityGroups
		}
	}
	return nil
}

func (w world) wantGroup(why, want string) {
	w.t.Helper()
	if got := w.group(); got != want {
		w.t.Errorf("%s: the group has %q, want %q", why, got, want)
	}
}

func TestSourceRangesAreAGroupOfOurOwn(t *testing.T) {
	web, dns := ours(key(lbsync.TCP, 80), tcpCheck, 0), ours(key(lbsync.UDP, 53), pingCheck, 0)
	t.Run("that lets in who may, before any listener opens", func(t *testing.T) {
		simulated(t, nil, func(t *testing.T, w world) {
			now := w.reach(w.made(), restricted([]lbsync.Listener{web, dns}, "10.0.0.0/8", "2001:db8::/32"))
			w.wantGroup("made", "ACCEPT 10.0.0.0/8 tcp:80, ACCEPT 10.0.0.0/8 udp:53, ACCEPT 2001:db8::/32 tcp:80, ACCEPT 2001:db8::/32 udp:53")
			writes := w.writes()
			if bind, open := slices.Index(writes, actionSecurityGroups), slices.Index(writes, "CreateListener"); bind < 0 || bind > open || slices.Index(writes, actionModifyPolicies) > bind {
				t.Errorf("the order of writes is %v", writes)
			}
			before := w.bound(now.Instance.ID)
			now = w.reach(now, restricted([]lbsync.Listener{web}, "10.0.0.0/8", "192.168.7.9/32"))
			w.wantGroup("changed in place", "ACCEPT 10.0.0.0/8 tcp:80, ACCEPT 192.168.7.9/32 tcp:80")
			if after := w.bound(now.Instance.ID); !slices.Equal(before, after) || len(after) != 1 {
				t.Errorf("bound before %v, after %v", before, after)
			}
			now = w.reach(now, restricted([]lbsync.Listener{web}))
			w.wantGroup("gone with the ranges", "")
			if left := w.bound(now.Instance.ID); len(left) != 0 {
				t.Errorf("still bound: %v", left)
			}
		})
	})
	t.Run("that goes with its CLB", func(t *testing.T) {
		simulated(t, nil, func(t *testing.T, w world) {
			now := w.reach(w.made(), restricted([]lbsync.Listener{web}, "10.0.0.0/8"))
			if err := w.DeleteLoadBalancer(t.Context(), lbsync.Instance{ID: now.Instance.ID, Owner: owner}); err != nil {
				t.Fatal(err)
			}
			w.wantGroup("after its CLB", "")
		})
	})
	t.Run("that is found again after a creation whose answer was lost", func(t *testing.T) {
		simulated(t, nil, func(t *testing.T, w world) {
			want := restricted([]lbsync.Listener{web}, "10.0.0.0/8")
			made := w.made()
			w.fault(admin.Fault{Action: actionCreateGroup, Kind: admin.KindDropAfter})
			if _, err := lbsync.Diff(made, want).Apply(t.Context(), w.Client, made); lbsync.KindOf(err) != lbsync.Unknown || err == nil {
				t.Fatalf("got %v, want an unknown outcome", err)
			}
			if listeners := w.observe(made.Instance.ID).Listeners; len(listeners) != 0 {
				t.Errorf("open without its group: %v", listeners)
			}
			w.reach(w.current(), want)
			w.wantGroup("one", "ACCEPT 10.0.0.0/8 tcp:80")
		})
	})
	t.Run("beside which groups that others chose stay", func(t *testing.T) {
		simulated(t, func(c *clbsim.Config) {
			c.SecurityGroups = append(c.SecurityGroups, clbsim.SecurityGroup{ID: "sg-byhand01"})
		}, func(t *testing.T, w world) {
			now := w.reach(w.made(), restricted([]lbsync.Listener{web}, "10.0.0.0/8"))
			w.console(actionSecurityGroups, map[string]any{"LoadBalancerId": now.Instance.ID, "SecurityGroups": append(w.bound(now.Instance.ID), "sg-byhand01")})
			now = w.reach(w.current(), restricted([]lbsync.Listener{web}, "11.0.0.0/8"))
			if got := w.bound(now.Instance.ID); len(got) != 2 || !slices.Contains(got, "sg-byhand01") {
				t.Errorf("bound: %v", got)
			}
			now = w.reach(now, restricted([]lbsync.Listener{web}))
			if got := w.bound(now.Instance.ID); !slices.Equal(got, []string{"sg-byhand01"}) {
				t.Errorf("bound without ranges: %v", got)
			}
		})
	})
	t.Run("that is set right after somebody else's edit", func(t *testing.T) {
		simulated(t, nil, func(t *testing.T, w world) {
			want := restricted([]lbsync.Listener{web}, "10.0.0.0/8")
			now := w.reach(w.made(), want)
			for name, policy := range map[string]map[string]any{
				"everybody may":        {"Protocol": "ALL", "Port": "ALL", "CidrBlock": "0.0.0.0/0", "Action": "ACCEPT"},
				"nobody may":           {"Protocol": "tcp", "Port": "1-65535", "CidrBlock": "0.0.0.0/0", "Action": "DROP"},
				"one address may":      {"Protocol": "tcp", "Port": "80", "CidrBlock": "10.1.1.1", "Action": "ACCEPT"},
				"some ports in one":    {"Protocol": "tcp", "Port": "80,443", "CidrBlock": "10.0.0.0/8", "Action": "ACCEPT"},
				"as it should be":      {"Protocol": "tcp", "Port": "80", "CidrBlock": "10.0.0.0/8", "Action": "ACCEPT"},
				"a protocol of no use": {"Protocol": "icmp", "Port": "ALL", "CidrBlock": "10.0.0.0/8", "Action": "ACCEPT"},
			} {
				w.console(actionModifyPolicies, map[string]any{"SecurityGroupId": w.bound(now.Instance.ID)[0], "SecurityGroupPolicySet": map[string]any{"Ingress": []any{policy}}})
				seen := w.observe(now.Instance.ID)
				if plan := lbsync.Diff(seen, want); plan.Empty() != (name == "as it should be") {
					t.Errorf("%s: seen as %s, planned %q", name, lbsync.AccessText(seen.Instance.Access), plan)
				}
				now = w.reach(seen, want)
			}
		})
	})
	t.Run("of which an account that may not read groups has none", func(t *testing.T) {
		simulated(t, func(c *clbsim.Config) {
			c.Credentials[0].Deny = []string{"vpc:DescribeSecurityGroups"}
			c.SecurityGroups = append(c.SecurityGroups, clbsim.SecurityGroup{ID: "sg-byhand01"})
		}, func(t *testing.T, w world) {
			now := w.reach(w.made(), restricted([]lbsync.Listener{web}))
			w.console(actionSecurityGroups, map[string]any{"LoadBalancerId": now.Instance.ID, "SecurityGroups": []string{"sg-byhand01"}})
			if seen := w.current(); !slices.Equal(seen.Instance.SecurityGroups, []string{"sg-byhand01"}) || len(seen.Instance.Access) != 0 {
				t.Errorf("got %+v", seen.Instance.Attributes)
			}
			_, err := lbsync.Diff(now, restricted([]lbsync.Listener{web}, "10.0.0.0/8")).Apply(t.Context(), w.Client, now)
			if e := asError(t, err); e.Kind != lbsync.Denied || !strings.Contains(e.Hint, "CAM") {
				t.Errorf("got %v, want what to grant", err)
			}
			if err := w.DeleteLoadBalancer(t.Context(), lbsync.Instance{ID: now.Instance.ID, Owner: owner}); err != nil {
				t.Errorf("deletion: %v", err)
			}
		})
	})
}

func TestOwnedListsWhatTheClustersTagsProve(t *testing.T) {
	simulated(t, func(c *clbsim.Config) {
		c.LoadBalancers = append(c.LoadBalancers,
			clbsim.ExistingLoadBalancer{ID: "lb-byhand01", Tags: map[string]string{lbsync.TagCluster: "cls-demo"}},
			clbsim.ExistingLoadBalancer{ID: "lb-other001", Tags: lbsync.Owner{ClusterID: "cls-demo-2", ServiceUID: "web"}.Tags()},
			clbsim.ExistingLoadBalancer{ID: "lb-another1", Tags: lbsync.Owner{ClusterID: "cls-demo", ServiceUID: "gone"}.Tags()})
	}, func(t *testing.T, w world) {
		now := w.reach(w.made(), restricted([]lbsync.Listener{ours(key(lbsync.TCP, 80), tcpCheck, 0)}, "10.0.0.0/8"))
		owned, err := w.Owned(t.Context(), "cls-demo")
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, o := range owned {
			got = append(got, fmt.Sprintf("%s %s of %s", o.Kind, o.ID, o.Owner.ServiceUID))
			if o.Created == "" || o.Kind == lbsync.OwnedCLB && o.Address == "" {
				t.Errorf("%+v lacks its time or address", o)
			}
		}
		want := []string{
			"CLB " + now.Instance.ID + " of " + owner.ServiceUID, "CLB lb-another1 of gone", "security group " + w.bound(now.Instance.ID)[0] + " of " + owner.ServiceUID,
		}
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
		if _, err := w.Owned(t.Context(), ""); err == nil {
			t.Error("no cluster lists everything")
		}
	})
}
