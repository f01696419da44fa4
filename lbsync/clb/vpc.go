// SPDX-License-Identifier: Apache-2.0

package clb

import (
	"context"

	"github.com/tencentcloud/tencentcloud-sdk-go/tencentcloud/common"
	tchttp "github.com/tencentcloud/tencentcloud-sdk-go/tencentcloud/common/http"
)

// What the actions of the VPC service have on the wire, as far as they are used here. The SDK's module for this service
// has no version that Go's checksum database knows, so the structs stand here; SDK code sends them as it sends its own.

const (
	vpcVersion = "2017-03-12"

	actionCreateGroup    = "CreateSecurityGroup"
	actionDeleteGroup    = "DeleteSecurityGroup"
	actionGroups         = "DescribeSecurityGroups"
	actionPolicies       = "DescribeSecurityGroupPolicies"
	actionModifyPolicies = "ModifySecurityGroupPolicies"
)

type vpcTag struct {
	Key   *string `json:"Key"`
	Value *string `json:"Value"`
}

type vpcFilter struct {
	Name   *string   `json:"Name"`
	Values []*string `json:"Values"`
}

type securityGroup struct {
	SecurityGroupId   *string   `json:"SecurityGroupId"` //nolint:staticcheck // the API's spelling
	SecurityGroupName *string   `json:"SecurityGroupName"`
	CreatedTime       *string   `json:"CreatedTime"`
	TagSet            []*vpcTag `json:"TagSet"`
}

type policySet struct {
	Version *string   `json:"Version,omitempty"`
	Egress  []*policy `json:"Egress,omitempty"`
	Ingress []*policy `json:"Ingress,omitempty"`
}

type policy struct {
	Protocol          *string `json:"Protocol,omitempty"`
	Port              *string `json:"Port,omitempty"`
	CidrBlock         *string `json:"CidrBlock,omitempty"`
	Ipv6CidrBlock     *string `json:"Ipv6CidrBlock,omitempty"`
	SecurityGroupId   *string `json:"SecurityGroupId,omitempty"` //nolint:staticcheck // the API's spelling
	Action            *string `json:"Action,omitempty"`
	PolicyDescription *string `json:"PolicyDescription,omitempty"`
}

// vpcRequest is a request of the service; those fields that are nil are not sent.
type vpcRequest struct {
	*tchttp.BaseRequest
	SecurityGroupId        *string      `json:"SecurityGroupId,omitempty"` //nolint:staticcheck // the API's spelling
	SecurityGroupPolicySet *policySet   `json:"SecurityGroupPolicySet,omitempty"`
	GroupName              *string      `json:"GroupName,omitempty"`
	GroupDescription       *string      `json:"GroupDescription,omitempty"`
	Tags                   []*vpcTag    `json:"Tags,omitempty"`
	Filters                []*vpcFilter `json:"Filters,omitempty"`
	Offset                 *string      `json:"Offset,omitempty"` // a text in this service
	Limit                  *string      `json:"Limit,omitempty"`
}

type vpcResponse struct {
	*tchttp.BaseResponse
	Response *struct {
		SecurityGroup          *securityGroup
		SecurityGroupSet       []*securityGroup
		SecurityGroupPolicySet *policySet
		RequestId              *string //nolint:staticcheck // the API's spelling
	} `json:"Response"`
}

// askVPC makes one request of the service, on the one way out.
func (c *Client) askVPC(ctx context.Context, action string, req *vpcRequest) (*vpcResponse, error) {
	resp, _, err := call(ctx, c, action, func(ctx context.Context, req *vpcRequest) (*vpcResponse, error) {
		req.BaseRequest = &tchttp.BaseRequest{}
		req.Init().WithApiInfo("vpc", vpcVersion, action)
		req.SetContext(ctx)
		resp := &vpcResponse{BaseResponse: &tchttp.BaseResponse{}}
		return resp, c.vpc.Send(req, resp)
	}, req)
	return resp, err
}

func (c *Client) newVPC() *common.Client {
	return common.NewCommonClient(c.keys, c.cfg.Region, c.cfg.profile(c.cfg.Endpoints.VPC))
}
