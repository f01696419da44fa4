// SPDX-License-Identifier: Apache-2.0

// Package image writes container images: as a docker-archive tar, which `ctr images import` and `docker load` read,
// and as an OCI archive of one image for several architectures, which `skopeo copy` and `crane push` read.
//
// It decides how files, an entry point and a name become layers, an image config and a manifest. It never runs
// anything, pulls anything or talks to a registry. The builder of the product's images (package images) and that of
// the lab's (lab/build) call it.
//
// The same Config gives the same bytes. The image's identity is the digest of its config, so an image that did not
// change is not unpacked again by a containerd that knows it; that config is the same in both forms. Only the
// compression of an OCI archive's layers depends on the version of Go.
package image

import (
	"archive/tar"
	"bytes"
	"cmp"
	_ "crypto/sha256" // go-digest panics in a program that links no sha256
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"runtime"
	"time"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Config says what is in an image and how it starts.
type Config struct {
	Ref        string            // full name with host and tag, as pods say it: "lab.clbsync.io/echo:dev"
	Arch       string            // as Go names it, "amd64" or "arm64"; empty means this machine's
	User       string            // "UID:GID" that the program runs as; empty means root
	Entrypoint []string          // program and fixed arguments; pods may replace it
	Cmd        []string          // arguments that a pod's args replace
	Env        []string          // KEY=value
	WorkingDir string            // absolute; empty means /
	Labels     map[string]string // shown by whoever inspects the image
	Created    time.Time         // what the image says of its age; zero means 1970, since a build's time would make every build a new image
	Base       []File            // a layer below that of Files, for what changes less often; empty means none
	Files      []File            // in any order; parent directories are made
}

// epoch dates every file of an image.
var epoch = time.Unix(0, 0).UTC()

// manifest is the one entry of manifest.json, docker-archive's table of contents.
type manifest struct {
	Config   string
	RepoTags []string
	Layers   []string
}

// Write writes the image to w as a docker-archive tar. Files with a Source are read twice, once to name the layer by
// its digest and once to write it; Write fails if they change in between.
func Write(w io.Writer, c Config) error {
	layers, config, err := c.prepare()
	if err != nil {
		return err
	}
	configName := digest.FromBytes(config).Encoded() + ".json"
	table := manifest{Config: configName, RepoTags: []string{c.Ref}}
	for _, l := range layers {
		table.Layers = append(table.Layers, l.diffID.Encoded()+".tar")
	}
	contents, err := json.Marshal([]manifest{table})
	if err != nil {
		return err
	}
	tw := tar.NewWriter(w)
	if err := add(tw, "manifest.json", contents); err != nil {
		return err
	}
	if err := add(tw, configName, config); err != nil {
		return err
	}
	for i, l := range layers {
		if err := header(tw, table.Layers[i], l.size); err != nil {
			return err
		}
		if err := l.write(tw); err != nil {
			return fmt.Errorf("image %s: %w", c.Ref, err)
		}
	}
	return tw.Close()
}

// WriteOCI writes one image for several architectures to w as an OCI archive, and returns the digest of its index: the
// one that a registry shows, and that a pod can name. All configs have the same Ref; layers are held in memory.
func WriteOCI(w io.Writer, configs ...Config) (digest.Digest, error) {
	if len(configs) == 0 {
		return "", errors.New("an image for no architecture at all")
	}
	a := archive{tw: tar.NewWriter(w), written: map[digest.Digest]bool{}}
	err := a.json(ocispec.ImageLayoutFile, ocispec.ImageLayout{Version: ocispec.ImageLayoutVersion})
	if err != nil {
		return "", err
	}
	index := ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex}
	for _, c := range configs {
		if c.Ref != configs[0].Ref {
			return "", fmt.Errorf("image %s for %s is named %s", configs[0].Ref, c.Arch, c.Ref)
		}
		described, err := a.image(c)
		if err != nil {
			return "", err
		}
		index.Manifests = append(index.Manifests, described)
	}
	named, err := a.blob(ocispec.MediaTypeImageIndex, index)
	if err != nil {
		return "", err
	}
	tag, _ := tagOf(configs[0].Ref)
	named.Annotations = map[string]string{ocispec.AnnotationRefName: tag}
	err = a.json(ocispec.ImageIndexFile, ocispec.Index{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex, Manifests: []ocispec.Descriptor{named},
	})
	return named.Digest, errors.Join(err, a.tw.Close())
}

// archive is an OCI image layout that is being written as a tar.
type archive struct {
	tw      *tar.Writer
	written map[digest.Digest]bool
}

func (a *archive) json(name string, value any) error {
	content, err := json.Marshal(value)
	if err != nil {
		return err
	}
	return add(a.tw, name, content)
}

