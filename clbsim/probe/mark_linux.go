// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"encoding/binary"
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"
)

// mark makes every packet of a socket carry an address as its mark. The data
// path replaces the source of packets that carry one.
func mark(c syscall.RawConn, source netip.Addr) error {
	a := source.As4()
	var failure error
	err := c.Control(func(fd uintptr) {
		failure = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_MARK, int(binary.BigEndian.Uint32(a[:])))
	})
	if err != nil {
		return err
	}
	return failure
}
