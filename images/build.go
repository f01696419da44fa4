// SPDX-License-Identifier: Apache-2.0

package images

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/clbsync/clbsync/images/debian"
	"github.com/clbsync/clbsync/images/image"
	"github.com/clbsync/clbsync/images/sbom"
)

// Builder builds images from one state of the source.
type Builder struct {
	Root     string // of the source
	Registry string // host and path before the image's name: "ghcr.io/clbsync"
	Tag      string // of the images
	Stamps   Stamps
	Debian   debian.Store           // keeps Debian packages from build to build
	Fresh    bool                   // take the newest Debian packages, also where older ones are at hand
	Fixed    map[string]debian.List // by image and architecture, "NAME/ARCH": exactly these packages
	Work     string                 // a directory for programs; they must stay until the image is written
}

// Built is an image that can be written.
type Built struct {
	Config   image.Config
	Packages debian.List
	SBOM     []byte
}

// Build builds an image for an architecture.
func (b Builder) Build(ctx context.Context, i Image, arch string) (Built, error) {
	program := filepath.Join(b.Work, i.Name+"_linux_"+arch)
	build, err := BuildProgram(ctx, b.Root, i.Name, arch, program, b.Stamps)
	if err != nil {
		return Built{}, err
	}
	base, packages, distro, err := b.base(ctx, i, arch)
	if err != nil {
		return Built{}, fmt.Errorf("image %s for %s: %w", i.Name, arch, err)
	}
	c := image.Config{
		Ref:        b.Registry + "/" + i.Name + ":" + b.Tag,
		Arch:       arch,
		User:       i.User,
		Entrypoint: i.entrypoint(),
		Env:        []string{searchPath},
		Labels:     i.labels(b.Stamps),
		Created:    b.Stamps.Time,
		Base:       base,
		Files:      []image.File{{Path: "/" + i.Name, Source: program}},
	}
	id, err := image.ID(c)
	if err != nil {
		return Built{}, err
	}
	sum, err := fileSum(program)
	if err != nil {
		return Built{}, err
	}
	var document bytes.Buffer
	err = sbom.Write(&document, sbom.Image{
		Name: i.Name, Version: b.Stamps.Version, Arch: arch, Digest: id.String(), Created: b.Stamps.Time, Licence: licence,
		Programs: []sbom.Program{{Path: "/" + i.Name, SHA256: sum, Build: build}},
		Packages: packages, Distro: distro,
	})
	return Built{Config: c, Packages: packages, SBOM: document.Bytes()}, err
}

// base is what an image has besides its program.
func (b Builder) base(ctx context.Context, i Image, arch string) ([]image.File, debian.List, string, error) {
	machine, err := readRelease("/")
	if err != nil {
		return nil, nil, "", err
	}
	packages, err := b.Debian.Fetch(ctx, debian.Request{
		Arch: arch, Programs: i.Programs, Alone: i.Alone, Fresh: b.Fresh, Fixed: b.Fixed[i.Name+"/"+arch],
	})
	if err != nil {
		return nil, nil, "", err
	}
	var files []image.File
	for _, p := range packages {
		unpacked, err := debian.Unpack(ctx, b.Debian.Path(arch, p))
		if err != nil {
			return nil, nil, "", err
		}
		files = append(files, unpacked...)
	}
	if files, err = i.files(files); err != nil {
		return nil, nil, "", err
	}
	return append(append(files, machine.file), accounts...), packages, machine.distro, nil
}

func fileSum(path string) (string, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:]), nil
}

// Seconds reads a time as SOURCE_DATE_EPOCH has it: seconds since 1970.
func Seconds(text string) (time.Time, error) {
	seconds, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("time %q: want seconds since 1970, as in SOURCE_DATE_EPOCH", text)
	}
	return time.Unix(seconds, 0).UTC(), nil
}

// WriteFile writes a file as a whole or not at all: another process may be reading the old one.
func WriteFile(path string, write func(*os.File) error) error {
	file, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return err
	}
	err = errors.Join(write(file), file.Chmod(0o644), file.Close())
	if err == nil {
		err = os.Rename(file.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(file.Name()))
	}
	return nil
}

// DefaultStore is the store of Debian packages in the user's cache.
func DefaultStore() (debian.Store, error) {
	dir, err := os.UserCacheDir()
	return debian.Store(filepath.Join(dir, "clbsync", "debian")), err
}

// TagOf is the tag of a version's images: the version, without the + that a tag may not have.
func TagOf(version string) string { return strings.ReplaceAll(version, "+", "-") }