// blob adds a JSON document by its digest.
func (a *archive) blob(mediaType string, value any) (ocispec.Descriptor, error) {
	content, err := json.Marshal(value)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	return a.bytes(mediaType, content)
}

// bytes adds a content by its digest, once: architectures may share a layer.
func (a *archive) bytes(mediaType string, content []byte) (ocispec.Descriptor, error) {
	d := ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(content), Size: int64(len(content))}
	if a.written[d.Digest] {
		return d, nil
	}
	a.written[d.Digest] = true
	return d, add(a.tw, ocispec.ImageBlobsDir+"/"+d.Digest.Algorithm().String()+"/"+d.Digest.Encoded(), content)
}

// image adds the image for one architecture.
func (a *archive) image(c Config) (ocispec.Descriptor, error) {
	layers, config, err := c.prepare()
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	m := ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest}
	if m.Config, err = a.bytes(ocispec.MediaTypeImageConfig, config); err != nil {
		return ocispec.Descriptor{}, err
	}
	for _, l := range layers {
		compressed, err := l.gzip()
		if err != nil {
			return ocispec.Descriptor{}, fmt.Errorf("image %s: %w", c.Ref, err)
		}
		described, err := a.bytes(ocispec.MediaTypeImageLayerGzip, compressed)
		if err != nil {
			return ocispec.Descriptor{}, err
		}
		m.Layers = append(m.Layers, described)
	}
	m.Annotations = c.Labels
	described, err := a.blob(ocispec.MediaTypeImageManifest, m)
	described.Platform = &ocispec.Platform{Architecture: c.arch(), OS: "linux"}
	return described, err
}

// ID returns the digest of the image's config, which is the image's identity in both forms.
func ID(c Config) (digest.Digest, error) {
	_, config, err := c.prepare()
	if err != nil {
		return "", err
	}
	return digest.FromBytes(config), nil
}

// prepare checks the Config, reads its files once and returns its layers and its config as bytes.
func (c Config) prepare() ([]layer, []byte, error) {
	if err := c.check(); err != nil {
		return nil, nil, err
	}
	var layers []layer
	for _, files := range [][]File{c.Base, c.Files} {
		if len(files) == 0 {
			continue
		}
		l, err := newLayer(files)
		if err != nil {
			return nil, nil, fmt.Errorf("image %s: %w", c.Ref, err)
		}
		layers = append(layers, l)
	}
	config, err := json.Marshal(c.ociImage(layers))
	return layers, config, err
}

// check refuses what containerd would import under another name or could not start.
func (c Config) check() error {
	if _, err := tagOf(c.Ref); err != nil {
		return err
	}
	if len(c.Entrypoint) == 0 && len(c.Cmd) == 0 {
		return fmt.Errorf("image %s has neither Entrypoint nor Cmd: a pod would have nothing to start", c.Ref)
	}
	if len(c.Files) == 0 {
		return errors.New("image " + c.Ref + " has no files")
	}
	return nil
}

// tagOf returns the tag of an image's full name.
func tagOf(ref string) (string, error) {
	named, err := reference.ParseNamed(ref)
	if err != nil {
		return "", fmt.Errorf("image ref %q: %w: want host/name:tag, for example lab.clbsync.io/echo:dev", ref, err)
	}
	tagged, ok := named.(reference.Tagged)
	if !ok {
		return "", fmt.Errorf("image ref %q has no tag: want host/name:tag", ref)
	}
	return tagged.Tag(), nil
}

func (c Config) arch() string { return cmp.Or(c.Arch, runtime.GOARCH) }

func (c Config) ociImage(layers []layer) ocispec.Image {
	created := epoch
	if !c.Created.IsZero() {
		created = c.Created.UTC()
	}
	img := ocispec.Image{
		Created:  &created,
		Platform: ocispec.Platform{Architecture: c.arch(), OS: "linux"},
		Config: ocispec.ImageConfig{
			User:       c.User,
			Entrypoint: c.Entrypoint,
			Cmd:        c.Cmd,
			Env:        c.Env,
			WorkingDir: c.WorkingDir,
			Labels:     c.Labels,
		},
		RootFS: ocispec.RootFS{Type: "layers"},
	}
	for _, l := range layers {
		img.RootFS.DiffIDs = append(img.RootFS.DiffIDs, l.diffID)
		img.History = append(img.History, ocispec.History{Created: &created, CreatedBy: "clbsync"})
	}
	return img
}

func add(tw *tar.Writer, name string, content []byte) error {
	if err := header(tw, name, int64(len(content))); err != nil {
		return err
	}
	_, err := io.Copy(tw, bytes.NewReader(content))
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
