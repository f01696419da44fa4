// SPDX-License-Identifier: Apache-2.0

package lbsync

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"github.com/clbsync/clbsync/internal/kubetest"
	"github.com/clbsync/clbsync/lbsync/annotation"
)

func TestOrphansAreWhatNoServiceNeeds(t *testing.T) {
	of := func(kind OwnedKind, id, uid string) Owned {
		return Owned{Kind: kind, ID: id, Owner: Owner{ClusterID: "cls-demo", ServiceUID: uid}}
	}
	got := Orphans([]Owned{
		of(OwnedCLB, "lb-3", "gone"), of(OwnedCLB, "lb-1", "web"), of(OwnedSecurityGroup, "sg-1", "web"), of(OwnedCLB, "lb-2", "gone"),
		of(OwnedSecurityGroup, "sg-2", "gone"), of(OwnedSecurityGroup, "sg-3", "no-clb"),
	}, map[string]bool{"web": true, "no-clb": true})
	var ids []string
	for _, o := range got {
		ids = append(ids, o.ID)
		if o.Why == "" {
			t.Errorf("%s does not say why", o.ID)
		}
	}
	if diff := cmp.Diff([]string{"lb-2", "lb-3", "sg-2", "sg-3"}, ids); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}

func TestAnOrphanIsReportedAfterTwoReadingsAGoodWhileApart(t *testing.T) {
	a, b := Orphan{Owned: Owned{ID: "lb-a"}}, Orphan{Owned: Owned{ID: "lb-b"}}
	start := time.Unix(0, 0)
	var s Sightings
	for i, reading := range []struct {
		after   time.Duration
		orphans []Orphan
		want    int
	}{
		{0, []Orphan{a}, 0},
		{time.Minute, []Orphan{a, b}, 0},       // too soon after
		{10 * time.Minute, []Orphan{a, b}, 1},  // of a
		{12 * time.Minute, []Orphan{a}, 1},     // b got its Service back,
		{13 * time.Minute, []Orphan{a, b}, 1},  // lost it again,
		{20 * time.Minute, []Orphan{a, b}, 1},  // which counts from then
		{23 * time.Minute, []Orphan{b, a}, 2},  //
		{24 * time.Minute, nil, 0},             // everything is well
		{100 * time.Minute, []Orphan{a, b}, 0}, // and nothing of it is remembered
	} {
		var confirmed []Orphan
		if s, confirmed = s.Update(reading.orphans, start.Add(reading.after), 10*time.Minute); len(confirmed) != reading.want {
			t.Errorf("reading %d confirms %v, want %d", i, confirmed, reading.want)
		}
	}
}

func TestRegionsAreThoseThatAreKnown(t *testing.T) {
	settings := DefaultSettings()
	settings.OtherRegions = []string{"ap-beijing"}
	services := []*corev1.Service{
		kubetest.Service("web"), kubetest.Service("far", kubetest.Annotation(annotation.CrossRegion, "ap-shanghai")),
		kubetest.Service("was", kubetest.Annotation(annotation.Region, "na-siliconvalley"), func(s *corev1.Service) { s.Spec.Type = corev1.ServiceTypeClusterIP }),
		kubetest.Service("bad", kubetest.Annotation(annotation.CrossRegion, "what?")),
	}
	if got, want := settings.Regions(services, "ap-chengdu", "ap-beijing"), []string{"", "ap-beijing", "ap-chengdu", "ap-shanghai", "na-siliconvalley"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
