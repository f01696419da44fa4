// SPDX-License-Identifier: Apache-2.0

package image

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// WriteTree writes the files of all layers into a directory, which it makes where there is none, for a Dockerfile that
// copies them. Directories and files are dated as in an image.
func WriteTree(dir string, c Config) error {
	entries, err := layerEntries(slices.Concat(c.Base, c.Files))
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, f := range entries {
		if err := f.writeTo(filepath.Join(dir, f.Path)); err != nil {
			return fmt.Errorf("file %s: %w", f.Path, err)
		}
	}
	for _, f := range slices.Backward(entries) { // a directory's time changes with each file in it
		if f.Link != "" {
			continue
		}
		if err := os.Chtimes(filepath.Join(dir, f.Path), epoch, epoch); err != nil {
			return err
		}
	}
	return nil
}

func (f File) writeTo(path string) error {
	mode := f.Mode.Perm()
	switch {
	case f.Mode.IsDir():
		if mode == 0 {
			mode = 0o755
		}
		if err := os.MkdirAll(path, 0o755); err != nil {
			return err
		}
		return os.Chmod(path, mode|f.Mode&fs.ModeSticky)
	case f.Link != "":
		return os.Symlink(f.Link, path)
	}
	content := f.Data
	if f.Source != "" {
		var err error
		if content, err = os.ReadFile(f.Source); err != nil {
			return err
		}
	}
	if mode == 0 && f.Source != "" {
		mode = 0o755
	} else if mode == 0 {
		mode = 0o644
	}
	if err := os.WriteFile(path, content, mode); err != nil {
		return err
	}
	return os.Chmod(path, mode) // whatever the umask is
}
