// SPDX-License-Identifier: Apache-2.0

package sbom

import (
	"bytes"
	"encoding/json"
	"regexp"
	"runtime/debug"
	"slices"
	"testing"
	"time"

	"github.com/clbsync/clbsync/images/debian"
)

func example() Image {
	return Image{
		Name: "clb-node-agent", Version: "v1.2.3", Arch: "arm64", Digest: "sha256:0a0a", Created: time.Unix(1_800_000_000, 0),
		Licence: "Apache-2.0", Distro: "debian-12",
		Programs: []Program{{Path: "/clb-node-agent", SHA256: "0b0b", Build: &debug.BuildInfo{
			GoVersion: "go1.26.8 X:something", Path: "github.com/clbsync/clbsync/cmd/clb-node-agent",
			Deps: []*debug.Module{
				{Path: "golang.org/x/sys", Version: "v0.49.0", Sum: "h1:abc="},
				{Path: "k8s.io/old", Version: "v0.0.0", Replace: &debug.Module{Path: "k8s.io/new", Version: "v0.1.0+incompatible", Sum: "h1:def="}},
			},
		}}},
		Packages: debian.List{{Name: "conntrack", Version: "1:1.4.7-1+b2", Arch: "arm64", SHA256: "0c0c"}},
	}
}

func TestDocument(t *testing.T) {
	var text bytes.Buffer
	if err := Write(&text, example()); err != nil {
		t.Fatal(err)
	}
	var d document
	decoder := json.NewDecoder(bytes.NewReader(text.Bytes()))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&d); err != nil {
		t.Fatal(err)
	}
	if d.SPDXVersion != "SPDX-2.3" || d.CreationInfo.Created != "2027-01-15T08:00:00Z" || d.DocumentNamespace == "" {
		t.Errorf("head of the document: %s %s %q", d.SPDXVersion, d.CreationInfo.Created, d.DocumentNamespace)
	}
	purls, ids := []string{}, map[string]bool{"SPDXRef-DOCUMENT": true}
	for _, p := range d.Packages {
		if ids[p.SPDXID] || !regexp.MustCompile(`^SPDXRef-[a-zA-Z0-9.-]+$`).MatchString(p.SPDXID) {
			t.Errorf("identifier %q of %s is there twice, or not one that SPDX allows", p.SPDXID, p.Name)
		}
		ids[p.SPDXID] = true
		for _, r := range p.ExternalRefs {
			purls = append(purls, r.Locator)
		}
	}
	want := []string{
		"pkg:golang/stdlib@1.26.8", "pkg:golang/golang.org/x/sys@v0.49.0", "pkg:golang/k8s.io/new@v0.1.0%2Bincompatible",
		"pkg:deb/debian/conntrack@1%3A1.4.7-1%2Bb2?arch=arm64&distro=debian-12",
	}
	if !slices.Equal(purls, want) {
		t.Errorf("purls %q, want %q", purls, want)
	}
	related := map[string]bool{}
	for _, r := range d.Relationships {
		if !ids[r.Element] || !ids[r.Related] {
			t.Errorf("%s %s %s: one of them is no package of the document", r.Element, r.Type, r.Related)
		}
		related[r.Related] = true
	}
	for _, p := range d.Packages {
		if !related[p.SPDXID] {
			t.Errorf("nothing says how %s belongs to the image", p.Name)
		}
	}
}

func TestSameImageSameDocument(t *testing.T) {
	var first, second, other bytes.Buffer
	changed := example()
	changed.Packages[0].Version = "1:1.4.8-1"
	for w, img := range map[*bytes.Buffer]Image{&first: example(), &second: example(), &other: changed} {
		if err := Write(w, img); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(first.Bytes(), second.Bytes()) {
		t.Error("the same image gave another document")
	}
	namespace := func(b bytes.Buffer) string {
		var d document
		if err := json.Unmarshal(b.Bytes(), &d); err != nil {
			t.Fatal(err)
		}
		return d.DocumentNamespace
	}
	if namespace(first) == namespace(other) {
		t.Error("another image has a document of the same namespace, which SPDX wants to be unique")
	}
}
