// SPDX-License-Identifier: Apache-2.0

package annotation

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

// CreateParameters are the parameters of CreateLoadBalancer that a Service may set, in CLB's spelling. What identifies
// a CLB (LoadBalancerType, Forward, Number, ClientToken) is not among them: it follows from the Service.
type CreateParameters struct {
	AddressIPVersion         string              `json:"AddressIPVersion,omitempty"` // IPV4, IPV6 (NAT64) or IPv6FullChain
	LoadBalancerName         string              `json:"LoadBalancerName,omitempty"`
	ProjectID                *int                `json:"ProjectId,omitempty"`
	VipIsp                   string              `json:"VipIsp,omitempty"`
	ZoneID                   string              `json:"ZoneId,omitempty"`
	MasterZoneID             string              `json:"MasterZoneId,omitempty"`
	SlaveZoneID              string              `json:"SlaveZoneId,omitempty"`
	Vip                      string              `json:"Vip,omitempty"`
	SubnetID                 string              `json:"SubnetId,omitempty"` // of IPv6FullChain CLBs
	BandwidthPackageID       string              `json:"BandwidthPackageId,omitempty"`
	InternetAccessible       *InternetAccessible `json:"InternetAccessible,omitempty"`
	SLAType                  string              `json:"SlaType,omitempty"`
	DynamicVip               *bool               `json:"DynamicVip,omitempty"`
	EipAddressID             string              `json:"EipAddressId,omitempty"`
	Egress                   string              `json:"Egress,omitempty"`
	LBChargeType             string              `json:"LBChargeType,omitempty"` // POSTPAID_BY_HOUR alone
	SnatPro                  *bool               `json:"SnatPro,omitempty"`
	SnatIPs                  []SnatIP            `json:"SnatIps,omitempty"`
	LoadBalancerPassToTarget *bool               `json:"LoadBalancerPassToTarget,omitempty"`
	Tags                     []Tag               `json:"Tags,omitempty"` // besides those that say whose the CLB is
}

// String names what is set, in one line, as JSON without its braces; "" if nothing is.
func (p *CreateParameters) String() string {
	text, err := json.Marshal(p)
	if err != nil {
		return err.Error() // texts and numbers marshal
	}
	return strings.TrimSuffix(strings.TrimPrefix(string(text), "{"), "}")
}

// InternetAccessible is how a public CLB is connected and billed.
type InternetAccessible struct {
	InternetChargeType      string `json:"InternetChargeType,omitempty"`
	InternetMaxBandwidthOut *int   `json:"InternetMaxBandwidthOut,omitempty"` // Mbps
	BandwidthpkgSubType     string `json:"BandwidthpkgSubType,omitempty"`
}

// SnatIP is a source address of a CLB in the cluster's network.
type SnatIP struct {
	SubnetID string `json:"SubnetId"`
	IP       string `json:"Ip,omitempty"` // empty: CLB chooses one
}

// Tag is a tag of a CLB.
type Tag struct {
	TagKey   string `json:"TagKey"`
	TagValue string `json:"TagValue"`
}

const (
	chargeTraffic   = "TRAFFIC_POSTPAID_BY_HOUR"
	chargeBandwidth = "BANDWIDTH_POSTPAID_BY_HOUR"
	chargePackage   = "BANDWIDTH_PACKAGE"

	bandwidthMax = 2048
	nameMax      = 80
	tagsMax      = 17 // of 20, three say whose the CLB is
)

var (
	subnetID = regexp.MustCompile(`^subnet-[0-9a-z]{8,}$`)
	ownTags  = []string{"tke-createdBy-flag", "tke-clusterId", "tke-lb-serviceuuid"}
)

