// SPDX-License-Identifier: Apache-2.0

package build

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// kubeVersion is the version of k8s.io/kubernetes in go.mod; a test holds the two together.
const kubeVersion = "v1.37.2"

// linkFlags tell Kubernetes its version, which an ordinary go build does not know, and leave out debugging tables.
var linkFlags = fmt.Sprintf("-s -w -X k8s.io/component-base/version.gitVersion=%s -X k8s.io/component-base/version.gitMajor=%s"+
	" -X k8s.io/component-base/version.gitMinor=%s", kubeVersion, kubeField(0), kubeField(1))

func kubeField(i int) string { return strings.Split(strings.TrimPrefix(kubeVersion, "v"), ".")[i] }

// kubeNames are the names under which the program kube is called.
var kubeNames = []string{"kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy", "kubectl"}

// clusterPrograms builds all programs of Cluster in one go build: reading the package graph takes longer than
// anything else when there is nothing to compile.
func (b builder) clusterPrograms(ctx context.Context) error {
	err := b.goBuild(ctx, "build Kubernetes "+kubeVersion+" and the lab's programs", "lab",
		"build", "-ldflags="+linkFlags, "-o="+b.dir.BinDir()+"/",
		"./cmd/kube", "./cmd/labinit", "./cmd/labdns", "./cmd/lab", "./cmd/echo", "./cmd/pause")
	if err != nil {
		return err
	}
	for _, name := range kubeNames {
		if err := os.Symlink("kube", b.dir.Bin(name)); err != nil && !errors.Is(err, os.ErrExist) {
			return err
		}
	}
	return nil
}

func (b builder) productPrograms(ctx context.Context) error {
	return b.goBuild(ctx, "build clbsync's programs", ".", "build", "-o="+b.dir.BinDir()+"/", "./cmd/...")
}

func (b builder) suitePrograms(ctx context.Context) error {
	err := b.goBuild(ctx, "build the program of the suite's image", "lab",
		"build", "-ldflags="+linkFlags, "-o="+b.dir.BinDir()+"/", "k8s.io/kubernetes/test/images/agnhost")
	if err != nil {
		return err
	}
	return b.goBuild(ctx, "build the upstream end-to-end suite", "lab",
		"test", "-c", "-vet=off", "-ldflags="+linkFlags, "-o="+b.dir.Bin("e2e.test"), "k8s.io/kubernetes/test/e2e")
}

// goBuild runs go with args in a directory of the repository, and shows how many packages it has compiled.
func (b builder) goBuild(ctx context.Context, what, dir, verb string, args ...string) error {
	return b.progress.step(what, func(note func(string)) error {
		// -v makes go name each package that it compiles, on standard error.
		cmd := exec.CommandContext(ctx, "go", append([]string{verb, "-v"}, args...)...)
		cmd.Dir = filepath.Join(b.dir.Root(), dir)
		// Without cgo no C compiler is needed, programs run in any image, and everything shares one build cache.
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-buildvcs=false")
		output, err := cmd.StderrPipe()
		if err != nil {
			return err
		}
		if err := cmd.Start(); err != nil {
			return err
		}
		messages := countPackages(output, note)
		if err := cmd.Wait(); err != nil {
			return errors.Join(context.Cause(ctx), fmt.Errorf("go %s in %s: %w:\n%s", verb, cmd.Dir, err, messages))
		}
		return nil
	})
}

// countPackages reads what go build -v says until its end, notes the number of packages compiled, and returns what
// is not a package's name: errors. Downloads are noted as such.
func countPackages(output io.Reader, note func(string)) string {
	var messages bytes.Buffer
	compiled := 0
	for lines := bufio.NewScanner(output); lines.Scan(); {
		line := lines.Text()
		module, downloading := strings.CutPrefix(line, "go: downloading ")
		switch {
		case downloading:
			note("downloading " + module)
		case line != "" && !strings.ContainsAny(line, " \t:#"):
			compiled++
			note(fmt.Sprintf("%d packages compiled", compiled))
		default:
			messages.WriteString(line + "\n")
		}
	}
	return messages.String()
}
