// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestPauseStaysUntilSIGTERM(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	binary := filepath.Join(t.TempDir(), "pause")
	if out, err := exec.CommandContext(ctx, "go", "build", "-o", binary, ".").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	cmd := exec.CommandContext(ctx, binary)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	// SIGCHLD must not end it, or a pod with a shared pid namespace would die with its first child.
	if err := cmd.Process.Signal(unix.SIGCHLD); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-ended:
		t.Fatalf("pause ended by itself: %v", err)
	case <-time.After(300 * time.Millisecond):
	}
	if err := cmd.Process.Signal(unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Errorf("pause ended with %v at SIGTERM, want exit code 0", err)
	}
}

func TestReapCollectsEveryEndedChild(t *testing.T) {
	var pids []int
	for range 3 {
		cmd := exec.CommandContext(t.Context(), "true")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		pids = append(pids, cmd.Process.Pid)
		// WNOWAIT waits for the end and leaves the zombie to reap.
		if err := unix.Waitid(unix.P_PID, cmd.Process.Pid, nil, unix.WEXITED|unix.WNOWAIT, nil); err != nil {
			t.Fatal(err)
		}
	}
	reap()
	for _, pid := range pids {
		if _, err := unix.Wait4(pid, nil, unix.WNOHANG, nil); err != unix.ECHILD {
			t.Errorf("process %d is still there to be waited for: %v", pid, err)
		}
	}
}
