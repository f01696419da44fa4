// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/clbsync/clbsync/clbsim"
	"github.com/clbsync/clbsync/clbsim/admin"
	"github.com/clbsync/clbsync/internal/kubetest"
	"github.com/clbsync/clbsync/lbsync"
	"github.com/clbsync/clbsync/lbsync/annotation"
	"github.com/clbsync/clbsync/lbsync/clb"
)

// The old spellings, which the table has no names for.
const (
	oldChargeType = "kubernetes.io/service.internetChargeType"
	oldBandwidth  = "kubernetes.io/service.internetMaxBandwidthOut"
	shareExisting = "service.kubernetes.io/qcloud-share-existed-lb"
)

// everyAnnotation is the table of what is tried.
func everyAnnotation() []every {
	return slices.Concat(ofTheNetwork(), ofAttributes(), ofOrders(), ofTargets(), ofPods(), ofListeners(), ofTheController())
}

// field reads something of the CLB of a Service; without one it is "no CLB".
func field(of func(l *tried, lb admin.LoadBalancer) string) func(*tried, string) string {
	return func(l *tried, service string) string {
		if lb := l.of(service); lb != nil {
			return of(l, *lb)
		}
		return "no CLB"
	}
}

// described is what DescribeLoadBalancers says of a CLB, as far as it is read here.
type described struct {
	LoadBalancerName, AddressIPVersion, IPv6Mode, VipIsp string
	SLAType                                              string `json:"SlaType"`
	ProjectID                                            int    `json:"ProjectId"`
	NetworkAttributes                                    struct {
		InternetChargeType      string
		InternetMaxBandwidthOut int
	}
	MasterZone struct{ Zone string }
	SnatPro    bool
	SnatIps    []struct {
		SubnetID string `json:"SubnetId"`
	}
}

// api reads something of the CLB of a Service from the API.
func api(of func(described) string) func(*tried, string) string {
	return field(func(l *tried, lb admin.LoadBalancer) string {
		var answer struct{ LoadBalancerSet []described }
		if err := l.sim.Console(l.Context(), "DescribeLoadBalancers", map[string]any{"LoadBalancerIds": []string{lb.ID}}, &answer); err != nil || len(answer.LoadBalancerSet) != 1 {
			l.Fatalf("%s: %v, %+v", lb.ID, err, answer)
		}
		return of(answer.LoadBalancerSet[0])
	})
}

func chargeType(d described) string { return d.NetworkAttributes.InternetChargeType }

func bandwidth(d described) string {
	return fmt.Sprintf("%d Mbps", d.NetworkAttributes.InternetMaxBandwidthOut)
}

func snats(d described) string {
	var out []string
	for _, s := range d.SnatIps {
		out = append(out, s.SubnetID)
	}
	return cmp.Or(strings.Join(out, " "), "none")
}

// where is the region, the network and the kind of a CLB, and its targets.
var where = field(func(l *tried, lb admin.LoadBalancer) string {
	for _, name := range []string{early, late, broken} {
		if one := l.of(name); one != nil && one.ID == lb.ID {
			return fmt.Sprintf("%s %s %s", lb.Region, lb.VPC, l.served(name))
		}
	}
	return ""
})

// elsewhere is an account with another network and another region.
func elsewhere(c *clbsim.Config) {
	c.Regions = append(c.Regions, "ap-shanghai")
	for _, v := range []struct{ vpc, region, subnet, cidr string }{{"vpc-other001", "ap-guangzhou", "subnet-other001", "172.16.0.0/16"}, {"vpc-shang001", "ap-shanghai", "subnet-shang001", "172.17.0.0/16"}} {
		cidr := netip.MustParsePrefix(v.cidr)
		c.VPCs = append(c.VPCs, clbsim.VPC{ID: v.vpc, Region: v.region, CIDRs: []netip.Prefix{cidr}})
		c.Subnets = append(c.Subnets, clbsim.Subnet{ID: v.subnet, VPC: v.vpc, CIDR: cidr, Zone: "ap-guangzhou-3"})
	}
	c.Subnets = append(c.Subnets, clbsim.Subnet{ID: "subnet-demo0002", VPC: "vpc-2ab3c4d5", CIDR: netip.MustParsePrefix("10.0.201.0/24"), Zone: "ap-guangzhou-4"})
}

