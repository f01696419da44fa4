// SPDX-License-Identifier: Apache-2.0

package clb

import (
	"context"
	"errors"
	"fmt"

	tagapi "github.com/tencentcloud/tencentcloud-sdk-go/tencentcloud/tag/v20180813"

	"github.com/clbsync/clbsync/lbsync"
)

const (
	actionTag   = "TagResources"
	actionUntag = "UnTagResources"
	hintTag     = "grant this action in CAM to the account or role in use"
)

// Tag sets a tag of a CLB.
func (c *Client) Tag(ctx context.Context, id, key, value string) error {
	req := tagapi.NewTagResourcesRequest()
	req.ResourceList = []*string{c.resource(id)}
	req.Tags = []*tagapi.Tag{{TagKey: &key, TagValue: &value}}
	resp, _, err := call(ctx, c, actionTag, c.tag.TagResourcesWithContext, req)
	if err != nil {
		return err
	}
	return failedResources(actionTag, resp.Response.FailedResources)
}

// Untag removes a tag of a CLB. It succeeds if the tag is gone already.
func (c *Client) Untag(ctx context.Context, id, key string) error {
	req := tagapi.NewUnTagResourcesRequest()
	req.ResourceList = []*string{c.resource(id)}
	req.TagKeys = []*string{&key}
	resp, _, err := call(ctx, c, actionUntag, c.tag.UnTagResourcesWithContext, req)
	if err != nil {
		return err
	}
	return failedResources(actionUntag, resp.Response.FailedResources)
}

// resource is the name of a CLB in six parts, as the API of tags has it. The account is left out: it is the caller's.
func (c *Client) resource(id string) *string {
	return new(fmt.Sprintf("qcs::clb:%s:uin/:clb/%s", c.cfg.Region, id))
}

// failedResources is the error of a request that succeeds and lists what it did not do.
func failedResources(action string, failed []*tagapi.FailedResource) error {
	if len(failed) == 0 {
		return nil
	}
	code, message := deref(failed[0].Code), deref(failed[0].Message)
	r := Meaning(action, code, message)
	e := &lbsync.Error{Kind: r.Kind(), Action: action, Code: code, Hint: r.hint(), Err: errors.New(code + ": " + shorten(message))}
	if e.Kind == lbsync.Unknown {
		e.Kind, e.Hint = lbsync.Denied, hintTag
	}
	return e
}
