// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

const cgroupPrefix = "clbsync-lab-"

// hierarchy is one mounted cgroup tree. A host has one of version 2, or several of version 1, or (hybrid) several of
// version 1 and a version 2 without the controllers that matter; the latter is left alone.
type hierarchy struct {
	path string
	v2   bool
}

func cgroupHierarchies() ([]hierarchy, error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var v1, v2 []hierarchy
	for s := bufio.NewScanner(f); s.Scan(); {
		fields := strings.Fields(s.Text())
		dash := indexOf(fields, "-")
		if dash < 5 || dash+1 >= len(fields) || !strings.HasPrefix(fields[4], "/sys/fs/cgroup") {
			continue
		}
		switch fields[dash+1] {
		case "cgroup":
			v1 = append(v1, hierarchy{path: fields[4]})
		case "cgroup2":
			v2 = append(v2, hierarchy{path: fields[4], v2: true})
		}
	}
	switch {
	case len(v1) > 0:
		return v1, nil
	case len(v2) > 0:
		return v2[:1], nil
	}
	return nil, errors.New("no cgroup hierarchy is mounted under /sys/fs/cgroup")
}

// makeCgroups makes the cgroup in every hierarchy, with what a process needs to live in it. Its parent must exist.
func makeCgroups(cgroup string) error {
	hierarchies, err := cgroupHierarchies()
	if err != nil {
		return err
	}
	for _, h := range hierarchies {
		dir := filepath.Join(h.path, cgroup)
		if h.v2 {
			err = delegate(filepath.Dir(dir))
		}
		if err != nil {
			return err
		}
		if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
			return err
		}
		if err := inheritCpuset(dir); err != nil {
			return err
		}
	}
	return nil
}

// favour gives the cgroup the processor time of three programs, where processors are short. The kernel shares them out
// among the children of a cgroup: without this, a whole cluster would get as much as one compiler beside it. More than this
// starves the kernel's own threads that carry packets, and with them what it was for.
func favour(cgroup string) error {
	hierarchies, err := cgroupHierarchies()
	if err != nil {
		return err
	}
	for _, h := range hierarchies {
		for file, share := range map[string]string{"cpu.shares": "3072", "cpu.weight": "300"} { // version 1 and 2
			file = filepath.Join(h.path, cgroup, file)
			if _, err := os.Stat(file); errors.Is(err, os.ErrNotExist) {
				continue
			}
			if err := os.WriteFile(file, []byte(share), 0o644); err != nil {
				return err
			}
		}
	}
	return nil
}

// delegate turns on every controller for the children of a version 2 cgroup.
func delegate(dir string) error {
	controllers, err := os.ReadFile(filepath.Join(dir, "cgroup.controllers"))
	if err != nil {
		return err
	}
	for c := range strings.FieldsSeq(string(controllers)) {
		if err := os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte("+"+c), 0o644); err != nil {
			return fmt.Errorf("cgroup %s: enable controller %s for children: %w "+
				"(a cgroup namespace whose root holds processes, as in a container, cannot do that)", dir, c, err)
		}
	}
	return nil
}

// inheritCpuset copies the parent's processors and memory nodes: a version 1 cpuset starts empty and then refuses
// every process.
func inheritCpuset(dir string) error {
	for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
		own, err := os.ReadFile(filepath.Join(dir, file))
		if errors.Is(err, os.ErrNotExist) || strings.TrimSpace(string(own)) != "" {
			continue
		}
		if err != nil {
			return err
		}
		parent, err := os.ReadFile(filepath.Join(filepath.Dir(dir), file))
		if err != nil {
			return err
		}
		if len(strings.TrimSpace(string(parent))) == 0 {
			continue // version 2: empty means the parent's
		}
		if err := os.WriteFile(filepath.Join(dir, file), parent, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// joinCgroup moves the calling OS thread, and so what it forks, into the cgroup of each version 1 hierarchy.
func joinCgroup(hierarchies []hierarchy, cgroup string, tid int) error {
	for _, h := range hierarchies {
		if h.v2 {
			continue // a thread cannot leave its process there; the child is born in its cgroup instead
		}
		if err := os.WriteFile(filepath.Join(h.path, cgroup, "tasks"), []byte(strconv.Itoa(tid)), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// walkCgroup calls visit with each directory of the cgroup's subtree in each hierarchy, children before parents.
func walkCgroup(cgroup string, visit func(dir string) error) error {
	hierarchies, err := cgroupHierarchies()
	if err != nil {
		return err
	}
	for _, h := range hierarchies {
		var dirs []string
		err := filepath.WalkDir(filepath.Join(h.path, cgroup), func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				dirs = append(dirs, path)
			}
			if errors.Is(err, os.ErrNotExist) {
				return nil
			}
			return err
		})
		if err != nil {
			return err
		}
		for _, dir := range slices.Backward(dirs) {
			if err := visit(dir); err != nil {
				return err
			}
		}
	}
	return nil
}

// cgroupPIDs lists the processes in the cgroup's subtree in any hierarchy.
func cgroupPIDs(cgroup string) (map[int]bool, error) {
	pids := map[int]bool{}
	err := walkCgroup(cgroup, func(dir string) error {
		data, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
		if err != nil && !gone(err) {
			return err
		}
		for field := range strings.FieldsSeq(string(data)) {
			pid, err := strconv.Atoi(field)
			if err != nil {
				return err
			}
			if pid != 0 { // a process of another pid namespace than ours
				pids[pid] = true
			}
		}
		return nil
	})
	return pids, err
}

// removeCgroup removes the subtree; a directory with dying processes in it makes it fail with EBUSY.
func removeCgroup(cgroup string) error {
	return walkCgroup(cgroup, func(dir string) error {
		if err := os.Remove(dir); err != nil && !gone(err) {
			return err
		}
		return nil
	})
}

func indexOf(fields []string, want string) int {
	for i, f := range fields {
		if f == want {
			return i
		}
	}
	return -1
}
