// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package probe

import (
	"errors"
	"net/netip"
	"syscall"
)

// Mark always fails.
func Mark(syscall.RawConn, netip.Addr) error {
	return errors.New("the source of a probe can be set on Linux only")
}