func (p *CreateParameters) check() error {
	errs := []error{
		oneOf("AddressIPVersion", p.AddressIPVersion, "IPV4", "IPV6", "IPv6FullChain"),
		oneOf("VipIsp", p.VipIsp, "BGP", "CMCC", "CUCC", "CTCC"),
		oneOf("LBChargeType", p.LBChargeType, "POSTPAID_BY_HOUR"),
		oneOf("SlaType", p.SLAType, "clb.c1.small", "clb.c2.medium", "clb.c3.small", "clb.c3.medium", "clb.c4.small", "clb.c4.medium", "clb.c4.large", "clb.c4.xlarge"),
	}
	fault := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if n := utf8.RuneCountInString(p.LoadBalancerName); n > nameMax {
		fault("LoadBalancerName has %d characters, not 1 to %d", n, nameMax)
	}
	if p.ProjectID != nil && *p.ProjectID < 0 {
		fault("ProjectId is %d, not 0 or more", *p.ProjectID)
	}
	if p.Vip != "" {
		if _, err := netip.ParseAddr(p.Vip); err != nil {
			fault("Vip is %q, not an address", p.Vip)
		}
	}
	if p.SubnetID != "" && !subnetID.MatchString(p.SubnetID) {
		fault("SubnetId is %q, not like subnet-2ab3c4d5", p.SubnetID)
	}
	for _, id := range []struct{ field, v, prefix string }{{"BandwidthPackageId", p.BandwidthPackageID, "bwp-"}, {"EipAddressId", p.EipAddressID, "eip-"}} {
		if id.v != "" && !strings.HasPrefix(id.v, id.prefix) {
			fault("%s is %q, not like %s2ab3c4d5", id.field, id.v, id.prefix)
		}
	}
	if i := p.InternetAccessible; i != nil {
		errs = append(errs, oneOf("InternetAccessible.InternetChargeType", i.InternetChargeType, chargeTraffic, chargeBandwidth, chargePackage),
			between("InternetAccessible.InternetMaxBandwidthOut", i.InternetMaxBandwidthOut, 1, bandwidthMax))
	}
	if len(p.SnatIPs) > 0 && p.SnatPro != nil && !*p.SnatPro {
		fault("SnatPro is false, and SnatIps needs it")
	}
	errs = append(errs, checkSnatIPs("SnatIps", p.SnatIPs), checkTags(p.Tags))
	return errors.Join(errs...)
}

func checkSnatIPs(name string, list []SnatIP) error {
	var errs []error
	if len(list) > 10 {
		errs = append(errs, fmt.Errorf("%s has %d entries, not at most 10", name, len(list)))
	}
	for i, s := range list {
		if !subnetID.MatchString(s.SubnetID) {
			errs = append(errs, fmt.Errorf("%s[%d].SubnetId is %q, not like subnet-2ab3c4d5", name, i, s.SubnetID))
		}
		if s.IP != "" {
			if _, err := netip.ParseAddr(s.IP); err != nil {
				errs = append(errs, fmt.Errorf("%s[%d].Ip is %q, not an address", name, i, s.IP))
			}
		}
	}
	return errors.Join(errs...)
}

func checkTags(tags []Tag) error {
	var errs []error
	fault := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if len(tags) > tagsMax {
		fault("Tags has %d entries, not at most %d", len(tags), tagsMax)
	}
	seen := map[string]bool{}
	for i, t := range tags {
		switch {
		case t.TagKey == "" || utf8.RuneCountInString(t.TagKey) > 127 || utf8.RuneCountInString(t.TagValue) > 255:
			fault("Tags[%d] has a key of %d and a value of %d characters, not 1 to 127 and 0 to 255", i, utf8.RuneCountInString(t.TagKey), utf8.RuneCountInString(t.TagValue))
		case seen[t.TagKey]:
			fault("Tags[%d]: the key %q stands twice", i, t.TagKey)
		}
		if slices.Contains(ownTags, t.TagKey) {
			fault("Tags[%d]: the key %q says whose the CLB is and is set by the controller", i, t.TagKey)
		}
		seen[t.TagKey] = true
	}
	return errors.Join(errs...)
}

// snatInfo is the annotation for nodes outside of Tencent Cloud. TKE spells its fields in another way than CLB.
type snatInfo struct {
	SnatIPs []struct {
		SubnetID string `json:"subnetId"`
		IP       string `json:"ip,omitempty"`
	} `json:"snatIps"`
}

func (s *snatInfo) list() []SnatIP {
	out := make([]SnatIP, len(s.SnatIPs))
	for i, one := range s.SnatIPs {
		out[i] = SnatIP{SubnetID: one.SubnetID, IP: one.IP}
	}
	return out
}

func (s *snatInfo) check() error {
	if len(s.SnatIPs) == 0 {
		return errors.New("snatIps has no entry")
	}
	return checkSnatIPs("snatIps", s.list())
}
