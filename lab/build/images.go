// SPDX-License-Identifier: Apache-2.0

package build

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/clbsync/clbsync/images"
	"github.com/clbsync/clbsync/images/debian"
	"github.com/clbsync/clbsync/images/image"
)

// Names of the images, as pods say them.
const (
	PauseRef   = "lab.clbsync.io/pause:dev"
	EchoRef    = "lab.clbsync.io/echo:dev"
	AgnhostRef = "registry.k8s.io/e2e-test-images/agnhost:2.66.1" // the one that the upstream suite of kubeVersion asks for
)

func (b builder) clusterImages(context.Context) error {
	return errors.Join(
		b.writeImage("pause", image.Config{
			Ref:        PauseRef,
			Entrypoint: []string{"/pause"},
			Files:      []image.File{{Path: "/pause", Source: b.dir.Bin("pause")}},
		}),
		b.writeImage("echo", image.Config{
			Ref:        EchoRef,
			Entrypoint: []string{"/echo"},
			Files:      []image.File{{Path: "/echo", Source: b.dir.Bin("echo")}},
		}))
}

// ReleaseTag is the tag of the images of Release; their registry is images.Registry.
const ReleaseTag = "lab"

// What the programs in them say of themselves.
const (
	ReleaseVersion = "v99.0.0"
	ReleaseCommit  = "1ab1ab1ab1ab"
)

// releaseImages builds the product's images by the product's own builder. Their programs are compiled apart from those
// in BinDir, which paths of this machine are in.
func (b builder) releaseImages(ctx context.Context) error {
	return b.progress.step("build clbsync's images", func(note func(string)) error {
		work := filepath.Join(string(b.dir), "release")
		if err := os.MkdirAll(work, 0o755); err != nil {
			return err
		}
		for _, i := range images.All {
			note(i.Name)
			built, err := images.Builder{
				Root: b.dir.Root(), Registry: images.Registry, Tag: ReleaseTag, Stamps: images.Stamps{Version: ReleaseVersion, Commit: ReleaseCommit, Time: time.Unix(0, 0)},
				Debian: debian.Store(filepath.Join(string(b.dir), "debian")), Work: work,
			}.Build(ctx, i, runtime.GOARCH)
			if err != nil {
				return err
			}
			if err := b.writeImage(i.Name, built.Config); err != nil {
				return err
			}
		}
		return nil
	})
}

// writeImage writes the image as a docker-archive.
func (b builder) writeImage(name string, config image.Config) error {
	err := images.WriteFile(b.dir.Image(name), func(f *os.File) error { return image.Write(f, config) })
	if err != nil {
		return fmt.Errorf("image %s: %w", name, err)
	}
	return nil
}
