// SPDX-License-Identifier: Apache-2.0

package cloud

// actions is the API: every action with the error codes that its
// documentation lists, which is all that it may answer. A test compares the
// codes with the SDK's.
var actions = []Action{
	write(ServiceCLB, "CreateLoadBalancer", `FailedOperation InternalError InvalidParameter InvalidParameter.ClientTokenLimitExceeded
		InvalidParameter.FormatError InvalidParameterValue InvalidParameterValue.Length InvalidParameterValue.Range
		LimitExceeded MissingParameter ResourceInsufficient UnauthorizedOperation UnsupportedOperation`, createLoadBalancer),
	read(ServiceCLB, "DescribeLoadBalancers", `FailedOperation InternalError InvalidParameter InvalidParameter.FormatError InvalidParameter.RegionNotFound
		InvalidParameterValue InvalidParameterValue.InvalidFilter InvalidParameterValue.Length
		InvalidParameterValue.Range UnauthorizedOperation UnsupportedOperation`, describeLoadBalancers),
	write(ServiceCLB, "DeleteLoadBalancer", `FailedOperation FailedOperation.EipTrafficCheckRisk FailedOperation.FrequencyCheckRisk
		FailedOperation.TargetNumCheckRisk FailedOperation.TrafficCheckRisk InternalError InvalidParameter
		InvalidParameter.FormatError InvalidParameter.LBIdNotFound InvalidParameterValue InvalidParameterValue.Length
		LimitExceeded ResourceInsufficient UnauthorizedOperation`, deleteLoadBalancer),
	write(ServiceCLB, "ModifyLoadBalancerAttributes", `FailedOperation FailedOperation.ResourceInOperating InternalError InvalidParameter InvalidParameter.FormatError
		InvalidParameter.LBIdNotFound InvalidParameter.RegionNotFound InvalidParameterValue
		InvalidParameterValue.Duplicate InvalidParameterValue.Length LimitExceeded MissingParameter
		ResourceInsufficient UnauthorizedOperation`, modifyLoadBalancerAttributes),
	write(ServiceCLB, "SetLoadBalancerSecurityGroups", `FailedOperation FailedOperation.ResourceInOperating InternalError InvalidParameter.FormatError
		InvalidParameter.LBIdNotFound InvalidParameterValue InvalidParameterValue.Length LimitExceeded
		UnauthorizedOperation`, setLoadBalancerSecurityGroups),
	write(ServiceCLB, "SetSecurityGroupForLoadbalancers", `FailedOperation FailedOperation.ResourceInOperating InternalError InvalidParameter InvalidParameter.FormatError
		InvalidParameter.LBIdNotFound InvalidParameterValue InvalidParameterValue.Length UnauthorizedOperation`, setSecurityGroupForLoadBalancers),
	write(ServiceCLB, "CreateLoadBalancerSnatIps", `FailedOperation FailedOperation.ResourceInOperating InternalError InvalidParameter InvalidParameter.FormatError
		InvalidParameter.LBIdNotFound InvalidParameter.RegionNotFound InvalidParameterValue InvalidParameterValue.Length LimitExceeded`, createSnatIPs),
	write(ServiceCLB, "DeleteLoadBalancerSnatIps", `FailedOperation FailedOperation.ResourceInOperating InternalError InvalidParameter InvalidParameter.FormatError
		InvalidParameter.LBIdNotFound InvalidParameterValue LimitExceeded`, deleteSnatIPs),
	write(ServiceCLB, "ModifyLoadBalancerMixIpTarget", `FailedOperation InternalError InvalidParameter InvalidParameter.FormatError InvalidParameter.LBIdNotFound
		InvalidParameter.RegionNotFound InvalidParameterValue InvalidParameterValue.Duplicate
		InvalidParameterValue.Length InvalidParameterValue.Range MissingParameter`, modifyMixIPTarget),
	write(ServiceCLB, "CreateListener", `FailedOperation FailedOperation.ResourceInOperating InternalError InvalidParameter InvalidParameter.FormatError
		InvalidParameter.PortCheckFailed InvalidParameterValue InvalidParameterValue.Length LimitExceeded
		MissingParameter ResourceInsufficient UnauthorizedOperation`, createListener),
	read(ServiceCLB, "DescribeListeners", `FailedOperation InternalError InvalidParameter InvalidParameter.FormatError InvalidParameter.LBIdNotFound
		InvalidParameter.RegionNotFound InvalidParameterValue InvalidParameterValue.InvalidFilter
		InvalidParameterValue.Length UnauthorizedOperation`, describeListeners),
	write(ServiceCLB, "ModifyListener", `FailedOperation FailedOperation.ResourceInOperating InternalError InvalidParameter InvalidParameter.FormatError
		InvalidParameterValue InvalidParameterValue.Length MissingParameter UnauthorizedOperation`, modifyListener),
	write(ServiceCLB, "DeleteListener", `FailedOperation InternalError InvalidParameter InvalidParameter.FormatError InvalidParameterValue
		InvalidParameterValue.Length UnauthorizedOperation`, deleteListener),
	write(ServiceCLB, "DeleteLoadBalancerListeners", `FailedOperation FailedOperation.ResourceInOperating InternalError InvalidParameter InvalidParameter.FormatError
		InvalidParameterValue InvalidParameterValue.Length MissingParameter UnauthorizedOperation`, deleteLoadBalancerListeners),
	write(ServiceCLB, "CreateRule", `FailedOperation FailedOperation.ResourceInOperating InternalError InvalidParameter InvalidParameter.FormatError
		InvalidParameterValue InvalidParameterValue.Length LimitExceeded MissingParameter ResourceInsufficient
		UnauthorizedOperation`, createRule),
	write(ServiceCLB, "ModifyRule", `FailedOperation FailedOperation.ResourceInOperating InternalError InvalidParameter InvalidParameter.FormatError
		InvalidParameterValue InvalidParameterValue.Length MissingParameter UnauthorizedOperation`, modifyRule),
	write(ServiceCLB, "ModifyDomain", `FailedOperation FailedOperation.ResourceInOperating InternalError InvalidParameter InvalidParameter.FormatError
		InvalidParameterValue InvalidParameterValue.Length UnauthorizedOperation`, modifyDomain),
	write(ServiceCLB, "ModifyDomainAttributes", `FailedOperation FailedOperation.ResourceInOperating InternalError InvalidParameter InvalidParameter.FormatError
		InvalidParameterValue InvalidParameterValue.Length LimitExceeded MissingParameter UnauthorizedOperation`, modifyDomainAttributes),
	write(ServiceCLB, "DeleteRule", `FailedOperation FailedOperation.ResourceInOperating InternalError InvalidParameter InvalidParameter.FormatError
		InvalidParameterValue InvalidParameterValue.Length UnauthorizedOperation`, deleteRule),
	write(ServiceCLB, "RegisterTargets", `FailedOperation FailedOperation.ResourceInOperating InternalError InvalidParameter InvalidParameter.FormatError
		InvalidParameterValue InvalidParameterValue.Duplicate InvalidParameterValue.Length LimitExceeded
		MissingParameter ResourceInsufficient UnauthorizedOperation`, registerTargets),
	write(ServiceCLB, "DeregisterTargets", `FailedOperation InternalError InvalidParameter InvalidParameter.FormatError InvalidParameterValue
		InvalidParameterValue.Duplicate InvalidParameterValue.Length MissingParameter UnauthorizedOperation`, deregisterTargets),
	write(ServiceCLB, "ModifyTargetWeight", `FailedOperation FailedOperation.ResourceInOperating InternalError InvalidParameter InvalidParameter.FormatError
		InvalidParameterValue InvalidParameterValue.Duplicate InvalidParameterValue.Length UnauthorizedOperation`, modifyTargetWeight),
	write(ServiceCLB, "BatchRegisterTargets", `FailedOperation FailedOperation.ResourceInOperating InternalError InvalidParameter InvalidParameter.FormatError
		InvalidParameter.LBIdNotFound InvalidParameter.ListenerIdNotFound InvalidParameter.LocationNotFound
		InvalidParameter.PortCheckFailed InvalidParameter.ProtocolCheckFailed InvalidParameter.RegionNotFound
		InvalidParameterValue InvalidParameterValue.Length LimitExceeded MissingParameter UnauthorizedOperation`, batchRegisterTargets),
	write(ServiceCLB, "BatchDeregisterTargets", `FailedOperation InternalError InvalidParameter InvalidParameter.FormatError InvalidParameter.LBIdNotFound
		InvalidParameter.ListenerIdNotFound InvalidParameter.LocationNotFound InvalidParameter.PortCheckFailed
		InvalidParameter.ProtocolCheckFailed InvalidParameter.RegionNotFound InvalidParameterValue.Duplicate
		InvalidParameterValue.Length InvalidParameterValue.Range LimitExceeded MissingParameter ResourceInsufficient
		UnauthorizedOperation`, batchDeregisterTargets),
	write(ServiceCLB, "BatchModifyTargetWeight", `FailedOperation InternalError InvalidParameter InvalidParameter.FormatError InvalidParameterValue
		InvalidParameterValue.Length UnauthorizedOperation`, batchModifyTargetWeight),
	read(ServiceCLB, "DescribeTargets", `FailedOperation InternalError InvalidParameter InvalidParameter.FormatError InvalidParameterValue
		InvalidParameterValue.InvalidFilter InvalidParameterValue.Length UnauthorizedOperation UnsupportedOperation`, describeTargets),
	read(ServiceCLB, "DescribeTargetHealth", `FailedOperation InternalError InvalidParameter InvalidParameter.FormatError InvalidParameter.LBIdNotFound
		InvalidParameterValue InvalidParameterValue.Length UnauthorizedOperation UnsupportedOperation`, describeTargetHealth),
	read(ServiceCLB, "DescribeTaskStatus", `FailedOperation InternalError InvalidParameter InvalidParameter.RegionNotFound`, describeTaskStatus),
	read(ServiceCLB, "DescribeQuota", `InternalError InvalidParameter.FormatError UnsupportedOperation`, describeQuota),
	read(ServiceCVM, "DescribeInstances", `FailedOperation.IllegalTagKey FailedOperation.IllegalTagValue FailedOperation.TagKeyReserved
		InternalServerError InvalidFilter InvalidFilterValue.LimitExceeded InvalidHostId.Malformed
		InvalidInstanceId.Malformed InvalidParameter InvalidParameterValue InvalidParameterValue.IPAddressMalformed
		InvalidParameterValue.InstanceIdMalformed InvalidParameterValue.InvalidAppIdFormat
		InvalidParameterValue.InvalidIpFormat InvalidParameterValue.InvalidTimeFormat
		InvalidParameterValue.InvalidVagueName InvalidParameterValue.LimitExceeded
		InvalidParameterValue.SubnetIdMalformed InvalidParameterValue.TagKeyNotFound
		InvalidParameterValue.UuidMalformed InvalidParameterValue.VpcIdMalformed InvalidSecurityGroupId.NotFound
		InvalidSgId.Malformed InvalidZone.MismatchRegion ResourceNotFound.HpcCluster UnauthorizedOperation.InvalidToken
		UnsupportedOperation`, describeInstances),
	read(ServiceCVM, "DescribeZones", `InvalidFilter InvalidParameterValue.LimitExceeded InvalidParameterValue.ZoneNotSupported UnsupportedOperation`, describeZones),
	write(ServiceTag, "TagResources", `AuthFailure.UnauthorizedOperation FailedOperation FailedOperation.PolicyEnforcedInvalid
		FailedOperation.ResourceTagProcessing InvalidParameter InvalidParameter.ReservedTagKey InvalidParameter.Tag
		InvalidParameter.UnsupportedService InvalidParameterValue.ResourceDescriptionError
		InvalidParameterValue.TagKeyCharacterIllegal InvalidParameterValue.TagKeyDuplicate
		InvalidParameterValue.TagKeyEmpty InvalidParameterValue.TagKeyLengthExceeded
		InvalidParameterValue.TagValueCharacterIllegal InvalidParameterValue.TagValueEmpty
		InvalidParameterValue.TagValueLengthExceeded LimitExceeded.ResourceNumPerRequest LimitExceeded.TagNumPerRequest
		LimitExceeded.TagValue`, tagResources),
	write(ServiceTag, "UnTagResources", `AuthFailure.UnauthorizedOperation FailedOperation FailedOperation.PolicyEnforcedInvalid
		FailedOperation.ResourceTagProcessing InvalidParameter InvalidParameter.ReservedTagKey InvalidParameter.Tag
		InvalidParameterValue.ResourceDescriptionError InvalidParameterValue.TagKeyCharacterIllegal
		InvalidParameterValue.TagKeyDuplicate InvalidParameterValue.TagKeyEmpty
		InvalidParameterValue.TagKeyLengthExceeded InvalidParameterValue.TagValueCharacterIllegal
		LimitExceeded.ResourceNumPerRequest LimitExceeded.TagNumPerRequest`, untagResources),
	read(ServiceTag, "GetResources", `AuthFailure.UnauthorizedOperation FailedOperation FailedOperation.ResourceTagProcessing InvalidParameter
		InvalidParameter.PaginationTokenInvalid InvalidParameter.ReservedTagKey InvalidParameter.Tag
		InvalidParameterValue.ResourceDescriptionError InvalidParameterValue.TagKeyDuplicate
		InvalidParameterValue.TagKeyEmpty InvalidParameterValue.TagKeyLengthExceeded
		InvalidParameterValue.TagValueCharacterIllegal InvalidParameterValue.TagValueLengthExceeded
		LimitExceeded.ResourceNumPerRequest LimitExceeded.TagNumPerRequest LimitExceeded.TagValue`, getResources),
	read(ServiceTag, "DescribeResourcesByTags", `FailedOperation InvalidParameterValue.TagFilters InvalidParameterValue.TagFiltersLengthExceeded
		InvalidParameterValue.UinInvalid UnsupportedOperation`, describeResourcesByTags),
	// Of the VPC service no module of the SDK can be had to compare with: these
	// are the codes of its documentation that clbsim has a use for.
	write(ServiceVPC, "CreateSecurityGroup", `InvalidParameterValue InvalidParameterValue.LimitExceeded InvalidParameterValue.TagDuplicateKey
		InvalidParameterValue.TagInvalidKey InvalidParameterValue.TooLong LimitExceeded MissingParameter ResourceNotFound`, createSecurityGroup),
	write(ServiceVPC, "CreateSecurityGroupWithPolicies", `InternalError.ModuleError InvalidParameter.Coexist InvalidParameterValue InvalidParameterValue.LimitExceeded
		InvalidParameterValue.Malformed InvalidParameterValue.Range InvalidParameterValue.TooLong LimitExceeded
		MissingParameter ResourceNotFound UnknownParameter.WithGuess UnsupportedOperation.LockedResources`, createSecurityGroupWithPolicies),
	write(ServiceVPC, "DeleteSecurityGroup", `InternalError.ModuleError InvalidParameterValue.Malformed InvalidParameterValue.Range
		InvalidSecurityGroupID.Malformed InvalidSecurityGroupID.NotFound ResourceInUse ResourceNotFound UnsupportedOperation
		UnsupportedOperation.LockedResources`, deleteSecurityGroup),
	read(ServiceVPC, "DescribeSecurityGroups", `InternalError.ModuleError InvalidParameter InvalidParameter.Coexist InvalidParameterValue
		InvalidParameterValue.LimitExceeded InvalidParameterValue.Malformed InvalidParameterValue.Range
		InvalidSecurityGroupID.Malformed InvalidSecurityGroupID.NotFound`, describeSecurityGroups),
	read(ServiceVPC, "DescribeSecurityGroupPolicies", `InternalError.ModuleError InvalidParameterValue InvalidParameterValue.Malformed
		InvalidSecurityGroupID.Malformed InvalidSecurityGroupID.NotFound ResourceNotFound`, describePolicies),
	write(ServiceVPC, "CreateSecurityGroupPolicies", `InternalError.ModuleError InvalidParameter InvalidParameter.Coexist InvalidParameterValue InvalidParameterValue.Empty
		InvalidParameterValue.LimitExceeded InvalidParameterValue.Malformed InvalidParameterValue.Range
		InvalidParameterValue.TooLong LimitExceeded LimitExceeded.SecurityGroupPolicySet ResourceNotFound
		UnknownParameter.WithGuess UnsupportedOperation.ClbPolicyExceedLimit UnsupportedOperation.ClbPolicyLimit
		UnsupportedOperation.DuplicatePolicy UnsupportedOperation.LockedResources UnsupportedOperation.VersionMismatch`, createPolicies),
	write(ServiceVPC, "ModifySecurityGroupPolicies", `InternalError.ModuleError InvalidParameter.Coexist InvalidParameterValue InvalidParameterValue.LimitExceeded
		InvalidParameterValue.Malformed InvalidParameterValue.Range InvalidParameterValue.TooLong LimitExceeded
		LimitExceeded.SecurityGroupPolicySet ResourceNotFound UnsupportedOperation.VersionMismatch`, modifyPolicies),
	write(ServiceVPC, "DeleteSecurityGroupPolicies", `InternalError.ModuleError InvalidParameter.Coexist InvalidParameterValue InvalidParameterValue.Empty
		InvalidParameterValue.Malformed InvalidParameterValue.Range ResourceNotFound UnsupportedOperation.LockedResources
		UnsupportedOperation.VersionMismatch`, deletePolicies),
	read(ServiceVPC, "DescribeSubnets", `InternalError.ModuleError InvalidParameter InvalidParameter.Coexist InvalidParameterValue
		InvalidParameterValue.LimitExceeded InvalidParameterValue.Malformed InvalidParameterValue.Range ResourceNotFound`, describeSubnets),
}