func reachRegions(l *tried) {
	client := l.config.Cloud.(*clb.Client)
	l.config.Regions = func(region string) (Cloud, error) { return client.In(region) }
}

const (
	nodesByID      = "TCP:80 ins-00000001=10 ins-00000002=10 ins-00000003=10"
	nodesByAddress = "TCP:80 10.0.0.1=10 10.0.0.2=10 10.0.0.3=10"
	atHome         = "ap-guangzhou vpc-2ab3c4d5 " + nodesByID
	stayed         = "stays so, though the manifest asks for "
)

func ofTheNetwork() []every {
	snat := func(subnet string) func(*corev1.Service) {
		return kubetest.Annotation(annotation.SnatProInfo, `{"snatIps":[{"subnetId":"`+subnet+`"}]}`)
	}
	byHand := func(id, name string) func(*clbsim.Config) {
		return func(c *clbsim.Config) {
			c.LoadBalancers = append(c.LoadBalancers, clbsim.ExistingLoadBalancer{ID: id, Name: name})
		}
	}
	existing := func(l *tried, service string) string {
		id := l.id(service)
		switch lb := l.of(service); {
		case lb == nil:
			return "no CLB"
		case lb.Tags[lbsync.TagCreatedBy] != "":
			id = "its own"
		}
		return id + " " + l.served(service)
	}
	return []every{
		{name: annotation.ExistingID, account: byHand("lb-byhand02", "second"), value: "lb-byhand01", other: "lb-byhand02", bad: "lb_what?", right: "the ID of a CLB like lb-2ab3c4d5", reads: existing,
			without: "its own " + nodesByID, with: "lb-byhand01 " + nodesByID, changed: "lb-byhand01 " + nodesByID, removed: "lb-byhand01 " + nodesByID, added: "its own " + nodesByID,
			stays: [3]string{stayed + "lb-byhand01", stayed + "lb-byhand02", stayed + "a new one"}},
		{name: shareExisting, mods: []func(*corev1.Service){on("lb-byhand01"), func(s *corev1.Service) {
			n := map[string]int32{early: 80, late: 81, broken: 82}[s.Name]
			port(n)(s)
		}}, value: "true", other: "false", bad: "yes", right: `want "true" or "false"`, inert: "Services may always share a CLB here",
			reads: func(l *tried, service string) string {
				id, _, _ := strings.Cut(existing(l, service), " ")
				return id
			},
			without: "lb-byhand01", with: "lb-byhand01", changed: "lb-byhand01"},
		{name: annotation.InternalSubnet, account: elsewhere, value: "subnet-demo0001", other: "subnet-demo0002", bad: "demo0001", right: "a subnet ID like subnet-2ab3c4d5",
			reads:   field(func(_ *tried, lb admin.LoadBalancer) string { return strings.TrimSpace(lb.Type + " " + lb.Subnet) }),
			without: "OPEN", with: "INTERNAL subnet-demo0001",
			stays: [3]string{stayed + "internal in subnet-demo0001", stayed + "internal in subnet-demo0002", stayed + "public"}},
		{name: annotation.CrossRegion, account: elsewhere, setup: reachRegions, mods: []func(*corev1.Service){func(s *corev1.Service) {
			if s.Name == early {
				snat("subnet-shang001")(s)
			}
		}}, value: "ap-shanghai", other: "ap-guangzhou", bad: "Shanghai", right: "a region like ap-shanghai", reads: where,
			without: atHome, with: "ap-shanghai vpc-shang001 " + nodesByAddress,
			stays: [3]string{"in the cluster's region and " + stayed + "ap-shanghai", "in ap-shanghai and " + stayed + "the cluster's region", "in ap-shanghai and " + stayed + "the cluster's region"}},
		{name: annotation.CrossVPC, account: elsewhere, mods: []func(*corev1.Service){func(s *corev1.Service) {
			if s.Name == early {
				snat("subnet-other001")(s)
			}
		}}, value: "vpc-other001", other: "vpc-2ab3c4d5", bad: "other001", right: "a VPC ID like vpc-2ab3c4d5", reads: where,
			without: atHome, with: "ap-guangzhou vpc-other001 " + nodesByAddress,
			stays: [3]string{"in vpc-2ab3c4d5 and " + stayed + "vpc-other001", "in vpc-other001 and " + stayed + "vpc-2ab3c4d5", "in vpc-other001 and " + stayed + "vpc-2ab3c4d5"}},
		{name: annotation.HybridType, account: elsewhere, setup: func(l *tried) {
			l.put(kubetest.Node(4, unnamed, func(n *corev1.Node) { n.Status.Addresses[0].Address = "172.16.7.4" }))
			l.config.Instances = func(context.Context, netip.Addr) (string, bool, error) { return "", false, nil }
		}, mods: []func(*corev1.Service){snat("subnet-demo0001")}, value: "CCN", bad: "VPN", right: `want "CCN"`, reads: (*tried).served,
			without: nodesByID, with: "TCP:80 172.16.7.4=10 ins-00000001=10 ins-00000002=10 ins-00000003=10"},
		{name: annotation.HybridType, part: "and its own addresses", value: "CCN", bad: "VPN", right: `want "CCN"`,
			reads:   api(func(d described) string { return fmt.Sprintf("SnatPro %v", d.SnatPro) }),
			without: "SnatPro false", with: "SnatPro true", removed: "SnatPro true", spoilt: "SnatPro true"}, // switched off, it would lose its addresses for good
		{name: annotation.SnatProInfo, account: elsewhere, mods: []func(*corev1.Service){kubetest.Annotation(annotation.HybridType, "CCN")},
			value: `{"snatIps":[{"subnetId":"subnet-demo0001"}]}`, other: `{"snatIps":[{"subnetId":"subnet-demo0002"}]}`, bad: `{"snatIps":[{"subnetId":"demo"}]}`, right: "not like subnet-2ab3c4d5",
			reads: api(snats), without: "none", with: "subnet-demo0001",
			stays: [3]string{"without SnatIps", stayed + "subnet-demo0002", "says nothing of it any more"}},
	}
}

