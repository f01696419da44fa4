// SPDX-License-Identifier: Apache-2.0

// Command build builds the product's container images without a container engine; package images says how.
//
// For each image it writes an OCI archive with all architectures, and for each architecture a docker-archive, an SPDX
// document and the list of Debian packages, from which the image can be built again.
package main

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/clbsync/clbsync/images"
	"github.com/clbsync/clbsync/images/debian"
	"github.com/clbsync/clbsync/images/image"
)

const help = `Builds the container images of clbsync, without a container engine, on Debian.

Usage: go run ./images/build [flags] [IMAGE...]

  NAME.oci.tar                  OCI archive for all architectures: skopeo copy --all oci-archive:NAME.oci.tar docker://…
  NAME_linux_ARCH.docker.tar    docker load, ctr images import
  NAME_linux_ARCH.spdx.json     what is in it
  NAME_linux_ARCH.packages      its Debian packages; with --packages DIR the image is built from the same again
  digests.txt, SHA256SUMS       the digests that registries show, and the files' checksums

Flags:
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx, os.Args[1:], os.Stdout)
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "images:", err)
		os.Exit(1)
	}
}

type options struct {
	out, rootfs, packages, archs string
	builder                      images.Builder
	version, commit, at          string
}

func run(ctx context.Context, args []string, stdout io.Writer) error {
	var o options
	flags := flag.NewFlagSet("build", flag.ContinueOnError)
	flags.SetOutput(stdout)
	flags.Usage = func() { fmt.Fprint(stdout, help); flags.PrintDefaults() }
	flags.StringVar(&o.out, "out", "bin/images", "`directory` for what is written")
	flags.StringVar(&o.archs, "arch", strings.Join(images.Architectures, ","), "architectures, with commas between")
	flags.StringVar(&o.builder.Registry, "registry", images.Registry, "host and path before the images' names")
	flags.StringVar(&o.builder.Tag, "tag", "", "of the images; default: the version")
	flags.StringVar(&o.version, "version", "", "default: what git describes")
	flags.StringVar(&o.commit, "commit", "", "default: git's")
	flags.StringVar(&o.at, "time", os.Getenv("SOURCE_DATE_EPOCH"), "of the source, in seconds since 1970; default: SOURCE_DATE_EPOCH, then the commit's")
	flags.StringVar(&o.packages, "packages", "", "`directory` with .packages files of an earlier build: use exactly these Debian packages")
	flags.BoolVar(&o.builder.Fresh, "fresh", false, "ask Debian's archive for its newest versions, also where packages are at hand")
	flags.StringVar(&o.rootfs, "rootfs", "", "write the files of the one image, for one architecture, into this `directory` and no archive")
	store := flags.String("store", "", "`directory` that keeps Debian packages; default: in the user's cache")
	if err := flags.Parse(args); err != nil {
		return err
	}
	var err error
	if o.builder.Debian, err = debianStore(*store); err != nil {
		return err
	}
	chosen := images.All
	if flags.NArg() > 0 {
		chosen = nil
		for _, name := range flags.Args() {
			i, err := images.Find(name)
			if err != nil {
				return err
			}
			chosen = append(chosen, i)
		}
	}
	return o.build(ctx, chosen, stdout)
}

func debianStore(dir string) (debian.Store, error) {
	if dir != "" {
		abs, err := filepath.Abs(dir)
		return debian.Store(abs), err
	}
	return images.DefaultStore()
}

func (o options) build(ctx context.Context, chosen []images.Image, stdout io.Writer) error {
	here, err := os.Getwd()
	if err != nil {
		return err
	}
	b := &o.builder
	if b.Root, err = images.Root(here); err != nil {
		return err
	}
	if b.Stamps, err = o.stamps(ctx, b.Root); err != nil {
		return err
	}
	b.Tag = cmp.Or(b.Tag, images.TagOf(b.Stamps.Version))
	archs := strings.Split(o.archs, ",")
	for _, arch := range archs {
		if !slices.Contains(images.Architectures, arch) {
			return fmt.Errorf("--arch %q: want of %s", arch, strings.Join(images.Architectures, ", "))
		}
	}
	if b.Work, err = os.MkdirTemp("", "clbsync-images-"); err != nil {
		return err
	}
	defer os.RemoveAll(b.Work)
	if o.packages != "" {
		if b.Fixed, err = readLists(o.packages, chosen, archs); err != nil {
			return err
		}
	}
	if o.rootfs != "" {
		return o.writeRoot(ctx, chosen, archs)
	}
	if err := os.MkdirAll(o.out, 0o755); err != nil {
		return err
	}
	return o.writeAll(ctx, chosen, archs, stdout)
}

// stamps are those that were given, and git's where none was.
func (o options) stamps(ctx context.Context, root string) (images.Stamps, error) {
	var s images.Stamps
	if o.version == "" || o.commit == "" || o.at == "" {
		var err error
		if s, err = images.StampsOf(ctx, root); err != nil {
			return s, err
		}
	}
	s.Version, s.Commit = cmp.Or(o.version, s.Version), cmp.Or(o.commit, s.Commit)
	var err error
	if o.at != "" {
		s.Time, err = images.Seconds(o.at)
	}
	return s, err
}

func listFile(name, arch string) string { return name + "_linux_" + arch + ".packages" }

func readLists(dir string, chosen []images.Image, archs []string) (map[string]debian.List, error) {
	lists := map[string]debian.List{}
	for _, i := range chosen {
		for _, arch := range archs {
			file, err := os.Open(filepath.Join(dir, listFile(i.Name, arch)))
			if err != nil {
				return nil, err
			}
			list, err := debian.ReadList(file)
			if err := errors.Join(err, file.Close()); err != nil {
				return nil, fmt.Errorf("%s: %w", file.Name(), err)
			}
			lists[i.Name+"/"+arch] = list
		}
	}
	return lists, nil
}

func (o options) writeRoot(ctx context.Context, chosen []images.Image, archs []string) error {
	if len(chosen) != 1 || len(archs) != 1 {
		return errors.New("--rootfs takes one image and one --arch")
	}
	built, err := o.builder.Build(ctx, chosen[0], archs[0])
	if err != nil {
		return err
	}
	return image.WriteTree(o.rootfs, built.Config)
}

func (o options) writeAll(ctx context.Context, chosen []images.Image, archs []string, stdout io.Writer) error {
	var files []string
	write := func(name string, content func(io.Writer) error) error {
		files = append(files, name)
		return images.WriteFile(filepath.Join(o.out, name), func(f *os.File) error { return content(f) })
	}
	bytesOf := func(content []byte) func(io.Writer) error {
		return func(w io.Writer) error { _, err := w.Write(content); return err }
	}
	var digests strings.Builder
	for _, i := range chosen {
		var configs []image.Config
		for _, arch := range archs {
			begin := time.Now()
			built, err := o.builder.Build(ctx, i, arch)
			if err != nil {
				return err
			}
			name := i.Name + "_linux_" + arch
			err = errors.Join(
				write(name+".docker.tar", func(w io.Writer) error { return image.Write(w, built.Config) }),
				write(name+".spdx.json", bytesOf(built.SBOM)),
				write(listFile(i.Name, arch), built.Packages.Write))
			if err != nil {
				return err
			}
			fmt.Fprintf(stdout, "%s for %s: built in %s\n", built.Config.Ref, arch, time.Since(begin).Round(100*time.Millisecond))
			configs = append(configs, built.Config)
		}
		err := write(i.Name+".oci.tar", func(w io.Writer) error {
			digest, err := image.WriteOCI(w, configs...)
			fmt.Fprintf(&digests, "%s@%s\n", configs[0].Ref, digest)
			return err
		})
		if err != nil {
			return err
		}
	}
	if err := write("digests.txt", bytesOf([]byte(digests.String()))); err != nil {
		return err
	}
	fmt.Fprint(stdout, digests.String())
	sums, err := checksums(o.out, files)
	if err != nil {
		return err
	}
	return write("SHA256SUMS", bytesOf(sums))
}

// checksums writes what sha256sum -c reads.
func checksums(dir string, files []string) ([]byte, error) {
	var out []byte
	slices.Sort(files)
	for _, name := range files {
		file, err := os.Open(filepath.Join(dir, name))
		if err != nil {
			return nil, err
		}
		hash := sha256.New()
		_, err = io.Copy(hash, file)
		if err := errors.Join(err, file.Close()); err != nil {
			return nil, err
		}
		out = fmt.Appendf(out, "%x  %s\n", hash.Sum(nil), name)
	}
	return out, nil
}
