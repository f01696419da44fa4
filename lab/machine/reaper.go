// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"

	"golang.org/x/sys/unix"
)

// reaper is a process that removes a lab when its owner ends. It notices by a pipe of which the owner alone holds the
// writing end: the kernel closes that however the owner dies.
type reaper struct {
	cmd   *exec.Cmd
	alive io.Closer
}

func startReaper(l *Lab) (*reaper, error) {
	cmd := exec.Command(l.owner.Helper, "reap", l.Name, l.owner.Lab)
	cmd.SysProcAttr = &unix.SysProcAttr{Setsid: true} // Ctrl-C is for the owner
	alive, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, errors.Join(fmt.Errorf("start the reaper: %w", err), alive.Close())
	}
	return &reaper{cmd: cmd, alive: alive}, nil
}

// dismiss ends the reaper and waits for it, so that it is no trace of the lab either. A lab may have none: nil.
func (r *reaper) dismiss() error {
	if r == nil {
		return nil
	}
	if err := r.alive.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
		return err
	}
	if r.cmd.ProcessState != nil {
		return nil
	}
	if err := r.cmd.Wait(); err != nil {
		return fmt.Errorf("reaper: %w", err)
	}
	return nil
}

// Reap waits until standard input ends and then removes the lab of that name and identity. It is the life of the
// reaper.
func Reap(name, identity string) error {
	signal.Ignore(unix.SIGTERM, unix.SIGINT, unix.SIGHUP)
	if _, err := io.Copy(io.Discard, os.Stdin); err != nil {
		return err
	}
	return removeThis(name, identity)
}
