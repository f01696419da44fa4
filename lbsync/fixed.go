// SPDX-License-Identifier: Apache-2.0

package lbsync

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/clbsync/clbsync/lbsync/annotation"
)

// fixed are the settings that CLB takes only when it is created, as the text that people know them by; "": not asked for,
// or not known.
var fixed = []struct {
	name string   // of the parameter
	also []string // others that say the same
	text func(Instance) string
	same func(asked, is string) bool // nil: equal
}{
	{name: "AddressIPVersion", text: ofOrder(func(p *Order) string { return p.AddressIPVersion })},
	{name: "InternetChargeType", also: []string{"InternetAccessible.InternetChargeType"}, text: ofOrder(func(p *Order) string {
		if p.InternetAccessible == nil {
			return ""
		}
		return p.InternetAccessible.InternetChargeType
	})},
	{name: "VipIsp", text: ofOrder(func(p *Order) string { return p.VipIsp })},
	{name: "SlaType", text: ofOrder(func(p *Order) string { return p.SLAType })},
	{name: "Egress", text: ofOrder(func(p *Order) string { return p.Egress })},
	{name: "ProjectId", text: ofOrder(func(p *Order) string {
		if p.ProjectID == nil {
			return ""
		}
		return strconv.Itoa(*p.ProjectID)
	})},
	{name: "zone", also: []string{"ZoneId", "MasterZoneId"}, text: ofOrder(func(p *Order) string { return cmp.Or(p.MasterZoneID, p.ZoneID) }), same: sameZone},
	{name: "SnatIps", text: ofOrder(func(p *Order) string {
		var subnets []string
		for _, s := range p.SnatIPs {
			subnets = append(subnets, s.SubnetID)
		}
		slices.Sort(subnets)
		return strings.Join(subnets, ",")
	})},
}

func ofOrder(text func(*Order) string) func(Instance) string {
	return func(i Instance) string {
		if i.Order == nil {
			return ""
		}
		return text(i.Order)
	}
}

// sameZone compares what is asked for, a name or a number, with both as CLB says them: "ap-guangzhou-3 100003".
func sameZone(asked, is string) bool { return slices.Contains(strings.Fields(is), asked) }

const again = "to get another CLB, and another address, change spec.type to ClusterIP and back"

// Fixed returns a Skip for each setting that CLB takes only when it is created and that the manifest has
// changed since. The CLB stays as it is: making it anew would change its address.
func Fixed(actual, desired LoadBalancer) []Skip {
	if !actual.Present || !desired.Present || !desired.Instance.Owner.Owns(actual.Instance.Tags) {
		return nil
	}
	a, d := actual.Instance, desired.Instance
	var skips []Skip
	skip := func(is, want, instead string) {
		skips = append(skips, Skip{Object: "clb " + a.ID, Reason: CreateTimeOnly, Warning: true,
			Message: fmt.Sprintf("CLB %s is %s and stays so, though the manifest asks for %s: CLB cannot change it; %s", a.ID, is, want, instead)})
	}
	if is, want := a.network(), d.network(); a.Internal != d.Internal || a.Internal && a.SubnetID != d.SubnetID {
		skip(is, want, again)
	}
	if a.Region != d.Region {
		skip("in "+cmp.Or(a.Region, "the cluster's region"), cmp.Or(d.Region, "the cluster's region"), again)
	}
	if d.VPCID != "" && a.VPCID != "" && a.VPCID != d.VPCID {
		skip("in "+a.VPCID, d.VPCID, again)
	}
	seen := compared(a, d, skip)
	return append(skips, noted(a.ID, d, seen)...)
}

