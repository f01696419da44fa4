// SPDX-License-Identifier: Apache-2.0

// Package probe is the lab's client: it asks the echo program through a load balancer and reports who answered, which
// client address the pod saw, and what was lost on the way.
//
// It decides nothing about what is right: tests and the demo compare its reports with what they expect. It opens no
// socket by itself; the Dial function that the lab hands over opens them in the client's network namespace. All
// traffic is bounded in count and time by what the caller asks for.
package probe

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/clbsync/clbsync/lab/echo"
)

// Dial opens a connection from where the client is. It must honour the context's deadline.
type Dial func(ctx context.Context, network, addr string) (net.Conn, error)

// Protocol is how a Target is asked.
type Protocol string

// What the echo program speaks.
const (
	TCP  Protocol = "tcp"
	UDP  Protocol = "udp"
	HTTP Protocol = "http"
)

// Target is one port of a service.
type Target struct {
	Protocol Protocol
	Addr     string // host:port
}

func (t Target) String() string { return string(t.Protocol) + "://" + t.Addr }

// Client asks targets. Its methods may be called concurrently.
type Client struct {
	Dial    Dial
	Timeout time.Duration // of one request, from the dial to the whole answer; at least 1 ms
}

// Ask makes one request on a fresh connection (UDP: from a fresh port) and returns the answer. A request is sent once:
// an unanswered datagram is an error, not a reason to try again.
func (c Client) Ask(ctx context.Context, t Target) (echo.Answer, error) {
	answer, _, err := c.askOnce(ctx, t)
	return answer, err
}

// askOnce also reports whether packets had to be sent again before the answer came.
func (c Client) askOnce(ctx context.Context, t Target) (answer echo.Answer, resent bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	answer, resent, err = c.ask(ctx, t)
	if err != nil {
		return echo.Answer{}, resent, fmt.Errorf("%s: %w", t, err)
	}
	return answer, resent, nil
}

func (c Client) ask(ctx context.Context, t Target) (answer echo.Answer, resent bool, err error) {
	conn, err := c.open(ctx, t)
	if err != nil {
		return echo.Answer{}, false, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })()

	var line []byte
	switch t.Protocol {
	case TCP:
		line, err = bufio.NewReader(conn).ReadBytes('\n')
	case UDP:
		line, err = exchange(conn)
	case HTTP:
		line, err = get(ctx, conn, t.Addr)
	}
	state, resent := condition(conn)
	if err != nil && state != "" {
		err = fmt.Errorf("%w (%s)", err, state)
	}
	if err != nil {
		return echo.Answer{}, resent, err
	}
	answer, err = parse(line)
	return answer, resent, err
}

// condition asks the kernel how a TCP connection is, in words, and whether a packet of it was sent again. That tells a
// packet that was lost on the way, for which a client waits a second at least, from a machine that is merely busy. Of UDP
// nothing is known.
func condition(conn net.Conn) (state string, resent bool) {
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		return "", false
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return "", false
	}
	var info *unix.TCPInfo
	if raw.Control(func(fd uintptr) { info, err = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO) }) != nil || err != nil {
		return "", false
	}
	switch info.State {
	case unix.BPF_TCP_SYN_SENT:
		state = "handshake not answered"
	case unix.BPF_TCP_ESTABLISHED:
		state = "connected"
	default:
		state = "closed"
	}
	return fmt.Sprintf("%s, %d packets sent again", state, info.Total_retrans), info.Total_retrans > 0
}

func (c Client) open(ctx context.Context, t Target) (net.Conn, error) {
	switch t.Protocol {
	case TCP, HTTP:
		return c.Dial(ctx, "tcp", t.Addr)
	case UDP:
		return c.Dial(ctx, "udp", t.Addr)
	default:
		return nil, fmt.Errorf("protocol %q: want tcp, udp or http", t.Protocol)
	}
}

func exchange(conn net.Conn) ([]byte, error) {
	if _, err := conn.Write([]byte("who\n")); err != nil {
		return nil, err
	}
	datagram := make([]byte, 64<<10)
	n, err := conn.Read(datagram)
	return datagram[:n], err
}

func get(ctx context.Context, conn net.Conn, host string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+host+"/", nil)
	if err != nil {
		return nil, err
	}
	req.Close = true
	if err := req.Write(conn); err != nil {
		return nil, err
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("HTTP status %s", resp.Status)
	}
	return io.ReadAll(resp.Body)
}

func parse(line []byte) (echo.Answer, error) {
	var a echo.Answer
	if err := json.Unmarshal(line, &a); err != nil {
		return a, fmt.Errorf("answer %q is not the echo program's: %w", bytes.TrimSpace(line), err)
	}
	return a, nil
}

// Cause names in one word why a request was not answered: "timeout", "refused", "reset", "unreachable", "closed" or
// "other". It is "" for nil.
func Cause(err error) string {
	var timeout net.Error
	switch {
	case err == nil:
		return ""
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return "timeout"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "refused"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return "reset"
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return "unreachable"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "closed"
	default:
		return "other"
	}
}
