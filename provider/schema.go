// SPDX-License-Identifier: Apache-2.0

package provider

import (
	"maps"
	"strings"
	"time"
)

// Bounds are those of a duration; Unit is what it has to be a multiple of, 0 for none. A JSON schema cannot say
// them.
type Bounds struct{ Low, High, Unit time.Duration }

// Bounds returns those of a key whose value is a duration, and whether it is one.
func (f Field) Bounds() (Bounds, bool) {
	if f.Value.bounds == nil {
		return Bounds{}, false
	}
	return *f.Value.bounds, true
}

// ConfigSchema returns the cloud config as a JSON schema (draft 7), without the keys that leave reports true for. It lets
// nothing pass that ReadConfig would not take, but for bounds of durations and what is wrong in combination; required keys
// are not required in it. Each call makes a new value.
func ConfigSchema(leave func(key string) bool) map[string]any {
	root := object()
	for _, f := range Fields {
		if leave(f.Key) {
			continue
		}
		at, path := root, strings.Split(f.Key, ".")
		for _, group := range path[:len(path)-1] {
			members := at["properties"].(map[string]any)
			if members[group] == nil {
				members[group] = object()
			}
			at = members[group].(map[string]any)
		}
		schema := map[string]any{"description": f.Doc}
		maps.Copy(schema, f.Value.schema)
		if last := path[len(path)-1]; last != "*" {
			at["properties"].(map[string]any)[last] = schema
		} else {
			at["additionalProperties"] = schema
			at["propertyNames"] = map[string]any{"pattern": actionRE.String()}
		}
	}
	return root
}

func object() map[string]any {
	return map[string]any{"type": "object", "additionalProperties": false, "properties": map[string]any{}}
}
