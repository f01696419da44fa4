// SPDX-License-Identifier: Apache-2.0

package images

import (
	"context"
	"debug/buildinfo"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

const modulePath = "github.com/clbsync/clbsync"

// LinkFlags are the linker's for a release. Stamped are our own version and what clients of Kubernetes call themselves
// in their User-Agent: without it an API server's audit log would not tell one release from another.
func LinkFlags(s Stamps) string {
	flags := []string{"-s", "-w"}
	for _, stamp := range [][2]string{
		{modulePath + "/internal/version.version", s.Version},
		{modulePath + "/internal/version.commit", s.Commit},
		{"k8s.io/client-go/pkg/version.gitVersion", s.Version},
		{"k8s.io/client-go/pkg/version.gitCommit", s.Commit},
	} {
		flags = append(flags, "-X "+stamp[0]+"="+stamp[1])
	}
	return strings.Join(flags, " ")
}

// BuildProgram builds a program of cmd/ from the source at root, and returns what it says of itself. The bytes do not
// depend on where the source lies, on the user's settings, or on whether git is there.
func BuildProgram(ctx context.Context, root, name, arch, out string, s Stamps) (*buildinfo.BuildInfo, error) {
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags="+LinkFlags(s), "-o="+out, "./cmd/"+name)
	cmd.Dir = root
	cmd.Env = append(os.Environ(),
		"CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch, "GOAMD64=v1", "GOARM64=v8.0", "GOFLAGS=", "GOEXPERIMENT=", "GOWORK=off")
	if output, err := cmd.CombinedOutput(); err != nil {
		return nil, errors.Join(context.Cause(ctx), fmt.Errorf("go build of %s for %s: %w:\n%s", name, arch, err, output))
	}
	return buildinfo.ReadFile(out)
}

// StampsOf returns the stamps of the source at root: those of its commit, if git knows it. The version is the tag, or
// what git makes of the last one.
func StampsOf(ctx context.Context, root string) (Stamps, error) {
	version, err := git(ctx, root, "describe", "--tags", "--always", "--dirty")
	if err != nil {
		return Stamps{}, err
	}
	commit, err := git(ctx, root, "rev-parse", "HEAD")
	if err != nil {
		return Stamps{}, err
	}
	if strings.HasSuffix(version, "-dirty") {
		commit += "-dirty"
	}
	seconds, err := git(ctx, root, "show", "-s", "--format=%ct", "HEAD")
	if err != nil {
		return Stamps{}, err
	}
	at, err := Seconds(seconds)
	return Stamps{Version: version, Commit: commit, Time: at}, err
}

func git(ctx context.Context, root string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "git", args...)
	cmd.Dir = root
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("git %s in %s: %w: without git, say the version, the commit and its time", strings.Join(args, " "), root, err)
	}
	return strings.TrimSpace(string(out)), nil
}

// Root returns the directory of the repository that dir is in.
func Root(dir string) (string, error) {
	for at := dir; ; at = filepath.Dir(at) {
		content, err := os.ReadFile(filepath.Join(at, "go.mod"))
		if err == nil && strings.HasPrefix(string(content), "module "+modulePath+"\n") {
			return at, nil
		}
		if at == filepath.Dir(at) {
			return "", fmt.Errorf("%s is not in the repository: no directory above it has a go.mod with module %s", dir, modulePath)
		}
	}
}
