// SPDX-License-Identifier: Apache-2.0

package cloud

// What the actions of the VPC service have on the wire. The structs are our
// own: of the SDK's module for this service no version can be had that the Go
// checksum database knows. The names are the API's.

type vpcFilter struct {
	Name   *string   `json:"Name"`
	Values []*string `json:"Values"`
}

type vpcTag struct {
	Key   *string `json:"Key"`
	Value *string `json:"Value"`
}

type createSecurityGroupRequest struct {
	GroupName        *string   `json:"GroupName"`
	GroupDescription *string   `json:"GroupDescription"`
	ProjectID        *string   `json:"ProjectId"`
	Tags             []*vpcTag `json:"Tags"`
}

type createSecurityGroupWithPoliciesRequest struct {
	GroupName              *string    `json:"GroupName"`
	GroupDescription       *string    `json:"GroupDescription"`
	ProjectID              *string    `json:"ProjectId"`
	SecurityGroupPolicySet *policySet `json:"SecurityGroupPolicySet"`
}

type createSecurityGroupResponse struct {
	SecurityGroup *securityGroupWire `json:"SecurityGroup"`
	RequestId     *string            `json:"RequestId"` //nolint:staticcheck // set by this name
}

type securityGroupWire struct {
	SecurityGroupID   string    `json:"SecurityGroupId"`
	SecurityGroupName string    `json:"SecurityGroupName"`
	SecurityGroupDesc string    `json:"SecurityGroupDesc"`
	ProjectID         string    `json:"ProjectId"`
	IsDefault         bool      `json:"IsDefault"`
	CreatedTime       *string   `json:"CreatedTime"`
	UpdateTime        *string   `json:"UpdateTime"`
	TagSet            []*vpcTag `json:"TagSet"`
}

type policySet struct {
	Version *string   `json:"Version"`
	Egress  []*policy `json:"Egress"`
	Ingress []*policy `json:"Ingress"`
}

type policy struct {
	PolicyIndex       *int64    `json:"PolicyIndex"`
	Protocol          *string   `json:"Protocol"`
	Port              *string   `json:"Port"`
	ServiceTemplate   *template `json:"ServiceTemplate"`
	CidrBlock         *string   `json:"CidrBlock"`
	Ipv6CidrBlock     *string   `json:"Ipv6CidrBlock"`
	SecurityGroupID   *string   `json:"SecurityGroupId"`
	AddressTemplate   *template `json:"AddressTemplate"`
	Action            *string   `json:"Action"`
	PolicyDescription *string   `json:"PolicyDescription"`
	ModifyTime        *string   `json:"ModifyTime"`
}

// template is either of the two kinds, of services and of addresses.
type template struct {
	ServiceID      *string `json:"ServiceId"`
	ServiceGroupID *string `json:"ServiceGroupId"`
	AddressID      *string `json:"AddressId"`
	AddressGroupID *string `json:"AddressGroupId"`
}

type describeSecurityGroupsRequest struct {
	SecurityGroupIDs []*string    `json:"SecurityGroupIds"`
	Filters          []*vpcFilter `json:"Filters"`
	Offset           *string      `json:"Offset"`
	Limit            *string      `json:"Limit"`
}

type describeSecurityGroupsResponse struct {
	SecurityGroupSet []*securityGroupWire `json:"SecurityGroupSet"`
	TotalCount       uint64               `json:"TotalCount"`
	RequestId        *string              `json:"RequestId"` //nolint:staticcheck // set by this name
}

type securityGroupRequest struct {
	SecurityGroupID *string `json:"SecurityGroupId"`
}

type policiesResponse struct {
	SecurityGroupPolicySet *policySet `json:"SecurityGroupPolicySet"`
	RequestId              *string    `json:"RequestId"` //nolint:staticcheck // set by this name
}

type policiesRequest struct {
	SecurityGroupID        *string    `json:"SecurityGroupId"`
	SecurityGroupPolicySet *policySet `json:"SecurityGroupPolicySet"`
}

type modifyPoliciesRequest struct {
	SecurityGroupID        *string    `json:"SecurityGroupId"`
	SecurityGroupPolicySet *policySet `json:"SecurityGroupPolicySet"`
	SortPolicys            *bool      `json:"SortPolicys"`
}

type vpcResponse struct {
	RequestId *string `json:"RequestId"` //nolint:staticcheck // set by this name
}

type describeSubnetsRequest struct {
	SubnetIDs []*string    `json:"SubnetIds"`
	Filters   []*vpcFilter `json:"Filters"`
	Offset    *string      `json:"Offset"`
	Limit     *string      `json:"Limit"`
}

type describeSubnetsResponse struct {
	TotalCount uint64        `json:"TotalCount"`
	SubnetSet  []*subnetWire `json:"SubnetSet"`
	RequestId  *string       `json:"RequestId"` //nolint:staticcheck // set by this name
}

type subnetWire struct {
	VpcID                   string    `json:"VpcId"`
	SubnetID                string    `json:"SubnetId"`
	SubnetName              string    `json:"SubnetName"`
	CidrBlock               string    `json:"CidrBlock"`
	Ipv6CidrBlock           string    `json:"Ipv6CidrBlock"`
	Zone                    string    `json:"Zone"`
	IsDefault               bool      `json:"IsDefault"`
	AvailableIPAddressCount uint64    `json:"AvailableIpAddressCount"`
	TotalIPAddressCount     uint64    `json:"TotalIpAddressCount"`
	TagSet                  []*vpcTag `json:"TagSet"`
}
