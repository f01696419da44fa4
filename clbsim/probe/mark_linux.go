// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"encoding/binary"
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"
)

// Mark makes every packet of a socket carry an address as its mark. The data
// path replaces the source of packets that carry one. An address of IPv6 does
// not fit: such packets stay as they are.
func Mark(c syscall.RawConn, source netip.Addr) error {
	if !source.Is4() {
		return nil
	}
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
