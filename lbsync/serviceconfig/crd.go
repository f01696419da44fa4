// SPDX-License-Identifier: Apache-2.0

package serviceconfig

import (
	"encoding/json"
	"fmt"

	"sigs.k8s.io/yaml"
)

// CRD returns the CustomResourceDefinition, as charts/clbsync/files/crds/tkeserviceconfigs.yaml and deploy/tkeserviceconfig-crd.yaml
// have it, which a test holds equal to it.
func CRD() string {
	spec := schema.openAPI()
	version := map[string]any{
		"name": Version, "served": true, "storage": true,
		"schema": map[string]any{"openAPIV3Schema": map[string]any{
			"type":        "object",
			"description": "Settings of the CLB of Services, which name it in the annotation service.cloud.tencent.com/tke-service-config. A change is applied at once to all of them.",
			"properties": map[string]any{
				"apiVersion": map[string]any{"type": "string"}, "kind": map[string]any{"type": "string"}, "metadata": map[string]any{"type": "object"},
				"spec": map[string]any{"type": "object", "description": "What the Services are to have.", "properties": map[string]any{schema.Name: spec}},
			},
		}},
	}
	crd := map[string]any{
		"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": map[string]any{"name": Resource + "." + Group},
		"spec": map[string]any{
			"group": Group, "scope": "Namespaced",
			"names":    map[string]any{"kind": Kind, "listKind": Kind + "List", "plural": Resource, "singular": "tkeserviceconfig"},
			"versions": []any{version},
		},
	}
	text, err := yaml.Marshal(crd)
	if err != nil {
		panic(err) // of maps, lists, texts and numbers: it cannot
	}
	return "# Made from the table in lbsync/serviceconfig by `make update`. In a cluster of TKE, which has its own, it is not needed.\n" + string(text)
}

// openAPI is the field in the API server's words.
func (f *Field) openAPI() map[string]any {
	out := map[string]any{"type": string(f.Kind), "description": f.Doc}
	switch f.Kind {
	case object:
		f.describe(out)
	case list:
		item := map[string]any{"type": "object"}
		f.describe(item)
		out["items"], out["maxItems"] = item, f.Most
		keys := []any{}
		for _, one := range f.Fields {
			if one.Required {
				keys = append(keys, one.Name)
			}
		}
		out["x-kubernetes-list-type"], out["x-kubernetes-list-map-keys"] = "map", keys
	case integer:
		out["minimum"], out["maximum"] = f.Low, f.High
	case text:
		if f.Words != nil {
			out["enum"] = f.Words
		}
		if f.Pattern != "" {
			out["pattern"] = f.Pattern
		}
		if f.Most > 0 {
			out["maxLength"] = f.Most
		}
	}
	if f.Default != "" {
		var value any
		if err := json.Unmarshal([]byte(f.Default), &value); err != nil {
			panic(fmt.Sprintf("%s: the default %s: %v", f.Name, f.Default, err)) // a test reads them all
		}
		out["default"] = value
	}
	return out
}

// describe adds what is in an object.
func (f *Field) describe(out map[string]any) {
	properties, required := map[string]any{}, []any{}
	for _, one := range f.Fields {
		properties[one.Name] = one.openAPI()
		if one.Required {
			required = append(required, one.Name)
		}
	}
	out["properties"] = properties
	if len(required) > 0 {
		out["required"] = required
	}
	if _, isCheck := f.field("intervalTime"); isCheck {
		out["x-kubernetes-validations"] = []any{map[string]any{"rule": "self.timeout < self.intervalTime", "message": "timeout should be less than intervalTime", "fieldPath": ".timeout"}}
	}
}
