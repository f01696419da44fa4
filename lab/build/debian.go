// SPDX-License-Identifier: Apache-2.0

package build

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
)

// program is a file that a lab runs and the Debian package that has it.
type program struct{ path, deb string }

var clusterPackages = []program{
	{"etcd", "etcd-server"},
	{"containerd", "containerd"},
	{"ctr", "containerd"},
	{"runc", "runc"},
	{"/usr/lib/cni/bridge", "containernetworking-plugins"},
	{"nft", "nftables"},
	{"iptables", "iptables"},
	{"conntrack", "conntrack"},
	{"ip", "iproute2"},
	{"setpriv", "util-linux"},
}

// suitePackages are what the upstream suite runs inside its image.
var suitePackages = []program{
	{"bash", "bash"},
	{"/bin/nc.openbsd", "netcat-openbsd"},
	{"wget", "wget"},
	{"curl", "curl"},
	{"ldd", "libc-bin"},
}

// lacking returns the Debian packages whose programs are not there, each once. What is there may have come any way.
func lacking(programs []program) []string {
	var debs []string
	for _, p := range programs {
		if _, err := exec.LookPath(p.path); err != nil && !slices.Contains(debs, p.deb) {
			debs = append(debs, p.deb)
		}
	}
	return debs
}

// Packages installs the Debian packages that a lab needs and that lack. The tests of the main module that load rules
// into the kernel need no more than these.
func Packages(ctx context.Context, progress io.Writer) error {
	return builder{progress: newProgress(progress)}.installPackages(ctx, clusterPackages)
}

func (b builder) installPackages(ctx context.Context, programs []program) error {
	debs := lacking(programs)
	if len(debs) == 0 {
		return nil
	}
	if _, err := exec.LookPath("apt-get"); err != nil {
		return fmt.Errorf("the lab needs %s, which Debian has in the packages %s; this is not Debian: install them by hand",
			strings.Join(paths(programs), ", "), strings.Join(debs, " "))
	}
	return b.progress.step("install the Debian packages "+strings.Join(debs, " "), func(note func(string)) error {
		restore, err := forbidServices(policyFile)
		if err != nil {
			return err
		}
		install := append([]string{"install", "-y", "-q", "--no-install-recommends"}, debs...)
		note("apt-get install")
		err = aptGet(ctx, install...)
		if err != nil && ctx.Err() == nil {
			note("apt-get update") // the lists of a fresh machine are empty or old
			if err = aptGet(ctx, "update", "-q"); err == nil {
				note("apt-get install")
				err = aptGet(ctx, install...)
			}
		}
		return errors.Join(err, restore())
	})
}

func paths(programs []program) []string {
	var all []string
	for _, p := range programs {
		all = append(all, p.path)
	}
	return all
}

func aptGet(ctx context.Context, args ...string) error {
	cmd := exec.CommandContext(ctx, "apt-get", args...)
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := cmd.Run(); err != nil {
		return errors.Join(context.Cause(ctx), fmt.Errorf("apt-get %s: %w:\n%s", strings.Join(args, " "), err, &output))
	}
	return nil
}

const (
	policyFile = "/usr/sbin/policy-rc.d"
	// policy is what Debian's maintainer scripts ask before they start a service; 101 means that it is forbidden.
	policy = "#!/bin/sh\n# clbsync lab, while it installs packages: start no service\nexit 101\n"
)

// forbidServices keeps apt-get from starting what it installs: etcd and containerd would otherwise run as services of
// the machine. A machine that has a policy keeps it. The returned function undoes it.
func forbidServices(policyFile string) (func() error, error) {
	existing, err := os.ReadFile(policyFile)
	switch {
	case err == nil && string(existing) != policy: // ours may be left from a run that was killed
		return func() error { return nil }, nil
	case err != nil && !errors.Is(err, os.ErrNotExist):
		return nil, err
	}
	if err := os.WriteFile(policyFile, []byte(policy), 0o755); err != nil {
		return nil, err
	}
	return func() error { return os.Remove(policyFile) }, nil
}
