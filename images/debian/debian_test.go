// SPDX-License-Identifier: Apache-2.0

package debian

import (
	"bytes"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const control = "Package: tool\nVersion: 1:2.0-1\nArchitecture: arm64\nMaintainer: nobody <nobody@example.org>\nDescription: a tool\n"

// deb makes a package of these files; what ends in "/" is a directory, what begins with "->" a link, and "=" before a
// path a hard link to it.
func deb(t *testing.T, files map[string]string, modes map[string]fs.FileMode) string {
	t.Helper()
	root := t.TempDir()
	files["DEBIAN/control"] = control
	var hard []string
	for path, content := range files {
		at := filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			t.Fatal(err)
		}
		if target, is := strings.CutPrefix(content, "->"); is {
			if err := os.Symlink(target, at); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if strings.HasPrefix(content, "=") {
			hard = append(hard, path)
			continue
		}
		if err := os.WriteFile(at, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		if mode, given := modes[path]; given {
			if err := os.Chmod(at, mode); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, path := range hard {
		if err := os.Link(filepath.Join(root, files[path][1:]), filepath.Join(root, path)); err != nil {
			t.Fatal(err)
		}
	}
	out := filepath.Join(t.TempDir(), "tool.deb")
	if output, err := exec.CommandContext(t.Context(), "dpkg-deb", "--root-owner-group", "--build", root, out).CombinedOutput(); err != nil {
		t.Fatalf("dpkg-deb: %v\n%s", err, output)
	}
	return out
}

func TestUnpackKeepsWhatAnImageNeeds(t *testing.T) {
	path := deb(t, map[string]string{
		"usr/sbin/tool":                    "program",
		"usr/sbin/tool-restore":            "->tool",
		"usr/sbin/tool-save":               "=usr/sbin/tool",
		"usr/lib/x86_64-linux-gnu/lib.so":  "library",
		"usr/lib/x86_64-linux-gnu/gconv/x": "character set",
		"usr/share/doc/tool/copyright":     "all rights given",
		"usr/share/doc/tool/changelog.gz":  "history",
		"usr/share/doc/tool/README":        "read me",
		"usr/share/man/man8/tool.8.gz":     "page",
		"usr/share/locale/de/tool.mo":      "Werkzeug",
		"etc/tool.conf":                    "",
	}, map[string]fs.FileMode{"usr/sbin/tool": 0o755})
	files, err := Unpack(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, f := range files {
		got[f.Path] = string(f.Data)
		if f.Link != "" {
			got[f.Path] = "->" + f.Link
		}
		if f.Path == "/usr/sbin/tool" && f.Mode != 0o755 {
			t.Errorf("the program has mode %o, want 755", f.Mode)
		}
	}
	description := got["/var/lib/dpkg/status.d/tool"]
	delete(got, "/var/lib/dpkg/status.d/tool")
	if !strings.Contains(description, "Version: 1:2.0-1\n") {
		t.Errorf("what scanners read is %q, want the control file", description)
	}
	want := map[string]string{
		"/usr/sbin/tool":                   "program",
		"/usr/sbin/tool-restore":           "->tool",
		"/usr/sbin/tool-save":              "program",
		"/usr/lib/x86_64-linux-gnu/lib.so": "library",
		"/usr/share/doc/tool/copyright":    "all rights given",
		"/etc/tool.conf":                   "",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
}

func TestUnpackRefusesOtherUsersRights(t *testing.T) {
	path := deb(t, map[string]string{"usr/bin/su": "program"}, map[string]fs.FileMode{"usr/bin/su": fs.ModeSetuid | 0o755})
	if _, err := Unpack(t.Context(), path); err == nil || !strings.Contains(err.Error(), "/usr/bin/su") {
		t.Errorf("error = %v, want one that names /usr/bin/su", err)
	}
}

func TestListIsReadAsItWasWritten(t *testing.T) {
	sum := strings.Repeat("0a", 32)
	list := List{{"conntrack", "1:1.4.7-1+b2", "arm64", sum}, {"netbase", "6.4", "all", sum}}
	var text bytes.Buffer
	if err := list.Write(&text); err != nil {
		t.Fatal(err)
	}
	got, err := ReadList(strings.NewReader("# made by hand\n\n" + text.String()))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(list, got); diff != "" {
		t.Errorf("-written +read:\n%s", diff)
	}
	for _, bad := range []string{"netbase 6.4 all", "netbase 6.4 all 0a0a"} {
		if _, err := ReadList(strings.NewReader(bad)); err == nil || !strings.Contains(err.Error(), "line 1") {
			t.Errorf("%q: error = %v, want one that names the line", bad, err)
		}
	}
}

func TestPrintedURIs(t *testing.T) {
	got, err := printedURIs("Reading package lists...\n" +
		"'mirror:/pool/conntrack_1.4.7-1+b2_arm64.deb' conntrack_1%3a1.4.7-1+b2_arm64.deb 33472 MD5Sum:938c\n" +
		"'mirror:/pool/netbase_6.4_all.deb' netbase_6.4_all.deb 12800\n")
	if err != nil {
		t.Fatal(err)
	}
	want := List{{Name: "conntrack", Version: "1:1.4.7-1+b2", Arch: "arm64"}, {Name: "netbase", Version: "6.4", Arch: "all"}}
	if !slices.Equal(want, got) {
		t.Errorf("got %v, want %v", got, want)
	}
	if file := got[0].File(); file != "conntrack_1%3a1.4.7-1+b2_arm64.deb" {
		t.Errorf("file %s, want the name that apt-get gives it", file)
	}
	if _, err := printedURIs("E: nothing\n"); err == nil {
		t.Error("no package at all is no error")
	}
}

// What a list promises is checked before it goes into an image.
func TestFetchRefusesAnotherPackageThanListed(t *testing.T) {
	store := Store(t.TempDir())
	p := Package{Name: "tool", Version: "1:2.0-1", Arch: "arm64", SHA256: strings.Repeat("0a", 32)}
	at := store.Path("arm64", p)
	if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(deb(t, map[string]string{"x": "y"}, nil), at); err != nil {
		t.Fatal(err)
	}
	if _, err := store.Fetch(t.Context(), Request{Arch: "arm64", Fixed: List{p}}); err == nil || !strings.Contains(err.Error(), "checksum") {
		t.Errorf("error = %v, want one about the checksum", err)
	}
	p.SHA256 = ""
	list, err := store.Fetch(t.Context(), Request{Arch: "arm64", Fixed: List{p}})
	if err != nil {
		t.Fatal(err)
	}
	if len(list) != 1 || len(list[0].SHA256) != 64 {
		t.Errorf("got %v, want the package with its checksum", list)
	}
}

// aptGet does as apt-get download does: a package that lies where it is started is not named, and not fetched.
const aptGet = `#!/bin/sh
case "$*" in
*" update") ;;
*"--print-uris download netbase") [ -e netbase_6.4_all.deb ] || echo "'mirror:/pool/netbase_6.4_all.deb' netbase_6.4_all.deb 12800 " ;;
*" download netbase=6.4"*) echo content > netbase_6.4_all.deb ;;
*) echo "unexpected: $*" >&2; exit 100 ;;
esac
`

// A release asks anew for what an earlier build has fetched.
func TestFetchAsksAnewForWhatIsThere(t *testing.T) {
	bin := t.TempDir()
	if err := os.WriteFile(filepath.Join(bin, "apt-get"), []byte(aptGet), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	store := Store(t.TempDir())
	first, err := store.Fetch(t.Context(), Request{Arch: "amd64", Alone: []string{"netbase"}})
	if err != nil {
		t.Fatal(err)
	}
	again, err := store.Fetch(t.Context(), Request{Arch: "amd64", Alone: []string{"netbase"}, Fresh: true})
	if err != nil || len(first) != 1 || !slices.Equal(first, again) {
		t.Errorf("first %v, and asked anew %v, %v; want the same package twice", first, again, err)
	}
}