func ofAttributes() []every {
	groups := field(func(_ *tried, lb admin.LoadBalancer) string { return strings.Join(lb.SecurityGroups, " ") })
	switched := func(of func(admin.LoadBalancer) bool) func(*tried, string) string {
		return field(func(_ *tried, lb admin.LoadBalancer) string { return fmt.Sprint(of(lb)) })
	}
	return []every{
		{name: annotation.SecurityGroups, account: func(c *clbsim.Config) {
			c.SecurityGroups = append(c.SecurityGroups, clbsim.SecurityGroup{ID: "sg-demo0002"})
		}, value: "sg-demo0001", other: "sg-demo0002,sg-demo0001", bad: "web", right: "IDs of security groups like sg-2ab3c4d5", reads: groups,
			without: "", with: "sg-demo0001", changed: "sg-demo0002 sg-demo0001"},
		{name: annotation.SourceRanges, value: "10.0.0.0/8", other: "192.168.0.0/16, 10.0.0.0/8", bad: "10.0.0.1", right: "ranges of addresses like 10.0.0.0/8", reads: admitted,
			without: "everybody", with: "10.0.0.0/8 to tcp 80", changed: "10.0.0.0/8 to tcp 80, 192.168.0.0/16 to tcp 80"},
		{name: annotation.PassToTarget, value: "true", other: "false", bad: "perhaps", right: `want "true" or "false"`, reads: switched(func(lb admin.LoadBalancer) bool { return lb.PassToTarget }),
			without: "false", with: "true", changed: "false", spoilt: "true"},
		{name: annotation.DeleteProtection, value: "true", other: "false", bad: "perhaps", right: `want "true" or "false"`, reads: switched(func(lb admin.LoadBalancer) bool { return lb.DeleteProtect }),
			without: "false", with: "true", changed: "false", spoilt: "true"},
	}
}

