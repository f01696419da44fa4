// SPDX-License-Identifier: Apache-2.0

package debian

import (
	"bufio"
	"encoding/hex"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strings"
)

// Package is one version of a package for one architecture.
type Package struct {
	Name    string
	Version string // with its epoch, if it has one: "1:1.4.7-1+b2"
	Arch    string // of the package: as Debian names it, or "all"
	SHA256  string // of the .deb, in hexadecimal; empty until it is there
}

// File is the name under which apt saves the package.
func (p Package) File() string {
	return p.Name + "_" + strings.ReplaceAll(p.Version, ":", "%3a") + "_" + p.Arch + ".deb"
}

func (p Package) compare(q Package) int {
	return strings.Compare(p.Name+" "+p.Arch, q.Name+" "+q.Arch)
}

// packageOfFile reads the name of a .deb.
func packageOfFile(file string) (Package, error) {
	fields := strings.Split(strings.TrimSuffix(file, ".deb"), "_")
	if !strings.HasSuffix(file, ".deb") || len(fields) != 3 {
		return Package{}, fmt.Errorf("file %q: want NAME_VERSION_ARCH.deb", file)
	}
	version, err := url.PathUnescape(fields[1])
	if err != nil {
		return Package{}, fmt.Errorf("file %q: %w", file, err)
	}
	return Package{Name: fields[0], Version: version, Arch: fields[2]}, nil
}

// List is the packages of an image, sorted by name.
type List []Package

// Write writes the list, a line per package: "NAME VERSION ARCH SHA256".
func (l List) Write(w io.Writer) error {
	for _, p := range l {
		if _, err := fmt.Fprintf(w, "%s %s %s %s\n", p.Name, p.Version, p.Arch, p.SHA256); err != nil {
			return err
		}
	}
	return nil
}

// ReadList reads what Write has written. Empty lines and those that begin with # are passed over.
func ReadList(r io.Reader) (List, error) {
	var list List
	scanner := bufio.NewScanner(r)
	for n := 1; scanner.Scan(); n++ {
		line := strings.TrimSpace(scanner.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		fields := strings.Fields(line)
		if len(fields) != 4 {
			return nil, fmt.Errorf("line %d %q: want NAME VERSION ARCH SHA256", n, line)
		}
		if sum, err := hex.DecodeString(fields[3]); err != nil || len(sum) != 32 {
			return nil, fmt.Errorf("line %d: checksum %q: want a SHA-256 of 64 hexadecimal digits", n, fields[3])
		}
		list = append(list, Package{Name: fields[0], Version: fields[1], Arch: fields[2], SHA256: fields[3]})
	}
	slices.SortFunc(list, Package.compare)
	return list, scanner.Err()
}
