// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"

	"golang.org/x/sys/unix"
)

// onThread runs fn on an OS thread of its own, which ends with it: whatever namespace or cgroup fn enters, no other
// goroutine ever runs there.
func onThread(fn func() error) error {
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			// Go parks the main thread instead of ending it, and /proc/PID shows the main thread's namespaces. Hold
			// it until another one has done the work.
			err := onThread(fn)
			runtime.UnlockOSThread()
			result <- err
			return
		}
		result <- fn() // still locked: the thread ends here
	}()
	return <-result
}

// namespace is an open namespace file with its kind.
type namespace struct {
	name string
	kind int
	file *os.File
}

// The mount namespace is last: after it, paths mean the machine's files.
var namespaceKinds = []namespace{
	{name: "net", kind: unix.CLONE_NEWNET},
	{name: "uts", kind: unix.CLONE_NEWUTS},
	{name: "ipc", kind: unix.CLONE_NEWIPC},
	{name: "pid", kind: unix.CLONE_NEWPID},
	{name: "mnt", kind: unix.CLONE_NEWNS},
}

// openNamespaces opens the namespaces of the process pid that want names; nil means all of them.
func openNamespaces(pid int, want ...string) ([]namespace, error) {
	var open []namespace
	for _, ns := range namespaceKinds {
		if len(want) > 0 && indexOf(want, ns.name) < 0 {
			continue
		}
		file, err := os.Open(fmt.Sprintf("/proc/%d/ns/%s", pid, ns.name))
		if err != nil {
			closeNamespaces(open)
			return nil, err
		}
		ns.file = file
		open = append(open, ns)
	}
	return open, nil
}

func closeNamespaces(open []namespace) {
	for _, ns := range open {
		ns.file.Close()
	}
}

// enter moves the calling thread, which must be one of onThread's, into the namespaces.
func enter(open []namespace) error {
	for _, ns := range open {
		if ns.kind == unix.CLONE_NEWNS {
			// A thread that shares its working directory with others may not change its mount namespace.
			if err := unix.Unshare(unix.CLONE_FS); err != nil {
				return os.NewSyscallError("unshare", err)
			}
		}
		if err := unix.Setns(int(ns.file.Fd()), ns.kind); err != nil {
			return fmt.Errorf("setns %s: %w", ns.name, err)
		}
	}
	return nil
}

// spawn starts cmd in the namespaces and in the cgroup. The child is an ordinary child of this process.
func spawn(cmd *exec.Cmd, cgroup string, namespaces []namespace) error {
	hierarchies, err := cgroupHierarchies()
	if err != nil {
		return err
	}
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &unix.SysProcAttr{}
	}
	// Ctrl-C at a terminal goes to the owner, which decides what ends and in which order.
	cmd.SysProcAttr.Setsid = true
	for _, h := range hierarchies {
		if h.v2 {
			dir, err := os.Open(filepath.Join(h.path, cgroup))
			if err != nil {
				return err
			}
			defer dir.Close()
			cmd.SysProcAttr.UseCgroupFD, cmd.SysProcAttr.CgroupFD = true, int(dir.Fd())
		}
	}
	return onThread(func() error {
		if err := joinCgroup(hierarchies, cgroup, unix.Gettid()); err != nil {
			return err
		}
		if err := enter(namespaces); err != nil {
			return err
		}
		return cmd.Start()
	})
}

// startTime returns when the process started, in clock ticks since boot.
func startTime(pid int) (uint64, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	return parseStartTime(string(data))
}

// gone reports that a process or its directory in /proc ended while it was being read.
func gone(err error) bool {
	return errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ESRCH) || errors.Is(err, unix.ENODEV)
}
