// SPDX-License-Identifier: Apache-2.0

package charts

import (
	"path/filepath"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/validation"
)

// everything returns what the chart makes with every option on, as a release of that name.
func everything(t *testing.T, release string, args ...string) map[string]*unstructured.Unstructured {
	t.Helper()
	text, err := templateAs(t, release, append([]string{"-f", filepath.Join("testdata", "everything.yaml"), "--set", "fullnameOverride="}, args...)...)
	if err != nil {
		t.Fatal(err)
	}
	return split(t, text)
}

// refused returns what the API server says to a name and to labels of an object.
func refused(o *unstructured.Unstructured) []string {
	bad := validation.IsDNS1123Subdomain(o.GetName())
	switch o.GetKind() {
	case "Service":
		bad = validation.IsDNS1035Label(o.GetName())
	case "CustomResourceDefinition":
	case "Job", "Deployment", "DaemonSet", "Pod", "PodDisruptionBudget":
		// A Job's name is a label of its pods; the names of the others are seen as such by many a tool.
		if len(o.GetName()) > validation.DNS1123LabelMaxLength {
			bad = append(bad, validation.MaxLenError(validation.DNS1123LabelMaxLength))
		}
	}
	for key, value := range o.GetLabels() {
		for _, what := range append(validation.IsQualifiedName(key), validation.IsValidLabelValue(value)...) {
			bad = append(bad, key+": "+what)
		}
	}
	return bad
}

// podLabels returns the labels of the pods that an object makes, and what it finds them by; nil for others.
func podLabels(t *testing.T, all map[string]*unstructured.Unstructured, key string) (labels, selector map[string]string) {
	t.Helper()
	switch all[key].GetKind() {
	case "Deployment":
		d := as[appsv1.Deployment](t, all, key).Spec
		return d.Template.Labels, d.Selector.MatchLabels
	case "DaemonSet":
		d := as[appsv1.DaemonSet](t, all, key).Spec
		return d.Template.Labels, d.Selector.MatchLabels
	case "Job":
		return as[batchv1.Job](t, all, key).Spec.Template.Labels, nil
	}
	return nil, nil
}

const longest = 53 // of a release's name, as Helm takes it

// Whatever name a release has that Helm takes, the API server takes those of its objects.
func TestNamesOfReleases(t *testing.T) {
	for _, release := range []string{
		"clbsync", "a", "a.b", strings.Repeat("a", longest), strings.Repeat("a", 32) + "." + strings.Repeat("b", 20),
		strings.Repeat("1", longest-8) + "-clbsync", strings.Repeat("a", 34), strings.Repeat("a", 35),
	} {
		t.Run(release, func(t *testing.T) {
			t.Parallel()
			all := everything(t, release)
			for key, o := range all {
				for _, bad := range refused(o) {
					t.Errorf("%s: %s", key, bad)
				}
				labels, selector := podLabels(t, all, key)
				for _, m := range []map[string]string{labels, selector} {
					for label, value := range m {
						for _, bad := range validation.IsValidLabelValue(value) {
							t.Errorf("pods of %s: %s: %s", key, label, bad)
						}
					}
				}
			}
		})
	}
}

// Short names are as they are, and two long ones stay two.
func TestLongNamesDoNotCollide(t *testing.T) {
	for release, want := range map[string]string{
		"clbsync": "clbsync", "mine": "mine-clbsync", strings.Repeat("a", 34): strings.Repeat("a", 34) + "-clbsync", "clbsync-of-the-team-that-runs-this-cluster": "clbsync-of-the-team-that-runs-this-cluster",
	} {
		if key := "Deployment/" + want + "-controller"; everything(t, release)[key] == nil {
			t.Errorf("release %s has no %s", release, key)
		}
	}
	first, second := everything(t, strings.Repeat("a", longest-1)+"b"), everything(t, strings.Repeat("a", longest-1)+"c")
	for key, o := range first {
		shared := o.GetKind() == "CustomResourceDefinition"
		if _, both := second[key]; both != shared {
			t.Errorf("%s is made by two releases: %v, want %v", key, both, shared)
		}
	}
}
