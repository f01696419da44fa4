// SPDX-License-Identifier: Apache-2.0

package lbsync

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// TagChange is a change of a tag of a CLB that somebody made.
type TagChange struct {
	CLB, Key string
	Was, To  string // "": there is none
}

func (c TagChange) String() string {
	return fmt.Sprintf("~ clb %s tag %s %s -> %s", c.CLB, c.Key, cmp.Or(c.Was, "none"), cmp.Or(c.To, "none"))
}

// usedBy decides what the tag of a CLB that somebody made is to say: that this cluster uses it, once one of its Services does,
// so that no other cluster takes it; and nothing any more when the last of them leaves. A listener of this controller that
// stays behind keeps it, and so does one of TKE's controller, which sets the same tag for its own Services: the tag may be that
// one's, and the cluster uses the CLB as long as it is there. lb is what there should be, uses whether a Service is to be served there.
func (s Snapshot) usedBy(lb LoadBalancer, uses bool) *string {
	tag := s.Actual.Instance.Tags[TagCluster]
	leaving := len(s.Services) > 0
	for _, svc := range s.Services {
		leaving = leaving && (svc.Leaving || !s.Settings.Wants(svc.Service)) && !svc.Options.Skip && !svc.Options.PlanOnly
	}
	switch {
	case uses && tag == "":
		return &s.Settings.ClusterID
	case leaving && tag == s.Settings.ClusterID && !hasListener(lb, Listener.Ours) && !hasListener(s.Actual, Listener.tke):
		return new("")
	}
	return nil
}

func hasListener(lb LoadBalancer, is func(Listener) bool) bool {
	return slices.ContainsFunc(slices.Collect(maps.Values(lb.Listeners)), is)
}

// tke reports whether a listener was made by TKE's controller, which takes one of another name for a person's.
func (l Listener) tke() bool { return strings.HasPrefix(l.Name, "TKE-") }

// diffTag returns the change of the tag that desired asks for, nil for none.
func diffTag(actual, desired Instance) *TagChange {
	was := actual.Tags[TagCluster]
	if desired.UsedBy == nil || *desired.UsedBy == was {
		return nil
	}
	return &TagChange{CLB: actual.ID, Key: TagCluster, Was: was, To: *desired.UsedBy}
}

// mark sets the tag, before anything else is done on the CLB. Whatever is in its way, everything else goes on: tags are another
// API, for which an account may lack the right, and only another cluster would miss it.
func (p Plan) mark(ctx context.Context, api API, now *LoadBalancer) error {
	if p.Tag == nil || p.Tag.To == "" {
		return nil
	}
	if err := api.Tag(ctx, p.Tag.CLB, p.Tag.Key, p.Tag.To); err != nil {
		return Refusals{{Attribute: AttributeUsedBy, CLB: p.Tag.CLB, Value: p.Tag.To, Err: err}}
	}
	now.Instance.Tags = maps.Clone(now.Instance.Tags)
	if now.Instance.Tags == nil {
		now.Instance.Tags = map[string]string{}
	}
	now.Instance.Tags[p.Tag.Key] = p.Tag.To
	return nil
}

// unmark takes the tag off, after everything else. What only a person can mend does not keep the Services that leave.
func (p Plan) unmark(ctx context.Context, api API, now *LoadBalancer) error {
	if p.Tag == nil || p.Tag.To != "" {
		return nil
	}
	err := api.Untag(ctx, p.Tag.CLB, p.Tag.Key)
	switch kind := KindOf(err); {
	case err == nil, kind == NotFound:
	case kind == Denied, kind == Invalid, kind == Quota:
		return Refusals{{Attribute: AttributeUsedBy, CLB: p.Tag.CLB, Err: err}}
	default:
		return err
	}
	now.Instance.Tags = maps.Clone(now.Instance.Tags)
	delete(now.Instance.Tags, p.Tag.Key)
	return nil
}

// notTagged says to the Services of a CLB what its tag does not say.
func (r Refusal) notTagged() Skip {
	skip := Skip{Object: "clb " + r.CLB, Reason: NotTagged, Warning: true,
		Message: fmt.Sprintf("CLB %s lacks the tag %s: %s, so another cluster could use it too without noticing: %v", r.CLB, TagCluster, r.Value, r.Err)}
	if r.Value == "" {
		skip.Message = fmt.Sprintf("CLB %s keeps the tag %s, so no other cluster can use it: take it off by hand: %v", r.CLB, TagCluster, r.Err)
	}
	return skip
}
