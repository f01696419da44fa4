// SPDX-License-Identifier: Apache-2.0

// Package machine makes machines out of Linux namespaces: each has its own network, mounts, process tree, host name
// and cgroup, and an init process that holds them. A Lab is a named set of such machines.
//
// It knows nothing of Kubernetes; lab/cluster builds a cluster out of it. It decides where a lab's traces may be, and
// keeps them where one name finds all of them again: processes in the cgroup clbsync-lab-NAME, files under
// /var/lib/clbsync-lab/NAME and /run/clbsync-lab/NAME. Mounts, links, addresses and packet filter rules exist only
// inside namespaces that no file pins, so they end with the processes. Hence Remove needs nothing but the name, and
// works after the owner was killed at any point.
//
// Nothing here changes the host's network namespace, mounts or sysctls. All of it needs root.
package machine

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"sort"
	"strings"
	"time"
)

const (
	stateRoot = "/run/clbsync-lab"
	dataRoot  = "/var/lib/clbsync-lab"
)

var validName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,22}[a-z0-9])?$`)

// Lab is a named set of machines. Its methods may be called concurrently.
type Lab struct {
	Name   string
	owner  Owner
	reaper *reaper
}

// Options say how a lab lives.
type Options struct {
	Helper   string // path of the labinit program: the machines' init, the reaper and the forwarder
	Detached bool   // it outlives the process that made it; else a reaper removes it when that process ends, however it ends
}

// Owner is the process that made a lab.
type Owner struct {
	Lab      string    `json:"lab"` // tells this lab from others that had or will have its name
	PID      int       `json:"pid"`
	Start    uint64    `json:"start"` // clock ticks since boot, so that a reused pid is not taken for the owner
	Detached bool      `json:"detached"`
	Created  time.Time `json:"created"`
	Helper   string    `json:"helper"`
}

// Alive reports whether the owner still runs.
func (o Owner) Alive() bool {
	start, err := startTime(o.PID)
	return err == nil && start == o.Start
}

// Create reserves name and makes the lab's directories and cgroups. It fails with os.ErrExist if the name is taken,
// be it only by what a dead lab has left.
func Create(name string, o Options) (*Lab, error) {
	if !validName.MatchString(name) {
		return nil, fmt.Errorf("lab name %q: want up to 24 of a-z, 0-9 and inner '-'", name)
	}
	if os.Geteuid() != 0 {
		return nil, errors.New("a lab is made of namespaces, mounts and cgroups: run as root")
	}
	l := &Lab{Name: name}
	if err := mkdirIn(stateRoot, name); err != nil {
		return nil, fmt.Errorf("lab %s: %w", name, err)
	}
	if err := l.furnish(o); err != nil {
		return nil, errors.Join(fmt.Errorf("lab %s: %w", name, err), Remove(name), l.reaper.dismiss())
	}
	return l, nil
}

func (l *Lab) furnish(o Options) error {
	start, err := startTime(os.Getpid())
	if err != nil {
		return err
	}
	l.owner = Owner{Lab: rand.Text(), PID: os.Getpid(), Start: start, Detached: o.Detached, Created: time.Now(), Helper: o.Helper}
	if err := l.SaveState("owner", l.owner); err != nil {
		return err
	}
	if !o.Detached {
		if l.reaper, err = startReaper(l); err != nil {
			return err
		}
	}
	if err := mkdirIn(dataRoot, l.Name); err != nil {
		return err
	}
	if err := makeCgroups(l.cgroup()); err != nil {
		return err
	}
	return favour(l.cgroup())
}

// Open finds a lab that exists.
func Open(name string) (*Lab, error) {
	l := &Lab{Name: name}
	if err := l.LoadState("owner", &l.owner); err != nil {
		return nil, fmt.Errorf("lab %s: %w", name, err)
	}
	return l, nil
}

// Owner returns who made the lab.
func (l *Lab) Owner() Owner { return l.owner }

// Dir is the lab's directory on disk; Remove deletes it.
func (l *Lab) Dir() string { return filepath.Join(dataRoot, l.Name) }

func (l *Lab) cgroup() string { return cgroupPrefix + l.Name }

// SaveState keeps value as JSON under key for those who Open the lab later.
func (l *Lab) SaveState(key string, value any) error {
	data, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		return err
	}
	path := filepath.Join(stateRoot, l.Name, key+".json")
	if err := os.WriteFile(path+".new", data, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// LoadState reads what SaveState kept. A key that was never saved is os.ErrNotExist.
func (l *Lab) LoadState(key string, value any) error {
	data, err := os.ReadFile(filepath.Join(stateRoot, l.Name, key+".json"))
	if err != nil {
		return err
	}
	return json.Unmarshal(data, value)
}

// Names lists the labs of which anything is left, running or not, sorted.
func Names() ([]string, error) {
	seen := map[string]bool{}
	for _, root := range []string{stateRoot, dataRoot} {
		entries, err := os.ReadDir(root)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, err
		}
		for _, e := range entries {
			seen[e.Name()] = true
		}
	}
	hierarchies, err := cgroupHierarchies()
	if err != nil {
		return nil, err
	}
	for _, h := range hierarchies {
		paths, err := filepath.Glob(filepath.Join(h.path, cgroupPrefix+"*"))
		if err != nil {
			return nil, err
		}
		for _, p := range paths {
			seen[strings.TrimPrefix(filepath.Base(p), cgroupPrefix)] = true
		}
	}
	names := make([]string, 0, len(seen))
	for name := range seen {
		names = append(names, name)
	}
	sort.Strings(names)
	return names, nil
}

// mkdirIn makes root/name, which must not exist, and root if needed. Another lab's end may remove an empty root
// between the two steps, hence the second try.
func mkdirIn(root, name string) error {
	var err error
	for range 100 {
		if err = os.MkdirAll(root, 0o755); err != nil {
			return err
		}
		if err = os.Mkdir(filepath.Join(root, name), 0o700); !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return err
}
