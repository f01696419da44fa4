// SPDX-License-Identifier: Apache-2.0

package image

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// layout is an OCI archive by file.
type layout map[string]string

func writeOCI(t *testing.T, configs ...Config) (layout, digest.Digest) {
	t.Helper()
	var b bytes.Buffer
	index, err := WriteOCI(&b, configs...)
	if err != nil {
		t.Fatal(err)
	}
	files := layout{}
	for _, e := range readTar(t, b.Bytes()) {
		if _, twice := files[e.Name]; twice {
			t.Errorf("%s is in the archive twice", e.Name)
		}
		files[e.Name] = e.Content
	}
	return files, index
}

// blob returns what a descriptor names, and fails the test if it is not what it says.
func (l layout) blob(t *testing.T, d ocispec.Descriptor) string {
	t.Helper()
	content, found := l["blobs/sha256/"+d.Digest.Encoded()]
	if !found || int64(len(content)) != d.Size || digest.FromString(content) != d.Digest {
		t.Fatalf("%s of %d bytes, %s: not in the archive as described", d.MediaType, d.Size, d.Digest)
	}
	return content
}

func (l layout) json(t *testing.T, d ocispec.Descriptor, into any) {
	t.Helper()
	if err := json.Unmarshal([]byte(l.blob(t, d)), into); err != nil {
		t.Fatal(err)
	}
}

// forBoth returns an image for two architectures that share their base.
func forBoth(t *testing.T) []Config {
	t.Helper()
	var both []Config
	for _, arch := range []string{"amd64", "arm64"} {
		c := testConfig(t)
		c.Arch, c.User = arch, "65532:65532"
		c.Labels = map[string]string{"org.opencontainers.image.version": "v1.2.3"}
		c.Base = []File{{Path: "/etc/os-release", Data: []byte("ID=debian\n")}}
		c.Env = append(c.Env, "ARCH="+arch)
		both = append(both, c)
	}
	return both
}

func TestOCIArchive(t *testing.T) {
	configs := forBoth(t)
	files, named := writeOCI(t, configs...)
	if files["oci-layout"] != `{"imageLayoutVersion":"1.0.0"}` {
		t.Errorf("oci-layout is %s", files["oci-layout"])
	}
	var top, index ocispec.Index
	if err := json.Unmarshal([]byte(files["index.json"]), &top); err != nil {
		t.Fatal(err)
	}
	if len(top.Manifests) != 1 || top.Manifests[0].Digest != named || top.Manifests[0].Annotations[ocispec.AnnotationRefName] != "dev" {
		t.Fatalf("index.json has %+v, want the one image %s named dev", top.Manifests, named)
	}
	files.json(t, top.Manifests[0], &index)
	if len(index.Manifests) != 2 {
		t.Fatalf("the image is for %d architectures, want 2", len(index.Manifests))
	}
	for i, described := range index.Manifests {
		if p := described.Platform; p == nil || p.OS != "linux" || p.Architecture != configs[i].Arch {
			t.Errorf("manifest %d is for %+v, want linux/%s", i, p, configs[i].Arch)
		}
		var m ocispec.Manifest
		files.json(t, described, &m)
		if id, err := ID(configs[i]); err != nil || m.Config.Digest != id {
			t.Errorf("config %s, %v; the docker-archive has %s", m.Config.Digest, err, id)
		}
		var config ocispec.Image
		files.json(t, m.Config, &config)
		if config.Architecture != configs[i].Arch || config.Config.User != "65532:65532" {
			t.Errorf("config is for %s and user %q", config.Architecture, config.Config.User)
		}
		if diff := cmp.Diff(configs[i].Labels, config.Config.Labels); diff != "" {
			t.Errorf("labels (-want +got):\n%s", diff)
		}
		if len(m.Layers) != 2 || len(config.RootFS.DiffIDs) != 2 {
			t.Fatalf("%d layers and %d diff_ids, want a base and the files", len(m.Layers), len(config.RootFS.DiffIDs))
		}
		for j, l := range m.Layers {
			zr, err := gzip.NewReader(strings.NewReader(files.blob(t, l)))
			if err != nil {
				t.Fatal(err)
			}
			content, err := io.ReadAll(zr)
			if err != nil {
				t.Fatal(err)
			}
			if digest.FromBytes(content) != config.RootFS.DiffIDs[j] {
				t.Errorf("layer %d is not the one whose diff_id the config has", j)
			}
		}
	}
	again, sameName := writeOCI(t, configs...)
	if diff := cmp.Diff(files, again); diff != "" || named != sameName {
		t.Errorf("the same image gave another archive: %s", diff)
	}
}

func TestOCIArchiveOfDifferentNamesIsRefused(t *testing.T) {
	configs := forBoth(t)
	configs[1].Ref = "lab.clbsync.io/other:dev"
	if _, err := WriteOCI(io.Discard, configs...); err == nil || !strings.Contains(err.Error(), "other:dev") {
		t.Errorf("error = %v, want one that names the other image", err)
	}
	if _, err := WriteOCI(io.Discard); err == nil {
		t.Error("an image for no architecture was written")
	}
}

func TestTreeHasTheImagesFiles(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "image") // in the Dockerfile too there is none before
	c := testConfig(t)
	c.Base = []File{{Path: "/agent", Data: []byte("ELF")}, {Path: "/etc/os-release", Data: []byte("ID=debian\n")}}
	if err := WriteTree(dir, c); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		"bin/echo": "ELF, more or less", "bin/sh": "ELF, more or less", "etc/hosts": "127.0.0.1 localhost\n", "etc/os-release": "ID=debian\n",
		"agent": "ELF",
	} {
		if got, err := os.ReadFile(filepath.Join(dir, path)); err != nil || string(got) != want {
			t.Errorf("%s is %q, %v; want %q", path, got, err, want)
		}
	}
	for path, mode := range map[string]os.FileMode{"bin/echo": 0o755, "etc/hosts": 0o644, "tmp": os.ModeDir | os.ModeSticky | 0o777, "etc": os.ModeDir | 0o755} {
		info, err := os.Stat(filepath.Join(dir, path))
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode() != mode || !info.ModTime().Equal(epoch) {
			t.Errorf("%s has mode %s and time %s, want %s and 1970", path, info.Mode(), info.ModTime(), mode)
		}
	}
}
