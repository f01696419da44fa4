// SPDX-License-Identifier: Apache-2.0

package build

import (
	"context"
	"errors"
	"fmt"
	"os"

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

// writeImage writes the image as a whole or not at all: another process may be loading the old one.
func (b builder) writeImage(name string, config image.Config) error {
	path := b.dir.Image(name)
	file, err := os.CreateTemp(string(b.dir), name+"-*.tar")
	if err != nil {
		return err
	}
	err = errors.Join(image.Write(file, config), file.Close())
	if err == nil {
		err = os.Rename(file.Name(), path)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("image %s: %w", name, err), os.Remove(file.Name()))
	}
	return nil
}
