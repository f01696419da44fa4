// SPDX-License-Identifier: Apache-2.0

package charts

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/clbsync/clbsync/internal/helm"
)

const crdName = "tkeserviceconfigs.cloud.tencent.com"

type object = map[string]any

// cluster is an API server for what a small installation is made of, that has nothing but the CRD, if metadata is not nil. It
// returns the kubeconfig.
func cluster(t *testing.T, metadata object) string {
	t.Helper()
	mux := http.NewServeMux()
	answer := func(path string, v object) {
		mux.HandleFunc("GET "+path, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			if err := json.NewEncoder(w).Encode(v); err != nil {
				t.Error(err)
			}
		})
	}
	kind := func(resource, kind string, namespaced bool) object {
		return object{"name": resource, "kind": kind, "namespaced": namespaced, "verbs": []string{"get", "create"}}
	}
	groups := []object{}
	for group, resources := range map[string][]object{
		"": {kind("configmaps", "ConfigMap", true)}, "apps": {kind("deployments", "Deployment", true)},
		"apiextensions.k8s.io": {kind("customresourcedefinitions", "CustomResourceDefinition", false)},
	} {
		path, version := "/api/v1", "v1"
		if group != "" {
			path, version = "/apis/"+group+"/v1", group+"/v1"
			only := object{"groupVersion": version, "version": "v1"}
			groups = append(groups, object{"name": group, "versions": []object{only}, "preferredVersion": only})
		}
		answer(path, object{"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version, "resources": resources})
	}
	answer("/version", object{"major": "1", "minor": "37", "gitVersion": "v1.37.2"})
	answer("/api", object{"kind": "APIVersions", "versions": []string{"v1"}})
	answer("/apis", object{"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
	answer("/api/v1/namespaces/kube-system/secrets", object{"kind": "SecretList", "apiVersion": "v1", "items": []object{}}) // Helm's releases
	if metadata != nil {
		metadata["name"] = crdName
		answer("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/"+crdName, object{"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": metadata})
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusNotFound)
		fmt.Fprint(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"NotFound","code":404}`)
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	file := filepath.Join(t.TempDir(), "kubeconfig")
	text := fmt.Sprintf("{apiVersion: v1, kind: Config, current-context: x, clusters: [{name: x, cluster: {server: %q}}], contexts: [{name: x, context: {cluster: x, user: x}}], users: [{name: x, user: {}}]}", server.URL)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// Helm refuses a whole installation that has a CRD of another owner, and one that is kept names its release for ever. Such a one
// is left alone, and the notes say how to take it over.
func TestACRDOfAnotherOwnerIsLeftAlone(t *testing.T) {
	owned := func(release, namespace string) object {
		return object{"labels": object{"app.kubernetes.io/managed-by": "Helm"}, "annotations": object{"meta.helm.sh/release-name": release, "meta.helm.sh/release-namespace": namespace, "helm.sh/resource-policy": "keep"}}
	}
	for name, c := range map[string]struct {
		metadata object
		owner    string // as the notes tell it; "": the chart brings the CRD
	}{
		"no CRD":                            {nil, ""},
		"its own":                           {owned("clbsync", "kube-system"), ""},
		"of the name in another namespace":  {owned("clbsync", "clbsync"), "the release clbsync in the namespace clbsync"},
		"of another name in the namespace":  {owned("lb", "kube-system"), "the release lb in the namespace kube-system"},
		"by kubectl":                        {object{"labels": object{"team": "a"}}, "somebody who did not install it with Helm"},
		"with Helm's annotations, no label": {object{"annotations": owned("clbsync", "kube-system")["annotations"]}, "somebody who did not install it with Helm"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := helm.Helm{Binary: binary, Home: t.TempDir(), Kubeconfig: cluster(t, c.metadata)}
			text, err := h.Run(t.Context(), append(with("install", "clbsync", helm.Chart(), "--namespace=kube-system", "--dry-run=server", "--disable-openapi-validation"),
				"--set", "agent.enabled=false,rbac.create=false,tests.enabled=false,controller.serviceAccount.create=false,controller.podDisruptionBudget.enabled=false")...)
			if err != nil {
				t.Fatalf("Helm refuses it: %v", err)
			}
			manifest, notes, _ := strings.Cut(text, "\nNOTES:\n")
			if brought := strings.Contains(manifest, "kind: CustomResourceDefinition"); brought != (c.owner == "") {
				t.Errorf("the chart brings the CRD: %v", brought)
			}
			const leave = "is left as it is, since it belongs to\n"
			if c.owner == "" && strings.Contains(notes, leave) || c.owner != "" && (!strings.Contains(notes, leave+c.owner+".") ||
				!strings.Contains(notes, "meta.helm.sh/release-name=clbsync meta.helm.sh/release-namespace=kube-system")) {
				t.Errorf("the notes say:\n%s", notes)
			}
		})
	}
}