// compared compares what is asked for with what CLB tells, and returns the names of the parameters of which nothing is left to say.
func compared(a, d Instance, skip func(is, want, instead string)) map[string]bool {
	// These are changed in place, and what was asked for and is not any more is undone, but for SnatPro: without it the CLB would
	// lose its addresses for good.
	seen := map[string]bool{"SnatPro": d.SnatPro != nil || a.SnatPro == nil || !*a.SnatPro, "LoadBalancerPassToTarget": true}
	for _, f := range fixed {
		is, want := f.text(a), f.text(d)
		if want == "" || is == "" {
			continue
		}
		for _, name := range append(f.also, f.name) {
			seen[name] = true
		}
		if want != is && (f.same == nil || !f.same(want, is)) {
			skip(fmt.Sprintf("of %s %s", f.name, is), want, again)
		}
	}
	want := d.orderedBandwidth()
	seen[orderBandwidth] = d.Bandwidth != 0 || want != 0 && a.Bandwidth != 0
	if seen[orderBandwidth] && d.Bandwidth == 0 && want != a.Bandwidth {
		skip(fmt.Sprintf("of %d Mbps", a.Bandwidth), fmt.Sprintf("%d Mbps in an annotation, which is read at creation only", want),
			"to change it in place, set internetMaxBandwidthOut in a TkeServiceConfig ("+annotation.ServiceConfig+")")
	}
	return seen
}

// noted returns a Skip for each parameter that the manifest has changed since the CLB was ordered and that is not seen
// already: what CLB does not tell, and what is not asked for any more, is known by what was noted alone.
func noted(id string, d Instance, seen map[string]bool) []Skip {
	if d.Ordered == nil {
		return nil
	}
	var skips []Skip
	was, is := parameters(d.Ordered), parameters(d.Order)
	for _, name := range slices.Sorted(maps.Keys(cloneOver(was, is))) {
		before, now := was[name], is[name]
		if seen[name] || before == now {
			continue
		}
		ordered, asks := "with "+name+" "+before, "asks for "+now
		if before == "" {
			ordered = "without " + name
		}
		if now == "" {
			asks = "says nothing of it any more"
		}
		skips = append(skips, Skip{Object: "clb " + id, Reason: CreateTimeOnly, Warning: true,
			Message: fmt.Sprintf("CLB %s was ordered %s and stays so, though the manifest %s: it is read at creation only; %s", id, ordered, asks, again)})
	}
	return skips
}

const orderBandwidth = "InternetAccessible.InternetMaxBandwidthOut"

// parameters returns an order by the names of its parameters, each as JSON; those within InternetAccessible by themselves.
func parameters(o *Order) map[string]string {
	out := map[string]string{}
	var add func(prefix string, text []byte)
	add = func(prefix string, text []byte) {
		var fields map[string]json.RawMessage
		if json.Unmarshal(text, &fields) != nil {
			return // it was made from an order
		}
		for name, value := range fields {
			if name == "InternetAccessible" {
				add(name+".", value)
				continue
			}
			out[prefix+name] = string(value)
		}
	}
	if o != nil {
		if text, err := json.Marshal(o); err == nil {
			add("", text)
		}
	}
	return out
}

func cloneOver(a, b map[string]string) map[string]string {
	out := maps.Clone(a)
	maps.Copy(out, b)
	return out
}

// Noted returns what a Service has noted of the order of the CLB that is made for it: the order as JSON.
func (i Instance) Noted() string {
	var o Order
	if i.Order != nil {
		o = *i.Order
	}
	text, err := json.Marshal(o)
	if err != nil {
		return "" // texts and numbers marshal
	}
	return string(text)
}

func (i Instance) network() string {
	if i.Internal {
		return "internal in " + i.SubnetID
	}
	return "public"
}

// orderedBandwidth is the bandwidth that is asked for at creation, in Mbps; 0 is none.
func (i Instance) orderedBandwidth() int {
	if i.Order == nil || i.Order.InternetAccessible == nil || i.Order.InternetAccessible.InternetMaxBandwidthOut == nil {
		return 0
	}
	return *i.Order.InternetAccessible.InternetMaxBandwidthOut
}
