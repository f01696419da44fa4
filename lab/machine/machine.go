// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// labVariable marks every process of a lab in its environment: CLBSYNC_LAB=lab/machine.
const labVariable = "CLBSYNC_LAB"

// Spec says how a machine differs from the host that it runs on.
type Spec struct {
	Name string `json:"name"` // also its host name

	// Private directories under /var/lib are empty at first and the machine's own, whether or not the host has one of
	// that name: "kubelet" for /var/lib/kubelet. /run and /var/log always are private.
	Private []string `json:"private,omitempty"`

	// Sysctls are set in the machine's network namespace, by path under /proc/sys. Those of which the kernel has none
	// are passed over: not every kernel filters bridges.
	Sysctls map[string]string `json:"sysctls,omitempty"`

	// Masks are files under /proc/sys that show a value and take writes, and change nothing. They are for programs
	// that insist on settings of the whole host.
	Masks map[string]string `json:"masks,omitempty"`

	// Cgroups are made below the machine's own.
	Cgroups []string `json:"cgroups,omitempty"`
}

// Machine is a running machine of a lab. Its methods may be called concurrently.
type Machine struct {
	Name string
	lab  *Lab
	pid  int      // of its init, as the host sees it
	init *Process // nil if another process booted it
}

// booted is what others need to find a machine.
type booted struct {
	PID   int    `json:"pid"`
	Start uint64 `json:"start"`
}

// Boot starts a machine. Its loopback is up; other links are the caller's to make.
func (l *Lab) Boot(spec Spec) (*Machine, error) {
	m, err := l.boot(spec)
	if err != nil {
		return nil, fmt.Errorf("machine %s/%s: %w", l.Name, spec.Name, err)
	}
	return m, nil
}

func (l *Lab) boot(spec Spec) (*Machine, error) {
	m := &Machine{Name: spec.Name, lab: l}
	if err := os.MkdirAll(m.Dir(), 0o755); err != nil {
		return nil, err
	}
	for _, c := range append([]string{""}, spec.Cgroups...) {
		if err := makeCgroups(filepath.Join(m.Cgroup(), c)); err != nil {
			return nil, err
		}
	}
	if err := makeCgroups(m.programs()); err != nil {
		return nil, err
	}
	encoded, err := json.Marshal(initSpec{Spec: spec, Dir: m.Dir()})
	if err != nil {
		return nil, err
	}
	ready, ended, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer ready.Close()
	cmd := exec.Command(l.owner.Helper, "init", string(encoded))
	cmd.ExtraFiles = []*os.File{ended}
	cmd.SysProcAttr = &unix.SysProcAttr{Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWUTS |
		unix.CLONE_NEWIPC | unix.CLONE_NEWNET}
	m.init, err = m.start("init", filepath.Join(m.Dir(), "init.log"), cmd, nil)
	ended.Close()
	if err != nil {
		return nil, err
	}
	m.pid = m.init.PID()
	if answer, err := io.ReadAll(ready); err != nil || string(answer) != initReady {
		return nil, errors.Join(err, fmt.Errorf("init: %s%s", answer, m.init.Tail(20)), m.init.Kill())
	}
	start, err := startTime(m.pid)
	if err != nil {
		return nil, err
	}
	return m, l.SaveState("machine-"+m.Name, booted{PID: m.pid, Start: start})
}

// Machine finds a machine that this or another process booted; one that is no longer running is os.ErrNotExist.
func (l *Lab) Machine(name string) (*Machine, error) {
	var b booted
	if err := l.LoadState("machine-"+name, &b); err != nil {
		return nil, fmt.Errorf("machine %s/%s: %w", l.Name, name, err)
	}
	if start, err := startTime(b.PID); err != nil || start != b.Start {
		return nil, fmt.Errorf("machine %s/%s has ended: %w", l.Name, name, os.ErrNotExist)
	}
	return &Machine{Name: name, lab: l, pid: b.PID}, nil
}

// PID is the process id of the machine's init, as the host sees it.
func (m *Machine) PID() int { return m.pid }

// Dir is the machine's directory on disk, seen under the same path by the host and the machine.
func (m *Machine) Dir() string { return filepath.Join(m.lab.Dir(), m.Name) }

// Cgroup is the machine's cgroup as a path from the root of each hierarchy, without a leading slash.
func (m *Machine) Cgroup() string { return filepath.Join(m.lab.cgroup(), m.Name) }

// programs is the cgroup of what Run starts. It is a leaf, as version 2 wants.
func (m *Machine) programs() string { return filepath.Join(m.Cgroup(), "programs") }

