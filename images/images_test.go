// SPDX-License-Identifier: Apache-2.0

package images

import (
	"bytes"
	"crypto/x509"
	"debug/elf"
	"encoding/pem"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/clbsync/clbsync/images/debian"
	"github.com/clbsync/clbsync/images/image"
)

// stamps are a release's.
var stamps = Stamps{Version: "v1.2.3", Commit: strings.Repeat("0123abcd", 5), Time: time.Unix(1_800_000_000, 0).UTC()}

// copySource copies what git has of the repository, so that the copy has neither its history nor what was built in it.
func copySource(t *testing.T, root string) string {
	t.Helper()
	list := exec.CommandContext(t.Context(), "git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", "go.mod", "go.sum", "*.go", ":!lab")
	list.Dir = root
	out, err := list.Output()
	if err != nil {
		t.Fatal(err)
	}
	// A longer path than the original's: one that leaks would move everything behind it.
	to := filepath.Join(t.TempDir(), strings.Repeat("elsewhere-", 8))
	for name := range strings.SplitSeq(strings.TrimRight(string(out), "\x00"), "\x00") {
		content, err := os.ReadFile(filepath.Join(root, name))
		if os.IsNotExist(err) { // deleted and not yet committed
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		at := filepath.Join(to, name)
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(at, content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return to
}

func source(t *testing.T) string {
	t.Helper()
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	root, err := Root(here)
	if err != nil {
		t.Fatal(err)
	}
	return root
}

func builderAt(t *testing.T, root string) Builder {
	t.Helper()
	store, err := DefaultStore()
	if err != nil {
		t.Fatal(err)
	}
	return Builder{Root: root, Registry: Registry, Tag: TagOf(stamps.Version), Stamps: stamps, Debian: store, Work: t.TempDir()}
}

// output is all that is written of an image.
type output struct {
	built              Built
	docker, oci, lists []byte
	digest             string
}

func build(t *testing.T, b Builder, i Image) output {
	t.Helper()
	built, err := b.Build(t.Context(), i, "amd64")
	if err != nil {
		t.Fatal(err)
	}
	var docker, oci, lists bytes.Buffer
	if err := image.Write(&docker, built.Config); err != nil {
		t.Fatal(err)
	}
	digest, err := image.WriteOCI(&oci, built.Config)
	if err != nil {
		t.Fatal(err)
	}
	if err := built.Packages.Write(&lists); err != nil {
		t.Fatal(err)
	}
	return output{built, docker.Bytes(), oci.Bytes(), lists.Bytes(), digest.String()}
}

// Two people who build the same release get the same images, wherever they keep the source and with or without git. The
// second one builds from the list of Debian packages that the first one left.
func TestImagesBuiltTwiceInDifferentPlacesAreTheSame(t *testing.T) {
	root := source(t)
	elsewhere := copySource(t, root)
	for _, i := range All {
		t.Run(i.Name, func(t *testing.T) {
			first := build(t, builderAt(t, root), i)
			again := builderAt(t, elsewhere)
			list, err := debian.ReadList(bytes.NewReader(first.lists))
			if err != nil {
				t.Fatal(err)
			}
			again.Fixed = map[string]debian.List{i.Name + "/amd64": list}
			second := build(t, again, i)
			for what, same := range map[string]bool{
				"docker-archive":   bytes.Equal(first.docker, second.docker),
				"OCI archive":      bytes.Equal(first.oci, second.oci) && first.digest == second.digest,
				"SPDX document":    bytes.Equal(first.built.SBOM, second.built.SBOM),
				"list of packages": bytes.Equal(first.lists, second.lists),
			} {
				if !same {
					t.Errorf("the second %s differs from the first", what)
				}
			}
			for _, path := range []string{root, elsewhere, os.TempDir() + "/go-build"} {
				if bytes.Contains(first.docker, []byte(path)) {
					t.Errorf("the image holds a path of the machine that built it: %s", path)
				}
			}
			other := builderAt(t, root)
			other.Stamps.Version = "v1.2.4"
			if third := build(t, other, i); third.digest == first.digest {
				t.Error("another version has the same digest")
			}
			checkContent(t, i, first)
		})
	}
}

// checkContent looks at what is in an image as those do who run it.
func checkContent(t *testing.T, i Image, o output) {
	t.Helper()
	files := map[string]image.File{}
	for _, f := range slices.Concat(o.built.Config.Base, o.built.Config.Files) {
		files[f.Path] = f
	}
	program := "/" + i.Name
	says, err := exec.CommandContext(t.Context(), files[program].Source, "--version").CombinedOutput()
	if err != nil || !strings.Contains(string(says), i.Name+" v1.2.3 (commit 0123abcd0123,") {
		t.Errorf("%s --version says %q, %v; want its version and commit", program, says, err)
	}
	if !bytes.Contains(files["/etc/os-release"].Data, []byte(`ID="debian"`)) {
		t.Error("/etc/os-release does not say what the packages are: scanners would pass them over")
	}
	for _, p := range o.built.Packages {
		if !strings.Contains(string(o.built.SBOM), fmt.Sprintf("pkg:deb/debian/%s@", strings.ReplaceAll(p.Name, "+", "%2B"))) {
			t.Errorf("the SPDX document lacks the package %s", p.Name)
		}
	}
	for _, module := range []string{"pkg:golang/stdlib@", "pkg:golang/k8s.io/client-go@"} {
		if !bytes.Contains(o.built.SBOM, []byte(module)) {
			t.Errorf("the SPDX document lacks %s", module)
		}
	}
	if cloud := bytes.Contains(o.built.SBOM, []byte("tencentcloud-sdk-go")); cloud != (i.Name == "clb-cloud-controller-manager") {
		t.Errorf("%s is linked with the cloud's SDK: %t", i.Name, cloud)
	}
	switch i.Name {
	case "clb-cloud-controller-manager":
		checkAuthorities(t, files["/etc/ssl/certs/ca-certificates.crt"].Data)
		if o.built.Config.User == "" || o.built.Config.User == "0" {
			t.Error("the controller runs as root")
		}
	case "clb-node-agent":
		for _, tool := range []string{"iptables-legacy-restore", "iptables-nft-restore", "ip6tables-legacy-save", "ip6tables-nft-save", "nft", "conntrack"} {
			checkProgram(t, files, "/usr/sbin/"+tool)
		}
	}
}

func checkAuthorities(t *testing.T, bundle []byte) {
	t.Helper()
	n := 0
	for rest := bundle; ; n++ {
		block, more := pem.Decode(rest)
		if block == nil {
			break
		}
		if _, err := x509.ParseCertificate(block.Bytes); err != nil {
			t.Errorf("certificate %d of the bundle: %v", n, err)
		}
		rest = more
	}
	if n < 50 {
		t.Errorf("%d authorities in the bundle: the cloud's API could not be trusted", n)
	}
}

// checkProgram fails the test unless the program and every library that it loads are in the image.
func checkProgram(t *testing.T, files map[string]image.File, path string) {
	t.Helper()
	for files[path].Link != "" {
		path = filepath.Join(filepath.Dir(path), files[path].Link)
	}
	f, found := files[path]
	if !found {
		t.Errorf("the image has no %s", path)
		return
	}
	e, err := elf.NewFile(bytes.NewReader(f.Data))
	if err != nil {
		t.Errorf("%s: %v", path, err)
		return
	}
	needed, err := e.ImportedLibraries()
	if err != nil {
		t.Fatal(err)
	}
	for _, library := range needed {
		if !slices.ContainsFunc([]string{"/lib/x86_64-linux-gnu/", "/usr/lib/x86_64-linux-gnu/"}, func(dir string) bool {
			_, there := files[dir+library]
			return there
		}) {
			t.Errorf("%s loads %s, which is not in the image", path, library)
		}
	}
	for _, p := range e.Progs {
		if p.Type == elf.PT_INTERP {
			loader, err := io.ReadAll(p.Open())
			if err != nil {
				t.Fatal(err)
			}
			if name := strings.TrimRight(string(loader), "\x00"); files[name].Data == nil && files[name].Link == "" {
				t.Errorf("%s is started by %s, which is not in the image", path, name)
			}
		}
	}
}

func TestUnknownImageIsNamed(t *testing.T) {
	if _, err := Find("clbsim"); err == nil || !strings.Contains(err.Error(), "clb-node-agent") {
		t.Errorf("error = %v, want one that names those there are", err)
	}
}

func TestOnlyDebianMakesImages(t *testing.T) {
	root := t.TempDir()
	if err := os.Mkdir(filepath.Join(root, "etc"), 0o755); err != nil {
		t.Fatal(err)
	}
	osRelease := func(text string) (release, error) {
		if err := os.WriteFile(filepath.Join(root, "etc/os-release"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return readRelease(root)
	}
	if _, err := osRelease("PRETTY_NAME=\"Fedora Linux 44\"\nID=fedora\nVERSION_ID=44\n"); err == nil || !strings.Contains(err.Error(), "Fedora") {
		t.Errorf("error = %v, want one that names Fedora", err)
	}
	r, err := osRelease("PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nID=debian\nVERSION_ID=\"12\"\nVERSION_CODENAME=bookworm\nHOME_URL=x\n")
	if err != nil || r.distro != "debian-12" || bytes.Contains(r.file.Data, []byte("HOME_URL")) {
		t.Errorf("Debian 12 is read as %q with %q, %v", r.distro, r.file.Data, err)
	}
}
