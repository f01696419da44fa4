// SPDX-License-Identifier: Apache-2.0

package build

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/mod/modfile"
)

func TestFindLooksAboveTheWorkingDirectory(t *testing.T) {
	root := t.TempDir()
	below := filepath.Join(root, "lab", "cluster")
	if err := os.MkdirAll(below, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Chdir(below)
	if d, err := Find(); err == nil {
		t.Errorf("Find outside the repository = %s, want an error", d)
	}
	// The nested module's name begins with the repository's.
	for dir, name := range map[string]string{root: module, filepath.Join(root, "lab"): module + "/lab"} {
		if err := os.WriteFile(filepath.Join(dir, "go.mod"), []byte(name+"\n\ngo 1.26\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	d, err := Find()
	if err != nil {
		t.Fatal(err)
	}
	if want := Dir(filepath.Join(root, ".lab")); d != want {
		t.Errorf("Find = %s, want %s", d, want)
	}
	if d.Root() != root || d.Bin("kube") != filepath.Join(root, ".lab/bin/kube") {
		t.Errorf("Root = %s, Bin = %s", d.Root(), d.Bin("kube"))
	}
}

func TestKubeVersionIsTheModules(t *testing.T) {
	data, err := os.ReadFile("../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	file, err := modfile.Parse("go.mod", data, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, require := range file.Require {
		if require.Mod.Path == "k8s.io/kubernetes" && require.Mod.Version != kubeVersion {
			t.Errorf("go.mod has k8s.io/kubernetes %s, programs would say that they are %s", require.Mod.Version, kubeVersion)
		}
	}
	staging := "v0." + strings.TrimPrefix(kubeVersion, "v1.")
	replaced := 0
	for _, r := range file.Replace {
		if !strings.HasPrefix(r.Old.Path, "k8s.io/") {
			continue
		}
		replaced++
		if r.New.Version != staging {
			t.Errorf("%s is %s, want %s", r.Old.Path, r.New.Version, staging)
		}
	}
	if replaced < 30 {
		t.Errorf("%d staging modules are replaced, want all, which are some 33", replaced)
	}
}

func TestCountPackages(t *testing.T) {
	output := `go: downloading k8s.io/api v0.37.2
k8s.io/api/core/v1
k8s.io/client-go/rest
# github.com/clbsync/clbsync/lab/cmd/kube
cmd/kube/main.go:12:2: undefined: x
`
	var notes []string
	messages := countPackages(strings.NewReader(output), func(s string) { notes = append(notes, s) })
	wantNotes := []string{"downloading k8s.io/api v0.37.2", "1 packages compiled", "2 packages compiled"}
	if diff := cmp.Diff(wantNotes, notes); diff != "" {
		t.Errorf("notes (-want +got):\n%s", diff)
	}
	want := "# github.com/clbsync/clbsync/lab/cmd/kube\ncmd/kube/main.go:12:2: undefined: x\n"
	if diff := cmp.Diff(want, messages); diff != "" {
		t.Errorf("messages (-want +got):\n%s", diff)
	}
}

func TestLackingNamesEachPackageOnce(t *testing.T) {
	got := lacking([]program{
		{"sh", "dash"},
		{"no-such-program-1", "thing"},
		{"no-such-program-2", "thing"},
		{"/no/such/file", "other"},
	})
	if diff := cmp.Diff([]string{"thing", "other"}, got); diff != "" {
		t.Errorf("lacking (-want +got):\n%s", diff)
	}
}

func TestForbidServices(t *testing.T) {
	t.Run("a policy is there meanwhile and gone afterwards", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "policy-rc.d")
		restore, err := forbidServices(path)
		if err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(path)
		if err != nil || info.Mode()&0o111 == 0 {
			t.Errorf("policy: %v, %v; want an executable file", info, err)
		}
		if err := restore(); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("policy afterwards: %v, want none", err)
		}
	})
	t.Run("the machine's own policy stays", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "policy-rc.d")
		if err := os.WriteFile(path, []byte("#!/bin/sh\nexit 0\n"), 0o755); err != nil {
			t.Fatal(err)
		}
		restore, err := forbidServices(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := restore(); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != "#!/bin/sh\nexit 0\n" {
			t.Errorf("policy afterwards: %q, %v", got, err)
		}
	})
	t.Run("one that a killed run left is cleared away", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "policy-rc.d")
		if _, err := forbidServices(path); err != nil {
			t.Fatal(err)
		}
		restore, err := forbidServices(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := restore(); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("policy afterwards: %v, want none", err)
		}
	})
}

func TestLockIsHeldByOne(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	unlock, err := lock(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := lock(ctx, path); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("second lock: %v, want that it waits", err)
	}
	unlock()
	again, err := lock(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	again()
}

func TestProgress(t *testing.T) {
	var out lockedBuffer
	p := newProgress(&out)
	t.Run("what is quick is not mentioned", func(t *testing.T) {
		if err := p.step("something", func(func(string)) error { return nil }); err != nil || out.String() != "" {
			t.Errorf("said %q, %v", out.String(), err)
		}
	})
	t.Run("an error says what was being done", func(t *testing.T) {
		cause := errors.New("out of luck")
		err := p.step("something", func(func(string)) error { return cause })
		if !errors.Is(err, cause) || !strings.Contains(err.Error(), "something") {
			t.Errorf("error = %v", err)
		}
	})
	t.Run("what lasts is shown with its state and time", func(t *testing.T) {
		p.show("something", "3 packages compiled", 75*time.Second)
		if got, want := out.String(), "something: 1m15s, 3 packages compiled\n"; got != want {
			t.Errorf("said %q, want %q", got, want)
		}
	})
}

type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func TestLibraries(t *testing.T) {
	got, err := libraries(t.Context(), "/bin/sh")
	if err != nil {
		t.Fatal(err)
	}
	if len(got) == 0 {
		t.Error("the shell loads no library")
	}
	for path := range got {
		if _, err := os.Stat(path); err != nil {
			t.Error(err)
		}
	}
}
