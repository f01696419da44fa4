// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// Components of the product's manifest, as its labels name them.
const (
	ControllerComponent = "controller"
	AgentComponent      = "agent"

	productNamespace = "kube-system"
)

// rightKinds are what the lab takes from the manifest. The rest runs pods, for which most labs have no images.
var rightKinds = regexp.MustCompile(`(?m)^kind: (ServiceAccount|ClusterRole|ClusterRoleBinding|Role|RoleBinding|CustomResourceDefinition)$`)

// ProductAccount returns the ServiceAccount that the product's manifest gives a component, and its namespace.
func ProductAccount(component string) (namespace, name string) {
	return productNamespace, "clbsync-" + component
}

// ProductRights returns the part of the product's own manifest, deploy/full.yaml below root, that gives a component its
// identity, its rights and the kinds that it reads: nothing runs in a lab with more than users give it.
func ProductRights(root, component string) (string, error) {
	manifest, err := os.ReadFile(filepath.Join(root, "deploy", "full.yaml"))
	if err != nil {
		return "", fmt.Errorf("rights of the %s: %w", component, err)
	}
	var rights strings.Builder
	label := "\n    app.kubernetes.io/component: " + component + "\n"
	for document := range strings.SplitSeq(string(manifest), "\n---\n") {
		if !rightKinds.MatchString(document) {
			continue
		}
		crd := strings.Contains(document, "\nkind: CustomResourceDefinition\n")
		if crd && component == ControllerComponent || !crd && strings.Contains(document, label) {
			rights.WriteString(document + "\n---\n")
		}
	}
	if rights.Len() == 0 {
		return "", fmt.Errorf("rights of the %s: %s has none", component, filepath.Join(root, "deploy", "full.yaml"))
	}
	return rights.String(), nil
}