// admitted says who reaches the listeners of a Service, by the security groups of its CLB.
func admitted(l *tried, service string) string {
	lb := l.of(service)
	switch {
	case lb == nil:
		return "no CLB"
	case len(lb.SecurityGroups) == 0:
		return "everybody"
	}
	state, err := l.sim.State(l.Context())
	if err != nil {
		l.Fatal(err)
	}
	var out []string
	for _, g := range state.Groups {
		if slices.Contains(lb.SecurityGroups, g.ID) {
			for _, p := range g.Ingress {
				out = append(out, fmt.Sprintf("%s to %s %s", p.CIDR, p.Protocol, p.Port))
			}
		}
	}
	slices.Sort(out)
	return strings.Join(out, ", ")
}

func ofOrders() []every {
	const first, second = "TRAFFIC_POSTPAID_BY_HOUR", "BANDWIDTH_POSTPAID_BY_HOUR"
	charge := every{value: second, other: first, bad: "BY_WEIGHT", right: `want "TRAFFIC_POSTPAID_BY_HOUR" or "BANDWIDTH_POSTPAID_BY_HOUR"`, reads: api(chargeType), without: first, with: second,
		stays: [3]string{stayed + second, stayed + first, "says nothing of it any more"}}
	mbps := every{value: "20", other: "30", bad: "2049", right: "a whole number, 1 to 2048 Mbps", reads: api(bandwidth), without: "10 Mbps", with: "20 Mbps",
		stays: [3]string{"internetMaxBandwidthOut in a TkeServiceConfig", "internetMaxBandwidthOut in a TkeServiceConfig", "says nothing of it any more"}}
	spelt := func(e every, name, modern, value string) every {
		e.name = name
		if modern != "" { // the old spelling gives way to the new one
			e.after = func(l *tried) {
				l.edit(late, annotate(modern, value))
				l.pass(soon)
				l.says("both spellings", late, name, "an old spelling of "+modern+", which is set too and counts")
				l.edit(late, annotate(modern, ""))
			}
		}
		return e
	}
	parameters := func(part, value, other, without, with string, reads func(*tried, string) string, stays [3]string) every {
		return every{name: annotation.CreateParams, part: part, account: elsewhere, value: value, other: other, bad: `{"ZoneId":3}`, right: `"ZoneId" is a JSON number, which does not fit`, reads: reads, without: without, with: with, stays: stays}
	}
	return append(ofIPv6(), []every{
		spelt(charge, annotation.ChargeType, "", ""), spelt(charge, oldChargeType, annotation.ChargeType, first),
		spelt(mbps, annotation.Bandwidth, "", ""), spelt(mbps, oldBandwidth, annotation.Bandwidth, "10"),
		parameters("of the console", `{"ZoneId":"ap-guangzhou-3","LoadBalancerName":"shop","ProjectId":7,"SlaType":"clb.c2.medium"}`, `{"ZoneId":"ap-guangzhou-4","LoadBalancerName":"mall","ProjectId":8,"SlaType":"clb.c3.small"}`,
			"  0", "ap-guangzhou-3 clb.c2.medium 7 shop", func(l *tried, service string) string {
				return api(func(d described) string {
					name := " " + d.LoadBalancerName
					if strings.HasPrefix(d.LoadBalancerName, "cls-demo_") {
						name = ""
					}
					return fmt.Sprintf("%s %s %d%s", d.MasterZone.Zone, d.SLAType, d.ProjectID, name)
				})(l, service)
			}, [3]string{"shop", "mall", "says nothing of it any more"}),
		parameters("of billing", `{"VipIsp":"CTCC","InternetAccessible":{"InternetChargeType":"BANDWIDTH_PACKAGE","InternetMaxBandwidthOut":40},"BandwidthPackageId":"bwp-2ab3c4d5"}`, `{"VipIsp":"BGP"}`,
			"BGP TRAFFIC_POSTPAID_BY_HOUR 10 Mbps", "CTCC BANDWIDTH_PACKAGE 40 Mbps",
			api(func(d described) string { return d.VipIsp + " " + chargeType(d) + " " + bandwidth(d) }), [3]string{stayed + "CTCC", stayed + "BGP", "says nothing of it any more"}),
		parameters("of attributes and tags", `{"SnatPro":true,"SnatIps":[{"SubnetId":"subnet-demo0001"}],"LoadBalancerPassToTarget":true,"Tags":[{"TagKey":"team","TagValue":"a"}]}`, `{"Tags":[{"TagKey":"team","TagValue":"b"}]}`,
			"none", "subnet-demo0001 a", func(l *tried, service string) string {
				lb := l.of(service)
				if lb == nil {
					return "no CLB"
				}
				return strings.TrimSpace(api(snats)(l, service) + " " + lb.Tags["team"])
			}, [3]string{"team", "team", "says nothing of it any more"}),
		parameters("of NAT64", `{"AddressIPVersion":"IPV6"}`, `{"AddressIPVersion":"IPV4"}`, "ipv4, noted as no NAT64", "ipv6, noted as NAT64", func(l *tried, service string) string {
			noted := "noted as no NAT64"
			if a, err := netip.ParseAddr(l.service(service).Annotations[annotation.NatIPv6]); err == nil && a.Is6() {
				noted = "noted as NAT64"
			}
			return api(func(d described) string { return d.AddressIPVersion })(l, service) + ", " + noted
		}, [3]string{stayed + "IPV6", stayed + "IPV4", "says nothing of it any more"}),
	}...)
}

