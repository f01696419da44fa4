// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"net"
	"sync"
)

// slot is a connection that gives its token back when it is closed.
type slot struct {
	net.Conn
	free chan struct{}
	once sync.Once
}

// Close implements net.Conn.
func (s *slot) Close() error {
	s.once.Do(func() { <-s.free })
	return s.Conn.Close()
}
