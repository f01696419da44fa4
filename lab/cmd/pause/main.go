// SPDX-License-Identifier: Apache-2.0

// Command pause is the first process of every pod in the lab: it holds the pod's namespaces open, reaps the children
// that a shared pid namespace hands to process 1, and ends at SIGTERM or SIGINT. It reads and writes nothing.
package main

import (
	"os"
	"os/signal"

	"golang.org/x/sys/unix"
)

func main() {
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, unix.SIGTERM, unix.SIGINT, unix.SIGCHLD)
	for s := range signals {
		if s != unix.SIGCHLD {
			return
		}
		reap()
	}
}

// reap collects every child that has ended. SIGCHLD is not counted: one may stand for many.
func reap() {
	for {
		pid, err := unix.Wait4(-1, nil, unix.WNOHANG, nil)
		if err == unix.EINTR {
			continue
		}
		if err != nil || pid == 0 {
			return
		}
	}
}
