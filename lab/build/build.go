// SPDX-License-Identifier: Apache-2.0

// Package build makes what a lab runs, in the directory .lab at the repository's root: programs in .lab/bin, container
// images in .lab/images. It also installs the Debian packages that a lab needs and the machine lacks.
//
// It decides which packages make up which program; whether one has to be compiled again is go build's decision alone.
// It starts nothing, and leaves no system service running. Everybody who needs a lab calls Ensure first.
package build

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Set is a group of things that are needed together.
type Set int

// Cluster is what a bare cluster needs, and the pod program echo; it is always built. Product is the programs of the
// repository's main module. E2E is the upstream end-to-end suite with its image. Release is the product's images as a
// release has them, for this machine's architecture.
const (
	Cluster Set = iota
	Product
	E2E
	Release
)

const module = "module github.com/clbsync/clbsync"

// Dir is the absolute path of the directory .lab.
type Dir string

// BinDir is the directory of all programs.
func (d Dir) BinDir() string { return filepath.Join(string(d), "bin") }

// Bin is the path of a program: "kube", "kubectl", "lab", and with Product "clbsim" and so on.
func (d Dir) Bin(name string) string { return filepath.Join(d.BinDir(), name) }

// Image is the path of an image as a docker-archive tar: "pause", "echo", with E2E "agnhost", and with Release
// those of package images by their names.
func (d Dir) Image(name string) string { return filepath.Join(string(d), "images", name+".tar") }

// Root is the root of the repository.
func (d Dir) Root() string { return filepath.Dir(string(d)) }

// Find returns the directory .lab of the repository that the working directory is in. It may not exist yet.
func Find() (Dir, error) {
	start, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for dir := start; ; dir = filepath.Dir(dir) {
		data, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		if err == nil && strings.HasPrefix(string(data), module+"\n") {
			return Dir(filepath.Join(dir, ".lab")), nil
		}
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return "", err
		}
		if dir == filepath.Dir(dir) {
			return "", fmt.Errorf("%s is not in the repository: no directory above it has a go.mod with %q", start, module)
		}
	}
}

// Ensure builds the sets, and Cluster in any case, and tells on progress what takes time. If all is up to date, it
// takes a second or two. Calls of several processes wait for each other.
func Ensure(ctx context.Context, progress io.Writer, sets ...Set) (Dir, error) {
	d, err := Find()
	if err != nil {
		return "", err
	}
	if os.Geteuid() != 0 {
		return "", errors.New("a lab is made of namespaces, mounts and cgroups: run as root")
	}
	for _, dir := range []string{d.BinDir(), filepath.Dir(d.Image("x"))} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return "", err
		}
	}
	b := builder{dir: d, progress: newProgress(progress)}
	var unlock func()
	err = b.progress.step("waiting for another build", func(func(string)) (err error) {
		unlock, err = lock(ctx, filepath.Join(string(d), "lock"))
		return err
	})
	if err != nil {
		return "", err
	}
	defer unlock()
	wanted := map[Set]bool{Cluster: true}
	for _, s := range sets {
		wanted[s] = true
	}
	for _, step := range b.steps(wanted) {
		if err := step(ctx); err != nil {
			return "", err
		}
	}
	return d, nil
}

type builder struct {
	dir      Dir
	progress *progress
}

func (b builder) steps(wanted map[Set]bool) []func(context.Context) error {
	steps := []func(context.Context) error{
		func(ctx context.Context) error { return b.installPackages(ctx, clusterPackages) },
		b.clusterPrograms,
		b.clusterImages,
	}
	if wanted[Product] {
		steps = append(steps, b.productPrograms)
	}
	if wanted[Release] {
		steps = append(steps, b.releaseImages)
	}
	if wanted[E2E] {
		steps = append(steps,
			func(ctx context.Context) error { return b.installPackages(ctx, suitePackages) },
			b.suitePrograms,
			b.suiteImage)
	}
	return steps
}

// lock takes the lock file; the returned function releases it, as does the end of the process.
func lock(ctx context.Context, path string) (func(), error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	taken := make(chan error, 1)
	go func() {
		err := unix.Flock(int(file.Fd()), unix.LOCK_EX)
		for errors.Is(err, unix.EINTR) {
			err = unix.Flock(int(file.Fd()), unix.LOCK_EX)
		}
		taken <- err
	}()
	release := func() { _ = file.Close() }
	select {
	case err := <-taken:
		if err != nil {
			release()
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
		return release, nil
	case <-ctx.Done():
		go func() { <-taken; release() }() //nolint:errcheck // whatever came of it
		return nil, fmt.Errorf("waiting for another build, which holds %s: %w", path, context.Cause(ctx))
	}
}
