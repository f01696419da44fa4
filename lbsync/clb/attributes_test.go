// SPDX-License-Identifier: Apache-2.0

package clb

import (
	"slices"
	"testing"

	"github.com/clbsync/clbsync/clbsim"
	"github.com/clbsync/clbsync/clbsim/admin"
	"github.com/clbsync/clbsync/lbsync"
)

func withGroups(cfg *clbsim.Config) {
	cfg.SecurityGroups = append(cfg.SecurityGroups, clbsim.SecurityGroup{ID: "sg-test000a"}, clbsim.SecurityGroup{ID: "sg-test000b"})
}

func TestWhatIsTakenAtCreationOnlyIsInTheOrder(t *testing.T) {
	simulated(t, nil, func(t *testing.T, w world) {
		want := public()
		want.Order = &lbsync.Order{LoadBalancerPassToTarget: new(true), ZoneID: "ap-guangzhou-3", Tags: []lbsync.Tag{{TagKey: "team", TagValue: "a"}},
			InternetAccessible: &lbsync.InternetAccess{InternetChargeType: "BANDWIDTH_POSTPAID_BY_HOUR", InternetMaxBandwidthOut: new(30)}}
		made := w.create(want)
		if made.Bandwidth != 30 || made.Text(lbsync.AttributePassToTarget) != "on" || made.Tags["team"] != "a" ||
			made.Order.InternetAccessible.InternetChargeType != "BANDWIDTH_POSTPAID_BY_HOUR" {
			t.Errorf("got %+v with %s", made, made.Order)
		}
		lb := lbsync.LoadBalancer{Present: true, Instance: w.observe(made.ID).Instance}
		if skips := lbsync.Fixed(lb, lbsync.LoadBalancer{Present: true, Instance: want}); skips != nil {
			t.Errorf("what was ordered counts as changed: %v", skips)
		}
		want.Order = &lbsync.Order{ZoneID: "ap-guangzhou-4", InternetAccessible: &lbsync.InternetAccess{InternetMaxBandwidthOut: new(31)}}
		if skips := lbsync.Fixed(lb, lbsync.LoadBalancer{Present: true, Instance: want}); len(skips) != 2 {
			t.Errorf("a zone and a bandwidth have changed: %v", skips)
		}
	})
}

func TestAttributesAreChangedInPlace(t *testing.T) {
	simulated(t, withGroups, func(t *testing.T, w world) {
		made := w.create(public())
		want := desired(nil)
		want.Instance.Attributes = lbsync.Attributes{SecurityGroups: []string{"sg-test000b", "sg-test000a"}, PassToTarget: new(true), DeleteProtect: new(true), Bandwidth: 25}
		lb := w.reach(w.observe(made.ID), want)
		if got := lb.Instance.Attributes.String(); got != "security groups sg-test000a,sg-test000b, pass to target on, delete protection on, SnatPro off, bandwidth 25 Mbps" {
			t.Errorf("got %s", got)
		}
		want.Instance.Attributes = lbsync.Attributes{SecurityGroups: []string{}, PassToTarget: new(false)}
		lb = w.reach(lb, want)
		if got := lb.Instance.Attributes.String(); got != "security groups none, pass to target off, delete protection on, SnatPro off, bandwidth 25 Mbps" {
			t.Errorf("got %s", got)
		}
		if !slices.Contains(w.writes(), actionSecurityGroups) {
			t.Errorf("writes: %q", w.writes())
		}
	})
}

func TestARefusedAttributeCostsOnlyItself(t *testing.T) {
	simulated(t, withGroups, func(t *testing.T, w world) {
		made := w.create(public())
		want := desired(nil)
		want.Instance.Attributes = lbsync.Attributes{SecurityGroups: []string{"sg-missing0"}, PassToTarget: new(true), DeleteProtect: new(true)}
		w.fault(admin.Fault{Action: actionAttributes, Kind: admin.KindError, Code: "InvalidParameterValue", Message: "no", Count: 2})
		actual := w.observe(made.ID)
		after, err := lbsync.Diff(actual, want).Apply(t.Context(), w.Client, actual)
		refused, only := lbsync.OnlyRefused(err)
		var names []lbsync.Attribute
		for _, r := range refused {
			names = append(names, r.Attribute)
		}
		if !only || !slices.Equal(names, []lbsync.Attribute{lbsync.AttributeSecurityGroups, lbsync.AttributePassToTarget}) {
			t.Errorf("refused: %v", err)
		}
		if seen := w.observe(made.ID).Instance; seen.Attributes.String() != after.Instance.Attributes.String() || seen.Text(lbsync.AttributeDeleteProtect) != "on" {
			t.Errorf("CLB has %s, what is remembered is %s", seen.Attributes, after.Instance.Attributes)
		}
	})
}
