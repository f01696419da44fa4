// SPDX-License-Identifier: Apache-2.0

package debian

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os/exec"
	"path"
	"regexp"
	"strings"

	"github.com/clbsync/clbsync/images/image"
)

// Unpack returns the files of a .deb, without directories, that an image needs: no manual pages, translations or
// character sets, but each package's copyright, which its licence wants to go with it. The package's own description is
// added where scanners of images look for it.
func Unpack(ctx context.Context, deb string) ([]image.File, error) {
	content, err := dpkgDeb(ctx, "--fsys-tarfile", deb)
	if err != nil {
		return nil, err
	}
	files, err := filesOf(content)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", deb, err)
	}
	control, err := dpkgDeb(ctx, "--field", deb)
	if err != nil {
		return nil, err
	}
	name, found := field(control, "Package")
	if !found {
		return nil, fmt.Errorf("%s: its control file has no field Package", deb)
	}
	return append(files, image.File{Path: "/var/lib/dpkg/status.d/" + name, Data: control}), nil
}

func dpkgDeb(ctx context.Context, option, deb string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, "dpkg-deb", option, deb)
	var out, complaints bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaints
	if err := cmd.Run(); err != nil {
		return nil, errors.Join(context.Cause(ctx), fmt.Errorf("dpkg-deb %s %s: %w: %s", option, deb, err, &complaints))
	}
	return out.Bytes(), nil
}

// field returns a field of a control file that has one line.
func field(control []byte, name string) (string, bool) {
	for line := range strings.Lines(string(control)) {
		if value, found := strings.CutPrefix(line, name+":"); found {
			return strings.TrimSpace(value), true
		}
	}
	return "", false
}

// unneeded are files that no program in the images opens.
var unneeded = regexp.MustCompile(`^/usr/share/(man|locale|lintian|bug|info|doc-base|examples|gcc|nftables|zsh|bash-completion)/|` +
	`^/usr/share/doc/[^/]+/(?:[^c]|c[^o]).*|` +
	`^/usr/share/perl5/|^(/usr)?/lib/[^/]+/gconv/|^/usr/lib/[^/]+/audit/|^/lib/systemd/|^/usr/sbin/update-|^/etc/(ca-certificates|nftables)`)

// filesOf reads the tar of a package.
func filesOf(content []byte) ([]image.File, error) {
	var files []image.File
	data := map[string][]byte{} // of regular files, for hard links to them
	for r := tar.NewReader(bytes.NewReader(content)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return files, nil
		}
		if err != nil {
			return nil, err
		}
		name := path.Join("/", h.Name)
		f := image.File{Path: name, Mode: fs.FileMode(h.Mode).Perm()}
		switch h.Typeflag {
		case tar.TypeDir:
			continue
		case tar.TypeSymlink:
			f = image.File{Path: name, Link: h.Linkname}
		case tar.TypeLink:
			linked, known := data[path.Join("/", h.Linkname)]
			if !known {
				return nil, fmt.Errorf("file %s is a link to %s, which does not come before it", name, h.Linkname)
			}
			f.Data = linked
		case tar.TypeReg:
			if h.Mode&0o6000 != 0 {
				return nil, fmt.Errorf("file %s runs with another user's rights (mode %o): an image must have none such", name, h.Mode)
			}
			if f.Data, err = io.ReadAll(r); err != nil {
				return nil, err
			}
			data[name] = f.Data
		default:
			return nil, fmt.Errorf("file %s is of type %q: want a regular file, a directory or a link", name, h.Typeflag)
		}
		if !unneeded.MatchString(name) {
			files = append(files, f)
		}
	}
}
