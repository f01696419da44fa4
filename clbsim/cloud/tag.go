// SPDX-License-Identifier: Apache-2.0

package cloud

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	tag "github.com/tencentcloud/tencentcloud-sdk-go/tencentcloud/tag/v20180813"
)

// Codes of the tag service.
const (
	codeResource         = "InvalidParameterValue.ResourceDescriptionError"
	codeTagService       = "InvalidParameter.UnsupportedService"
	codeTooManyResources = "LimitExceeded.ResourceNumPerRequest"
	codeTooManyTags      = "LimitExceeded.TagNumPerRequest"
	codeTagKeyEmpty      = "InvalidParameterValue.TagKeyEmpty"
	codeTagKeyLength     = "InvalidParameterValue.TagKeyLengthExceeded"
	codeTagKeyDuplicate  = "InvalidParameterValue.TagKeyDuplicate"
	codeTagValueLength   = "InvalidParameterValue.TagValueLengthExceeded"
	codeTagReserved      = "InvalidParameter.ReservedTagKey"
	codeTagFilters       = "InvalidParameterValue.TagFilters"
	codeTagPage          = "InvalidParameter.PaginationTokenInvalid"
)

// The limits of one request to the tag service.
const (
	maxResources = 10
	maxTags      = 10
	maxAttached  = 50 // tags of one resource
)

// resource is the six-part name of a CLB:
// qcs::clb:<region>:uin/<uin>:clb/<id>.
type resource struct{ text, region, id string }

func (c *Cloud) parseResource(text string) (resource, *Error) {
	p := strings.Split(text, ":")
	bad := func(why string) (resource, *Error) {
		return resource{}, errorf(codeResource, "The resource %q is wrong: %s. It should be like qcs::clb:%s:uin/%s:clb/lb-xxxxxxxx.", text, why, c.cfg.Regions[0], c.cfg.Uin)
	}
	if len(p) != 6 || p[0] != "qcs" || p[1] != "" {
		return bad("it does not have the six parts of a resource name")
	}
	prefix, id, ok := strings.Cut(p[5], "/")
	switch {
	case p[2] != ServiceCLB:
		return resource{}, errorf(codeTagService, "clbsim knows tags of the service clb only, not %q.", p[2])
	case c.regions[p[3]] == nil:
		return bad("the region " + strconv.Quote(p[3]) + " is unknown")
	case p[4] != "uin/"+c.cfg.Uin && p[4] != "uin/": // left out, it is the caller's
		return bad("the account is not this one")
	case !ok || prefix != "clb" || id == "":
		return bad("the last part is not clb/<id>")
	}
	return resource{text, p[3], id}, nil
}

