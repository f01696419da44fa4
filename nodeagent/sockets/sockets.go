// SPDX-License-Identifier: Apache-2.0

// Package sockets tells which processes hold which ports of this node, from /proc. It changes nothing. nodeagent/agent
// calls it, to name whoever stands in the way.
package sockets

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// Socket is a TCP socket that listens, or a UDP socket that takes packets from anybody.
type Socket struct {
	Protocol corev1.Protocol
	Port     uint16
	inode    string
	user     string // its number
}

// tables are the kernel's lists, with the state of those that we look for.
var tables = []struct {
	file, state string
	protocol    corev1.Protocol
}{{"tcp", "0A", corev1.ProtocolTCP}, {"tcp6", "0A", corev1.ProtocolTCP}, {"udp", "07", corev1.ProtocolUDP}, {"udp6", "07", corev1.ProtocolUDP}}

// Listening returns the sockets of this network namespace. A port may be there several times: once per address.
func Listening() []Socket {
	var all []Socket
	for _, t := range tables {
		file, err := os.Open("/proc/thread-self/net/" + t.file)
		if err != nil {
			continue // the kernel has no such family
		}
		for lines := bufio.NewScanner(file); lines.Scan(); {
			// Columns: number, local address, remote address, state, queues, timer, retransmits, user, time-out, inode.
			f := strings.Fields(lines.Text())
			if len(f) < 10 || f[3] != t.state {
				continue
			}
			if port, err := strconv.ParseUint(f[1][strings.LastIndex(f[1], ":")+1:], 16, 16); err == nil {
				all = append(all, Socket{t.protocol, uint16(port), f[9], f[7]})
			}
		}
		file.Close()
	}
	return all
}

// Unnamed begins what Owner says of a process that it cannot name.
const Unnamed = "a process of user "

// Owner names the process that has the socket, for example "kube-proxy (pid 817)". Without the right to look into other
// processes it says whose it is and what would be needed.
func (s Socket) Owner() string {
	links, err := filepath.Glob("/proc/[0-9]*/fd/*")
	if err != nil {
		return "an unknown process"
	}
	for _, link := range links {
		if target, err := os.Readlink(link); err != nil || target != "socket:["+s.inode+"]" {
			continue
		}
		pid := strings.Split(link, "/")[2]
		comm, err := os.ReadFile("/proc/" + pid + "/comm")
		if err != nil {
			return "pid " + pid
		}
		return strings.TrimSpace(string(comm)) + " (pid " + pid + ")"
	}
	return fmt.Sprintf(Unnamed+"%s that cannot be named from here (that needs the host's processes and CAP_SYS_PTRACE)", s.user)
}

// Holder names the process that listens on a TCP port; an empty string means that nobody does.
func Holder(port uint16) string {
	for _, s := range Listening() {
		if s.Protocol == corev1.ProtocolTCP && s.Port == port {
			return s.Owner()
		}
	}
	return ""
}
