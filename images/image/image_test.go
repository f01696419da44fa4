// SPDX-License-Identifier: Apache-2.0

package image

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// entry is what a reader of a tar sees of one file.
type entry struct {
	Name, Link, Content string
	Type                byte
	Mode                int64
}

func readTar(t *testing.T, archive []byte) []entry {
	t.Helper()
	var out []entry
	r := tar.NewReader(bytes.NewReader(archive))
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		if h.Uid != 0 || h.Gid != 0 || h.Uname != "" || !h.ModTime.Equal(epoch) {
			t.Errorf("%s carries the builder's owner or time: uid %d gid %d uname %q time %s", h.Name, h.Uid, h.Gid, h.Uname, h.ModTime)
		}
		out = append(out, entry{Name: h.Name, Link: h.Linkname, Content: string(content), Type: h.Typeflag, Mode: h.Mode})
	}
}

func write(t *testing.T, c Config) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := Write(&b, c); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func testConfig(t *testing.T) Config {
	t.Helper()
	program := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(program, []byte("ELF, more or less"), 0o600); err != nil {
		t.Fatal(err)
	}
	return Config{
		Ref:        "lab.clbsync.io/echo:dev",
		Entrypoint: []string{"/bin/echo"},
		Cmd:        []string{"--tcp=:9000"},
		Env:        []string{"PATH=/bin"},
		Files: []File{
			{Path: "/bin/echo", Source: program},
			{Path: "/bin/sh", Link: "echo"},
			{Path: "/etc/hosts", Data: []byte("127.0.0.1 localhost\n")},
			{Path: "/tmp", Mode: fs.ModeDir | fs.ModeSticky | 0o777},
		},
	}
}

func TestArchive(t *testing.T) {
	files := map[string]string{}
	var order []string
	for _, e := range readTar(t, write(t, testConfig(t))) {
		files[e.Name] = e.Content
		order = append(order, e.Name)
	}
	if order[0] != "manifest.json" {
		t.Errorf("archive starts with %s, want manifest.json: an importer that streams needs it first", order[0])
	}
	var manifests []manifest
	if err := json.Unmarshal([]byte(files["manifest.json"]), &manifests); err != nil {
		t.Fatal(err)
	}
	if len(manifests) != 1 || len(manifests[0].Layers) != 1 {
		t.Fatalf("manifests = %+v, want one image with one layer", manifests)
	}
	m := manifests[0]
	if want := []string{"lab.clbsync.io/echo:dev"}; !slices.Equal(m.RepoTags, want) {
		t.Errorf("RepoTags = %v, want %v", m.RepoTags, want)
	}
	if want := digest.FromString(files[m.Config]).Encoded() + ".json"; m.Config != want {
		t.Errorf("config is named %s, its content has %s", m.Config, want)
	}
	layer := digest.FromString(files[m.Layers[0]])
	if want := layer.Encoded() + ".tar"; m.Layers[0] != want {
		t.Errorf("layer is named %s, its content has %s", m.Layers[0], want)
	}
	var config ocispec.Image
	if err := json.Unmarshal([]byte(files[m.Config]), &config); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]digest.Digest{layer}, config.RootFS.DiffIDs); diff != "" {
		t.Errorf("diff_ids do not name the layer (-want +got):\n%s", diff)
	}
	want := ocispec.ImageConfig{Entrypoint: []string{"/bin/echo"}, Cmd: []string{"--tcp=:9000"}, Env: []string{"PATH=/bin"}}
	if diff := cmp.Diff(want, config.Config); diff != "" {
		t.Errorf("config (-want +got):\n%s", diff)
	}
	wantFiles := []entry{
		{Name: "bin/", Type: tar.TypeDir, Mode: 0o755},
		{Name: "bin/echo", Type: tar.TypeReg, Mode: 0o755, Content: "ELF, more or less"},
		{Name: "bin/sh", Type: tar.TypeSymlink, Mode: 0o777, Link: "echo"},
		{Name: "etc/", Type: tar.TypeDir, Mode: 0o755},
		{Name: "etc/hosts", Type: tar.TypeReg, Mode: 0o644, Content: "127.0.0.1 localhost\n"},
		{Name: "tmp/", Type: tar.TypeDir, Mode: 0o1777},
	}
	if diff := cmp.Diff(wantFiles, readTar(t, []byte(files[m.Layers[0]]))); diff != "" {
		t.Errorf("layer (-want +got):\n%s", diff)
	}
}

func TestReproducible(t *testing.T) {
	c := testConfig(t)
	first := write(t, c)
	slices.Reverse(c.Files)
	if err := os.Chtimes(c.Files[3].Source, epoch.AddDate(30, 0, 0), epoch.AddDate(30, 0, 0)); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(first, write(t, c)) {
		t.Error("the order of files or the time of a source changed the image")
	}
	c.Env = append(c.Env, "MORE=1")
	if bytes.Equal(first, write(t, c)) {
		t.Error("another environment gave the same image")
	}
}

func TestRefusals(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(*Config)
		want   string
	}{
		{"a name without host would be imported as docker.io/library", func(c *Config) { c.Ref = "echo:dev" }, "want host/name:tag"},
		{"a name without tag would get none", func(c *Config) { c.Ref = "lab.clbsync.io/echo" }, "has no tag"},
		{"nothing to start", func(c *Config) { c.Entrypoint, c.Cmd = nil, nil }, "nothing to start"},
		{"no files", func(c *Config) { c.Files = nil }, "no files"},
		{"a relative path", func(c *Config) { c.Files[0].Path = "bin/echo" }, `"bin/echo"`},
		{"a path that climbs", func(c *Config) { c.Files[0].Path = "/bin/../echo" }, "clean path"},
		{"a path twice", func(c *Config) { c.Files[1].Path = "/bin/echo" }, "/bin/echo is given twice"},
		{"a file below a file", func(c *Config) { c.Files[0].Path = "/etc/hosts/x" }, "below /etc/hosts"},
		{"two contents", func(c *Config) { c.Files[1].Data = []byte("x") }, "exclude each other"},
		{"a missing source", func(c *Config) { c.Files[0].Source += ".gone" }, "no such file"},
		{"a source that is a directory", func(c *Config) { c.Files[0].Source = filepath.Dir(c.Files[0].Source) }, "not a regular file"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := testConfig(t)
			tc.change(&c)
			err := Write(io.Discard, c)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error = %v, want one that says %q", err, tc.want)
			}
		})
	}
}

// changing returns, on its first write, a writer's view of a source that changes between Write's two readings.
type changing struct{ change func() }

func (c *changing) Write(p []byte) (int, error) {
	if c.change != nil {
		c.change()
		c.change = nil
	}
	return len(p), nil
}

func TestSourceThatChangesMeanwhileIsRefused(t *testing.T) {
	for name, content := range map[string]string{
		"other bytes of the same length": "ELF, more or LESS",
		"more bytes":                     "ELF, more or less, and more",
		"fewer bytes":                    "ELF",
	} {
		t.Run(name, func(t *testing.T) {
			c := testConfig(t)
			err := Write(&changing{func() {
				if err := os.WriteFile(c.Files[0].Source, []byte(content), 0o600); err != nil {
					t.Error(err)
				}
			}}, c)
			if err == nil {
				t.Error("an image whose layer does not match its digest was written")
			}
		})
	}
}
