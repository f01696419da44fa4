// SPDX-License-Identifier: Apache-2.0

package cloud

import (
	"cmp"
	"slices"
	"strings"
	"unicode/utf8"

	clb "github.com/tencentcloud/tencentcloud-sdk-go/tencentcloud/clb/v20180317"
)

// checkCreate refuses what CreateLoadBalancer refuses before it looks at
// quotas and addresses.
func (k *call) checkCreate(in *clb.CreateLoadBalancerRequest) *Error {
	kind := value(in.LoadBalancerType)
	switch {
	case kind == "":
		return missing("LoadBalancerType")
	case kind != TypePublic && kind != TypeInternal:
		return errorf(codeValue, "The value of LoadBalancerType is %q, it should be OPEN or INTERNAL.", kind)
	case in.Forward != nil && *in.Forward != 1:
		return errorf(codeValue, "The value of Forward is %d, it should be 1.", *in.Forward)
	case in.Number != nil && (*in.Number < 1 || *in.Number > 20):
		return errorf(codeRange, "The value of Number is %d, it should be 1 to 20.", *in.Number)
	case in.ProjectId != nil && *in.ProjectId < 0:
		return errorf(codeValue, "The value of ProjectId is %d.", *in.ProjectId)
	}
	for _, check := range []func(*clb.CreateLoadBalancerRequest) *Error{checkUnsimulated, checkIPVersion, checkSnat, checkToken, checkCreateTags, k.checkPlace, k.checkPayment} {
		if err := check(in); err != nil {
			return err
		}
	}
	return checkName("LoadBalancerName", in.LoadBalancerName)
}

// checkUnsimulated refuses what clbsim has no model of. Accepting it silently
// would make a test pass that means nothing.
func checkUnsimulated(in *clb.CreateLoadBalancerRequest) *Error {
	field := ""
	switch {
	case in.LBChargeType != nil && *in.LBChargeType != "POSTPAID_BY_HOUR":
		if *in.LBChargeType != "PREPAID" {
			return errorf(codeValue, "The value of LBChargeType is %q, it should be POSTPAID_BY_HOUR or PREPAID.", *in.LBChargeType)
		}
		field = "LBChargeType PREPAID"
	case in.ExclusiveCluster != nil:
		field = "ExclusiveCluster"
	case len(in.ClusterIds) > 0 || in.ClusterTag != nil:
		field = "ClusterIds and ClusterTag"
	case in.EipAddressId != nil:
		field = "EipAddressId"
	case in.LBChargePrepaid != nil:
		field = "LBChargePrepaid"
	case in.AccessLogTopicId != nil || in.Egress != nil || in.AdvancedRoute != nil:
		field = "AccessLogTopicId, Egress and AdvancedRoute"
	}
	if field == "" {
		return nil
	}
	return errorf(codeUnsupported, "clbsim does not simulate %s.", field)
}

func checkSnat(in *clb.CreateLoadBalancerRequest) *Error {
	if len(in.SnatIps) > 0 && !value(in.SnatPro) {
		return errorf(codeInvalid, "SnatIps needs SnatPro.")
	}
	return nil
}

func checkToken(in *clb.CreateLoadBalancerRequest) *Error {
	token := value(in.ClientToken)
	if len(token) > 64 {
		return errorf(codeLength, "The length of ClientToken is %d, it should be at most 64.", len(token))
	}
	for i := range len(token) {
		if token[i] <= ' ' || token[i] > '~' {
			return errorf(codeValue, "ClientToken should consist of ASCII characters.")
		}
	}
	return nil
}

func checkCreateTags(in *clb.CreateLoadBalancerRequest) *Error {
	if len(in.Tags) > 20 {
		return errorf(codeLength, "The length of Tags is %d, it should be at most 20.", len(in.Tags))
	}
	seen := map[string]bool{}
	for i, t := range in.Tags {
		key := value(t.TagKey)
		switch {
		case key == "":
			return errorf(codeMissing, "The request is missing a required parameter `Tags.%d.TagKey`.", i)
		case t.TagValue == nil:
			return errorf(codeMissing, "The request is missing a required parameter `Tags.%d.TagValue`.", i)
		case seen[key]:
			return errorf(codeValue, "The tag key %s is given twice.", key)
		case tagProblem(key, *t.TagValue) != "":
			return errorf(codeValue, "The tag %s is wrong: %s.", key, tagProblem(key, *t.TagValue))
		}
		seen[key] = true
	}
	return nil
}

// tagProblem names the rule of the tag service that a tag breaks, or is "".
func tagProblem(key, val string) string {
	switch {
	case reservedTagKey(key):
		return "the key is reserved"
	case utf8.RuneCountInString(key) > 127:
		return "the key is longer than 127"
	case utf8.RuneCountInString(val) > 255:
		return "the value is longer than 255"
	}
	return ""
}

func reservedTagKey(key string) bool {
	return strings.HasPrefix(key, "qcs:") || key == "project" || key == "项目"
}

