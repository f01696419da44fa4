// SPDX-License-Identifier: Apache-2.0

package healthcheck

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Holder names the process that listens on a TCP port of this network namespace, for example "kube-proxy (pid 817)".
// Without the right to look into other processes it says so; an empty string means that nobody listens.
func Holder(port uint16) string {
	inode := listeningInode(port)
	if inode == "" {
		return ""
	}
	links, err := filepath.Glob("/proc/[0-9]*/fd/*")
	if err != nil {
		return "an unknown process"
	}
	for _, link := range links {
		if target, err := os.Readlink(link); err != nil || target != "socket:["+inode+"]" {
			continue
		}
		pid := strings.Split(link, "/")[2]
		comm, err := os.ReadFile("/proc/" + pid + "/comm")
		if err != nil {
			return "pid " + pid
		}
		return strings.TrimSpace(string(comm)) + " (pid " + pid + ")"
	}
	return "a process that this agent cannot see (it needs the host's PID namespace to name it)"
}

// listeningInode returns the inode of the socket that listens on the port, "" if there is none.
func listeningInode(port uint16) string {
	const listen = "0A"
	suffix := fmt.Sprintf(":%04X", port)
	for _, table := range []string{"tcp", "tcp6"} {
		file, err := os.Open("/proc/thread-self/net/" + table)
		if err != nil {
			continue
		}
		defer file.Close()
		for lines := bufio.NewScanner(file); lines.Scan(); {
			// Columns: number, local address, remote address, state, queues, timer, retransmits, user, time-out, inode.
			if f := strings.Fields(lines.Text()); len(f) > 9 && f[3] == listen && strings.HasSuffix(f[1], suffix) {
				return f[9]
			}
		}
	}
	return ""
}
