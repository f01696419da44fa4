// SPDX-License-Identifier: Apache-2.0

package charts

import (
	"path/filepath"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/client-go/kubernetes/scheme"
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
		"clbsync", "a", "a.b", "1.2", "9", strings.Repeat("a", longest), strings.Repeat("a", 32) + "." + strings.Repeat("b", 20),
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

// A name may look like a number or like a truth, as that of the release 123 does: what the chart makes of it is a text
// wherever the API server wants one.
func TestNamesThatLookLikeSomethingElse(t *testing.T) {
	kinds := scheme.Scheme
	for _, odd := range []string{"123", "1e3", "true", "null"} {
		t.Run(odd, func(t *testing.T) {
			t.Parallel()
			texts := ""
			for _, path := range []string{"controller.serviceAccount.name", "controller.priorityClassName", "credentials.existingSecret.name", "controller.certificates.namespaces[0]",
				"controller.metrics.readers[0].name", "controller.metrics.readers[0].namespace", "imagePullSecrets[0].name", "controller.labels.a", "controller.podLabels.b", "controller.annotations.c",
				"controller.podAnnotations.d", "agent.labels.a", "agent.podLabels.b", "agent.annotations.c", "agent.podAnnotations.d", "controller.nodeSelector.e", "agent.nodeSelector.e", "commonLabels.f", "commonAnnotations.g",
				"controller.serviceAccount.annotations.h", "agent.serviceAccount.annotations.h", "cloudConfig.clusterID", "uninstall.deleteLoadBalancersOf"} {
				texts += "," + path + "=" + odd
			}
			for _, args := range [][]string{
				{"--set-string", texts[1:]},
				{"--set-string", "nameOverride=" + odd + ",agent.serviceAccount.name=" + odd},
				{"--set-string", "fullnameOverride=" + odd, "--set-string", "agent.mode=,agent.iptables="},
				{"--set-string", "credentials.source=values,credentials.existingSecret.name=,credentials.secretID=" + odd + ",credentials.secretKey=" + odd + ",credentials.token=" + odd},
				{"--set-string", "credentials.source=oidc,credentials.existingSecret.name=,credentials.oidc.roleARN=qcs::cam::uin/1:roleName/x,credentials.oidc.providerID=" + odd + ",credentials.oidc.audience=" + odd},
			} {
				all := everything(t, odd, append(args, "--namespace="+odd)...)
				for key, o := range all {
					if o.GetName() == "" {
						t.Errorf("%v: %s has a name that is no text", args, key)
					}
					if into, err := kinds.New(o.GroupVersionKind()); err == nil {
						if err := runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(o.Object, into, true); err != nil {
							t.Errorf("%v: %s: %v", args, key, err)
						}
					} else if _, _, err := unstructured.NestedStringMap(o.Object, "metadata", "labels"); err != nil || o.GetNamespace() != odd && o.GetKind() != "CustomResourceDefinition" {
						t.Errorf("%v: %s: namespace %q, labels: %v", args, key, o.GetNamespace(), err)
					}
				}
			}
		})
	}
}
