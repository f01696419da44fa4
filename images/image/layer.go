// SPDX-License-Identifier: Apache-2.0

package image

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
)

// layer is a layer whose digest is known.
type layer struct {
	entries []File
	diffID  digest.Digest // of the uncompressed tar
	size    int64         // of the same, in bytes
}

func newLayer(files []File) (layer, error) {
	entries, err := layerEntries(files)
	if err != nil {
		return layer{}, err
	}
	digester := digest.Canonical.Digester()
	counted := &counter{w: digester.Hash()}
	if err := writeLayer(counted, entries); err != nil {
		return layer{}, err
	}
	return layer{entries: entries, diffID: digester.Digest(), size: counted.n}, nil
}

// write writes the layer's tar, and fails if it is not the one whose digest is known.
func (l layer) write(w io.Writer) error {
	digester := digest.Canonical.Digester()
	if err := writeLayer(io.MultiWriter(w, digester.Hash()), l.entries); err != nil {
		return err
	}
	if digester.Digest() != l.diffID {
		return errors.New("a source file changed while it was read")
	}
	return nil
}

// gzip returns the layer compressed, without a name or a time in it.
func (l layer) gzip() ([]byte, error) {
	var compressed bytes.Buffer
	zw := gzip.NewWriter(&compressed)
	if err := errors.Join(l.write(zw), zw.Close()); err != nil {
		return nil, err
	}
	return compressed.Bytes(), nil
}

// File is one file of an image: exactly one of Source, Data and Link says what is in it. A File with none of them is
// an empty directory if Mode has fs.ModeDir, and an empty file otherwise.
type File struct {
	Path   string      // absolute and clean: "/bin/echo"
	Mode   fs.FileMode // permissions; 0 means 0755 for Source and directories, 0644 for Data
	Source string      // a regular file of this machine, whose content is taken
	Data   []byte      // the content itself
	Link   string      // the target of a symbolic link
}

// layerEntries returns the files with all their parent directories, sorted by path, so that the layer does not
// depend on the order in which they were given.
func layerEntries(files []File) ([]File, error) {
	byPath := map[string]File{}
	for _, f := range files {
		if err := f.check(); err != nil {
			return nil, err
		}
		if _, twice := byPath[f.Path]; twice {
			return nil, fmt.Errorf("file %s is given twice", f.Path)
		}
		byPath[f.Path] = f
	}
	for _, f := range files {
		for dir := path.Dir(f.Path); dir != "/"; dir = path.Dir(dir) {
			parent, known := byPath[dir]
			if known && !parent.Mode.IsDir() {
				return nil, fmt.Errorf("file %s lies below %s, which is not a directory", f.Path, dir)
			}
			if !known {
				byPath[dir] = File{Path: dir, Mode: fs.ModeDir | 0o755}
			}
		}
	}
	return slices.SortedFunc(maps.Values(byPath), func(a, b File) int { return strings.Compare(a.Path, b.Path) }), nil
}

func (f File) check() error {
	if !path.IsAbs(f.Path) || path.Clean(f.Path) != f.Path || f.Path == "/" {
		return fmt.Errorf("file path %q: want an absolute, clean path below /", f.Path)
	}
	kinds := 0
	for _, set := range []bool{f.Source != "", f.Data != nil, f.Link != "", f.Mode.IsDir()} {
		if set {
			kinds++
		}
	}
	if kinds > 1 {
		return fmt.Errorf("file %s: Source, Data, Link and a directory mode exclude each other", f.Path)
	}
	return nil
}

// writeLayer writes the entries as an uncompressed layer tar, owned by root.
func writeLayer(w io.Writer, entries []File) error {
	tw := tar.NewWriter(w)
	for _, f := range entries {
		if err := writeFile(tw, f); err != nil {
			return fmt.Errorf("file %s: %w", f.Path, err)
		}
	}
	return tw.Close()
}

func writeFile(tw *tar.Writer, f File) error {
	h := &tar.Header{Name: strings.TrimPrefix(f.Path, "/"), ModTime: epoch, Format: tar.FormatPAX}
	permissions := func(unset int64) int64 {
		if f.Mode.Perm() == 0 {
			return unset
		}
		return int64(f.Mode.Perm())
	}
	switch {
	case f.Mode.IsDir():
		h.Typeflag, h.Name, h.Mode = tar.TypeDir, h.Name+"/", permissions(0o755)
		if f.Mode&fs.ModeSticky != 0 {
			h.Mode |= 0o1000
		}
		return tw.WriteHeader(h)
	case f.Link != "":
		h.Typeflag, h.Linkname, h.Mode = tar.TypeSymlink, f.Link, 0o777
		return tw.WriteHeader(h)
	case f.Source != "":
		h.Mode = permissions(0o755)
		return writeSource(tw, h, f.Source)
	default:
		h.Typeflag, h.Size, h.Mode = tar.TypeReg, int64(len(f.Data)), permissions(0o644)
		if err := tw.WriteHeader(h); err != nil {
			return err
		}
		_, err := io.Copy(tw, bytes.NewReader(f.Data))
		return err
	}
}

func writeSource(tw *tar.Writer, h *tar.Header, source string) error {
	in, err := os.Open(source)
	if err != nil {
		return err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("source %s is not a regular file", source)
	}
	h.Typeflag, h.Size = tar.TypeReg, info.Size()
	if err := tw.WriteHeader(h); err != nil {
		return err
	}
	// A source that grew is found by the tar writer, one that shrank here: the next header would land inside it.
	n, err := io.Copy(tw, in)
	if err == nil && n != info.Size() {
		err = fmt.Errorf("source %s shrank from %d to %d bytes while it was read", source, info.Size(), n)
	}
	return err
}
