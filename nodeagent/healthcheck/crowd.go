// SPDX-License-Identifier: Apache-2.0

package healthcheck

import (
	"net"
	"sync"
	"sync/atomic"
)

// crowd is a listener with room for so many connections. One more ends the one that has been silent for longest: whoever
// holds connections open and says nothing must not keep the load balancer out, which would take the node for broken.
type crowd struct {
	net.Listener
	room  int
	clock atomic.Int64 // counts what is heard, of whomever

	mu     sync.Mutex
	guests map[*guest]struct{}
}

func newCrowd(l net.Listener, room int) *crowd {
	return &crowd{Listener: l, room: room, guests: map[*guest]struct{}{}}
}

// Accept implements net.Listener.
func (c *crowd) Accept() (net.Conn, error) {
	conn, err := c.Listener.Accept()
	if err != nil {
		return nil, err
	}
	g := &guest{Conn: conn, crowd: c}
	g.heard.Store(c.clock.Add(1))
	if silent := c.seat(g); silent != nil {
		silent.Conn.Close() // its reader comes back with an error, and its place is free already
	}
	return g, nil
}

// seat gives the guest a place and returns who has lost it for that, nil if there was room.
func (c *crowd) seat(g *guest) *guest {
	c.mu.Lock()
	defer c.mu.Unlock()
	var silent *guest
	if len(c.guests) >= c.room {
		for other := range c.guests {
			if silent == nil || other.heard.Load() < silent.heard.Load() {
				silent = other
			}
		}
		delete(c.guests, silent)
	}
	c.guests[g] = struct{}{}
	return silent
}

// guest is one connection.
type guest struct {
	net.Conn
	crowd *crowd
	heard atomic.Int64 // the crowd's clock when the peer last sent something
}

// Read implements net.Conn.
func (g *guest) Read(b []byte) (int, error) {
	n, err := g.Conn.Read(b)
	if n > 0 {
		g.heard.Store(g.crowd.clock.Add(1))
	}
	return n, err
}

// Close implements net.Conn.
func (g *guest) Close() error {
	g.crowd.mu.Lock()
	delete(g.crowd.guests, g)
	g.crowd.mu.Unlock()
	return g.Conn.Close()
}
