// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/clbsync/clbsync/lab/echo"
)

// Held is a TCP connection that is kept open and watched. Hold makes one; Close must be called.
type Held struct {
	Answer echo.Answer // who is at the other end

	stop   context.CancelFunc
	broken chan struct{} // closed when the connection breaks
	ended  chan struct{} // closed when the watch has ended
	end    Break
}

// Break says how a held connection ended.
type Break struct {
	At     time.Time // when it was noticed
	Echoes int       // lines that came back before
	Err    error     // how it broke
}

// Hold opens a connection and sends a line every so often, which must come back within the client's Timeout. A reset
// or a close by the other end is noticed when it arrives, not with the next line.
func (c Client) Hold(ctx context.Context, addr string, every time.Duration) (*Held, error) {
	t := Target{Protocol: TCP, Addr: addr}
	dialing, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	conn, err := c.open(dialing, t)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", t, err)
	}
	lines := bufio.NewReader(conn)
	answer, err := greeting(conn, lines, c.Timeout)
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("%s: %w", t, err)
	}
	watching, stop := context.WithCancel(ctx)
	h := &Held{Answer: answer, stop: stop, broken: make(chan struct{}), ended: make(chan struct{})}
	go h.watch(watching, conn, lines, every, c.Timeout)
	return h, nil
}

// greeting reads the first line of a connection, within the timeout.
func greeting(conn net.Conn, lines *bufio.Reader, timeout time.Duration) (echo.Answer, error) {
	if err := conn.SetReadDeadline(time.Now().Add(timeout)); err != nil {
		return echo.Answer{}, err
	}
	line, err := lines.ReadBytes('\n')
	if err != nil {
		return echo.Answer{}, err
	}
	if err := conn.SetReadDeadline(time.Time{}); err != nil {
		return echo.Answer{}, err
	}
	return parse(line)
}

// watch ends when the context does or when the connection breaks, and closes the connection.
func (h *Held) watch(ctx context.Context, conn net.Conn, lines *bufio.Reader, every, timeout time.Duration) {
	defer close(h.ended)
	var reader sync.WaitGroup
	defer reader.Wait()
	defer conn.Close()
	echoes, gone := make(chan string), make(chan error, 1)
	reader.Go(func() {
		for {
			line, err := lines.ReadString('\n')
			if err != nil {
				gone <- err
				return
			}
			select {
			case echoes <- line:
			case <-ctx.Done():
				return
			}
		}
	})
	broke := func(err error) {
		h.end.At, h.end.Err = time.Now(), err
		close(h.broken)
		h.stop()
	}
	said, late := "", (<-chan time.Time)(nil) // the line that is under way, if any
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case err := <-gone:
			broke(err)
			return
		case <-late:
			broke(fmt.Errorf("no echo within %s: %w", timeout, context.DeadlineExceeded))
			return
		case line := <-echoes:
			if line != said {
				broke(fmt.Errorf("got %q back for %q", line, said))
				return
			}
			said, late = "", nil
			h.end.Echoes++
		case <-ticker.C:
			if said != "" {
				continue
			}
			said, late = fmt.Sprintf("line %d\n", h.end.Echoes), time.After(timeout)
			if _, err := conn.Write([]byte(said)); err != nil {
				broke(err)
				return
			}
		}
	}
}

// Broken is closed when the connection breaks.
func (h *Held) Broken() <-chan struct{} { return h.broken }

// Close ends the watch, closes the connection and says how it went: Err is nil, and At is zero, if the connection was
// sound to the end.
func (h *Held) Close() Break {
	h.stop()
	<-h.ended
	return h.end
}
