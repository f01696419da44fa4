// SPDX-License-Identifier: Apache-2.0

package charts

import (
	"path/filepath"
	"testing"

	"github.com/clbsync/clbsync/internal/golden"
	"github.com/clbsync/clbsync/internal/helm"
)

// What each preset makes, whole: a change of a template shows what it changes for whom.
func TestPresets(t *testing.T) {
	names, err := helm.Presets()
	if err != nil || len(names) < 5 {
		t.Fatalf("%v, %v: want five presets and more", names, err)
	}
	cases := map[string][]string{}
	for _, name := range names {
		args := preset(name)
		if name == "agent-only" {
			args = []string{"-f", helm.Preset(name)} // it needs nothing
		}
		cases[name] = args
	}
	cases["everything"] = []string{"-f", filepath.Join("testdata", "everything.yaml")}
	for name, args := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			text, err := template(t, args...)
			if err != nil {
				t.Fatal(err)
			}
			golden.File(t, filepath.Join("testdata", name+".golden.yaml"), text)
		})
	}
}

func TestLint(t *testing.T) {
	names, err := helm.Presets()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := helm.Helm{Binary: binary, Home: t.TempDir()}
			if out, err := h.Run(t.Context(), append([]string{"lint", "--strict", helm.Chart()}, preset(name)...)...); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}
