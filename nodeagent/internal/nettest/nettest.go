// SPDX-License-Identifier: Apache-2.0

// Package nettest makes network namespaces for tests: machines with real interfaces, routes and firewall rules,
// connected only with each other. A namespace has no name and lives no longer than the test process, however that
// ends. Tests of the node agent call it; they need root.
package nettest

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

// Namespace is one machine.
type Namespace struct {
	Name   string // for messages only
	handle netns.NsHandle
	env    []string
}

// New makes a namespace whose loopback is up. It goes with the test.
func New(t testing.TB, name string) *Namespace {
	t.Helper()
	n := &Namespace{Name: name}
	var err error
	onThread(func() {
		var old netns.NsHandle
		if old, err = netns.Get(); err != nil {
			return
		}
		defer old.Close()
		n.handle, err = netns.New()
		if back := netns.Set(old); back != nil {
			panic("the thread stays in a test's namespace: " + back.Error())
		}
	})
	if err != nil {
		t.Fatalf("a network namespace for %s: %v (needs root)", name, err)
	}
	t.Cleanup(func() { n.handle.Close() })
	// The lock of iptables-legacy is a file of the whole machine; each namespace is a machine of its own.
	n.env = append(os.Environ(), "XTABLES_LOCKFILE="+filepath.Join(t.TempDir(), "xtables.lock"))
	n.Run(t, "ip", "link", "set", "lo", "up")
	return n
}

// onThread runs fn on a thread that no other goroutine uses meanwhile.
func onThread(fn func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		fn()
	}()
	<-done
}

// Do runs fn with its thread in the namespace. Sockets that fn opens itself belong to the namespace; those of
// goroutines that it starts do not.
func (n *Namespace) Do(fn func()) {
	onThread(func() {
		old, err := netns.Get()
		if err != nil {
			panic(err)
		}
		defer old.Close()
		if err := netns.Set(n.handle); err != nil {
			panic(err)
		}
		defer func() {
			if err := netns.Set(old); err != nil {
				panic("the thread stays in a test's namespace: " + err.Error())
			}
		}()
		fn()
	})
}

// Start starts a prepared command in the namespace.
func (n *Namespace) Start(cmd *exec.Cmd) error {
	if cmd.Env == nil {
		cmd.Env = n.env
	} else {
		cmd.Env = append(append([]string{}, n.env...), cmd.Env...)
	}
	var err error
	n.Do(func() { err = cmd.Start() })
	return err
}

// Try runs a command with input and returns what it printed to standard output; the error has what it printed to the other.
func (n *Namespace) Try(input string, argv ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Stdin = strings.NewReader(input)
	var out, errout bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errout
	err := n.Start(cmd)
	if err == nil {
		err = cmd.Wait()
	}
	if err != nil {
		return out.String(), &commandError{argv: argv, err: err, output: errout.String()}
	}
	return out.String(), nil
}

type commandError struct {
	argv   []string
	err    error
	output string
}

func (e *commandError) Error() string {
	return strings.Join(e.argv, " ") + ": " + e.err.Error() + ": " + strings.TrimSpace(e.output)
}

// Run is Try for a command that must succeed.
func (n *Namespace) Run(t testing.TB, argv ...string) string {
	t.Helper()
	out, err := n.Try("", argv...)
	if err != nil {
		t.Fatalf("on %s: %v", n.Name, err)
	}
	return out
}

// Sysctl writes a kernel setting of the namespace, for example "net/ipv4/ip_forward".
func (n *Namespace) Sysctl(t testing.TB, name, value string) {
	t.Helper()
	var err error
	n.Do(func() { err = os.WriteFile("/proc/sys/"+name, []byte(value), 0o644) })
	if err != nil {
		t.Fatalf("on %s: %v", n.Name, err)
	}
}

// Connect joins two namespaces by a cable; both ends are up.
func Connect(t testing.TB, a *Namespace, nameA string, b *Namespace, nameB string) {
	t.Helper()
	h, err := netlink.NewHandleAt(a.handle)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	attrs := netlink.NewLinkAttrs()
	attrs.Name = nameA
	if err := h.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: nameB, PeerNamespace: netlink.NsFd(b.handle)}); err != nil {
		t.Fatalf("cable %s:%s to %s:%s: %v", a.Name, nameA, b.Name, nameB, err)
	}
	a.Run(t, "ip", "link", "set", nameA, "up")
	b.Run(t, "ip", "link", "set", nameB, "up")
}

// Until waits for a condition and fails the test when it has not come true in time.
func Until(t testing.TB, timeout time.Duration, what string, condition func() bool) {
	t.Helper()
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	deadline := time.After(timeout)
	for !condition() {
		select {
		case <-ticker.C:
		case <-deadline:
			t.Fatalf("after %v still not: %s", timeout, what)
		}
	}
}
