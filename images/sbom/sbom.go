// SPDX-License-Identifier: Apache-2.0

// Package sbom writes what is in an image as an SPDX 2.3 document in JSON: the Go modules and the Go release that each
// program was linked from, as the program itself records them, and the Debian packages.
//
// It decides names, identifiers and relationships, and never looks anything up: what it is given, it lists. The builder
// of images (package images) calls it. The same Image gives the same bytes.
package sbom

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/clbsync/clbsync/images/debian"
)

// Image is what a document describes.
type Image struct {
	Name     string    // "clb-node-agent"
	Version  string    // of the release
	Arch     string    // as Go and Debian name it
	Digest   string    // of the image's config, "sha256:…"
	Created  time.Time // what the document says of its age; the image's own, so that a build can be repeated
	Licence  string    // of the project, as SPDX names it
	Programs []Program
	Packages debian.List
	Distro   string // what the packages are from, "debian-12"
}

// Program is one Go program in the image.
type Program struct {
	Path   string // in the image
	SHA256 string // of the file, in hexadecimal
	Build  *debug.BuildInfo
}

// The document, by SPDX's names.
type document struct {
	SPDXVersion       string         `json:"spdxVersion"`
	DataLicense       string         `json:"dataLicense"`
	SPDXID            string         `json:"SPDXID"`
	Name              string         `json:"name"`
	DocumentNamespace string         `json:"documentNamespace"`
	CreationInfo      creationInfo   `json:"creationInfo"`
	DocumentDescribes []string       `json:"documentDescribes"`
	Packages          []pkg          `json:"packages"`
	Relationships     []relationship `json:"relationships"`
}

type creationInfo struct {
	Created  string   `json:"created"`
	Creators []string `json:"creators"`
}

type pkg struct {
	SPDXID           string        `json:"SPDXID"`
	Name             string        `json:"name"`
	VersionInfo      string        `json:"versionInfo,omitempty"`
	Purpose          string        `json:"primaryPackagePurpose,omitempty"`
	DownloadLocation string        `json:"downloadLocation"`
	FilesAnalyzed    bool          `json:"filesAnalyzed"`
	LicenseConcluded string        `json:"licenseConcluded"`
	LicenseDeclared  string        `json:"licenseDeclared"`
	CopyrightText    string        `json:"copyrightText"`
	SourceInfo       string        `json:"sourceInfo,omitempty"`
	Checksums        []checksum    `json:"checksums,omitempty"`
	ExternalRefs     []externalRef `json:"externalRefs,omitempty"`
}

type checksum struct {
	Algorithm string `json:"algorithm"`
	Value     string `json:"checksumValue"`
}

type externalRef struct {
	Category string `json:"referenceCategory"`
	Type     string `json:"referenceType"`
	Locator  string `json:"referenceLocator"`
}

type relationship struct {
	Element string `json:"spdxElementId"`
	Type    string `json:"relationshipType"`
	Related string `json:"relatedSpdxElement"`
}

const noAssertion = "NOASSERTION"

// Write writes the document.
func Write(w io.Writer, img Image) error {
	root := newPackage("image", img.Name, img.Version, "")
	root.Purpose, root.LicenseDeclared = "CONTAINER", cmp.Or(img.Licence, noAssertion)
	root.Checksums = sha256Sum(strings.TrimPrefix(img.Digest, "sha256:"))
	root.SourceInfo = "linux/" + img.Arch
	d := document{
		SPDXVersion: "SPDX-2.3", DataLicense: "CC0-1.0", SPDXID: "SPDXRef-DOCUMENT",
		Name:              fmt.Sprintf("%s-%s-linux-%s", img.Name, img.Version, img.Arch),
		CreationInfo:      creationInfo{Created: img.Created.UTC().Format(time.RFC3339), Creators: []string{"Tool: clbsync-images"}},
		DocumentDescribes: []string{root.SPDXID},
		Packages:          []pkg{root},
		Relationships:     []relationship{{"SPDXRef-DOCUMENT", "DESCRIBES", root.SPDXID}},
	}
	add := func(parent, how string, p pkg) {
		if !slices.ContainsFunc(d.Packages, func(q pkg) bool { return q.SPDXID == p.SPDXID }) {
			d.Packages = append(d.Packages, p)
		}
		d.Relationships = append(d.Relationships, relationship{parent, how, p.SPDXID})
	}
	for _, program := range img.Programs {
		p := newPackage("program", program.Path, img.Version, "")
		p.Purpose, p.LicenseDeclared = "APPLICATION", root.LicenseDeclared
		p.Checksums = sha256Sum(program.SHA256)
		p.SourceInfo = "package " + program.Build.Path
		add(root.SPDXID, "CONTAINS", p)
		for _, m := range modules(program.Build) {
			add(p.SPDXID, "DEPENDS_ON", m)
		}
	}
	for _, deb := range img.Packages {
		p := newPackage("deb", deb.Name, deb.Version, fmt.Sprintf("pkg:deb/debian/%s@%s?arch=%s&distro=%s",
			url.PathEscape(deb.Name), url.QueryEscape(deb.Version), deb.Arch, img.Distro))
		p.Checksums = sha256Sum(deb.SHA256)
		add(root.SPDXID, "CONTAINS", p)
	}
	// One document per content, as SPDX asks, without a random name.
	content, err := json.Marshal(d)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(content)
	d.DocumentNamespace = fmt.Sprintf("https://spdx.org/spdxdocs/%s-%s", d.Name, hex.EncodeToString(sum[:16]))
	e := json.NewEncoder(w)
	e.SetIndent("", " ")
	e.SetEscapeHTML(false)
	return e.Encode(d)
}

// modules are what a program was linked from: the Go release first, then each module with the checksum that go.sum
// holds it to. A module that is replaced is listed as what replaces it.
func modules(build *debug.BuildInfo) []pkg {
	release, _, _ := strings.Cut(strings.TrimPrefix(build.GoVersion, "go"), " ")
	list := []pkg{newPackage("go", "stdlib", release, "pkg:golang/stdlib@"+release)}
	list[0].LicenseDeclared = "BSD-3-Clause"
	for _, m := range build.Deps {
		if m.Replace != nil {
			m = m.Replace
		}
		p := newPackage("go", m.Path, m.Version, "pkg:golang/"+m.Path+"@"+url.QueryEscape(m.Version))
		if m.Sum != "" {
			p.SourceInfo = "go.sum " + m.Sum
		}
		list = append(list, p)
	}
	return list
}

func newPackage(kind, name, version, purl string) pkg {
	p := pkg{
		SPDXID: "SPDXRef-" + notInID.ReplaceAllString(strings.Trim(kind+"-"+strings.Trim(name, "/")+"-"+version, "-"), "-"),
		Name:   name, VersionInfo: version,
		DownloadLocation: noAssertion, LicenseConcluded: noAssertion, LicenseDeclared: noAssertion, CopyrightText: noAssertion,
	}
	if purl != "" {
		p.ExternalRefs = []externalRef{{"PACKAGE-MANAGER", "purl", purl}}
	}
	return p
}

// notInID is what SPDX does not allow in an identifier.
var notInID = regexp.MustCompile(`[^a-zA-Z0-9.-]+`)

func sha256Sum(hex string) []checksum {
	if hex == "" {
		return nil
	}
	return []checksum{{"SHA256", hex}}
}