func (c *Cloud) parseResources(list []*string) ([]resource, *Error) {
	switch {
	case len(list) == 0:
		return nil, missing("ResourceList")
	case len(list) > maxResources:
		return nil, errorf(codeTooManyResources, "%d resources, at most %d are allowed.", len(list), maxResources)
	}
	out := make([]resource, len(list))
	for i, text := range list {
		var err *Error
		if out[i], err = c.parseResource(value(text)); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func checkTagKey(key string) *Error {
	switch {
	case key == "":
		return errorf(codeTagKeyEmpty, "A tag key is empty.")
	case utf8.RuneCountInString(key) > 127:
		return errorf(codeTagKeyLength, "The tag key %.20s… is longer than 127.", key)
	case reservedTagKey(key):
		return errorf(codeTagReserved, "The tag key %s is reserved.", key)
	}
	return nil
}

func tagResources(k *call, in *tag.TagResourcesRequest) (*tag.TagResourcesResponseParams, *Error) {
	resources, err := k.cloud.parseResources(in.ResourceList)
	switch {
	case err != nil:
		return nil, err
	case len(in.Tags) == 0:
		return nil, missing("Tags")
	case len(in.Tags) > maxTags:
		return nil, errorf(codeTooManyTags, "%d tags, at most %d are allowed.", len(in.Tags), maxTags)
	}
	tags := map[string]string{}
	for _, t := range in.Tags {
		key := value(t.TagKey)
		if err := checkTagKey(key); err != nil {
			return nil, err
		}
		if _, twice := tags[key]; twice {
			return nil, errorf(codeTagKeyDuplicate, "The tag key %s is given twice.", key)
		}
		if tags[key] = value(t.TagValue); utf8.RuneCountInString(tags[key]) > 255 {
			return nil, errorf(codeTagValueLength, "The value of the tag %s is longer than 255.", key)
		}
	}
	failed := k.cloud.eachTagged(resources, func(lb *loadBalancer) string {
		after := maps.Clone(lb.tags)
		maps.Copy(after, tags)
		if len(after) > maxAttached {
			return "a resource can have 50 tags"
		}
		lb.tags = after
		return ""
	})
	return &tag.TagResourcesResponseParams{FailedResources: failed}, nil
}

func untagResources(k *call, in *tag.UnTagResourcesRequest) (*tag.UnTagResourcesResponseParams, *Error) {
	resources, err := k.cloud.parseResources(in.ResourceList)
	switch {
	case err != nil:
		return nil, err
	case len(in.TagKeys) == 0:
		return nil, missing("TagKeys")
	case len(in.TagKeys) > maxTags:
		return nil, errorf(codeTooManyTags, "%d tag keys, at most %d are allowed.", len(in.TagKeys), maxTags)
	}
	for _, key := range in.TagKeys {
		if err := checkTagKey(value(key)); err != nil {
			return nil, err
		}
	}
	failed := k.cloud.eachTagged(resources, func(lb *loadBalancer) string {
		for _, key := range in.TagKeys {
			delete(lb.tags, *key)
		}
		return ""
	})
	return &tag.UnTagResourcesResponseParams{FailedResources: failed}, nil
}

// eachTagged changes resources one by one. One that does not exist fails by
// itself: the request succeeds and lists it.
func (c *Cloud) eachTagged(resources []resource, change func(*loadBalancer) string) []*tag.FailedResource {
	failed := []*tag.FailedResource{}
	fail := func(r resource, code, message string) {
		failed = append(failed, &tag.FailedResource{Resource: new(r.text), Code: &code, Message: &message})
	}
	for _, r := range resources {
		lb := c.regions[r.region].lbs[r.id]
		if lb == nil {
			fail(r, "ResourceNotFound", "The resource does not exist.")
			continue
		}
		if why := change(lb); why != "" {
			fail(r, codeFailed, why)
		}
	}
	return failed
}

// tagged returns the load balancers of a region that match all filters.
func (r *region) tagged(filters []*tag.TagFilter) []*loadBalancer {
	var out []*loadBalancer
	for _, lb := range r.byAge {
		if !slices.ContainsFunc(filters, func(f *tag.TagFilter) bool {
			v, ok := lb.tags[value(f.TagKey)]
			return !ok || len(f.TagValue) > 0 && !slices.Contains(values(f.TagValue), v)
		}) {
			out = append(out, lb)
		}
	}
	return out
}

func (lb *loadBalancer) tagList() []*tag.Tag {
	out := []*tag.Tag{}
	for _, key := range slices.Sorted(maps.Keys(lb.tags)) {
		out = append(out, &tag.Tag{TagKey: new(key), TagValue: new(lb.tags[key]), Category: new("Custom")})
	}
	return out
}

func (r *region) resourceName(lb *loadBalancer) string {
	return "qcs::clb:" + r.name + ":uin/" + r.cloud.cfg.Uin + ":clb/" + lb.id
}

func describeResourcesByTags(k *call, in *tag.DescribeResourcesByTagsRequest) (*tag.DescribeResourcesByTagsResponseParams, *Error) {
	offset, limit := value(in.Offset), uint64(15)
	if in.Limit != nil {
		limit = *in.Limit
	}
	switch {
	case len(in.TagFilters) == 0:
		return nil, errorf(codeTagFilters, "TagFilters is empty.")
	case slices.ContainsFunc(in.TagFilters, func(f *tag.TagFilter) bool { return value(f.TagKey) == "" }):
		return nil, errorf(codeTagFilters, "A TagFilter has no TagKey.")
	case limit < 1 || limit > 1000 || offset%limit != 0:
		return nil, errorf(codeFailed, "Limit should be 1 to 1000 and Offset a multiple of it.")
	}
	var rows []*tag.ResourceTag
	for _, name := range k.cloud.cfg.Regions {
		if !equal(in.ResourceRegion, name) || !equal(in.ServiceType, ServiceCLB) || !equal(in.ResourcePrefix, "clb") {
			continue
		}
		for _, lb := range k.cloud.regions[name].tagged(in.TagFilters) {
			if equal(in.ResourceId, lb.id) {
				rows = append(rows, &tag.ResourceTag{ResourceRegion: new(name), ServiceType: new(ServiceCLB), ResourcePrefix: new("clb"), ResourceId: &lb.id, Tags: lb.tagList()})
			}
		}
	}
	return &tag.DescribeResourcesByTagsResponseParams{
		TotalCount: new(uint64(len(rows))), Offset: &offset, Limit: &limit,
		Rows: append([]*tag.ResourceTag{}, slice(rows, int(min(offset, 1<<20)), int(limit))...),
	}, nil
}

func getResources(k *call, in *tag.GetResourcesRequest) (*tag.GetResourcesResponseParams, *Error) {
	limit := uint64(50)
	if in.MaxResults != nil {
		limit = *in.MaxResults
	}
	from, pageErr := strconv.Atoi(value(in.PaginationToken))
	switch {
	case limit < 1 || limit > 200:
		return nil, errorf(codeInvalid, "The value of MaxResults is %d, it should be 1 to 200.", limit)
	case len(in.TagFilters) > 5:
		return nil, errorf(codeTooManyTags, "%d TagFilters, at most 5 are allowed.", len(in.TagFilters))
	case value(in.PaginationToken) != "" && (pageErr != nil || from < 0):
		return nil, errorf(codeTagPage, "The PaginationToken is not one of ours.")
	}
	only := map[string]bool{}
	if len(in.ResourceList) > 0 {
		resources, err := k.cloud.parseResources(in.ResourceList)
		if err != nil {
			return nil, err
		}
		for _, r := range resources {
			only[r.text] = true
		}
		from, limit = 0, 1<<20
	}
	var all []*tag.ResourceTagMapping
	for _, name := range k.cloud.cfg.Regions {
		r := k.cloud.regions[name]
		for _, lb := range r.tagged(in.TagFilters) {
			if text := r.resourceName(lb); len(lb.tags) > 0 && (len(only) == 0 || only[text]) {
				all = append(all, &tag.ResourceTagMapping{Resource: &text, Tags: lb.tagList()})
			}
		}
	}
	out := &tag.GetResourcesResponseParams{PaginationToken: new("")}
	out.ResourceTagMappingList = append([]*tag.ResourceTagMapping{}, slice(all, from, int(limit))...)
	if next := from + int(limit); next < len(all) {
		out.PaginationToken = new(strconv.Itoa(next))
	}
	return out, nil
}