// Run starts a program on the machine and returns. argv[0] is a path, or a name to be found in PATH. Its output is
// appended to log.
func (m *Machine) Run(name, log string, argv []string, options ...Option) (*Process, error) {
	cmd, err := command(argv, options)
	if err != nil {
		return nil, fmt.Errorf("run %s on %s: %w", name, m.Name, err)
	}
	namespaces, err := openNamespaces(m.pid)
	if err != nil {
		return nil, fmt.Errorf("run %s on %s: %w", name, m.Name, err)
	}
	defer closeNamespaces(namespaces)
	p, err := m.start(name, log, cmd, namespaces)
	if err != nil {
		return nil, fmt.Errorf("run %s on %s: %w", name, m.Name, err)
	}
	return p, nil
}

func (m *Machine) start(name, log string, cmd *exec.Cmd, namespaces []namespace) (*Process, error) {
	file, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	cmd.Stdout, cmd.Stderr = file, file
	cmd.Env = append(cmd.Environ(), labVariable+"="+m.lab.Name+"/"+m.Name)
	if err := spawn(cmd, m.programs(), namespaces); err != nil {
		return nil, err
	}
	return watch(name, log, cmd), nil
}

// Output runs a program on the machine to its end and returns what it printed, errors included. It is killed when
// ctx ends.
func (m *Machine) Output(ctx context.Context, argv []string, options ...Option) ([]byte, error) {
	namespaces, err := openNamespaces(m.pid)
	if err != nil {
		return nil, fmt.Errorf("run %s on %s: %w", argv[0], m.Name, err)
	}
	defer closeNamespaces(namespaces)
	return m.output(ctx, namespaces, argv, options)
}

// NetOutput is like Output, but only the network is the machine's: files and process ids are the host's.
func (m *Machine) NetOutput(ctx context.Context, argv []string, options ...Option) ([]byte, error) {
	namespaces, err := openNamespaces(m.pid, "net")
	if err != nil {
		return nil, fmt.Errorf("run %s in the network of %s: %w", argv[0], m.Name, err)
	}
	defer closeNamespaces(namespaces)
	return m.output(ctx, namespaces, argv, options)
}

func (m *Machine) output(ctx context.Context, namespaces []namespace, argv []string, options []Option) ([]byte, error) {
	cmd, err := command(argv, options)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.Env = append(cmd.Environ(), labVariable+"="+m.lab.Name+"/"+m.Name)
	if err := spawn(cmd, m.programs(), namespaces); err != nil {
		return nil, fmt.Errorf("%s on %s: %w", argv[0], m.Name, err)
	}
	stop := context.AfterFunc(ctx, func() { _ = cmd.Process.Kill() })
	defer stop()
	if err := cmd.Wait(); err != nil {
		return out.Bytes(), errors.Join(ctx.Err(),
			fmt.Errorf("%s on %s: %w: %s", strings.Join(argv, " "), m.Name, err, strings.TrimSpace(out.String())))
	}
	return out.Bytes(), nil
}

// Attach runs a program on the machine to its end with this process's standard input and outputs.
func (m *Machine) Attach(ctx context.Context, argv []string) error {
	cmd, err := command(argv, nil)
	if err != nil {
		return err
	}
	namespaces, err := openNamespaces(m.pid)
	if err != nil {
		return fmt.Errorf("run %s on %s: %w", argv[0], m.Name, err)
	}
	defer closeNamespaces(namespaces)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	if err := spawn(cmd, m.programs(), namespaces); err != nil {
		return fmt.Errorf("run %s on %s: %w", argv[0], m.Name, err)
	}
	stop := context.AfterFunc(ctx, func() { _ = cmd.Process.Signal(unix.SIGTERM) })
	defer stop()
	return cmd.Wait()
}

func command(argv []string, options []Option) (*exec.Cmd, error) {
	// The host's PATH is the machine's: its files are the host's but for the private directories.
	path, err := exec.LookPath(argv[0])
	if err != nil {
		return nil, err
	}
	if path, err = filepath.Abs(path); err != nil {
		return nil, err
	}
	cmd := &exec.Cmd{Path: path, Args: argv, Env: os.Environ()}
	for _, option := range options {
		option(cmd)
	}
	return cmd, nil
}

// PowerOff ends the machine and everything on it at once, as pulling the plug does.
func (m *Machine) PowerOff(ctx context.Context) error {
	if err := killCgroup(ctx, m.Cgroup()); err != nil {
		return fmt.Errorf("power off %s: %w", m.Name, err)
	}
	return nil
}
