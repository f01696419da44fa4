// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
)

// Leftovers lists every trace of the lab of that name on this host, or of all labs if name is empty, one sentence
// each, sorted: directories, cgroups, processes (and by them namespaces), mounts, and links and packet filter rules
// in the host's own network namespace. A lab that is running is full of them; one that was removed has none.
func Leftovers(name string) ([]string, error) {
	var all []string
	for _, look := range []func(string) ([]string, error){
		leftDirs, leftCgroups, leftProcesses, leftMounts, leftLinks, leftRules,
	} {
		found, err := look(name)
		if err != nil {
			return nil, err
		}
		all = append(all, found...)
	}
	sort.Strings(all)
	return all, nil
}

func leftDirs(name string) ([]string, error) {
	var found []string
	for _, root := range []string{stateRoot, dataRoot} {
		entries, err := os.ReadDir(root)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if name == "" {
			found = append(found, "directory "+root)
		}
		for _, e := range entries {
			if name == "" || e.Name() == name {
				found = append(found, "directory "+filepath.Join(root, e.Name()))
			}
		}
	}
	return found, nil
}

func leftCgroups(name string) ([]string, error) {
	hierarchies, err := cgroupHierarchies()
	if err != nil {
		return nil, err
	}
	pattern := name
	if name == "" {
		pattern = "*"
	}
	var found []string
	for _, h := range hierarchies {
		paths, err := filepath.Glob(filepath.Join(h.path, cgroupPrefix+pattern))
		if err != nil {
			return nil, err
		}
		for _, p := range paths {
			found = append(found, "cgroup "+p)
		}
	}
	return found, nil
}

// leftProcesses finds processes by their cgroup and by their environment: one that left the cgroup still carries the
// mark with which it was started. Every namespace of a lab is held by one of them.
func leftProcesses(name string) ([]string, error) {
	procs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil, err
	}
	var found []string
	for _, dir := range procs {
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err != nil {
			return nil, err
		}
		environ, err := os.ReadFile(filepath.Join(dir, "environ"))
		if err != nil {
			continue // it ended, or is a kernel thread
		}
		cgroups, err := os.ReadFile(filepath.Join(dir, "cgroup"))
		if err != nil {
			continue
		}
		if !marked(environ, cgroups, name) {
			continue
		}
		cmdline, err := os.ReadFile(filepath.Join(dir, "cmdline"))
		if err != nil {
			continue
		}
		if len(cmdline) == 0 {
			continue // a zombie holds nothing; its parent has yet to collect it
		}
		found = append(found, fmt.Sprintf("process %d with its namespaces: %s", pid, shorten(cmdline)))
	}
	return found, nil
}

func marked(environ, cgroups []byte, name string) bool {
	variable := []byte(labVariable + "=")
	cgroup := []byte(":/" + cgroupPrefix)
	if name != "" {
		variable = append(variable, name+"/"...)
		cgroup = append(cgroup, name...)
	}
	for v := range bytes.SplitSeq(environ, []byte{0}) {
		if bytes.HasPrefix(v, variable) {
			return true
		}
	}
	for line := range bytes.Lines(cgroups) {
		_, after, found := bytes.Cut(bytes.TrimSpace(line), cgroup)
		if found && (name == "" || len(after) == 0 || after[0] == '/') {
			return true
		}
	}
	return false
}

func shorten(cmdline []byte) string {
	const most = 120
	text := strings.TrimSpace(strings.ReplaceAll(string(cmdline), "\x00", " "))
	if len(text) > most {
		return text[:most] + "…"
	}
	return text
}

func leftMounts(name string) ([]string, error) {
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	var found []string
	for line := range strings.Lines(string(data)) {
		fields := strings.Fields(line)
		for _, root := range []string{stateRoot, dataRoot} {
			if len(fields) > 4 && strings.HasPrefix(fields[4]+"/", filepath.Join(root, name)+"/") {
				found = append(found, "mount "+fields[4])
			}
		}
	}
	return found, nil
}

// leftLinks and leftRules look for names that a lab gives inside its namespaces, in case one ever strays. They are
// the same for all labs.
func leftLinks(string) ([]string, error) {
	links, err := net.Interfaces()
	if err != nil {
		return nil, err
	}
	var found []string
	for _, l := range links {
		if strings.HasPrefix(l.Name, LinkPrefix) {
			found = append(found, "link "+l.Name)
		}
	}
	return found, nil
}

// LinkPrefix begins the names of the links that connect machines.
const LinkPrefix = "clb-"

func leftRules(string) ([]string, error) {
	if _, err := exec.LookPath("nft"); err != nil {
		return nil, nil // no lab can have run here without it
	}
	out, err := exec.Command("nft", "list", "ruleset").CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("nft list ruleset: %w: %s", err, out)
	}
	var found []string
	for line := range strings.Lines(string(out)) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "table ") && strings.Contains(line, "clb") {
			found = append(found, "rules in "+strings.TrimSuffix(line, " {"))
		}
	}
	return found, nil
}
