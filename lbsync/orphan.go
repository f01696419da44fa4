// SPDX-License-Identifier: Apache-2.0

package lbsync

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/clbsync/clbsync/lbsync/annotation"
)

// OwnedKind says what an Owned is.
type OwnedKind string

// The kinds of what is made in the cloud for a Service. Everything else hangs on a CLB and goes with it.
const (
	OwnedCLB           OwnedKind = "clb"
	OwnedSecurityGroup OwnedKind = "security_group"
)

func (k OwnedKind) String() string {
	if k == OwnedSecurityGroup {
		return "security group"
	}
	return "CLB"
}

// Owned is something in the cloud whose tags prove that it was made for a Service of a cluster.
type Owned struct {
	Kind    OwnedKind
	ID      string // "lb-…", "sg-…"
	Name    string // what people see
	Owner   Owner  // by its tags
	Created string // as the cloud says it; "" if it does not
	Address string // of a CLB: its first address, or its domain; "" if it has none
	Region  string // "ap-…" if it is not the cluster's
}

// Orphan is something that was made for a Service and that nothing needs any more. It costs money, and uses up a quota.
type Orphan struct {
	Owned
	Why string // a phrase
}

func (o Orphan) String() string {
	where := ""
	if o.Region != "" {
		where = " in " + o.Region
	}
	return fmt.Sprintf("%s %s (%q)%s: %s", o.Kind, o.ID, o.Name, where, o.Why)
}

// Regions returns where something may be that was made for a Service of the cluster: in the cluster's region, "", in those that
// living Services name or were served in, in those of the cloud config, and in those that are known besides. A region whose only
// Service is gone can be known from the last two alone. It is sorted.
func (s Settings) Regions(services []*corev1.Service, known ...string) []string {
	all := map[string]bool{"": true}
	for _, svc := range services {
		o, _ := annotation.Parse(map[string]string{annotation.CrossRegion: svc.Annotations[annotation.CrossRegion], annotation.Region: svc.Annotations[annotation.Region]})
		all[o.CrossRegion], all[o.Region] = true, true
	}
	for _, region := range append(slices.Clone(s.OtherRegions), known...) {
		all[region] = true
	}
	return slices.Sorted(maps.Keys(all))
}

// Orphans returns what of all that is owned nothing needs, sorted by kind and ID: CLBs and security groups of Services
// that there are not, and security groups whose Service has no CLB. services holds the UIDs of all Services of the cluster,
// whatever their type: one that is none of ours any more still has its CLB deleted.
func Orphans(owned []Owned, services map[string]bool) []Orphan {
	served := map[Owner]bool{}
	for _, o := range owned {
		if o.Kind == OwnedCLB {
			served[o.Owner] = true
		}
	}
	var out []Orphan
	for _, o := range owned {
		switch {
		case !services[o.Owner.ServiceUID]:
			out = append(out, Orphan{o, fmt.Sprintf("no Service of the cluster has the UID %s", o.Owner.ServiceUID)})
		case o.Kind == OwnedSecurityGroup && !served[o.Owner]:
			out = append(out, Orphan{o, fmt.Sprintf("the Service with the UID %s has no CLB", o.Owner.ServiceUID)})
		}
	}
	slices.SortFunc(out, func(a, b Orphan) int { return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.ID, b.ID)) })
	return out
}

// Sightings says since when each orphan, by its ID, has been one in every reading. The zero value has seen none.
type Sightings map[string]time.Time

// Update returns the sightings after another reading, and those of its orphans that an earlier reading, at least apart
// before, found too: a CLB may be listed before its Service is seen, or after it has gone.
func (s Sightings) Update(orphans []Orphan, now time.Time, apart time.Duration) (Sightings, []Orphan) {
	out := Sightings{}
	var confirmed []Orphan
	for _, o := range orphans {
		since, seen := s[o.ID]
		if !seen {
			since = now
		}
		out[o.ID] = since
		if seen && now.Sub(since) >= apart {
			confirmed = append(confirmed, o)
		}
	}
	return out, confirmed
}
