// SPDX-License-Identifier: Apache-2.0

// Package images builds the product's container images for amd64 and arm64 without a container engine: the programs
// with go build, what they need besides from Debian packages, an SPDX document of both.
//
// It decides what is in each image, who it runs as and how it is labelled; Dockerfile in this directory takes the same
// from here. It never pushes, and runs nothing of what it builds. The command images/build, and lab/build for the lab's
// nodes, call it.
//
// The same source, stamps, Debian packages and Go release give the same bytes, wherever the source lies.
package images

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/clbsync/clbsync/images/image"
)

// Architectures are those that a release has.
var Architectures = []string{"amd64", "arm64"}

// Image is one of the product's images.
type Image struct {
	Name        string // of the image, its program and its package in cmd/
	Title       string
	Description string
	User        string   // "UID:GID"; empty means root
	Programs    []string // Debian packages, with what they depend on
	Alone       []string // Debian packages of which only the files are needed
	files       func(base []image.File) ([]image.File, error)
}

// All are the product's images.
var All = []Image{
	{
		Name:        "clb-cloud-controller-manager",
		Title:       "clbsync cloud-controller-manager",
		Description: "Keeps a Tencent Cloud CLB in step with each Kubernetes Service of type LoadBalancer",
		User:        nonRoot,
		Alone:       []string{"ca-certificates"},
		files:       authorities,
	},
	{
		// Root, with the capabilities NET_ADMIN and NET_RAW alone: the kernel takes rules from nobody else, and a
		// program that is not root loses capabilities that a pod gives it.
		Name:        "clb-node-agent",
		Title:       "clbsync node agent",
		Description: "Keeps the NodePort rules and health check ports of one Kubernetes node",
		Programs:    []string{"iptables", "nftables", "conntrack"},
		files:       unchanged,
	},
}

// Find returns the image of that name.
func Find(name string) (Image, error) {
	var names []string
	for _, i := range All {
		if i.Name == name {
			return i, nil
		}
		names = append(names, i.Name)
	}
	return Image{}, fmt.Errorf("there is no image %q: want %s", name, strings.Join(names, " or "))
}

const (
	licence = "Apache-2.0"
	project = "https://github.com/clbsync/clbsync"

	// Registry is where releases are.
	Registry = "ghcr.io/clbsync"

	// searchPath finds the programs of packages, and our own in / for whoever looks around in a running container.
	searchPath = "PATH=/usr/sbin:/usr/bin:/sbin:/bin:/"

	// nonRoot is a user and a group that own nothing.
	nonRoot = "65532:65532"
)

// Stamps are what a build says of itself. They are part of its bytes.
type Stamps struct {
	Version string    // "v1.2.3"
	Commit  string    // of the source; with "-dirty" if it was changed
	Time    time.Time // of the commit
}

func (i Image) labels(s Stamps) map[string]string {
	return map[string]string{
		"org.opencontainers.image.title":         i.Title,
		"org.opencontainers.image.description":   i.Description,
		"org.opencontainers.image.url":           project,
		"org.opencontainers.image.source":        project,
		"org.opencontainers.image.documentation": project + "/tree/main/docs",
		"org.opencontainers.image.licenses":      licence,
		"org.opencontainers.image.version":       s.Version,
		"org.opencontainers.image.revision":      s.Commit,
		"org.opencontainers.image.created":       s.Time.UTC().Format(time.RFC3339),
	}
}

func (i Image) entrypoint() []string { return []string{"/" + i.Name} }

// accounts are the users that an image knows, by name for whoever looks at its processes, and directories that programs
// expect.
var accounts = []image.File{
	{Path: "/etc/passwd", Data: []byte("root:x:0:0:root:/:/nonexistent\nnonroot:x:65532:65532:nonroot:/:/nonexistent\n")},
	{Path: "/etc/group", Data: []byte("root:x:0:\nnonroot:x:65532:\n")},
	{Path: "/run", Mode: fs.ModeDir | 0o755}, // where iptables-legacy has its lock, unless the node's is mounted
	{Path: "/tmp", Mode: fs.ModeDir | fs.ModeSticky | 0o777},
}

func unchanged(base []image.File) ([]image.File, error) { return base, nil }

// authoritiesDir is where ca-certificates has one file for each authority.
const authoritiesDir = "/usr/share/ca-certificates/mozilla/"

// authorities puts those that Debian trusts into the one file that Go reads. On a machine, the package's own script does
// that after the installation.
func authorities(base []image.File) ([]image.File, error) {
	var bundle []byte
	kept := []image.File{}
	for _, f := range base {
		switch {
		case strings.HasPrefix(f.Path, authoritiesDir):
			bundle = append(bundle, f.Data...) // in the package's own order, which is the alphabet's
		case !strings.HasPrefix(f.Path, "/usr/share/ca-certificates/"):
			kept = append(kept, f)
		}
	}
	if len(bundle) == 0 {
		return nil, fmt.Errorf("package ca-certificates has no file below %s", authoritiesDir)
	}
	return append(kept, image.File{Path: "/etc/ssl/certs/ca-certificates.crt", Data: bundle}), nil
}

// release is what the building machine is: its packages become the images'.
type release struct {
	distro string // "debian-12"
	file   image.File
}

// readRelease reads the machine's os-release, of which the images get the part that tells scanners which packages are
// known to be at fault.
func readRelease(root string) (release, error) {
	content, err := os.ReadFile(filepath.Join(root, "etc/os-release"))
	if err != nil {
		return release{}, fmt.Errorf("which release of Debian is this: %w", err)
	}
	values, kept := map[string]string{}, ""
	for line := range strings.Lines(string(content)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		values[name] = strings.Trim(value, `"`)
	}
	if values["ID"] != "debian" || values["VERSION_ID"] == "" {
		return release{}, fmt.Errorf("this is %q: images are made of Debian's packages, so build them on Debian or in a container of it", values["PRETTY_NAME"])
	}
	for _, name := range []string{"ID", "NAME", "PRETTY_NAME", "VERSION_CODENAME", "VERSION_ID"} {
		kept += fmt.Sprintf("%s=%q\n", name, values[name])
	}
	return release{
		distro: "debian-" + values["VERSION_ID"],
		file:   image.File{Path: "/etc/os-release", Data: []byte(kept)},
	}, nil
}
