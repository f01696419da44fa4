// SPDX-License-Identifier: Apache-2.0

// Package image writes container images as docker-archive tars, the form that `ctr images import` reads.
//
// It decides how files, an entry point and a name become one layer, one image config and one manifest. It never runs
// anything, pulls anything or talks to a registry: the lab's pods start from what this machine has built. The lab's
// builder calls it.
//
// The same Config gives the same bytes. The image's identity is the digest of its config, so an image that did not
// change is not unpacked again by a containerd that knows it.
package image

import (
	"archive/tar"
	"bytes"
	_ "crypto/sha256" // go-digest panics in a program that links no sha256
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"runtime"
	"time"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Config says what is in an image and how it starts.
type Config struct {
	Ref        string   // full name with host and tag, as pods say it: "lab.clbsync.io/echo:dev"
	Entrypoint []string // program and fixed arguments; pods may replace it
	Cmd        []string // arguments that a pod's args replace
	Env        []string // KEY=value
	WorkingDir string   // absolute; empty means /
	Files      []File   // in any order; parent directories are made
}

// epoch dates everything in an image. A build time would make every build a new image.
var epoch = time.Unix(0, 0).UTC()

// manifest is the one entry of manifest.json, docker-archive's table of contents.
type manifest struct {
	Config   string
	RepoTags []string
	Layers   []string
}

// Write writes the image to w as a docker-archive tar for this machine's architecture. Files with a Source are read
// twice, once to name the layer by its digest and once to write it; Write fails if they change in between.
func Write(w io.Writer, c Config) error {
	if err := c.check(); err != nil {
		return err
	}
	entries, err := layerEntries(c.Files)
	if err != nil {
		return fmt.Errorf("image %s: %w", c.Ref, err)
	}
	first := digest.Canonical.Digester()
	counted := &counter{w: first.Hash()}
	if err := writeLayer(counted, entries); err != nil {
		return fmt.Errorf("image %s: %w", c.Ref, err)
	}
	diffID := first.Digest()

	config, err := json.Marshal(c.ociImage(diffID))
	if err != nil {
		return err
	}
	configName := digest.FromBytes(config).Encoded() + ".json"
	layerName := diffID.Encoded() + ".tar"
	contents, err := json.Marshal([]manifest{{Config: configName, RepoTags: []string{c.Ref}, Layers: []string{layerName}}})
	if err != nil {
		return err
	}

	tw := tar.NewWriter(w)
	if err := add(tw, "manifest.json", int64(len(contents)), bytes.NewReader(contents)); err != nil {
		return err
	}
	if err := add(tw, configName, int64(len(config)), bytes.NewReader(config)); err != nil {
		return err
	}
	second := digest.Canonical.Digester()
	if err := header(tw, layerName, counted.n); err != nil {
		return err
	}
	if err := writeLayer(io.MultiWriter(tw, second.Hash()), entries); err != nil {
		return fmt.Errorf("image %s: %w", c.Ref, err)
	}
	if second.Digest() != diffID {
		return fmt.Errorf("image %s: a source file changed while it was read", c.Ref)
	}
	return tw.Close()
}

// check refuses what containerd would import under another name or could not start.
func (c Config) check() error {
	named, err := reference.ParseNamed(c.Ref)
	if err != nil {
		return fmt.Errorf("image ref %q: %w: want host/name:tag, for example lab.clbsync.io/echo:dev", c.Ref, err)
	}
	if _, tagged := named.(reference.Tagged); !tagged {
		return fmt.Errorf("image ref %q has no tag: want host/name:tag", c.Ref)
	}
	if len(c.Entrypoint) == 0 && len(c.Cmd) == 0 {
		return fmt.Errorf("image %s has neither Entrypoint nor Cmd: a pod would have nothing to start", c.Ref)
	}
	if len(c.Files) == 0 {
		return errors.New("image " + c.Ref + " has no files")
	}
	return nil
}

func (c Config) ociImage(diffID digest.Digest) ocispec.Image {
	return ocispec.Image{
		Created:  &epoch,
		Platform: ocispec.Platform{Architecture: runtime.GOARCH, OS: "linux"},
		Config: ocispec.ImageConfig{
			Entrypoint: c.Entrypoint,
			Cmd:        c.Cmd,
			Env:        c.Env,
			WorkingDir: c.WorkingDir,
		},
		RootFS:  ocispec.RootFS{Type: "layers", DiffIDs: []digest.Digest{diffID}},
		History: []ocispec.History{{Created: &epoch, CreatedBy: "clbsync lab"}},
	}
}

func add(tw *tar.Writer, name string, size int64, content io.Reader) error {
	if err := header(tw, name, size); err != nil {
		return err
	}
	_, err := io.Copy(tw, content)
	return err
}

func header(tw *tar.Writer, name string, size int64) error {
	return tw.WriteHeader(&tar.Header{
		Typeflag: tar.TypeReg, Name: name, Size: size, Mode: 0o644, ModTime: epoch, Format: tar.FormatPAX,
	})
}

// counter counts what passes through it.
type counter struct {
	w io.Writer
	n int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}
