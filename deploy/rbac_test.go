// SPDX-License-Identifier: Apache-2.0

package deploy

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"os"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/kubernetes/scheme"
)

func objects(t *testing.T, file string) []runtime.Object {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	strict := serializer.NewCodecFactory(scheme.Scheme, serializer.EnableStrict).UniversalDeserializer()
	var all []runtime.Object
	for docs := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(text))); ; {
		doc, err := docs.Read()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		o, _, err := strict.Decode(doc, nil, nil)
		if err != nil {
			t.Fatalf("%v in\n%s", err, doc)
		}
		all = append(all, o)
	}
}

// What the rules must never grow: a way to find Secrets whose names are not known, to change the spec of a Service or a Pod, or to do anything.
func TestRightsStaySmall(t *testing.T) {
	var rules []rbacv1.PolicyRule
	account, bound := "", 0
	for _, o := range objects(t, "rbac.yaml") {
		switch o := o.(type) {
		case *corev1.ServiceAccount:
			account = o.Namespace + "/" + o.Name
		case *rbacv1.ClusterRole:
			rules = append(rules, o.Rules...)
		case *rbacv1.Role:
			rules = append(rules, o.Rules...)
		case *rbacv1.ClusterRoleBinding:
			bound += len(o.Subjects)
			subjects(t, account, o.Subjects)
		case *rbacv1.RoleBinding:
			bound += len(o.Subjects)
			subjects(t, account, o.Subjects)
		default:
			t.Errorf("%T is no part of the rights", o)
		}
	}
	if bound != 3 || len(rules) == 0 {
		t.Fatalf("%d subjects and %d rules, want 3 and some", bound, len(rules))
	}
	for _, r := range rules {
		for _, list := range [][]string{r.APIGroups, r.Resources, r.Verbs} {
			if slices.Contains(list, "*") {
				t.Errorf("%v allows everything of a kind", r)
			}
		}
		for _, resource := range r.Resources {
			write := slices.ContainsFunc(r.Verbs, func(v string) bool { return !slices.Contains([]string{"get", "list", "watch"}, v) })
			if resource == "secrets" && !slices.Equal(r.Verbs, []string{"get"}) || resource == "configmaps" || (resource == "services" || resource == "pods") && write {
				t.Errorf("%v allows more than the program needs", r)
			}
		}
	}
}

func subjects(t *testing.T, account string, list []rbacv1.Subject) {
	t.Helper()
	for _, s := range list {
		if s.Kind != rbacv1.ServiceAccountKind || s.Namespace+"/"+s.Name != account {
			t.Errorf("the rights go to %v, want %s", s, account)
		}
	}
}