// ofIPv6 are a Service of both families, which has a CLB of the one that its parameters say, and a Service of IPv6 alone, which
// has none before they name a subnet.
func ofIPv6() []every {
	families := func(f ...corev1.IPFamily) []func(*corev1.Service) {
		return []func(*corev1.Service){func(s *corev1.Service) { s.Spec.IPFamilies = f }}
	}
	e := every{name: annotation.CreateParams, part: "of both families", account: elsewhere, setup: func(l *tried) {
		for i := range 3 {
			l.put(kubetest.Node(i+1, func(n *corev1.Node) {
				n.Status.Addresses = append(n.Status.Addresses, corev1.NodeAddress{Type: corev1.NodeInternalIP, Address: fmt.Sprintf("fd00:10::%d", i+1)})
			}))
		}
	}, mods: families(corev1.IPv4Protocol, corev1.IPv6Protocol), value: `{"AddressIPVersion":"IPv6FullChain","SubnetId":"subnet-demo0001"}`, other: `{"AddressIPVersion":"IPV4"}`,
		bad: `{"AddressIPVersion":"IPv7"}`, right: "not IPV4, IPV6, IPv6FullChain",
		reads: func(l *tried, service string) string {
			return api(func(d described) string { return d.AddressIPVersion + d.IPv6Mode })(l, service) + " " + l.served(service)
		}, without: "ipv4 " + nodesByID, with: "ipv6IPv6FullChain TCP:80 fd00:10::1=10 fd00:10::2=10 fd00:10::3=10",
		stays: [3]string{stayed + "IPv6FullChain", stayed + "IPV4", "says nothing of it any more"}}
	alone := e
	alone.part, alone.mods, alone.value, alone.other = "of IPv6 alone", families(corev1.IPv6Protocol), `{"SubnetId":"subnet-demo0001"}`, `{"SubnetId":"subnet-demo0002"}`
	alone.without, alone.added, alone.stays = "no CLB nothing", alone.with, [3]string{"", `asks for "subnet-demo0002"`, "says nothing of it any more"}
	return []every{e, alone}
}
