// SPDX-License-Identifier: Apache-2.0

package charts

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"

	"github.com/clbsync/clbsync/internal/helm"
)

var binary string

func TestMain(m *testing.M) {
	var err error
	if binary, err = helm.Find(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// needed is what every installation with the controller has to say.
var needed = []string{"--set-json", `cloudConfig.region="ap-guangzhou"`, "--set-json", `cloudConfig.vpcID="vpc-2ab3c4d5"`, "--set-json", `cloudConfig.clusterID="cls-demo"`}

func with(args ...string) []string { return append(append([]string{}, needed...), args...) }

func set(values ...string) []string {
	args := with()
	for _, v := range values {
		args = append(args, "--set-json", v)
	}
	return args
}

func preset(name string) []string { return with("-f", helm.Preset(name)) }

// template returns what Helm says to the chart with these flags.
func template(t *testing.T, args ...string) (string, error) {
	t.Helper()
	return templateAs(t, "clbsync", args...)
}

// templateAs does so for a release of that name.
func templateAs(t *testing.T, release string, args ...string) (string, error) {
	t.Helper()
	return helm.Helm{Binary: binary, Home: t.TempDir()}.Template(t.Context(), release, args...)
}

// render returns the objects, each by kind/name, or kind/namespace/name where it is not in kube-system, with "post-delete:"
// before it if that is when it is made.
func render(t *testing.T, args ...string) map[string]*unstructured.Unstructured {
	t.Helper()
	text, err := template(t, args...)
	if err != nil {
		t.Fatal(err)
	}
	return split(t, text)
}

func split(t *testing.T, text string) map[string]*unstructured.Unstructured {
	t.Helper()
	all := map[string]*unstructured.Unstructured{}
	for docs := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader([]byte(text)))); ; {
		doc, err := docs.Read()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		var o unstructured.Unstructured
		if err := yaml.UnmarshalStrict(doc, &o.Object); err != nil {
			t.Fatalf("%v in\n%s", err, doc)
		}
		if o.Object == nil {
			continue
		}
		key := o.GetKind() + "/" + o.GetName()
		if ns := o.GetNamespace(); ns != "" && ns != "kube-system" {
			key = o.GetKind() + "/" + ns + "/" + o.GetName()
		}
		if hook := o.GetAnnotations()["helm.sh/hook"]; hook != "" && hook != "test" {
			key = hook + ":" + key
		}
		if all[key] != nil {
			t.Fatalf("%s is rendered twice", key)
		}
		all[key] = &o
	}
}

// as returns the object of that key as its Go type, which it has to fit: a misspelt field is refused.
func as[T any](t *testing.T, all map[string]*unstructured.Unstructured, key string) *T {
	t.Helper()
	o := all[key]
	if o == nil {
		t.Fatalf("no %s among %v", key, slices.Sorted(maps.Keys(all)))
	}
	into := new(T)
	if err := runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(o.Object, into, true); err != nil {
		t.Fatalf("%s: %v", key, err)
	}
	return into
}