// checkPlace checks network, zone and address.
func (k *call) checkPlace(in *clb.CreateLoadBalancerRequest) *Error {
	internal, fullChain := *in.LoadBalancerType == TypeInternal, ipMode(in) == modeFullChain
	vpc := k.cloud.cfg.vpc(value(in.VpcId))
	switch {
	case internal && value(in.VpcId) == "":
		return missing("VpcId")
	case (internal || fullChain) && value(in.SubnetId) == "":
		return missing("SubnetId")
	case !internal && !fullChain && in.SubnetId != nil:
		return errorf(codeInvalid, "SubnetId is not supported for a public IPv4 load balancer.")
	case in.VpcId != nil && (vpc == nil || vpc.Region != k.name):
		return errorf(codeValue, "The VPC %s does not exist.", *in.VpcId)
	case !internal && in.VpcId == nil && k.defaultVPC() == "":
		return errorf(codeValue, "The region %s has no default VPC.", k.name)
	}
	if internal || fullChain {
		if err := k.checkSubnet(*in.SubnetId, cmp.Or(value(in.VpcId), k.defaultVPC()), fullChain); err != nil {
			return err
		}
	}
	return k.checkZones(in, internal)
}

// checkSubnet checks the subnet from which the address comes.
func (k *call) checkSubnet(id, vpc string, fullChain bool) *Error {
	switch s := k.cloud.cfg.subnet(id); {
	case s == nil || s.VPC != vpc:
		return errorf(codeValue, "The subnet %s does not exist in %s.", id, vpc)
	case fullChain && !s.IPv6CIDR.IsValid():
		return errorf(codeValue, "The subnet %s has no IPv6 addresses.", id)
	}
	return nil
}

func (k *call) checkZones(in *clb.CreateLoadBalancerRequest, internal bool) *Error {
	for _, z := range []struct {
		field string
		zone  *string
	}{{"ZoneId", in.ZoneId}, {"MasterZoneId", in.MasterZoneId}, {"SlaveZoneId", in.SlaveZoneId}} {
		switch {
		case z.zone == nil:
		case internal:
			return errorf(codeInvalid, "%s is for public load balancers.", z.field)
		case k.cloud.zoneName(*z.zone) == "":
			return errorf(codeValue, "The zone %s does not exist.", *z.zone)
		}
	}
	return nil
}

// zoneName returns the name of a zone given by name or number, or "".
func (c *Cloud) zoneName(zone string) string {
	for _, z := range c.cfg.Zones {
		if zone != "" && (z.Name == zone || z.ID == zone) {
			return z.Name
		}
	}
	return ""
}

func (r *region) defaultVPC() string {
	for _, v := range r.cloud.cfg.VPCs {
		if v.Region == r.name {
			return v.ID
		}
	}
	return ""
}

var slaTypes = []string{"clb.c1.small", "clb.c2.medium", "clb.c3.small", "clb.c3.medium", "clb.c4.small", "clb.c4.medium", "clb.c4.large", "clb.c4.xlarge"}

// checkPayment checks what the traffic costs and through whom it goes.
func (k *call) checkPayment(in *clb.CreateLoadBalancerRequest) *Error {
	if err := checkInternet(in.InternetAccessible, value(in.SlaType) != ""); err != nil {
		return err
	}
	charge := ""
	if in.InternetAccessible != nil {
		charge = value(in.InternetAccessible.InternetChargeType)
	}
	isp := value(in.VipIsp)
	switch {
	case in.SlaType != nil && !slices.Contains(slaTypes, *in.SlaType):
		return errorf(codeValue, "The value of SlaType is %q.", *in.SlaType)
	case isp != "" && *in.LoadBalancerType == TypeInternal:
		return errorf(codeInvalid, "VipIsp is for public load balancers.")
	case isp != "" && !slices.Contains([]string{"BGP", "CMCC", "CUCC", "CTCC"}, isp):
		return errorf(codeValue, "The value of VipIsp is %q, it should be BGP, CMCC, CUCC or CTCC.", isp)
	case isp != "" && isp != "BGP" && charge != "BANDWIDTH_PACKAGE":
		return errorf(codeInvalid, "VipIsp %s needs InternetChargeType BANDWIDTH_PACKAGE.", isp)
	case in.BandwidthPackageId != nil && charge != "BANDWIDTH_PACKAGE":
		return errorf(codeInvalid, "BandwidthPackageId needs InternetChargeType BANDWIDTH_PACKAGE.")
	}
	return nil
}

func checkInternet(ia *clb.InternetAccessible, lcu bool) *Error {
	most := int64(2048)
	if lcu {
		most = 61440
	}
	if ia == nil {
		return nil
	}
	charges := []string{"TRAFFIC_POSTPAID_BY_HOUR", "BANDWIDTH_POSTPAID_BY_HOUR", "BANDWIDTH_PACKAGE", "BANDWIDTH_PREPAID"}
	switch b := ia.InternetMaxBandwidthOut; {
	case ia.InternetChargeType != nil && !slices.Contains(charges, *ia.InternetChargeType):
		return errorf(codeValue, "The value of InternetChargeType is %q, it should be one of %s.", *ia.InternetChargeType, strings.Join(charges, ", "))
	case b != nil && (*b < 1 || *b > most):
		return errorf(codeRange, "The value of InternetMaxBandwidthOut is %d, it should be 1 to %d.", *b, most)
	}
	return nil
}
