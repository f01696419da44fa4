// SPDX-License-Identifier: Apache-2.0

package images

import (
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// instructions reads a Dockerfile: by the stage that they belong to, in order, continuation lines joined.
func instructions(t *testing.T) map[string][]string {
	t.Helper()
	content, err := os.ReadFile("Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	stages, stage := map[string][]string{}, ""
	for line := range strings.Lines(strings.ReplaceAll(string(content), "\\\n", " ")) {
		line = strings.Join(strings.Fields(line), " ")
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if from, is := strings.CutPrefix(line, "FROM "); is {
			_, stage, _ = strings.Cut(from, " AS ")
		}
		stages[stage] = append(stages[stage], line)
	}
	return stages
}

// The two ways to build must not drift apart: the Dockerfile has no container engine to run it here.
func TestDockerfileSaysWhatTheBuilderDoes(t *testing.T) {
	stages := instructions(t)
	for _, i := range All {
		entrypoint, err := json.Marshal(i.entrypoint())
		if err != nil {
			t.Fatal(err)
		}
		want := []string{"ENTRYPOINT " + string(entrypoint), "ENV " + searchPath}
		if i.User != "" {
			want = append(want, "USER "+i.User)
		}
		got := stages[i.Name]
		if len(got) == 0 || got[0] != "FROM scratch AS "+i.Name {
			t.Errorf("no target %s from scratch: %q", i.Name, got)
		}
		for _, w := range want {
			if !slices.Contains(got, w) {
				t.Errorf("target %s lacks %q, which the builder's image has", i.Name, w)
			}
		}
		if i.User == "" && strings.Contains(strings.Join(got, "\n"), "USER ") {
			t.Errorf("target %s has a USER, the builder's image has none", i.Name)
		}
		labels := strings.Join(got, "\n")
		for key, value := range i.labels(Stamps{Version: "$VERSION", Commit: "$COMMIT", Time: time.Unix(0, 0)}) {
			// The engine dates the image itself, from SOURCE_DATE_EPOCH.
			if label := fmt.Sprintf("%s=%q", key, value); !strings.HasSuffix(key, ".created") && !strings.Contains(labels, label) {
				t.Errorf("target %s lacks the label %s", i.Name, label)
			}
		}
		copied := false
		for _, line := range got {
			if from, is := strings.CutPrefix(line, "COPY --from="); is {
				stage, _, _ := strings.Cut(from, " ")
				copied = strings.HasSuffix(strings.Join(stages[stage], "\n"), " "+i.Name)
			}
		}
		if !copied {
			t.Errorf("target %s does not copy the files that the builder makes for it", i.Name)
		}
	}
}

// An argument that a stage uses and does not name is empty under buildah, and the image is one of no version.
func TestEachStageNamesItsArguments(t *testing.T) {
	for stage, lines := range instructions(t) {
		for _, line := range lines {
			for _, used := range regexp.MustCompile(`\$(\w+)`).FindAllStringSubmatch(line, -1) {
				if !strings.HasPrefix(line, "FROM ") && !slices.Contains(lines, "ARG "+used[1]) {
					t.Errorf("stage %s uses $%s and has no ARG for it", stage, used[1])
				}
			}
		}
	}
}

// The Dockerfile's Go must be new enough for go.mod.
func TestDockerfileHasTheModulesGo(t *testing.T) {
	mod, err := os.ReadFile("../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(mod)) {
		if version, is := strings.CutPrefix(strings.TrimSpace(line), "go "); is {
			minor := strings.Join(strings.Split(version, ".")[:2], ".")
			if from := instructions(t)["source"][0]; !strings.Contains(from, "golang:"+minor+"-") {
				t.Errorf("%q: go.mod wants Go %s", from, minor)
			}
			return
		}
	}
	t.Error("go.mod names no version of Go")
}

// The programs of make build say of themselves what those in images say.
func TestMakefileStampsAsImagesAre(t *testing.T) {
	content, err := os.ReadFile("../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(content)) {
		if name, flags, found := strings.Cut(line, ":="); found && strings.TrimSpace(name) == "LDFLAGS" {
			if want := LinkFlags(Stamps{Version: "$(VERSION)", Commit: "$(COMMIT)"}); strings.TrimSpace(flags) != want {
				t.Errorf("LDFLAGS is %q, want %q", strings.TrimSpace(flags), want)
			}
			return
		}
	}
	t.Error("the Makefile has no LDFLAGS")
}
