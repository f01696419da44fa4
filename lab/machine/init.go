// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// initReady is what a machine's init writes to descriptor 3 when the machine is ready; anything else is an error.
const initReady = "ready"

// initSpec is what a machine's init is told.
type initSpec struct {
	Spec
	Dir string `json:"dir"`
}

// Init is the life of a machine's process 1, started by Boot in new namespaces: it furnishes them, says so on
// descriptor 3, and then reaps orphans until it is killed, which ends the machine. It does not return.
func Init(encoded string) {
	// Process 1 has no default signal actions but Go's runtime installs its own: a stray SIGTERM must not end the
	// machine.
	signal.Ignore(unix.SIGTERM, unix.SIGINT, unix.SIGHUP)
	report := os.NewFile(3, "report")
	if err := furnish(encoded); err != nil {
		fmt.Fprint(report, err)
		os.Exit(1)
	}
	fmt.Fprint(report, initReady)
	report.Close()
	children := make(chan os.Signal, 8)
	signal.Notify(children, unix.SIGCHLD)
	for {
		for {
			pid, err := unix.Wait4(-1, nil, unix.WNOHANG, nil)
			if pid <= 0 && !errors.Is(err, unix.EINTR) {
				break
			}
		}
		<-children
	}
}

func furnish(encoded string) error {
	var spec initSpec
	if err := json.Unmarshal([]byte(encoded), &spec); err != nil {
		return err
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if err := unix.Sethostname([]byte(spec.Name)); err != nil {
		return fmt.Errorf("set host name: %w", err)
	}
	steps := []func(initSpec) error{dropNamespaceFiles, mountKernel, mountPrivate, maskSysctls, setSysctls, raiseLoopback}
	for _, step := range steps {
		if err := step(spec); err != nil {
			return err
		}
	}
	return nil
}

// dropNamespaceFiles lets go of the namespaces that the host holds by bind mounts (`ip netns add` does): a copy of
// such a mount would keep a namespace alive after its owner has deleted it.
func dropNamespaceFiles(initSpec) error {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		fields := strings.Fields(s.Text())
		if dash := indexOf(fields, "-"); dash > 0 && dash+1 < len(fields) && fields[dash+1] == "nsfs" {
			if err := unix.Unmount(fields[4], unix.MNT_DETACH); err != nil {
				return fmt.Errorf("unmount %s: %w", fields[4], err)
			}
		}
	}
	return nil
}

// mountKernel shows the machine's own processes in /proc and its own links in /sys. The cgroup tree is mounted below
// /sys by the host, so it is carried over.
func mountKernel(initSpec) error {
	if err := unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	if err := unix.Mount("tmpfs", "/run", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=755"); err != nil {
		return fmt.Errorf("mount /run: %w", err)
	}
	const carried = "/run/cgroup"
	if err := os.Mkdir(carried, 0o755); err != nil {
		return err
	}
	if err := unix.Mount("/sys/fs/cgroup", carried, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("bind /sys/fs/cgroup: %w", err)
	}
	if err := unix.Mount("sysfs", "/sys", "sysfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("mount /sys: %w", err)
	}
	if err := unix.Mount(carried, "/sys/fs/cgroup", "", unix.MS_MOVE, ""); err != nil {
		return fmt.Errorf("move the cgroup tree to the new /sys: %w", err)
	}
	if err := os.Remove(carried); err != nil {
		return err
	}
	return os.Mkdir("/run/lock", 0o777)
}

// mountPrivate gives the machine its own /var/log and directories in /var/lib. The host may lack the latter, and a
// mount needs a directory to stand on, which must not be made on the host: it would stay. So /var/lib becomes an
// empty directory into which the host's entries are bound one by one.
func mountPrivate(spec initSpec) error {
	own := func(name string) (string, error) {
		dir := filepath.Join(spec.Dir, "fs", name)
		return dir, os.MkdirAll(dir, 0o755)
	}
	log, err := own("log")
	if err != nil {
		return err
	}
	if err := bind(log, "/var/log"); err != nil {
		return err
	}
	if len(spec.Private) == 0 {
		return nil
	}
	sources := map[string]string{}
	for _, name := range spec.Private {
		if sources[name], err = own(name); err != nil {
			return err
		}
	}
	return rebuildDir("/var/lib", sources)
}

// rebuildDir replaces dir by an empty one that shows dir's entries, and own instead of those of the same name.
func rebuildDir(dir string, own map[string]string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	const old = "/run/old"
	if err := os.Mkdir(old, 0o755); err != nil {
		return err
	}
	if err := unix.Mount(dir, old, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("bind %s: %w", dir, err)
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "mode=755"); err != nil {
		return fmt.Errorf("mount tmpfs on %s: %w", dir, err)
	}
	for _, e := range entries {
		from, to := filepath.Join(old, e.Name()), filepath.Join(dir, e.Name())
		switch {
		case own[e.Name()] != "":
			continue
		case e.IsDir():
			err = errors.Join(os.Mkdir(to, 0o755), bind(from, to))
		case e.Type() == os.ModeSymlink:
			var target string
			if target, err = os.Readlink(from); err == nil {
				err = os.Symlink(target, to)
			}
		default:
			err = errors.Join(os.WriteFile(to, nil, 0o644), bind(from, to))
		}
		if err != nil {
			return err
		}
	}
	for name, source := range own {
		// The lab's directory is reached by its old path: /var/lib may be where it lies.
		if below, found := strings.CutPrefix(source, dir+"/"); found {
			source = filepath.Join(old, below)
		}
		to := filepath.Join(dir, name)
		if err := errors.Join(os.Mkdir(to, 0o755), bind(source, to)); err != nil {
			return err
		}
	}
	if err := unix.Unmount(old, unix.MNT_DETACH); err != nil {
		return err
	}
	return os.Remove(old)
}

// maskSysctls covers files of /proc/sys by ordinary ones.
func maskSysctls(spec initSpec) error {
	const dir = "/run/lab-sysctl"
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	for path, value := range spec.Masks {
		file := filepath.Join(dir, strings.ReplaceAll(path, "/", "."))
		if err := os.WriteFile(file, []byte(value+"\n"), 0o644); err != nil {
			return err
		}
		if err := bind(file, filepath.Join("/proc/sys", path)); err != nil {
			return err
		}
	}
	return nil
}

func setSysctls(spec initSpec) error {
	paths := make([]string, 0, len(spec.Sysctls))
	for path := range spec.Sysctls {
		if !strings.HasPrefix(path, "net/") {
			return fmt.Errorf("sysctl %s is of the whole host: only those below net/ are the machine's own", path)
		}
		paths = append(paths, path)
	}
	slices.Sort(paths)
	for _, path := range paths {
		file, err := os.OpenFile(filepath.Join("/proc/sys", path), os.O_WRONLY|os.O_TRUNC, 0)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		_, err = file.WriteString(spec.Sysctls[path])
		if err := errors.Join(err, file.Close()); err != nil {
			return fmt.Errorf("sysctl %s = %s: %w", path, spec.Sysctls[path], err)
		}
	}
	return nil
}

func raiseLoopback(initSpec) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	defer unix.Close(fd)
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	lo.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, lo); err != nil {
		return fmt.Errorf("raise the loopback: %w", err)
	}
	return nil
}

func bind(source, target string) error {
	if err := unix.Mount(source, target, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("bind %s to %s: %w", source, target, err)
	}
	return nil
}
