// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Process is a program that runs on a machine.
type Process struct {
	name string
	log  string
	cmd  *exec.Cmd
	done chan struct{}
	err  error
}

// Option changes how a program is run.
type Option func(*exec.Cmd)

// Env adds variables, KEY=value, to the caller's environment.
func Env(variables ...string) Option {
	return func(c *exec.Cmd) { c.Env = append(c.Env, variables...) }
}

// Stdin gives the program its input; without it there is none.
func Stdin(r io.Reader) Option { return func(c *exec.Cmd) { c.Stdin = r } }

// Files passes open files as descriptors 3 and up.
func Files(files ...*os.File) Option {
	return func(c *exec.Cmd) { c.ExtraFiles = append(c.ExtraFiles, files...) }
}

// watch takes over a started command.
func watch(name, log string, cmd *exec.Cmd) *Process {
	p := &Process{name: name, log: log, cmd: cmd, done: make(chan struct{})}
	go func() {
		p.err = cmd.Wait()
		close(p.done)
	}()
	return p
}

// PID is the process id as the host sees it.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// LogPath is the file with the program's output.
func (p *Process) LogPath() string { return p.log }

// Done is closed when the program has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Signal sends a signal; a program that has ended is os.ErrProcessDone.
func (p *Process) Signal(s os.Signal) error { return p.cmd.Process.Signal(s) }

// Kill ends the program with SIGKILL and waits for it. Killing one that has ended is no error.
func (p *Process) Kill() error {
	if err := p.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	<-p.done
	return nil
}

// Stop asks the program to end with SIGTERM and waits; when ctx ends first, it is killed and ctx's error returned.
func (p *Process) Stop(ctx context.Context) error {
	if err := p.Signal(unix.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-p.done:
		return nil
	case <-ctx.Done():
		return errors.Join(fmt.Errorf("%s did not end at SIGTERM: %w", p.name, ctx.Err()), p.Kill())
	}
}

// Wait waits for the end and returns an *exec.ExitError unless the exit status was 0.
func (p *Process) Wait() error {
	<-p.done
	return p.err
}

// Tail returns the last n lines of the log, to be shown with an error.
func (p *Process) Tail(n int) string {
	data, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimRight(string(data), "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// parseStartTime reads field 22 of /proc/PID/stat. Field 2, the program's name, may hold spaces and parentheses.
func parseStartTime(stat string) (uint64, error) {
	fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	const startTime = 22 - 3 // the first field after the name is number 3
	if len(fields) <= startTime {
		return 0, fmt.Errorf("/proc/PID/stat %q has no start time", stat)
	}
	return strconv.ParseUint(fields[startTime], 10, 64)
}
