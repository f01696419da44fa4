// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// removeWithin bounds how long a lab's processes may take to be gone from the kernel once killed.
const removeWithin = 60 * time.Second

// Remove ends the lab and removes every trace of it. It may be called more than once, and when somebody else has
// removed the lab: another one that has the name by then is left alone.
func (l *Lab) Remove() error {
	return errors.Join(removeThis(l.Name, l.owner.Lab), l.reaper.dismiss())
}

// removeThis removes the lab of that name if it is the one with that identity.
func removeThis(name, identity string) error {
	current, err := Open(name)
	if errors.Is(err, os.ErrNotExist) || err == nil && current.owner.Lab != identity {
		return nil
	}
	if err != nil {
		return err
	}
	return Remove(name)
}

// Remove ends the lab of that name, whoever owns it, and removes every trace. A lab of which nothing is left is no
// error.
func Remove(name string) error {
	if !validName.MatchString(name) {
		return fmt.Errorf("lab name %q: want up to 24 of a-z, 0-9 and inner '-'", name)
	}
	ctx, cancel := context.WithTimeout(context.Background(), removeWithin)
	defer cancel()
	if err := killCgroup(ctx, cgroupPrefix+name); err != nil {
		return fmt.Errorf("remove lab %s: %w", name, err)
	}
	// The state goes last: as long as anything is left, `lab list` shows the name.
	return errors.Join(removeIn(dataRoot, name), removeIn(stateRoot, name))
}

// removeIn deletes root/name, and root if that was all.
func removeIn(root, name string) error {
	if err := os.RemoveAll(filepath.Join(root, name)); err != nil {
		return err
	}
	if err := os.Remove(root); err != nil && !gone(err) && !errors.Is(err, unix.ENOTEMPTY) {
		return err
	}
	return nil
}

// killCgroup kills every process in the cgroup, again while new ones appear, and removes it.
func killCgroup(ctx context.Context, cgroup string) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		pids, err := cgroupPIDs(cgroup)
		if err != nil {
			return err
		}
		for pid := range pids {
			if err := killMember(pid, cgroup); err != nil {
				return err
			}
		}
		if len(pids) == 0 {
			err := removeCgroup(cgroup)
			if err == nil {
				return nil
			}
			if !errors.Is(err, unix.EBUSY) { // a process that is dying is no longer listed, but still counts
				return err
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("cgroup %s: %d processes did not end: %w", cgroup, len(pids), ctx.Err())
		case <-tick.C:
		}
	}
}

// killMember kills the process if it is in the cgroup. A process of which one thread is there for a moment, to start
// another (joinCgroup), is listed too, and is spared. The descriptor is taken before the check: a pid alone may by now
// belong to a process of somebody else.
func killMember(pid int, cgroup string) error {
	fd, err := unix.PidfdOpen(pid, 0)
	if gone(err) || errors.Is(err, unix.EINVAL) {
		return nil
	}
	if err != nil {
		return os.NewSyscallError("pidfd_open", err)
	}
	defer unix.Close(fd)
	member, err := inCgroup(pid, cgroup)
	if err != nil || !member {
		return err
	}
	if pid == os.Getpid() {
		return fmt.Errorf("this process is in cgroup %s: a lab cannot be removed from inside", cgroup)
	}
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil && !gone(err) {
		return os.NewSyscallError("pidfd_send_signal", err)
	}
	return nil
}

// inCgroup reports whether the process is in the cgroup or below it, in any hierarchy.
func inCgroup(pid int, cgroup string) (bool, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if gone(err) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	for line := range strings.Lines(string(data)) {
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(parts) == 3 && strings.HasPrefix(parts[2]+"/", "/"+cgroup+"/") {
			return true, nil
		}
	}
	return false, nil
}
