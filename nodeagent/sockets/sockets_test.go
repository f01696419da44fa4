// SPDX-License-Identifier: Apache-2.0

package sockets

import (
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/clbsync/clbsync/nodeagent/internal/nettest"
)

func TestListeningNamesPortsAndProcesses(t *testing.T) {
	nettest.New(t, "node").Do(func() {
		tcp, err1 := net.Listen("tcp6", "[::1]:30080")
		udp, err2 := net.ListenPacket("udp4", "127.0.0.1:30053")
		if err1 != nil || err2 != nil {
			t.Fatal(err1, err2)
		}
		defer tcp.Close()
		defer udp.Close()
		peer, err := net.Dial("udp4", "127.0.0.1:30053") // takes packets from one peer only
		if err != nil {
			t.Fatal(err)
		}
		defer peer.Close()
		all := Listening()
		ports := []string{}
		for _, s := range all {
			ports = append(ports, fmt.Sprintf("%d/%s", s.Port, s.Protocol))
			if owner := s.Owner(); !strings.HasSuffix(owner, fmt.Sprintf("(pid %d)", os.Getpid())) {
				t.Errorf("%d/%s belongs to %q, want this very process", s.Port, s.Protocol, owner)
			}
		}
		if slices.Sort(ports); !slices.Equal(ports, []string{"30053/UDP", "30080/TCP"}) {
			t.Errorf("got %v, want the two sockets that take packets from anybody", ports)
		}
		if holder := Holder(30053); holder != "" {
			t.Errorf("a UDP socket is taken for one that listens on TCP: %s", holder)
		}
		gone := Socket{Protocol: corev1.ProtocolTCP, Port: 1, inode: "1", user: "1001"}
		if owner := gone.Owner(); !strings.Contains(owner, "user 1001") {
			t.Errorf("a process that cannot be seen: got %q, want its user", owner)
		}
	})
}
